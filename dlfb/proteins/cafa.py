"""The chapter's files in the layout of the CAFA competitions, read and checked.

Every edition brings the same files under ``assets("proteins/datasets/...")``. A
file that lacks a column, names a protein twice or holds a cell that makes no
sense is refused with the file and the line, rather than joined into nonsense.
``dlfb.proteins.dataset`` passes these functions on.
"""

import csv
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from dlfb.proteins.ontology import ASPECTS
from dlfb.proteins.sequences import read_fasta
from dlfb.utils.context import assets, edition

TERMS_FILE = "train_terms.tsv.zip"
SEQUENCES_FILE = "train_sequences.fasta"
TAXONOMY_FILE = "train_taxonomy.tsv.zip"
TRUTH_FILES = ("proteins", "sites", "hidden_terms")


def load_terms(aspect: str | None = None) -> pd.DataFrame:
    """Read which protein has which GO term.

    Parameters
    ----------
    aspect : {"BPO", "MFO", "CCO"}, optional
        Keep this aspect only.

    Returns
    -------
    DataFrame
        Columns EntryID, term, aspect, a row for each pair, in the file's order.

    Raises
    ------
    FileNotFoundError
        If the file is missing.
    ValueError
        If `aspect`, a column or a cell of the file is not what it should be.
    """
    return read_terms(aspect).apply(_as_text).reset_index(drop=True)


def read_terms(aspect: str | None = None) -> pd.DataFrame:
    """Do what :func:`load_terms` does, for quick work on millions of rows.

    The columns are categories instead of text, and the index is the row of the
    file, which stands in line index + 2.
    """
    if aspect is not None and aspect not in ASPECTS:
        raise ValueError(f"There is no aspect {aspect!r}; choose one of {', '.join(ASPECTS)}.")
    terms = _read_table(TERMS_FILE, ("EntryID", "term", "aspect"))
    _check_cells(terms["term"], lambda cell: cell.startswith("GO:"), TERMS_FILE, "a GO id")
    _check_cells(terms["aspect"], ASPECTS.__contains__, TERMS_FILE, f"one of {', '.join(ASPECTS)}")
    pair = terms["EntryID"].cat.codes.astype("int64") * len(terms["term"].cat.categories)
    repeated = (pair + terms["term"].cat.codes).duplicated().to_numpy()
    if repeated.any():
        print(
            f"{TERMS_FILE}: {repeated.sum():,} rows dropped: they repeat the protein and term of "
            f"an earlier row, the first of them in line {_line(repeated)}."
        )
    kept = ~repeated if aspect is None else ~repeated & (terms["aspect"] == aspect).to_numpy()
    return terms[kept]


def load_taxonomy() -> pd.DataFrame:
    """Read which species a protein is of.

    Returns
    -------
    DataFrame
        Columns EntryID and taxonomyID (NCBI's number, int64), in the file's order.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing, or its columns, ids or numbers are not right.
    """
    taxonomy = _read_table(TAXONOMY_FILE, ("EntryID", "taxonomyID"))
    _check_unique(taxonomy["EntryID"], TAXONOMY_FILE, "line", first=2)
    _check_cells(taxonomy["taxonomyID"], str.isdecimal, TAXONOMY_FILE, "a taxonomy number")
    return taxonomy.apply(_as_text).astype({"taxonomyID": "int64"})


def load_sequences() -> pd.DataFrame:
    """Read the proteins' sequences.

    Returns
    -------
    DataFrame
        Columns EntryID, Sequence (clean, upper case) and Length (int64, residues), in the
        file's order.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing, names a protein twice, or holds a letter that is no residue.
    """
    records = pd.DataFrame(read_fasta(provided(SEQUENCES_FILE)), columns=["EntryID", "Sequence"])
    _check_unique(records["EntryID"], SEQUENCES_FILE, "record", first=1)
    return records.assign(Length=records["Sequence"].str.len().astype("int64"))


def load_truth() -> dict[str, pd.DataFrame] | None:
    """Read what is known about simulated proteins and never about real ones.

    Returns
    -------
    dict of DataFrame, or None
        ``"proteins"`` (EntryID, family, ...), ``"sites"`` (conserved residues)
        and ``"hidden_terms"`` (true annotations that the simulator left out).
        None, and a sentence that says so, where the proteins are real.

    Raises
    ------
    FileNotFoundError
        If some of the three files are there and others are not.
    """
    paths = {name: Path(assets(f"proteins/truth/{name}.tsv")) for name in TRUTH_FILES}
    missing = [str(path) for path in paths.values() if not path.is_file()]
    if len(missing) == len(paths):
        print("There are no truth files: about real proteins nobody knows the whole truth.")
        return None
    if missing:
        raise FileNotFoundError(f"load_truth(): of the three truth files there is no {missing[0]}.")
    return {
        name: pd.read_csv(path, sep="\t", quoting=csv.QUOTE_NONE, keep_default_na=False)
        for name, path in paths.items()
    }


def provided(name: str) -> Path:
    """Return the path of a file of ``proteins/datasets``, or say that it is missing and what to do.

    Raises
    ------
    FileNotFoundError
        If the edition has no such file.
    """
    path = Path(assets(f"proteins/datasets/{name}"))
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {name} in the {edition()} edition's files (looked for {path}). Run "
            "`dlfb-provision --chapter proteins` for the full edition's, choose the pocket edition "
            "with DLFB_EDITION=pocket, or put the file under proteins/datasets/ in the folder that "
            "DLFB_ASSETS names."
        )
    return path


def _read_table(name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read the columns of a tab-separated file as categories, none of their cells empty."""
    path = provided(name)
    # No cell is special (a protein may be called NA) and no line skipped (so that rows are lines).
    plain = {
        "sep": "\t",
        "quoting": csv.QUOTE_NONE,
        "keep_default_na": False,
        "skip_blank_lines": False,
    }
    try:
        header = pd.read_csv(path, nrows=0, **plain).columns
        if lacking := [column for column in columns if column not in header]:
            raise ValueError(
                f"it lacks the column {lacking[0]!r} (its first line reads {', '.join(header)}; "
                f"wanted are {', '.join(columns)}, tab-separated)."
            )
        # As categories, pandas would take ids such as 1E5 and 007 for numbers.
        dtypes = {c: "category" if c in ("term", "aspect") else "str" for c in columns}
        table = pd.read_csv(path, usecols=columns, dtype=dtypes, index_col=False, **plain)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} could not be read: {error}") from error
    table = table[list(columns)].astype("category")
    if table.empty:
        raise ValueError(f"{path}: the file has a header and no rows.")
    for column in columns:
        _check_cells(table[column], bool, name, f"a value in the column {column}")
    return table


def _check_cells(column: pd.Series, valid: Callable, name: str, wanted: str) -> None:
    """Refuse the first cell that is not valid; each distinct value is looked at once."""
    good = np.array([valid(str(cell)) for cell in column.cat.categories] + [False], dtype=bool)
    # Code -1, a cell that is not there at all, finds the False at the end.
    bad = ~good[column.cat.codes]
    if bad.any():
        cell = column.iloc[int(bad.argmax())]
        raise ValueError(f"{name}, line {_line(bad)}: {str(cell)!r} where {wanted} should be.")


def _check_unique(ids: pd.Series, name: str, unit: str, first: int) -> None:
    repeated = ids.duplicated()
    if repeated.any():
        again = int(repeated.to_numpy().argmax())
        once = int((ids == ids.iloc[again]).to_numpy().argmax())
        raise ValueError(
            f"{name}: the protein {ids.iloc[again]!r} stands there twice, in {unit} {once + first} "
            f"and in {unit} {again + first}. Each may have one; remove the other."
        )


def _line(rows: np.ndarray) -> int:
    """Return the line of the file that the first True row stands in, the header being line 1."""
    return int(rows.argmax()) + 2


def _as_text(column: pd.Series) -> pd.Series:
    # Many times quicker than astype: each distinct value is made once.
    return pd.Series(column.cat.categories.astype("str").take(column.cat.codes), column.index)
