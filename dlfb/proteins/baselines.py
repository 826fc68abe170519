"""What a model must beat: predictions that know little or nothing about the protein (notebook 08).

Guesses are float32 (N, T), in a DataFrame with the labels of `targets` where that is one.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from dlfb.proteins.metrics import checked_targets
from dlfb.proteins.sequences import AMINO_ACIDS, clean_sequence, listed


def coin_flip(targets, seed: int = 42):
    """Guess each function of each protein by tossing a fair coin; `targets` are (N, T)."""
    return _like(targets, np.random.default_rng(seed).integers(0, 2, size=np.shape(targets)))


def proportional_guess(train_targets, targets, seed: int = 42):
    """Guess 0 or 1, and 1 with the probability that :func:`term_frequency` returns."""
    frequency = term_frequency(train_targets, targets)
    draws = np.random.default_rng(seed).random(frequency.shape)
    return _like(targets, draws < np.asarray(frequency))


def term_frequency(train_targets, targets):
    """Score each function by the share of the training set that has it, where that is known.

    All proteins get the same scores. The field calls this baseline "naive" (Radivojac et al.,
    Nature Methods 2013). `train_targets` (M, T) are 0, 1, or NaN for unknown; `targets` is the
    number of proteins to guess for, N, or their matrix (N, T), of which shape and labels are used.
    """
    if np.ndim(train_targets) != 2 or len(train_targets) == 0:
        shape = np.shape(train_targets)
        raise ValueError(f"The training targets must be a matrix with a row or more, not {shape}.")
    truth = checked_targets(train_targets, "the training targets")
    known = ~np.isnan(truth)
    frequency = np.where(known, truth, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    n = targets if np.ndim(targets) == 0 else len(targets)
    names = [x.columns for x in (train_targets, targets) if isinstance(x, pd.DataFrame)]
    other_names = len(names) == 2 and not names[0].equals(names[1])
    if other_names or (np.ndim(targets) and np.shape(targets)[1:] != frequency.shape):
        found = f"shapes {np.shape(train_targets)} and {np.shape(targets)}"
        found += " with different column names" if other_names else ""
        raise ValueError(f"Both targets must have the same functions in one order, not {found}.")
    return _like(targets, np.tile(frequency, (n, 1)))


def composition_features(sequences: Iterable[str]) -> np.ndarray:
    """Return what can be told from proteins without a language model: (N, 21), float32.

    These are the shares of the twenty amino acids among all residues, in the order of
    ``AMINO_ACIDS``, and the natural logarithm of the length.
    """
    features = []
    for number, sequence in enumerate(listed(sequences, "composition_features"), start=1):
        letters = clean_sequence(sequence, name=f"sequence {number}")
        shares = [letters.count(letter) / len(letters) for letter in AMINO_ACIDS]
        features.append([*shares, np.log(len(letters))])
    return np.array(features, np.float32).reshape(-1, len(AMINO_ACIDS) + 1)


def _like(targets, values: np.ndarray):
    """Return values (N, T) as float32, with the labels of `targets` if it is a DataFrame."""
    values = values.astype(np.float32)
    if isinstance(targets, pd.DataFrame):
        return pd.DataFrame(values, index=targets.index, columns=targets.columns)
    return values
