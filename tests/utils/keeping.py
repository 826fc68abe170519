"""What the tests of keeping share: a small trained state, and how to keep and compare."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from flax.training.train_state import TrainState

from dlfb.utils import store


class Network(nn.Module):
    """Two layers; what the chapter's model is, in small."""

    width: int = 4

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.gelu(nn.Dense(self.width)(x)))


def new_state(rate=1e-3, seed=0, width=4, inputs=3, optimiser=optax.adam) -> TrainState:
    draw = np.random.default_rng(seed).random
    sizes = {"Dense_0": (inputs, width), "Dense_1": (width, 2)}
    params = {
        name: {"kernel": jnp.asarray(draw(size), jnp.float32), "bias": jnp.zeros(size[1])}
        for name, size in sizes.items()
    }
    network = Network(width)
    return TrainState.create(apply_fn=network.apply, params=params, tx=optimiser(rate))


def one_step(state: TrainState) -> TrainState:
    return state.apply_gradients(grads=jax.tree.map(jnp.ones_like, state.params))


def same(a, b) -> bool:
    """Say whether two values are of one type and equal, bit for bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, jax.Array):
        return a.dtype == b.dtype and same(np.asarray(a), np.asarray(b))
    if isinstance(a, np.ndarray | np.generic):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b, check_exact=True)
        return a.attrs == b.attrs
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, TrainState):
        return same(jax.tree.leaves(a), jax.tree.leaves(b))
    return repr(a) == repr(b)


def save(value, path, key=None):
    """Keep a value, by default without a key; return its file."""
    file = store.store_file(path)
    store.write(file, value, key, like=value)
    return file


def load(path, like=None):
    return store.read(store.store_file(path)).value(like)
