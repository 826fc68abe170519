import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from transformers import AutoTokenizer, EsmForMaskedLM

from dlfb.proteins.inspect import MaskPredictor, masked_profiles
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.sequences import AMINO_ACIDS, CLASS_COLORS, INSULIN
from dlfb.utils.context import POCKET_MODEL

NAME = "facebook/esm2_t30_150M_UR50D"


@pytest.fixture
def predictor(use_tiny_checkpoints):
    return MaskPredictor(*load_language_model(NAME, masked=True))


def test_the_mask_is_token_30_for_residue_29(predictor):
    masked = predictor.mask_sequence(INSULIN, 29)
    assert masked == INSULIN[:29] + "<mask>" + INSULIN[30:]
    assert predictor.tokenizer(masked)["input_ids"].index(32) == 30
    assert predictor.mask_sequence(" malwm\n", np.int64(4)) == "MALW<mask>"
    assert predictor.mask_sequence("MALWM", 0) == "<mask>ALWM"


@pytest.mark.parametrize("index", [5, -1, 1.0, "1", True, np.True_])
def test_an_index_that_is_not_one_of_a_residue_is_refused(predictor, index):
    with pytest.raises(ValueError, match=f"mask_index {index!r} is outside .* 0 to 4"):
        predictor.predict("MALWM", index)


def test_probabilities_are_the_models_over_the_twenty(predictor):
    result = predictor.predict(INSULIN, 29)
    assert result.is_monotonic_decreasing and result.sum() == pytest.approx(1)
    ids = torch.tensor([predictor.tokenizer(INSULIN)["input_ids"]])
    ids[0, 30] = 32
    with torch.inference_mode():
        over_33 = predictor.model(ids).logits[0, 30].double().softmax(0).numpy()
    twenty = over_33[predictor.tokenizer.convert_tokens_to_ids(list(AMINO_ACIDS))]
    np.testing.assert_allclose(result[list(AMINO_ACIDS)], twenty / twenty.sum(), rtol=1e-5)
    # The masked residue itself is not seen.
    assert result.equals(predictor.predict(INSULIN[:29] + "W" + INSULIN[30:], 29))


def test_the_figure_shows_every_bar_and_marks_the_truth(predictor):
    result = predictor.predict(INSULIN, 26)
    ax = predictor.plot_predictions(INSULIN, 26).axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == list(result.index)
    bars = sorted(ax.patches, key=lambda bar: bar.get_x())
    np.testing.assert_allclose([bar.get_height() for bar in bars], result)
    [marked] = [bar for bar in bars if bar.get_linewidth() == 2]
    assert marked is bars[result.index.get_loc("N")]
    assert to_hex(marked.get_facecolor()).upper() == CLASS_COLORS["polar uncharged"]
    assert ax.get_title() == f"{NAME}: residue 26 hidden (true: N)"
    assert plt.get_fignums() == []  # a notebook shows it once


def test_the_figure_names_the_model_that_answered(tiny_checkpoints):
    folder = str(tiny_checkpoints / NAME)
    plain = AutoTokenizer.from_pretrained(folder), EsmForMaskedLM.from_pretrained(folder)
    for name, pair in {POCKET_MODEL: load_language_model(NAME, masked=True), folder: plain}.items():
        title = MaskPredictor(*pair).plot_predictions("MALWM", 0).axes[0].get_title()
        assert title == f"{name}: residue 0 hidden (true: M)"


def test_a_model_without_a_head_or_in_the_wrong_place_is_refused(use_tiny_checkpoints):
    pair = load_language_model(NAME)
    with pytest.raises(ValueError, match="masked=True"):
        MaskPredictor(*pair)
    with pytest.raises(ValueError, match="tokenizer comes first, then the model"):
        MaskPredictor(*reversed(pair))


def test_profiles_hide_residues_as_one_at_a_time_does(predictor):
    model = (predictor.tokenizer, predictor.model)
    sequences = ["MALWMRXKV", "M", INSULIN]
    one_at_a_time = masked_profiles(sequences, *model, stride=1000)
    assert list(map(len, one_at_a_time)) == [9, 1, 110]
    for place in (0, 4, 8):
        expected = predictor.predict("MALWMRXKV", place)["MALWMRXKV"[place]]
        assert one_at_a_time[0][place] == pytest.approx(expected, rel=1e-4)
    assert np.isnan(one_at_a_time[0][6]) and np.isfinite(np.delete(one_at_a_time[0], 6)).all()
    # With a stride of 4, places 0, 4 and 8 are hidden together.
    inputs = predictor.tokenizer("<mask>ALW<mask>RXK<mask>", return_tensors="pt")
    with torch.inference_mode():
        logits = predictor.model(**inputs).logits[0, 5]
    twenty = predictor.tokenizer.convert_tokens_to_ids(list(AMINO_ACIDS))
    expected = logits[twenty].softmax(0)[AMINO_ACIDS.index("M")].item()
    assert masked_profiles(sequences, *model)[0][4] == pytest.approx(expected, rel=1e-4)
    # What is longer than the window comes in pieces.
    long, first = masked_profiles([INSULIN * 12, (INSULIN * 12)[:1022]], *model)
    assert len(long) == 1320 and np.isfinite(long).all()
    np.testing.assert_allclose(long[:1022], first, rtol=1e-4)
