"""Families other than ESM2: their vectors against a plain computation, and what is refused."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
import transformers

from dlfb.proteins import language_model
from dlfb.proteins.embeddings import get_mean_embeddings
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.sequences import INSULIN
from tests.tiny_models import save_tiny

PROTEINS = [INSULIN, "MKV", "M", "MUOBZXK", "ACDEFGHIKLMNPQRSTVWY"]
# How the authors of each family say that a protein is written, and which tokens are not residues.
WRITTEN = {
    "esmc": ("EsmcModel", "{}", 1, 1),
    "prot_bert": ("BertModel", " {} ", 1, 1),
    "prot_t5": ("T5EncoderModel", " {} ", 0, 1),
    "prostt5": ("T5EncoderModel", "<AA2fold> {} ", 1, 1),
    "ankh": ("T5EncoderModel", "{}", 0, 1),
    "ankh3": ("T5EncoderModel", "[NLU]{}", 1, 1),
}


@pytest.fixture(scope="session")
def families(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    for family in WRITTEN:
        save_tiny(family, root / family)
    return root


@pytest.fixture(autouse=True)
def use_families(families, monkeypatch):
    monkeypatch.setenv("DLFB_CHECKPOINTS", str(families))


def plainly(folder, family: str, protein: str, everything: bool = False) -> np.ndarray:
    """Return a protein's vector as transformers gives it, one protein at a time, with its text."""
    kind, template, before, after = WRITTEN[family]
    fast = family.startswith("ankh")
    tokenizer_class = transformers.PreTrainedTokenizerFast if fast else transformers.AutoTokenizer
    tokenizer = tokenizer_class.from_pretrained(folder)
    model = getattr(transformers, kind).from_pretrained(folder).eval()
    if family in ("prot_bert", "prot_t5", "prostt5"):
        protein = " ".join(re.sub("[UOBZ]", "X", protein))
    inputs = tokenizer(template.format(protein).strip(), return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs).last_hidden_state[0]
    return states[0 if everything else before : None if everything else -after].mean(0).numpy()


@pytest.mark.parametrize("family", WRITTEN)
def test_vectors_are_those_of_a_plain_computation(families, family):
    tokenizer, model = load_language_model(family)
    assert model.dlfb_checkpoint == tokenizer.dlfb_checkpoint == family
    for pooling in ("residues", "all"):
        vectors = get_mean_embeddings(PROTEINS, tokenizer, model, "cpu", pooling=pooling)
        for protein, vector in zip(PROTEINS, vectors, strict=True):
            expected = plainly(families / family, family, protein, pooling == "all")
            assert np.linalg.norm(vector - expected) < 1e-5 * np.linalg.norm(expected), protein
    assert np.linalg.norm(vectors[0] - vectors[1]) > 1e-2 * np.linalg.norm(vectors[0])


@pytest.mark.parametrize("family", WRITTEN)
def test_the_rare_letters_are_those_that_the_model_was_trained_with(families, family):
    loaded = load_language_model(family)
    u, x = get_mean_embeddings(["MKUV", "MKXV"], *loaded, "cpu")
    assert np.array_equal(u, x) == (family in ("prot_bert", "prot_t5", "prostt5"))


def test_long_proteins_are_cut_where_a_family_has_no_limit_of_its_own():
    tokenizer, model = load_language_model("prot_t5")
    protein = INSULIN * 30  # 3,300 residues; 2,047 and the end token fit
    halves = get_mean_embeddings([protein[:1650], protein[1650:]], tokenizer, model, "cpu")
    [whole] = get_mean_embeddings([protein], tokenizer, model, "cpu")
    np.testing.assert_allclose(whole, halves.mean(0), atol=1e-5)


def test_what_is_for_esm2_alone_says_so():
    with pytest.raises(ValueError, match=r"'bert', and only ESM2 \('esm'\) can be used"):
        load_language_model("prot_bert", masked=True)


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("prot_bert", {"config.json": {"model_type": "gpt2"}}, "'gpt2', and ESM2, ESM C, ProtBERT"),
        ("prot_bert", {"vocab.txt": None}, "has no vocab.txt or tokenizer.json"),
        ("prot_t5", {"spiece.model": None}, "has no tokenizer.json or spiece.model"),
        ("prot_bert", {"tokenizer_config.json": {"do_lower_case": True}}, "each amino acid"),
    ],
)
def test_what_can_t_be_used_is_a_sentence(families, tmp_path, family, change, message):
    shutil.copytree(families / family, tmp_path / "c")
    for file, content in change.items():
        (tmp_path / "c" / file).unlink()
        if content is not None:
            (tmp_path / "c" / file).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        get_mean_embeddings(["MKV"], *load_language_model(str(tmp_path / "c")), "cpu")


def test_a_transformers_without_the_family_is_a_sentence(monkeypatch):
    newer = ("ModelOfTomorrow", "EsmcTokenizer", ["tokenizer.json"])
    monkeypatch.setitem(language_model._KINDS, "esmc", newer)
    with pytest.raises(ValueError, match="transformers .* does not know 'esmc' yet"):
        load_language_model("esmc")
