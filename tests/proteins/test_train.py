"""Training: it learns, repeats itself bit for bit, and reports what it should."""

import inspect
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


def test_the_whole_data_set_lies_on_the_device_once(start, splits, monkeypatch):
    seen = []
    take, forward = train_module._take, train_module._forward
    monkeypatch.setattr(train_module, "_take", lambda d, rows: seen.append(d) or take(d, rows))
    monkeypatch.setattr(train_module, "_forward", lambda s, d: seen.append(d) or forward(s, d))
    train(start, splits, num_steps=4, eval_every=2)
    arrays = {id(array): array for data in seen for array in data.values()}
    assert len(seen) == 4 + 2 * 2 and len(arrays) == 4  # vectors and targets of two splits
    assert all(isinstance(array, jax.Array) for array in arrays.values())
    assert sorted(len(array) for array in arrays.values()) == [37, 37, 100, 100]


def test_the_loop_fits_on_a_screen():
    lines, _ = inspect.getsourcelines(train)
    assert len(lines) - train.__doc__.count("\n") < 45


def test_callback_is_told_each_entry_as_it_comes(start, splits):
    calls = []
    _, history = train(
        start, splits, num_steps=2, eval_every=1, callback=lambda *call: calls.append(call)
    )
    expected = zip(history["train"], history["valid"], strict=True)
    assert calls == [
        call for entries in expected for call in zip(("train", "valid"), entries, strict=True)
    ]


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


def test_errors_say_what_does_not_fit(start, splits):
    for options, message in (
        ({"num_steps": 0}, "num_steps must be at least 1, but is 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"eval_every": 0}, "eval_every must be at least 1"),
        ({"keep": "first"}, "must be 'best' or 'last', not 'first'"),
    ):
        with pytest.raises(ValueError, match=message):
            train(start, splits, **options)
    with pytest.raises(ValueError, match="has no 'valid', only"):
        train(start, {"train": splits["train"]})
    broken = SimpleNamespace(embeddings=np.zeros((3, 8)), targets=np.zeros((2, N_TERMS)))
    with pytest.raises(ValueError, match=r"'valid' split .* shapes \(3, 8\) and \(2, 6\)"):
        train(start, {**splits, "valid": broken})
    none = SimpleNamespace(embeddings=np.zeros((0, 8)), targets=np.zeros((0, N_TERMS)))
    with pytest.raises(ValueError, match=r"'train' split .* at least one, .* \(0, 8\) and"):
        train(start, {**splits, "train": none})


def test_the_chapter_s_settings_are_the_default():
    defaults = {p.name: p.default for p in inspect.signature(train).parameters.values()}
    assert (defaults["batch_size"], defaults["num_steps"], defaults["eval_every"]) == (32, 300, 30)
    assert defaults["seed"] == 42


@pytest.mark.parametrize("name", ["train_step", "_forward", "_probabilities", "_take"])
def test_what_is_asked_again_and_again_is_compiled(name):
    assert hasattr(getattr(train_module, name), "lower")


def test_a_loss_that_is_no_number_stops_the_training(start, splits):
    poisoned = make_split(100, 0)
    poisoned.embeddings[3, 3] = np.nan
    with pytest.raises(FloatingPointError, match="The loss is nan after step 3"):
        train(start, {**splits, "train": poisoned}, num_steps=3, batch_size=100)
