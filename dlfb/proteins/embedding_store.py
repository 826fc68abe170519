"""Embeddings kept on disk, in pieces, so that nothing is computed twice (notebook 06).

A store is a folder ``{prefix}_{model name}``. Each of its pieces is a kept result
(:mod:`dlfb.utils.restore`) with the vectors of up to 2,000 sequences; its name begins with a
fingerprint of all else that they depend on. ``index`` holds the table and says which vectors belong
to it. It is replaced last, in one step, so that a reader finds the old store or the new one.
"""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dlfb.proteins.embeddings import base_model, check_options, cleaned, mean_states
from dlfb.utils import store
from dlfb.utils.context import checkpoint_name, expanded
from dlfb.utils.display import progress
from dlfb.utils.fingerprint import fingerprint
from dlfb.utils.restore import kept
from dlfb.utils.tables import table_bytes, table_of

PIECE = 2000  # proteins that are embedded and kept at a time
# What a vector depends on, of a model's settings; and weights that are random and not used.
_SETTINGS = (
    "num_attention_heads", "layer_norm_eps", "token_dropout", "position_embedding_type",
    "emb_layer_norm_before", "max_position_embeddings",
)  # fmt: skip
_UNUSED = ("contact_head.", "pooler.")


def store_sequence_embeddings(
    sequence_df: pd.DataFrame,
    store_prefix: str | os.PathLike,
    tokenizer,
    model,
    batch_size: int | None = None,
    force: bool = False,
    *,
    device: torch.device | str | None = None,
    pooling: str = "residues",
    precision: str = "exact",
    long: str = "window",
    token_budget: int | None = None,
) -> Path:
    """Embed the proteins of a table and keep table and vectors; silent if they are kept already.

    Only sequences of which this model's vector is not there yet are computed, 2,000 at a time. Each
    such piece is kept at once, so that a run that was cut off goes on with the next one.

    Parameters
    ----------
    sequence_df : DataFrame
        A column ``Sequence``, and any others (``EntryID`` names proteins in errors). The index is
        not kept.
    store_prefix : str
        Where: the model's name is appended, its slashes turned into underscores.
    tokenizer, model, batch_size, device, pooling, precision, long, token_budget
        As for :func:`get_mean_embeddings`.
    force : bool
        Compute anew what is there.

    Returns
    -------
    Path
        The store's folder.

    Raises
    ------
    ValueError
        If the table lacks the column ``Sequence``, has columns ``ME:`` already, gives an EntryID
        two sequences, or can't be kept; if a sequence or an option is not what it should be. All
        that is found before anything is embedded.
    OSError
        If the store can't be written.
    """
    how = {"pooling": pooling, "precision": precision, "long": long}
    check_options(token_budget, batch_size, **how)
    table = _checked_table(sequence_df)
    names = table["EntryID"] if "EntryID" in table else [f"row {i}" for i in table.index]
    clean = cleaned(table["Sequence"], names, model, long)
    folder = _folder(store_prefix, _model_name(model))
    book = folder.with_name(f"{folder.name}.feather")
    theirs = book.is_file() and not folder.exists() and not force
    if theirs and _book_table(book, list(table["Sequence"])) is not None:
        return book
    made = _made_by(tokenizer, model) | {f"the option {k!r}": v for k, v in how.items()}
    key = {"function": "the index of embeddings", "the proteins": fingerprint(clean)}
    key |= {"the table": fingerprint(table), **made}

    def embed(sequences: list[str], bar) -> np.ndarray:
        options = {"token_budget": token_budget, "batch_size": batch_size, **how}
        return mean_states(sequences, tokenizer, model, device, bar, **options)

    def index(anew: bool) -> dict:
        return kept(
            folder / "index",
            key,
            lambda: {"table": table, **_embed_missing(folder, made, clean, embed, force)},
            force=anew,
            must=True,
        )

    with store.locked(store.store_file(folder / "index")):
        found = index(force)
        try:
            _read(folder, found)
        except (store.Damaged, FileNotFoundError):
            found = index(True)
        _sweep(folder, found["pieces"])
    return folder


def load_sequence_embeddings(
    store_file_prefix: str | os.PathLike, model_checkpoint: str
) -> pd.DataFrame:
    """Return what :func:`store_sequence_embeddings` kept: the table, then ``ME:1`` ... ``ME:D``.

    A file ``{prefix}_{model name}.feather``, as the book's code writes it, is taken as it is, and
    that is said. `model_checkpoint` is the language model's name, as it was asked for.

    Raises
    ------
    FileNotFoundError
        If nothing is kept there, or the work was cut off before its end.
    ValueError
        If a file is damaged.
    """
    asked = _folder(store_file_prefix, model_checkpoint)
    folder = _folder(store_file_prefix, checkpoint_name(model_checkpoint))
    folder = folder if folder.exists() else asked
    book = asked.with_name(f"{asked.name}.feather")
    if not folder.exists() and book.is_file():
        return _book_table(book)
    again = "Call store_sequence_embeddings(...)"
    try:
        index = store.read(store.store_file(folder / "index")).value()
        vectors = _read(folder, index)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"No finished embeddings by {model_checkpoint} are kept at {store_file_prefix}: "
            f"{error.filename or folder} is not there. {again}, which makes them, and goes on "
            "where it was cut off."
        ) from error
    except (store.Damaged, LookupError, TypeError) as error:
        raise ValueError(
            f"A file in {folder} is damaged: {error}. {again} again: it computes what is lost."
        ) from error
    columns = [f"ME:{i + 1}" for i in range(vectors.shape[1])]
    return pd.concat([index["table"], pd.DataFrame(vectors, columns=columns)], axis=1)


def _checked_table(sequence_df: pd.DataFrame) -> pd.DataFrame:
    """Return the table to be kept; a ValueError if it is not one that can be."""
    where = "store_sequence_embeddings(): the table"
    columns = list(map(str, getattr(sequence_df, "columns", ())))  # none, if it is no table
    if "Sequence" not in columns:
        has = ", ".join(columns[:8]) or "none"
        raise ValueError(f"{where} has no column 'Sequence'; it has {has}.")
    if any(column.startswith("ME:") for column in columns):
        raise ValueError(
            f"{where} has columns 'ME:...' already, which are the names of embeddings. Drop them."
        )
    table = sequence_df.reset_index(drop=True)
    try:
        table_of(table_bytes(table))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"store_sequence_embeddings(): {error}. Give each column values of one type."
        ) from error
    if "EntryID" in table:
        two = table[["EntryID", "Sequence"]].astype(str).drop_duplicates()["EntryID"]
        if not two.is_unique:
            raise ValueError(
                f"{where} has different sequences under one EntryID, "
                f"{two[two.duplicated()].iloc[0]!r}: there would be two vectors of one name. Leave "
                "one out, or name them apart."
            )
    return table


def _made_by(tokenizer, model) -> dict[str, str]:
    """Return what vectors depend on besides sequence and options, by content alone."""
    base = base_model(model)
    weights = {k: v for k, v in base.state_dict().items() if not k.startswith(_UNUSED)}
    settings = {name: getattr(base.config, name, None) for name in _SETTINGS}
    vocabulary = fingerprint(dict(tokenizer.get_vocab()))
    return {"the model": fingerprint([weights, settings]), "the tokenizer": vocabulary}


def _embed_missing(folder: Path, made: dict, clean: list[str], embed, force: bool) -> dict:
    """Make the folder hold all vectors; return the pieces' names, and each protein's row in them.

    A sequence whose vector is in any piece of the same model and options is not computed again.
    """
    stem, sizes, place, wanted = fingerprint(made)[:16], {}, {}, list(dict.fromkeys(clean))

    def note(name: str, sequences: list[str]) -> None:
        sizes[name] = len(sequences)
        place.update({sequence: (name, row) for row, sequence in enumerate(sequences)})

    for file in () if force else sorted(folder.glob(f"{stem}-*{store.SUFFIX}")):
        try:
            note(file.stem, store.read(file).value()["sequences"])
        except store.Damaged as error:
            print(f"{store.set_aside(file, error)}.")
    missing = [sequence for sequence in wanted if sequence not in place]
    if 0 < len(missing) < len(wanted):
        there = len(wanted) - len(missing)
        print(f"{there:,} of {len(wanted):,} sequences have vectors there; the rest is embedded.")
    with progress(total=sum(map(len, missing)), desc="Embedding", unit=" residues") as bar:
        for start in range(0, len(missing) if clean else 1, PIECE):
            part = missing[start : start + PIECE]
            key = {"function": "a piece of embeddings", "the sequences": fingerprint(part), **made}
            name = f"{stem}-{fingerprint(part)[:16]}"
            kept(
                folder / name,
                key,
                lambda part=part: {"sequences": part, "vectors": embed(part, bar)},
                force=force,
                must=True,
            )
            note(name, part)
    pieces = list(dict.fromkeys(place[sequence][0] for sequence in wanted)) or [name]
    starts = dict(zip(pieces, np.cumsum([0, *(sizes[name] for name in pieces)]), strict=False))
    rows = [starts[place[sequence][0]] + place[sequence][1] for sequence in clean]
    return {"pieces": pieces, "rows": np.array(rows, np.int64)}


def _read(folder: Path, index: dict) -> np.ndarray:
    """Return an index's vectors (N, D); Damaged or FileNotFoundError if one is lost."""
    pieces = [store.read(store.store_file(folder / name)).value() for name in index["pieces"]]
    return np.concatenate([piece["vectors"] for piece in pieces])[index["rows"]]


def _sweep(folder: Path, pieces: list[str]) -> None:
    """Delete pieces that are no longer needed, and what killed runs left."""
    keep = {f"{name}{store.SUFFIX}" for name in ("index", *pieces)} | {".index.dlfb.lock"}
    ours = re.compile(r"\w{16}-\w{16}\.dlfb|\..*\.(tmp|lock)")  # and not what a reader put there
    for file in folder.iterdir():
        if ours.fullmatch(file.name) and file.name not in keep:
            file.unlink(missing_ok=True)


def _book_table(file: Path, wanted: list[str] | None = None) -> pd.DataFrame | None:
    """Return a table with embeddings as the book's code writes it; None if of other sequences."""
    try:
        table = pd.read_feather(file)
    except (ValueError, OSError) as error:
        raise ValueError(f"{file} can't be read as a Feather file: {error}") from error
    if not {"Sequence", "ME:1"} <= set(table.columns):
        raise ValueError(f"{file} holds no embeddings: it lacks a column 'Sequence' or 'ME:1'.")
    if wanted is not None and list(table["Sequence"]) != wanted:
        print(f"{file} is of other proteins than those asked for, which are embedded.")
        return None
    print(f"{file} was taken as it is: it does not say how it was made, so that was not checked.")
    return table


def _model_name(model) -> str:
    name = getattr(model, "dlfb_checkpoint", None) or getattr(model, "name_or_path", None)
    if not name:
        raise ValueError(
            "The model has no name to keep embeddings under. Load it with "
            "load_language_model(...), or set model.dlfb_checkpoint = 'a name'."
        )
    return checkpoint_name(name) if os.path.isabs(name) else name


def _folder(prefix: str | os.PathLike, model_name: str) -> Path:
    return expanded(f"{os.fspath(prefix)}_{model_name.replace('/', '_')}").absolute()
