"""Scoring and training, timed against the chapter's own way: a part of `make bench`.

The rival is a plain loop: batches of 32 cut by a Python generator and copied to the device at
every step, and an evaluation that walks the validation batches, calls scikit-learn five times
for each protein and averages the means of the batches. Model, data, optimiser, number of steps
(300) and of evaluations (ten) are the same. Data are random, in the chapter's shapes. The two are
timed in turn; a ratio is the median over the rounds of that round's ratio.
"""

import statistics
import time
import warnings

import jax
import numpy as np
import optax
import sklearn.metrics
from bench_embedding import ratios

from dlfb.proteins.metrics import per_protein_metrics
from dlfb.proteins.model import Model
from dlfb.proteins.splits import Split
from dlfb.proteins.train import predict, train, train_step

N_TRAIN, N_VALID, WIDTH, N_TERMS = 3574, 1191, 640, 303
STEPS, EVERY, BATCH = 300, 30, 32


def make_split(n: int, seed: int) -> Split:
    """Random vectors with terms of heavy-tailed frequency, about seven a protein."""
    rng = np.random.default_rng(seed)
    frequency = 0.3 / np.arange(1, N_TERMS + 1) ** 0.6
    targets = (rng.random((n, N_TERMS)) < frequency).astype(np.float32)
    targets[np.arange(n), rng.integers(0, N_TERMS, n)] = 1
    embeddings = rng.standard_normal((n, WIDTH), dtype=np.float32)
    names = (np.array([f"{i}" for i in range(size)], object) for size in (n, N_TERMS))
    return Split(embeddings, targets, *names)


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


def measure(rounds: int, num_steps: int = STEPS, eval_every: int = EVERY, say=print) -> list[dict]:
    """Time scoring, training, and compiling, each both ways in turn; return a row for each."""
    splits = {"train": make_split(N_TRAIN, 0), "valid": make_split(N_VALID, 1)}
    # As small as may be, but with both sizes of batches that the rival compiles for.
    small = {"train": splits["train"], "valid": make_split(N_VALID % BATCH + BATCH, 1)}
    valid = splits["valid"]
    steps = {"num_steps": num_steps, "eval_every": eval_every}
    names = {
        "scoring": f"scoring {N_VALID:,} proteins x {N_TERMS} functions",
        "training": f"training, {num_steps} steps, {-(-num_steps // eval_every)} evaluations",
        "whole": "the same, with compiling",
        "compiling": "compiling alone",
    }
    seconds = {name: ([], []) for name in names}

    def new_state():
        return Model(num_targets=N_TERMS).create_train_state(
            rng=jax.random.PRNGKey(42), dummy_input=valid.embeddings[:1], tx=optax.adam(0.001)
        )

    probs = predict(new_state(), valid)  # JAX itself starts up here, outside of what is measured
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, about undefined metrics
        for i in range(rounds):
            ways = ((train, splits, per_protein_metrics), (chapters_train, small, score_rows))
            for which, (way, to_compile, score) in enumerate(ways):
                state = new_state()  # a new optimiser is a new program, and so compiled anew
                first, again = (timed(way, state, to_compile, num_steps=1) for _ in range(2))
                trained = timed(way, state, splits, **steps)
                seconds["scoring"][which].append(timed(score, valid.targets, probs))
                seconds["training"][which].append(trained)
                seconds["whole"][which].append(first - again + trained)
                seconds["compiling"][which].append(first - again)
                say(f"training, round {i + 1} of {rounds}: {way.__name__} {trained:.1f} s")
    return [
        {
            "what": names[name],
            "rounds": rounds,
            "seconds": statistics.median(ours),
            "rival_seconds": statistics.median(theirs),
            "times": ratios(theirs, ours),
        }
        for name, (ours, theirs) in seconds.items()
    ]
