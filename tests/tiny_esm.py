"""A language model that is made in a moment: ESM2's in form, random in content."""

from pathlib import Path

from dlfb.utils.context import POCKET_MODEL, checkpoint

# ESM2's, as in all its repositories.
VOCABULARY = Path(checkpoint(POCKET_MODEL), "vocab.txt").read_text().split()
CHECKPOINTS = (
    "facebook/esm2_t6_8M_UR50D",
    "facebook/esm2_t30_150M_UR50D",
    "facebook/esm2_t33_650M_UR50D",
)


def save_tiny_esm(folder: Path, hidden_size: int = 32, seed: int = 42) -> None:
    """Write a checkpoint of two layers, as the hub's repositories of ESM2 hold it."""
    import torch
    from safetensors.torch import save_file
    from transformers import EsmConfig, EsmForMaskedLM

    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    config = EsmConfig(
        vocab_size=33, mask_token_id=32, pad_token_id=1, hidden_size=hidden_size,
        num_hidden_layers=2, num_attention_heads=4, intermediate_size=2 * hidden_size,
        max_position_embeddings=1026, position_embedding_type="rotary", token_dropout=True,
        emb_layer_norm_before=False, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-5, architectures=["EsmForMaskedLM"],
        initializer_range=0.3,  # wide, so that different proteins get clearly different vectors
    )  # fmt: skip
    config.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = EsmForMaskedLM(config).state_dict()
        # Padding is never looked up, but scored like any answer: in a trained table it is not 0.
        weights["esm.embeddings.word_embeddings.weight"][1].normal_(std=0.3)
    # As real checkpoints do it: the output layer is tied to the embeddings.
    weights = {k: v.contiguous() for k, v in weights.items() if k != "lm_head.decoder.weight"}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
