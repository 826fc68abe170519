"""Checkpoints of other families than ESM2's: right in form, random in content, made in a moment."""

import json
from pathlib import Path

LETTERS = "LAGVESIKRDTPNQFYMHCWXUBZO"


def save_tiny(family: str, folder: Path) -> None:
    """Write a checkpoint as the hub's repositories of a family hold it."""
    import torch

    folder.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(42)
        model = {"esmc": _esmc, "prot_bert": _prot_bert}.get(family, _t5)(family, folder)
        with torch.no_grad():  # wide, so that different proteins get clearly different vectors
            for weight in model.parameters():
                weight.copy_(torch.randn_like(weight) * 0.3)
        model.save_pretrained(folder)


def _esmc(family: str, folder: Path):
    from transformers import EsmcConfig, EsmcForMaskedLM, EsmcTokenizer

    EsmcTokenizer().save_pretrained(folder)
    return EsmcForMaskedLM(
        EsmcConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    )


def _prot_bert(family: str, folder: Path):
    from transformers import BertConfig, BertForMaskedLM

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *LETTERS]) + "\n")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    return BertForMaskedLM(
        BertConfig(
            vocab_size=30, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=4000,
        )
    )  # fmt: skip


def _t5(family: str, folder: Path):
    """ProtT5 and ProstT5 have a file of SentencePiece, Ankh one of tokenizers."""
    from transformers import T5Config, T5ForConditionalGeneration

    special = ["<pad>", "</s>", "<unk>"]
    config = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    if family.startswith("ankh"):
        _save_unigram(folder, special, prefix=["[NLU]"] if family == "ankh3" else [])
    else:
        _save_sentencepiece(folder, special, prefix=["<AA2fold>"] if family == "prostt5" else [])
        config |= {"do_lower_case": False, "tokenizer_class": "T5Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=140, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
            feed_forward_proj="gated-gelu" if family.startswith("ankh") else "relu",
        )
    )  # fmt: skip


def _save_unigram(folder: Path, special: list[str], prefix: list[str]) -> None:
    from tokenizers import Tokenizer, models, processors

    vocabulary = [(token, 0.0) for token in special + prefix] + [(a, -3.0) for a in LETTERS]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    tokenizer.add_special_tokens(special + prefix)
    end = [("</s>", 1)]
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", None, end)
    tokenizer.save(str(folder / "tokenizer.json"))


def _save_sentencepiece(folder: Path, special: list[str], prefix: list[str]) -> None:
    from sentencepiece import sentencepiece_model_pb2

    vocabulary = sentencepiece_model_pb2.ModelProto()
    vocabulary.trainer_spec.model_type, vocabulary.trainer_spec.unk_id = 1, 2
    for token in [*special, *prefix, *[f"▁{letter}" for letter in LETTERS]]:
        kind = 2 if token == "<unk>" else 1 if token.startswith("▁") else 3  # control
        vocabulary.pieces.add(piece=token, score=-3.0 if kind == 1 else 0.0, type=kind)
    (folder / "spiece.model").write_bytes(vocabulary.SerializeToString())
