"""ESM2's forward pass over a batch of proteins: sums of states, on any device.

Proteins differ in length, so a batch of them is usually a rectangle filled up with
padding, which costs arithmetic and needs a mask. On a GPU this is done here too. On a CPU
the proteins are laid end to end instead (:mod:`dlfb.proteins.packed_forward`), and each thread
has proteins of its own, so that none waits for another within a layer.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from transformers import EsmModel, EsmTokenizer

from dlfb.proteins.packed_forward import CPU_TOKENS, Layer, can_pack, layers, packed_states
from dlfb.proteins.sequences import AMINO_ACIDS, RARE_LETTERS

GPU_TOKENS = (4096, 65536)


def dtype_for(precision: str, device: torch.device) -> torch.dtype:
    """Return the precision of matrix products that ``exact``, ``fast`` or ``auto`` means there."""
    if precision == "exact" or (precision == "auto" and device.type == "cpu"):
        return torch.float32
    if device.type == "cuda":
        newer = torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if newer else torch.float16
    # Asked by name, since releases of torch differ in what they can tell of a CPU.
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    if device.type == "cpu" and any(getattr(torch.cpu, test, bool)() for test in tests):
        return torch.bfloat16
    return torch.float32


def token_budget_for(model: EsmModel, device: torch.device) -> int:
    """Return how many tokens a batch on `device` may have."""
    if device.type != "cuda":
        return CPU_TOKENS * torch.get_num_threads() if device.type == "cpu" else GPU_TOKENS[0]
    # A token's intermediate results in a layer are some 100 D bytes; leave half of the memory.
    free, _ = torch.cuda.mem_get_info(device)
    return int(np.clip(free / 2 / (100 * model.config.hidden_size), *GPU_TOKENS))


def summer(
    tokenizer: EsmTokenizer, model: EsmModel, pooling: str, dtype: torch.dtype
) -> Callable[[list[str]], np.ndarray]:
    """Return the function from B clean sequences to the sums of their last hidden states.

    Parameters
    ----------
    tokenizer, model
        The model in evaluation mode, on the device where it is to run.
    pooling : {"residues", "all"}
        Which tokens' states to sum: with ``all``, ``<cls>`` and ``<eos>`` as well.
    dtype : torch.dtype
        Precision of the matrix products.

    Returns
    -------
    callable
        list of B str -> np.ndarray (B, D), float32
    """
    letters = [*AMINO_ACIDS, *RARE_LETTERS]
    # Looked up here: a tokenizer takes a millisecond a protein, nearly as long as a small model.
    ids = dict(zip(letters, tokenizer.convert_tokens_to_ids(letters), strict=True))
    skip = 1 if pooling == "residues" else 0
    packed = model.device.type == "cpu" and can_pack(model)
    sums = _packed_sums if packed else _padded_sums
    weights = layers(model, dtype) if packed else dtype

    @torch.inference_mode()
    def sum_states(sequences: list[str]) -> Tensor:
        rows = [
            [tokenizer.cls_token_id, *map(ids.__getitem__, sequence), tokenizer.eos_token_id]
            for sequence in sequences
        ]
        return sums(model, weights, rows, skip, tokenizer.pad_token_id).cpu()

    if packed:
        return lambda sequences: _in_threads(sum_states, sequences).numpy()
    return lambda sequences: sum_states(sequences).numpy()


def _in_threads(function: Callable[[list], Tensor], items: list) -> Tensor:
    """Call `function` on a part of the items in each of PyTorch's threads; rows in their order.

    Otherwise PyTorch would share each operation out to the threads, all of which then wait
    for the slowest, operation by operation.
    """
    n = torch.get_num_threads()
    if not 1 < n <= len(items):
        return function(items)
    try:
        with ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            # Neighbours have like lengths, so that parts of every n-th are equal work.
            parts = list(pool.map(function, [items[i::n] for i in range(n)]))
    finally:
        torch.set_num_threads(n)  # Threads to come would have one otherwise.
    rows = torch.empty(len(items), *parts[0].shape[1:])
    for i, part in enumerate(parts):
        rows[i::n] = part
    return rows


def _packed_sums(model, weights: list[Layer], rows: list[list[int]], skip: int, _) -> Tensor:
    lengths = [len(row) for row in rows]
    states = packed_states(model, weights, torch.tensor(sum(rows, [])), lengths)
    stops = torch.tensor(lengths).cumsum(0)[:, None]
    starts = stops - torch.tensor(lengths)[:, None]
    places = torch.arange(len(states))
    counted = (places >= starts + skip) & (places < stops - skip)  # (B, T)
    return counted.float() @ states


def _padded_sums(model, dtype: torch.dtype, rows: list[list[int]], skip: int, pad: int) -> Tensor:
    device, width = model.device, max(map(len, rows))
    tokens = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)[:, None]
    places = torch.arange(width, device=device)
    # Without padding, no mask: attention is faster so.
    mask = (places < lengths).long() if len(set(map(len, rows))) > 1 else None
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        states = model(tokens, mask).last_hidden_state
    counted = (places >= skip) & (places < lengths - skip)  # (B, L)
    return (counted.float()[:, None] @ states.float())[:, 0]
