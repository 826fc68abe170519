"""How good are predictions? Scores for a whole matrix of proteins and terms at once.

Rows are proteins, columns are terms. :func:`per_protein_metrics` scores each row and
:func:`per_term_metrics` each column with the chapter's five metrics; the values are those
of scikit-learn, computed for all rows together instead of one row at a time.
:func:`fmax`, :func:`weighted_fmax` and :func:`smin` are the scores of the CAFA challenge.

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

METRICS = ("accuracy", "recall", "precision", "auprc", "auroc")

# Cells of the matrix worked on at a time: a few tens of megabytes of temporary arrays,
# small enough to stay near the processor's caches, large enough to hide Python's overhead.
_CELLS = 1 << 18


def per_protein_metrics(targets, probs, threshold=0.5, undefined=np.nan) -> pd.DataFrame:
    """Score the predictions for each protein, over all terms.

    Parameters
    ----------
    targets : array or DataFrame of shape (N, T)
        Truth: 1 where the protein has the term, else 0.
    probs : array or DataFrame of shape (N, T)
        Predicted scores. Only their order matters to ``auprc`` and ``auroc``.
    threshold : float
        A term counts as predicted where its score is at least this.
    undefined : float or "book"
        What stands where a metric is not defined. 0.0 is what scikit-learn and the book
        put there. ``"book"`` also gives a protein without any term an accuracy of 0.0,
        as the book's code does, although its accuracy is defined.

    Returns
    -------
    DataFrame of N rows
        ============= ==================================== ==========================
        column        meaning                              not defined where
        ============= ==================================== ==========================
        ``accuracy``  share of cells predicted rightly     there are no cells (T = 0)
        ``recall``    share of true terms predicted        no term is true
        ``precision`` share of predicted terms true        no term is predicted
        ``auprc``     average precision                    no term is true
        ``auroc``     area under the ROC curve             no term is true, or all are
        ``positives`` number of true terms                 (always defined)
        ============= ==================================== ==========================

        The index is that of the frame passed, if one was. A mean over a column leaves
        undefined rows out; :func:`summarize` says how many there were.

    Raises
    ------
    ValueError
        If shapes or labels differ, `targets` is not 0/1 or `probs` is not finite.
    """
    targets, probs, rows, _ = _aligned(targets, probs)
    return _frame(_score_rows(targets, probs, threshold), rows, undefined)


def per_term_metrics(targets, probs, threshold=0.5, undefined=np.nan) -> pd.DataFrame:
    """Score the predictions for each term, over all proteins.

    As :func:`per_protein_metrics`, read by column: one row for each of the T terms, named
    as the columns of the frame passed, if one was.
    """
    targets, probs, _, columns = _aligned(targets, probs)
    return _frame(_score_rows(targets.T, probs.T, threshold), columns, undefined)


def summarize(metrics: pd.DataFrame) -> pd.DataFrame:
    """Average each metric over the rows where it is defined, and count those.

    Parameters
    ----------
    metrics : DataFrame
        From :func:`per_protein_metrics` or :func:`per_term_metrics`.

    Returns
    -------
    DataFrame
        One row a metric; columns ``mean``, ``defined`` and ``undefined`` (numbers of rows).
    """
    values = metrics[[name for name in METRICS if name in metrics]]
    return pd.DataFrame(
        {"mean": values.mean(), "defined": values.notna().sum(), "undefined": values.isna().sum()}
    ).rename_axis("metric")


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
    """
    targets, probs, _, columns = _aligned(targets, probs)
    weights = _weights(weights, columns, targets.shape[1])
    taus = np.arange(0.01, 1, 0.01) if thresholds is None else np.asarray(thresholds, float)
    if taus.ndim != 1 or len(taus) == 0 or (np.diff(taus) <= 0).any():
        raise ValueError("cafa_curve: thresholds must be ascending numbers, at least one.")
    sums = np.zeros((5, len(taus)))
    proteins = 0
    for rows in _chunks(*targets.shape):
        truth, scores = _checked(targets[rows], probs[rows], rows.start)
        annotated = truth.any(axis=1)
        if annotated.any():
            proteins += annotated.sum()
            sums += _cafa_sums(truth[annotated], scores[annotated], weights, taus)
    if proteins == 0:
        raise ValueError("cafa_curve: no protein has a true term, so there is nothing to score.")
    covered, precision, recall, remaining, misinformation = sums
    precision = np.divide(precision, covered, out=np.zeros_like(covered), where=covered > 0)
    recall, remaining, misinformation = (x / proteins for x in (recall, remaining, misinformation))
    total = precision + recall
    f = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return pd.DataFrame(
        {
            "coverage": covered / proteins,
            "precision": precision,
            "recall": recall,
            "f": f,
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


def _score_rows(targets: np.ndarray, probs: np.ndarray, threshold: float) -> np.ndarray:
    """Return the five metrics and the number of positives of each row, (N, 6) float64."""
    scores = np.empty((targets.shape[0], len(METRICS) + 1))
    for rows in _chunks(*targets.shape):
        scores[rows] = _score_chunk(*_checked(targets[rows], probs[rows], rows.start), threshold)
    return scores


def _score_chunk(truth: np.ndarray, probs: np.ndarray, threshold: float) -> np.ndarray:
    """Score one chunk of rows: truth (n, T) bool, probs (n, T) float -> (n, 6)."""
    n, width = truth.shape
    positives = truth.sum(axis=1)
    negatives = width - positives
    predicted = probs >= threshold
    hits = (predicted & truth).sum(axis=1)

    # Walk down each row from the highest score, counting true terms so far.
    order = np.argsort(-probs, axis=1)
    ranked = np.take_along_axis(probs, order, axis=1)
    found = np.cumsum(np.take_along_axis(truth, order, axis=1), axis=1)
    # Tied scores have no order among themselves: only the last of a run of equal scores
    # is a point of the curve, and the point before it is the last of the run before.
    last_of_run = np.ones(truth.shape, bool)
    np.not_equal(ranked[:, 1:], ranked[:, :-1], out=last_of_run[:, :-1])
    rank = np.arange(1, width + 1)
    found_before = _value_of_previous_run(found, last_of_run)
    rank_before = _value_of_previous_run(rank, last_of_run)
    gained = np.where(last_of_run, found - found_before, 0)
    # Average precision: each true term counts the precision at its own place in the ranking.
    summed_precision = (gained * (found / rank)).sum(axis=1)
    # ROC: trapezoids, as wide as the false terms of a run, as high as the true terms found.
    false_gained = np.where(last_of_run, rank - rank_before - gained, 0)
    area = (false_gained * (found + found_before)).sum(axis=1) / 2

    with np.errstate(divide="ignore", invalid="ignore"):
        return np.column_stack(
            [
                (predicted == truth).sum(axis=1) / np.full(n, width),
                hits / positives,
                hits / predicted.sum(axis=1),
                summed_precision / positives,
                area / (positives * negatives),
                positives,
            ]
        )


def _value_of_previous_run(counts: np.ndarray, last_of_run: np.ndarray) -> np.ndarray:
    """Return for each cell what the never-falling `counts` was where the run before ended."""
    before = np.zeros(last_of_run.shape, np.int64)
    np.multiply(counts[..., :-1], last_of_run[:, :-1], out=before[:, 1:])
    return np.maximum.accumulate(before, axis=1)


def _cafa_sums(truth, scores, weights, taus) -> np.ndarray:
    """Sum over proteins, for each of K thresholds, what `cafa_curve` averages: (5, K)."""
    n, k = len(truth), len(taus)
    # A score passes the first `passed` thresholds, so one histogram for each protein, summed
    # from the right, holds its sums at every threshold.
    passed = np.searchsorted(taus, scores, side="right")
    cell = (passed + (k + 1) * np.arange(n)[:, None]).ravel()

    def at_each_threshold(values):
        histogram = np.bincount(cell, values.ravel(), minlength=n * (k + 1)).reshape(n, k + 1)
        return histogram[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]

    weight = np.broadcast_to(weights, truth.shape)
    predicted = at_each_threshold(weight)
    hits = at_each_threshold(weight * truth)
    total = (truth @ weights)[:, None]
    # A prediction of no weight is none; where all that is true weighs nothing, nothing is earned.
    precision = np.divide(hits, predicted, out=np.zeros_like(hits), where=predicted > 0)
    recall = np.divide(hits, total, out=np.zeros_like(hits), where=total > 0)
    return np.stack(
        [
            (predicted > 0).sum(axis=0),
            precision.sum(axis=0),
            recall.sum(axis=0),
            (total - hits).sum(axis=0),
            (predicted - hits).sum(axis=0),
        ]
    )


def _chunks(n: int, width: int):
    """Cut n rows of `width` cells into slices of a bounded number of cells."""
    step = max(1, _CELLS // max(width, 1))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _checked(targets, probs, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a chunk's truth as bool and its scores, both in row order, or say what is wrong."""
    truth = np.ascontiguousarray(targets == 1)
    bad = ~(truth | (targets == 0))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"targets must be 0 or 1, but is {targets[row, column]!r} at row {start + row}, "
            f"column {column} (as scored)."
        )
    probs = np.ascontiguousarray(probs)
    if probs.dtype.kind != "f":
        probs = probs.astype(np.float64)
    if not np.isfinite(probs).all():
        row, column = np.argwhere(~np.isfinite(probs))[0]
        raise ValueError(
            f"probs must be finite numbers, but is {probs[row, column]} at row {start + row}, "
            f"column {column} (as scored)."
        )
    return truth, probs


def _aligned(targets, probs):
    """Return both matrices as arrays, with the row and column labels they came with."""
    frames = [x for x in (targets, probs) if isinstance(x, pd.DataFrame)]
    if len(frames) == 2:
        for axis, kind in enumerate(("rows", "columns")):
            if not frames[0].axes[axis].equals(frames[1].axes[axis]):
                raise ValueError(
                    f"The {kind} of targets and probs have different names or another order. "
                    "Bring one into the order of the other first, as with "
                    "probs.reindex_like(targets)."
                )
    targets, probs = np.asarray(targets), np.asarray(probs)
    if targets.ndim != 2 or targets.shape != probs.shape:
        raise ValueError(
            "targets and probs must be two matrices of one shape (proteins, terms), but have "
            f"shapes {targets.shape} and {probs.shape}."
        )
    rows, columns = frames[0].axes if frames else map(pd.RangeIndex, targets.shape)
    return targets, probs, rows, columns


def _weights(weights, columns: pd.Index, width: int) -> np.ndarray:
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


def _frame(scores: np.ndarray, index: pd.Index, undefined) -> pd.DataFrame:
    """Put scores (N, 6) into a frame and fill what is not defined."""
    frame = pd.DataFrame(scores, index=index, columns=[*METRICS, "positives"])
    frame["positives"] = frame["positives"].astype(np.int64)
    if isinstance(undefined, str):
        if undefined != "book":
            raise ValueError(f"undefined={undefined!r}: choose a number, or 'book'.")
        frame.loc[frame["positives"] == 0, "accuracy"] = 0.0
        undefined = 0.0
    return frame if np.isnan(undefined) else frame.fillna(undefined)
