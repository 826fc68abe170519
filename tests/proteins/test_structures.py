import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            self.server.asked.append(self.path)
            status, body, claimed = self.server.answers.get(self.path, (404, b"<html>", None))
            self.send_response(status)
            self.send_header("Content-Length", str(claimed or len(body)))
            self.end_headers()
            if body == b"slow":
                self.server.released.wait(5)
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.answers, server.released = [], {}, threading.Event()
    server.serve = lambda path, body, status=200, claimed=None: server.answers.update(
        {path: (status, body.encode(), claimed)}
    )
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setattr(structures, "RCSB", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("DLFB_EDITION", "full")
    monkeypatch.setenv("DLFB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("DLFB_ASSETS", raising=False)
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def pocket(monkeypatch):
    monkeypatch.setenv("DLFB_EDITION", "pocket")
    monkeypatch.delenv("DLFB_ASSETS", raising=False)

    def no_network(*args, **kwargs):
        raise AssertionError("the pocket edition asked the network")

    monkeypatch.setattr(structures.requests, "get", no_network)


@pytest.mark.parametrize("wrong", ["", "3I4", "3I400", "AI40", "../3", "3I4/", "３I40", None, 3140])
def test_what_is_no_id_is_refused_before_anything_is_asked(pocket, wrong):
    with pytest.raises(ValueError, match="is no PDB id"):
        fetch_protein_structure(wrong)


def test_an_entry_is_downloaded_once_and_kept(archive, tmp_path):
    archive.serve("/9XYZ.pdb", TINY_PDB)
    assert fetch_protein_structure("9xyz") == TINY_PDB
    assert fetch_protein_structure(" 9XYZ ") == TINY_PDB
    assert archive.asked == ["/9XYZ.pdb"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["9XYZ.pdb"]


def test_a_provisioned_file_comes_first(archive, tmp_path):
    file = tmp_path / "cache/full/proteins/structures/9XYZ.pdb"
    file.parent.mkdir(parents=True)
    file.write_text(TINY_PDB)
    assert fetch_protein_structure("9XYZ") == TINY_PDB
    assert archive.asked == []


def test_an_entry_without_a_pdb_file_comes_as_mmcif(archive):
    archive.serve("/9XYZ.cif", TINY_CIF)
    for _ in range(2):
        assert fetch_protein_structure("9XYZ") == TINY_CIF
    assert archive.asked == ["/9XYZ.pdb", "/9XYZ.cif"]


def test_an_unknown_entry_is_a_sentence(archive):
    with pytest.raises(FileNotFoundError, match="has no entry 9XYZ"):
        fetch_protein_structure("9XYZ")


@pytest.mark.parametrize("status", [403, 500, 503])
def test_a_failing_archive_is_named(archive, status, tmp_path):
    archive.serve("/9XYZ.pdb", TINY_PDB, status=status)
    with pytest.raises(ConnectionError, match=f"answered with status {status}"):
        fetch_protein_structure("9XYZ")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("page", ["<!DOCTYPE html><html>Not found</html>", "", "Moved"])
def test_a_web_page_is_no_structure(archive, page, tmp_path):
    archive.serve("/9XYZ.pdb", page)
    with pytest.raises(ValueError, match="9XYZ.pdb: this is no protein structure"):
        fetch_protein_structure("9XYZ")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_answer_that_was_cut_off_is_not_kept(archive, tmp_path):
    archive.serve("/9XYZ.pdb", TINY_PDB, claimed=len(TINY_PDB) + 500)
    with pytest.raises(ConnectionError, match="can't be reached"):
        fetch_protein_structure("9XYZ")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_silent_archive_is_not_waited_for(archive, monkeypatch):
    monkeypatch.setattr(structures, "TIMEOUT_S", (0.3, 0.3))
    archive.serve("/9XYZ.pdb", "slow")
    with pytest.raises(ConnectionError, match=r"can't be reached.*DLFB_EDITION=pocket"):
        fetch_protein_structure("9XYZ")


def test_without_network_the_way_out_is_named(archive, monkeypatch):
    monkeypatch.setattr(structures, "RCSB", "http://127.0.0.1:9")
    with pytest.raises(ConnectionError, match="Connect to the network, or set DLFB_EDITION=pocket"):
        fetch_protein_structure("9XYZ")


def test_a_folder_that_cannot_be_written_still_gives_the_structure(archive, monkeypatch):
    def full_disk(*args):
        raise OSError("No space left on device")

    archive.serve("/9XYZ.pdb", TINY_PDB)
    monkeypatch.setattr(structures.os, "replace", full_disk)
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
