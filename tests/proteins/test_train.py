"""Training: it learns, repeats itself bit for bit, and reports what it should."""

import math
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

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


@pytest.fixture(scope="module")
def splits():
    return {"train": make_split(100, 0), "valid": make_split(37, 1)}


@pytest.fixture(scope="module")
def start():
    # One state for the module, so that the steps are compiled once.
    return Model(num_targets=N_TERMS, dim=16).create_train_state(
        rng=jax.random.PRNGKey(42), dummy_input=np.zeros((1, 8)), tx=optax.adam(0.01)
    )


@pytest.fixture(scope="module")
def trained(start, splits):
    return train(start, splits, num_steps=50, eval_every=20)


def bits(state):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


def batch_of(split):
    return {"embedding": split.embeddings, "target": split.targets}


def test_train_step_lowers_the_loss_and_counts(start, splits):
    batch = batch_of(splits["train"])
    state, losses = start, []
    for _ in range(20):
        state, loss = train_step(state, batch)
        losses.append(float(loss))
    assert state.step == 20
    assert losses[-1] < losses[0] / 2
    logits = start.apply_fn({"params": start.params}, batch["embedding"])
    p, y = 1 / (1 + np.exp(-np.asarray(logits, float))), batch["target"]
    cross_entropy = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert losses[0] == pytest.approx(cross_entropy, rel=1e-5)
    assert start.step == 0


def test_history_has_every_evaluation_and_the_last_step(trained):
    _, history = trained
    assert list(history) == ["train", "valid"]
    for split in history.values():
        assert [entry["step"] for entry in split] == [20, 40, 50]
        assert all(type(value) in (int, float) for entry in split for value in entry.values())
    assert set(history["train"][0]) == {"step", "loss"}
    assert set(history["valid"][0]) == {"step", "loss", *METRICS, "coverage"}
    losses = [entry["loss"] for entry in history["valid"]]
    assert losses[-1] < losses[0]


def test_last_entry_is_of_the_returned_weights_over_all_proteins(start, splits):
    state, history = train(start, splits, num_steps=50, eval_every=20, keep="last")
    assert state.step == 50
    assert history["valid"][-1] == {"step": 50, **eval_step(state, batch_of(splits["valid"]))}
    probs = predict(state, splits["valid"])
    table = per_protein_metrics(splits["valid"].targets, probs)
    assert 0 < table["auprc"].isna().sum() < len(table)  # some proteins have no function
    for name in METRICS:
        assert history["valid"][-1][name] == table[name].mean()
    assert history["valid"][-1]["coverage"] == (probs >= 0.5).any(axis=1).mean()
    # The training loss is of the same weights and over all proteins, too.
    p, y = predict(state, splits["train"]).astype(float), splits["train"].targets
    cross_entropy = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert history["train"][-1]["loss"] == pytest.approx(cross_entropy, rel=1e-4)


def test_same_seed_same_bits_and_another_seed_others(start, splits, trained):
    again = train(start, splits, num_steps=50, eval_every=20)
    assert bits(again[0]) == bits(trained[0])
    assert again[1] == trained[1]
    other, _ = train(start, splits, num_steps=50, eval_every=20, seed=43)
    assert bits(other) != bits(trained[0])


def test_the_best_step_is_returned_unless_the_last_is_asked_for(start, splits, monkeypatch):
    values = iter([0.3, 0.7, 0.7, 0.5])
    monkeypatch.setattr(train_module, "eval_step", lambda *_: {"loss": 1.0, "auprc": next(values)})
    best, history = train(start, splits, num_steps=40, eval_every=10)
    assert best.step == 20
    assert [entry["auprc"] for entry in history["valid"]] == [0.3, 0.7, 0.7, 0.5]
    monkeypatch.setattr(train_module, "eval_step", lambda *_: {"loss": 1.0, "auprc": math.nan})
    undefined, _ = train(start, splits, num_steps=20, eval_every=10)
    assert undefined.step == 20


def test_callback_is_told_each_entry_as_it_comes(start, splits):
    calls = []
    _, history = train(
        start, splits, num_steps=2, eval_every=1, callback=lambda *call: calls.append(call)
    )
    assert [split for split, _ in calls] == ["train", "valid"] * 2
    assert [entry for split, entry in calls if split == "valid"] == history["valid"]


def test_the_test_split_is_never_touched(start, splits):
    class Untouchable:
        def __getattr__(self, name):
            raise AssertionError(f"train looked at .{name} of the test split")

    train(start, {**splits, "test": Untouchable()}, num_steps=1)


def test_batches_go_through_every_protein_before_any_twice():
    batches = train_module._shuffled_batches(n=10, batch_size=4, num_steps=6, seed=0)
    assert batches.shape == (6, 4)
    epochs = batches.ravel()[:20].reshape(2, 10)
    assert (np.sort(epochs, axis=1) == np.arange(10)).all()
    assert (epochs[0] != epochs[1]).any()
    assert (epochs[0] != np.arange(10)).any()
    assert train_module._shuffled_batches(3, 8, 2, seed=0).shape == (2, 8)


def test_predict_takes_a_split_or_an_array(trained, splits):
    state, _ = trained
    probs = predict(state, splits["valid"])
    assert type(probs) is np.ndarray
    assert probs.shape == (37, N_TERMS)
    assert probs.dtype == np.float32
    assert 0 <= probs.min() < 0.5 < probs.max() <= 1
    np.testing.assert_array_equal(probs, predict(state, splits["valid"].embeddings))


def test_the_chapters_names_score_as_the_metrics_module_does():
    logits = np.array([[2.0, -1.0, 0.5], [-3.0, 1.0, 0.0], [1.0, 1.0, -1.0]])
    targets = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0]])
    probs = 1 / (1 + np.exp(-logits))
    table = calculate_per_target_metrics(logits, targets)
    pd.testing.assert_frame_equal(table, per_protein_metrics(targets, probs))
    row = compute_metrics(targets[0], probs[0])
    assert list(row) == list(METRICS)
    assert row == table[list(METRICS)].loc[0].to_dict()
    assert row["auprc"] == average_precision_score(targets[0], probs[0])
    assert compute_metrics(targets[0], probs[0], thresh=0.7)["precision"] == 1
    assert math.isnan(compute_metrics(targets[2], probs[2])["auprc"])


@pytest.mark.parametrize(
    "options", [{"num_steps": 0}, {"batch_size": -1}, {"eval_every": 2.5}, {"keep": "first"}]
)
def test_nonsense_is_refused(start, splits, options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=rf"train\(\): {name} must be .* not {value!r}"):
        train(start, splits, **options)


WIDTH = "another width than these, which have 5 numbers"


@pytest.mark.parametrize(("x", "y", "message"), [
    (np.zeros((3, 8)), np.zeros((2, N_TERMS)), r"shape \(2, 6\), but .* \(3, 6\)"),
    (np.zeros((3, 8)), np.zeros((3, 4)), r"shape \(3, 4\), but .* \(3, 6\).*num_targets=6"),
    (np.zeros((0, 8)), np.zeros((0, N_TERMS)), "has no proteins"),
    (np.zeros((3, 5)), np.zeros((3, N_TERMS)), WIDTH),
    (np.diag([1, 1, np.nan]) @ np.ones((3, 8)), np.zeros((3, N_TERMS)), "1 of 3 embeddings hold"),
    (np.zeros((1, 8)), 2 * np.eye(1, N_TERMS, 5), "but 2 was found in row 0, column 5"),
])  # fmt: skip
def test_proteins_that_do_not_fit_are_refused(start, splits, x, y, message):
    misfit = SimpleNamespace(embeddings=x, targets=y)
    for name in ("train", "valid"):
        where = "" if message == WIDTH else f"{name}' split.*"
        with pytest.raises(ValueError, match=where + message):
            train(start, {**splits, name: misfit}, num_steps=1)
    with pytest.raises(ValueError, match=message):
        eval_step(start, batch_of(misfit))


def test_vectors_that_do_not_fit_are_refused(start, splits):
    with pytest.raises(ValueError, match=WIDTH):
        predict(start, np.zeros((3, 5)))
    with pytest.raises(ValueError, match=WIDTH):
        train_step(start, {"embedding": np.zeros((3, 5)), "target": np.zeros((3, N_TERMS))})
    with pytest.raises(ValueError, match=r"predict\(\): 1 of 3 embeddings hold NaN .* in row 2"):
        predict(start, np.array([[0.0] * 8, [1.0] * 8, [np.nan] * 8]))
    with pytest.raises(ValueError, match="has no 'valid', only"):
        train(start, {"train": splits["train"]})


def test_unknown_targets_teach_nothing_and_score_nothing(start, splits):
    known = batch_of(splits["train"])
    rows = known["embedding"].shape[0]
    unknown = np.arange(rows) % 3 == 0
    masked = {**known, "target": np.where(unknown[:, None], np.nan, known["target"])}
    rest = {name: array[~unknown] for name, array in known.items()}
    (first, loss), (second, of_rest) = train_step(start, masked), train_step(start, rest)
    assert float(loss) == pytest.approx(float(of_rest), rel=1e-6)
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert eval_step(start, masked) == pytest.approx(
        {**eval_step(start, rest), "coverage": share_with_a_prediction(start, masked)}, rel=1e-5
    )


def share_with_a_prediction(state, batch):
    """Share of proteins, unknown ones too, with a prediction among their known functions."""
    predicted = (predict(state, batch["embedding"]) >= 0.5) & ~np.isnan(batch["target"])
    return predicted.any(axis=1).mean()


def test_weights_out_of_bounds_are_blamed_on_the_learning_rate(start, splits):
    huge = start.replace(params=jax.tree.map(lambda leaf: leaf * 1e30, start.params))
    with pytest.raises(FloatingPointError, match="after step 0: .* smaller learning rate"):
        eval_step(huge, batch_of(splits["valid"]))


def test_dropout_is_seeded_and_ends_with_training(splits):
    start = Model(num_targets=N_TERMS, dim=16, dropout=0.5).create_train_state(
        jax.random.PRNGKey(42), np.zeros((1, 8)), optax.adam(0.01)
    )
    batch = batch_of(splits["train"])
    losses = [float(train_step(start, batch, jax.random.PRNGKey(key))[1]) for key in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    # Without a key all units are used, and at each step others are left out.
    assert float(train_step(start, batch)[1]) == pytest.approx(eval_step(start, batch)["loss"])
    later = start.replace(step=1)
    assert float(train_step(later, batch, jax.random.PRNGKey(1))[1]) != losses[0]
    one, again = (train(start, splits, num_steps=4, keep="last")[0] for _ in range(2))
    assert bits(one) == bits(again)
    np.testing.assert_array_equal(predict(one, splits["valid"]), predict(one, splits["valid"]))
