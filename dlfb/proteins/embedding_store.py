"""Embeddings kept on disk, in pieces, so that nothing is computed twice (notebook 06).

A store is a folder ``{prefix}_{model name}``. A *piece* in it has the vectors of some sequences;
its name begins with a fingerprint of model and options. The *index* has the table and this
fingerprint. It is replaced last, so that a reader finds the old store or the new one.
"""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dlfb.proteins.embeddings import CHOICES, checked_options, mean_states
from dlfb.proteins.encoder import encoder_of
from dlfb.proteins.sequences import clean_sequence
from dlfb.utils import store
from dlfb.utils.checks import check_table, unique_ids
from dlfb.utils.context import checkpoint_name, expanded
from dlfb.utils.display import progress
from dlfb.utils.fingerprint import fingerprint
from dlfb.utils.restore import kept
from dlfb.utils.tables import table_bytes, table_of

PIECE = 2000  # proteins that are embedded and kept at a time


def store_sequence_embeddings(
    sequence_df: pd.DataFrame,
    store_prefix: str | os.PathLike,
    tokenizer,
    model,
    batch_size: int | None = None,
    force: bool = False,
    *,
    device: torch.device | str | None = None,
    **options,
) -> Path:
    """Embed the proteins of a table and keep table and vectors; return the store's folder.

    The table has a column ``Sequence`` and any others (``EntryID`` names proteins in errors). Its
    index is not kept. Only sequences without a vector of this model are computed, or all with
    `force`, in pieces of 2,000. The options are those of
    :func:`dlfb.proteins.embeddings.get_mean_embeddings`. ValueError before anything is computed.
    """
    how, encoder = checked_options(batch_size=batch_size, **options), encoder_of(tokenizer, model)
    table = _checked_table(sequence_df)
    names = table["EntryID"] if "EntryID" in table else [f"row {i}" for i in table.index]
    clean = [clean_sequence(s, str(n)) for n, s in zip(names, table["Sequence"], strict=True)]
    folder = _folder(store_prefix, _model_name(model))
    made = {"the model": fingerprint(encoder)}
    made |= {f"the option {name!r}": how[name] for name in CHOICES}
    key = {"function": "the table of embeddings", "the table": fingerprint(table), **made}
    embed = partial(mean_states, encoder=encoder, device=device, **how)
    stem = fingerprint(made)[:16]
    with store.locked(store.store_file(folder / "index")):
        needed = _embed_missing(folder, stem, list(dict.fromkeys(clean)), embed, force)
        index = {"table": table, "pieces": stem, "width": encoder.model.config.hidden_size}
        kept(folder / "index", key, lambda: index, force=force, must=True)
        # Old pieces, and what killed runs left.
        for file in {*_pieces(folder), *folder.glob(".*.tmp")} - needed:
            file.unlink(missing_ok=True)
    return folder


def load_sequence_embeddings(
    store_file_prefix: str | os.PathLike, model_checkpoint: str
) -> pd.DataFrame:
    """Return what :func:`store_sequence_embeddings` kept: the table, then ``ME:1`` ... ``ME:D``.

    `model_checkpoint` is the language model's name, as it was asked for. FileNotFoundError if
    nothing finished is kept there, ValueError if a file is damaged.
    """
    folder = _folder(store_file_prefix, checkpoint_name(model_checkpoint))
    if not folder.exists():
        folder = _folder(store_file_prefix, model_checkpoint)
    vector_of, again = {}, "Call store_sequence_embeddings(...), which continues where it stopped."
    try:
        index = store.read(store.store_file(folder / "index")).value()
        for file in _pieces(folder, index["pieces"]):
            piece = store.read(file).value()
            vector_of |= dict(zip(piece["sequences"], piece["vectors"], strict=True))
        vectors = [vector_of[clean_sequence(s)] for s in index["table"]["Sequence"]]
        vectors = np.array(vectors, np.float32).reshape(-1, index["width"])
    except FileNotFoundError as error:
        fault = f"No finished embeddings by {model_checkpoint} are kept at {store_file_prefix}"
        raise FileNotFoundError(f"{fault} ({error}). {again}") from error
    except (ValueError, LookupError, TypeError) as error:
        fault = f"A file in {folder} is damaged or missing: {error!s:.80}"
        raise ValueError(f"{fault}. {again}") from error
    columns = [f"ME:{i + 1}" for i in range(index["width"])]
    return pd.concat([index["table"], pd.DataFrame(vectors, columns=columns)], axis=1)


def _checked_table(sequence_df: pd.DataFrame) -> pd.DataFrame:
    """Return the table to keep; a ValueError if it can't be kept or has no sequences."""
    who = "store_sequence_embeddings()"
    check_table(sequence_df, ["Sequence"], who)
    if any(str(column).startswith("ME:") for column in sequence_df.columns):
        raise ValueError(f"{who}: drop the columns 'ME:...', which are the names of embeddings.")
    table = sequence_df.reset_index(drop=True)
    try:
        table_of(table_bytes(table))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{who}: {error}. Give each column values of one type.") from error
    if "EntryID" in table:
        pairs = table[["EntryID", "Sequence"]].astype(str).drop_duplicates()
        unique_ids(pairs["EntryID"], f"{who}: different sequences under one EntryID")
    return table


def _embed_missing(folder: Path, stem: str, wanted: list[str], embed, force: bool) -> set[Path]:
    """Add pieces until all wanted sequences have vectors; return the files that have them."""
    file_of = {}
    for file in () if force else _pieces(folder, stem):
        try:
            file_of |= dict.fromkeys(store.read(file).value()["sequences"], file)
        except store.Damaged as error:
            print(f"{store.set_aside(file, error)}.")
    missing = [sequence for sequence in wanted if sequence not in file_of]
    with progress(total=sum(map(len, missing)), desc="Embedding", unit=" residues") as bar:
        for start in range(0, len(missing), PIECE):
            part = missing[start : start + PIECE]
            file = folder / f"{stem}-{fingerprint(part)[:16]}{store.SUFFIX}"
            vectors = embed(part, advance=bar.update)
            try:
                store.write(file, {"sequences": part, "vectors": vectors})
            except OSError as error:
                raise OSError(f"Embeddings can't be kept at {file}: {error}.") from error
            file_of |= dict.fromkeys(part, file)
    return {file_of[sequence] for sequence in wanted}


def _pieces(folder: Path, stem: str = "?" * 16) -> list[Path]:
    return sorted(folder.glob(f"{stem}-{'?' * 16}{store.SUFFIX}"))


def _model_name(model) -> str:
    name = getattr(model, "dlfb_checkpoint", None) or getattr(model, "name_or_path", None)
    if not name:
        fault = "The model has no name to keep embeddings under"
        raise ValueError(f"{fault}. Set model.dlfb_checkpoint = 'a name'.")
    return checkpoint_name(name) if os.path.isabs(name) else name


def _folder(prefix: str | os.PathLike, model_name: str) -> Path:
    return expanded(f"{os.fspath(prefix)}_{model_name.replace('/', '_')}").absolute()
