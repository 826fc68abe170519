import hashlib
import re
import subprocess
import sys
import warnings
from io import StringIO

import numpy as np
import pytest
from Bio.Data.PDBData import protein_letters_3to1_extended
from Bio.PDB import PDBParser
from Bio.PDB.vectors import calc_dihedral

from dlfb.pocket.structures import pdb_text
from dlfb.proteins.sequences import INSULIN

IDS = ("3I40", "1BKV", "1YAR")
TEXTS = {pdb_id: pdb_text(pdb_id) for pdb_id in IDS}


def parsed(pdb_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parser = PDBParser(PERMISSIVE=False)
        return parser.get_structure(pdb_id, StringIO(TEXTS[pdb_id]))[0]


MODELS = {pdb_id: parsed(pdb_id) for pdb_id in IDS}


def coordinates(chain, atom):
    return np.array([residue[atom].coord for residue in chain])


@pytest.mark.parametrize("pdb_id", IDS)
def test_it_says_what_it_is(pdb_id):
    assert "EXPDTA    THEORETICAL MODEL" in TEXTS[pdb_id]
    assert "GEOMETRY BUILT IN CODE, NOT AN EXPERIMENTAL STRUCTURE" in TEXTS[pdb_id]


@pytest.mark.parametrize("pdb_id", IDS)
def test_every_line_keeps_to_the_formats_columns(pdb_id):
    lines = TEXTS[pdb_id].splitlines()
    assert {len(line) for line in lines} == {80}
    assert lines[0][62:66] == pdb_id
    assert lines[-1].strip() == "END"
    assert TEXTS[pdb_id].isascii()
    assert "-0.000" not in TEXTS[pdb_id]
    assert len(TEXTS[pdb_id]) < 2_000_000
    atom = re.compile(
        r"ATOM  [ \d]{5}  (N  |CA |C  |O  |CB ) [A-Z]{3} [A-Za-z][ \d]{4}    "
        r"([ \d-]{4}\.\d{3}){3}  1\.00  0\.00           [NCO]  "
    )
    serials = []
    for line in lines:
        if line.startswith("ATOM"):
            assert atom.fullmatch(line.ljust(80)[:80]), line
        if line.startswith(("ATOM", "TER")):
            serials.append(int(line[6:11]))
    assert serials == list(range(1, len(serials) + 1))


def test_the_same_bytes_in_another_process():
    code = (
        "import hashlib; from dlfb.pocket.structures import pdb_text;"
        f"print([hashlib.sha256(pdb_text(i).encode()).hexdigest() for i in {IDS}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(
        [hashlib.sha256(text.encode()).hexdigest() for text in TEXTS.values()]
    )


@pytest.mark.parametrize("pdb_id", IDS)
def test_bonds_and_planes_are_ideal(pdb_id):
    for chain in list(MODELS[pdb_id])[:3]:
        n, ca, c, o = (coordinates(chain, atom) for atom in ("N", "CA", "C", "O"))
        for start, end, length in ((n, ca, 1.458), (ca, c, 1.525), (c, o, 1.231)):
            np.testing.assert_allclose(np.linalg.norm(end - start, axis=1), length, atol=0.005)
        np.testing.assert_allclose(np.linalg.norm(n[1:] - c[:-1], axis=1), 1.329, atol=0.03)
        np.testing.assert_allclose(np.linalg.norm(ca[1:] - ca[:-1], axis=1), 3.80, atol=0.06)


@pytest.mark.parametrize("pdb_id", IDS)
def test_amino_acids_are_left_handed(pdb_id):
    for chain in MODELS[pdb_id]:
        for residue in chain:
            if "CB" in residue:
                vectors = [residue[atom].get_vector() for atom in ("N", "C", "CB", "CA")]
                n, c, cb = (vector - vectors[3] for vector in vectors[:3])
                assert (n**c) * cb > 0  # the triple product is negative for D amino acids


@pytest.mark.parametrize("pdb_id", IDS)
def test_no_two_atoms_collide(pdb_id):
    from scipy.spatial import cKDTree

    atoms, places = [], []
    for number, chain in enumerate(MODELS[pdb_id]):
        for residue in chain:
            for atom in residue:
                atoms.append(atom.coord)
                places.append((number, residue.id[1]))
    pairs = cKDTree(atoms).query_pairs(2.6, output_type="ndarray")
    places = np.array(places)
    first, second = places[pairs[:, 0]], places[pairs[:, 1]]
    apart = (first[:, 0] != second[:, 0]) | (np.abs(first[:, 1] - second[:, 1]) > 1)
    assert not apart.any()


def helices(pdb_id):
    for line in TEXTS[pdb_id].splitlines():
        if line.startswith("HELIX"):
            chain, start, end = line[19], int(line[21:25]), int(line[33:37])
            assert line[31] == chain
            assert int(line[71:76]) == end - start + 1
            yield [MODELS[pdb_id][chain][i] for i in range(start, end + 1)]


@pytest.mark.parametrize(("pdb_id", "count"), [("3I40", 3), ("1BKV", 0), ("1YAR", 28 * 8)])
def test_helices_are_where_the_records_say(pdb_id, count):
    found = list(helices(pdb_id))
    assert len(found) == count
    for residues in found[:6]:
        for a, b in zip(residues, residues[4:], strict=False):
            assert 2.6 < a["O"] - b["N"] < 3.4  # the bond that makes an alpha helix


@pytest.mark.parametrize(("pdb_id", "count"), [("3I40", 1), ("1BKV", 0), ("1YAR", 28 * 8)])
def test_strands_are_stretched_where_the_records_say(pdb_id, count):
    lines = [line for line in TEXTS[pdb_id].splitlines() if line.startswith("SHEET")]
    assert len(lines) == count
    for line in lines[:16]:
        chain = MODELS[pdb_id][line[21]]
        assert line[32] == line[21]
        start, end = int(line[22:26]), int(line[33:37])
        rise = (chain[start]["CA"] - chain[end]["CA"]) / (end - start)
        assert 3.0 < rise < 3.6


def test_insulin_has_its_two_chains_and_three_bridges():
    model = MODELS["3I40"]
    letters = {
        chain.id: "".join(protein_letters_3to1_extended[r.get_resname()] for r in chain)
        for chain in model
    }
    assert letters == {"A": INSULIN[89:], "B": INSULIN[24:54]}
    for line in (x for x in TEXTS["3I40"].splitlines() if x.startswith("SSBOND")):
        first = model[line[15]][int(line[17:21])]
        second = model[line[29]][int(line[31:35])]
        assert (first.get_resname(), second.get_resname()) == ("CYS", "CYS")
        assert 3.3 < first["CB"] - second["CB"] < 4.5  # as in a real disulfide
    assert TEXTS["3I40"].count("SSBOND") == 3


def test_collagen_is_a_tight_triple_helix():
    chains = [coordinates(chain, "CA") for chain in MODELS["1BKV"]]
    names = [residue.get_resname() for residue in MODELS["1BKV"]["A"]]
    assert len(chains) == 3
    assert names[:6] == ["PRO", "HYP", "GLY"] * 2
    assert all(name == "GLY" for name in names[2::3])
    for chain in chains:
        radius = np.hypot(chain[:, 0], chain[:, 1])
        # Glycine is innermost: there is no room for anything larger.
        assert radius[2::3].max() < radius[0::3].min()
        assert radius[2::3].max() < radius[1::3].min()
        assert radius.max() < 5
        assert (chain[3:, 2] - chain[:-3, 2]) == pytest.approx(60 / 7, abs=0.01)
    # The rope turns to the right: seen along the axis, each triplet a seventh of a turn further.
    angle = np.unwrap(np.arctan2(chains[0][2::3, 1], chains[0][2::3, 0]))
    assert np.degrees(np.diff(angle)) == pytest.approx(360 / 7, abs=0.1)
    glycine, x = MODELS["1BKV"]["A"][15], [MODELS["1BKV"][c] for c in "BC"]
    nearest = min(glycine["N"] - residue["O"] for chain in x for residue in chain)
    assert 2.7 < nearest < 3.2  # the bond that holds the chains together


def test_collagens_backbone_is_stretched():
    residues = list(MODELS["1BKV"]["A"])
    for a, b in zip(residues, residues[1:], strict=False):
        vectors = [a["CA"], a["C"], b["N"], b["CA"]]
        omega = np.degrees(calc_dihedral(*(atom.get_vector() for atom in vectors)))
        assert abs(omega) > 175


def test_the_proteasome_is_four_rings_of_seven():
    chains = [coordinates(chain, "CA") for chain in MODELS["1YAR"]]
    assert len(chains) == 28
    centers = np.array([chain.mean(axis=0) for chain in chains])
    heights, counts = np.unique(centers[:, 2].round(0), return_counts=True)
    assert counts.tolist() == [7, 7, 7, 7]
    assert np.diff(heights) == pytest.approx(heights[1] - heights[0], abs=1)
    radii = np.hypot(centers[:, 0], centers[:, 1])
    assert radii == pytest.approx(radii[0], abs=0.01)
    everything = np.concatenate(chains)
    assert np.hypot(everything[:, 0], everything[:, 1]).min() > 20  # a chamber inside
    # The lower half is the upper one turned over, not mirrored: its helices turn the same way.
    for chain in (chains[0], chains[-1]):
        a, b, c, d = chain[8:12]
        assert np.linalg.det([b - a, c - b, d - c]) > 0


def test_a_barrel_closes():
    chain = coordinates(MODELS["1YAR"]["A"], "CA")
    assert len(chain) == 8 * 22 - 4
    strands = [chain[k * 22 : k * 22 + 5] for k in range(8)]
    for this, following in zip(strands, strands[1:] + strands[:1], strict=True):
        gaps = np.linalg.norm(this[:, None] - following[None], axis=-1).min(axis=1)
        assert gaps[1:4] == pytest.approx(4.9, abs=0.4)  # neighbours in a sheet
    assert np.linalg.norm(chain[0] - chain[-1]) > 5  # and yet the chain has two ends


def test_an_unknown_id_is_a_sentence():
    with pytest.raises(ValueError, match=r"no '1ABC'.*3I40, 1BKV, 1YAR.*use_edition\('full'\)"):
        pdb_text("1ABC")
