"""The network of the chapter: from a protein's vector to its functions (notebook 07)."""

import flax.linen as nn
import jax
import optax
from flax.training.train_state import TrainState


class Model(nn.Module):
    """A multilayer perceptron with one output for each of `num_targets` functions, T.

    `dim` is the width of the second hidden layer; the first is twice as wide. `dropout` is the
    share of each hidden layer's units left out at random in a training step. It acts only where
    a key named "dropout" is passed, as :func:`dlfb.proteins.train.train` does.
    """

    num_targets: int
    dim: int = 256
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return a logit for each protein and function: (..., D) -> (..., T).

        The sigmoid of it is a probability. Functions are judged independently, as one protein
        may have several.
        """
        thinned = nn.Dropout(self.dropout, deterministic=not self.has_rng("dropout"))
        x = thinned(nn.gelu(nn.Dense(2 * self.dim)(x)))  # (..., D) -> (..., 512)
        x = thinned(nn.gelu(nn.Dense(self.dim)(x)))  # (..., 512) -> (..., 256)
        return nn.Dense(self.num_targets)(x)  # (..., 256) -> (..., T)

    def create_train_state(
        self, rng: jax.Array, dummy_input: jax.Array, tx: optax.GradientTransformation
    ) -> TrainState:
        """Draw random weights and put them together with what training needs.

        Parameters
        ----------
        rng : array
            Key for the random weights, such as ``jax.random.PRNGKey(42)``.
        dummy_input : array of shape (..., D)
            Any embeddings; only their width D is used.
        tx : optax.GradientTransformation
            The optimiser, such as ``optax.adam(0.001)``.
        """
        variables = _drawn_weights(self, rng, dummy_input)
        return TrainState.create(apply_fn=self.apply, params=variables["params"], tx=tx)


# Compiled as a whole, in half the time that it takes to compile operation by operation.
_drawn_weights = jax.jit(Model.init, static_argnums=0)
