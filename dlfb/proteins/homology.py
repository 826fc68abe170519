"""What relatives tell: proteins of similar sequence, and their functions (notebook 09)."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyhmmer
from scipy.sparse import csr_array

from dlfb.proteins.baselines import term_frequency
from dlfb.proteins.metrics import checked_targets
from dlfb.proteins.sequences import clean_sequence
from dlfb.utils.checks import by_id, check_table, unique_ids

_HITS = {"query": "str", "target": "str"} | dict.fromkeys(("bits", "e_value", "identity"), float)


def find_relatives(
    queries: Mapping | pd.Series, targets: Mapping | pd.Series, e_value: float = 1e-3
) -> pd.DataFrame:
    """Search each query among the targets by sequence.

    This is HMMER's phmmer (Eddy, PLoS Computational Biology 2011), called through pyhmmer (Larralde
    & Zeller, Bioinformatics 2023).

    `queries` and `targets` lead from a protein's id to its sequence. A target with the query's own
    id is left out. `e_value` is the highest E-value of a hit: how many hits as good as this chance
    alone would bring. It grows with the number of targets.

    Returns a row per hit, in the order of `queries`, the best first: ``query``, ``target``,
    ``bits`` (the score of the whole sequence), ``e_value``, and ``identity``: the share of columns
    with the same residue in both, in the best domain's alignment, gaps included.
    """
    queries = by_id(queries, "find_relatives(): queries")
    targets = by_id(targets, "find_relatives(): targets")
    if targets.empty:
        raise ValueError("find_relatives(): there is no target to search among.")
    rows = []
    searches = pyhmmer.hmmer.phmmer(_digital(queries), _digital(targets), E=e_value, incE=e_value)
    for query, hits in zip(queries.index, searches, strict=True):
        for hit in hits.reported:
            target = targets.index[int(hit.name)]
            if target != query:
                same = hit.best_domain.alignment.identity_sequence  # a letter where both agree
                identity = sum(map(str.isalpha, same)) / len(same)
                rows.append((query, target, hit.score, hit.evalue, identity))
    return pd.DataFrame(rows, columns=list(_HITS)).astype(_HITS)


def _digital(proteins: pd.Series) -> list:
    """Return the sequences in HMMER's own form, named by their numbers."""
    alphabet = pyhmmer.easel.Alphabet.amino()
    return [
        pyhmmer.easel.TextSequence(
            name=str(number).encode(), sequence=clean_sequence(sequence, name=str(name))
        ).digitize(alphabet)
        for number, (name, sequence) in enumerate(proteins.items())
    ]


def transfer(
    hits: pd.DataFrame, train, queries, weight: str = "bits"
) -> tuple[np.ndarray, np.ndarray]:
    """Score each function of each query by the weighted share of its relatives that have it.

    Parameters
    ----------
    hits : DataFrame
        Columns query, target and `weight`, from :func:`find_relatives` or from
        :func:`dlfb.proteins.neighbours.nearest_neighbours`.
    train : Split or DataFrame of shape (M, T)
        Annotation of the targets: 0, 1, or NaN for unknown. A DataFrame has their ids as index.
    queries : Split or sequence of N ids
        For which proteins, in which order.

    Returns
    -------
    scores, found : arrays of shape (N, T), float32, and (N,), bool
        The share among the relatives for which it is known, or, where there are none, the
        frequency of the term in `train`; and which proteins have a relative.
    """
    split = hasattr(train, "targets")
    targets = checked_targets(train.targets if split else train)
    columns = unique_ids(train.ids if split else train.index, "transfer(): train")
    rows = unique_ids(getattr(queries, "ids", queries), "transfer(): queries")
    check_table(hits, ["query", "target", weight], "transfer(): hits")
    hits = hits[hits["query"].isin(rows)]
    at, source = rows.get_indexer(hits["query"]), columns.get_indexer(hits["target"])
    if len(lost := hits["target"][source < 0]):
        raise ValueError(
            f"transfer(): the hits name the target {lost.iloc[0]!r}, for which train has no "
            "annotation. Search among the proteins of train, or leave out such hits."
        )
    weights = hits[weight].to_numpy(float)
    if not ((weights >= 0) & np.isfinite(weights)).all():
        raise ValueError(f"transfer(): {weight!r} must be a number, 0 or more, in each hit.")
    votes = csr_array((weights, (at, source)), shape=(len(rows), len(columns)))
    known = ~np.isnan(targets)
    total = votes @ known.astype(float)
    scores = term_frequency(targets, len(rows)).astype(float)
    np.divide(votes @ np.where(known, targets, 0), total, out=scores, where=total > 0)
    return scores.astype(np.float32), np.asarray(votes.sum(axis=1) > 0)


def combine(relatives: np.ndarray, network: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Join the two predictions: their mean, or the network's alone where there is no relative.

    `relatives` (N, T) and `found` (N,) are from :func:`transfer`, `network` (N, T) holds the
    probabilities of the same proteins and functions. Returns (N, T), float32.
    """
    relatives, network, found = (np.asarray(values) for values in (relatives, network, found))
    if relatives.shape != network.shape or found.shape != relatives.shape[:1]:
        raise ValueError(
            "combine(): wanted are two matrices of one shape, and one value per protein, not "
            f"{relatives.shape}, {network.shape} and {found.shape}."
        )
    joined = np.where(found[:, None], (relatives + network) / 2, network)
    return joined.astype(np.float32)
