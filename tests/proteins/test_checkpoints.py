"""ESM2's checkpoints: pinned, fetched from a hub on loopback, checked, and used offline."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from dlfb.proteins import checkpoints
from dlfb.proteins.checkpoints import FILES, PINNED_CHECKPOINTS, Checkpoint, checkpoint_folder
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


def test_a_checkpoint_comes_once_with_its_size_told_first(hub, capsys):
    folder = checkpoint_folder(NAME)
    assert "0 MB to download from http://127.0.0.1" in capsys.readouterr().out
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
