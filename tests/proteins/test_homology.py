"""Relatives: found by sequence, weighed, and told apart from proteins that have none."""

import numpy as np
import pandas as pd
import pytest

from dlfb.proteins.homology import combine, find_relatives, transfer
from dlfb.proteins.sequences import AMINO_ACIDS
from dlfb.proteins.splits import Split

RNG = np.random.default_rng(0)
FAMILY = "".join(RNG.choice(list(AMINO_ACIDS), 120))
STRANGER = "".join(RNG.choice(list(AMINO_ACIDS), 120))


def changed(sequence: str, places) -> str:
    """Return the sequence with every residue at these places replaced by another."""
    letters = list(sequence)
    for place in places:
        letters[place] = AMINO_ACIDS[AMINO_ACIDS.index(letters[place]) - 1]
    return "".join(letters)


QUERIES = {"q": FAMILY, "alone": STRANGER}
TARGETS = {
    "far": changed(FAMILY, range(5, 115, 3)),
    "near": changed(FAMILY, range(5, 115, 11)),
    "q": FAMILY,
}


def test_relatives_are_found_the_nearest_first_and_no_protein_is_its_own():
    hits = find_relatives(QUERIES, pd.Series(TARGETS))
    assert list(hits.columns) == ["query", "target", "bits", "e_value", "identity"]
    assert list(hits["query"]) == ["q", "q"]
    assert list(hits["target"]) == ["near", "far"]
    assert hits["bits"].is_monotonic_decreasing and (hits["e_value"] <= 1e-3).all()
    # 110 and 83 of 120 residues were left; the best alignment may be shorter at its ends.
    assert hits["identity"].tolist() == pytest.approx([110 / 120, 83 / 120], abs=0.02)


def test_a_stricter_search_finds_less_and_nothing_is_an_empty_table():
    loosest = find_relatives(QUERIES, TARGETS)["e_value"].max()
    assert list(find_relatives(QUERIES, TARGETS, loosest / 2)["target"]) == ["near"]
    nothing = find_relatives({"alone": STRANGER}, TARGETS)
    assert nothing.empty and nothing["bits"].dtype == float


def test_a_gap_counts_as_a_column_that_differs():
    (hit,) = find_relatives({"q": FAMILY}, {"t": FAMILY[:55] + FAMILY[61:]}).itertuples()
    assert hit.identity == pytest.approx(114 / 120, abs=0.005)


@pytest.mark.parametrize(("queries", "targets", "message"), [
    (QUERIES, {}, "no target"),
    ([FAMILY], TARGETS, "queries: this is a list. Pass a dictionary from id"),
    (QUERIES, pd.DataFrame({"Sequence": [FAMILY]}), "targets: this is a DataFrame"),
    (QUERIES, pd.Series([FAMILY, FAMILY], ["t", "t"]), "targets: the id 't' occurs twice"),
    ({"bad": "MK1"}, TARGETS, "bad: the letter '1'"),
])  # fmt: skip
def test_what_can_not_be_searched_is_refused(queries, targets, message):
    with pytest.raises(ValueError, match=message):
        find_relatives(queries, targets)


TRAIN = pd.DataFrame(
    [[1, 0, 1], [0, 0, np.nan], [1, 0, np.nan]], index=["a", "b", "c"], columns=["x", "y", "z"]
)
HITS = pd.DataFrame(
    {"query": ["p", "p", "r"], "target": ["a", "b", "b"], "bits": [300.0, 100.0, 50.0]}
)


def test_relatives_annotation_is_weighed_by_bits_and_the_rest_is_frequency():
    scores, found = transfer(HITS, TRAIN, ["r", "none", "p"])
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(found, [True, False, True])
    # Of r's one relative it is not known whether it has z.
    frequency = [2 / 3, 0, 1]
    expected = [[0, 0, frequency[2]], frequency, [0.75, 0, 1]]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_splits_do_as_well_as_frames():
    ids, y = np.array(TRAIN.index), TRAIN.to_numpy()
    train = Split(np.zeros((3, 1)), y, ids, TRAIN.columns)
    queries = Split(np.zeros((2, 1)), y[:2], np.array(["r", "p"]), TRAIN.columns)
    for ours, theirs in zip(
        transfer(HITS, train, queries), transfer(HITS, TRAIN, ["r", "p"]), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_transfer_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="'b', for which train has no annotation"):
        transfer(HITS, TRAIN.drop(index="b"), ["p"])
    with pytest.raises(ValueError, match="queries: the id 'p' occurs twice"):
        transfer(HITS, TRAIN, ["p", "p"])
    with pytest.raises(ValueError, match="no column 'similarity'"):
        transfer(HITS, TRAIN, ["p"], weight="similarity")
    for bits, message in ((np.nan, "row 1 has no bits"), (-1, "'bits' must be a number, 0 or m")):
        with pytest.raises(ValueError, match=message):
            transfer(HITS.assign(bits=[1, bits, 2]), TRAIN, ["p"])


def test_combination_is_the_mean_and_the_network_alone_without_relatives():
    relatives, network = np.array([[1.0, 0.0], [0.3, 0.3]]), np.array([[0.5, 0.5], [0.9, 0.1]])
    both = combine(relatives, network, [True, False])
    np.testing.assert_allclose(both, [[0.75, 0.25], [0.9, 0.1]], rtol=1e-6)
    with pytest.raises(ValueError, match=r"not \(2, 2\), \(2, 1\) and"):
        combine(relatives, network[:, :1], [True, False])
