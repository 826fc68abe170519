"""Training the network, and watching it on proteins it does not learn from (notebook 07).

The whole data set is small enough to be kept on the device, so a batch is a choice of rows,
and a split is evaluated in one go: its metrics are means over all of its proteins. A target that
is NaN is unknown: nothing is learned from it, and no prediction is scored by it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from flax.errors import ScopeParamShapeError
from flax.training.train_state import TrainState

from dlfb.proteins.metrics import METRICS, per_protein_metrics
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


def eval_step(state: TrainState, batch: dict) -> dict[str, float]:
    """Score the network on a batch as in :func:`train_step`, or on a whole split.

    Returns ``loss``, the mean over all known cells; ``accuracy``, ``recall``, ``precision``,
    ``auprc`` and ``auroc``, means over the proteins for which they are defined; and ``coverage``,
    the share of those with a predicted term, for which precision is defined.

    Raises
    ------
    FloatingPointError, ValueError
        If the weights have grown out of bounds; if the batch does not fit the network.
    """
    batch = _checked(state, batch["embedding"], batch["target"], "eval_step")
    logits = _logits(state, batch["embedding"])
    loss = mean_loss(logits, batch["target"])
    if not np.isfinite(loss):
        raise FloatingPointError(
            f"The loss is {loss} after step {int(state.step)}, as the weights have grown out of "
            "bounds: train with a smaller learning rate."
        )
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
    keep: str = "best",
    callback: Callable[[str, dict], None] | None = None,
) -> tuple[TrainState, dict[str, list[dict]]]:
    """Train the network, and evaluate it every so often and after the last step.

    Parameters
    ----------
    state : TrainState
        Where to start, from ``Model.create_train_state``.
    dataset_splits : dict
        ``"train"`` and ``"valid"``, each with ``.embeddings`` (N, D) and ``.targets``
        (N, T), which are 0, 1, or NaN for unknown. A ``"test"`` split is not looked at.
    batch_size, num_steps, eval_every : int
        Proteins per step, steps in all, and steps between evaluations.
    seed : int
        Decides the order of proteins, and which units dropout leaves out. The same seed gives
        the same bits on the same machine.
    keep : {"best", "last"}
        Return the network of the evaluation with the highest auPRC on ``"valid"`` (its
        ``step`` says which), or the one after the last step.
    callback : function, optional
        Called as ``callback(split, metrics)`` for each entry of the history as it comes.

    Returns
    -------
    TrainState, dict of lists of dicts
        The trained network, and the history: ``"train"`` has ``step`` and ``loss``, ``"valid"``
        also the metrics of :func:`eval_step`, both of the same weights, over all proteins. A
        number that is not positive, or a split that does not fit the network, is a ValueError.
    """
    numbers = {"batch_size": batch_size, "num_steps": num_steps, "eval_every": eval_every}
    for name, value in numbers.items():
        if not (isinstance(value, int | np.integer) and value >= 1):
            raise ValueError(f"train: {name} must be a whole number, 1 or more, not {value!r}.")
    if keep not in ("best", "last"):
        raise ValueError(f"train: keep must be 'best' or 'last', not {keep!r}.")
    train_set, valid_set = (_on_device(state, dataset_splits, name) for name in ("train", "valid"))
    batches = _shuffled_batches(len(train_set["target"]), batch_size, num_steps, seed)
    rng, history = jax.random.PRNGKey(seed), {"train": [], "valid": []}
    best_state, best_auprc = state, -np.inf

    with progress(total=num_steps, desc="Training", unit="step") as bar:
        for step, rows in enumerate(batches, start=1):
            state, _ = train_step(state, _take(train_set, rows), rng)
            bar.update(1)
            if step % eval_every and step != num_steps:
                continue
            loss = mean_loss(_logits(state, train_set["embedding"]), train_set["target"])
            train_metrics = {"step": step, "loss": float(loss)}
            valid_metrics = {"step": step, **eval_step(state, valid_set)}
            for split, metrics in (("train", train_metrics), ("valid", valid_metrics)):
                history[split].append(metrics)
                if callback is not None:
                    callback(split, metrics)
            # Put this way round, the last state is kept where auPRC is NaN throughout.
            if not valid_metrics["auprc"] <= best_auprc:
                best_state, best_auprc = state, valid_metrics["auprc"]
            bar.set_postfix({name: f"{valid_metrics[name]:.3f}" for name in ("loss", "auprc")})

    return (best_state if keep == "best" else state), history


def predict(state: TrainState, split) -> np.ndarray:
    """Return the probability of each function for each protein, (N, T), float32.

    `split` has ``.embeddings`` (N, D), or is such an array; it is a ValueError if they are of
    another width than the network was made for, or not finite.
    """
    embeddings = jnp.asarray(getattr(split, "embeddings", split), jnp.float32)
    _check_embeddings(state, embeddings, "predict")
    return np.asarray(jax.nn.sigmoid(_logits(state, embeddings)))


def calculate_per_target_metrics(logits, targets) -> pd.DataFrame:
    """Score each protein as :func:`dlfb.proteins.metrics.per_protein_metrics` does.

    Of shape (N, T): what the network put out before the sigmoid, and truth as 0, 1 or NaN.
    """
    return per_protein_metrics(np.asarray(targets), np.asarray(jax.nn.sigmoid(jnp.asarray(logits))))


def compute_metrics(targets, probs, thresh: float = 0.5) -> dict[str, float]:
    """Score one protein: its five metrics, NaN where undefined.

    `targets` (T,) are 0, 1 or NaN; a function whose score in `probs` (T,) is at least `thresh`
    counts as predicted.
    """
    row = per_protein_metrics(np.asarray(targets)[None], np.asarray(probs)[None], thresh)
    return row[list(METRICS)].iloc[0].to_dict()


@jax.jit
def _logits(state: TrainState, embeddings: jax.Array) -> jax.Array:
    return state.apply_fn({"params": state.params}, embeddings)


@jax.jit
def _take(data: dict, rows: jax.Array) -> dict:
    return jax.tree.map(lambda array: array[rows], data)


def _shuffled_batches(n: int, batch_size: int, num_steps: int, seed: int) -> np.ndarray:
    """Return row numbers (num_steps, batch_size): each of n rows once before any twice."""
    rng = np.random.default_rng(seed)
    epochs = -(-num_steps * batch_size // n)
    order = np.concatenate([rng.permutation(n) for _ in range(epochs)])
    return order[: num_steps * batch_size].reshape(num_steps, batch_size)


def _on_device(state: TrainState, dataset_splits: dict, name: str) -> dict[str, jax.Array]:
    """Check a split against the network, and copy it to the device, once."""
    if name not in dataset_splits:
        raise ValueError(f"train: dataset_splits has no {name!r}, only {list(dataset_splits)}.")
    split = dataset_splits[name]
    return _checked(state, split.embeddings, split.targets, f"train: the {name!r} split")


def _checked(state: TrainState, embeddings, targets, who: str) -> dict[str, jax.Array]:
    x, y = (jnp.asarray(values, jnp.float32) for values in (embeddings, targets))
    if not len(x):
        raise ValueError(f"{who} has no proteins.")
    made = _check_embeddings(state, x, who)
    if made != y.shape:
        raise ValueError(
            f"{who} has targets of shape {y.shape}, but the network's output has shape {made}: a "
            f"row for each protein, and num_targets={made[-1]} functions."
        )
    bad = ~((y == 0) | (y == 1) | jnp.isnan(y))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"{who} has {y[row, column]:g} as target in row {row}, column {column}, counted from "
            "0. Targets must be 0, 1, or NaN for unknown."
        )
    return {"embedding": x, "target": y}


def _check_embeddings(state: TrainState, embeddings, who: str) -> tuple[int, ...]:
    """Refuse embeddings that the network can't take; return the shape of its output for others."""
    try:
        output = jax.eval_shape(state.apply_fn, {"params": state.params}, embeddings)
    except ScopeParamShapeError as error:
        raise ValueError(
            f"{who}: the network was made for vectors of another width than these, which have "
            f"{embeddings.shape[-1]} numbers each. Use the language model that it was trained on."
        ) from error
    bad = ~np.isfinite(embeddings).all(axis=-1)
    if bad.any():
        raise ValueError(
            f"{who}: {bad.sum()} of {bad.size} embeddings hold NaN or infinite values, the first "
            f"in row {bad.argmax()}, counted from 0. Leave these proteins out or embed them anew."
        )
    return output.shape
