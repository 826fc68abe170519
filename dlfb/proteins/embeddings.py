"""One vector per protein: the mean of a language model's states over its residues (notebook 05).

The words are used so: *tokens* are what the model reads, a protein's residues with
``<cls>`` before and ``<eos>`` behind; the *window* is the longest protein that the
model was made for.

How the vectors are kept on disk stands in ``embedding_store``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import torch
from transformers import EsmForMaskedLM, EsmModel, EsmTokenizer

from dlfb.proteins import forward
from dlfb.proteins.embedding_store import (
    embed_fasta,
    load_sequence_embeddings,
    store_sequence_embeddings,
)
from dlfb.proteins.sequences import clean_sequence
from dlfb.proteins.utils import get_device
from dlfb.utils.display import progress

__all__ = [
    "embed_fasta",
    "get_mean_embeddings",
    "load_sequence_embeddings",
    "model_window",
    "store_sequence_embeddings",
]

OPTIONS = {
    "pooling": ("residues", "all"),
    "precision": ("exact", "fast", "auto"),
    "long": ("window", "truncate", "error"),
}

_SPECIAL = 2  # <cls> and <eos>


def get_mean_embeddings(
    sequences: Iterable[str],
    tokenizer: EsmTokenizer,
    model: EsmModel | EsmForMaskedLM,
    device: torch.device | str | None = None,
    *,
    pooling: str = "residues",
    precision: str = "exact",
    long: str = "window",
    token_budget: int | None = None,
    batch_size: int | None = None,
    names: Sequence[str] | None = None,
    bar=None,
) -> np.ndarray:
    """Embed proteins: for each, the mean of the model's last hidden states.

    A vector depends on its sequence alone, not on the batch, the order or
    duplicates around it: in ``exact`` precision it is the same to 1e-5 of its length.

    Parameters
    ----------
    sequences : iterable of str
        As :func:`dlfb.proteins.sequences.clean_sequence` takes them. Each distinct
        sequence is computed once.
    tokenizer, model
        From :func:`dlfb.proteins.language_model.load_language_model`, float32.
        The model is moved to `device` and stays there.
    device : torch.device or str, optional
        Default: :func:`dlfb.proteins.utils.get_device`.
    pooling : {"residues", "all"}
        Mean over the residues; or over ``<cls>`` and ``<eos>`` as well, which is what
        the book's code gives for a protein embedded alone. (In a batch, the book's
        mean also takes in padding, so that it depends on the longest neighbour.)
    precision : {"exact", "fast", "auto"}
        ``exact``: float32. ``fast``: autocast to bfloat16 on GPUs and CPUs that have
        instructions for it, to float16 on other CUDA GPUs, float32 elsewhere; a vector
        is then within 2e-2 of the exact one, relative to its length. ``auto``: ``fast`` on
        a GPU, ``exact`` on a CPU. Rotary tables and layer norms are float32 always.
    long : {"window", "truncate", "error"}
        What to do with proteins longer than the model's window. ``window``: cut into the
        fewest consecutive pieces that fit, equal in length to one residue, without overlap;
        the vector is their mean weighted by residues. ``truncate``: keep the beginning.
    token_budget : int, optional
        Tokens a batch at most (one protein at least). Default: chosen for the device.
    batch_size : int, optional
        Proteins a batch at most, on top of the budget.
    names : sequence of str, optional
        What errors call the sequences.
    bar : tqdm.tqdm, optional
        A bar to advance by residues, instead of one of its own.

    Returns
    -------
    np.ndarray
        Shape (N, D), float32; row i for sequence i. (0, D) for no sequences.

    Raises
    ------
    ValueError
        If a sequence is empty or has a letter that is none (the message names record,
        position and letter), or is too long under ``long="error"``; if an option is unknown;
        if the model is not float32.
    MemoryError
        If a batch of a single protein does not fit into the device's memory. Larger ones are
        halved and tried again.

    Notes
    -----
    Proteins are sorted by length and cut into batches of about equal numbers of tokens, so that
    little arithmetic goes into padding; on a CPU there is none, and the model's weights are held
    a second time while it runs (:mod:`dlfb.proteins.packed_forward`).
    """
    check_options(pooling=pooling, precision=precision, long=long)
    base = base_model(model)
    window = model_window(model)
    clean = _cleaned(sequences, names, window if long == "error" else None)
    row_of = {sequence: row for row, sequence in enumerate(dict.fromkeys(clean))}
    pieces = [(row, piece) for s, row in row_of.items() for piece in _pieces(s, window, long)]
    # Longest first: what does not fit into memory shows at once.
    pieces.sort(key=lambda piece: len(piece[1]), reverse=True)

    device = get_device() if device is None else torch.device(device)
    was_training = base.training
    base.to(device).eval()
    sums, counts = np.zeros((len(row_of), base.config.hidden_size)), np.zeros((len(row_of), 1))
    own_bar = nullcontext(bar)
    if bar is None and pieces:
        residues = sum(len(piece) for _, piece in pieces)
        own_bar = progress(total=residues, desc="Embedding", unit=" residues")
    try:
        sum_states = forward.summer(tokenizer, base, pooling, forward.dtype_for(precision, device))
        budget = token_budget or forward.token_budget_for(base, device)
        with own_bar as bar:
            for batch, batch_sums in _run(sum_states, pieces, budget, batch_size, device):
                rows = [row for row, _ in batch]
                lengths = np.array([len(piece) for _, piece in batch])
                # A protein may have several windows in a batch, which += would count once.
                np.add.at(sums, rows, batch_sums)
                np.add.at(counts[:, 0], rows, lengths + (_SPECIAL if pooling == "all" else 0))
                bar.update(int(lengths.sum()))
    finally:
        base.train(was_training)
        if device.type == "cuda":
            torch.cuda.empty_cache()  # JAX may want memory of the same GPU next
    means = (sums / counts).astype(np.float32)
    if not np.isfinite(means).all():
        raise ValueError(
            "Some embeddings are not finite. Use precision='exact'; if it is that already, the "
            "model's weights are damaged."
        )
    return means[[row_of[sequence] for sequence in clean]]


def model_window(model: EsmModel | EsmForMaskedLM) -> int:
    """Return how many residues the model was made for: ESM2's 1,026 positions hold 1,022."""
    # Two positions are never used (ESM counts from the padding token's id on), two are special.
    return model.config.max_position_embeddings - 2 - _SPECIAL


def check_options(**options: str) -> None:
    """Raise a ValueError for an option of :func:`get_mean_embeddings` that there is not."""
    for name, value in options.items():
        if value not in OPTIONS[name]:
            raise ValueError(
                f"There is no {name}={value!r}; choose one of {', '.join(OPTIONS[name])}."
            )


def base_model(model: EsmModel | EsmForMaskedLM) -> EsmModel:
    """Return the model without a head for masked tokens; a ValueError if it is not float32."""
    base = getattr(model, "esm", model)
    dtypes = {weight.dtype for weight in base.parameters()}
    if dtypes != {torch.float32}:
        raise ValueError(
            f"The model's weights are {', '.join(sorted(map(str, dtypes)))}. Load it in float32 "
            "and ask for precision='fast': casting all of a model spoils its rotary tables."
        )
    return base


def _cleaned(sequences: Iterable[str], names: Sequence[str] | None, window: int | None):
    """Clean the sequences, and refuse those longer than a window, if there is one."""
    if isinstance(sequences, str):
        raise ValueError(
            "get_mean_embeddings(): `sequences` is one text; pass a list, even of one sequence."
        )
    sequences = list(sequences)
    names = names if names is not None else [f"sequences[{i}]" for i in range(len(sequences))]
    clean = [clean_sequence(s, str(name)) for s, name in zip(sequences, names, strict=True)]
    for name, sequence in zip(names, clean, strict=True):
        if window is not None and len(sequence) > window:
            raise ValueError(
                f"{name}: {len(sequence):,} residues are more than the model's window of "
                f"{window:,}. Use long='window' to average over pieces, or long='truncate'."
            )
    return clean


def _pieces(sequence: str, window: int, long: str) -> list[str]:
    """Cut a sequence into the fewest pieces within the window, equal in length to one residue."""
    if long == "truncate":
        return [sequence[:window]]
    n = -(-len(sequence) // window)
    cuts = [i * len(sequence) // n for i in range(n + 1)]
    return [sequence[start:stop] for start, stop in pairwise(cuts)]


def _run(
    sum_states: Callable, pieces: list[tuple[int, str]], budget: int, most: int | None, device
) -> Iterator[tuple[list[tuple[int, str]], np.ndarray]]:
    """Yield (batch, its sums) from longest to shortest; halve the budget where memory ends."""
    start, said = 0, False
    while start < len(pieces):
        tokens = len(pieces[start][1]) + _SPECIAL
        size = max(1, min(budget // tokens, most or len(pieces)))
        batch = pieces[start : start + size]
        try:
            sums = sum_states([piece for _, piece in batch])
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            sums = None
        if sums is not None:
            start += len(batch)
            yield batch, sums
            continue
        # Outside the except block, where the error no longer holds on to the tensors.
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if len(batch) == 1:
            raise MemoryError(
                f"A single piece of {tokens - _SPECIAL:,} residues does not fit into the memory "
                f"of {device}. Use a smaller model, or device='cpu'."
            )
        budget = tokens * len(batch) // 2
        if not said:
            print(f"Out of memory on {device}: going on with batches of {budget:,} tokens or less.")
        said = True


def _is_out_of_memory(error: Exception) -> bool:
    # On a CPU, PyTorch's own error is a plain RuntimeError. oneDNN's names no cause; that it can
    # prepare a product in this precision at all was tried before (packed_forward).
    words = ("out of memory", "can't allocate memory", "not enough memory", "create a primitive")
    kinds = (MemoryError, torch.cuda.OutOfMemoryError)
    return isinstance(error, kinds) or any(word in str(error) for word in words)
