"""Fetching, reading, turning and drawing structures, and what a structure's file may not do."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import requests
from matplotlib.colors import to_hex

import dlfb
from dlfb.proteins import structures
from dlfb.proteins.structures import (
    COLORINGS,
    SECONDARY_COLORS,
    STRUCTURES,
    STYLES,
    available_structures,
    fetch_protein_structure,
    plot_structure,
    read_chains,
    view_structure,
)
from tests.loopback import Loopback

SHIPPED = Path(dlfb.__file__).parent / "pocket"
PDB = (
    "HELIX    1   1 GLY A    1  ILE A    2  1                                   2    \n"
    "ATOM      1  N   GLY A   1      -8.863  16.944  14.289  1.00 21.88           N  \n"
    "ATOM      2  CA  GLY A   1      -9.929  17.026  13.244  1.00 22.85           C  \n"
    "ATOM      3  C   GLY A   1     -10.051  15.625  12.618  1.00 43.92           C  \n"
    "ATOM      4  O   GLY A   1      -9.782  14.728  13.407  1.00 25.22           O  \n"
    "HETATM    5  CA  HYP A   2     -10.333  14.000  10.000  1.00 26.28           C  \n"
    "ATOM      6  CA  ILE B   3     -10.333  12.000   7.000  1.00 26.28           C  \n"
    "HETATM    7  O   HOH B 101     -10.333  12.000  17.000  1.00 26.28           O  \n"
    "END\n"
)
ONE = "ATOM      1  CA  GLY A   1      -9.929  17.026  13.244  1.00 22.85           C  \n"
DNA = (
    "ATOM      1  P    DG A   1      -9.929  17.026  13.244  1.00 22.85           P  \n"
    "ATOM      2  O5'  DG A   1      -8.929  16.026  13.244  1.00 22.85           O  \n"
)
LIGAND = "HETATM    1 CA    CA A   1      -9.929  17.026  13.244  1.00 22.85          CA  \n"
NOWHERE = "ATOM      1  CA  GLY A   1\nATOM      2  CA  ALA A   2           nan     nan     nan\n"
CIF = "data_9XYZ\nloop_\n_atom_site.group_PDB\n_atom_site.id\nATOM 1\n"
EVIL = "</script><script>alert(1)</script><!--<script><img src=x onerror=alert(1)>"


@pytest.fixture
def archive(monkeypatch, tmp_path):
    """Serve the answers of a test on the loop-back address, as the full edition's archive."""
    with Loopback() as server:
        monkeypatch.setattr(structures, "RCSB", server.url)
        monkeypatch.setattr(structures, "TIMEOUT", (1, 0.3))
        monkeypatch.setenv("DLFB_EDITION", "full")
        monkeypatch.setenv("DLFB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        server.files["/9XYZ.pdb"] = PDB.encode()
        yield server


@pytest.fixture
def shipped(monkeypatch):
    """Read what comes with dlfb, and never the network."""
    monkeypatch.setenv("DLFB_EDITION", "pocket")
    monkeypatch.delattr(requests, "get")


@pytest.mark.parametrize(
    "wrong", ["", "3I4", "AI40", "../3", "３I40", None, b"3I40", "pdb_3i40", "pdb_10003i40"]
)
def test_another_id_is_refused_before_anything_is_asked(shipped, wrong):
    with pytest.raises(ValueError, match="is not the PDB id.*longer id are only in mmCIF"):
        fetch_protein_structure(wrong)


# What comes with dlfb


def test_shipped_structures_are_measured_or_said_to_be_models(shipped, capsys):
    assert available_structures() == STRUCTURES
    for pdb_id in STRUCTURES:
        text = fetch_protein_structure(pdb_id.lower())
        assert text == fetch_protein_structure(f" pdb_0000{pdb_id}")
        said = capsys.readouterr().out
        assert re.search(r"^HEADER.{56}" + pdb_id, text), "the viewers' names come from there"
        if pdb_id in ("1BKV", "1YAR"):
            assert said.count(f"{pdb_id}: a model built from geometry.") == 2
            assert "NOT AN EXPERIMENTAL STRUCTURE" in text
        else:
            assert said == "" and "CC0" in text
            assert steps(text) == pytest.approx(3.8, abs=0.1)  # ångström, as in every protein


def steps(text: str) -> float:
    """Return the usual distance from one alpha carbon to the next of its chain."""
    lines = [line for line in text.splitlines() if line[12:16] == " CA " and line[21] == "A"]
    places = np.array([[float(line[at : at + 8]) for at in (30, 38, 46)] for line in lines])
    return np.median(np.linalg.norm(np.diff(places, axis=0), axis=1))


def test_shipped_structures_have_their_chains(shipped):
    chains = [read_chains(fetch_protein_structure(pdb_id)).values() for pdb_id in STRUCTURES]
    lengths = [[21, 30], [30] * 3, [172] * 28, [76], [141, 146] * 2, [331] * 4]
    assert [[*map(len, each)] for each in chains] == lengths


def test_an_entry_that_is_not_here_offers_the_others(shipped, monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"1ABC.*3I40, 1BKV.*use_edition\('full'\)"):
        fetch_protein_structure("1ABC")
    (tmp_path / "proteins/structures").mkdir(parents=True)
    (tmp_path / "proteins/structures/3I40.pdb").write_text("<html>")
    monkeypatch.setenv("DLFB_ASSETS", str(tmp_path))
    assert available_structures() == {"3I40": "insulin"}
    with pytest.raises(ValueError, match="3I40.pdb: this is not a structure.*<html>"):
        fetch_protein_structure("3I40")


# The archive


def test_an_entry_is_downloaded_once_and_kept_whole(archive, tmp_path):
    assert fetch_protein_structure("9xyz") == fetch_protein_structure("pdb_00009xyz") == PDB
    assert len(archive.requests) == 1
    assert [path.name for path in tmp_path.rglob("9XYZ*")] == ["9XYZ.dlfb"]


def test_the_full_edition_takes_the_entry_instead_of_a_model(
    archive, monkeypatch, capsys, tmp_path
):
    shutil.copytree(SHIPPED / "proteins/structures", tmp_path / "own/proteins/structures")
    monkeypatch.setenv("DLFB_ASSETS", str(tmp_path / "own"))
    archive.files["/1YAR.pdb"] = PDB.encode()
    assert fetch_protein_structure("1YAR") == PDB
    assert "HUMAN INSULIN" in fetch_protein_structure("3I40")
    assert len(archive.requests) == 1 and capsys.readouterr().out == ""


@pytest.mark.parametrize(("fault", "told"), [
    ({"status": 403}, "403"), ({"status": 503}, "503"), ({"cut": 5}, "gave no structure"),
    ({"html": "text/html"}, "Please log in"), ({"stall": 1}, "timed out"),
])  # fmt: skip
def test_a_failure_is_a_sentence_and_nothing_is_kept(archive, fault, told, tmp_path):
    archive.faults["/9XYZ.pdb"] = [fault]
    with pytest.raises(ConnectionError, match=f"127.0.0.1.*{told}.*DLFB_EDITION=pocket"):
        fetch_protein_structure("9XYZ")
    assert not list(tmp_path.rglob("9XYZ*"))
    assert fetch_protein_structure("9XYZ") == PDB
    with pytest.raises(FileNotFoundError, match="has no entry 9ABC in the PDB format.*mmCIF"):
        fetch_protein_structure("9ABC")


# Reading


def test_chains_are_read():
    assert read_chains(PDB) == {"A": ["GLY", "HYP"], "B": ["ILE"]}  # and no water
    assert read_chains("\ufeff# a comment\nREMARK one\n" + PDB) == read_chains(PDB)
    assert read_chains("\ufeff" + ONE) == {"A": ["GLY"]}
    two_models = f"MODEL        1\n{ONE}ENDMDL\nMODEL        2\n{ONE.replace('A   1', 'B   1')}"
    assert read_chains(two_models) == {"A": ["GLY"]}
    two_places = ONE.replace(" GLY", "AGLY") + ONE.replace(" GLY", "BSER")
    assert read_chains(two_places) == {"A": ["GLY"]}
    assert read_chains(ONE.replace("GLY", "SEP")) == {"A": ["SEP"]}  # phosphoserine
    for without_chain in (DNA, LIGAND, NOWHERE):
        assert read_chains(without_chain) == {}


@pytest.mark.parametrize("text", [CIF, "# made by hand\n" + CIF, "\ufeff" + CIF, CIF.upper(),
    "loop_ _atom_site.id\nATOM 1\n", "", "<html>", None, b"ATOM"])  # fmt: skip
def test_another_format_is_refused_in_a_sentence(text):
    mmcif = isinstance(text, str) and "_atom_site" in text.lower()
    message = "this is mmCIF, which is not read" if mmcif else "not a structure in the PDB format"
    for use in (read_chains, view_structure, plot_structure):
        with pytest.raises(ValueError, match=message):
            use(text)


# Drawing


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("color", COLORINGS)
@pytest.mark.parametrize("text", [ONE, DNA, LIGAND, NOWHERE])
def test_unusual_structures_give_a_picture_or_a_sentence(text, color):
    if text == ONE:
        assert plot_structure(text, color).axes[0].collections[0]._segments3d.shape[0] == 1
    else:
        with pytest.raises(ValueError, match="no amino acid here has an alpha carbon"):
            plot_structure(text, color)
    for style in STYLES:
        if text == NOWHERE or (text, style) == (LIGAND, "cartoon"):
            with pytest.raises(ValueError, match="no atom to draw as"):
                view_structure(text, style, color)
        else:
            picture = view_structure(text, style, color)._repr_png_()
            assert (picture is not None) == (text == ONE)


@pytest.mark.parametrize("line", ["HELIX", "HELIX  x", "SHEET    1   A 8 GLY A   1", "HELIX 1 A 9",
    "SHEET  the first strand is said to be from one to the fortieth residue"])  # fmt: skip
def test_helix_and_sheet_lines_of_another_form_are_passed_over(line):
    colors = plot_structure(f"{line}\n{ONE}", "secondary structure").axes[0].collections[0]
    assert to_hex(colors.get_colors()[0]).upper() == SECONDARY_COLORS["c"]
    assert line not in view_structure(f"{line}\n{ONE}", color="secondary structure")._make_html()


@pytest.mark.parametrize("color", COLORINGS)
def test_view_and_still_picture_have_the_same_colours(color):
    html = view_structure(PDB, color=color, width=300, height=200)._repr_html_()
    assert "300px" in html and "200px" in html and 'src="data:image/png;base64' in html
    style = re.search(r"setStyle\((.*)\);", html)[1].upper()
    figure = plot_structure(PDB, color=color)
    drawn = [to_hex(shade).upper() for shade in figure.axes[0].collections[0].get_colors()]
    assert len(drawn) == 3 and all(shade in style for shade in drawn[::2])  # ends and middles
    assert [drawn.index(shade) for shade in drawn] == [0, color == "spectrum", 2]
    labels = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    meant = {"secondary structure": {"helix", "strand", "neither"},
             "residue class": {"hydrophobic", "special amino acids"}}.get(color, set())  # fmt: skip
    assert labels == meant and all(f'addLabel("{name}"' in html for name in meant)
    for draw, wrong in ((view_structure, {"style": "ribbon"}), (plot_structure, {"color": "red"})):
        with pytest.raises(ValueError, match="no (style|color) '.*'; choose"):
            draw(PDB, **wrong)


def test_a_cartoon_carries_only_what_it_draws():
    html = view_structure(PDB)._make_html()
    assert "HELIX" in html and " CA  GLY A   1" in html and " O   GLY A   1" in html
    assert " HOH " not in html and " N   GLY" not in html and " C   GLY" not in html
    # 3Dmol forgets HELIX and SHEET when it reads END.
    assert not re.search(r"\\nEND(?!MDL)", html)
    assert " HOH " in view_structure(PDB, style="stick")._make_html()
    # 3Dmol leaves gaps where a chain holds residues that are marked as foreign.
    assert "ATOM      5  CA  HYP" in html
    assert " O5' " in view_structure(DNA)._make_html()


# What a file may not do


@pytest.mark.parametrize("style", STYLES)
def test_nothing_in_a_structure_is_html(style):
    atom = f"{ONE[:66]}{EVIL}\n"
    text = f"REMARK {EVIL}\nHEADER    {EVIL}\nTITLE     {EVIL}\nTER{EVIL}\nMODEL {EVIL}\n{atom}"
    html = view_structure(text, style=style)._repr_html_()
    assert len(re.findall("<script", html)) == len(re.findall("</script", html)) == 1
    assert "<!--" not in html and len(re.findall("<img", html)) == 1  # the still picture
