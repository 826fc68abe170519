"""Thresholds, calibration and hierarchy, each against a plain count by hand or scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from dlfb.proteins.metrics import cafa_curve
from dlfb.proteins.ontology import read_ontology
from dlfb.proteins.thresholds import (
    best_thresholds,
    calibrate,
    calibration_error,
    follow_hierarchy,
    information_accretion,
    reliability,
)

# What each term is below: F is the root, C has two parents, D is three steps down.
PARENTS = {"F": "", "A": "F", "B": "F", "C": "AB", "D": "C"}


@pytest.fixture
def graph(tmp_path):
    stanzas = [
        f"[Term]\nid: {term}\nname: x\nnamespace: molecular_function\n"
        + "".join(f"is_a: {one}\n" for one in above)
        + ("alt_id: OLD\n" if term == "A" else "")
        for term, above in PARENTS.items()
    ]
    (tmp_path / "go.obo").write_text("format-version: 1.2\n\n" + "\n".join(stanzas))
    return read_ontology(tmp_path / "go.obo")


@pytest.fixture
def scored():
    """Truth and scores (80, 6); few distinct scores, so that ties are common."""
    rng = np.random.default_rng(0)
    truth = (rng.random((80, 6)) < 0.2).astype(float)
    return truth, (0.3 * truth + 0.7 * rng.random((80, 6))).round(1)


def f1_at_best(truth, scores):
    return max(f1_score(truth, scores >= tau) for tau in np.unique(scores))


def test_no_other_threshold_has_a_higher_f1(scored):
    truth, scores = scored
    one = best_thresholds(truth, scores)
    assert f1_score(truth.ravel(), scores.ravel() >= one) == f1_at_best(*map(np.ravel, scored))
    each = best_thresholds(truth, scores, per_term=True)
    assert each.shape == (6,) and len(set(each)) > 1
    for y, s, tau in zip(truth.T, scores.T, each, strict=True):
        assert f1_score(y, s >= tau) == f1_at_best(y, s)
        assert tau not in s or tau == s.min(), "halfway, so that rounding decides nothing"


def test_a_rare_term_takes_the_threshold_for_all(scored):
    truth, scores = scored
    truth[:, 2] = 0
    truth[:3, 2] = scores[:3, 2] = 1
    scores[3:, 2] /= 3
    one, own = (best_thresholds(truth, scores, per_term) for per_term in (False, True))
    each = best_thresholds(truth, scores, per_term=True, least=4)
    assert each[2] == one != own[2]
    assert (np.delete(each, 2) == np.delete(own, 2)).all()
    truth[:, 2] = 0
    assert best_thresholds(truth, scores, per_term=True)[2] == best_thresholds(truth, scores)
    with pytest.raises(ValueError, match="no target is 1"):
        best_thresholds(np.zeros((2, 2)), np.zeros((2, 2)))


def test_unknown_targets_are_left_out(scored):
    truth, scores = scored
    more = np.vstack([truth, np.full((500, 6), np.nan)])
    # Scores that would change everything if they counted.
    more_scores = np.vstack([scores, np.random.default_rng(1).random((500, 6)) ** 9])
    assert best_thresholds(more, more_scores) == best_thresholds(truth, scores)
    each = best_thresholds(more, more_scores, per_term=True)
    assert (each == best_thresholds(truth, scores, per_term=True)).all()
    grid = np.linspace(0, 1, 50)
    assert (calibrate(more, more_scores)(grid) == calibrate(truth, scores)(grid)).all()
    pd.testing.assert_frame_equal(reliability(more, more_scores), reliability(truth, scores))


def test_calibrated_scores_are_shares_in_the_old_order():
    rng = np.random.default_rng(2)
    scores = rng.random((4000, 5))
    truth = rng.random((4000, 5)) < scores**2  # far too confident
    learn, tell = slice(0, 2000), slice(2000, None)
    curve = calibrate(truth[learn], scores[learn])
    after = curve(scores[tell])
    assert np.abs(after - scores[tell] ** 2).mean() < 0.02
    assert (np.diff(curve(np.linspace(-1, 2, 500))) >= 0).all()
    before_error = calibration_error(truth[tell], scores[tell])
    assert before_error == pytest.approx(1 / 2 - 1 / 3, abs=0.02)
    assert calibration_error(truth[tell], after) < 0.02


def test_reliability_by_hand():
    truth, scores = [[0, 1, 1], [0, np.nan, 0]], [[0.11, 0.35, 1.0], [0.19, 0.9, 0.65]]
    table = reliability(truth, scores)
    assert table.index.tolist() == [0.1, 0.3, 0.6, 0.9] and table.index.name == "from"
    assert table["cells"].tolist() == [2, 1, 1, 1]
    np.testing.assert_allclose(table["predicted"], [0.15, 0.35, 0.65, 1])
    assert table["observed"].tolist() == [0, 1, 0, 1]
    assert calibration_error(truth, scores) == pytest.approx((2 * 0.15 + 0.65 + 0.65) / 5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        reliability([[1]], [[1.2]])


def test_a_term_scores_at_least_as_high_as_its_descendants(graph):
    # C is not among the columns, and D is above A and F through it. OLD is A by another name.
    probs = np.array([[0.1, 0.2, 0.9], [0.8, 0.1, 0.3], [0.5, 0.4, 0.1]], np.float32)
    raised = follow_hierarchy(probs, ["F", "OLD", "D"], graph)
    expected = np.float32([[0.9, 0.9, 0.9], [0.8, 0.3, 0.3], [0.5, 0.4, 0.1]])
    np.testing.assert_array_equal(raised, expected)
    assert raised.dtype == np.float32 and probs[0, 0] == np.float32(0.1), "the input is left alone"
    np.testing.assert_array_equal(follow_hierarchy(raised, ["F", "A", "D"], graph), raised)
    # A and B are siblings: neither says anything about the other.
    siblings = follow_hierarchy([[0.9, 0.1]], ["A", "B"], graph)
    assert siblings.tolist() == [[0.9, 0.1]]
    with pytest.raises(ValueError, match="'X' is unknown"):
        follow_hierarchy([[0.5]], ["X"], graph)


def test_a_term_is_compared_with_those_that_have_all_its_parents(graph):
    has = {"P1": "FABCD", "P2": "FABC", "P3": "FAB", "P4": "FAB", "P5": "FA", "P6": "FB"}
    rows = [(protein, term) for protein, terms in has.items() for term in terms]
    table = pd.DataFrame(rows, columns=["EntryID", "term"])
    bits = information_accretion(table, graph)
    # Two of the four proteins with A and B have C, and one of these two has D.
    assert bits["C"] == 1 and bits["D"] == 1 and bits["F"] == 0
    assert bits["A"] == bits["B"] == np.log2(6 / 5)
    assert information_accretion(table[table["term"] != "D"], graph)["D"] == 0, "nobody has it"
    with pytest.raises(ValueError, match="P1 has C without all its parents"):
        information_accretion(table.drop(index=2), graph)
    with pytest.raises(ValueError, match=r"information_accretion\(\): the table has no column"):
        information_accretion(table[["EntryID"]], graph)
    # A miss of D is worth its bit, and its ancestors' where these are missed as well.
    truth = pd.DataFrame([[1, 1, 1, 1, 1]], columns=list("FABCD"))
    smin = cafa_curve(truth, truth * 0.0, bits)["s"].min()
    assert smin == pytest.approx(2 + 2 * np.log2(6 / 5))
