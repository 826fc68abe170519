"""The baselines: seeded, of the right frequencies, and with the labels of what they guess for."""

import numpy as np
import pandas as pd
import pytest

from dlfb.proteins.baselines import (
    coin_flip,
    composition_features,
    proportional_guess,
    term_frequency,
)
from dlfb.proteins.sequences import AMINO_ACIDS, INSULIN

RNG = np.random.default_rng(0)
TRAIN = (RNG.random((500, 4)) < [0.0, 0.1, 0.6, 1.0]).astype(np.float32)


def test_guesses_are_seeded_and_of_the_right_frequencies():
    targets = np.zeros((4000, 4))
    for guess, again, other, frequency in (
        (coin_flip(targets), coin_flip(targets + 1), coin_flip(targets, seed=43), 0.5),
        (proportional_guess(TRAIN, 4000), proportional_guess(TRAIN, targets),
         proportional_guess(TRAIN, 4000, seed=43), TRAIN.mean(axis=0)),
    ):  # fmt: skip
        assert guess.dtype == np.float32 and set(np.unique(guess)) == {0, 1}
        assert abs(guess.mean(axis=0) - frequency).max() < 0.03
        np.testing.assert_array_equal(guess, again)
        assert (guess != other).any()
    assert len(np.unique(guess, axis=0)) > 1, "two proteins get different guesses"


def test_term_frequency_is_the_known_training_frequency_for_everyone():
    nan = np.nan
    scores = term_frequency([[1, nan, 1], [0, nan, nan], [nan, nan, 1]], 2)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, [[0.5, 0, 1]] * 2)


def test_frames_keep_their_labels():
    terms = pd.Index(["GO:1", "GO:2", "GO:3", "GO:4"], name="term")
    train = pd.DataFrame(TRAIN, columns=terms)
    targets = pd.DataFrame(0, index=pd.Index(["P1", "P2"], name="EntryID"), columns=terms)
    for guess in (coin_flip(targets), proportional_guess(train, targets)):
        pd.testing.assert_index_equal(guess.index, targets.index)
        pd.testing.assert_index_equal(guess.columns, targets.columns)


def test_misfits_are_errors():
    train = pd.DataFrame(TRAIN, columns=list("abcd"))
    with pytest.raises(ValueError, match=r"same functions .* shapes \(500, 4\) and \(2, 3\)"):
        term_frequency(TRAIN, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="different column names"):
        proportional_guess(train, train[list("dcba")])
    with pytest.raises(ValueError, match=r"a row or more, not \(0, 4\)"):
        term_frequency(TRAIN[:0], 3)


def test_composition_of_known_sequences():
    assert composition_features([]).shape == (0, 21)
    features = composition_features(["MAM", "rx", INSULIN])
    assert features.shape == (3, 21) and features.dtype == np.float32
    place = {letter: i for i, letter in enumerate(AMINO_ACIDS)}
    # X is a residue without a column.
    assert features[1, place["R"]] == 0.5
    assert features[1].sum() == pytest.approx(0.5 + np.log(2))
    shares = [INSULIN.count(letter) / 110 for letter in AMINO_ACIDS]
    np.testing.assert_allclose(features[2], [*shares, np.log(110)], rtol=1e-6)


def test_composition_of_names_and_of_other_letters_is_refused():
    with pytest.raises(ValueError, match="sequence 2.*'1'"):
        composition_features(["MAM", "M1M"])
    # Iterating over a table yields its names, which here spell a protein.
    with pytest.raises(ValueError, match="Pass a list of sequences, even of one, or one column"):
        composition_features(pd.DataFrame({"SEQ": ["MAM"]}))
