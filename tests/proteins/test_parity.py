"""Agreement with outputs of the original ESM2 code (fair-esm), stored as golden files."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import try_to_load_from_cache
from safetensors.torch import load_file

from dlfb.proteins.language_model import REVISIONS, _folder, load_language_model

GOLDEN = Path(__file__).parents[2] / ".." / "shared" / "data" / "esm2_reference"
SIZES = {
    "8m": ("facebook/esm2_t6_8M_UR50D", 320),
    "35m": ("facebook/esm2_t12_35M_UR50D", 480),
    "150m": ("facebook/esm2_t30_150M_UR50D", 640),
}

pytestmark = [
    pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden outputs of ../shared are not here"),
    pytest.mark.parametrize("size", SIZES),
]


def golden(size):
    """Return the stored tensors, and the card that says how they were made."""
    stem = GOLDEN / f"fastplms_golden_esm2_{size}"
    return load_file(f"{stem}.safetensors"), json.loads(Path(f"{stem}.json").read_text())


def test_token_ids_and_masks_agree(size, use_tiny_checkpoints):
    (stored, card), (name, width) = golden(size), SIZES[size]
    ids = stored["input__input_ids"]
    assert card["checkpoint"]["repo_id"] == name
    assert card["checkpoint"]["revision"] == REVISIONS[name]
    assert stored["output__last_hidden_state"].shape == (*ids.shape, width)
    tokenizer, _ = load_language_model(SIZES["8m"][0])  # all sizes have the same
    sequences = [
        "".join(tokenizer.convert_ids_to_tokens(row[mask.bool()]))
        for row, mask in zip(ids, stored["residue_mask"], strict=True)
    ]
    assert len(set(map(len, sequences))) > 1, "padding is not tested"
    ours = tokenizer(sequences, padding=True, return_tensors="pt")
    assert ours["input_ids"].equal(ids)
    assert ours["attention_mask"].equal(stored["input__attention_mask"])


def test_hidden_states_and_logits_agree_to_1e_4(size, monkeypatch):
    (stored, card), (name, _) = golden(size), SIZES[size]
    needed = ("config.json", "vocab.txt", "model.safetensors")
    found = [try_to_load_from_cache(name, file, revision=REVISIONS[name]) for file in needed]
    if not all(isinstance(file, str) for file in found):
        pytest.skip(f"{name} is not in the hub's cache")
    monkeypatch.setenv("DLFB_CHECKPOINTS", "hub")
    weights = (_folder(name)[0] / "model.safetensors").read_bytes()
    expected = card["checkpoint"]["files"]["model.safetensors"].removeprefix("sha256:")
    assert hashlib.sha256(weights).hexdigest() == expected, "not the checkpoint of the golden file"
    _, model = load_language_model(name, masked=True)
    inputs = {key: stored[f"input__{key}"] for key in ("input_ids", "attention_mask")}
    real = inputs["attention_mask"].bool()  # what is at padding has no meaning
    with torch.inference_mode():
        outputs = {
            "last_hidden_state": model.esm(**inputs).last_hidden_state,
            "logits": model(**inputs).logits,
        }
    for key, ours in outputs.items():
        np.testing.assert_allclose(ours[real], stored[f"output__{key}"][real], atol=1e-4)
