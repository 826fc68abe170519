"""Train, valid and test: dividing the proteins, and handing them out in batches (notebook 06)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import networkx as nx
import numpy as np
import pandas as pd

from dlfb.proteins.embedding_store import load_sequence_embeddings
from dlfb.proteins.metrics import floats
from dlfb.utils.context import assets

SPLITS = ("train", "valid", "test")
_NO_TARGETS = ("EntryID", "Sequence", "Length")


def split_proteins(
    table: pd.DataFrame,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
    seed: int = 42,
    groups: Mapping[str, object] | pd.Series | None = None,
) -> dict[str, pd.DataFrame]:
    """Divide proteins at random into those to learn from, to choose by, and to judge by.

    Proteins of one sequence go to one split, and so do those of one group where `groups` has a
    value for each EntryID, such as its cluster. Sizes are as near to `fractions` (of ``"train"``,
    ``"valid"`` and ``"test"``) as that allows. The same ids, sequences and seed give the same
    splits, whatever the order of the rows and the process's hash seed.

    `table` has the columns EntryID and Sequence, and any others; the splits are its rows, sorted
    by EntryID. It is a ValueError if an id occurs twice, or anything is missing.
    """
    shares = np.asarray(fractions, dtype=float)
    if shares.shape != (3,) or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
        wanted = "three numbers, none of them negative, that sum to one, such as (0.6, 0.2, 0.2)"
        raise ValueError(f"split_proteins(): fractions={fractions!r} should be {wanted}.")
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"split_proteins(): a table is wanted, not a {type(table).__name__}.")
    for column in ("EntryID", "Sequence"):
        if (n := list(table.columns).count(column)) != 1:
            raise ValueError(f"split_proteins(): the table has {n or 'no'} column {column!r}.")
    if groups is not None and not (hasattr(groups, "keys") and pd.Index(groups.keys()).is_unique):
        wanted = "a dictionary or a column with ids as its index, each of them once"
        raise ValueError(f"split_proteins(): groups should be {wanted}.")
    ids = table["EntryID"]
    for what, bad in {
        "no EntryID": ids.isna(),
        "no Sequence": ~table["Sequence"]
        .map(lambda s: isinstance(s, str) and s != "")
        .astype(bool),
        "the EntryID of an earlier row": ids.duplicated(),
        "no group": ids.isna() if groups is None else ids.map(groups).isna(),
    }.items():
        if bad.any():
            raise ValueError(
                f"split_proteins(): {bad.sum():,} rows have {what}, first row "
                f"{bad.to_numpy().argmax()} (EntryID {ids[bad].iloc[0]!r}). Fill in or drop them."
            )
    table = table.sort_values("EntryID", ignore_index=True)
    group_of_row = _groups(table, groups)
    sizes = np.bincount(group_of_row)
    # Cut at the rounded-down cumulative shares: the three sizes sum to the number of rows.
    cuts = np.floor(np.cumsum(shares) * len(table) + 1e-6).astype(int)
    room = np.diff(cuts, prepend=0)
    rng = np.random.default_rng(seed)
    split_of_group = np.empty(len(sizes), dtype=int)
    # Large groups first, while there is room. Each draws its split by the room left, which comes
    # to the same as cutting a shuffled list; what fits nowhere goes where the most room is.
    for group in np.argsort(-sizes, kind="stable")[: (sizes > 1).sum()]:
        fitting = np.where(room >= sizes[group], room, 0)
        drawn = np.searchsorted(np.cumsum(fitting), rng.random() * fitting.sum(), side="right")
        split_of_group[group] = drawn if fitting.any() else room.argmax()
        room[split_of_group[group]] -= sizes[group]
    places = np.repeat(np.arange(len(SPLITS)), np.maximum(room, 0))
    split_of_group[sizes == 1] = rng.permutation(places)[: (sizes == 1).sum()]
    split_of_row = split_of_group[group_of_row]
    return {name: table[split_of_row == i].reset_index(drop=True) for i, name in enumerate(SPLITS)}


@dataclass(frozen=True, eq=False)
class Split:
    """One split's float32 embeddings (N, D) and targets (N, T): 1, 0, or NaN for unknown."""

    embeddings: np.ndarray
    targets: np.ndarray
    ids: np.ndarray
    terms: np.ndarray

    def __len__(self) -> int:
        """Return the number of proteins."""
        return len(self.ids)

    def batch(self, size: int) -> "Batches":
        """Return batches of `size` proteins; the last may be smaller."""
        if not (isinstance(size, int | np.integer) and size >= 1):
            raise ValueError(f"batch({size!r}): a whole number is wanted, 1 or more.")
        return Batches(self, size)


@dataclass(frozen=True, eq=False)
class Batches:
    """What :meth:`Split.batch` returns."""

    split: Split
    size: int

    def as_numpy_iterator(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield ``{"embedding": (size, D), "target": (size, T)}``, in the split's order."""
        for start in range(0, len(self.split), self.size):
            rows = slice(start, start + self.size)
            yield {"embedding": self.split.embeddings[rows], "target": self.split.targets[rows]}


def build_dataset(
    store_file_prefix: str | None = None,
    model_checkpoint: str = "facebook/esm2_t30_150M_UR50D",
) -> dict[str, Split]:
    """Join each split's functions with the embeddings that page 06 stored.

    `store_file_prefix` is where :func:`store_sequence_embeddings` put those of `model_checkpoint`,
    without the split's name (``_train``, ``_valid``, ``_test``); by default
    ``assets("proteins/datasets/protein_dataset")``. FileNotFoundError if they are not there.
    Targets are all columns but EntryID, Sequence, Length and the embeddings.
    """
    splits = {}
    for name in SPLITS:
        prefix = f"{store_file_prefix or assets('proteins/datasets/protein_dataset')}_{name}"
        try:
            table = load_sequence_embeddings(prefix, model_checkpoint)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"build_dataset(): there are no embeddings of the {name} split by "
                f"{model_checkpoint} at {prefix}. Page 06_cafa_dataset makes them: run it, or call "
                f"store_sequence_embeddings(...) with this prefix and this model. ({error})"
            ) from error
        what = f"build_dataset(): the {name} split stored at {prefix}"
        splits[name] = _as_split(table, what)
        if list(splits[name].terms) != list(splits["train"].terms):
            raise ValueError(f"{what} has other terms than the train split. Store all three anew.")
    return splits


def _groups(table: pd.DataFrame, groups) -> np.ndarray:
    """Return the number of each row's group, counted by the groups' first rows."""
    sequences = pd.factorize(table["Sequence"])[0]
    if groups is None:
        return sequences
    found = table["EntryID"].map(groups)
    # A sequence ties two groups together, and they the next ones.
    links = nx.Graph(zip(sequences, "group " + found.astype("str"), strict=True))
    parts = enumerate(nx.connected_components(links))
    part_of = {node: number for number, part in parts for node in part}
    return pd.factorize(np.array([part_of[s] for s in sequences], dtype=int))[0]


def _as_split(table: pd.DataFrame, what: str) -> Split:
    dimensions = [column for column in table if column.startswith("ME:")]
    terms = [column for column in table if column not in {*dimensions, *_NO_TARGETS}]
    if not dimensions or not terms:
        counts = f"{len(dimensions)} columns of embeddings and {len(terms)} of targets"
        raise ValueError(f"{what} has {counts}.")
    try:
        targets = floats(table[terms])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} has targets that are no numbers ({error}).") from error
    return Split(
        embeddings=np.ascontiguousarray(table[dimensions], dtype=np.float32),
        targets=np.ascontiguousarray(targets, dtype=np.float32),
        ids=table["EntryID"].to_numpy(dtype=object),
        terms=np.array(terms, dtype=object),
    )
