"""Train, valid and test: dividing the proteins, and handing them out in batches (notebook 06)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dlfb.proteins.embedding_store import load_sequence_embeddings
from dlfb.proteins.metrics import checked_targets
from dlfb.utils.checks import by_id, check_count, check_table, unique_ids
from dlfb.utils.context import assets

SPLITS = ("train", "valid", "test")


def split_proteins(
    table: pd.DataFrame, fractions: Sequence = (0.6, 0.2, 0.2), seed: int = 42, groups=None
) -> dict[str, pd.DataFrame]:
    """Divide proteins at random into those to learn from, to choose by, and to judge by.

    `table` has the columns EntryID (each id once) and Sequence; the splits are its rows, sorted by
    EntryID. Proteins of one sequence stay together, and so do those of one group if `groups`, a
    dictionary or column, has a value for each EntryID, such as its cluster. Sizes are as near to
    `fractions` (of ``"train"``, ``"valid"`` and ``"test"``) as that allows. The same ids, sequences
    and seed give the same splits in every process, whatever the order of the rows.
    """
    shares = np.asarray(fractions, dtype=float)
    if shares.shape != (3,) or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
        wanted = "three numbers of 0 or more that sum to one, such as (0.6, 0.2, 0.2)"
        raise ValueError(f"split_proteins(): fractions={fractions!r} should be {wanted}.")
    check_table(table, ["EntryID", "Sequence"], "split_proteins()")
    unique_ids(table["EntryID"], "split_proteins(): EntryID")
    table = table.sort_values("EntryID", ignore_index=True)
    group_of_row = _groups(table, groups)
    sizes = np.bincount(group_of_row)
    # Cut at the rounded-down cumulative shares: the three sizes sum to the number of rows.
    cuts = np.floor(np.cumsum(shares) * len(table) + 1e-6).astype(int)
    room = np.diff(cuts, prepend=0)
    rng = np.random.default_rng(seed)
    split_of_group = np.empty(len(sizes), dtype=int)
    # Large groups first, while there is room. Each draws its split by the room left, as if a
    # shuffled list were cut; one that fits nowhere goes where there is most room.
    for group in np.argsort(-sizes, kind="stable")[: (sizes > 1).sum()]:
        fitting = np.where(room >= sizes[group], room, 0)
        drawn = np.searchsorted(np.cumsum(fitting), rng.random() * fitting.sum(), side="right")
        split_of_group[group] = drawn if fitting.any() else room.argmax()
        room[split_of_group[group]] -= sizes[group]
    places = np.repeat(np.arange(len(SPLITS)), np.maximum(room, 0))
    split_of_group[sizes == 1] = rng.permutation(places)[: (sizes == 1).sum()]
    split_of_row = split_of_group[group_of_row]
    return {name: table[split_of_row == i].reset_index(drop=True) for i, name in enumerate(SPLITS)}


def _groups(table: pd.DataFrame, groups: Mapping | pd.Series | None) -> np.ndarray:
    """Return the number of each row's group, in the order of first rows."""
    sequences, n = pd.factorize(table["Sequence"])[0], len(table)
    if groups is None:
        return sequences
    given = table["EntryID"].map(by_id(groups, "split_proteins(): groups"))
    if len(lacking := table["EntryID"][given.isna()]):
        fault = f"no group for {len(lacking):,} of {n:,} proteins, such as {lacking.iloc[0]!r}"
        raise ValueError(f"split_proteins(): {fault}. Leave them out, or give each its own group.")
    # Proteins that share a sequence or a group belong together, and so on along the chain.
    ends = sequences, n + pd.factorize(given.astype("str"))[0]
    links = coo_array((np.ones(n), ends), shape=(2 * n, 2 * n))
    return pd.factorize(connected_components(links, directed=False)[1][sequences])[0]


@dataclass(frozen=True, eq=False)
class Split:
    """One split's float32 embeddings (N, D) and targets (N, T): 1, 0, or NaN for unknown."""

    embeddings: np.ndarray
    targets: np.ndarray
    ids: np.ndarray
    terms: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, size: int) -> SimpleNamespace:
        """Return batches of `size` proteins; call ``as_numpy_iterator()`` to go through them."""
        check_count(size, "size", "batch()")

        def as_numpy_iterator() -> Iterator[dict[str, np.ndarray]]:
            for start in range(0, len(self), size):
                rows = slice(start, start + size)
                yield {"embedding": self.embeddings[rows], "target": self.targets[rows]}

        return SimpleNamespace(as_numpy_iterator=as_numpy_iterator)


def build_dataset(
    store_file_prefix: str | None = None, model_checkpoint: str = "facebook/esm2_t30_150M_UR50D"
) -> dict[str, Split]:
    """Join each split's targets with the embeddings that page 6 stored.

    `store_file_prefix` is that of :func:`store_sequence_embeddings` without the split's name, such
    as ``_train``. Targets are all columns but EntryID, Sequence, Length and the embeddings.
    """
    splits = {}
    for name in SPLITS:
        prefix = f"{store_file_prefix or assets('proteins/datasets/protein_dataset')}_{name}"
        what = f"build_dataset(): the {name} split stored at {prefix}"
        table = load_sequence_embeddings(prefix, model_checkpoint)
        check_table(table, ["EntryID"], what)
        vectors = table.filter(regex="^ME:")
        targets = table.drop(columns=["EntryID", "Sequence", "Length", *vectors], errors="ignore")
        terms = targets.columns.to_numpy(dtype=object)
        if not len(terms):
            raise ValueError(f"{what} has no targets: add a column for each to the table, 0 or 1.")
        if name != "train" and list(terms) != list(splits["train"].terms):
            raise ValueError(f"{what} has other terms than the train split. Store all three again.")
        splits[name] = Split(
            embeddings=np.ascontiguousarray(vectors, np.float32),
            targets=np.ascontiguousarray(checked_targets(targets, f"{what}: targets"), np.float32),
            ids=table["EntryID"].to_numpy(dtype=object),
            terms=terms,
        )
    return splits
