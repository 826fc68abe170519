"""Fine-tuning: what may change and what may not, and attributions whose answers are known."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from dlfb.proteins.embeddings import get_mean_embeddings
from dlfb.proteins.finetune import (
    FunctionPredictor,
    fit,
    integrated_gradients,
    occlusion,
    predict,
    tokenize,
)
from dlfb.proteins.language_model import load_language_model
from tests.tiny_esm import CHECKPOINTS

SEQUENCES = ["MKTAYIAKQR", "GSHMLEDPVCWW", "MAWL", "MKKLLPTAAAGLLLLAAQPAMA", "ACDE", "FGHIKLMNP"]
TARGETS = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1]])


@pytest.fixture
def tiny(use_tiny_checkpoints):
    """Return the tiny model, tokens and vectors of some proteins, and a predictor for them."""
    tokenizer, model = load_language_model(CHECKPOINTS[0])
    vectors = torch.tensor(get_mean_embeddings(SEQUENCES, tokenizer, model, device="cpu"))
    predictor = FunctionPredictor(model, vectors, 3)
    return SimpleNamespace(
        model=model, tokens=tokenize(tokenizer, SEQUENCES), vectors=vectors, predictor=predictor
    )


def state_of(module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(module.state_dict())


def changed(before: dict, after: dict) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_adapters_change_nothing_before_training(tiny):
    from_tokens = predict(tiny.predictor, tiny.tokens)
    assert from_tokens.shape == (6, 3) and from_tokens.dtype == np.float32
    np.testing.assert_allclose(from_tokens, predict(tiny.predictor, tiny.vectors), atol=1e-5)
    alone = [predict(tiny.predictor, [protein])[0] for protein in tiny.tokens]
    np.testing.assert_allclose(from_tokens, alone, atol=1e-5)


def test_only_adapters_and_network_learn_from_tokens(tiny):
    model, before = state_of(tiny.model), state_of(tiny.predictor)
    losses = list(fit(tiny.predictor, tiny.tokens, TARGETS, 60, batch_size=3))
    assert np.mean(losses[-5:]) < 0.5 * losses[0]
    trainable = {name for name in before if "lora_" in name or name.startswith("head.")}
    assert changed(before, tiny.predictor.state_dict()) == trainable
    # Two matrices for each of query, key and value in two layers; weight and bias of three layers.
    assert len(trainable) == 2 * 3 * 2 + 6
    assert tiny.model.state_dict().keys() == model.keys()
    assert changed(model, tiny.model.state_dict()) == set()


def test_only_the_network_learns_from_vectors(tiny):
    before = state_of(tiny.predictor)
    losses = list(fit(tiny.predictor, tiny.vectors, TARGETS, 60))
    assert losses[-1] < 0.5 * losses[0]
    learned = changed(before, tiny.predictor.state_dict())
    assert learned and all(name.startswith("head.") for name in learned)


def test_training_is_the_same_again_and_leaves_the_random_state(tiny):
    runs = []
    for drawn in (1, 2):
        torch.rand(drawn)
        state = torch.random.get_rng_state()
        predictor = FunctionPredictor(tiny.model, tiny.vectors, 3)
        runs.append(list(fit(predictor, tiny.tokens, TARGETS, 4, batch_size=4)))
        assert torch.equal(state, torch.random.get_rng_state())
    assert runs[0] == runs[1]
    other = FunctionPredictor(tiny.model, tiny.vectors, 3)
    assert list(fit(other, tiny.tokens, TARGETS, 4, batch_size=4, seed=1)) != runs[0]


def test_each_protein_is_read_once_per_round(tiny, monkeypatch):
    read, forward = [], tiny.predictor.forward
    monkeypatch.setattr(tiny.predictor, "forward", lambda b: read.append(b) or forward(b))
    list(fit(tiny.predictor, tiny.tokens, TARGETS, 4, batch_size=3))
    whole = sorted(protein.tolist() for protein in tiny.tokens)
    for batches in (read[:2], read[2:]):
        rows = [[token for token in row.tolist() if token != 1] for b in batches for row in b]
        assert sorted(rows) == whole


def test_nothing_is_learned_from_unknown_targets(tiny):
    targets = TARGETS.astype(float)
    targets[:, 1] = np.nan
    loss = next(fit(tiny.predictor, tiny.tokens, targets, 1))
    slope = tiny.predictor.head[-1].bias.grad
    assert np.isfinite(loss) and slope[1] == 0 and (slope[[0, 2]] != 0).all()


class Sum(nn.Module):
    """In place of a language model: states are the tokens' own vectors, <mask> being zero."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(33, 4)
        self.table.weight.data[32] = 0

    def get_input_embeddings(self):
        return self.table

    def forward(self, tokens, mask):
        return SimpleNamespace(last_hidden_state=self.table(tokens))


def test_attributions_of_a_sum_are_its_terms(tiny):
    predictor, tokens = tiny.predictor, tiny.tokens[0]
    predictor.encoder, predictor.head = Sum(), nn.Linear(4, 3)
    predictor.mean, predictor.deviation = torch.zeros(4), torch.ones(4)
    vectors = predictor.encoder.table.weight[tokens[1:-1]]
    terms = (vectors @ predictor.head.weight[2] / 10).detach()  # a mean over ten residues
    np.testing.assert_allclose(integrated_gradients(predictor, tokens, 2, 3), terms, atol=1e-6)
    np.testing.assert_allclose(occlusion(predictor, tokens, 2), terms, atol=1e-6)
    windows = [terms[max(i - 1, 0) : i + 2].sum() for i in range(10)]
    np.testing.assert_allclose(occlusion(predictor, tokens, 2, width=3), windows, atol=1e-6)


def test_integrated_gradients_add_up_to_the_difference_of_logits(tiny):
    list(fit(tiny.predictor, tiny.tokens, TARGETS, 20))
    predictor, tokens = tiny.predictor.eval(), tiny.tokens[3]
    attributions = integrated_gradients(predictor, tokens, 1, steps=64)
    table = predictor.encoder.get_input_embeddings()
    special = torch.tensor([i in (0, len(tokens) - 1) for i in range(len(tokens))])[:, None]
    with torch.no_grad():
        whole = predictor(tokens[None])[0, 1]
        hook = table.register_forward_hook(lambda *call: call[2] * special)
        nothing = predictor(tokens[None])[0, 1]
        hook.remove()
    assert attributions.shape == (22,) and abs(whole - nothing) > 0.05
    assert attributions.sum() == pytest.approx((whole - nothing).item(), abs=5e-3)
    assert torch.equal(predictor(tokens[None])[0, 1], whole)  # the hook is gone


def test_occlusion_masks_as_a_tokenizer_would(tiny):
    predictor, tokens = tiny.predictor.eval(), tiny.tokens[2]
    tokenizer, _ = load_language_model(CHECKPOINTS[0])
    [masked] = torch.tensor(tokenizer(["MA<mask>L"])["input_ids"])[None]
    with torch.no_grad():
        fall = predictor(tokens[None]) - predictor(masked)
    assert occlusion(predictor, tokens, 0)[2] == pytest.approx(fall[0, 0].item(), abs=1e-5)


def test_what_does_not_fit_is_refused(tiny):
    with pytest.raises(ValueError, match="width 32, and they of shape .6, 7.. Embed the"):
        FunctionPredictor(tiny.model, np.zeros((6, 7), "float32"), 3)
    with pytest.raises(ValueError, match="6 proteins, but 5 rows of targets"):
        next(fit(tiny.predictor, tiny.tokens, TARGETS[:5], 1))
