"""Measure scoring and training against the chapter's own way of doing them.

The rival is a plain loop: batches of 32 cut by a Python generator and copied to the device at
every step, and an evaluation that walks the validation batches, calls scikit-learn five times
for each protein and averages the means of the batches. Model, data, optimiser, number of steps
(300) and of evaluations (ten) are the same. Data are random, in the chapter's shapes.

    python tools/bench_training.py [--repeats 5]

Prints medians, and ratios of medians taken in turns in one run.
"""

import argparse
import os
import statistics
import time
import warnings
from types import SimpleNamespace

import jax
import numpy as np
import optax
import sklearn.metrics

from dlfb.proteins.metrics import per_protein_metrics
from dlfb.proteins.model import Model
from dlfb.proteins.train import predict, train, train_step

N_TRAIN, N_VALID, WIDTH, N_TERMS = 3574, 1191, 640, 303
STEPS, EVERY, BATCH = 300, 30, 32


def make_split(n: int, seed: int) -> SimpleNamespace:
    """Random vectors with terms of heavy-tailed frequency, about seven a protein."""
    rng = np.random.default_rng(seed)
    frequency = 0.3 / np.arange(1, N_TERMS + 1) ** 0.6
    targets = (rng.random((n, N_TERMS)) < frequency).astype(np.float32)
    targets[np.arange(n), rng.integers(0, N_TERMS, n)] = 1
    return SimpleNamespace(
        embeddings=rng.standard_normal((n, WIDTH), dtype=np.float32), targets=targets
    )


def score_row(truth, probs):
    """Score one protein with scikit-learn."""
    predicted = probs >= 0.5
    return [
        sklearn.metrics.accuracy_score(truth, predicted),
        sklearn.metrics.recall_score(truth, predicted, zero_division=0),
        sklearn.metrics.precision_score(truth, predicted, zero_division=0),
        sklearn.metrics.average_precision_score(truth, probs),
        sklearn.metrics.roc_auc_score(truth, probs),
    ]


def score_rows(targets, probs):
    return [score_row(*row) for row in zip(targets, probs, strict=True)]


def python_batches(split, shuffled: np.random.Generator | None):
    """Yield batches, one pass over the split, in a new order if `shuffled`."""
    rows = np.arange(len(split.targets))
    if shuffled is not None:
        shuffled.shuffle(rows)
    for start in range(0, len(rows), BATCH):
        chosen = rows[start : start + BATCH]
        yield {"embedding": split.embeddings[chosen], "target": split.targets[chosen]}


@jax.jit
def probabilities(state, embeddings):
    return jax.nn.sigmoid(state.apply_fn({"params": state.params}, embeddings))


def chapters_train(state, splits, num_steps=STEPS, eval_every=EVERY):
    """Train the plain way."""
    rng = np.random.default_rng(42)
    history, step = [], 0
    while step < num_steps:
        for batch in python_batches(splits["train"], rng):
            state, loss = train_step(state, batch)
            loss, step = float(loss), step + 1
            if step % eval_every == 0 or step == num_steps:
                means = []
                for held_out in python_batches(splits["valid"], None):
                    probs = np.asarray(probabilities(state, held_out["embedding"]))
                    means.append(np.mean(score_rows(held_out["target"], probs), axis=0))
                history.append((step, loss, np.mean(means, axis=0)))
            if step == num_steps:
                break
    return state, history


def timed(function, *args, **options) -> float:
    start = time.perf_counter()
    function(*args, **options)
    return time.perf_counter() - start


def report(what: str, ours: list[float], theirs: list[float]) -> None:
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"{what:<34} {a:>9.3f} s {b:>9.3f} s {b / a:>8.1f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    os.environ["DLFB_PROGRESS"] = "0"
    warnings.simplefilter("ignore")  # scikit-learn's, about undefined metrics
    splits = {"train": make_split(N_TRAIN, 0), "valid": make_split(N_VALID, 1)}
    valid = splits["valid"]

    def new_state():
        return Model(num_targets=N_TERMS).create_train_state(
            rng=jax.random.PRNGKey(42), dummy_input=valid.embeddings[:1], tx=optax.adam(0.001)
        )

    new_state()  # JAX itself starts up here, outside of what is measured
    scoring, training, whole, compiling = (([], []) for _ in range(4))
    for _ in range(repeats):
        probs = predict(new_state(), valid)
        scoring[0].append(timed(per_protein_metrics, valid.targets, probs))
        scoring[1].append(timed(score_rows, valid.targets, probs))
        for i, way in enumerate((train, chapters_train)):
            state = new_state()  # a new optimiser is a new program, and so compiled anew
            small = {"train": splits["train"], "valid": make_split(N_VALID % BATCH + BATCH, 1)}
            data = splits if way is train else small
            first, again = (timed(way, state, data, num_steps=1) for _ in range(2))
            compiling[i].append(first - again)
            training[i].append(timed(way, state, splits))
            whole[i].append(compiling[i][-1] + training[i][-1])

    print(f"{'':<34} {'dlfb':>11} {'chapter':>11} {'ratio':>9}   (medians of {repeats})")
    report(f"scoring {N_VALID} x {N_TERMS}", *scoring)
    report(f"training, {STEPS} steps, 10 evaluations", *training)
    report("the same, compiling included", *whole)
    report("compiling alone", *compiling)


if __name__ == "__main__":
    main()
