"""What becomes of a stored viewer when the site is built."""

import json
import sys

import pytest
from bs4 import BeautifulSoup

from dlfb.proteins.structures import view_structure
from tests.proteins.test_structures import EVIL, PDB
from tests.site.conftest import ROOT

sys.path.insert(0, str(ROOT / "_ext"))
import viewers  # noqa: E402

HEADER = "HEADER    HORMONE                                 24-JUL-09   3I40              \n"


def test_a_stored_viewer_is_taken_apart():
    stored, text = set(), view_structure(HEADER + PDB, color="chain")._repr_html_()
    page = BeautifulSoup(viewers.viewer(text, "", False, stored)[0].astext(), "html.parser")
    data = json.loads(page.script.string)
    assert json.loads(page.div["data-settings"])["color"] == "chain"
    assert data["name"] == "insulin" and "HELIX" in data["text"] and [-60.0, "vx"] in data["turns"]
    scheme, meaning = data["colors"]["secondary structure"]
    assert scheme["map"]["h"] == meaning["helix"]
    # The structure is there once, whoever shows it.
    assert "HELIX" not in viewers.viewer(text, "", True, stored)[0].astext()


@pytest.mark.parametrize("style", ["cartoon", "stick"])
def test_nothing_in_a_structure_is_html(style):
    text = HEADER.replace("HORMONE", EVIL)[:62] + f"{EVIL}\n" + PDB + f"TER {EVIL}\n"
    text += "TER setStyle({}); rotate(90, 'vx')\n"
    stored = view_structure(text, style=style)._repr_html_()
    opening = viewers.viewer(stored, "the picture", False, set())[0].astext()
    page = BeautifulSoup(opening, "html.parser")
    assert [tag.name for tag in page.find_all(True)] == ["div", "script"]
    assert "<script>" in json.loads(page.script.string)["text"]
