import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, EsmForMaskedLM

from dlfb.proteins.inspect import MaskPredictor
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.sequences import AMINO_ACIDS, CLASS_COLORS, INSULIN
from dlfb.utils.context import POCKET_MODEL

NAME = "facebook/esm2_t30_150M_UR50D"


@pytest.fixture
def predictor(use_tiny_checkpoints):
    return MaskPredictor(*load_language_model(NAME, masked=True))


def test_the_mask_stands_at_token_30_for_residue_29(predictor):
    masked = predictor.mask_sequence(INSULIN, 29)
    assert masked == INSULIN[:29] + "<mask>" + INSULIN[30:]
    ids = predictor.tokenizer(masked)["input_ids"]
    assert ids.index(32) == 30
    assert len(ids) == 112
    assert predictor.mask_sequence(" malwm\n", 2) == "MA<mask>WM"


@pytest.mark.parametrize("index", [0, 4, np.int64(4)])
def test_the_first_and_the_last_residue_can_be_hidden(predictor, index):
    assert predictor.mask_sequence("MALWM", index).count("<mask>") == 1
    assert predictor.predict("MALWM", index).sum() == pytest.approx(1)


@pytest.mark.parametrize("index", [5, -1, 110])
def test_an_index_outside_the_sequence_is_refused(predictor, index):
    for method in (predictor.mask_sequence, predictor.predict, predictor.plot_predictions):
        with pytest.raises(ValueError, match=f"mask_index {index} lies outside .* 0 to 4"):
            method("MALWM", index)


@pytest.mark.parametrize("index", [1.0, "1", None, True, np.True_])
def test_an_index_that_is_no_whole_number_is_refused(predictor, index):
    with pytest.raises(ValueError, match="must be a whole number"):
        predictor.predict("MALWM", index)


def test_probabilities_are_the_models_over_the_twenty(predictor):
    result = predictor.predict(INSULIN, 29)
    assert sorted(result.index) == sorted(AMINO_ACIDS)
    assert result.is_monotonic_decreasing
    assert result.sum() == pytest.approx(1)
    ids = torch.tensor([predictor.tokenizer(INSULIN)["input_ids"]])
    ids[0, 30] = 32
    with torch.inference_mode():
        over_33 = predictor.model(ids).logits[0, 30].double().softmax(0).numpy()
    twenty = over_33[predictor.tokenizer.convert_tokens_to_ids(list(AMINO_ACIDS))]
    np.testing.assert_allclose(result[list(AMINO_ACIDS)], twenty / twenty.sum(), rtol=1e-5)


def test_the_hidden_residue_itself_is_not_seen(predictor):
    other = INSULIN[:29] + "W" + INSULIN[30:]
    assert predictor.predict(INSULIN, 29).equals(predictor.predict(other, 29))


def test_the_figure_shows_every_bar_and_marks_the_truth(predictor):
    from matplotlib import pyplot as plt
    from matplotlib.colors import to_hex

    result = predictor.predict(INSULIN, 26)
    figure = predictor.plot_predictions(INSULIN, 26)
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == list(result.index)
    bars = sorted(ax.patches, key=lambda bar: bar.get_x())
    np.testing.assert_allclose([bar.get_height() for bar in bars], result)
    place = result.index.get_loc("N")
    [marked] = [bar for bar in bars if bar.get_linewidth() == 2]
    assert marked is bars[place]
    assert to_hex(marked.get_facecolor()).upper() == CLASS_COLORS["polar uncharged"]
    assert ax.get_title() == f"{NAME}: residue 26 hidden, in truth N"
    assert plt.get_fignums() == []


def test_the_figure_names_the_model_that_answered(capsys):
    predictor = MaskPredictor(*load_language_model(NAME, masked=True))
    assert POCKET_MODEL in predictor.plot_predictions("MALWM", 0).axes[0].get_title()
    assert NAME not in predictor.plot_predictions("MALWM", 0).axes[0].get_title()


def test_a_model_straight_from_transformers_will_do(tiny_checkpoints):
    folder = str(tiny_checkpoints / NAME)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    predictor = MaskPredictor(tokenizer, EsmForMaskedLM.from_pretrained(folder))
    assert predictor.predict(sequence=INSULIN, mask_index=29).sum() == pytest.approx(1)
    assert folder in predictor.plot_predictions(INSULIN, 29).axes[0].get_title()


def test_a_model_without_a_head_is_refused(use_tiny_checkpoints):
    with pytest.raises(ValueError, match="masked=True"):
        MaskPredictor(*load_language_model(NAME))
