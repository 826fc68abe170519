"""Loading ESM2: what comes out, what damaged or foreign checkpoints give, and a hub on loopback."""

import json
import logging
import shutil
import warnings

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import are_progress_bars_disabled
from safetensors.torch import load_file, save_file
from transformers import EsmForMaskedLM, EsmModel
from transformers.utils import logging as hf_logging

from dlfb.proteins.language_model import (
    REVISIONS,
    load_language_model,
    load_tokenizer,
    token_embeddings,
)
from tests.loopback import Loopback, serve_hub
from tests.tiny_models import save_tiny

NAME = "facebook/esm2_t6_8M_UR50D"
TABLE = "esm.embeddings.word_embeddings.weight"


@pytest.fixture
def own_copy(tiny_checkpoints, tmp_path, monkeypatch):
    """Return the folder of a checkpoint that a test may damage."""
    shutil.copytree(tiny_checkpoints, tmp_path / "c")
    monkeypatch.setenv("DLFB_CHECKPOINTS", str(tmp_path / "c"))
    return tmp_path / "c" / NAME


def test_the_chapters_vocabulary_and_token_ids(own_copy):
    (own_copy / "model.safetensors").unlink()  # a tokenizer needs no weights
    tokenizer = load_tokenizer(NAME)
    assert len(tokenizer) == 33 and tokenizer.dlfb_checkpoint == NAME
    ids = tokenizer(["MALWM", "MA<mask>WX", "M"], padding=True)["input_ids"]
    last = [0, 20, 2, 1, 1, 1, 1]
    assert ids == [[0, 20, 5, 4, 22, 20, 2], [0, 20, 5, 32, 22, 24, 2], last]


@pytest.mark.parametrize(("masked", "kind"), [(False, EsmModel), (True, EsmForMaskedLM)])
def test_the_model_is_ready_to_be_asked(use_tiny_checkpoints, masked, kind):
    tokenizer, model = load_language_model(NAME, masked=masked)
    assert type(model) is kind and not model.training
    assert not any("pooler" in name for name, _ in model.named_modules())
    assert model.dlfb_checkpoint == tokenizer.dlfb_checkpoint == NAME


def test_half_precision_files_give_single_precision_models(own_copy):
    file = own_copy / "model.safetensors"
    halved = {k: v.half() if v.is_floating_point() else v for k, v in load_file(file).items()}
    save_file(halved, file, metadata={"format": "pt"})
    _, model = load_language_model(NAME)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    tokens, table = token_embeddings(NAME)
    assert [*tokens[:5], tokens[-1]] == ["<cls>", "<pad>", "<eos>", "<unk>", "L", "<mask>"]
    assert (len(tokens), table.shape, table.dtype) == (33, (33, 32), np.float32)
    np.testing.assert_array_equal(table, model.get_input_embeddings().weight.detach())


def test_loading_is_silent_and_leaves_no_trace(own_copy, capfd):
    def state():
        bars = hf_logging.is_progress_bar_enabled(), are_progress_bars_disabled()
        logs = logging.root.manager.disable, logging.getLogger("transformers").level
        return logs, bars, list(warnings.filters), torch.get_rng_state().tolist()

    before = state()
    load_language_model(NAME)
    assert state() == before
    (own_copy / "model.safetensors").write_bytes(b"not one")
    with pytest.raises(ValueError):
        load_language_model(NAME)
    assert state() == before and capfd.readouterr() == ("", "")


def test_weights_that_are_missing_or_of_another_size_are_refused(own_copy):
    file, config = own_copy / "model.safetensors", own_copy / "config.json"
    body = {k: v for k, v in load_file(file).items() if not k.startswith("lm_head")}
    save_file(body, file, metadata={"format": "pt"})
    load_language_model(NAME)
    with pytest.raises(ValueError, match="such as 'lm_head"):
        load_language_model(NAME, masked=True)
    config.write_text(json.dumps({**json.loads(config.read_text()), "hidden_size": 64}))
    with pytest.raises(ValueError, match=r"lacks \d+ weights of the model"):
        load_language_model(NAME)
    file.rename(own_copy / "pytorch_model.bin")  # which is never read, as it may carry code
    with pytest.raises(ValueError, match="safetensors"):
        load_language_model(NAME)


TERABYTES = {TABLE: {"dtype": "F32", "shape": [33, 10**11], "data_offsets": [0, 132 * 10**11]}}
CLAIMS = json.dumps(TERABYTES).encode()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}", "can't be read"),
        ("model.safetensors", len(CLAIMS).to_bytes(8, "little") + CLAIMS, "can't be read"),
        ("model.safetensors", (10**13).to_bytes(8, "little") + b"{}", "can't be read"),
        ("model.safetensors", None, "can't be read"),
        ("config.json", b"[]", "can't be read"),
        ("vocab.txt", None, "has no vocab.txt"),
    ],
)
def test_a_damaged_checkpoint_is_a_sentence(own_copy, file, content, message):
    if content is None:
        (own_copy / file).unlink()
    else:
        (own_copy / file).write_bytes(content)
    with pytest.raises(ValueError, match=f"{NAME}.*{message}"):
        load_language_model(NAME)


# The hub


@pytest.fixture
def hub(tiny_checkpoints, tmp_path, monkeypatch):
    """Serve the tiny model under the pinned name and revision; nothing is in the cache yet."""
    shutil.copytree(tiny_checkpoints / NAME, tmp_path / "repository")
    (tmp_path / "repository/pytorch_model.bin").write_bytes(b"a pickle, which nobody asked for")
    monkeypatch.setenv("DLFB_CHECKPOINTS", "hub")
    monkeypatch.setenv("DLFB_CACHE", str(tmp_path / "cache"))
    with Loopback() as server:
        serve_hub(server, NAME, REVISIONS[NAME], tmp_path / "repository")
        settings = {
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "hub"),
            "HF_HUB_OFFLINE": False,
        }
        for name, value in settings.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr("time.sleep", lambda _: None)  # the hub's client is patient
        yield server


WEIGHTS = f"/{NAME}/resolve/{REVISIONS[NAME]}/model.safetensors"


def test_a_checkpoint_comes_once_at_its_pinned_revision(hub, monkeypatch):
    tokenizer, model = load_language_model(NAME)
    assert tokenizer.dlfb_checkpoint == model.dlfb_checkpoint == NAME
    asked = {path for method, path, _ in hub.requests if "/resolve/" in path and method == "GET"}
    assert WEIGHTS in asked and all(REVISIONS[NAME] in path for path in asked)
    assert not any(path.endswith(".bin") for path in asked)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    load_language_model(NAME, masked=True)
    assert hub.requests == []


def test_what_is_not_what_was_announced_is_refused_deleted_and_fetched_anew(hub):
    good = hub.files[WEIGHTS]
    hub.files[WEIGHTS] = good[:-1] + bytes([good[-1] ^ 1])  # one bit of the last weight
    with pytest.raises(ValueError, match="not what was published"):
        load_language_model(NAME)
    hub.files[WEIGHTS] = good
    load_language_model(NAME)


@pytest.mark.parametrize("why", ["HF_HUB_OFFLINE is set", "gone", "404"])
def test_what_can_t_be_had_is_a_sentence_with_the_ways_out(hub, monkeypatch, why):
    if why == "gone":
        hub.server.shutdown()
        hub.server.server_close()
    elif why == "404":
        hub.files.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", "OFFLINE" in why)
    with pytest.raises(FileNotFoundError) as caught:
        load_language_model(NAME)
    for part in (NAME, hub.url, "DLFB_CHECKPOINTS", "'pocket'", *[why] * ("OFFLINE" in why)):
        assert part in str(caught.value)


def test_a_model_of_another_kind_is_refused_before_its_weights_come(hub):
    config = f"/{NAME}/resolve/{REVISIONS[NAME]}/config.json"
    hub.files[config] = b'{"model_type": "gpt2"}'
    with pytest.raises(ValueError, match="'gpt2', and ESM2, ESM C, ProtBERT, ProtT5"):
        load_language_model(NAME)
    assert hub.asked(WEIGHTS) == []


def test_another_family_comes_from_the_hub_if_its_weights_can_carry_no_code(hub, tmp_path):
    name, folder = "Rostlab/prot_t5_tiny", tmp_path / "other"
    save_tiny("prot_t5", folder)
    weights = (folder / "model.safetensors").rename(tmp_path / "model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle, which nobody asked for")
    serve_hub(hub, name, "a" * 40, folder)
    with pytest.raises(ValueError, match="no weights as safetensors.*save_pretrained"):
        load_language_model(name)
    assert not any(path.endswith(".bin") for _, path, _ in hub.requests)
    shutil.copy(weights, folder)
    serve_hub(hub, name, "b" * 40, folder)
    tokenizer, model = load_language_model(name)
    assert tokenizer.dlfb_checkpoint == model.dlfb_checkpoint == name
    assert type(model).__name__ == "T5EncoderModel"
