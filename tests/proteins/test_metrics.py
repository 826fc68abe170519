"""The metrics, held to scikit-learn and, for CAFA's scores, to cafaeval."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from dlfb.proteins.metrics import (
    METRICS,
    bootstrap_interval,
    cafa_curve,
    fmax,
    per_protein_metrics,
    per_term_metrics,
)


def by_scikit_learn(truth, scores, threshold):
    """Score one row with scikit-learn, NaN where a metric has no meaning."""
    predicted = scores >= threshold
    some, all_ = truth.any(), truth.all()
    return [
        sklearn_metrics.accuracy_score(truth, predicted),
        sklearn_metrics.recall_score(truth, predicted) if some else np.nan,
        sklearn_metrics.precision_score(truth, predicted) if predicted.any() else np.nan,
        sklearn_metrics.average_precision_score(truth, scores) if some else np.nan,
        sklearn_metrics.roc_auc_score(truth, scores) if some and not all_ else np.nan,
    ]


def scored_matrices(seed):
    """Truth, some of it unknown, and scores of up to 6 x 12, with many ties or none."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 7), rng.integers(1, 13)
    truth = rng.integers(0, 2, shape).astype(float)
    # Rows without a true term, and rows of nothing else, more often than by chance.
    truth[rng.random(shape[0]) < 0.2] = 0
    truth[rng.random(shape[0]) < 0.2] = 1
    truth[rng.random(shape) < rng.choice([0, 0.3])] = np.nan
    scores = rng.choice(
        [rng.integers(-2, 4, shape) / 4, rng.normal(size=shape) * 2.0**99, np.full(shape, 0.5)]
    )
    return truth, scores.astype(rng.choice([np.float32, np.float64]))


@pytest.mark.parametrize("seed", range(60))
def test_equal_to_scikit_learn_where_the_truth_is_known(seed):
    truth, scores = scored_matrices(seed)
    for found, matrix, p in (
        (per_protein_metrics(truth, scores, 0.25), truth, scores),
        (per_term_metrics(truth, scores, 0.25), truth.T, scores.T),
    ):
        for row, y, values in zip(found[list(METRICS)].to_numpy(), matrix, p, strict=True):
            known = ~np.isnan(y)
            some = known.any()
            expected = by_scikit_learn(y[known] == 1, values[known], 0.25) if some else np.nan
            np.testing.assert_allclose(row, expected, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(found["positives"], (matrix == 1).sum(axis=1))


def test_undefined_is_nan_and_can_be_filled():
    truth = np.array([[0, 0, 0], [1, 1, 1], [0, 1, 0]])
    scores = np.array([[0.9, 0.1, 0.1], [0.1, 0.2, 0.3], [0.1, 0.9, 0.2]])
    nan = np.nan
    expected = [[2 / 3, nan, 0, nan, nan, 0], [0, 0, nan, 1, nan, 3], [1, 1, 1, 1, 1, 1]]
    found = per_protein_metrics(truth, scores)
    np.testing.assert_array_equal(found, expected)
    filled = per_protein_metrics(truth, scores, undefined=0.0)
    np.testing.assert_array_equal(filled, np.nan_to_num(expected))
    # The book's code counts even the accuracy of a protein without terms as 0.
    expected[0][0] = 0
    book = per_protein_metrics(truth, scores, undefined="book")
    np.testing.assert_array_equal(book, np.nan_to_num(expected))
    with pytest.raises(ValueError, match="choose a number, or 'book'"):
        per_protein_metrics(truth, scores, undefined="zero")


def test_labels_of_frames_are_kept():
    proteins = pd.Index(["P1", "P2"], name="EntryID")
    terms = pd.Index(["GO:1", "GO:2", "GO:3"], name="term")
    truth = pd.DataFrame([[1, 0, 0], [0, 1, 1]], index=proteins, columns=terms)
    scores = np.array([[0.5, 0.4, 0.3], [0.1, 0.2, 0.3]])
    for probs in (scores, pd.DataFrame(scores, index=proteins, columns=terms)):
        pd.testing.assert_index_equal(per_protein_metrics(truth, probs).index, proteins)
        pd.testing.assert_index_equal(per_term_metrics(truth, probs).index, terms)
    for other in (probs[terms[::-1]], probs.loc[proteins[::-1]]):
        with pytest.raises(ValueError, match="have different names or another order"):
            per_protein_metrics(truth, other)


@pytest.mark.parametrize(("truth", "scores", "message"), [
    ([[0, 1]], [[0.1, 0.2, 0.3]], r"shapes \(1, 2\) and \(1, 3\)"),
    ([0, 1], [0.1, 0.2], r"shapes \(2,\) and \(2,\)"),
    ([[0, 0], [0, 2]], np.zeros((2, 2)), "NaN for unknown, but 2 was found in row 1, column 1"),
    ([["yes", "no"]], [[0.1, 0.2]], "targets must be 0, 1, or NaN for unknown .could not"),
    ([[0, 1]], [[0.1, np.inf]], "finite numbers, but inf was found in row 0, column 1"),
])  # fmt: skip
def test_errors_say_what_is_wrong_and_where(truth, scores, message):
    with pytest.raises(ValueError, match=message):
        per_protein_metrics(truth, scores)


def test_edge_cases_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        none = np.zeros((0, 4))
        assert per_protein_metrics(none, none).shape == (0, 6)
        assert per_term_metrics(none, none)[list(METRICS)].isna().all(axis=None)
        cafa_curve(np.eye(3, 4), np.zeros((3, 4)))


def test_unknown_may_be_pandas_own_and_counts_neither_as_missed_nor_as_wrong():
    integers = pd.DataFrame([[1, None, 0]]).astype("Int8")
    assert per_protein_metrics(integers, [[0.9, 0.8, 0.1]]).loc[0, "accuracy"] == 1
    assert fmax([[1, np.nan, 0], [np.nan] * 3], [[0.9, 0.9, 0.1], [0.9] * 3]) == 1
    assert cafa_curve([[1, np.nan, 0]], [[0.9, 0.9, 0.1]])["s"].min() == 0


def test_bootstrap_interval():
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = bootstrap_interval(values)
    error = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.015)
    assert bootstrap_interval(pd.Series([*values, np.nan])) == (low, high)
    assert np.isnan(bootstrap_interval([np.nan])).all()
    with pytest.raises(ValueError, match="pass one column, not shape"):
        bootstrap_interval(np.eye(2))


# A small ontology, for CAFA's scores: child -> parents. Term 0 is the root.
PARENTS = {1: [0], 2: [0], 3: [1], 4: [1, 2], 5: [2], 6: [4], 7: [4, 5]}
TERMS = [f"GO:{i:07d}" for i in range(8)]


def random_annotation(seed, decimals):
    """Truth and scores (30, 8) that follow the ontology, and a weight for each term."""
    rng = np.random.default_rng(seed)
    truth = rng.random((30, 8)) < 0.15
    scores = rng.random((30, 8)).round(decimals) * (rng.random((30, 8)) < 0.6)
    truth[3], scores[5] = False, 0
    for child in range(7, 0, -1):
        for parent in PARENTS[child]:
            truth[:, parent] |= truth[:, child]
            scores[:, parent] = np.maximum(scores[:, parent], scores[:, child])
    truth[7] = np.arange(8) == 0
    weights = 3 * rng.random(8)
    weights[[0, *rng.integers(1, 8, size=seed % 3)]] = 0
    return truth, scores, weights


def by_cafaeval(folder, truth, scores, weights):
    """Write the files that cafaeval reads and return its table, a row for each threshold."""
    evaluation = pytest.importorskip("cafaeval.evaluation")
    stanzas = [
        f"[Term]\nid: {term}\nname: {term}\nnamespace: molecular_function\n"
        + "".join(f"is_a: {TERMS[parent]}\n" for parent in PARENTS.get(i, []))
        for i, term in enumerate(TERMS)
    ]
    (folder / "go.obo").write_text("format-version: 1.2\n\n" + "\n".join(stanzas))
    (folder / "truth.tsv").write_text("".join(f"P{i}\t{TERMS[j]}\n" for i, j in np.argwhere(truth)))
    (folder / "predictions").mkdir()
    (folder / "predictions" / "model.tsv").write_text(
        "".join(f"P{i}\t{TERMS[j]}\t{float(scores[i, j])!r}\n" for i, j in np.argwhere(scores > 0))
    )
    (folder / "ia.tsv").write_text(
        "".join(f"{t}\t{float(w)!r}\n" for t, w in zip(TERMS, weights, strict=True))
    )
    table, _ = evaluation.cafa_eval(
        *(str(folder / name) for name in ("go.obo", "predictions", "truth.tsv")),
        ia=str(folder / "ia.tsv"),
    )
    return table.reset_index()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("decimals", [2, 9])
def test_equal_to_cafaeval(tmp_path, seed, decimals):
    truth, scores, weights = random_annotation(seed, decimals)
    expected = by_cafaeval(tmp_path, truth, scores, weights)
    assert fmax(truth, scores) == pytest.approx(expected["f"].max(), abs=1e-9)
    assert fmax(truth, scores, weights) == pytest.approx(expected["f_w"].max(), abs=1e-9)
    names = {"coverage": "cov", "precision": "pr", "recall": "rc", "f": "f"}
    names |= {"remaining": "ru", "misinformation": "mi", "s": "s"}
    for suffix, curve in (
        ("", cafa_curve(truth, scores)),
        ("_w", cafa_curve(truth, scores, weights)),
    ):
        # cafaeval leaves out thresholds above every score.
        theirs = expected[[name + suffix for name in names.values()]]
        np.testing.assert_allclose(curve[list(names)].iloc[: len(expected)], theirs, atol=1e-9)


def test_weights_are_matched_by_name():
    terms = ["GO:1", "GO:2"]
    truth = pd.DataFrame([[1, 0]], columns=terms)
    scores = pd.DataFrame([[0.9, 0.9]], columns=terms)
    weights = pd.Series({"GO:2": 1.0, "GO:1": 3.0, "GO:9": 7.0})
    assert fmax(truth, scores, weights) == 2 * 0.75 / 1.75
    with pytest.raises(ValueError, match="2 finite numbers.* and 1 are NaN"):
        fmax(truth, scores, weights.drop("GO:2"))
    for wrong in ([1.0, -1.0], [1.0]):
        with pytest.raises(ValueError, match="must be 2 finite numbers"):
            fmax(truth, scores, wrong)
    with pytest.raises(ValueError, match="no protein has a true term"):
        fmax(np.zeros((2, 2)), np.zeros((2, 2)))
