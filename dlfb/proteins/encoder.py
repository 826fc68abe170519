"""A language model as embeddings need it: letters to token ids, token ids to hidden states.

Families besides ESM2 and ESM C are ProtBERT and ProtT5 (Elnaggar et al. 2022,
doi:10.1109/TPAMI.2021.3095381), ProstT5 (Heinzinger et al. 2024, doi:10.1093/nargab/lqae150) and
Ankh (Elnaggar et al. 2023, arXiv 2301.06568).
"""

from typing import NamedTuple

import torch

from dlfb.proteins.sequences import AMINO_ACIDS, RARE_LETTERS

# By type of model, what the states depend on in its configuration. The shapes of the weights say
# the rest.
SETTINGS = {
    "esm": (
        "num_attention_heads", "layer_norm_eps", "token_dropout", "position_embedding_type",
        "emb_layer_norm_before", "max_position_embeddings",
    ),
    "esmc": ("num_attention_heads", "rope_parameters", "hidden_act"),
    "bert": ("num_attention_heads", "layer_norm_eps", "hidden_act", "position_embedding_type"),
    "t5": ("layer_norm_epsilon", "feed_forward_proj", "relative_attention_max_distance"),
}  # fmt: skip
FAMILIES = "ESM2, ESM C, ProtBERT, ProtT5, ProstT5 and Ankh"
# What comes before a protein: for ProstT5, amino acids follow; for Ankh 3, embeddings are wanted.
_PREFIXES = ("<AA2fold>", "[NLU]")
#: The most tokens, also for models without a limit of their own. ESM C and ProtBERT were trained
#: with 2,048. T5 has no limit, but attention needs memory that grows with the square of the length.
LONGEST = 2048
_UNUSED = ("contact_head.", "pooler.")  # weights that the states do not depend on


class Encoder(NamedTuple):
    """A model without its head, and a protein's tokens: special ones before and after residues."""

    model: torch.nn.Module  # called with ids and mask, both (B, L); gives .last_hidden_state
    ids: dict[str, int]  # the token of each letter of a clean sequence
    before: list[int]  # such as <cls>
    after: list[int]  # such as <eos>
    padding: int
    window: int  # the longest protein, in residues
    settings: dict  # what the states depend on besides weights and tokens

    def __fingerprint__(self) -> list:
        """Return all that the states depend on."""
        weights = self.model.state_dict().items()
        return [{k: v for k, v in weights if not k.startswith(_UNUSED)}, *self[1:]]


def encoder_of(tokenizer, model) -> Encoder:
    """Return the encoder of a model, which may have a head, or a decoder.

    ValueError if the model is of another family, or not float32, or if its tokenizer does not give
    each residue a token of its own.
    """
    check_order(tokenizer, model)
    kind = model.config.model_type
    if kind not in SETTINGS:
        fault = f"A model of type {kind!r} can't be used for embeddings here"
        raise ValueError(f"{fault}. Load {FAMILIES} with load_language_model(...).")
    base = getattr(model, "encoder" if kind == "t5" else kind, model)
    if other := {str(weight.dtype) for weight in base.parameters()} - {"torch.float32"}:
        fault = f"The model has weights of {min(other)}, and a cast damages rotary tables"
        raise ValueError(f"{fault}. Load it in float32 and ask for precision='fast'.")
    before, ids, after = _tokens(tokenizer, rare_as_x=kind == "bert")
    most = min(getattr(base.config, "max_position_embeddings", LONGEST), LONGEST)
    # ESM2 counts positions from the padding token's id + 1 = 2.
    most -= 2 if kind == "esm" else 0
    window, padding = most - len(before + after), tokenizer.pad_token_id or 0
    settings = {name: getattr(base.config, name, None) for name in SETTINGS[kind]}
    return Encoder(base, ids, before, after, padding, window, settings)


def _tokens(tokenizer, rare_as_x: bool) -> tuple[list[int], dict[str, int], list[int]]:
    """Return the tokens before a protein's residues, of each letter, and after the residues."""
    letters, vocabulary = [*AMINO_ACIDS, *RARE_LETTERS], tokenizer.get_vocab()
    # As words, since a residue is written "M", or " M", or "▁M", as the family has it.
    told = tokenizer(letters, is_split_into_words=True, return_special_tokens_mask=True)
    found, special = told["input_ids"], told["special_tokens_mask"]
    start, stop = special.index(0), len(special) - special[::-1].index(0)
    ids = dict(zip(letters, found[start:stop], strict=False))
    if stop - start != len(letters) or tokenizer.unk_token_id in [ids[a] for a in AMINO_ACIDS]:
        raise ValueError("The tokenizer does not give each amino acid a token of its own.")
    # ProtBERT and ProtT5 were trained with X for U, O, B and Z, although they have tokens for them.
    rare_as_x |= "▁X" in vocabulary
    for letter in RARE_LETTERS:
        if rare_as_x or ids[letter] == tokenizer.unk_token_id:
            ids[letter] = ids["X"]
    prefix = [vocabulary[token] for token in _PREFIXES if token in vocabulary]
    return prefix + found[:start], ids, found[stop:]


def check_order(tokenizer, model) -> None:
    """Raise a ValueError unless the first is a tokenizer and the second a model."""
    if not hasattr(tokenizer, "convert_tokens_to_ids") or not hasattr(model, "parameters"):
        found = f"{type(tokenizer).__name__} and {type(model).__name__}"
        raise ValueError(f"The tokenizer comes first, then the model; here they are {found}.")
