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
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pandas as pd

from dlfb.proteins import book_embeddings
from dlfb.proteins.sequences import clean_sequence, read_fasta
from dlfb.utils import pieces, store
from dlfb.utils.display import progress
from dlfb.utils.fingerprint import fingerprint

PIECE_SIZE = 2000

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
    clean = _clean(table)
    asked = {"sequences": fingerprint(clean), "columns": fingerprint(table)}
    folder = _folder(store_prefix, _model_name(model))
    if not force and not folder.exists():
        provided = book_embeddings.find(folder, _model_name(model))
        if provided and book_embeddings.fits(provided, table):
            return provided
    parts = (table[i : i + piece_size] for i in range(0, max(1, len(table)), piece_size))
    options["batch_size"] = batch_size
    return _store(folder, asked, parts, tokenizer, model, force, options, sum(map(len, clean)))


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

    def parts() -> Iterator[pd.DataFrame]:
        records = read_fasta(fasta_path)
        while piece := list(islice(records, piece_size)):
            table = pd.DataFrame(piece, columns=["EntryID", "Sequence"])
            yield table.assign(Length=table["Sequence"].str.len())

    with open(fasta_path, "rb") as file:
        asked = {"sequences": hashlib.file_digest(file, "sha256").hexdigest()}
    folder = _folder(store_prefix, _model_name(model))
    return _store(folder, asked, parts(), tokenizer, model, force, options)


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
    folder = _folder(store_file_prefix, model_checkpoint)
    again = "Call store_sequence_embeddings(...) again"
    try:
        manifest = pieces.read_manifest(folder)
        if manifest is not None:
            columns = zip(*manifest["pieces"], strict=True)  # the tables, the vectors
            whole = [[pieces.read_piece(folder / name) for name in names] for names in columns]
            joined = [pd.concat(tables, ignore_index=True) for tables in whole]
            return pd.concat(joined, axis=1)
    except pieces.Damaged as error:
        raise ValueError(f"{error} {again}: it computes anew what is damaged.") from error
    if folder.exists():
        done = len(list(folder.glob("vectors-*.feather")))
        raise FileNotFoundError(
            f"The embeddings in {folder} are not finished; {done} pieces are there. {again}: it "
            "goes on with the next one."
        )
    provided = book_embeddings.find(folder, model_checkpoint)
    if provided is None:
        raise FileNotFoundError(
            f"No embeddings by {model_checkpoint} are kept at {store_file_prefix}: there is no "
            f"folder {folder}. store_sequence_embeddings(...) makes them."
        )
    return book_embeddings.read(provided)


def _store(
    folder: Path,
    asked: dict[str, str],
    parts: Iterable[pd.DataFrame],
    tokenizer,
    model,
    force: bool,
    options: dict,
    residues: int | None = None,
) -> Path:
    """Make the store hold what is asked, whatever of it is there already."""
    settings = _settings(tokenizer, model, options)
    asked = asked | settings
    if not force and _look(folder, asked)[0]:
        return folder
    with store.locked(folder):
        # Another process may have computed it while this one waited.
        found, why = (False, "") if force else _look(folder, asked)
        if found:
            return folder
        try:
            folder.mkdir(exist_ok=True)
            pieces.sweep(folder, ["*.tmp"])  # of a run that was killed
            for line in [*pieces.set_damaged_aside(folder), *([why] if why else [])]:
                print(line)
            files = []
            with progress(total=residues, desc="Embedding", unit=" residues") as bar:
                for table in parts:
                    stem = f"vectors-{fingerprint([settings, _clean(table)])[:16]}"
                    there = [] if force else sorted(folder.glob(f"{stem}-*.feather"))
                    if there:
                        name = there[0].name
                        bar.update(sum(map(len, _clean(table))))
                    else:
                        vectors = _vectors(table, tokenizer, model, bar, options)
                        name = pieces.write_piece(folder, stem, vectors)
                    files.append([pieces.write_piece(folder, "table", table), name])
            pieces.write_manifest(folder, {"asked": asked, "pieces": files})
        except OSError as error:
            raise OSError(
                f"The embeddings can't be kept in {folder}: {error}. The pieces written so far "
                "stay. Make room or choose another store_prefix, and call again."
            ) from error
        listed = [name for pair in files for name in pair]
        pieces.sweep(folder, ["*.feather", "*.tmp"], keep=listed)
    return folder


def _look(folder: Path, asked: dict[str, str]) -> tuple[bool, str]:
    """Return whether the store holds what is asked, and if not, why, for people."""
    try:
        manifest = pieces.read_manifest(folder)
    except pieces.Damaged as error:
        return False, f"{error} It is made anew."
    if manifest is None:
        return False, ""
    kept = manifest["asked"]
    names = dict.fromkeys((*asked, *kept))
    different = [name for name in names if kept.get(name) != asked.get(name)]
    if different:
        todo = "they stay, the table is replaced" if different == ["columns"] else "computing anew"
        return (
            False,
            f"The embeddings in {folder} were kept for other {', '.join(different)}: {todo}.",
        )
    if pieces.missing(folder, (name for pair in manifest["pieces"] for name in pair)):
        return False, f"Part of the embeddings in {folder} is gone: computing it anew."
    return True, ""


def _vectors(table: pd.DataFrame, tokenizer, model, bar, options: dict) -> pd.DataFrame:
    from dlfb.proteins.embeddings import get_mean_embeddings  # which imports this module

    vectors = get_mean_embeddings(
        table["Sequence"], tokenizer, model, names=_names(table), bar=bar, **options
    )
    return pd.DataFrame(vectors, columns=[f"ME:{i + 1}" for i in range(vectors.shape[1])])


def _settings(tokenizer, model, options: dict) -> dict[str, str]:
    """Return all that a vector depends on besides its sequence, as fingerprints or as it is."""
    from dlfb.proteins.embeddings import OPTIONS, base_model, check_options

    unknown = sorted(options.keys() - {*OPTIONS, "device", "token_budget", "batch_size"})
    if unknown:
        raise TypeError(f"Embeddings can't be kept with the option {unknown[0]!r}: there is none.")
    chosen = {name: options.get(name, allowed[0]) for name, allowed in OPTIONS.items()}
    check_options(**chosen)
    base = base_model(model)
    # By content alone: another version of transformers or of Python changes no vector.
    weights = {
        name: tensor.cpu()
        for name, tensor in base.state_dict().items()
        if not name.startswith(_UNUSED_WEIGHTS)
    }
    config = {name: getattr(base.config, name, None) for name in _SETTINGS}
    vocabulary = dict(tokenizer.get_vocab())
    return {"model": fingerprint([weights, config]), "tokenizer": fingerprint(vocabulary), **chosen}


def _clean(table: pd.DataFrame) -> list[str]:
    names = _names(table)
    return [clean_sequence(s, n) for s, n in zip(table["Sequence"], names, strict=True)]


def _names(table: pd.DataFrame) -> list[str]:
    if "EntryID" in table.columns:
        return [str(name) for name in table["EntryID"]]
    return [f"row {i}" for i in table.index]


def _model_name(model) -> str:
    name = getattr(model, "dlfb_checkpoint", None) or getattr(model.config, "_name_or_path", None)
    if not name:
        raise ValueError(
            "The model has no name to keep embeddings under. Load it with "
            "load_language_model(...), or set model.dlfb_checkpoint = 'a name'."
        )
    return name


def _folder(prefix: str | os.PathLike, model_name: str) -> Path:
    return Path(f"{os.fspath(prefix)}_{model_name.replace('/', '_')}").expanduser().absolute()
