"""ESM2's checkpoints: pinned, fetched from a hub on loopback, checked, and used offline."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from huggingface_hub import constants

from dlfb.proteins import checkpoints
from dlfb.proteins.checkpoints import (
    FILES,
    PINNED_CHECKPOINTS,
    Checkpoint,
    checkpoint_folder,
    fetch_tensor,
)
from dlfb.proteins.language_model import token_embeddings
from dlfb.utils import download
from tests.loopback import Loopback, serve_hub

NAME, REVISION = "facebook/esm2_t6_8M_UR50D", "a" * 40
WEIGHTS = b"weights" * 1000
GOLDEN = Path(__file__).parents[2] / "../shared/data/esm2_reference"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Serve a repository of the pinned name; its weights are not ESM2's but pinned here."""
    repository = tmp_path / "repository"
    repository.mkdir()
    for name in FILES:
        (repository / name).write_bytes(WEIGHTS if name.endswith("safetensors") else b"{}")
    (repository / "pytorch_model.bin").write_bytes(b"a pickle, which nobody asked for")
    pinned = Checkpoint(REVISION, hashlib.sha256(WEIGHTS).hexdigest(), len(WEIGHTS))
    monkeypatch.setitem(PINNED_CHECKPOINTS, NAME, pinned)
    monkeypatch.setenv("DLFB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "BACKOFF", 0.0)
    with Loopback() as server:
        serve_hub(server, NAME, REVISION, repository)
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


def path_of(file):
    return f"/{NAME}/resolve/{REVISION}/{file}"


def test_a_checkpoint_comes_once_with_its_size_told_first(hub, capsys, tmp_path):
    folder = checkpoint_folder(NAME)
    told = f"{NAME}: 7 kB to download from {hub.url}, once; kept in {tmp_path / 'hub'}.\n"
    assert capsys.readouterr().out == told
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    hub.requests.clear()
    assert checkpoint_folder(NAME) == folder
    assert hub.requests == [] and capsys.readouterr().out == ""


def test_offline_with_a_filled_cache_works(hub, monkeypatch):
    folder = checkpoint_folder(NAME)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert checkpoint_folder(NAME) == folder and hub.requests == []


def test_offline_without_it_is_a_sentence(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE is set.*DLFB_CHECKPOINTS"):
        checkpoint_folder(NAME)


def test_other_weights_are_refused_deleted_and_fetched_anew(hub):
    good = hub.files[path_of("model.safetensors")]
    hub.files[path_of("model.safetensors")] = b"W" + good[1:]
    with pytest.raises(ValueError, match="not the published ones"):
        checkpoint_folder(NAME)
    hub.files[path_of("model.safetensors")] = good
    assert (checkpoint_folder(NAME) / "model.safetensors").read_bytes() == good


def test_weights_that_change_on_the_disk_are_noticed(hub):
    weights = (checkpoint_folder(NAME) / "model.safetensors").resolve()
    weights.write_bytes(b"W" + WEIGHTS[1:])
    with pytest.raises(ValueError, match="not the published ones"):
        checkpoint_folder(NAME)
    assert checkpoint_folder(NAME).is_dir()


def test_a_folder_of_the_reader_s_is_only_told(hub, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/model.safetensors").write_bytes(b"other")
    with pytest.raises(ValueError, match="Replace them"):
        checkpoints.verify_checkpoint(NAME, tmp_path / "mine")
    assert (tmp_path / "mine/model.safetensors").exists()


@pytest.mark.parametrize("fault", [
    {"status": 503}, {"status": 429}, {"cut": 100}, {"redirect": "/elsewhere"},
])  # fmt: skip
def test_passing_failures_of_the_hub_are_passed_over(hub, fault):
    hub.files["/elsewhere"] = WEIGHTS
    # Its client asks for the head first, so the second request is for the bytes.
    hub.faults[path_of("model.safetensors")] = [fault] if "status" in fault else [{}, fault]
    assert (checkpoint_folder(NAME) / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("fault", [
    {"status": 404}, {"status": 403}, {"status": 503}, {"html": "text/html"},
])  # fmt: skip
def test_lasting_failures_are_told(hub, fault):
    hub.faults[path_of("model.safetensors")] = [{**fault, "forever": True}]
    with pytest.raises((FileNotFoundError, ValueError), match=r"facebook/esm2|published") as caught:
        checkpoint_folder(NAME)
    assert "pocket" in str(caught.value) or "deleted" in str(caught.value)


def test_a_hub_out_of_reach_is_named(hub):
    hub.server.shutdown()
    hub.server.server_close()
    with pytest.raises(FileNotFoundError, match=f"can't be had from {hub.url}.*HF_ENDPOINT"):
        checkpoint_folder(NAME)


def test_the_disk_is_asked_before_a_download(hub, monkeypatch):
    monkeypatch.setattr(download, "SPARE", 10**18)
    with pytest.raises(download.DownloadError, match="GB free"):
        checkpoint_folder(NAME)
    assert hub.requests == []


def test_the_endpoint_of_the_environment_is_honoured(hub, tmp_path):
    code = (
        "from dlfb.proteins import checkpoints as c; "
        f"c.PINNED_CHECKPOINTS['{NAME}'] = c.Checkpoint('{REVISION}'); "
        f"print(c.checkpoint_folder('{NAME}'))"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    environment |= {"HF_HUB_OFFLINE": "0", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True,
                          text=True, check=True)  # fmt: skip
    assert done.stdout.splitlines()[-1].startswith(str(tmp_path / "home"))


# One tensor, without the rest of the file.


@pytest.fixture
def large(hub, tmp_path, monkeypatch):
    """Serve a weights file of which a tensor is a small part; return the tensor."""
    tensors = {f"esm.layer.{i}.weight": np.full((500, 500), i, np.float32) for i in range(4)}
    tensors["esm.embeddings.word_embeddings.weight"] = np.arange(66, dtype=np.float32).reshape(
        33, 2
    )
    content = safetensors.numpy.save(tensors)
    (tmp_path / "repository/model.safetensors").write_bytes(content)
    pinned = Checkpoint(REVISION, hashlib.sha256(content).hexdigest(), len(content))
    monkeypatch.setitem(PINNED_CHECKPOINTS, NAME, pinned)
    serve_hub(hub, NAME, REVISION, tmp_path / "repository")
    return tensors["esm.embeddings.word_embeddings.weight"]


def one_tensor():
    file = fetch_tensor(NAME, "word_embeddings.weight")
    return None if file is None else safetensors.numpy.load(file)


def bytes_sent(hub):
    spans = [h["Range"].removeprefix("bytes=").split("-") for h in asked_for_weights(hub)]
    return sum(int(end) - int(begin) + 1 for begin, end in spans)


def asked_for_weights(hub):
    path = path_of("model.safetensors")
    return [h for method, asked, h in hub.requests if (method, asked) == ("GET", path)]


def test_a_tensor_comes_alone_and_once(hub, large, capsys, monkeypatch, tmp_path):
    [(name, found)] = one_tensor().items()
    assert name == "esm.embeddings.word_embeddings.weight"
    np.testing.assert_array_equal(found, large)
    assert large.nbytes < bytes_sent(hub) < 2000  # of four million
    told = capsys.readouterr().out
    assert told.startswith(f"{NAME}: word_embeddings.weight alone, 0 kB of 4 MB, to download from")
    assert f"{hub.url}, once; kept in {tmp_path / 'cache'}" in told and told.count("\n") == 1
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    np.testing.assert_array_equal(one_tensor()[name], large)
    assert hub.requests == [] and capsys.readouterr().out == ""


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429}, {"cut": 3}])
def test_a_tensor_comes_in_spite_of_passing_failures(hub, large, fault):
    # The first request is for the head, the second for the length of the list of tensors.
    hub.faults[path_of("model.safetensors")] = [{}, fault]
    np.testing.assert_array_equal([*one_tensor().values()][0], large)


@pytest.mark.parametrize("obstacle", ["no ranges", "refused", "other weights", "here already"])
def test_without_parts_the_whole_is_to_be_asked_for(hub, large, obstacle, tmp_path):
    path = path_of("model.safetensors")
    if obstacle == "no ranges":
        hub.ranges = False
    elif obstacle == "refused":
        hub.faults[path] = [{}, {"status": 403, "forever": True}]
    elif obstacle == "other weights":
        hub.headers[path]["X-Linked-Etag"] = '"' + "0" * 64 + '"'
    else:
        checkpoint_folder(NAME)
    assert one_tensor() is None
    assert not (tmp_path / "cache/tensors").exists()


def test_a_tensor_that_can_t_be_had_is_a_sentence(hub, large, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE is set"):
        one_tensor()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.server.shutdown()
    hub.server.server_close()
    with pytest.raises(FileNotFoundError, match=f"can't be had from {hub.url}"):
        one_tensor()


def test_token_embeddings_come_alone_where_the_weights_are_not_here(
    hub, tiny_checkpoints, monkeypatch
):
    shutil.copytree(tiny_checkpoints / NAME, hub_folder := tiny_checkpoints.parent / "served")
    for file in FILES:
        if not (hub_folder / file).exists():
            (hub_folder / file).write_text("{}")
    content = (hub_folder / "model.safetensors").read_bytes()
    pinned = Checkpoint(REVISION, hashlib.sha256(content).hexdigest(), len(content))
    monkeypatch.setitem(PINNED_CHECKPOINTS, NAME, pinned)
    serve_hub(hub, NAME, REVISION, hub_folder)
    monkeypatch.setenv("DLFB_CHECKPOINTS", "hub")
    alone = token_embeddings(NAME)
    assert len(alone[0]) == 33 and bytes_sent(hub) < len(content) / 2
    hub.ranges = False
    shutil.rmtree(checkpoints.cache_dir() / "tensors")
    whole = token_embeddings(NAME)
    np.testing.assert_array_equal(alone[1], whole[1])
    assert "Range" not in asked_for_weights(hub)[-1]


def test_a_name_that_is_not_pinned_is_refused():
    with pytest.raises(ValueError, match="'esm3' is not among"):
        checkpoint_folder("esm3")


def test_pins_are_whole():
    for name, (revision, sha256, size) in PINNED_CHECKPOINTS.items():
        assert len(revision) == 40 and len(sha256) == 64 and size > 3e7, name


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="needs ../shared/data/esm2_reference")
def test_pins_are_those_of_the_reference_data():
    for file in GOLDEN.glob("fastplms_golden_*.json"):
        told = json.loads(file.read_text())["checkpoint"]
        pinned = PINNED_CHECKPOINTS[told["repo_id"]]
        assert pinned.revision == told["revision"]
        assert f"sha256:{pinned.sha256}" == told["files"]["model.safetensors"]
        assert set(FILES) == set(told["files"])
