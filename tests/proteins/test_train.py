"""Training: it learns, repeats itself bit for bit, and reports what it should."""

import math
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pandas as pd
import pytest

from dlfb.proteins import train as train_module
from dlfb.proteins.metrics import METRICS, per_protein_metrics
from dlfb.proteins.model import Model
from dlfb.proteins.train import (
    calculate_per_target_metrics,
    compute_metrics,
    eval_step,
    predict,
    train,
    train_step,
)

N_TERMS = 6


def make_split(n, seed):
    """Proteins (n, 8) whose functions can be told from their vectors."""
    x = np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)
    rule = np.random.default_rng(99).normal(size=(8, N_TERMS))
    return SimpleNamespace(embeddings=x, targets=(x @ rule > 2.5).astype(np.float32))


SPLITS = {"train": make_split(100, 0), "valid": make_split(37, 1)}
VALID = {"embedding": SPLITS["valid"].embeddings, "target": SPLITS["valid"].targets}


@pytest.fixture(scope="module")
def start():
    # One state for the module, so that the steps are compiled once.
    return Model(num_targets=N_TERMS, dim=16).create_train_state(
        rng=jax.random.PRNGKey(42), dummy_input=np.zeros((1, 8)), tx=optax.adam(0.01)
    )


@pytest.fixture(scope="module")
def trained(start):
    return train(start, SPLITS, num_steps=50, eval_every=20)


def bits(state):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


def cross_entropy(p, y):
    p = np.asarray(p, float)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()


def test_train_step_returns_the_loss_before_it_and_lowers_it(start):
    state, losses = start, []
    for _ in range(20):
        state, loss = train_step(state, VALID)
        losses.append(float(loss))
    expected = cross_entropy(predict(start, VALID["embedding"]), VALID["target"])
    assert losses[0] == pytest.approx(expected, rel=1e-5)
    assert losses[-1] < losses[0] / 2
    assert (start.step, state.step) == (0, 20)


def test_history_has_every_evaluation_and_the_last_step(trained):
    history = trained[1]
    assert list(history) == ["train", "valid"]
    for split in history.values():
        assert [entry["step"] for entry in split] == [20, 40, 50]
        assert all(type(value) in (int, float) for entry in split for value in entry.values())
    assert set(history["train"][0]) == {"step", "loss"}
    assert set(history["valid"][0]) == {"step", "loss", *METRICS, "coverage"}
    assert history["valid"][-1]["loss"] < history["valid"][0]["loss"]


def test_last_entry_is_of_the_returned_weights_over_all_proteins(start):
    state, history = train(start, SPLITS, num_steps=50, eval_every=50)
    assert state.step == 50
    last = history["valid"][-1]
    assert last == {"step": 50, **eval_step(state, VALID)}
    probs = predict(state, SPLITS["valid"])
    table = per_protein_metrics(VALID["target"], probs)
    assert 0 < table["auprc"].isna().sum() < len(table)  # some proteins have no function
    assert {name: last[name] for name in METRICS} == table[list(METRICS)].mean().to_dict()
    assert last["coverage"] == (probs >= 0.5).any(axis=1).mean()
    expected = cross_entropy(predict(state, SPLITS["train"]), SPLITS["train"].targets)
    assert history["train"][-1]["loss"] == pytest.approx(expected, rel=1e-4)


def test_same_seed_same_bits_and_another_seed_others(start, trained):
    again = train(start, SPLITS, num_steps=50, eval_every=20)
    assert bits(again[0]) == bits(trained[0]) and again[1] == trained[1]
    other, _ = train(start, SPLITS, num_steps=50, eval_every=20, seed=43)
    assert bits(other) != bits(trained[0])


def test_the_best_step_is_returned_unless_auprc_is_undefined(start, monkeypatch):
    for values, best in (([0.3, 0.7, 0.7, 0.5], 20), ([math.nan] * 4, 40)):
        entries = iter([{"loss": 1.0, "auprc": value} for value in values])
        monkeypatch.setattr(train_module, "eval_step", lambda *_, found=entries: next(found))
        assert train(start, SPLITS, num_steps=40, eval_every=10)[0].step == best


def test_callback_is_told_each_entry_and_the_test_split_never_touched(start):
    calls, splits = [], {**SPLITS, "test": object()}  # without embeddings or targets
    _, history = train(
        start, splits, num_steps=2, eval_every=1, callback=lambda *call: calls.append(call)
    )
    assert [split for split, _ in calls] == ["train", "valid"] * 2
    assert [entry for split, entry in calls if split == "valid"] == history["valid"]


def test_each_round_of_batches_has_every_protein_once_in_another_order(start, monkeypatch):
    seen, step = [], train_module.train_step
    monkeypatch.setattr(train_module, "train_step", lambda s, b, r: seen.append(b) or step(s, b, r))
    train(start, SPLITS, batch_size=20, num_steps=10)
    rows = np.concatenate([batch["embedding"][:, 0] for batch in seen]).reshape(2, 100)
    own = SPLITS["train"].embeddings[:, 0]
    assert (np.sort(rows) == np.sort(own)).all()
    assert (rows[0] != rows[1]).any() and (rows[0] != own).any()


def test_predictions_are_probabilities_of_a_split_or_an_array(trained):
    probs = predict(trained[0], SPLITS["valid"])
    assert type(probs) is np.ndarray and probs.dtype == np.float32
    assert probs.shape == (37, N_TERMS) and 0 <= probs.min() < 0.5 < probs.max() <= 1
    np.testing.assert_array_equal(probs, predict(trained[0], VALID["embedding"]))


def test_the_chapter_s_names_score_as_the_metrics_module_does():
    logits = np.array([[2.0, -1.0, 0.5], [-3.0, 1.0, 0.0], [1.0, 1.0, -1.0]])
    targets, probs = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0]]), 1 / (1 + np.exp(-logits))
    table = calculate_per_target_metrics(logits, targets)
    pd.testing.assert_frame_equal(table, per_protein_metrics(targets, probs))
    assert compute_metrics(targets[0], probs[0], thresh=0.7)["precision"] == 1


@pytest.mark.parametrize("options", [{"num_steps": 0}, {"batch_size": -1}, {"eval_every": 2.5}])
def test_nonsense_is_refused(start, options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=rf"train\(\): {name} must be .* not {value!r}"):
        train(start, SPLITS, **options)


WIDTH = "made for vectors of another width than these"


@pytest.mark.parametrize(("x", "y", "message"), [
    (np.zeros((3, 8)), np.zeros((2, N_TERMS)), r"shape \(2, 6\), but .* \(3, 6\)"),
    (np.zeros((3, 8)), np.zeros((3, 4)), r"shape \(3, 4\), but .* \(3, 6\).*num_targets=6"),
    (np.zeros((0, 8)), np.zeros((0, N_TERMS)), "has no proteins"),
    (np.zeros((3, 5)), np.zeros((3, N_TERMS)), WIDTH),
    (np.diag([0, 0, np.nan] + [0] * 5)[:3], np.zeros((3, N_TERMS)), "1 of 3 .* NaN .* in row 2."),
    (np.zeros((1, 8)), 2 * np.eye(1, N_TERMS, 5), "but 2 was found in row 0, column 5"),
])  # fmt: skip
def test_proteins_that_do_not_fit_are_refused(start, x, y, message):
    where = "" if message == WIDTH else "the 'valid' split.*"
    with pytest.raises(ValueError, match=where + message):
        train(start, {**SPLITS, "valid": SimpleNamespace(embeddings=x, targets=y)})
    with pytest.raises(ValueError, match=message):
        eval_step(start, {"embedding": x, "target": y})


def test_vectors_and_splits_that_do_not_fit_are_refused(start):
    for step in (predict, lambda *args: train_step(args[0], {**VALID, "embedding": args[1]})):
        with pytest.raises(ValueError, match=WIDTH):
            step(start, np.zeros((37, 5)))
    with pytest.raises(ValueError, match="has no 'valid', only"):
        train(start, {"train": SPLITS["train"]})


def test_unknown_targets_teach_nothing_and_score_nothing(start):
    unknown = np.arange(37) % 3 == 0
    masked = {**VALID, "target": np.where(unknown[:, None], np.nan, VALID["target"])}
    rest = {name: array[~unknown] for name, array in VALID.items()}
    (first, loss), (second, of_rest) = train_step(start, masked), train_step(start, rest)
    assert float(loss) == pytest.approx(float(of_rest), rel=1e-6)
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    all_scores, of_rest = eval_step(start, masked), eval_step(start, rest)
    for name in ("loss", *METRICS):
        assert all_scores[name] == pytest.approx(of_rest[name], rel=1e-5, nan_ok=True)


def test_weights_out_of_bounds_are_blamed_on_the_learning_rate(start):
    huge = start.replace(params=jax.tree.map(lambda leaf: leaf * 1e30, start.params))
    with pytest.raises(FloatingPointError, match="after step 0. .* smaller learning rate"):
        eval_step(huge, VALID)


def test_dropout_is_seeded_and_ends_with_training():
    start = Model(num_targets=N_TERMS, dim=16, dropout=0.5).create_train_state(
        jax.random.PRNGKey(42), np.zeros((1, 8)), optax.adam(0.01)
    )
    losses = [float(train_step(start, VALID, jax.random.PRNGKey(key))[1]) for key in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    # Without a key all units are used, and at each step others are left out.
    assert float(train_step(start, VALID)[1]) == pytest.approx(eval_step(start, VALID)["loss"])
    later = train_step(start.replace(step=1), VALID, jax.random.PRNGKey(1))
    assert float(later[1]) != losses[0]
    one, again = (train(start, SPLITS, num_steps=4)[0] for _ in range(2))
    assert bits(one) == bits(again)
    np.testing.assert_array_equal(predict(one, VALID["embedding"]), predict(one, SPLITS["valid"]))
