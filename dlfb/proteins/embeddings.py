"""One vector per protein: the mean of a language model's states over its residues (notebook 05).

*Tokens* are what the model reads: a protein's residues, between special ones such as ``<cls>`` and
``<eos>``. The *window* is the longest protein that a model was made for: 1,022 residues for ESM2.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch.nn.functional import gelu
from torch.nn.utils.rnn import pad_sequence
from transformers.models.esm.modeling_esm import EsmIntermediate

from dlfb.proteins.encoder import Encoder, encoder_of
from dlfb.proteins.sequences import clean_sequence, listed
from dlfb.proteins.utils import get_device
from dlfb.utils.checks import check_count
from dlfb.utils.display import progress

CHOICES = {"pooling": ("residues", "all"), "precision": ("exact", "fast")}
#: Tokens per batch. On a CPU, each thread computes such a batch.
TOKENS = {"cpu": 512, "cuda": 32768}


def get_mean_embeddings(
    sequences: Iterable[str], tokenizer, model, device: torch.device | str | None = None, **options
) -> np.ndarray:
    """Return the mean of the model's last hidden states for each protein: (N, D), float32.

    A vector depends on its sequence alone, to 1e-5 of its length in ``exact`` precision, and not on
    the batch, the order or duplicates. Each distinct sequence is computed once. A protein longer
    than the window is cut into the fewest pieces of equal length that fit, whose means are weighted
    by length.

    Parameters
    ----------
    tokenizer, model
        Of one of the families in ``encoder``, in float32, with or without its head.
    device : torch.device or str, optional
        Default: the fastest. The model is moved there and stays there.
    pooling : {"residues", "all"}
        The mean over the residues only, or also over the special tokens, as in the book's code.
    precision : {"exact", "fast"}
        float32, or bfloat16 (float16 on older GPUs) for matrix products: within 2e-2 of exact.
    token_budget, batch_size : int, optional
        The most tokens and the most proteins in a batch. Default: `TOKENS`, and no limit.

    A ValueError says what can't be used; of a sequence it names record, position and letter.
    """
    options, encoder = checked_options(**options), encoder_of(tokenizer, model)
    sequences = listed(sequences, "get_mean_embeddings")
    clean = [clean_sequence(each, f"sequences[{i}]") for i, each in enumerate(sequences)]
    rows = {sequence: row for row, sequence in enumerate(dict.fromkeys(clean))}
    with progress(total=sum(map(len, rows)), desc="Embedding", unit=" residues") as bar:
        means = mean_states(list(rows), encoder, device, bar.update, **options)
    return means[[rows[sequence] for sequence in clean]]


def checked_options(
    *, pooling="residues", precision="exact", token_budget=None, batch_size=None
) -> dict:
    """Return the options of `get_mean_embeddings`, with defaults; ValueError for a wrong one."""
    options = locals()
    for name, value in options.items():
        if name not in CHOICES:
            check_count(1 if value is None else value, name, "embeddings")
        elif value not in CHOICES[name]:
            choices = ", ".join(CHOICES[name])
            raise ValueError(f"There is no {name}={value!r}; choose one of {choices}.")
    return options


def mean_states(
    sequences: list[str], encoder: Encoder, device=None, advance=lambda residues: None, **options
) -> np.ndarray:
    """Return the vectors (N, D) of clean sequences; tell `advance` the residues of each batch."""
    how, device, model = checked_options(**options), get_device(device), encoder.model
    budget = how["token_budget"] or TOKENS.get(device.type, 4096)
    batches = _batches(sequences, encoder, budget, how["batch_size"])
    sum_states = partial(_sum_states, encoder, device, how["pooling"], how["precision"])
    sums, counts = np.zeros((len(sequences), model.config.hidden_size)), np.zeros(len(sequences))
    try:
        with at_work(model, device) as pool:
            for batch, found in zip(batches, pool.map(sum_states, batches), strict=True):
                rows = [row for row, _ in batch]
                # A protein may have several pieces in a batch, which += would count once.
                np.add.at(sums, rows, found[0])
                np.add.at(counts, rows, found[1])
                advance(sum(len(piece) for _, piece in batch))
    except (MemoryError, torch.OutOfMemoryError) as error:
        way_out = f"Use a token_budget smaller than {budget:,}, a smaller model, or device='cpu'"
        raise MemoryError(f"A batch is too large for the memory of {device}. {way_out}.") from error
    means = (sums / counts[:, None]).astype(np.float32)
    if not np.isfinite(means).all():
        way_out = "Use precision='exact'; if you did, the model's weights are damaged"
        raise ValueError(f"Some embeddings are not finite. {way_out}.")
    return means


def _batches(sequences, encoder: Encoder, budget: int, most: int | None) -> list[list]:
    """Cut proteins into pieces that fit, (row, residues), and put similar lengths together."""
    pieces, batches, start = [], [], 0
    for row, sequence in enumerate(sequences):
        n = -(-len(sequence) // encoder.window)
        cuts = [i * len(sequence) // n for i in range(n + 1)]
        pieces += [(row, sequence[a:b]) for a, b in pairwise(cuts)]
    # The longest first: what does not fit into memory shows at once.
    pieces.sort(key=lambda piece: len(piece[1]), reverse=True)
    while start < len(pieces):
        tokens = len(pieces[start][1]) + len(encoder.before + encoder.after)
        size = max(1, min(budget // tokens, most or len(pieces)))
        batches.append(pieces[start : start + size])
        start += size
    return batches


@contextmanager
def at_work(model, device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """Prepare a model and the threads that use it; then leave all but its device as it was.

    On a CPU each batch has a thread of its own. Otherwise the threads would share each operation,
    and all would wait for the slowest.
    """
    was_training, threads = model.training, torch.get_num_threads()
    workers = threads if device.type == "cpu" else 1
    # PyTorch's GELU passes once over memory, ESM's own five times: a quarter of a CPU's time.
    plain = [m for m in model.modules() if type(m) is EsmIntermediate and "forward" not in vars(m)]
    for layer in plain:
        layer.forward = lambda states, dense=layer.dense: gelu(dense(states))
    try:
        model.to(device).eval()
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        model.train(was_training)
        torch.set_num_threads(threads)  # otherwise later threads would have one
        for layer in plain:
            del layer.forward
        if device.type == "cuda":
            torch.cuda.empty_cache()  # JAX may want memory of the same GPU next


@torch.inference_mode()
def _sum_states(
    encoder: Encoder, device: torch.device, pooling: str, precision: str, batch: list
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of the states of B pieces, (B, D), and how many tokens they sum, (B,)."""
    before, after = encoder.before, encoder.after
    # Looked up: a tokenizer takes a millisecond per protein, and other threads wait for it.
    rows = [torch.tensor([*before, *map(encoder.ids.get, piece), *after]) for _, piece in batch]
    tokens = pad_sequence(rows, batch_first=True, padding_value=encoder.padding)
    lengths = torch.tensor([len(row) for row in rows])[:, None]
    places = torch.arange(tokens.shape[1])
    start, stop = (0, lengths) if pooling == "all" else (len(before), lengths - len(after))
    counted = ((places >= start) & (places < stop)).float()
    # Attention is faster without a mask, which only padding needs.
    mask = (places < lengths).long().to(device) if lengths.min() < tokens.shape[1] else None
    old_gpu = device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    half = torch.float16 if old_gpu else torch.bfloat16
    with torch.autocast(device.type, half, enabled=precision == "fast"):
        states = encoder.model(tokens.to(device), mask).last_hidden_state
    sums = counted[:, None].to(device) @ states.float()
    return sums[:, 0].cpu().numpy(), counted.sum(1).numpy()
