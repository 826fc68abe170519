"""Editions: where files and checkpoints come from."""

import subprocess
import sys

import pytest

from dlfb.utils import context


def test_import_is_cheap_and_brings_neither_torch_nor_jax():
    code = (
        "import time, sys; t = time.perf_counter(); import dlfb; s = time.perf_counter() - t; "
        "print(s, 'torch' in sys.modules, 'jax' in sys.modules)"
    )
    runs = [subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(3)]
    assert all(run.split()[1:] == ["False", "False"] for run in runs)


def test_the_edition_is_checked(monkeypatch):
    with pytest.raises(ValueError, match="no edition 'fool'; choose 'pocket' or 'full'"):
        context.use_edition("fool")
    monkeypatch.setenv("DLFB_EDITION", "fool")
    monkeypatch.setattr(context, "_chosen_edition", None)
    with pytest.raises(ValueError, match="DLFB_EDITION"):
        context.edition()


def test_use_edition_takes_precedence_over_the_environment(monkeypatch):
    monkeypatch.setattr(context, "_chosen_edition", None)
    monkeypatch.setenv("DLFB_EDITION", "full")
    assert context.edition() == "full"
    context.use_edition("pocket")
    assert context.edition() == "pocket"


@pytest.mark.parametrize("subpath", ["/etc/passwd", "../secret", "proteins/../../secret", "."])
def test_assets_stay_in_their_folder(subpath):
    with pytest.raises(ValueError, match="must be relative and stay inside"):
        context.assets(subpath)


def test_assets_are_read_from_the_given_folder_and_written_to_the_cache(monkeypatch, tmp_path):
    root, cache = tmp_path / "assets", tmp_path / "cache"
    (root / "proteins/models").mkdir(parents=True)
    (root / "proteins/table.tsv").write_text("x")
    (root / "proteins/models/kept.dlfb").write_text("x")
    monkeypatch.setenv("DLFB_ASSETS", str(root))
    monkeypatch.setenv("DLFB_CACHE", str(cache))
    assert context.assets("proteins/table.tsv") == str(root / "proteins/table.tsv")
    assert context.assets("proteins/models/kept") == str(root / "proteins/models/kept")
    own = context.assets("proteins/models/mlp")
    assert own.startswith(str(cache)) and not own.startswith(str(root))
    assert (cache / "results").is_dir()


def test_results_from_different_sources_never_mix(monkeypatch, tmp_path):
    paths = set()
    for name in ("one", "two"):
        (tmp_path / name / "data").mkdir(parents=True)
        monkeypatch.setenv("DLFB_ASSETS", str(tmp_path / name / "data"))
        paths.add(context.assets("proteins/models/mlp"))
    monkeypatch.delenv("DLFB_ASSETS")
    paths.add(context.assets("proteins/models/mlp"))
    assert len(paths) == 3


def test_a_missing_assets_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DLFB_ASSETS", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        context.assets("proteins/table.tsv")


def test_checkpoints_come_from_where_they_are_said_to(monkeypatch, tmp_path):
    name = "facebook/esm2_t6_8M_UR50D"
    monkeypatch.setenv("DLFB_CHECKPOINTS", "hub")
    assert context.checkpoint(name) == name
    monkeypatch.setenv("DLFB_CHECKPOINTS", "pocket")
    assert context.checkpoint(name).endswith("model")
    monkeypatch.setenv("DLFB_CHECKPOINTS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="DLFB_CHECKPOINTS"):
        context.checkpoint(name)
    (tmp_path / "esm2_t6_8M_UR50D").mkdir()
    (tmp_path / "esm2_t6_8M_UR50D" / "config.json").write_text("{}")
    assert context.checkpoint(name) == str(tmp_path / "esm2_t6_8M_UR50D")
