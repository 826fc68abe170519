"""Your own labels: a table to learn from, of a FASTA file and a file of labels."""

import os
from pathlib import Path

import pandas as pd

from dlfb.proteins.sequences import open_text, read_fasta

_VALUES = {"1": 1.0, "0": 0.0, "": float("nan")}


def label_table(fasta: str | os.PathLike, tsv: str | os.PathLike) -> pd.DataFrame:
    """Build a table to learn from, as :func:`dlfb.proteins.dataset.function_table` does.

    Labels are in a tab-separated file of one of two forms. *Pairs*: each line has a protein and one
    of its labels, and a protein in the file has no other labels (0). A header is allowed, and
    needed where labels are the numbers 0 and 1: ``protein<TAB>label``. *Wide*: a header with the
    names of the labels, then a line for each protein with 1, 0, or an empty cell for unknown.

    Columns are EntryID, Sequence, Length, and one for each label, float32: 1, 0, or NaN for
    unknown; sorted by EntryID and label. Proteins that `tsv` lacks are unknown throughout.
    """
    name = Path(tsv).name
    proteins = pd.DataFrame(read_fasta(fasta), columns=["EntryID", "Sequence"])
    proteins = proteins.drop_duplicates().sort_values("EntryID", ignore_index=True)
    if (twice := proteins["EntryID"].duplicated()).any():
        which = proteins["EntryID"][twice].iloc[0]
        raise ValueError(f"{Path(fasta).name}: {which!r} has two sequences. Rename one of them.")
    labels = _read_labels(tsv, name, set(proteins["EntryID"]))
    for label in labels:
        if label in ("EntryID", "Sequence", "Length") or label.startswith("ME:"):
            raise ValueError(f"{name}: {label!r} is the name of another column. Rename the label.")
    known = labels.index.isin(proteins["EntryID"])
    lost = "" if known.all() else f"; dropped: {(~known).sum():,} that {Path(fasta).name} lacks"
    lost += "" if known.all() else f", first {labels.index[~known][0]!r}"
    found = f"{name}: {labels.shape[1]:,} labels of {known.sum():,} proteins{lost}"
    if not known.any():
        raise ValueError(f"{found}. Use the same ids in both files.")
    print(found)
    proteins["Length"] = proteins["Sequence"].str.len()
    return proteins.join(labels[known].sort_index(axis=1), on="EntryID")


def _read_labels(path: str | os.PathLike, name: str, known: set[str]) -> pd.DataFrame:
    """Read either form: a row for each protein, a column for each label, float32."""
    with open_text(path) as file:
        lines = {number: line.rstrip("\n").split("\t") for number, line in enumerate(file, 1)}
    rows = {n: cells for n, line in lines.items() if any(cells := [*map(str.strip, line)])}
    first, header = next(iter(rows.items()), (1, [""]))

    def check(bad: pd.Series, wanted: str) -> None:
        if bad.any():
            raise ValueError(f"{name}, line {bad.idxmax()}: {wanted}.")

    widths = pd.Series({number: len(cells) for number, cells in rows.items()}, dtype=int)
    if len(header) < 2:
        raise ValueError(
            f"{name}: each line should have a protein, a tab, and its label or labels."
        )
    check(widths != len(header), f"{len(header)} cells are wanted, as in the first line")
    headed = header[0] not in known
    table = pd.DataFrame.from_dict(rows, orient="index").iloc[int(headed) :]
    check(table[0] == "", "there is no protein")
    wide = headed and header[1].lower() != "label" and table[1].isin(list(_VALUES)).all()
    if not wide and len(header) == 2:
        check(table[1] == "", "there is no label")
        return pd.crosstab(table[0], table[1]).clip(upper=1).astype("float32")
    unnamed = not headed or "" in header or len({*header}) < len(header)
    check(pd.Series({first: unnamed}), "a header is wanted, with a name of its own for each label")
    values = table.drop(columns=0).set_axis(header[1:], axis=1)
    check(~values.isin(list(_VALUES)).all(axis=1), "1, 0 or nothing is wanted for each label")
    check(table[0].duplicated(), "the protein has an earlier line")
    return values.replace(_VALUES).astype("float32").set_axis(table[0])
