"""A language model that is made in a moment: right in form, random in content."""

import shutil

import pytest

VOCABULARY = [
    "<cls>",
    "<pad>",
    "<eos>",
    "<unk>",
    *"LAGVSERTIDPKQNFYMHWCXBUZO.-",
    "<null_1>",
    "<mask>",
]
CHECKPOINTS = (
    "facebook/esm2_t6_8M_UR50D",
    "facebook/esm2_t30_150M_UR50D",
    "facebook/esm2_t33_650M_UR50D",
)


@pytest.fixture(scope="session")
def tiny_checkpoints(tmp_path_factory):
    """Return a folder for DLFB_CHECKPOINTS with three names of the book, all one tiny model."""
    import torch
    from safetensors.torch import save_file
    from transformers import EsmConfig, EsmForMaskedLM

    root = tmp_path_factory.mktemp("checkpoints")
    first = root / CHECKPOINTS[0]
    first.mkdir(parents=True)
    (first / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    config = EsmConfig(
        vocab_size=33,
        mask_token_id=32,
        pad_token_id=1,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=1026,
        position_embedding_type="rotary",
        token_dropout=True,
        emb_layer_norm_before=False,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-5,
        initializer_range=0.3,  # wide, so that different proteins get clearly different vectors
        architectures=["EsmForMaskedLM"],
    )
    config.save_pretrained(first)
    with torch.random.fork_rng():
        torch.manual_seed(42)
        weights = EsmForMaskedLM(config).state_dict()
    # As real checkpoints do it: the output layer is tied to the embeddings.
    weights = {k: v.contiguous() for k, v in weights.items() if k != "lm_head.decoder.weight"}
    save_file(weights, first / "model.safetensors", metadata={"format": "pt"})
    for name in CHECKPOINTS[1:]:
        shutil.copytree(first, root / name)
    return root


@pytest.fixture
def use_tiny_checkpoints(tiny_checkpoints, monkeypatch):
    """Make every load in this test take the tiny model."""
    monkeypatch.setenv("DLFB_CHECKPOINTS", str(tiny_checkpoints))
    return tiny_checkpoints
