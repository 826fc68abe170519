"""What relatives tell: proteins of similar sequence, and their functions (notebook 09).

Proteins of similar sequence mostly descend from one ancestor and often do the same.
:func:`find_relatives` searches for them, :func:`transfer` passes their annotation on, and
:func:`combine` joins it with what a network says.

References
----------
.. [1] Eddy. PLoS Computational Biology 7, e1002195 (2011). (HMMER, whose phmmer searches)
.. [2] Larralde & Zeller. Bioinformatics 39, btad214 (2023). (pyhmmer)
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyhmmer
from scipy.sparse import csr_array

from dlfb.proteins.baselines import term_frequency
from dlfb.proteins.metrics import floats
from dlfb.proteins.sequences import clean_sequence

HITS = {"query": "str", "target": "str", "bits": "float64", "e_value": "float64"}
HITS["identity"] = "float64"


def find_relatives(
    queries: Mapping[str, str] | pd.Series,
    targets: Mapping[str, str] | pd.Series,
    e_value: float = 1e-3,
    cpus: int | None = None,
) -> pd.DataFrame:
    """Search each query among the targets by sequence, with phmmer [1]_ [2]_.

    Parameters
    ----------
    queries, targets : mapping or Series
        From a protein's id to its sequence. A target with the query's own id is left out.
    e_value : float
        Keep hits of at most this E-value: how many hits as good as this one chance alone would
        bring from as many targets. So the same pair has a larger one among more targets.
    cpus : int, optional
        Threads; all cores if not given. The hits do not depend on it.

    Returns
    -------
    DataFrame
        A row per hit, in the order of `queries`, the best first: ``query``, ``target``,
        ``bits`` (the score of the whole sequence), ``e_value``, and ``identity``: of the columns
        of the best domain's alignment, gaps included, the share with the same residue in both.
    """
    for proteins in (queries, targets):
        if not hasattr(proteins, "items") or hasattr(proteins, "columns"):
            raise ValueError(
                f"find_relatives: this is a {type(proteins).__name__}. Pass a dictionary from id "
                'to sequence, or a column with ids as its index, such as table.set_index("EntryID")'
                '["Sequence"].'
            )
    if not len(targets):
        raise ValueError("find_relatives: there is no target to search among.")
    query_ids, target_ids = list(queries.keys()), list(targets.keys())
    rows = []
    searches = pyhmmer.hmmer.phmmer(
        _digital(queries), _digital(targets), cpus=cpus or 0, E=e_value, incE=e_value
    )
    for query, hits in zip(query_ids, searches, strict=True):
        for hit in hits.reported:
            target = target_ids[int(hit.name)]
            if target != query:
                same = hit.best_domain.alignment.identity_sequence  # a letter where both agree
                identity = sum(map(str.isalpha, same)) / len(same)
                rows.append((query, target, hit.score, hit.evalue, identity))
    return pd.DataFrame(rows, columns=list(HITS)).astype(HITS)


def transfer(
    hits: pd.DataFrame, train, queries, weight: str = "bits"
) -> tuple[np.ndarray, np.ndarray]:
    """Score each function of each query by the share of its relatives that have it.

    Parameters
    ----------
    hits : DataFrame
        Columns query, target and `weight`, from :func:`find_relatives` or from
        :func:`dlfb.proteins.neighbours.nearest_neighbours`.
    train : Split or DataFrame of shape (M, T)
        Annotation of the targets: 0, 1, or NaN for unknown. A frame has their ids as index.
    queries : Split or sequence of N ids
        For which proteins, in which order.
    weight : str
        The column by which a relative's annotation counts more or less.

    Returns
    -------
    scores : array of shape (N, T), float32
        The weighted mean over the relatives for which it is known whether they have the term.
        Where there are none, how frequent the term is in `train`.
    found : array of shape (N,), bool
        Which proteins have a relative, so that the others can be told apart.
    """
    split = hasattr(train, "targets")
    targets = floats(train.targets if split else train)
    columns = pd.Index(train.ids if split else train.index)
    rows = pd.Index(getattr(queries, "ids", queries))
    for what, ids in (("train", columns), ("queries", rows)):
        if not ids.is_unique:
            again = ids[ids.duplicated()][0]
            raise ValueError(f"transfer: {what} names the protein {again!r} twice.")
    hits = hits[hits["query"].isin(rows)]
    at, source = rows.get_indexer(hits["query"]), columns.get_indexer(hits["target"])
    if (source < 0).any():
        lost = hits["target"].iloc[int((source < 0).argmax())]
        raise ValueError(
            f"transfer: the hits name the target {lost!r}, of which train has no annotation. "
            "Search among the proteins of train, or leave out such hits."
        )
    weights = hits[weight].to_numpy(float)
    if not ((weights >= 0) & np.isfinite(weights)).all():
        raise ValueError(
            f"transfer: {weight!r} must be a number, 0 or more, in each hit, to weigh it by."
        )
    votes = csr_array((weights, (at, source)), shape=(len(rows), len(columns)))
    known = ~np.isnan(targets)
    total = votes @ known.astype(float)
    scores = term_frequency(targets, len(rows)).astype(float)
    np.divide(votes @ np.where(known, targets, 0), total, out=scores, where=total > 0)
    return scores.astype(np.float32), np.asarray(votes.sum(axis=1) > 0)


def combine(relatives: np.ndarray, network: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Join what relatives and network say: their mean, and the network alone without relatives.

    `relatives` (N, T) and `found` (N,) are what :func:`transfer` returned, `network` (N, T) the
    probabilities of the same proteins and functions; returned is float32 of shape (N, T).
    """
    relatives, network, found = (np.asarray(values) for values in (relatives, network, found))
    if relatives.shape != network.shape or found.shape != relatives.shape[:1]:
        raise ValueError(
            "combine: relatives and network must be two matrices of one shape (proteins, terms), "
            f"and found one value per protein, but they have shapes {relatives.shape}, "
            f"{network.shape} and {found.shape}."
        )
    joined = np.where(found[:, None], (relatives + network) / 2, network)
    return joined.astype(np.float32)


def _digital(proteins: Mapping[str, str] | pd.Series) -> list:
    """Return the sequences in HMMER's own form, named by their numbers."""
    alphabet = pyhmmer.easel.Alphabet.amino()
    return [
        pyhmmer.easel.TextSequence(
            name=str(number).encode(), sequence=clean_sequence(sequence, name=str(name))
        ).digitize(alphabet)
        for number, (name, sequence) in enumerate(proteins.items())
    ]
