"""Training the network, and watching it on proteins it does not learn from (notebook 07).

The whole data set is small enough to lie on the device, so a batch is a choice of rows,
and a split is evaluated in one go: its metrics are means over all of its proteins.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from flax.training.train_state import TrainState

from dlfb.proteins.metrics import METRICS, per_protein_metrics
from dlfb.utils.display import progress


@jax.jit
def train_step(state: TrainState, batch: dict) -> tuple[TrainState, jax.Array]:
    """Take one step of the optimiser.

    Parameters
    ----------
    state : TrainState
        The network's weights and the optimiser's state.
    batch : dict
        ``"embedding"`` (B, D) and ``"target"`` (B, T), float32.

    Returns
    -------
    TrainState
        After the step.
    jax.Array
        The loss before it, a scalar.
    """

    def loss_of(params):
        logits = state.apply_fn({"params": params}, batch["embedding"])
        return optax.sigmoid_binary_cross_entropy(logits, batch["target"]).mean()

    loss, gradients = jax.value_and_grad(loss_of)(state.params)
    return state.apply_gradients(grads=gradients), loss


def eval_step(state: TrainState, batch: dict) -> dict[str, float]:
    """Score the network on a batch, or on a whole split taken as one batch.

    Parameters
    ----------
    state : TrainState
        The network.
    batch : dict
        As for :func:`train_step`.

    Returns
    -------
    dict
        ``loss``, the mean over all cells, and ``accuracy``, ``recall``, ``precision``,
        ``auprc`` and ``auroc``, means over the proteins for which they are defined.
        Precision is defined where at least one term is predicted: ``coverage`` is the
        share of such proteins.

    Raises
    ------
    FloatingPointError
        If the loss is no longer a finite number.
    """
    logits, loss = _forward(state, batch)
    if not np.isfinite(loss):
        raise FloatingPointError(
            f"The loss is {loss} after step {int(state.step)}. Look for NaN or huge values in the "
            "embeddings, or train with a smaller learning rate."
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
        (N, T). A ``"test"`` split is not looked at.
    batch_size, num_steps, eval_every : int
        Proteins a step, steps in all, and steps between evaluations.
    seed : int
        Decides in which order proteins are learnt from. The same seed gives the same bits
        on the same machine.
    keep : {"best", "last"}
        Return the network of the evaluation with the highest auPRC on ``"valid"`` (its
        ``step`` says which), or the one after the last step.
    callback : function, optional
        Called as ``callback(split, metrics)`` for each entry of the history as it comes,
        to pass it on to TensorBoard, W&B or MLflow.

    Returns
    -------
    TrainState
        The trained network.
    dict of lists of dicts
        The history: ``"train"`` has ``step`` and ``loss``, ``"valid"`` also the metrics of
        :func:`eval_step`. Both losses are of the same weights, over all proteins.

    Raises
    ------
    ValueError
        If a number is not positive, `keep` is unknown, or the splits do not fit.
    """
    _check(dataset_splits, batch_size, num_steps, eval_every, keep)
    train_set, valid_set = (_on_device(dataset_splits[name]) for name in ("train", "valid"))
    batches = _shuffled_batches(len(train_set["target"]), batch_size, num_steps, seed)
    history = {"train": [], "valid": []}
    best_state, best_auprc = state, -np.inf

    with progress(total=num_steps, desc="Training", unit="step") as bar:
        for step, rows in enumerate(batches, start=1):
            state, _ = train_step(state, _take(train_set, rows))
            bar.update(1)
            if step % eval_every and step != num_steps:
                continue
            train_metrics = {"step": step, "loss": float(_forward(state, train_set)[1])}
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
    """Return the probability of each function for each protein.

    Parameters
    ----------
    state : TrainState
        A trained network.
    split : array of shape (N, D), or object with such ``.embeddings``

    Returns
    -------
    array of shape (N, T), float32
    """
    embeddings = jnp.asarray(getattr(split, "embeddings", split), jnp.float32)
    return np.asarray(_probabilities(state, embeddings))


def calculate_per_target_metrics(logits, targets) -> pd.DataFrame:
    """Score each protein of a batch.

    Parameters
    ----------
    logits, targets : array of shape (N, T)
        What the network put out, before the sigmoid, and truth as 0/1.

    Returns
    -------
    DataFrame of N rows
        As from :func:`dlfb.proteins.metrics.per_protein_metrics`.
    """
    return per_protein_metrics(np.asarray(targets), np.asarray(jax.nn.sigmoid(logits)))


def compute_metrics(targets, probs, thresh: float = 0.5) -> dict[str, float]:
    """Score one protein.

    Parameters
    ----------
    targets, probs : array of shape (T,)
        Truth as 0/1, and predicted scores.
    thresh : float
        A function whose score is at least this counts as predicted.

    Returns
    -------
    dict
        ``accuracy``, ``recall``, ``precision``, ``auprc``, ``auroc``; NaN where undefined.
    """
    row = per_protein_metrics(np.asarray(targets)[None], np.asarray(probs)[None], thresh)
    return row[list(METRICS)].iloc[0].to_dict()


@jax.jit
def _forward(state: TrainState, batch: dict) -> tuple[jax.Array, jax.Array]:
    """Return the logits (N, T) and their mean loss."""
    logits = state.apply_fn({"params": state.params}, batch["embedding"])
    return logits, optax.sigmoid_binary_cross_entropy(logits, batch["target"]).mean()


@jax.jit
def _probabilities(state: TrainState, embeddings: jax.Array) -> jax.Array:
    return jax.nn.sigmoid(state.apply_fn({"params": state.params}, embeddings))


@jax.jit
def _take(data: dict, rows: jax.Array) -> dict:
    """Return the rows of a data set that make up a batch."""
    return jax.tree.map(lambda array: array[rows], data)


def _on_device(split) -> dict[str, jax.Array]:
    """Copy a split to the device, once."""
    return {
        "embedding": jnp.asarray(split.embeddings, jnp.float32),
        "target": jnp.asarray(split.targets, jnp.float32),
    }


def _shuffled_batches(n: int, batch_size: int, num_steps: int, seed: int) -> np.ndarray:
    """Return row numbers (num_steps, batch_size): each of n rows once before any twice."""
    rng = np.random.default_rng(seed)
    epochs = -(-num_steps * batch_size // n)
    order = np.concatenate([rng.permutation(n) for _ in range(epochs)])
    return order[: num_steps * batch_size].reshape(num_steps, batch_size)


def _check(dataset_splits, batch_size, num_steps, eval_every, keep) -> None:
    numbers = {"batch_size": batch_size, "num_steps": num_steps, "eval_every": eval_every}
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"train: {name} must be at least 1, but is {value}.")
    if keep not in ("best", "last"):
        raise ValueError(f"train: keep must be 'best' or 'last', not {keep!r}.")
    for name in ("train", "valid"):
        if name not in dataset_splits:
            raise ValueError(f"train: dataset_splits has no {name!r}, only {list(dataset_splits)}.")
        shapes = [np.shape(getattr(dataset_splits[name], x)) for x in ("embeddings", "targets")]
        if shapes[0][0] != shapes[1][0] or not shapes[0][0]:
            raise ValueError(
                f"train: the {name!r} split needs a row of embeddings and of targets for each "
                f"protein, at least one, but has shapes {shapes[0]} and {shapes[1]}."
            )
