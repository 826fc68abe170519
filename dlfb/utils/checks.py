"""Checks of what a caller passes. The ValueError that each raises begins with `who`."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd


def check_table(table: pd.DataFrame, columns: Sequence[str], who: str) -> None:
    """Check that a table has these columns, each filled, and with values of one type."""
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"{who}: pass a table (DataFrame), not a {type(table).__name__}.")
    for column in columns:
        if (n := list(table.columns).count(column)) != 1:
            has = ", ".join(map(str, table.columns[:8])) or "none"
            raise ValueError(f"{who}: the table has {n or 'no'} column {column!r}; it has {has}.")
        cells = table[column]
        if pd.api.types.infer_dtype(cells, skipna=True) in ("mixed", "mixed-integer"):
            fault = f"the column {column!r} holds values of different types, or lists"
            raise ValueError(f"{who}: {fault}. Make all of them text, as with .astype(str).")
        bad = cells.isna() | (cells == "")
        if bad.any():
            row = int(bad.to_numpy().argmax())
            name = f"{columns[0]} {table[columns[0]].iloc[row]!r}"
            fault = f"row {row} has no {column} ({name}), the first of {bad.sum():,} such rows"
            raise ValueError(f"{who}: {fault}. Fill in or drop them.")


def by_id(values: Mapping | pd.Series, who: str) -> pd.Series:
    """Return a dictionary from ids, or a column with ids as its index, as such a column."""
    if not isinstance(values, Mapping | pd.Series):
        way_out = "Pass a dictionary from id to value, or a column with ids as its index"
        raise ValueError(f"{who}: this is a {type(values).__name__}. {way_out}.")
    column = values if isinstance(values, pd.Series) else pd.Series(dict(values), dtype=object)
    unique_ids(column.index, who)
    return column


def unique_ids(ids, who: str) -> pd.Index:
    """Return ids as an index, none of which occurs twice."""
    ids = pd.Index(ids)
    if not ids.is_unique:
        raise ValueError(f"{who}: the id {ids[ids.duplicated()][0]!r} occurs twice.")
    return ids


def check_count(value, name: str, who: str) -> None:
    """Check that `value` is a whole number, 1 or more."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{who}: {name} must be a whole number, 1 or more, not {value!r}.")
