"""From scores to decisions: thresholds, calibration and the hierarchy of terms (notebook 10).

Rows are proteins, columns are terms, scores lie between 0 and 1. Choose on the validation set,
judge on the test set. A target that is NaN is unknown and left out.
"""

from collections.abc import Callable, Sequence

import networkx as nx
import numpy as np
import pandas as pd
from sklearn.isotonic import IsotonicRegression

from dlfb.proteins.metrics import aligned
from dlfb.proteins.ontology import ancestors
from dlfb.utils.checks import check_table


def best_thresholds(targets, probs, per_term: bool = False, least: int = 1):
    """Choose the thresholds that maximise F1, the harmonic mean of precision and recall.

    Returns one threshold for all cells (N, T). With `per_term`, an array (T,), each the best for
    its column; a term of fewer than `least` proteins gets the one for all. A threshold is halfway
    between two scores.
    """
    truth, known, scores, *_ = aligned(targets, probs)
    if not truth.any():
        raise ValueError("best_thresholds(): no target is 1, so all thresholds are as good.")
    overall = _best(truth[known], scores[known])
    if not per_term:
        return overall
    enough = truth.sum(axis=0) >= max(least, 1)
    columns = zip(enough, truth.T, known.T, scores.T, strict=True)
    return np.array([_best(y[k], s[k]) if some else overall for some, y, k, s in columns])


def calibrate(targets, probs) -> Callable[[np.ndarray], np.ndarray]:
    """Learn probabilities from scores, as one rising step function for all terms.

    Returns a function from scores of any shape to the share of cells with about that score that
    are true in `targets` (N, T): isotonic calibration (Zadrozny & Elkan, KDD 2002).
    """
    truth, known, scores, *_ = aligned(targets, probs)
    curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    curve.fit(scores[known], truth[known])
    return lambda values: curve.predict(np.ravel(values)).reshape(np.shape(values))


def reliability(targets, probs) -> pd.DataFrame:
    """Compare scores with the share that is true, for cells of about the same score.

    Returns a row for each tenth of the range of scores, unless it is empty: ``predicted``, the mean
    score; ``observed``, the share that is true; ``cells``, their number.
    """
    truth, known, scores, *_ = aligned(targets, probs)
    truth, scores = truth[known], scores[known]
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("reliability(): scores must lie between 0 and 1, as probabilities do.")
    tenth = np.minimum((scores * 10).astype(int), 9)
    sums = [np.bincount(tenth, values, 10) for values in (scores, truth, np.ones(len(tenth)))]
    table = pd.DataFrame(np.transpose(sums), columns=["predicted", "observed", "cells"])
    table = table.set_axis(pd.Index(np.arange(10) / 10, name="from")).query("cells > 0")
    means = table[["predicted", "observed"]].div(table["cells"], axis=0)
    return means.assign(cells=table["cells"].astype(int))


def calibration_error(targets, probs) -> float:
    """Return the mean gap in :func:`reliability`'s rows, weighted by cells; lower is better."""
    table = reliability(targets, probs)
    return float(np.average(abs(table["predicted"] - table["observed"]), weights=table["cells"]))


def follow_hierarchy(probs, terms: Sequence[str], graph: nx.MultiDiGraph) -> np.ndarray:
    """Raise each term's score to the highest among its descendants: the true-path rule.

    `probs` (N, T) are scores of the GO ids `terms`, which need not be connected directly.
    """
    probs = np.asarray(probs)
    raised, alt_ids = probs.copy(), graph.graph["alt_ids"]
    places = {alt_ids.get(term, term): place for place, term in enumerate(terms)}
    for place, term in enumerate(terms):
        above = [places[other] for other in ancestors(graph, term) if other in places]
        raised[:, above] = np.maximum(raised[:, above], probs[:, [place]])
    return raised


def information_accretion(terms: pd.DataFrame, graph: nx.MultiDiGraph) -> pd.Series:
    """Return the information in each live term, in bits, from propagated annotation.

    It is -log2 of the share of the proteins with all parents of the term that have the term too
    (Clark & Radivojac, Bioinformatics 2013). `terms` has columns EntryID and term. A term that no
    protein has gets 0, as in CAFA's files.
    """
    check_table(terms, ["EntryID", "term"], "information_accretion()")
    having = {term: frozenset(ids) for term, ids in terms.groupby("term")["EntryID"]}
    bits = {}
    for term in sorted(graph):
        have = having.get(term, frozenset())
        above = [having.get(p, frozenset()) for p in graph.graph["hierarchy"][term]] or [have]
        eligible = frozenset.intersection(*above)
        if not have <= eligible:
            raise ValueError(
                f"information_accretion(): {min(have - eligible)} has {term} without all its "
                "parents; ontology.propagate(terms) adds them."
            )
        bits[term] = np.log2(len(eligible) / len(have)) if have else 0.0
    return pd.Series(bits, name="information accretion")


def _best(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the threshold of the highest F1 of one list of cells."""
    order = np.argsort(-scores)
    scores, hits = scores[order].astype(float), np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    after = np.append(scores[1:], scores[-1])
    f1[:-1][after[:-1] == scores[:-1]] = -1  # no threshold divides equal scores
    place = f1.argmax()
    return float((scores[place] + after[place]) / 2)
