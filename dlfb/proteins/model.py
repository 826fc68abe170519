"""The network of the chapter: from a protein's vector to its functions (notebook 07).

References
----------
Ravarani & Latysheva, *Deep Learning for Biology*, O'Reilly 2025, chapter 2.
"""

import flax.linen as nn
import jax
import optax
from flax.training.train_state import TrainState


class Model(nn.Module):
    """A small multilayer perceptron with one output for each function.

    Attributes
    ----------
    num_targets : int
        Number of functions, T.
    dim : int
        Width of the second hidden layer; the first is twice as wide.
    dropout : float
        Share of each hidden layer's units left out at random in a training step, from 0 to 1.
        It acts only where a key named "dropout" is passed, as :func:`dlfb.proteins.train.train`
        does; predictions use all units.
    """

    num_targets: int
    dim: int = 256
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return a logit for each protein and function.

        Parameters
        ----------
        x : array of shape (..., D)
            Embeddings of proteins.

        Returns
        -------
        array of shape (..., T)
            Any real number; the sigmoid of it is a probability. Functions are judged
            independently, as one protein may have several.
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

        Returns
        -------
        flax.training.train_state.TrainState
            With ``apply_fn``, ``params``, the optimiser's own state, and ``step`` 0.
        """
        variables = _drawn_weights(self, rng, dummy_input)
        return TrainState.create(apply_fn=self.apply, params=variables["params"], tx=tx)


# Compiled as a whole, in half the time that it takes to compile operation by operation.
_drawn_weights = jax.jit(Model.init, static_argnums=0)
