"""Three structures whose geometry is built in code, so that the viewer has something to turn.

Chains grow atom by atom from their backbone angles (phi, psi), with the ideal bond lengths and
angles of Engh and Huber (1991), by the natural extension reference frame (Parsons et al. 2005,
J. Comput. Chem. 26:1063). The angles were found by optimisation against what is generally known
of each protein: where its helices and strands are, which cysteines are linked, how its chains
are arranged. Nothing was taken from the coordinates of an experiment, and nothing here is
accurate enough to be measured.
"""

import re
from math import cos, radians, sin

import numpy as np
from Bio.Data.IUPACData import protein_letters_1to3

_ATOMS = ("N", "CA", "C", "O", "CB")
_THREE = {a: b.upper() for a, b in protein_letters_1to3.items()} | {"O": "HYP"}

# Chain, sequence, secondary structure, then phi and psi of each residue in degrees.
_INSULIN = (
    ("A", "GIVEQCCTSICSLYQLENYCN", "HHHHHHHH---HHHHHHH---", (
        (-63.0, -41.9), (-62.9, -42.2), (-63.3, -42.2), (-63.3, -42.8), (-63.6, -42.5),
        (-63.5, -41.1), (-60.6, -40.5), (-59.8, -36.4), (-85.5, 11.5), (68.1, 37.4),
        (-116.7, 46.6), (-62.1, -42.0), (-62.9, -42.6), (-63.8, -41.7), (-62.7, -41.8),
        (-62.6, -43.0), (-64.1, -42.9), (-63.9, -42.0), (-57.7, -69.3), (-128.3, 135.9),
        (59.2, 40.0),
    )),
    ("B", "FVNQHLCGSHLVEALYLVCGERGFFYTPKT", "--------HHHHHHHHHHH----EEEEE--", (
        (-70.0, 148.6), (-90.7, -8.9), (-73.3, -36.6), (-116.8, 179.9), (110.2, 51.6),
        (-84.2, 46.2), (-40.9, 155.1), (-83.5, 173.4), (-62.7, -41.7), (-62.8, -41.6),
        (-62.6, -41.8), (-62.8, -41.8), (-62.8, -41.6), (-62.7, -41.6), (-62.7, -42.2),
        (-63.1, -41.8), (-62.9, -41.3), (-62.4, -42.2), (-63.1, -42.4), (54.5, 43.5),
        (-74.0, -85.5), (-102.9, -68.3), (-140.8, 122.4), (-117.8, 130.5), (-119.6, 131.7),
        (-117.5, 132.0), (-118.1, 132.3), (-117.5, 132.1), (61.0, 43.2), (-118.0, 132.0),
    )),
)  # fmt: skip
# How the B chain lies to the A chain: a rotation vector (radians) and a shift (A).
_INSULIN_ROTATION, _INSULIN_SHIFT = (-2.618, -0.175, 0.536), (-3.42, -5.39, 3.37)
_DISULFIDES = (("A", 6, "A", 11), ("A", 7, "B", 7), ("A", 20, "B", 19))

# A triple helix repeats after three residues in each chain: 8.57 A along the axis and 51.4 degrees
# around it (the "7/2" form), and the chains follow each other by a third of the rise. Radius (A),
# angle (degrees) and height (A) of N, CA, C, O, CB for the residues X, Y and Gly:
_TRIPLET = {
    0: ((3.265, -42.66, -6.778), (4.086, -48.69, -5.636), (3.25, -52.6, -4.385),
        (2.103, -42.89, -4.331), (5.241, -36.63, -5.387)),
    1: ((3.92, -61.85, -3.392), (3.324, -69.24, -2.145), (2.699, -45.96, -1.456),
        (3.557, -29.82, -1.606), (4.461, -75.41, -1.21)),
    2: ((1.6, -45.87, -0.708), (1.666, 0.0, 0.0), (2.56, -10.03, 1.181),
        (3.012, -32.73, 1.523)),
}  # fmt: skip
_RISE, _TURN = 60.0 / 7, 360.0 / 7
_COLLAGEN = "POGPOGPOGITGARGLAGPOGPOGPOGPOG"

# One eighth of a barrel: strand, turn, helix, turn. Its angles make the ninth lie on the first.
_UNIT_STRUCTURE = "EEEEE---HHHHHHHHHH----"
_UNIT = (
    (-118.3, 126.7), (-125.9, 135.8), (-117.5, 131.5), (-121.1, 135.5), (-117.6, 132.1),
    (-167.5, 138.1), (-86.2, 23.6), (-145.0, 132.8), (-63.0, -42.2), (-63.1, -42.0),
    (-63.2, -42.0), (-63.0, -42.7), (-63.6, -42.6), (-63.5, -41.4), (-62.4, -42.0), (-61.7, -39.8),
    (-63.7, -39.4), (-62.6, -46.0), (-167.6, 156.3), (91.5, 54.7), (-76.7, -23.7), (-75.6, -56.3),
)  # fmt: skip
# How a barrel stands in its ring (A, A, degrees), so that neighbours touch and don't collide.
_RING_RADIUS, _RING_HEIGHT, _ROLL = 44.0, 39.0, 15.0


def pdb_text(pdb_id: str) -> str:
    """Return a structure in the PDB format, the same bytes on every machine.

    Parameters
    ----------
    pdb_id : {"3I40", "1BKV", "1YAR"}
        Insulin, collagen or the proteasome.

    Returns
    -------
    str
        Backbone atoms and beta carbons, with HELIX and SHEET records and a
        title that says what it is.

    Raises
    ------
    ValueError
        For any other id.
    """
    builders = {"3I40": _insulin, "1BKV": _collagen, "1YAR": _proteasome}
    if pdb_id not in builders:
        raise ValueError(
            f"There is no {pdb_id!r} in the pocket edition, only {', '.join(builders)}. "
            "dlfb.use_edition('full') downloads any other."
        )
    title, chains, links = builders[pdb_id]()
    return "".join(f"{line:<80}\n" for line in _lines(pdb_id, title, chains, links))


def _insulin():
    chains = []
    for name, sequence, structure, angles in _INSULIN:
        atoms = _grow(angles)
        if name == "B":
            center = chains[0][3][:, 1].mean(axis=0)
            turn = _rotation(np.array(_INSULIN_ROTATION), np.linalg.norm(_INSULIN_ROTATION))
            atoms = (atoms - atoms[:, 1].mean(axis=0)) @ turn.T + center + np.array(_INSULIN_SHIFT)
        chains.append((name, sequence, structure, atoms))
    return "INSULIN, TWO CHAINS AND THREE DISULFIDE BONDS", chains, _DISULFIDES


def _collagen():
    chains = []
    for number, name in enumerate("ABC"):
        atoms = np.zeros((len(_COLLAGEN), 5, 3))
        for i in range(len(_COLLAGEN)):
            triplet = i // 3 + number / 3
            # By thirds of the rise the chains turn the other way, 102.9 degrees each.
            angle = _TURN * (i // 3) - 2 * _TURN * number
            for j, (radius, start, height) in enumerate(_TRIPLET[i % 3]):
                turned = radians(start + angle)
                z = height + _RISE * triplet
                atoms[i, j] = radius * cos(turned), radius * sin(turned), z
        chains.append((name, _COLLAGEN, "-" * len(_COLLAGEN), atoms))
    return "COLLAGEN, A TRIPLE HELIX", chains, ()


def _proteasome():
    barrel, structure = _barrel()
    barrel = barrel @ _rotation(np.array([1.0, 0.0, 0.0]), radians(_ROLL)).T
    sequence = "".join("G" if s == "-" else "A" for s in structure)
    chains = []
    names = iter("ABCDEFGHIJKLMNOPQRSTUVWXYZab")
    for ring in range(4):
        for place in range(7):
            # The two upper rings; the two lower ones are these turned over (mirroring them would
            # turn left into right).
            height = _RING_HEIGHT * (1.5 if ring in (0, 3) else 0.5)
            atoms = barrel + np.array([_RING_RADIUS, 0.0, height])
            atoms = atoms @ _rotation(np.array([0.0, 0.0, 1.0]), 2 * np.pi * place / 7).T
            if ring > 1:
                atoms = atoms * np.array([1.0, -1.0, -1.0])
            chains.append((next(names), sequence, structure, atoms))
    return "PROTEASOME, FOUR RINGS OF SEVEN SIMPLE BARRELS", chains, ()


def _barrel() -> tuple[np.ndarray, str]:
    """Return eight units around the x axis, centred, and their secondary structure."""
    count, size = 8, len(_UNIT)
    atoms = _grow((*_UNIT, *_UNIT[:1]))
    (first, origin), (second, moved) = _frame(atoms[0]), _frame(atoms[size])
    turn = second @ first.T
    # The axis that the step from unit to unit turns about, and the point where it passes.
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    axis /= np.linalg.norm(axis)
    shift = moved - turn @ origin
    shift -= (shift @ axis) * axis
    angle = 2 * np.pi / count
    point = 0.5 * (shift + np.cross(axis, shift) / np.tan(angle / 2))
    units = [(atoms[:size] - point) @ _rotation(axis, k * angle).T for k in range(count)]
    barrel = np.concatenate(units)
    barrel -= barrel[:, 1].mean(axis=0)
    across = np.cross(axis, barrel[0, 1])
    across /= np.linalg.norm(across)
    basis = np.stack([axis, across, np.cross(axis, across)])
    # The last turn would lead into the first strand: without it the chain has two ends.
    loose = len(_UNIT_STRUCTURE) - len(_UNIT_STRUCTURE.rstrip("-"))
    return (barrel @ basis.T)[:-loose], (_UNIT_STRUCTURE * count)[:-loose]


def _grow(angles) -> np.ndarray:
    """Return the atoms N, CA, C, O, CB of a chain, shape (L, 5, 3) in angstroms."""
    atoms = np.zeros((len(angles), 5, 3))
    n, ca = np.zeros(3), np.array([1.458, 0.0, 0.0])
    c = ca + 1.525 * np.array([-cos(radians(111.0)), sin(radians(111.0)), 0.0])
    for i, (phi, psi) in enumerate(angles):
        if i:
            last_n, last_ca, last_c = n, ca, c
            n = _place(last_n, last_ca, last_c, 1.329, 116.6, angles[i - 1][1])
            ca = _place(last_ca, last_c, n, 1.458, 121.7, 180.0)
            c = _place(last_c, n, ca, 1.525, 111.0, phi)
        oxygen = _place(n, ca, c, 1.231, 120.1, psi + 180.0)
        atoms[i] = n, ca, c, oxygen, _place(c, n, ca, 1.53, 110.5, -122.6)
    return atoms


def _place(a, b, c, length: float, angle: float, torsion: float) -> np.ndarray:
    """Return the point at a bond length from c, an angle from b and a torsion from a."""
    angle, torsion = radians(angle), radians(torsion)
    along = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, along)
    normal /= np.linalg.norm(normal)
    side = np.cross(normal, along)
    sideways = cos(torsion) * side + sin(torsion) * normal
    return c + length * (sin(angle) * sideways - cos(angle) * along)


def _frame(residue: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n, ca, c = residue[:3]
    x = (c - ca) / np.linalg.norm(c - ca)
    z = np.cross(n - ca, x)
    z /= np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z], axis=1), ca


def _rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """Return the matrix that turns about an axis by an angle in radians (Rodrigues)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + sin(angle) * cross + (1.0 - cos(angle)) * cross @ cross


def _lines(pdb_id, title, chains, links):
    yield f"HEADER    {'MODEL BUILT IN CODE':<52}{pdb_id}"
    yield f"TITLE     {title}"
    yield "EXPDTA    THEORETICAL MODEL"
    yield "REMARK   6 GEOMETRY BUILT IN CODE, NOT AN EXPERIMENTAL STRUCTURE."
    if pdb_id == "1YAR":
        yield "REMARK   6 ITS SEQUENCE IS NOT MODELLED: ALANINE, AND GLYCINE IN THE TURNS."
    yield from _secondary_structure(chains)
    for i, (chain, place, other, other_place) in enumerate(links, start=1):
        yield f"SSBOND {i:3d} CYS {chain} {place:4d}    CYS {other} {other_place:4d}"
    serial = 0
    for name, sequence, _, atoms in chains:
        rounded = (np.round(atoms, 3) + 0.0).tolist()  # + 0.0 makes -0.0 into 0.0
        for place, (letter, residue) in enumerate(zip(sequence, rounded, strict=True), start=1):
            where = f"{_THREE[letter]} {name}{place:4d}"
            # 28 barrels with their beta carbons would make a notebook heavy.
            count = 4 if letter == "G" or pdb_id == "1YAR" else 5
            for atom, (x, y, z) in zip(_ATOMS[:count], residue, strict=False):
                serial += 1
                position = f"{x:8.3f}{y:8.3f}{z:8.3f}{1:6.2f}{0:6.2f}"
                yield f"ATOM  {serial:5d}  {atom:<3} {where}    {position}          {atom[0]:>2}"
        serial += 1
        yield f"TER   {serial:5d}      {where}"
    yield "END"


def _secondary_structure(chains):
    helices = 0
    for name, sequence, structure, _ in chains:
        runs = [(m.group()[0], m.start(), m.end()) for m in re.finditer("H+|E+", structure)]
        for _, start, end in (run for run in runs if run[0] == "H"):
            helices += 1
            first = f"{_THREE[sequence[start]]} {name} {start + 1:4d}"
            last = f"{_THREE[sequence[end - 1]]} {name} {end:4d}"
            yield f"HELIX  {helices:3d} {helices:3d} {first}  {last}  1{'':30} {end - start:5d}"
        strands = [run for run in runs if run[0] == "E"]
        for i, (_, start, end) in enumerate(strands, start=1):
            first = f"{_THREE[sequence[start]]} {name}{start + 1:4d}"
            last = f"{_THREE[sequence[end - 1]]} {name}{end:4d}"
            # All strands of a barrel run the same way: sense 1, and 0 for the first.
            yield f"SHEET  {i:3d} {name:>3}{len(strands):2d} {first}  {last} {min(i - 1, 1):2d}"
