"""Train, valid and test: dividing the proteins, and handing them out in batches.

All names of this file can be had from ``dlfb.proteins.dataset`` as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dlfb.utils.context import assets

SPLITS = ("train", "valid", "test")


def split_proteins(
    table: pd.DataFrame,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
    seed: int = 42,
) -> dict[str, pd.DataFrame]:
    """Divide proteins at random into those to learn from, to choose by, and to judge by.

    Proteins of one sequence go to one split: nothing could be learned from
    having seen the other. Sizes are as near to `fractions` as such groups allow.

    Parameters
    ----------
    table : DataFrame
        Columns EntryID and Sequence, and any others.
    fractions : (float, float, float)
        Shares of train, valid and test; they sum to one.
    seed : int
        The same ids, sequences and seed give the same splits, whatever the
        order of the rows and the process's hash seed.

    Returns
    -------
    dict of DataFrame
        ``"train"``, ``"valid"``, ``"test"``: the rows, sorted by EntryID.

    Raises
    ------
    ValueError
        If an id stands twice, or `fractions` are not three shares of one.
    """
    shares = np.asarray(fractions, dtype=float)
    if shares.shape != (3,) or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(
            f"split_proteins(): fractions={fractions!r} should be three numbers, none of them "
            "negative, that sum to one, such as (0.6, 0.2, 0.2)."
        )
    again = table["EntryID"][table["EntryID"].duplicated()]
    if len(again):
        raise ValueError(f"split_proteins(): the table has the protein {again.iloc[0]!r} twice.")
    table = table.sort_values("EntryID", ignore_index=True)
    # Groups are numbered by their first member's place among the sorted ids.
    group_of_row = pd.factorize(table["Sequence"])[0]
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
    """The proteins of one split, ready for training.

    Attributes
    ----------
    embeddings : array, shape (N, D), float32
    targets : array, shape (N, T), float32
        1 where protein n has term t, else 0.
    ids : array of str, shape (N,)
    terms : array of str, shape (T,)
    """

    embeddings: np.ndarray
    targets: np.ndarray
    ids: np.ndarray
    terms: np.ndarray

    def __post_init__(self):
        wanted = (len(self.ids), len(self.terms))
        if self.targets.shape != wanted or len(self.embeddings) != wanted[0]:
            raise ValueError(
                f"Split: {wanted[0]} ids and {wanted[1]} terms want targets of shape {wanted} and "
                f"as many embeddings, not {self.targets.shape} and {len(self.embeddings)}."
            )

    def __len__(self) -> int:
        """Return the number of proteins."""
        return len(self.ids)

    def __fingerprint__(self) -> tuple:
        """Return all that the split holds, for `restorable`."""
        return self.embeddings, self.targets, self.ids, self.terms

    def shuffle(self, seed: int) -> "Split":
        """Return the same proteins in an order drawn with `seed`, all of them shuffled at once."""
        order = np.random.default_rng(seed).permutation(len(self))
        return Split(self.embeddings[order], self.targets[order], self.ids[order], self.terms)

    def batch(self, size: int, drop_remainder: bool = False) -> "Batches":
        """Return batches of `size` proteins; the last is smaller unless it is dropped."""
        if size < 1:
            raise ValueError(f"batch({size}): a batch has one protein at least.")
        return Batches(self, size, drop_remainder)


@dataclass(frozen=True, eq=False)
class Batches:
    """What :meth:`Split.batch` returns."""

    split: Split
    size: int
    drop_remainder: bool = False

    def as_numpy_iterator(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield ``{"embedding": (size, D), "target": (size, T)}``, in the split's order."""
        for start in range(0, len(self.split), self.size):
            rows = slice(start, start + self.size)
            embedding, target = self.split.embeddings[rows], self.split.targets[rows]
            if len(target) == self.size or not self.drop_remainder:
                yield {"embedding": embedding, "target": target}


def build_dataset(
    model_checkpoint: str = "facebook/esm2_t30_150M_UR50D", store_prefix: str | None = None
) -> dict[str, Split]:
    """Join each split's functions with the embeddings that page 06 stored.

    Parameters
    ----------
    model_checkpoint : str
        The language model that the embeddings were made with.
    store_prefix : str, optional
        Where :func:`store_sequence_embeddings` put them, to which ``_train``,
        ``_valid`` and ``_test`` are appended. Default: the chapter's own,
        ``assets("proteins/datasets/protein_dataset_{split}")``.

    Returns
    -------
    dict of Split
        ``"train"``, ``"valid"``, ``"test"``.

    Raises
    ------
    FileNotFoundError
        If the embeddings of a split were not stored.
    ValueError
        If what was stored has no embeddings, or other terms in one split than in another.
    """
    from dlfb.proteins.embeddings import load_sequence_embeddings

    splits = {}
    for name in SPLITS:
        own = None if store_prefix is None else f"{store_prefix}_{name}"
        prefix = own or assets(f"proteins/datasets/protein_dataset_{name}")
        try:
            table = load_sequence_embeddings(prefix, model_checkpoint)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"build_dataset(): there are no embeddings of the {name} split by "
                f"{model_checkpoint} at {prefix}. Page 06_cafa_dataset makes them: run it, or call "
                f"store_sequence_embeddings(...) with this prefix and this model. ({error})"
            ) from error
        splits[name] = _as_split(table, f"build_dataset(): the {name} split stored at {prefix}")
        if not np.array_equal(splits[name].terms, splits["train"].terms):
            raise ValueError(
                f"build_dataset(): the {name} split stored at {prefix} has other terms than the "
                "train split, so they are of different tables. Store all three anew."
            )
    return splits


def _as_split(table: pd.DataFrame, what: str) -> Split:
    dimensions = [column for column in table.columns if column.startswith("ME:")]
    terms = [column for column in table.columns if column.startswith("GO:")]
    if not dimensions or not terms:
        raise ValueError(f"{what} has {len(dimensions)} columns ME: and {len(terms)} columns GO:.")
    return Split(
        embeddings=np.ascontiguousarray(table[dimensions], dtype=np.float32),
        targets=np.ascontiguousarray(table[terms], dtype=np.float32),
        ids=table["EntryID"].to_numpy(dtype=object),
        terms=np.array(terms, dtype=object),
    )
