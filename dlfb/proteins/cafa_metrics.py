"""The scores of the CAFA challenge: Fmax, its weighted form, and Smin.

References
----------
.. [1] Radivojac et al. "A large-scale evaluation of computational protein function
   prediction." Nature Methods 10, 221-227 (2013). (Fmax)
.. [2] Clark & Radivojac. "Information-theoretic evaluation of predicted ontological
   annotations." Bioinformatics 29, i53-i61 (2013). (Smin)
.. [3] Jiang et al. "An expanded evaluation of protein function prediction methods shows
   an improvement in accuracy." Genome Biology 17, 184 (2016). (weighted Fmax)
"""

import numpy as np
import pandas as pd

from dlfb.proteins.matrices import aligned, chunks


def cafa_curve(targets, probs, weights=None, thresholds=None) -> pd.DataFrame:
    """Score the whole matrix at each of many thresholds, the way CAFA does.

    Both matrices must follow the ontology: an ancestor is true wherever its descendant is,
    and scores at least as high. Proteins without any true term are left out. A term of weight 0,
    as the root's is, counts for nothing, and neither does a prediction of it alone.

    Parameters
    ----------
    targets, probs : array or DataFrame of shape (N, T)
        Truth as 0/1, and scores in 0 to 1.
    weights : array or Series of shape (T,), optional
        Information accretion of each term, in bits [2]_; 1 for every term if not given.
        A Series is matched to the columns of the frames by name.
    thresholds : array of shape (K,), optional
        Ascending. CAFA's own, 0.01, 0.02 ... 0.99, if not given.

    Returns
    -------
    DataFrame of K rows, indexed by threshold
        ``coverage``, the share of proteins with a prediction; ``precision``, the mean over
        those proteins only, and ``recall``, the mean over all; ``f``, their harmonic mean;
        ``remaining`` and ``misinformation``, mean weight of true terms missed and of
        predicted terms not true; ``s``, the length of that pair as a vector.

    Raises
    ------
    ValueError
        If no protein has a true term, or weights or thresholds are unfit.
    """
    targets, probs, _, columns = aligned(targets, probs)
    weights = _checked_weights(weights, columns, targets.shape[1])
    taus = np.arange(0.01, 1, 0.01) if thresholds is None else np.asarray(thresholds, float)
    if taus.ndim != 1 or len(taus) == 0 or (np.diff(taus) <= 0).any():
        raise ValueError("cafa_curve: thresholds must be ascending numbers, at least one.")
    sums, proteins = np.zeros((5, len(taus))), 0
    for _, truth, scores in chunks(targets, probs):
        annotated = truth.any(axis=1)
        if annotated.any():
            proteins += annotated.sum()
            sums += _summed(truth[annotated], scores[annotated], weights, taus)
    if proteins == 0:
        raise ValueError("cafa_curve: no protein has a true term, so there is nothing to score.")
    covered, precision, recall, remaining, misinformation = sums
    precision = _ratio(precision, covered)
    recall, remaining, misinformation = (
        total / proteins for total in (recall, remaining, misinformation)
    )
    return pd.DataFrame(
        {
            "coverage": covered / proteins,
            "precision": precision,
            "recall": recall,
            "f": _ratio(2 * precision * recall, precision + recall),
            "remaining": remaining,
            "misinformation": misinformation,
            "s": np.hypot(remaining, misinformation),
        },
        index=pd.Index(taus, name="threshold"),
    )


def fmax(targets, probs, thresholds=None) -> float:
    """Return the best F over all thresholds, from 0 to 1; higher is better [1]_.

    For the threshold that reaches it: ``cafa_curve(targets, probs).f.idxmax()``.
    Parameters as for :func:`cafa_curve`.
    """
    return float(cafa_curve(targets, probs, thresholds=thresholds)["f"].max())


def weighted_fmax(targets, probs, weights, thresholds=None) -> float:
    """Return Fmax with each term counted by its information, from 0 to 1 [3]_.

    Naming a rare, telling term earns more than naming one that most proteins have.
    Parameters as for :func:`cafa_curve`.
    """
    return float(cafa_curve(targets, probs, weights, thresholds)["f"].max())


def smin(targets, probs, weights, thresholds=None) -> float:
    """Return the smallest semantic distance over all thresholds, in bits; lower is better [2]_.

    Parameters as for :func:`cafa_curve`.
    """
    return float(cafa_curve(targets, probs, weights, thresholds)["s"].min())


def _summed(truth, scores, weights, taus) -> np.ndarray:
    """Sum over proteins, for each of K thresholds, what `cafa_curve` averages: (5, K)."""
    n, k = len(truth), len(taus)
    # A score passes the first `passed` thresholds, so one histogram for each protein, summed
    # from the right, holds its sums at every threshold.
    passed = np.searchsorted(taus, scores, side="right")
    cell = passed + (k + 1) * np.arange(n)[:, None]

    def at_each_threshold(cells, values):
        histogram = np.bincount(cells, values, minlength=n * (k + 1)).reshape(n, k + 1)
        return histogram[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]

    weight = np.broadcast_to(weights, truth.shape)
    predicted = at_each_threshold(cell.ravel(), weight.ravel())
    hits = at_each_threshold(cell[truth], weight[truth])
    total = (truth @ weights)[:, None]
    # A prediction of no weight is none; where all that is true weighs nothing, nothing is earned.
    sums = (
        predicted > 0,
        _ratio(hits, predicted),
        _ratio(hits, np.broadcast_to(total, hits.shape)),
        total - hits,
        predicted - hits,
    )
    return np.stack([values.sum(axis=0) for values in sums])


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide, 0 where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _checked_weights(weights, columns: pd.Index, width: int) -> np.ndarray:
    """Return the weight of each column as (T,) float64."""
    if weights is None:
        return np.ones(width)
    if isinstance(weights, pd.Series) and not isinstance(columns, pd.RangeIndex):
        missing = columns.difference(weights.index)
        if len(missing):
            raise ValueError(
                f"weights has no value for {len(missing)} of the terms, such as {missing[0]!r}."
            )
        weights = weights[columns]
    weights = np.asarray(weights, float)
    if weights.shape != (width,) or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(
            f"weights must be {width} finite numbers, none negative, one for each column, "
            f"but has shape {weights.shape}."
        )
    return weights
