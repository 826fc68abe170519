"""Embeddings in the layout of the book's own code: one Feather file, without a fingerprint.

Such a file says neither by which model nor from which sequences it was made, so it is
taken as it is, and that is said.
"""

from pathlib import Path

import pandas as pd


def find(folder: Path, model_name: str) -> Path | None:
    """Return the single file that stands for a store, if it is there.

    ``{prefix}_{model name}.feather``, the name with its slash as an underscore, or
    only what comes after the slash.
    """
    whole, last = model_name.replace("/", "_"), model_name.rsplit("/", 1)[-1]
    short = folder.name.removesuffix(whole) + last
    files = [folder.with_name(f"{name}.feather") for name in (folder.name, short)]
    return next((file for file in files if file.is_file()), None)


def read(file: Path) -> pd.DataFrame:
    """Read such a file, saying that it was not checked.

    Raises
    ------
    ValueError
        If it is no Feather file, or has no column ``ME:1``.
    """
    table = _table(file)
    _say_not_checked(file)
    return table


def fits(file: Path, table: pd.DataFrame) -> bool:
    """Whether the file is of the table's proteins, as far as can be told; says so."""
    provided = _table(file)
    shared = [c for c in ("EntryID", "Sequence") if c in provided.columns and c in table.columns]
    if len(provided) == len(table) and all(list(provided[c]) == list(table[c]) for c in shared):
        _say_not_checked(file)
        return True
    print(f"{file} is of other proteins than those asked for: computing anew.")
    return False


def _table(file: Path) -> pd.DataFrame:
    try:
        table = pd.read_feather(file)
    except (ValueError, OSError) as error:
        raise ValueError(f"{file} can't be read as a Feather file: {error}") from error
    if "ME:1" not in table.columns:
        raise ValueError(f"{file} holds no embeddings: it has no column 'ME:1'.")
    return table


def _say_not_checked(file: Path) -> None:
    print(f"{file} was taken as it is. It does not say how it was made, so that was not checked.")
