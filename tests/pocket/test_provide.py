import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from dlfb import pocket
from dlfb.utils.context import assets

ROOT = Path(__file__).parents[2]
ASK = (
    "import hashlib, sys; from dlfb import pocket;"
    "path = pocket.provide('proteins/datasets/train_sequences.fasta');"
    "print(path, hashlib.sha256(path.read_bytes()).hexdigest())"
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DLFB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_model_is_in_the_package():
    assert pocket.model_dir() == ROOT / "dlfb" / "pocket" / "model"


@pytest.mark.parametrize(
    "subpath",
    ["proteins/models/mlp", "proteins/datasets", "go-basic.obo", "proteins/structures/1ABC.pdb"],
)
def test_what_the_edition_does_not_have_is_the_readers_own(cache, subpath):
    assert pocket.provide(subpath) is None
    assert not cache.exists()


def test_files_are_grown_once_and_again_if_lost(cache):
    path = pocket.provide("proteins/truth/proteins.tsv")
    content = path.read_bytes()
    assert path.is_relative_to(cache) and pocket.version() in str(path)
    assert Path(assets("proteins/truth/proteins.tsv")) == path
    names = sorted(p.name for p in cache.rglob("*") if p.is_file())
    assert names == sorted(pocket.FILES["proteins/datasets"] + pocket.FILES["proteins/truth"])
    stamp = path.stat().st_mtime_ns
    assert pocket.provide("proteins/truth/proteins.tsv").stat().st_mtime_ns == stamp
    path.unlink()
    assert pocket.provide("proteins/truth/proteins.tsv").read_bytes() == content


def test_two_processes_at_once_do_no_harm(cache):
    started = [
        subprocess.Popen([sys.executable, "-c", ASK], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = {process.communicate(timeout=300)[0] for process in started}
    assert len(answers) == 1 and all(process.returncode == 0 for process in started)
    assert not [p for p in cache.rglob(".*")]


def test_a_cache_that_can_not_be_written_to_is_said_and_got_round(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file, where a folder is needed")
    monkeypatch.setenv("DLFB_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.warns(UserWarning, match="DLFB_CACHE"):
        path = pocket.provide("proteins/datasets/go-basic.obo")
    assert path.read_text().startswith("format-version: 1.2")


@pytest.mark.skipif(
    importlib.util.find_spec("dlfb.pocket.structures") is None, reason="no structures yet"
)
def test_structures_are_written_when_asked_for(cache):
    path = pocket.provide("proteins/structures/3I40.pdb")
    assert "ATOM" in path.read_text()
    assert [p.name for p in cache.rglob("*") if p.is_file()] == ["3I40.pdb"]
