"""How good are predictions? Scores for a whole matrix of proteins and terms at once.

Rows are proteins, columns are terms. :func:`per_protein_metrics` scores each row and
:func:`per_term_metrics` each column with the chapter's five metrics; the values are those
of scikit-learn, computed for all rows together instead of one row at a time.
:func:`fmax`, :func:`weighted_fmax` and :func:`smin` are the scores of the CAFA challenge.
"""

import numpy as np
import pandas as pd

from dlfb.proteins.cafa_metrics import cafa_curve, fmax, smin, weighted_fmax
from dlfb.proteins.matrices import aligned, chunks

__all__ = [
    "METRICS", "cafa_curve", "fmax", "per_protein_metrics", "per_term_metrics", "smin",
    "summarize", "weighted_fmax",
]  # fmt: skip

METRICS = ("accuracy", "recall", "precision", "auprc", "auroc")


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
    targets, probs, rows, _ = aligned(targets, probs)
    return _frame(_score_rows(targets, probs, threshold), rows, undefined)


def per_term_metrics(targets, probs, threshold=0.5, undefined=np.nan) -> pd.DataFrame:
    """Score the predictions for each term, over all proteins.

    As :func:`per_protein_metrics`, read by column: one row for each of the T terms, named
    as the columns of the frame passed, if one was.
    """
    targets, probs, _, columns = aligned(targets, probs)
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


def _score_rows(targets: np.ndarray, probs: np.ndarray, threshold: float) -> np.ndarray:
    """Return the five metrics and the number of positives of each row, (N, 6) float64."""
    scores = np.empty((targets.shape[0], len(METRICS) + 1))
    for rows, truth, values in chunks(targets, probs):
        predicted = values >= threshold
        positives = truth.sum(axis=1)
        hits = (predicted & truth).sum(axis=1)
        summed_precision, won = _ranked(truth, values)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores[rows] = np.column_stack(
                [
                    (predicted == truth).sum(axis=1) / np.float64(truth.shape[1]),
                    hits / positives,
                    hits / predicted.sum(axis=1),
                    summed_precision / positives,
                    won / (positives * (truth.shape[1] - positives)),
                    positives,
                ]
            )
    return scores


def _ranked(truth: np.ndarray, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank each row by score and sum over its true terms what the two areas are made of.

    Parameters
    ----------
    truth, probs : array of shape (n, T)
        Truth as bool, and scores.

    Returns
    -------
    array of shape (n,)
        Precision at the place of each true term, summed. Divided by their number it is the
        average precision.
    array of shape (n,)
        False terms that each true term outranks, a tie counting half, summed. Divided by the
        number of pairs it is the area under the ROC curve.
    """
    n, width = truth.shape
    order = np.argsort(-probs, axis=1)
    ranked = np.take_along_axis(probs, order, axis=1)
    # Equal scores have no order among themselves: a run of them is passed in one step.
    last_of_run = np.ones((n, width), bool)
    np.not_equal(ranked[:, 1:], ranked[:, :-1], out=last_of_run[:, :-1])

    # From here on a place is a number from 0 to n * T, row after row.
    place = np.flatnonzero(np.take_along_axis(truth, order, axis=1))
    row = place // max(width, 1)
    ends = np.flatnonzero(last_of_run)
    run = np.searchsorted(ends, place)
    after = ends[run] + 1
    before = np.where(run > 0, ends[run - 1] + 1, 0)

    def true_and_all_up_to(end):
        return np.searchsorted(place, end) - np.searchsorted(place, row * width), end - row * width

    true_after, all_after = true_and_all_up_to(after)
    true_before, all_before = true_and_all_up_to(before)
    false_above = (all_after - true_after + all_before - true_before) / 2
    false_terms = width - np.bincount(row, minlength=n)
    summed_precision = np.bincount(row, true_after / all_after, minlength=n)
    return summed_precision, np.bincount(row, false_terms[row] - false_above, minlength=n)


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
