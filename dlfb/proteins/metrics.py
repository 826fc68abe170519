"""How good are predictions? Scores for a whole matrix of proteins and terms at once.

Rows are proteins, columns are terms. :func:`per_protein_metrics` scores each row and
:func:`per_term_metrics` each column with the chapter's five metrics, equal to scikit-learn's;
:func:`fmax`, :func:`weighted_fmax` and :func:`smin` are the scores of the CAFA challenge. A target
that is NaN is unknown: its cell counts neither for nor against a prediction.

References
----------
.. [1] Radivojac et al. Nature Methods 10, 221-227 (2013). (Fmax)
.. [2] Clark & Radivojac. Bioinformatics 29, i53-i61 (2013). (Smin)
.. [3] Jiang et al. Genome Biology 17, 184 (2016). (weighted Fmax)
"""

import numpy as np
import pandas as pd
from scipy.stats import rankdata

METRICS = ("accuracy", "recall", "precision", "auprc", "auroc")
ROWS = 512  # scored at a time, as ranking takes several times the memory of the matrix


def per_protein_metrics(targets, probs, threshold=0.5, undefined=np.nan) -> pd.DataFrame:
    """Score the predictions for each protein, over all terms for which the truth is known.

    Parameters
    ----------
    targets, probs : array or DataFrame of shape (N, T)
        Truth as 0, 1 or NaN (unknown), and scores, of which only the order matters to ``auprc``
        and ``auroc``.
    threshold : float
        A term counts as predicted where its score is at least this.
    undefined : float or "book"
        The value of a metric where it is not defined. 0.0 is what scikit-learn and the book use.
        ``"book"`` also gives a protein without any term an accuracy of 0, as the book's code does.

    Returns
    -------
    DataFrame of N rows
        ``accuracy`` over the known cells; ``recall`` and ``auprc`` (average precision), NaN where
        no term is true; ``precision``, NaN where none is predicted; ``auroc``, NaN where none is
        true or all are; ``positives``, the number of true terms. Its index is that of the frame
        passed. A row without a known cell is NaN throughout.
    """
    *cells, rows, _ = aligned(targets, probs)
    return _scored(*cells, rows, threshold, undefined)


def per_term_metrics(targets, probs, threshold=0.5, undefined=np.nan) -> pd.DataFrame:
    """Score the predictions for each term, over all proteins for which the truth is known.

    As :func:`per_protein_metrics`, read by column: one row for each of the T terms.
    """
    *cells, _, columns = aligned(targets, probs)
    return _scored(*(matrix.T for matrix in cells), columns, threshold, undefined)


def summarize(metrics: pd.DataFrame) -> pd.DataFrame:
    """Average each metric over the rows where it is defined, and count ``defined`` ones."""
    values = metrics[[name for name in METRICS if name in metrics]]
    return pd.DataFrame(
        {"mean": values.mean(), "defined": values.notna().sum(), "undefined": values.isna().sum()}
    ).rename_axis("metric")


def bootstrap_interval(values, repeats=1000, level=0.95, seed=42) -> tuple[float, float]:
    """Say how far a mean could have been off, had other rows been drawn: a percentile bootstrap.

    `values` (N,) are one number for each protein or term, such as a column of
    :func:`per_protein_metrics`, or the difference of two; NaN is left out. N rows are drawn anew
    `repeats` times, with replacement; between the two numbers returned lies the share `level` of
    the means drawn. (NaN, NaN) if no value is left.
    """
    values = np.asarray(values, float)
    if not (repeats >= 1 and 0 < level < 1 and values.ndim == 1):
        raise ValueError(
            "bootstrap_interval: values must be one column, repeats at least 1 and level between 0 "
            f"and 1, but their shape is {values.shape}, repeats {repeats} and level {level}."
        )
    values = values[~np.isnan(values)]
    if not len(values):
        return np.nan, np.nan
    rng = np.random.default_rng(seed)
    means = [rng.choice(values, len(values)).mean() for _ in range(repeats)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def cafa_curve(targets, probs, weights=None, thresholds=None) -> pd.DataFrame:
    """Score the whole matrix at each of many thresholds, the way CAFA does.

    Both matrices must follow the ontology: an ancestor is true wherever its descendant is, and
    scores at least as high. Proteins without any true term are left out. A term of weight 0, as
    the root's is, counts for nothing, and neither does a prediction of it alone.

    Parameters
    ----------
    targets, probs : array or DataFrame of shape (N, T)
        Truth as 0, 1 or NaN (unknown), and scores in 0 to 1.
    weights : array or Series of shape (T,), optional
        Information accretion of each term, in bits [2]_; 1 for every term if not given.
        A Series is matched to the columns of the frames by name.
    thresholds : array of shape (K,), optional
        Ascending. CAFA's own, 0.01, 0.02 ... 0.99, if not given.

    Returns
    -------
    DataFrame of K rows, indexed by threshold
        ``coverage``, the share of proteins with a prediction; ``precision``, the mean over those
        only; ``recall``, the mean over all; ``f``, the harmonic mean of the two; ``remaining`` and
        ``misinformation``, mean weight of true terms missed and of predicted terms not true;
        ``s``, the length of that pair as a vector.
    """
    truth, known, scores, _, columns = aligned(targets, probs)
    if isinstance(weights, pd.Series) and not isinstance(columns, pd.RangeIndex):
        weights = weights.reindex(columns)
    weights = np.ones(len(columns)) if weights is None else np.asarray(weights, float)
    if weights.shape != columns.shape or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(
            f"cafa_curve: weights must be {len(columns)} finite numbers, none negative, one for "
            f"each term, but their shape is {weights.shape}, and {np.isnan(weights).sum()} are NaN."
        )
    taus = np.arange(0.01, 1, 0.01) if thresholds is None else np.asarray(thresholds, float)
    annotated = truth.any(axis=1)
    if not annotated.any():
        raise ValueError("cafa_curve: no protein has a true term, so there is nothing to score.")
    truth, scores = truth[annotated], np.where(known, scores, -np.inf)[annotated]
    total, rows = truth @ weights, []
    for tau in taus:
        predicted = scores >= tau
        called, hits = predicted @ weights, (predicted & truth) @ weights
        coverage, recall = (called > 0).mean(), _ratio(hits, total).mean()
        precision = _ratio(hits, called)[called > 0].mean() if coverage else 0.0
        rows.append((coverage, precision, recall, (total - hits).mean(), (called - hits).mean()))
    names = ["coverage", "precision", "recall", "remaining", "misinformation"]
    curve = pd.DataFrame(rows, pd.Index(taus, name="threshold"), names)
    both = curve["precision"] + curve["recall"]
    curve.insert(3, "f", _ratio(2 * curve["precision"] * curve["recall"], both))
    curve["s"] = np.hypot(curve["remaining"], curve["misinformation"])
    return curve


def fmax(targets, probs, thresholds=None) -> float:
    """Return the best F over all thresholds, from 0 to 1; higher is better [1]_."""
    return float(cafa_curve(targets, probs, thresholds=thresholds)["f"].max())


def weighted_fmax(targets, probs, weights, thresholds=None) -> float:
    """Return Fmax with each term counted by its information, from 0 to 1 [3]_."""
    return float(cafa_curve(targets, probs, weights, thresholds)["f"].max())


def smin(targets, probs, weights, thresholds=None) -> float:
    """Return the smallest semantic distance over all thresholds, in bits; lower is better [2]_."""
    return float(cafa_curve(targets, probs, weights, thresholds)["s"].min())


def _scored(truth, known, scores, index: pd.Index, threshold: float, undefined) -> pd.DataFrame:
    """Score each row of arrays (N, T)."""
    book = isinstance(undefined, str)
    if book and undefined != "book":
        raise ValueError(f"undefined={undefined!r}: choose a number, or 'book'.")
    pieces = [slice(start, start + ROWS) for start in range(0, max(len(truth), 1), ROWS)]
    values = [_score_rows(truth[p], known[p], scores[p], threshold) for p in pieces]
    frame = pd.DataFrame(np.concatenate(values), index, [*METRICS, "positives"])
    frame = frame.astype({"positives": np.int64})
    if book:
        frame.loc[frame["positives"] == 0, "accuracy"] = 0.0
    return frame.fillna(0.0 if book else undefined)


def _score_rows(truth, known, scores, threshold: float) -> np.ndarray:
    """Return the five metrics and the number of positives of each row, (n, 6)."""
    predicted, cells, positives = (scores >= threshold) & known, known.sum(1), truth.sum(1)
    hits = (predicted & truth).sum(axis=1)
    # Unknown cells rank behind all others. A tie counts half in the area under the ROC curve,
    # and is passed in one step in average precision.
    ascending = rankdata(np.where(known, scores, np.inf), axis=1)
    won = (ascending * truth).sum(axis=1) - positives * (positives + 1) / 2
    all_above = rankdata(np.where(known, -scores, np.inf), "max", axis=1)
    true_above = rankdata(np.where(truth, -scores, np.inf), "max", axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = [
            ((predicted == truth) & known).sum(axis=1) / cells,
            hits / positives,
            hits / predicted.sum(axis=1),
            (true_above / all_above * truth).sum(axis=1) / positives,
            won / (positives * (cells - positives)),
            positives,
        ]
    return np.column_stack(columns)


def aligned(targets, probs) -> tuple:
    """Return truth, what is known, and scores, each (N, T), and the labels of rows and columns."""
    frames = [x for x in (targets, probs) if isinstance(x, pd.DataFrame)]
    if len(frames) == 2 and not all(map(pd.Index.equals, frames[0].axes, frames[1].axes)):
        raise ValueError(
            "The rows or columns of targets and probs have different names or another order. Bring "
            "one into the order of the other, as with probs.reindex_like(targets)."
        )
    if np.ndim(targets) != 2 or np.shape(targets) != np.shape(probs):
        raise ValueError(
            "targets and probs must be two matrices of one shape (proteins, terms), but have "
            f"shapes {np.shape(targets)} and {np.shape(probs)}."
        )
    values, probs = floats(targets), np.asarray(probs)
    scores = probs if probs.dtype.kind == "f" else probs.astype(float)
    known, truth = ~np.isnan(values), values == 1
    for rule, cells, good in (
        ("targets must be 0, 1, or NaN for unknown", values, truth | (values == 0) | ~known),
        ("probs must be finite numbers", scores, np.isfinite(scores)),
    ):
        if not good.all():
            row, column = np.argwhere(~good)[0]
            raise ValueError(
                f"{rule}, but {cells[row, column]:g} was found in row {row}, column {column}, "
                "counted from 0."
            )
    return truth, known, scores, *(frames[0].axes if frames else map(pd.RangeIndex, truth.shape))


def floats(targets) -> np.ndarray:
    """Return targets (N, T) as float64, what is unknown as NaN, be it None or pandas' NA."""
    if not isinstance(targets, pd.DataFrame):
        return np.asarray(targets, float)
    return targets.to_numpy(float, na_value=np.nan)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide, 0 where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros(len(above)), where=below > 0)
