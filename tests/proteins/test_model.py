"""The network: shapes, number of weights, seeding."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlfb.proteins.model import Model


def new_state(model, width=640, seed=42):
    return model.create_train_state(
        rng=jax.random.PRNGKey(seed), dummy_input=jnp.zeros((1, width)), tx=optax.adam(0.001)
    )


@pytest.mark.parametrize(("options", "first", "second"), [({}, 512, 256), ({"dim": 8}, 16, 8)])
def test_layers_are_those_of_the_chapter(options, first, second):
    state = new_state(Model(num_targets=303, **options))
    shapes = sorted(array.shape for array in jax.tree.leaves(state.params))
    weights = [(640, first), (first, second), (second, 303)]
    assert shapes == sorted([*weights, (first,), (second,), (303,)])
    assert state.step == 0


def test_output_is_a_logit_for_each_function_row_by_row():
    state = new_state(Model(num_targets=5), width=7)
    x = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    logits = state.apply_fn({"params": state.params}, x)
    np.testing.assert_allclose(logits[2], state.apply_fn({"params": state.params}, x[2]), atol=1e-5)
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
