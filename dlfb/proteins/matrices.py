"""Pairs of matrices, truth and scores: checked, aligned, and cut into pieces that fit in memory."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

# Cells worked on at a time: a few megabytes for each temporary array, small enough to stay near
# the processor's caches, large enough to hide Python's overhead.
CELLS = 1 << 18


def aligned(targets, probs) -> tuple[np.ndarray, np.ndarray, pd.Index, pd.Index]:
    """Return truth and scores as arrays (N, T), and the labels of their rows and columns.

    Raises
    ------
    ValueError
        If they are not two matrices of one shape, or two frames with different labels.
    """
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


def chunks(
    targets: np.ndarray, probs: np.ndarray
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Go through both matrices a few rows at a time.

    Yields
    ------
    slice
        Which of the N rows.
    array of shape (n, T), bool
        Their truth.
    array of shape (n, T), float
        Their scores.

    Raises
    ------
    ValueError
        If a cell's truth is not 0 or 1, or its score not a finite number.
    """
    n, width = targets.shape
    step = max(1, CELLS // max(width, 1))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        # A piece of a transposed matrix is copied, so that each row lies in one stretch.
        values, scores = (np.ascontiguousarray(matrix[rows]) for matrix in (targets, probs))
        if scores.dtype.kind != "f":
            scores = scores.astype(np.float64)
        truth = values == 1
        _complain("targets must be 0 or 1", values, truth | (values == 0), start)
        _complain("probs must be finite numbers", scores, np.isfinite(scores), start)
        yield rows, truth, scores


def _complain(rule: str, values: np.ndarray, good: np.ndarray, start: int) -> None:
    if not good.all():
        row, column = np.argwhere(~good)[0]
        raise ValueError(
            f"{rule}, but {values[row, column]} stands in row {start + row}, column {column} "
            "(counted from 0, in the direction of scoring)."
        )
