"""One vector per protein: the mean of a language model's states over its residues (notebook 05).

*Tokens* are what the model reads, a protein's residues with ``<cls>`` before and ``<eos>`` behind
them; the *window* is the longest protein that the model was made for: 1,022 residues for ESM2.
How the vectors are kept on disk is in ``embedding_store``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import pairwise
from numbers import Integral

import numpy as np
import torch

from dlfb.proteins import forward
from dlfb.proteins.sequences import clean_sequence
from dlfb.proteins.utils import get_device
from dlfb.utils.display import progress

OPTIONS = {
    "pooling": ("residues", "all"),
    "precision": ("exact", "fast"),
    "long": ("window", "truncate", "error"),
}
_SPECIAL = 2  # <cls> and <eos>


def get_mean_embeddings(
    sequences: Iterable[str],
    tokenizer,
    model,
    device: torch.device | str | None = None,
    *,
    pooling: str = "residues",
    precision: str = "exact",
    long: str = "window",
    token_budget: int | None = None,
    batch_size: int | None = None,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """Embed proteins: for each, the mean of the model's last hidden states.

    A vector depends on its sequence alone, not on the batch, the order or duplicates around it:
    in ``exact`` precision it is the same to 1e-5 of its length.

    Parameters
    ----------
    sequences : iterable of str
        As :func:`dlfb.proteins.sequences.clean_sequence` takes them. Each distinct sequence is
        computed once.
    tokenizer, model
        An ESM2 model, float32, with or without its head; from
        :func:`dlfb.proteins.language_model.load_language_model` or ``from_pretrained``.
    device : torch.device or str, optional
        Default: :func:`dlfb.proteins.utils.get_device`. The model is moved there and stays.
    pooling : {"residues", "all"}
        Mean over the residues; or over ``<cls>`` and ``<eos>`` as well, which is what the book's
        code gives for a protein embedded alone.
    precision : {"exact", "fast"}
        float32; or bfloat16 (float16 on GPUs without it) for the matrix products, within 2e-2 of
        the exact vector.
    long : {"window", "truncate", "error"}
        Proteins longer than the window are cut into the fewest pieces that fit, equal in length to
        one residue, of which the mean weighted by residues is taken; or cut off; or refused.
    token_budget : int, optional
        Tokens per batch at most (one protein at least). Default: chosen for the device.
    batch_size : int, optional
        Proteins per batch at most, on top of the budget.
    names : sequence of str, optional
        What errors call the sequences.

    Returns
    -------
    np.ndarray
        Shape (N, D), float32; row i for sequence i.

    Raises
    ------
    ValueError
        If a sequence is empty or has a letter that is none (the message names record, position
        and letter), or is too long under ``long="error"``; if an option is unknown; if the model
        is not float32; if `sequences` is a table or a dict, which would give its labels.
    MemoryError
        If a batch does not fit into the device's memory.
    """
    check_options(token_budget, batch_size, pooling=pooling, precision=precision, long=long)
    labelled = isinstance(sequences, str | Mapping | Set) or hasattr(sequences, "columns")
    if labelled or not isinstance(sequences, Iterable):
        raise ValueError(
            f"get_mean_embeddings(): `sequences` is a {type(sequences).__name__}. Pass a list of "
            "sequences, even of one, or a table's column, such as table['Sequence']."
        )
    sequences = list(sequences)
    clean = cleaned(sequences, names, model, long)
    distinct = list(dict.fromkeys(clean))
    how = {"pooling": pooling, "precision": precision, "long": long}
    with progress(total=sum(map(len, distinct)), desc="Embedding", unit=" residues") as bar:
        means = mean_states(
            distinct, tokenizer, model, device, bar, token_budget, batch_size, **how
        )
    row_of = {sequence: row for row, sequence in enumerate(distinct)}
    return means[[row_of[sequence] for sequence in clean]]


def check_options(token_budget, batch_size, **options: str) -> None:
    """Raise a ValueError for an option of :func:`get_mean_embeddings` that there is not."""
    for name, value in options.items():
        if value not in OPTIONS[name]:
            choices = ", ".join(OPTIONS[name])
            raise ValueError(f"There is no {name}={value!r}; choose one of {choices}.")
    for name, number in {"token_budget": token_budget, "batch_size": batch_size}.items():
        whole = isinstance(number, Integral) and not isinstance(number, bool)
        if number is not None and not (whole and number > 0):
            raise ValueError(f"{name}={number!r} should be a whole number, 1 or more.")


def cleaned(sequences, names, model, long: str) -> list[str]:
    """Return the sequences clean; a ValueError for the first that is none, or is too long."""
    names = [f"sequences[{i}]" for i in range(len(sequences))] if names is None else names
    clean = [clean_sequence(s, str(name)) for s, name in zip(sequences, names, strict=True)]
    window = model_window(model)
    for name, sequence in zip(names, clean, strict=True):
        if long == "error" and len(sequence) > window:
            raise ValueError(
                f"{name}: {len(sequence):,} residues are more than the model's window of "
                f"{window:,}. Use long='window' to average over pieces, or long='truncate'."
            )
    return clean


def model_window(model) -> int:
    """Return how many residues the model was made for: ESM2's 1,026 positions hold 1,022."""
    # Two positions are never used (ESM counts from the padding token's id on), two are special.
    return model.config.max_position_embeddings - 2 - _SPECIAL


def mean_states(
    sequences: list[str], tokenizer, model, device, bar, token_budget, batch_size, pooling,
    precision, long,
) -> np.ndarray:  # fmt: skip
    """Return the vectors (N, D) of distinct, clean sequences; the bar advances by residues."""
    base, window = base_model(model), model_window(model)
    pieces = []
    for row, sequence in enumerate(sequences):
        n = 1 if long == "truncate" else -(-len(sequence) // window)
        cuts = [i * len(sequence) // n for i in range(n + 1)]
        pieces += [(row, sequence[a:b][:window]) for a, b in pairwise(cuts)]
    # Longest first: what does not fit into memory shows at once.
    pieces.sort(key=lambda piece: len(piece[1]), reverse=True)

    device = get_device() if device is None else torch.device(device)
    was_training = base.training
    base.to(device).eval()
    sums, counts = np.zeros((len(sequences), base.config.hidden_size)), np.zeros(len(sequences))
    try:
        sum_states = forward.summer(tokenizer, base, pooling, forward.dtype_for(precision, device))
        budget = token_budget or forward.token_budget_for(base, device)
        for batch in _batches(pieces, budget, batch_size):
            rows, lengths = [row for row, _ in batch], [len(piece) for _, piece in batch]
            # A protein may have several windows in a batch, which += would count once.
            np.add.at(sums, rows, sum_states([piece for _, piece in batch]))
            np.add.at(counts, rows, np.array(lengths) + (_SPECIAL if pooling == "all" else 0))
            bar.update(sum(lengths))
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise MemoryError(
            f"A batch does not fit into the memory of {device}. Give a smaller token_budget than "
            f"{budget:,}, use a smaller model, or device='cpu'."
        ) from error
    finally:
        base.train(was_training)
        if device.type == "cuda":
            torch.cuda.empty_cache()  # JAX may want memory of the same GPU next
    means = (sums / counts[:, None]).astype(np.float32)
    if not np.isfinite(means).all():
        raise ValueError(
            "Some embeddings are not finite. Use precision='exact'; if it is that already, the "
            "model's weights are damaged."
        )
    return means


def _batches(pieces: list[tuple[int, str]], budget: int, most: int | None) -> Iterator[list]:
    """Yield neighbours of like length, together within the budget; one at least."""
    start = 0
    while start < len(pieces):
        size = max(1, min(budget // (len(pieces[start][1]) + _SPECIAL), most or len(pieces)))
        yield pieces[start : start + size]
        start += size


def base_model(model):
    """Return the model without a head for masked tokens; a ValueError if it is not float32."""
    base = getattr(model, "esm", model)
    dtypes = {weight.dtype for weight in base.parameters()}
    if dtypes != {torch.float32}:
        raise ValueError(
            f"The model's weights are {', '.join(sorted(map(str, dtypes)))}. Load it in float32 "
            "and ask for precision='fast': casting all of a model spoils its rotary tables."
        )
    return base
