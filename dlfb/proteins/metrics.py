"""How good are predictions? Scores for a whole matrix of proteins (rows) and terms (columns).

They are scikit-learn's and the CAFA challenge's. A target that is NaN is unknown and not counted.
"""

import numpy as np
import pandas as pd
from scipy.stats import rankdata

METRICS = ("accuracy", "recall", "precision", "auprc", "auroc")


def per_protein_metrics(targets, probs, threshold=0.5, undefined=np.nan) -> pd.DataFrame:
    """Score the predictions for each protein over the terms for which the truth is known.

    Parameters
    ----------
    targets, probs : array or DataFrame of shape (N, T)
        Truth as 0, 1 or NaN (unknown), and scores. ``auprc`` and ``auroc`` use only their order.
    threshold : float
        A term counts as predicted where its score is at least this.
    undefined : float or "book"
        The value of a metric where it is not defined; scikit-learn's is 0.0. ``"book"``: also 0,
        and so is the accuracy of a protein without any term, as in the book's code.

    Returns
    -------
    DataFrame of N rows
        ``accuracy``; ``recall`` and ``auprc`` (average precision), NaN where no term is true;
        ``precision``, NaN where none is predicted; ``auroc``, NaN where none is true or all are;
        ``positives``, the number of true terms. The index is that of the DataFrame passed.
    """
    *cells, rows, _ = aligned(targets, probs)
    return _scored(*cells, rows, threshold, undefined)


def per_term_metrics(targets, probs, threshold=0.5, undefined=np.nan) -> pd.DataFrame:
    """Score the predictions for each term: :func:`per_protein_metrics` by column, T rows."""
    *cells, _, columns = aligned(targets, probs)
    return _scored(*(matrix.T for matrix in cells), columns, threshold, undefined)


def _scored(truth, known, scores, index: pd.Index, threshold: float, undefined) -> pd.DataFrame:
    """Score each row of arrays (N, T)."""
    book = isinstance(undefined, str)
    if book and undefined != "book":
        raise ValueError(f"undefined={undefined!r}: choose a number, or 'book'.")
    predicted, cells, positives = (scores >= threshold) & known, known.sum(1), truth.sum(1)
    hits = (predicted & truth).sum(axis=1)
    # Unknown cells rank behind all others. A tie counts half in the area under the ROC curve,
    # and is passed in one step in average precision.
    ascending = rankdata(np.where(known, scores, np.inf), axis=1)
    won = (ascending * truth).sum(axis=1) - positives * (positives + 1) / 2
    all_above = rankdata(np.where(known, -scores, np.inf), "max", axis=1)
    true_above = rankdata(np.where(truth, -scores, np.inf), "max", axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = {
            "accuracy": ((predicted == truth) & known).sum(axis=1) / cells,
            "recall": hits / positives,
            "precision": hits / predicted.sum(axis=1),
            "auprc": (true_above / all_above * truth).sum(axis=1) / positives,
            "auroc": won / (positives * (cells - positives)),
            "positives": positives,
        }
    frame = pd.DataFrame(columns, index)
    if book:
        frame.loc[frame["positives"] == 0, "accuracy"] = 0.0
    return frame.fillna(0.0 if book else undefined)


def bootstrap_interval(values) -> tuple[float, float]:
    """Return the 95 % interval for the mean of values (N,), one per protein or term.

    NaN is left out. A percentile bootstrap: N values are drawn, with replacement, a thousand times,
    always the same. (NaN, NaN) if there is no value.
    """
    values = np.asarray(values, float)
    if values.ndim != 1:
        raise ValueError(f"bootstrap_interval(): pass one column, not shape {values.shape}.")
    values = values[~np.isnan(values)]
    if not len(values):
        return np.nan, np.nan
    rng = np.random.default_rng(42)
    means = [rng.choice(values, len(values)).mean() for _ in range(1000)]
    return tuple(np.quantile(means, [(1 - 0.95) / 2, (1 + 0.95) / 2]).tolist())


def cafa_curve(targets, probs, weights=None, thresholds=None) -> pd.DataFrame:
    """Score the whole matrix at each of many thresholds, as CAFA does.

    Both matrices must follow the ontology: an ancestor is true wherever its descendant is, and
    scores at least as high. Proteins without any true term are left out, and so are terms of
    weight 0, such as the root.

    Parameters
    ----------
    targets, probs : array or DataFrame of shape (N, T)
        As for :func:`per_protein_metrics`.
    weights : array or Series of T numbers, optional
        Information accretion of each term, in bits; 1 for every term if not given. A Series is
        matched to the columns of a DataFrame by name.
    thresholds : array of shape (K,), optional
        CAFA's own, 0.01, 0.02 ... 0.99, if not given.

    Returns
    -------
    DataFrame of K rows, indexed by threshold
        ``coverage``, the share of proteins with a prediction; ``precision``, the mean over those
        only; ``recall``, the mean over all; ``f``, their harmonic mean; ``remaining`` and
        ``misinformation``, mean weight of true terms missed and of predicted terms not true;
        ``s``, the length of that pair as a vector, whose minimum is Smin (Clark & Radivojac,
        Bioinformatics 2013).
    """
    truth, known, scores, _, columns = aligned(targets, probs)
    if isinstance(weights, pd.Series) and not isinstance(columns, pd.RangeIndex):
        weights = weights.reindex(columns)
    weights = np.ones(len(columns)) if weights is None else np.asarray(weights, float)
    if weights.shape != columns.shape or not (np.isfinite(weights) & (weights >= 0)).all():
        found = f"their shape is {weights.shape}, and {np.isnan(weights).sum()} are NaN"
        wanted = f"{len(columns)} finite numbers of 0 or more"
        raise ValueError(f"cafa_curve(): weights must be {wanted}, but {found}.")
    taus = np.arange(0.01, 1, 0.01) if thresholds is None else np.asarray(thresholds, float)
    annotated = truth.any(axis=1)
    if not annotated.any():
        raise ValueError("cafa_curve(): no protein has a true term, so there is nothing to score.")
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


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide, with 0 where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros(len(above)), where=below > 0)


def fmax(targets, probs, weights=None) -> float:
    """Return the best F over all thresholds, from 0 to 1 (Radivojac et al., Nature Methods 2013).

    With `weights` it is the weighted Fmax (Jiang et al., Genome Biology 2016).
    """
    return float(cafa_curve(targets, probs, weights)["f"].max())


def aligned(targets, probs) -> tuple:
    """Return truth, which cells are known, and scores, (N, T); and labels of rows and columns."""
    frames = [x for x in (targets, probs) if isinstance(x, pd.DataFrame)]
    if len(frames) == 2 and not all(map(pd.Index.equals, frames[0].axes, frames[1].axes)):
        fault = "Rows or columns of targets and probs have different names or another order"
        raise ValueError(f"{fault}. Use probs.reindex_like(targets).")
    if np.ndim(targets) != 2 or np.shape(targets) != np.shape(probs):
        shapes = f"{np.shape(targets)} and {np.shape(probs)}"
        raise ValueError(f"targets and probs must be (proteins, terms), but have shapes {shapes}.")
    values, scores = checked_targets(targets), np.asarray(probs)
    scores = scores if scores.dtype.kind == "f" else scores.astype(float)
    _refuse(~np.isfinite(scores), scores, "probs must be finite numbers")
    rows, columns = frames[0].axes if frames else map(pd.RangeIndex, scores.shape)
    return values == 1, ~np.isnan(values), scores, rows, columns


def checked_targets(targets, name: str = "targets") -> np.ndarray:
    """Return targets (N, T) as float64: 0, 1, or NaN for unknown, also where that was None."""
    rule = f"{name} must be 0, 1, or NaN for unknown"
    try:
        frame = isinstance(targets, pd.DataFrame)
        values = targets.to_numpy(float, na_value=np.nan) if frame else np.asarray(targets, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{rule} ({error}).") from error
    _refuse(~((values == 0) | (values == 1) | np.isnan(values)), values, rule)
    return values


def _refuse(bad: np.ndarray, values: np.ndarray, rule: str) -> None:
    if bad.any():
        row, column = np.argwhere(bad)[0]
        found = f"{values[row, column]:g} was found in row {row}, column {column}"
        raise ValueError(f"{rule}, but {found}, counted from 0.")
