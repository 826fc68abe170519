"""What becomes of a stored viewer when the site is built."""

from types import SimpleNamespace

import npm
import pytest
import viewers

from dlfb.proteins.structure_views import view_structure
from tests.proteins.test_structure_views import TINY_CIF, TINY_PDB

HEADER = "HEADER    HORMONE                                 24-JUL-09   3I40              \n"


def test_a_structure_is_called_by_its_name_or_its_entry():
    assert viewers.name_of(HEADER + TINY_PDB) == "insulin"
    assert viewers.name_of(HEADER.replace("3I40", "4hhb") + TINY_PDB) == "4HHB"
    assert viewers.name_of(TINY_CIF) == "9XYZ"
    assert viewers.name_of(TINY_PDB) == "structure"


def test_a_stored_viewer_is_taken_apart():
    show, stored = viewers.ShowStructures.viewer, set()
    text = view_structure(HEADER + TINY_PDB, color="chain")._repr_html_()
    opening, still, closing = show(None, text, "the picture", False, stored)
    box = opening.astext()
    assert still == "the picture" and closing.astext() == "</div>"
    assert "&quot;chain&quot;" in box and "choose" not in box
    assert '"name": "insulin"' in box and "HELIX" in box and '[-60.0, "vx"]' in box
    # The structure is there once, whoever shows it.
    again = show(None, text, "the picture", True, stored)[0].astext()
    assert "HELIX" not in again and "residue class" in again


@pytest.fixture
def config():
    return SimpleNamespace(html_js_files=["other.js", "viewers.js"], html_static_path=["_static"])


def test_the_site_serves_3dmol(config, monkeypatch):
    monkeypatch.setattr(npm, "fetch", lambda name: f"the folder of {name}")
    viewers.take_3dmol(None, config)
    assert config.html_static_path == ["_static", "the folder of 3dmol"]
    assert config.html_js_files == ["other.js"]


def test_a_site_without_3dmol_is_one_unless_it_is_published(config, monkeypatch, capsys):
    def fetch(name):
        raise npm.UnavailableError("No network.")

    monkeypatch.setattr(npm, "fetch", fetch)
    monkeypatch.delenv("DLFB_REQUIRE_BROWSER", raising=False)
    viewers.take_3dmol(None, config)
    assert config.html_static_path == ["_static"]
    assert "the structures are still pictures. No network." in capsys.readouterr().out
    monkeypatch.setenv("DLFB_REQUIRE_BROWSER", "1")
    with pytest.raises(npm.UnavailableError):
        viewers.take_3dmol(None, config)
