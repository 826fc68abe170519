"""Neighbours in the space of vectors: the same as by hand, nearest first, never oneself."""

import numpy as np
import pandas as pd
import pytest

from dlfb.proteins.homology import transfer
from dlfb.proteins.neighbours import nearest_neighbours

RNG = np.random.default_rng(0)
TARGETS = pd.DataFrame(RNG.normal(size=(30, 4)), index=[f"t{i}" for i in range(30)])
QUERIES = pd.DataFrame(RNG.normal(size=(7, 4)), index=[f"q{i}" for i in range(7)])


def test_neighbours_are_those_found_by_hand():
    found = nearest_neighbours(QUERIES, TARGETS, k=3)
    assert list(found["query"]) == list(np.repeat(QUERIES.index, 3))
    x, y = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in map(np.array, (QUERIES, TARGETS)))
    order = (-x @ y.T).argsort(axis=1)[:, :3]
    assert list(found["target"]) == list(TARGETS.index[order.ravel()])
    cosines = np.take_along_axis(x @ y.T, order, axis=1).ravel()
    np.testing.assert_allclose(found["similarity"], cosines)


def test_all_targets_at_most_never_oneself_and_what_points_away_has_no_weight():
    found = nearest_neighbours(TARGETS, TARGETS, k=99)
    assert len(found) == 30 * 29 and (found["query"] != found["target"]).all()
    assert found["similarity"].min() == 0
    annotation = pd.DataFrame(1, index=TARGETS.index, columns=["x"])
    scores, has = transfer(found, annotation, TARGETS.index, weight="similarity")
    np.testing.assert_allclose(scores, 1, rtol=1e-6)
    assert has.all()


def test_what_makes_no_sense_is_refused():
    for options in ({"k": 0}, {"targets": TARGETS.iloc[[0, 0]]}):
        with pytest.raises(ValueError, match="k must be a whole|'t0' occurs"):
            nearest_neighbours(**{"queries": QUERIES, "targets": TARGETS, **options})
