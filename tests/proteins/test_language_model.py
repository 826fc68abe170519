import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from huggingface_hub.utils import are_progress_bars_disabled
from safetensors.torch import load_file, save_file
from transformers import EsmForMaskedLM, EsmModel
from transformers.utils import logging as hf_logging

from dlfb.proteins import language_model
from dlfb.proteins.language_model import load_language_model, load_tokenizer, token_embeddings
from dlfb.proteins.sequences import INSULIN

NAME = "facebook/esm2_t6_8M_UR50D"


@pytest.fixture
def own_copy(tiny_checkpoints, tmp_path, monkeypatch):
    """Return the folder of a checkpoint that a test may damage."""
    shutil.copytree(tiny_checkpoints, tmp_path / "c")
    monkeypatch.setenv("DLFB_CHECKPOINTS", str(tmp_path / "c"))
    return tmp_path / "c" / NAME


def test_the_chapters_vocabulary_and_token_ids(use_tiny_checkpoints):
    tokenizer, _ = load_language_model(NAME)
    assert len(tokenizer) == 33
    assert tokenizer("MALWM")["input_ids"] == [0, 20, 5, 4, 22, 20, 2]
    ids = tokenizer(["MA<mask>WX", "M"], padding=True)["input_ids"]
    assert ids == [[0, 20, 5, 32, 22, 24, 2], [0, 20, 2, 1, 1, 1, 1]]


@pytest.mark.parametrize(("masked", "kind"), [(False, EsmModel), (True, EsmForMaskedLM)])
def test_the_model_is_ready_to_be_asked(use_tiny_checkpoints, masked, kind):
    tokenizer, model = load_language_model(NAME, masked=masked)
    assert type(model) is kind
    assert not model.training
    assert not any("pooler" in name for name, _ in model.named_modules())
    assert model.dlfb_checkpoint == tokenizer.dlfb_checkpoint == NAME
    with torch.inference_mode():
        output = model(**tokenizer(INSULIN, return_tensors="pt"))
    shape = (1, 112, 33) if masked else (1, 112, 32)
    assert (output.logits if masked else output.last_hidden_state).shape == shape


def test_the_weights_are_the_files(use_tiny_checkpoints):
    stored = load_file(use_tiny_checkpoints / NAME / "model.safetensors")
    _, model = load_language_model(NAME)
    _, with_head = load_language_model(NAME, masked=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, stored["esm." + name]), name
    for name, value in stored.items():
        assert torch.equal(with_head.state_dict()[name], value), name


def test_half_precision_files_give_single_precision_models(own_copy):
    file = own_copy / "model.safetensors"
    halved = {k: v.half() if v.dtype == torch.float32 else v for k, v in load_file(file).items()}
    save_file(halved, file, metadata={"format": "pt"})
    config = json.loads((own_copy / "config.json").read_text())
    (own_copy / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))
    for masked in (False, True):
        _, model = load_language_model(NAME, masked=masked)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    tokens, table = token_embeddings(NAME)
    assert table.dtype == np.float32


def test_loading_is_silent_and_leaves_no_trace(use_tiny_checkpoints, capfd):
    def state():
        return (
            hf_logging.get_verbosity(),
            hf_logging.is_progress_bar_enabled(),
            are_progress_bars_disabled(),
            logging.getLogger("huggingface_hub").level,
            logging.getLogger().level,
            list(warnings.filters),
            torch.get_rng_state().tolist(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            np.random.get_state()[1].tolist(),
            dict(os.environ),
        )

    before = state()
    load_language_model(NAME)
    load_language_model(NAME, masked=True)
    token_embeddings(NAME)
    assert state() == before
    assert capfd.readouterr() == ("", "")
    hf_logging.set_verbosity_info()
    hf_logging.disable_progress_bar()
    try:
        different = state()
        load_language_model(NAME)
        assert state() == different
    finally:
        hf_logging.set_verbosity(before[0])
        hf_logging.enable_progress_bar()


def test_settings_come_back_after_an_error_too(own_copy):
    (own_copy / "model.safetensors").write_bytes(b"not one")
    level = hf_logging.get_verbosity()
    with pytest.raises(ValueError):
        load_language_model(NAME)
    assert hf_logging.get_verbosity() == level
    assert hf_logging.is_progress_bar_enabled()


def test_a_fresh_process_says_nothing_either(use_tiny_checkpoints):
    code = f"from dlfb.proteins.language_model import *; load_language_model({NAME!r})"
    environment = {k: v for k, v in os.environ.items() if k != "DLFB_PROGRESS"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_token_embeddings_are_the_models_own(use_tiny_checkpoints):
    tokens, table = token_embeddings(NAME)
    _, model = load_language_model(NAME)
    assert tokens[:7] == ["<cls>", "<pad>", "<eos>", "<unk>", "L", "A", "G"]
    assert tokens[-1] == "<mask>"
    assert (len(tokens), table.shape, table.dtype) == (33, (33, 32), np.float32)
    np.testing.assert_array_equal(table, model.get_input_embeddings().weight.detach().numpy())


def test_token_embeddings_read_only_their_table(own_copy):
    # The other tensors are gone from the file, and it does not matter.
    file = own_copy / "model.safetensors"
    key = "esm.embeddings.word_embeddings.weight"
    save_file({key: load_file(file)[key]}, file)
    assert token_embeddings(NAME)[1].shape == (33, 32)
    with pytest.raises(ValueError, match=r"lacks \d+ of the weights"):
        load_language_model(NAME)


def test_token_embeddings_of_a_large_model_take_little_memory(own_copy):
    # A hole of 3 GB, which takes no disk, between the table and what comes before it.
    file, hole = own_copy / "model.safetensors", 3 << 30
    key = "esm.embeddings.word_embeddings.weight"
    table = load_file(file)[key].numpy().copy()
    header = {
        "esm.layers": {"dtype": "U8", "shape": [hole], "data_offsets": [0, hole]},
        key: {"dtype": "F32", "shape": table.shape, "data_offsets": [hole, hole + table.nbytes]},
    }
    told = json.dumps(header).encode()
    with file.open("wb") as large:
        large.write(len(told).to_bytes(8, "little") + told)
        large.seek(hole, os.SEEK_CUR)
        large.write(table.tobytes())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    np.testing.assert_array_equal(token_embeddings(NAME)[1], table)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000  # kilobytes on Linux, bytes on a Mac


def test_a_tokenizer_needs_no_weights(own_copy):
    (own_copy / "model.safetensors").unlink()
    tokenizer = load_tokenizer(NAME)
    assert tokenizer("MALWM")["input_ids"] == [0, 20, 5, 4, 22, 20, 2]
    assert tokenizer.dlfb_checkpoint == NAME


def test_a_model_cut_into_several_files_is_read(own_copy):
    weights = load_file(own_copy / "model.safetensors")
    (own_copy / "model.safetensors").unlink()
    parts = {"a.safetensors": {}, "b.safetensors": {}}
    for i, (key, value) in enumerate(sorted(weights.items())):
        parts["ab"[i % 2] + ".safetensors"][key] = value
    for name, part in parts.items():
        save_file(part, own_copy / name, metadata={"format": "pt"})
    index = {"weight_map": {key: name for name, part in parts.items() for key in part}}
    (own_copy / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, **index}))
    _, model = load_language_model(NAME)
    expected = weights["esm.embeddings.word_embeddings.weight"]
    assert torch.equal(model.get_input_embeddings().weight, expected)
    np.testing.assert_array_equal(token_embeddings(NAME)[1], expected.numpy())


def test_a_checkpoint_without_a_head_is_no_masked_model(own_copy):
    file = own_copy / "model.safetensors"
    body = {k: v for k, v in load_file(file).items() if not k.startswith("lm_head")}
    save_file(body, file, metadata={"format": "pt"})
    load_language_model(NAME)
    with pytest.raises(ValueError, match="lm_head.*It has no head for masked prediction"):
        load_language_model(NAME, masked=True)


def test_weights_of_another_size_are_refused(own_copy):
    config = json.loads((own_copy / "config.json").read_text())
    (own_copy / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
    with pytest.raises(ValueError, match=r"lacks \d+ of the weights that its config.json asks for"):
        load_language_model(NAME)


def test_pickled_weights_are_never_read(own_copy):
    (own_copy / "model.safetensors").unlink()
    (own_copy / "pytorch_model.bin").write_bytes(b"cposix\nsystem\n(S'false'\ntR.")
    with pytest.raises(ValueError, match="safetensors"):
        load_language_model(NAME)


@pytest.mark.parametrize("function", [load_language_model, token_embeddings])
@pytest.mark.parametrize(
    ("file", "content", "kind", "message"),
    [
        ("model.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}", ValueError, "can't be read"),
        ("model.safetensors", None, ValueError, "can't be read"),
        ("config.json", b"{", ValueError, "can't be read"),
        ("config.json", b"[]", ValueError, "can't be read"),
        ("config.json", b'{"model_type": "bert"}', ValueError, "'bert', and only 'esm'"),
        ("vocab.txt", None, FileNotFoundError, "holds no vocab.txt"),
    ],
)
def test_a_damaged_checkpoint_is_a_sentence(own_copy, function, file, content, kind, message):
    if content is None:
        (own_copy / file).unlink()
    else:
        (own_copy / file).write_bytes(content)
    with pytest.raises(kind, match=message) as caught:
        function(NAME)
    assert NAME in str(caught.value)


@pytest.mark.parametrize("function", [load_language_model, token_embeddings])
def test_without_network_the_ways_out_are_named(tmp_path, monkeypatch, function):
    import huggingface_hub.constants

    monkeypatch.setenv("DLFB_CHECKPOINTS", "hub")
    monkeypatch.setenv("DLFB_EDITION", "full")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError) as caught:
        function("facebook/esm2_never_was")
    for part in ("'facebook/esm2_never_was'", "full edition", "DLFB_CHECKPOINTS", "'pocket'"):
        assert part in str(caught.value)


def test_a_copy_in_the_hubs_cache_needs_no_network(tiny_checkpoints, monkeypatch):
    calls = []

    def snapshot(name, allow_patterns, local_files_only=False):
        calls.append((name, local_files_only))
        return str(tiny_checkpoints / NAME)

    monkeypatch.setenv("DLFB_CHECKPOINTS", "hub")
    monkeypatch.setattr(language_model, "snapshot_download", snapshot)
    _, model = load_language_model("facebook/esm2_t36_3B_UR50D")
    assert calls == [("facebook/esm2_t36_3B_UR50D", True)]
    assert model.dlfb_checkpoint == "facebook/esm2_t36_3B_UR50D"


def test_the_chapters_checkpoints_come_from_their_pinned_revision(tiny_checkpoints, monkeypatch):
    calls = []
    monkeypatch.setenv("DLFB_CHECKPOINTS", "hub")
    monkeypatch.setattr(
        language_model,
        "checkpoint_folder",
        lambda n, weights: calls.append(n) or tiny_checkpoints / n,
    )
    load_language_model(NAME)
    assert calls == [NAME]
