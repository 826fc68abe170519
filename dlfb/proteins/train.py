"""Training the network, and watching it on proteins it does not learn from (notebook 07)."""

from collections.abc import Callable
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from flax.errors import ScopeParamShapeError
from flax.training.train_state import TrainState

from dlfb.proteins.metrics import METRICS, checked_targets, per_protein_metrics
from dlfb.utils.checks import check_count
from dlfb.utils.display import progress


@jax.jit
def train_step(state: TrainState, batch: dict, rng=None) -> tuple[TrainState, jax.Array]:
    """Take one step of the optimiser; return the state after it, and the loss before it.

    `batch` holds ``"embedding"`` (B, D) and ``"target"`` (B, T), float32. `rng` is a key that
    decides which units dropout leaves out; without one, none is left out.
    """
    rngs = None if rng is None else {"dropout": jax.random.fold_in(rng, state.step)}

    def loss_of(params):
        logits = state.apply_fn({"params": params}, batch["embedding"], rngs=rngs)
        return mean_loss(logits, batch["target"])

    loss, gradients = jax.value_and_grad(loss_of)(state.params)
    return state.apply_gradients(grads=gradients), loss


def mean_loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Return the binary cross-entropy, a mean over the cells (B, T) whose target is known."""
    known = ~jnp.isnan(targets)
    losses = optax.sigmoid_binary_cross_entropy(logits, jnp.where(known, targets, 0))
    return jnp.where(known, losses, 0).sum() / jnp.maximum(known.sum(), 1)


@contextmanager
def _width_told():
    """Say in a sentence if vectors are of another width than the network's."""
    try:
        yield
    except ScopeParamShapeError as error:
        fault = "The network was made for vectors of another width than these"
        raise ValueError(f"{fault}. Use the language model that it was trained on.") from error


# Not written as a decorator of train_step, whose source page 7 shows.
train_step = _width_told()(train_step)


def eval_step(state: TrainState, batch: dict) -> dict[str, float]:
    """Score the network on a batch as in :func:`train_step`, or on a whole split.

    Returns ``loss``, the mean over known cells; the five metrics, means over the proteins for
    which they are defined; and ``coverage``, the share of proteins with a predicted term.
    FloatingPointError if training diverged.
    """
    batch = _checked(state, batch["embedding"], batch["target"], "eval_step()")
    logits = _logits(state, batch)
    loss = mean_loss(logits, batch["target"])
    if not np.isfinite(loss):
        fault = f"The loss is {loss} after step {int(state.step)}"
        raise FloatingPointError(f"{fault}. Train with a smaller learning rate.")
    metrics = calculate_per_target_metrics(logits, batch["target"])
    means = metrics[list(METRICS)].mean().to_dict()
    return {"loss": float(loss), **means, "coverage": float(metrics["precision"].notna().mean())}


def train(
    state: TrainState,
    dataset_splits: dict,
    batch_size: int = 32,
    num_steps: int = 300,
    eval_every: int = 30,
    seed: int = 42,
    callback: Callable[[str, dict], None] | None = None,
) -> tuple[TrainState, dict[str, list[dict]]]:
    """Train the network, and evaluate it at intervals and after the last step.

    Returns the state of the evaluation with the highest auPRC on ``"valid"``, and the history:
    ``"train"`` has ``step`` and ``loss``, ``"valid"`` also the metrics of :func:`eval_step`, both
    of the same weights, over all proteins.

    Parameters
    ----------
    dataset_splits : dict
        ``"train"`` and ``"valid"``, each with ``.embeddings`` (N, D) and ``.targets`` (N, T): 0,
        1, or NaN for unknown. A ``"test"`` split is not looked at.
    seed : int
        Decides the order of proteins and the units that dropout leaves out. The same seed gives
        the same bits on the same machine.
    callback : function, optional
        Called as ``callback(split, metrics)`` with each entry of the history.
    """
    check_count(batch_size, "batch_size", "train()")
    check_count(num_steps, "num_steps", "train()")
    check_count(eval_every, "eval_every", "train()")
    data = {}
    for name in ("train", "valid"):
        if name not in dataset_splits:
            raise ValueError(f"train(): dataset_splits has no {name!r}, only {[*dataset_splits]}.")
        x, y = dataset_splits[name].embeddings, dataset_splits[name].targets
        data[name] = _checked(state, x, y, f"train(): the {name!r} split")
    train_set, valid_set = data["train"], data["valid"]
    batches = _shuffled_batches(len(train_set["target"]), batch_size, num_steps, seed)
    rng, history = jax.random.PRNGKey(seed), {"train": [], "valid": []}
    best_state, best_auprc = state, -np.inf

    with progress(total=num_steps, desc="Training", unit="step") as bar:
        for step, rows in enumerate(batches, start=1):
            state, _ = train_step(state, _take(train_set, rows), rng)
            bar.update(1)
            if step % eval_every and step != num_steps:
                continue
            loss = mean_loss(_logits(state, train_set), train_set["target"])
            train_metrics = {"step": step, "loss": float(loss)}
            valid_metrics = {"step": step, **eval_step(state, valid_set)}
            for split, metrics in (("train", train_metrics), ("valid", valid_metrics)):
                history[split].append(metrics)
                if callback is not None:
                    callback(split, metrics)
            # Written with "not", so that the last state is returned if auPRC is always NaN.
            if not valid_metrics["auprc"] <= best_auprc:
                best_state, best_auprc = state, valid_metrics["auprc"]
            bar.set_postfix({name: f"{valid_metrics[name]:.3f}" for name in ("loss", "auprc")})

    return best_state, history


def predict(state: TrainState, split) -> np.ndarray:
    """Return the probability of each function for each protein, (N, T), float32.

    `split` has ``.embeddings`` (N, D), or is such an array.
    """
    embeddings = jnp.asarray(getattr(split, "embeddings", split), jnp.float32)
    _check_finite(embeddings, "predict()")
    return np.asarray(jax.nn.sigmoid(_logits(state, {"embedding": embeddings})))


def calculate_per_target_metrics(logits, targets) -> pd.DataFrame:
    """Score each protein by the network's output before the sigmoid: `logits` (N, T)."""
    return per_protein_metrics(np.asarray(targets), np.asarray(jax.nn.sigmoid(jnp.asarray(logits))))


def compute_metrics(targets, probs, thresh: float = 0.5) -> dict[str, float]:
    """Return the five metrics of one protein, from `targets` and `probs` (T,)."""
    row = per_protein_metrics(np.asarray(targets)[None], np.asarray(probs)[None], thresh)
    return row[list(METRICS)].iloc[0].to_dict()


@_width_told()
@jax.jit
def _logits(state: TrainState, batch: dict) -> jax.Array:
    return state.apply_fn({"params": state.params}, batch["embedding"])


@jax.jit
def _take(data: dict, rows: jax.Array) -> dict:
    return jax.tree.map(lambda array: array[rows], data)


def _shuffled_batches(n: int, batch_size: int, num_steps: int, seed: int) -> np.ndarray:
    """Return row numbers (num_steps, batch_size): each of n rows once before any twice."""
    rng = np.random.default_rng(seed)
    epochs = -(-num_steps * batch_size // n)
    order = np.concatenate([rng.permutation(n) for _ in range(epochs)])
    return order[: num_steps * batch_size].reshape(num_steps, batch_size)


def _checked(state: TrainState, embeddings, targets, who: str) -> dict[str, jax.Array]:
    """Copy proteins to the device, as a batch; ValueError if they do not fit the network."""
    targets = checked_targets(targets, f"{who}: targets")
    x, y = (jnp.asarray(values, jnp.float32) for values in (embeddings, targets))
    if not len(x):
        raise ValueError(f"{who} has no proteins.")
    _check_finite(x, who)
    made = _logits(state, {"embedding": x}).shape
    if made != y.shape:
        fault = f"{who} has targets of shape {y.shape}, but the network's output has shape {made}"
        raise ValueError(f"{fault}: a row for each protein, and num_targets={made[-1]} functions.")
    return {"embedding": x, "target": y}


def _check_finite(embeddings: jax.Array, who: str) -> None:
    bad = ~np.isfinite(embeddings).all(axis=-1)
    if bad.any():
        fault = f"{bad.sum()} of {bad.size} embeddings hold NaN or infinite values"
        raise ValueError(f"{who}: {fault}, the first in row {bad.argmax()}. Embed them again.")
