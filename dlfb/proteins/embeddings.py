"""One vector per protein: the mean of a language model's states over its residues (notebook 05).

*Tokens* are what the model reads, a protein's residues with ``<cls>`` before and ``<eos>`` behind
them; the *window* is the longest protein that the model was made for: 1,022 residues for ESM2.
How the vectors are kept on disk is in ``embedding_store``.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from numbers import Integral

import numpy as np
import torch
from torch.nn.functional import gelu
from torch.nn.utils.rnn import pad_sequence
from transformers.models.esm.modeling_esm import EsmIntermediate

from dlfb.proteins.sequences import AMINO_ACIDS, RARE_LETTERS, clean_sequence, listed
from dlfb.proteins.utils import get_device
from dlfb.utils.display import progress

OPTIONS = {
    "pooling": ("residues", "all"),
    "precision": ("exact", "fast"),
    "long": ("window", "truncate", "error"),
}
#: Tokens per batch; on a CPU, where each thread has its own.
TOKENS = {"cpu": 512, "cuda": 32768}
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
    clean = cleaned(listed(sequences, "get_mean_embeddings"), names, model, long)
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

    try:
        device = get_device() if device is None else torch.device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"There is no device {str(device)!r} here. Take 'cpu'.") from error
    was_training, threads = base.training, torch.get_num_threads()
    base.to(device).eval()
    sums, counts = np.zeros((len(sequences), base.config.hidden_size)), np.zeros(len(sequences))
    budget = token_budget or TOKENS.get(device.type, 4096)
    batches = list(_batches(pieces, budget, batch_size))
    on_cpu = device.type == "cpu"
    # On a CPU each batch has a thread of its own. Otherwise PyTorch would share each operation out
    # to the threads, all of which then wait for the slowest, operation by operation.
    one_thread = {"initializer": torch.set_num_threads, "initargs": (1,)} if on_cpu else {}
    sum_states = _summer(tokenizer, base, pooling, precision, device)
    try:
        with (
            _fused_gelu(base),
            ThreadPoolExecutor(threads if on_cpu else 1, **one_thread) as pool,
        ):
            for batch, batch_sums in zip(batches, pool.map(sum_states, batches), strict=True):
                rows, lengths = [row for row, _ in batch], [len(piece) for _, piece in batch]
                # A protein may have several windows in a batch, which += would count once.
                np.add.at(sums, rows, batch_sums)
                np.add.at(counts, rows, np.array(lengths) + (_SPECIAL if pooling == "all" else 0))
                bar.update(sum(lengths))
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise MemoryError(
            f"A batch does not fit into the memory of {device}. Give a smaller token_budget than "
            f"{budget:,}, use a smaller model, or device='cpu'."
        ) from error
    finally:
        base.train(was_training)
        torch.set_num_threads(threads)  # threads to come would have one otherwise
        if device.type == "cuda":
            torch.cuda.empty_cache()  # JAX may want memory of the same GPU next
    means = (sums / counts[:, None]).astype(np.float32)
    if not np.isfinite(means).all():
        raise ValueError(
            "Some embeddings are not finite. Use precision='exact'; if it is that already, the "
            "model's weights are damaged."
        )
    return means


def _summer(
    tokenizer, model, pooling: str, precision: str, device: torch.device
) -> Callable[[list[tuple[int, str]]], np.ndarray]:
    """Return the function from a batch of B proteins to the sums of their states, (B, D)."""
    letters = [*AMINO_ACIDS, *RARE_LETTERS]
    # Looked up here: a tokenizer takes a millisecond a protein, and holds up the other threads.
    ids = dict(zip(letters, tokenizer.convert_tokens_to_ids(letters), strict=True))
    skip = 1 if pooling == "residues" else 0
    old_gpu = device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    dtype = torch.float16 if old_gpu else torch.bfloat16

    @torch.inference_mode()
    def sum_states(batch: list[tuple[int, str]]) -> np.ndarray:
        rows = [
            torch.tensor([tokenizer.cls_token_id, *map(ids.get, piece), tokenizer.eos_token_id])
            for _, piece in batch
        ]
        tokens = pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
        lengths = torch.tensor([len(row) for row in rows])[:, None]
        places = torch.arange(tokens.shape[1])
        counted = ((places >= skip) & (places < lengths - skip)).float().to(device)
        # Without padding, no mask: attention is faster so.
        mask = (places < lengths).long().to(device) if lengths.min() < tokens.shape[1] else None
        with torch.autocast(device.type, dtype, enabled=precision == "fast"):
            states = model(tokens.to(device), mask).last_hidden_state
        return (counted[:, None] @ states.float())[:, 0].cpu().numpy()

    return sum_states


@contextlib.contextmanager
def _fused_gelu(model):
    """Let a model take PyTorch's GELU meanwhile: the same in one pass over memory, not in five.

    On a CPU, that is a quarter of the time.
    """
    plain = [m for m in model.modules() if type(m) is EsmIntermediate and "forward" not in vars(m)]
    for layer in plain:
        layer.forward = lambda states, dense=layer.dense: gelu(dense(states))
    try:
        yield
    finally:
        for layer in plain:
            vars(layer).pop("forward", None)


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
