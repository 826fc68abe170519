"""Editions: where files and checkpoints come from."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from dlfb.utils import context, store

NAME = "facebook/esm2_t6_8M_UR50D"
CAFA = ("train_sequences.fasta", "train_terms.tsv.zip", "train_taxonomy.tsv.zip")


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    monkeypatch.setenv("DLFB_EDITION", "pocket")
    monkeypatch.setenv("DLFB_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("module", ["dlfb", "dlfb.utils.restore", "dlfb.utils.display"])
def test_importing_takes_under_a_tenth_of_a_second_and_no_heavy_library(module):
    code = (
        f"import time, sys; t = time.process_time(); import {module}; s = time.process_time() - t; "
        "print(s, {'torch', 'jax', 'numpy', 'pandas', 'matplotlib', 'IPython'} & set(sys.modules))"
    )
    runs = [subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(3)]
    assert all(run.split()[1:] == ["set()"] for run in runs)
    assert min(float(run.split()[0]) for run in runs) < 0.1


def test_the_edition_is_checked_and_use_edition_comes_first(monkeypatch):
    assert context.edition() == "pocket"
    with pytest.raises(ValueError, match="no edition 'fool'; DLFB_EDITION is 'pocket' or 'full'"):
        context.use_edition("fool")
    monkeypatch.setenv("DLFB_EDITION", "fool")
    with pytest.raises(ValueError, match="DLFB_EDITION"):
        context.edition()
    context.use_edition("full")
    assert context.edition() == "full"


@pytest.mark.parametrize("subpath", ["/etc/passwd", "../secret", "proteins/../../secret", "."])
def test_assets_stay_in_their_folder(subpath):
    with pytest.raises(ValueError, match="must be relative and stay inside the folder"):
        context.assets(subpath)


def test_a_shipped_file_is_answered_where_it_lies_and_a_result_in_the_cache(tmp_path):
    shipped = Path(context.__file__).parents[1] / "pocket/proteins"
    for name in ("datasets/go-basic.obo", "datasets/clusters.tsv.zip", "structures/3I40.pdb"):
        assert Path(context.assets(f"proteins/{name}")).samefile(shipped / name)
    assert not (tmp_path / "cache").exists()
    for own in ("proteins/models/mlp", "proteins/datasets", "proteins/datasets/vectors"):
        assert context.assets(own) == str(tmp_path / "cache/results/pocket" / own)
        assert Path(context.assets(own)).parent.is_dir()


def test_data_sets_come_whole_from_one_place(tmp_path):
    context.use_edition("full")
    # Models of structures are not taken for the archive's entries.
    assert not Path(context.assets("proteins/structures/3I40.pdb")).exists()
    there = tmp_path / "cache/full/proteins/datasets"
    there.mkdir(parents=True)
    (there / "train_terms.tsv.zip").write_text("alone")
    for name in (*CAFA, "clusters.tsv.zip"):
        assert "pocket" in context.assets(f"proteins/datasets/{name}")
    assert "results/full/" in context.assets("proteins/models/mlp")
    for name in CAFA:
        (there / name).write_text("fetched")
    assert context.assets(f"proteins/datasets/{CAFA[0]}") == str(there / CAFA[0])
    assert "results/provisioned/" in context.assets("proteins/models/mlp")


def test_assets_are_read_from_the_given_folder_and_written_to_the_cache(monkeypatch, tmp_path):
    places = set()
    for name in ("one", "two"):
        root = tmp_path / name / "data"
        for file in ("models/kept.dlfb", "table.tsv", "datasets/clusters.tsv.zip"):
            (root / "proteins" / file).parent.mkdir(parents=True, exist_ok=True)
            (root / "proteins" / file).write_text("x")
        monkeypatch.setenv("DLFB_ASSETS", str(root))
        for there in ("table.tsv", "models/kept", "datasets/clusters.tsv.zip"):
            assert context.assets(f"proteins/{there}") == str(root / "proteins" / there)
        assert not Path(context.assets("proteins/datasets/go-basic.obo")).exists()
        # What only the package has is there too.
        for only in ("electronic_terms.tsv.zip", "train_terms_direct.tsv.zip"):
            shipped = context.assets(f"proteins/datasets/{only}")
            assert "pocket" in shipped and os.path.isfile(shipped)
        places.add(context.assets("proteins/models/mlp"))
    assert len(places) == 2 and all(place.startswith(str(tmp_path / "cache")) for place in places)
    monkeypatch.setenv("DLFB_ASSETS", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        context.assets("proteins/table.tsv")


def test_the_small_model_says_that_it_answers(capsys):
    small = context.checkpoint(context.POCKET_MODEL)
    assert Path(small, "config.json").is_file() and capsys.readouterr().out == ""
    for name in (NAME, "facebook/esm2_t36_3B_UR50D"):
        assert context.checkpoint(name) == small
        told = capsys.readouterr().out
        assert name in told and context.POCKET_MODEL in told and told.count("\n") == 1
        assert context.checkpoint_name(name) == context.checkpoint_name(small)
    assert context.checkpoint_name(NAME) == context.POCKET_MODEL == "dlfb/pocket_t6_3M"


@pytest.mark.parametrize("name", ["Rostlab/prot_bert", "facebook/esm2_t6_8M", ""])
def test_no_other_name_is_answered_by_the_small_model(name):
    with pytest.raises(ValueError, match="not an ESM2 model.*dlfb/pocket_t6_3M"):
        context.checkpoint(name)
    assert context.checkpoint_name(name) == name


def test_checkpoints_come_from_where_they_are_said_to(monkeypatch, tmp_path):
    folder = tmp_path / "esm2_t6_8M_UR50D"
    monkeypatch.setenv("DLFB_CHECKPOINTS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="DLFB_CHECKPOINTS"):
        context.checkpoint(NAME)
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert context.checkpoint(NAME) == str(folder) and context.checkpoint_name(NAME) == NAME
    monkeypatch.delenv("DLFB_CHECKPOINTS")
    assert context.checkpoint(str(folder)) == str(folder)  # a folder of the reader's own
    context.use_edition("full")
    assert context.checkpoint(NAME) == context.checkpoint_name(NAME) == NAME
    assert context.checkpoint(context.POCKET_MODEL).endswith("model")
    monkeypatch.setenv("DLFB_CHECKPOINTS", "pocket")
    assert context.checkpoint(NAME).endswith("model")


def test_a_user_without_a_home_is_told_what_to_do(monkeypatch):
    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME", "DLFB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    assert Path(context.assets("proteins/datasets/go-basic.obo")).is_file()
    with pytest.raises(FileNotFoundError, match="no home folder.*Set DLFB_CACHE"):
        context.assets("proteins/models/mlp")
    with pytest.raises(FileNotFoundError, match="no home folder for '~/mlp'"):
        store.store_file("~/mlp")
    monkeypatch.setenv("DLFB_ASSETS", "~/mine")
    with pytest.raises(FileNotFoundError, match="no home folder for '~/mine'"):
        context.assets("proteins/models/mlp")


def test_a_cache_that_can_not_be_written_to_is_a_warning(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.warns(UserWarning, match="No space left.*Set DLFB_CACHE"):
        path = context.assets("proteins/models/mlp")
    assert path == str(tmp_path / "cache/results/pocket/proteins/models/mlp")
    assert Path(context.assets("proteins/datasets/go-basic.obo")).is_file()
    assert list(tmp_path.iterdir()) == []
