"""Embeddings kept on disk, in pieces, so that long work goes on where it was cut off.

A store is a folder ``{prefix}_{model name}`` of Feather files, two for each piece of a
few thousand proteins: the rows of the table, and the vectors beside them. The name of
a file of vectors holds a key, the fingerprint of all that the vectors depend on
(sequences, weights, vocabulary, options), and the name of every file ends in its own
checksum. So a piece that is there is known to be the right one and whole, whoever wrote it
and whenever. ``manifest.json`` lists the files of the finished store; it is replaced at
the very end, and what it no longer lists is deleted after that. Until then the
old store can be read, and a run that is killed loses one piece at most.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from dlfb.proteins.sequences import clean_sequence, read_fasta
from dlfb.utils import store
from dlfb.utils.display import progress
from dlfb.utils.fingerprint import fingerprint

FORMAT = 1
PIECE_SIZE = 2000
_MANIFEST = "manifest.json"

# What a vector depends on, of a model's settings.
_SETTINGS = (
    "num_attention_heads", "layer_norm_eps", "token_dropout", "position_embedding_type",
    "emb_layer_norm_before", "max_position_embeddings",
)  # fmt: skip
_UNUSED_WEIGHTS = ("contact_head.", "pooler.")  # random where a checkpoint has none


def store_sequence_embeddings(
    sequence_df: pd.DataFrame,
    store_prefix: str | os.PathLike,
    tokenizer,
    model,
    batch_size: int | None = None,
    force: bool = False,
    piece_size: int = PIECE_SIZE,
    **options,
) -> Path:
    """Embed the proteins of a table and keep table and vectors; silent if they are kept already.

    Parameters
    ----------
    sequence_df : DataFrame
        A column ``Sequence``, and any others (``EntryID`` names proteins in errors). The index
        is not kept.
    store_prefix : str
        Where: the model's name is appended, its slashes turned into underscores.
    tokenizer, model
        From :func:`dlfb.proteins.language_model.load_language_model`.
    batch_size : int, optional
        Proteins a batch at most; by default only their tokens are limited.
    force : bool
        Compute anew what is there.
    piece_size : int
        Proteins a piece. A run that was cut off goes on with the next piece.
    **options
        ``device``, ``pooling``, ``precision``, ``long`` and ``token_budget`` of
        :func:`dlfb.proteins.embeddings.get_mean_embeddings`.

    Returns
    -------
    Path
        The store's folder.

    Raises
    ------
    ValueError
        If the table has no column ``Sequence`` or has columns ``ME:`` already; if a sequence
        or an option is not what it should be; if a later dlfb wrote what is there.
    OSError
        If the store can't be written.
    """
    if "Sequence" not in sequence_df.columns:
        raise ValueError(
            "store_sequence_embeddings(): the table has no column 'Sequence'; it has "
            f"{', '.join(map(str, sequence_df.columns[:8]))}."
        )
    if any(str(column).startswith("ME:") for column in sequence_df.columns):
        raise ValueError(
            "store_sequence_embeddings(): the table has columns 'ME:...' already, which are "
            "the names of embeddings. Drop them first."
        )
    table = sequence_df.reset_index(drop=True)
    names = _names(table)
    clean = [clean_sequence(s, n) for s, n in zip(table["Sequence"], names, strict=True)]
    asked = {"sequences": fingerprint(clean), "columns": fingerprint(table)}
    folder = _store_folder(store_prefix, _model_name(model))
    if not force and not folder.exists() and _is_provisioned(folder, table):
        return _book_file(folder)
    pieces = (table[i : i + piece_size] for i in range(0, max(1, len(table)), piece_size))
    options["batch_size"] = batch_size
    return _store(folder, asked, pieces, tokenizer, model, force, options, sum(map(len, clean)))


def embed_fasta(
    fasta_path: str | os.PathLike,
    store_prefix: str | os.PathLike,
    tokenizer,
    model,
    force: bool = False,
    piece_size: int = PIECE_SIZE,
    **options,
) -> Path:
    """Embed a FASTA file of any size, in the memory that one piece needs.

    What is kept has columns EntryID, Sequence and Length; the parameters are those
    of :func:`store_sequence_embeddings`.
    """

    def pieces() -> Iterator[pd.DataFrame]:
        records = read_fasta(fasta_path)
        while piece := list(islice(records, piece_size)):
            table = pd.DataFrame(piece, columns=["EntryID", "Sequence"])
            yield table.assign(Length=table["Sequence"].str.len())

    with open(fasta_path, "rb") as file:
        asked = {"sequences": hashlib.file_digest(file, "sha256").hexdigest()}
    folder = _store_folder(store_prefix, _model_name(model))
    return _store(folder, asked, pieces(), tokenizer, model, force, options)


def load_sequence_embeddings(
    store_file_prefix: str | os.PathLike, model_checkpoint: str
) -> pd.DataFrame:
    """Return what :func:`store_sequence_embeddings` kept, as one table.

    A single file ``{prefix}_{model name}.feather``, as the book's code writes it,
    is taken as it is, and that is said.

    Parameters
    ----------
    store_file_prefix : str
        The `store_prefix` it was kept under.
    model_checkpoint : str
        The language model's name, such as ``"facebook/esm2_t30_150M_UR50D"``.

    Returns
    -------
    DataFrame
        The table's columns in their order, then ``ME:1`` ... ``ME:D``, float32.

    Raises
    ------
    FileNotFoundError
        If nothing is kept there, or the work was cut off before its end.
    ValueError
        If a file of the store is damaged.
    """
    folder = _store_folder(store_file_prefix, model_checkpoint)
    again = "Call store_sequence_embeddings(...) again"
    manifest = _manifest(folder)
    if manifest is None and folder.exists():
        done = len(list(folder.glob("vectors-*.feather")))
        raise FileNotFoundError(
            f"The embeddings in {folder} are not finished ({done} pieces are there). {again}: it "
            "goes on with the next piece."
        )
    if manifest is None:
        if _book_file(folder) is not None:
            return _read_book_file(_book_file(folder))
        raise FileNotFoundError(
            f"No embeddings by {model_checkpoint} are kept at {store_file_prefix}: there is no "
            f"folder {folder}. store_sequence_embeddings(...) makes them."
        )
    try:
        parts = [[_read(folder / name) for name in pair] for pair in manifest["pieces"]]
    except store.Damaged as error:
        raise ValueError(f"{error}. {again}: it computes that piece anew.") from error
    tables, vectors = ([part[i] for part in parts] for i in (0, 1))
    whole = [pd.concat(frames, ignore_index=True, copy=False) for frames in (tables, vectors)]
    return pd.concat(whole, axis=1, copy=False)


def _store(
    folder: Path, asked: dict, pieces: Iterable[pd.DataFrame], tokenizer, model, force, options,
    residues: int | None = None,
) -> Path:  # fmt: skip
    """Make the store hold what is asked, whatever of it is there already."""
    settings = _settings(tokenizer, model, options)
    asked = asked | settings
    if not force and _is_whole(folder, asked):
        return folder
    with store.locked(folder):
        # Another process may have computed it while this one waited.
        if not force and _is_whole(folder, asked):
            return folder
        _say_what_differs(folder, asked, force)
        try:
            folder.mkdir(exist_ok=True)
            _sweep(folder, {"*.tmp"})
            files = []
            with progress(total=residues, desc="Embedding", unit=" residues") as bar:
                for table in pieces:
                    vectors = _vectors(folder, table, settings, tokenizer, model, force, options, bar)
                    files.append([_write(folder, "table", table), vectors])
            _write_manifest(folder, {"dlfb_format": FORMAT, "asked": asked, "pieces": files})
        except OSError as error:
            raise OSError(
                f"The embeddings can't be kept in {folder}: {error}. The pieces written so far "
                "stay. Make room or choose another store_prefix, and call again."
            ) from error
        listed = {name for pair in files for name in pair}
        _sweep(folder, {"table-*", "vectors-*", "*.tmp"}, listed)
    return folder


def _vectors(folder, table, settings, tokenizer, model, force, options, bar) -> str:
    """Return the name of the file with a piece's vectors, made if it is not there."""
    from dlfb.proteins.embeddings import get_mean_embeddings  # which imports this module

    names = _names(table)
    clean = [clean_sequence(s, n) for s, n in zip(table["Sequence"], names, strict=True)]
    stem = f"vectors-{fingerprint([settings, clean])[:16]}"
    for file in [] if force else sorted(folder.glob(f"{stem}-*.feather")):
        try:
            _read(file)
        except store.Damaged as error:
            print(f"{error}; set aside as {store.set_aside(file).name} and computed anew.")
        else:
            bar.update(sum(map(len, clean)))
            return file.name
    vectors = get_mean_embeddings(clean, tokenizer, model, names=names, bar=bar, **options)
    columns = [f"ME:{i}" for i in range(1, vectors.shape[1] + 1)]
    return _write(folder, stem, pd.DataFrame(vectors, columns=columns))
