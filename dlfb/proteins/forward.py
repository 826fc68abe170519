"""ESM2's forward pass over a batch of proteins: sums of states, on any device.

Proteins differ in length, so a batch of them is usually a rectangle filled up with
padding, which costs arithmetic and needs a mask. On a GPU this is done here too. On a CPU
the proteins are laid end to end instead: every step of a transformer but attention
looks at one position at a time, so these steps take all tokens of a batch as one
long list; attention alone is told where a protein ends and the next begins. The weights
are those of transformers' ``EsmModel``, and so is the result, to float32 rounding. A token
costs a third less: matrix products take their weights in the layout that oneDNN prefers and
apply GELU on the way, a layer's query, key and value are one product, the rotary turn is one
multiplication of complex numbers, and each thread has proteins of its own, so that none
waits for another within a layer.

Architecture: Lin et al. 2023, Science 379:1123; rotary positions: Su et al. 2021,
arXiv:2104.09864.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import EsmModel, EsmTokenizer

from dlfb.proteins.sequences import AMINO_ACIDS, RARE_LETTERS

# For each thread. Measured: with half as many, what a batch costs apart from its tokens (oneDNN
# prepares a product for each new number of them) is a tenth; more gain little.
CPU_TOKENS = 2048
GPU_TOKENS = (4096, 65536)

# In training, 12 % of the positions (80 % of 15 %) were masked, and masked tokens were zeroed
# ("token dropout"); where nothing is masked, ESM2 scales its embeddings down to make up for it.
_TOKEN_DROPOUT_SCALE = 1 - 0.15 * 0.8


class Product(NamedTuple):
    """A linear step, for :func:`linear`: the weight (out, in) may be in oneDNN's own layout."""

    weight: Tensor
    bias: Tensor


class Layer(NamedTuple):
    """One layer's weights."""

    attention_norm: nn.LayerNorm
    qkv: Product
    attention_out: Product
    feed_forward_norm: nn.LayerNorm
    widen: Product
    narrow: Product


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


def can_pack(model: EsmModel) -> bool:
    """Whether `model` is plain ESM2, so that :func:`packed_states` gives what it would give.

    A layer of another class (an adapter, say), a hook, or another kind of position
    means no.
    """
    config = model.config
    plain = {nn.Linear, nn.LayerNorm, nn.Dropout, nn.Embedding, nn.Sigmoid, nn.ModuleList}
    return (
        type(model) is EsmModel
        and config.position_embedding_type == "rotary"
        and not (config.is_decoder or config.emb_layer_norm_before)
        and all(
            type(part) in plain or type(part).__module__ == EsmModel.__module__
            for part in model.modules()
        )
        and not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    )


def layers(model: EsmModel, dtype: torch.dtype = torch.float32) -> list[Layer]:
    """Gather each layer's weights, cast to `dtype`; layer norms stay as they are.

    The query's and the key's rows are in another order: the two that the rotary turn takes
    as a pair, half a head apart in the model, are neighbours here. The products of queries
    and keys, which are all that attention sees of them, are the same.
    """
    n_heads = model.config.num_attention_heads

    def pairs_together(x: Tensor) -> Tensor:
        return x.unflatten(0, (n_heads, 2, -1)).transpose(1, 2).flatten(0, 2)

    def qkv(attention: nn.Module) -> Product:
        weight, bias = (
            torch.cat([
                pairs_together(getattr(attention.query, part)),
                pairs_together(getattr(attention.key, part)),
                getattr(attention.value, part),
            ])
            for part in ("weight", "bias")
        )  # fmt: skip
        return prepare(weight, bias, dtype)

    def cast(step: nn.Linear) -> Product:
        return prepare(step.weight, step.bias, dtype)

    with torch.no_grad():
        return [
            Layer(
                layer.attention.LayerNorm,
                qkv(layer.attention.self),
                cast(layer.attention.output.dense),
                layer.LayerNorm,
                cast(layer.intermediate.dense),
                cast(layer.output.dense),
            )
            for layer in model.encoder.layer
        ]


def prepare(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Product:
    """Return a linear step in `dtype`, its weights in oneDNN's layout where that is quicker."""
    weight, bias = weight.to(dtype), bias.to(dtype)
    # What torch.compile makes of a linear step on such processors. PyTorch's own product puts the
    # weights in order anew each time; on two cores it took 1.2 to 1.6 times as long in float32.
    if torch.backends.cpu.get_cpu_capability().startswith("AVX") and _has_onednn():
        weight = torch.ops.mkldnn._reorder_linear_weight(weight, CPU_TOKENS)
    return Product(weight, bias)


def _has_onednn() -> bool:
    # The operations have no public name, so a release of torch may be without them.
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in names
    )


def linear(x: Tensor, step: Product, activation: str = "none") -> Tensor:
    """Return x W' + b, and ``gelu`` of it if that is the activation."""
    if step.weight.is_mkldnn:
        return torch.ops.mkldnn._linear_pointwise(x, *step, activation, [], "none")
    y = F.linear(x, *step)
    return F.gelu(y) if activation == "gelu" else y


def packed_states(
    model: EsmModel, weights: list[Layer], ids: Tensor, lengths: Sequence[int]
) -> Tensor:
    """Return the last hidden state of every token of several proteins.

    Parameters
    ----------
    model : EsmModel
        For which :func:`can_pack` holds.
    weights : list of Layer
        From :func:`layers`; their dtype is that of the matrix products. Layer norms,
        rotary tables and the sums from layer to layer are float32 in any case.
    ids : Tensor of int64, shape (T,)
        The proteins' tokens, each protein with its own ``<cls>`` and ``<eos>``, none
        of them ``<mask>``.
    lengths : sequence of int
        How many tokens each protein has, T in all.

    Returns
    -------
    Tensor of float32, shape (T, D)
    """
    dtype = weights[0].qkv.bias.dtype
    x = F.embedding(ids, model.embeddings.word_embeddings.weight)  # (T, D)
    if model.config.token_dropout:
        x = x * _TOKEN_DROPOUT_SCALE
    turn = _rotary_turn(model, lengths)
    for layer in weights:
        qkv = linear(_norm(layer.attention_norm, x, dtype), layer.qkv)
        heads = _attention(qkv, turn, lengths, model.config.num_attention_heads)
        x += linear(heads, layer.attention_out)
        wide = linear(_norm(layer.feed_forward_norm, x, dtype), layer.widen, "gelu")
        x += linear(wide, layer.narrow)
    return _norm(model.encoder.emb_layer_norm_after, x, torch.float32)


def _norm(norm: nn.LayerNorm, x: Tensor, dtype: torch.dtype) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps).to(dtype)


def _rotary_turn(model: EsmModel, lengths: Sequence[int]) -> Tensor:
    """Return what turns every token's pairs: complex64, (T, 1, half a head's size)."""
    frequencies = model.rotary_embeddings.inv_freq.float()
    counts = torch.cat([torch.arange(n) for n in lengths])
    angles = counts[:, None, None] * frequencies
    return torch.polar(torch.ones_like(angles), angles)


def _attention(qkv: Tensor, turn: Tensor, lengths: Sequence[int], n_heads: int) -> Tensor:
    """Attend within each protein: (T, 3 D) -> (T, D). May write over `qkv`."""
    qk, v = qkv.unflatten(1, (3 * n_heads, -1)).split([2 * n_heads, n_heads], 1)
    # The pair (a, b), as a + bi, times cos + i sin: (a cos - b sin, b cos + a sin).
    pairs = torch.view_as_complex(qk.float().unflatten(2, (-1, 2))).mul_(turn)
    q, k = torch.view_as_real(pairs).flatten(2).to(qkv.dtype).split(n_heads, 1)
    out = [
        F.scaled_dot_product_attention(*(part.transpose(0, 1)[None] for part in protein))
        for protein in zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True)
    ]  # each (1, heads, length, size)
    return torch.cat([x[0].transpose(0, 1) for x in out]).flatten(1)
