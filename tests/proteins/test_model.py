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
    count = sum(array.size for array in jax.tree.leaves(state.params))
    assert count == 641 * first + (first + 1) * second + (second + 1) * 303


def test_output_is_a_logit_for_each_function_row_by_row():
    state = new_state(Model(num_targets=5), width=7)
    x = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    logits = state.apply_fn({"params": state.params}, x)
    assert logits.shape == (4, 5)
    assert logits.dtype == jnp.float32
    assert logits.min() < 0 < logits.max()
    alone = state.apply_fn({"params": state.params}, x[2])
    np.testing.assert_allclose(logits[2], alone, atol=1e-5)
    # Two hidden layers with GELU between, by hand.
    p = state.params
    hidden = jax.nn.gelu(x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"])
    hidden = jax.nn.gelu(hidden @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"])
    by_hand = hidden @ p["Dense_2"]["kernel"] + p["Dense_2"]["bias"]
    np.testing.assert_allclose(logits, by_hand, atol=1e-5)


def test_weights_come_from_the_key_and_training_starts_at_step_0():
    model = Model(num_targets=3, dim=4)
    first, again, other = (new_state(model, 5, seed) for seed in (1, 1, 2))
    assert first.step == 0
    same = jax.tree.map(np.array_equal, first.params, again.params)
    assert all(jax.tree.leaves(same))
    assert not np.array_equal(first.params["Dense_0"]["kernel"], other.params["Dense_0"]["kernel"])
