from pathlib import Path

import pytest

from dlfb.proteins import structures
from dlfb.proteins.structures import (
    COLORINGS,
    STRUCTURES,
    available_structures,
    fetch_protein_structure,
    plot_structure,
    view_structure,
)
from dlfb.utils import download
from tests.loopback import Loopback

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "cafa6"

TINY_PDB = "ATOM      1  CA  GLY A   1      -9.929  17.026  13.244  1.00 22.85           C  \nEND\n"
TINY_CIF = """data_9XYZ
loop_
_atom_site.group_PDB
_atom_site.id
ATOM 1
"""


@pytest.fixture
def archive(monkeypatch, tmp_path):
    """Serve the answers of a test on the loop-back address, as the full edition's archive."""
    with Loopback() as server:
        monkeypatch.setattr(structures, "RCSB", server.url)
        monkeypatch.setattr(download, "BACKOFF", 0.0)
        monkeypatch.setenv("DLFB_EDITION", "full")
        monkeypatch.setenv("DLFB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("DLFB_ASSETS", raising=False)
        yield server


@pytest.fixture
def pocket(monkeypatch):
    monkeypatch.setenv("DLFB_EDITION", "pocket")
    monkeypatch.delenv("DLFB_ASSETS", raising=False)

    def no_network(*args, **kwargs):
        raise AssertionError("the pocket edition asked the network")

    monkeypatch.setattr(structures, "download", no_network)


@pytest.mark.parametrize("wrong", ["", "3I4", "3I400", "AI40", "../3", "3I4/", "３I40", None, 3140])
def test_what_is_no_id_is_refused_before_anything_is_asked(pocket, wrong):
    with pytest.raises(ValueError, match="is no PDB id"):
        fetch_protein_structure(wrong)


def test_an_entry_is_downloaded_once_and_kept(archive, tmp_path):
    archive.files["/9XYZ.pdb"] = TINY_PDB.encode()
    assert fetch_protein_structure("9xyz") == TINY_PDB
    assert fetch_protein_structure(" 9XYZ ") == TINY_PDB
    assert [path for _, path, _ in archive.requests] == ["/9XYZ.pdb"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["9XYZ.pdb"]


def test_a_provisioned_file_comes_first(archive, tmp_path):
    file = tmp_path / "cache/full/proteins/structures/9XYZ.pdb"
    file.parent.mkdir(parents=True)
    file.write_text(TINY_PDB)
    assert fetch_protein_structure("9XYZ") == TINY_PDB
    assert archive.requests == []


def test_an_entry_without_a_pdb_file_comes_as_mmcif(archive):
    archive.files["/9XYZ.cif"] = TINY_CIF.encode()
    for _ in range(2):
        assert fetch_protein_structure("9XYZ") == TINY_CIF
    assert [path for _, path, _ in archive.requests] == ["/9XYZ.pdb", "/9XYZ.cif"]


def test_an_unknown_entry_is_a_sentence(archive):
    with pytest.raises(FileNotFoundError, match="has no entry 9XYZ"):
        fetch_protein_structure("9XYZ")


@pytest.mark.parametrize("fault", [
    {"status": 503}, {"status": 429, "headers": {"Retry-After": "0"}}, {"cut": 5},
    {"redirect": "/elsewhere"},
])  # fmt: skip
def test_passing_failures_are_passed_over(archive, fault):
    archive.files["/9XYZ.pdb"] = archive.files["/elsewhere"] = TINY_PDB.encode()
    archive.faults["/9XYZ.pdb"] = [fault]
    assert fetch_protein_structure("9XYZ") == TINY_PDB


@pytest.mark.parametrize(("fault", "told"), [
    ({"status": 403}, "refuses"), ({"status": 503}, "503"), ({"cut": 5}, "did not give"),
    ({"html": "text/html"}, "a web page"), ({"html": "text/plain"}, "a web page"),
])  # fmt: skip
def test_a_lasting_failure_is_a_sentence_and_nothing_is_kept(archive, fault, told, tmp_path):
    archive.files["/9XYZ.pdb"], archive.ranges = TINY_PDB.encode(), False
    archive.faults["/9XYZ.pdb"] = [{**fault, "forever": True}]
    with pytest.raises(ConnectionError, match=f"127.0.0.1.*{told}.*DLFB_EDITION=pocket"):
        fetch_protein_structure("9XYZ")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not archive.asked("/9XYZ.cif")  # another kind of file is no way around it


@pytest.mark.parametrize("text", [b"", b"Moved"])
def test_what_is_no_structure_is_not_kept(archive, text, tmp_path):
    archive.files["/9XYZ.pdb"] = text
    with pytest.raises(ValueError, match="9XYZ.pdb: this is no protein structure"):
        fetch_protein_structure("9XYZ")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_without_network_the_way_out_is_named(archive, monkeypatch):
    monkeypatch.setattr(structures, "RCSB", "http://127.0.0.1:9")
    with pytest.raises(ConnectionError, match="can't be reached.*Connect to the network, or set"):
        fetch_protein_structure("9XYZ")


def test_a_folder_that_cannot_be_written_still_gives_the_structure(archive, monkeypatch):
    def full_disk(*args):
        raise OSError("No space left on device")

    archive.files["/9XYZ.pdb"] = TINY_PDB.encode()
    monkeypatch.setattr(download, "replacing", full_disk)
    with pytest.warns(UserWarning, match="No space left"):
        assert fetch_protein_structure("9XYZ") == TINY_PDB


@pytest.mark.parametrize("pdb_id", STRUCTURES)
def test_the_pocket_edition_has_the_three_and_asks_no_one(pocket, pdb_id):
    assert "not an experimental structure" in fetch_protein_structure(pdb_id.lower()).lower()


def test_the_pocket_edition_names_what_it_has(pocket):
    assert available_structures() == STRUCTURES
    with pytest.raises(FileNotFoundError) as caught:
        fetch_protein_structure("1ABC")
    for part in (
        "1ABC",
        "pocket edition",
        *STRUCTURES,
        *STRUCTURES.values(),
        "use_edition('full')",
    ):
        assert part in str(caught.value)


def test_assets_that_lack_one_offer_the_others(pocket, monkeypatch, tmp_path):
    folder = tmp_path / "assets" / "proteins" / "structures"
    folder.mkdir(parents=True)
    (folder / "3I40.pdb").write_text(TINY_PDB)
    monkeypatch.setenv("DLFB_ASSETS", str(tmp_path / "assets"))
    assert fetch_protein_structure("3I40") == TINY_PDB
    assert available_structures() == {"3I40": "insulin"}
    with pytest.raises(FileNotFoundError) as caught:
        fetch_protein_structure("1YAR")
    assert "At hand: 3I40 (insulin)." in str(caught.value)
    assert "collagen" not in str(caught.value)
    (folder / "3I40.pdb").write_text("<html>")
    with pytest.raises(ValueError, match="3I40.pdb: this is no protein structure"):
        fetch_protein_structure("3I40")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real structures of ../shared are not here")
def test_real_entries_are_read(monkeypatch):
    monkeypatch.setenv("DLFB_ASSETS", str(REAL))
    for pdb_id in available_structures():
        text = fetch_protein_structure(pdb_id)
        for color in COLORINGS:
            view_structure(text, color=color)
        assert plot_structure(text).axes[0].collections
