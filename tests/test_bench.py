"""The benchmarks' logic, at sizes that take a moment: what is timed is asked elsewhere."""

import time
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest

from dlfb.proteins.metrics import METRICS, per_protein_metrics
from dlfb.proteins.model import Model
from dlfb.proteins.train import predict
from tools import bench


def test_ways_take_turns_and_ratios_are_of_each_round():
    called = []
    ways = {"ours": lambda: called.append("a"), "b": lambda: time.sleep(0.02)}
    spent = bench.in_turn(2, ways | {"c": lambda: called.append("c")})
    assert called == ["a", "c"] * 2 and min(spent["b"]) > 0.02 > max(spent["ours"])
    row = bench.row("scoring", {"ours": [1, 2, 1], bench.SKLEARN: [60, 40, 99]}, bench.SKLEARN)
    assert row["times"] == "60 (20–99)" and row["met"]
    # The rival was given a tenth of the work.
    row = bench.row("embedding", {"ours": [10], bench.CHAPTER: [2]}, bench.CHAPTER, (100, 10))
    assert row["times"] == "2 (2–2)" and not row["met"]


def test_a_small_sample_has_the_lengths_of_a_large_one():
    proteins = ["M" * int(n) for n in np.sort(np.random.default_rng(0).integers(20, 501, 5000))]
    few, many = ([len(p) for p in bench.sample(proteins, n)] for n in (32, 1000))
    assert np.mean(few) == pytest.approx(np.mean(many), rel=0.01)
    assert few != sorted(few) and bench.sample(proteins, 32) == bench.sample(proteins, 32)


def test_other_vectors_stop_the_run():
    right = np.ones((3, 4), np.float32)
    bench.check(right, right * 1.00001)
    for wrong in (right + np.float32([[0], [1e-3], [0]]), right * np.nan):
        with pytest.raises(SystemExit, match="from facebookresearch's"):
            bench.check(wrong, right)


def test_the_rival_trains_and_scores_the_same():
    rng = np.random.default_rng(0)
    splits = {
        name: SimpleNamespace(
            embeddings=rng.standard_normal((n, 8), dtype=np.float32),
            targets=(rng.random((n, 12)) < 0.4).astype(np.float32),
        )
        for name, n in {"train": 70, "valid": 64}.items()
    }
    state = Model(num_targets=12).create_train_state(
        rng=jax.random.PRNGKey(42), dummy_input=splits["train"].embeddings[:1], tx=optax.adam(0.01)
    )
    state, means = bench.chapter_train(state, splits, num_steps=4, eval_every=4)
    probs = predict(state, splits["valid"].embeddings)
    table = per_protein_metrics(splits["valid"].targets, probs, undefined=0.0)
    assert state.step == 4
    # Batches of one size, so that the mean of their means is the mean.
    np.testing.assert_allclose(np.mean(means, axis=0), table[list(METRICS)].mean(), atol=1e-6)


def test_the_page_opens_with_what_was_met_and_missed():
    rows = [
        bench.row("embedding: 9 residues/s", {"ours": [1], bench.FACEBOOK: [1.05]}, bench.FACEBOOK),
        bench.row("restoring", {"ours": [0.1]}),
    ]
    page = bench.write_page(rows, "a machine")
    assert "**1 of 2 aims are met**" in page and "Missed: embedding." in page
    assert "| 1 s | facebookresearch's policy | 1.05 (1.05–1.05) | 1.1 times, **missed** |" in page
    assert "| restoring | 0.1 s |  |  | under 0.5 s |" in page and "- **CPU**: a machine" in page
    assert "Missed" not in bench.write_page(rows[1:], "")
