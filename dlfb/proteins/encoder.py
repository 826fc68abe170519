"""A language model as embeddings need it: letters to token ids, token ids to hidden states.

All that differs from one architecture to another is in an :class:`Encoder`.
"""

from typing import NamedTuple

import torch

from dlfb.proteins.sequences import AMINO_ACIDS, RARE_LETTERS

# What the states depend on in an ESM2's configuration. The shapes of its weights say the rest.
_ESM2_SETTINGS = (
    "num_attention_heads", "layer_norm_eps", "token_dropout", "position_embedding_type",
    "emb_layer_norm_before", "max_position_embeddings",
)  # fmt: skip


class Encoder(NamedTuple):
    """A model without its head, and a protein's tokens: special ones before and after residues."""

    model: torch.nn.Module  # called with ids and mask, both (B, L); gives .last_hidden_state
    ids: dict[str, int]  # the token of each letter of a clean sequence
    before: list[int]  # such as <cls>
    after: list[int]  # such as <eos>
    padding: int
    window: int | None  # the longest protein, in residues; None if there is no limit
    settings: dict  # what the states depend on besides weights and tokens


def encoder_of(tokenizer, model) -> Encoder:
    """Return the encoder of an ESM2 model; a ValueError if it is another, or not float32."""
    check_order(tokenizer, model)
    base = getattr(model, "esm", model)
    if base.config.model_type != "esm":
        fault = f"A model of type {base.config.model_type!r} can't be used for embeddings here"
        raise ValueError(f"{fault}. Load an ESM2 with load_language_model(...).")
    dtypes = {weight.dtype for weight in base.parameters()}
    if dtypes != {torch.float32}:
        raise ValueError(
            f"The model's weights are {', '.join(sorted(map(str, dtypes)))}. Load it in float32 "
            "and ask for precision='fast': a cast of the whole model damages its rotary tables."
        )
    letters = [*AMINO_ACIDS, *RARE_LETTERS]
    return Encoder(
        model=base,
        ids=dict(zip(letters, tokenizer.convert_tokens_to_ids(letters), strict=True)),
        before=[tokenizer.cls_token_id],
        after=[tokenizer.eos_token_id],
        padding=tokenizer.pad_token_id,
        # ESM counts positions from the padding token's id + 1 = 2; two hold the special tokens.
        window=base.config.max_position_embeddings - 4,
        settings={name: getattr(base.config, name, None) for name in _ESM2_SETTINGS},
    )


def check_order(tokenizer, model) -> None:
    """Raise a ValueError unless the first is a tokenizer and the second a model."""
    if not hasattr(tokenizer, "convert_tokens_to_ids") or not hasattr(model, "parameters"):
        raise ValueError(
            "The tokenizer comes first, then the model, as load_language_model(...) returns them; "
            f"here they are {type(tokenizer).__name__} and {type(model).__name__}."
        )
