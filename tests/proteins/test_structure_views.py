import re

import pytest

from dlfb.proteins.structure_views import SECONDARY_COLORS
from dlfb.proteins.structures import COLORINGS, plot_structure, view_structure

TINY_PDB = (
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
TINY_CIF = """data_9XYZ
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_entity_id
_atom_site.label_seq_id
_atom_site.pdbx_PDB_ins_code
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.occupancy
_atom_site.B_iso_or_equiv
_atom_site.auth_seq_id
_atom_site.auth_asym_id
_atom_site.pdbx_PDB_model_num
ATOM 1 C CA . GLY A 1 1 ? 1.0 2.0 3.0 1.00 20.0 1 A 1
ATOM 2 C CA . ILE A 1 2 ? 4.0 2.0 3.0 1.00 20.0 2 A 1
"""


@pytest.mark.parametrize("color", COLORINGS)
def test_a_view_holds_the_model_and_the_colours(color):
    view = view_structure(TINY_PDB, color=color, width=300, height=200)
    html = view._make_html()
    assert "300px" in html
    assert "200px" in html
    style = re.search(r"setStyle\((.*)\);", html).group(1)
    expected = {
        "spectrum": '"prop": "resi", "gradient": "linear", "colors": ["#440154"',
        "chain": '{"A": "#0072B2", "B": "#E69F00"}',
        "secondary structure": '"h": "#D55E00"',
    }
    if color == "residue class":
        assert set(re.findall(r'"([A-Z]{3})": "#', style)) == {"GLY", "HYP", "ILE"}
    else:
        assert expected[color] in style


def test_a_cartoon_carries_only_what_it_draws():
    html = view_structure(TINY_PDB)._make_html()
    assert "HELIX" in html
    assert " CA  GLY A   1" in html
    assert " O   GLY A   1" in html
    assert "HOH" not in html
    assert " N   GLY" not in html and " C   GLY" not in html
    # 3Dmol forgets HELIX and SHEET when it reads END.
    assert not re.search(r"\\nEND(?!MDL)", html)
    assert "HOH" in view_structure(TINY_PDB, style="stick")._make_html()
    # 3Dmol leaves gaps where a chain holds residues that are marked as foreign.
    assert "ATOM      5  CA  HYP" in html


def test_mmcif_is_viewed_as_mmcif():
    for color in COLORINGS:
        assert '"cif"' in view_structure(TINY_CIF, color=color)._make_html()


def test_what_cannot_be_drawn_is_a_sentence():
    with pytest.raises(ValueError, match="color='rainbow' can't be drawn. Styles are cartoon"):
        view_structure(TINY_PDB, color="rainbow")
    with pytest.raises(ValueError, match="style='ribbon', .* can't be drawn"):
        view_structure(TINY_PDB, style="ribbon")
    for draw in (view_structure, plot_structure):
        with pytest.raises(ValueError, match="this is no protein structure.*<html>"):
            draw("<html>")
    with pytest.raises(ValueError, match="plot_structure: no color 'rainbow'"):
        plot_structure(TINY_PDB, color="rainbow")


@pytest.mark.parametrize("color", COLORINGS)
def test_the_still_picture_links_alpha_carbons_within_chains(color):
    from matplotlib import pyplot as plt

    figure = plot_structure(TINY_PDB, color=color)
    assert len(figure.axes[0].collections[0]._segments3d) == 1
    figure = plot_structure(TINY_CIF, color=color)
    assert len(figure.axes[0].collections[0]._segments3d) == 1
    assert plt.get_fignums() == []


def test_the_still_picture_has_the_colours_of_the_view():
    from matplotlib.colors import to_hex

    lines = plot_structure(TINY_PDB, color="secondary structure").axes[0].collections[0]
    # The first residue with a link before it is the second, which the HELIX line takes in.
    assert to_hex(lines.get_colors()[0]).upper() == SECONDARY_COLORS["h"]
    outside = TINY_PDB.replace("ILE A    2", "GLY A    1")
    lines = plot_structure(outside, color="secondary structure").axes[0].collections[0]
    assert to_hex(lines.get_colors()[0]).upper() == SECONDARY_COLORS["c"]


def test_a_view_is_stored_with_a_still_picture():
    view = view_structure(TINY_PDB, color="chain")
    assert view._repr_png_().startswith(b"\x89PNG")
    assert "3dmolviewer_" in view._repr_html_()
