"""The network: shapes, number of weights, seeding."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlfb.proteins.model import Model


def new_state(model, width=640, seed=42):
    return model.create_train_state(
        rng=jax.random.PRNGKey(seed), dummy_input=jnp.zeros((1, width)), tx=optax.adam(0.001)
    )


def test_layers_are_those_of_the_chapter():
    state = new_state(Model(num_targets=303))
    shapes = sorted(array.shape for array in jax.tree.leaves(state.params))
    assert shapes == sorted([(640, 512), (512,), (512, 256), (256,), (256, 303), (303,)])
    assert state.step == 0


def test_output_is_a_logit_for_each_function():
    state = new_state(Model(num_targets=5), width=7)
    x = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    logits = state.apply_fn({"params": state.params}, x)
    # Two hidden layers with GELU between, by hand.
    first, second, last = (state.params[f"Dense_{i}"] for i in range(3))
    hidden = jax.nn.gelu(x @ first["kernel"] + first["bias"])
    hidden = jax.nn.gelu(hidden @ second["kernel"] + second["bias"])
    np.testing.assert_allclose(logits, hidden @ last["kernel"] + last["bias"], atol=1e-5)


def test_weights_come_from_the_key():
    kernels = [
        new_state(Model(num_targets=3, dim=4), 5, seed).params["Dense_0"]["kernel"]
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(*kernels[:2]) and not np.array_equal(*kernels[1:])
