"""A language model that is made in a moment: right in form, random in content."""

import shutil

import pytest

from tests.tiny_esm import CHECKPOINTS, save_tiny_esm


@pytest.fixture(scope="session")
def tiny_checkpoints(tmp_path_factory):
    """Return a folder for DLFB_CHECKPOINTS with three names of the book, all one tiny model."""
    root = tmp_path_factory.mktemp("checkpoints")
    save_tiny_esm(root / CHECKPOINTS[0])
    for name in CHECKPOINTS[1:]:
        shutil.copytree(root / CHECKPOINTS[0], root / name)
    return root


@pytest.fixture
def use_tiny_checkpoints(tiny_checkpoints, monkeypatch):
    """Make every load in this test take the tiny model."""
    monkeypatch.setenv("DLFB_CHECKPOINTS", str(tiny_checkpoints))
    return tiny_checkpoints
