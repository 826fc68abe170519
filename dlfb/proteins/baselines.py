"""What a model must beat: predictions that know little or nothing of the protein (notebook 08).

The chapter's two baselines guess 0 or 1, so they rank nothing and their auPRC says little.
:func:`term_frequency` gives the frequency itself as score, and :func:`composition_features`
are inputs for the same network that a protein's embedding would be the input of. Guesses come as
float32 of shape (N, T), in a frame where `targets` is one, whose labels they take.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from dlfb.proteins.metrics import floats
from dlfb.proteins.sequences import AMINO_ACIDS, clean_sequence, listed


def coin_flip(targets, seed: int = 42):
    """Guess each function of each protein by tossing a fair coin.

    Of `targets` (N, T) only the shape, and the labels of a frame, are used.
    """
    return _like(targets, np.random.default_rng(seed).integers(0, 2, size=np.shape(targets)))


def proportional_guess(train_targets, targets, seed: int = 42):
    """Guess each function as often as proteins of the training set have it: 0 or 1.

    Parameters as for :func:`term_frequency`, whose frequencies are the probabilities of a 1.
    """
    frequency = term_frequency(train_targets, targets)
    draws = np.random.default_rng(seed).random(frequency.shape)
    return _like(targets, draws < np.asarray(frequency))


def term_frequency(train_targets, targets):
    """Score each function by the share of the training set that has it, where that is known.

    All proteins get the same scores. The field calls this baseline "naive" (Radivojac et al.,
    Nature Methods 2013).

    `train_targets` (M, T) are 0, 1, or NaN for unknown. `targets` is for how many proteins, N, or
    the matrix (N, T) to make guesses for, of which only shape and labels are used. ValueError if
    the training set is empty, or its functions are not those of `targets`.
    """
    if np.ndim(train_targets) != 2 or len(train_targets) == 0:
        raise ValueError(
            "The training targets must be a matrix (proteins, functions) of at least one row, but "
            f"have shape {np.shape(train_targets)}."
        )
    truth = floats(train_targets)
    known = ~np.isnan(truth)
    frequency = np.where(known, truth, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    n = targets if np.ndim(targets) == 0 else len(targets)
    both_frames = isinstance(train_targets, pd.DataFrame) and isinstance(targets, pd.DataFrame)
    if (np.ndim(targets) and np.shape(targets)[1:] != frequency.shape) or (
        both_frames and not train_targets.columns.equals(targets.columns)
    ):
        raise ValueError(
            "The training targets and the targets to predict must have the same functions in the "
            f"same order, but have shapes {np.shape(train_targets)} and {np.shape(targets)}"
            f"{' with different column names' if both_frames else ''}."
        )
    return _like(targets, np.tile(frequency, (n, 1)))


def composition_features(sequences: Iterable[str]) -> np.ndarray:
    """Count amino acids: what can be told from a protein without a language model.

    Returns
    -------
    array of shape (N, 21), float32
        The share of each of the twenty amino acids among all residues, in the order of
        ``AMINO_ACIDS``, then the natural logarithm of the length. The rare letters U, O, B, Z
        and X count as residues but have no column. A network learns from these columns only
        once they are brought to one scale, as by scikit-learn's ``StandardScaler``.
    """
    features = []
    for number, sequence in enumerate(listed(sequences, "composition_features"), start=1):
        letters = clean_sequence(sequence, name=f"sequence {number}")
        shares = [letters.count(letter) / len(letters) for letter in AMINO_ACIDS]
        features.append([*shares, np.log(len(letters))])
    return np.array(features, np.float32).reshape(-1, len(AMINO_ACIDS) + 1)


def _like(targets, values: np.ndarray):
    """Return values (N, T) as float32, with the labels of `targets` if it is a frame."""
    values = values.astype(np.float32)
    if isinstance(targets, pd.DataFrame):
        return pd.DataFrame(values, index=targets.index, columns=targets.columns)
    return values
