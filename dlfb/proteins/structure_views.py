"""Showing a structure: turned with the mouse, or as a still picture (notebook 01)."""

import re
from collections.abc import Callable
from functools import partial
from io import BytesIO, StringIO
from itertools import cycle, pairwise

import numpy as np
import py3Dmol
from Bio.PDB import MMCIFParser, PDBParser
from Bio.PDB.Polypeptide import protein_letters_3to1_extended
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Line3DCollection

from dlfb.proteins.sequences import CLASS_COLORS, amino_acid_class
from dlfb.utils.config import PALETTE

STYLES = ("cartoon", "stick", "sphere", "line")
COLORINGS = ("spectrum", "chain", "residue class", "secondary structure")
SECONDARY_COLORS = {"h": "#D55E00", "s": "#0072B2", "c": "#999999"}
ELEV, AZIM = 30, -60  # where a structure is seen from, in degrees, as matplotlib counts them


_LETTERS = {**{k.upper(): v for k, v in protein_letters_3to1_extended.items()}, "HYP": "P"}
_PROPERTIES = {"chain": "chain", "residue class": "resn", "secondary structure": "ss"}


class StructureView(py3Dmol.view):
    """A ``py3Dmol.view`` that a notebook stores as HTML and, for where nothing turns, a picture."""

    still: Callable[[], Figure] | None = None

    def _repr_html_(self) -> str:
        return self._make_html()

    def _repr_png_(self) -> bytes | None:
        if self.still is None:
            return None
        picture = BytesIO()
        self.still().savefig(picture, format="png", dpi=144, bbox_inches="tight")
        return picture.getvalue()

    def __repr__(self) -> str:
        return "A structure to turn with the mouse."


def view_structure(
    structure: str,
    style: str = "cartoon",
    color: str = "spectrum",
    width: int = 640,
    height: int = 480,
) -> "StructureView":
    """Return a view of a structure that can be turned with the mouse.

    Parameters
    ----------
    structure : str
        What `fetch_protein_structure` returns.
    style : str
        One of `STYLES`.
    color : str
        One of `COLORINGS`. ``"spectrum"`` runs from violet to yellow along each
        chain, by residue number.
    width, height : int
        In pixels.

    Returns
    -------
    StructureView
        A ``py3Dmol.view``. Shown where it is the last line of a notebook's cell. It holds the
        atoms that the style needs, so a notebook stays small, and a still picture.

    Raises
    ------
    ValueError
        If `structure` is none, or `style` or `color` are unknown.
    """
    if style not in STYLES or color not in COLORINGS:
        raise ValueError(
            f"view_structure: style={style!r}, color={color!r} can't be drawn. Styles are "
            f"{', '.join(STYLES)}; colors are {', '.join(COLORINGS)}."
        )
    structure = checked(structure, "view_structure")
    kind = _kind(structure)
    view = StructureView(width=width, height=height)
    view.addModel(_slim(structure) if kind == "pdb" and style == "cartoon" else structure, kind)
    view.setStyle({style: {"colorscheme": color_scheme(structure, color)}})
    # From where the still picture is seen, too: a rope is not shown from its end.
    view.rotate(-(90 + AZIM), "vz")
    view.rotate(ELEV - 90, "vx")
    view.zoomTo()
    view.still = partial(plot_structure, structure, color)
    return view


def color_scheme(structure: str, color: str) -> dict:
    """Return one of `COLORINGS` for one structure, as 3Dmol wants to be told.

    Parameters
    ----------
    structure : str
        What `fetch_protein_structure` returns.
    color : str
        One of `COLORINGS`.

    Returns
    -------
    dict
        A ``colorscheme``: the property of an atom that is looked at, and the
        colour of each of its values.
    """
    if color != "spectrum":
        return {"prop": _PROPERTIES[color], "map": _color_map(structure, color)}
    numbers = [r.id[1] for chain in _first_model(structure) for r in chain if "CA" in r]
    colors = [to_hex(color) for color in colormaps["viridis"](np.linspace(0, 1, 9))]
    ends = {"min": min(numbers, default=0), "max": max(numbers, default=1)}
    return {"prop": "resi", "gradient": "linear", "colors": colors, **ends}


def plot_structure(
    structure: str, color: str = "spectrum", elev: float = ELEV, azim: float = AZIM
) -> Figure:
    """Draw the course of the chains as a still picture, for where nothing can be turned.

    Parameters
    ----------
    structure : str
        What `fetch_protein_structure` returns.
    color : str
        One of `COLORINGS`. Secondary structure is read from files of the PDB
        format only; without it, everything is grey.
    elev, azim : float
        Where it is seen from, in degrees.

    Returns
    -------
    matplotlib.figure.Figure
        Lines from alpha carbon to alpha carbon. Already closed for pyplot, so
        that a notebook shows it once.
    """
    if color not in COLORINGS:
        raise ValueError(f"plot_structure: no color {color!r}; take {', '.join(COLORINGS)}.")
    secondary = _secondary_structure(checked(structure, "plot_structure"))
    key_of = {
        "chain": lambda r: r.get_parent().id,
        "residue class": lambda r: r.get_resname(),
        "secondary structure": lambda r: secondary.get((r.get_parent().id, r.id[1]), "c"),
    }
    chains = [
        [residue for residue in chain if "CA" in residue and residue.get_resname() in _LETTERS]
        for chain in _first_model(structure)
    ]
    segments = [s for chain in chains for s in pairwise(r["CA"].coord for r in chain)]
    residues = [residue for chain in chains for residue in chain[1:]]
    if color == "spectrum":
        numbers = np.array([residue.id[1] for residue in residues], dtype=float)
        shades = colormaps["viridis"]((numbers - numbers.min()) / max(1.0, np.ptp(numbers)))
    else:
        table = _color_map(structure, color)
        shades = [table[key_of[color](residue)] for residue in residues]
    figure = plt.figure(figsize=(5, 5), layout="constrained")
    ax = figure.add_subplot(projection="3d")
    ax.add_collection3d(Line3DCollection(segments, colors=shades, linewidths=2.5))
    points = np.concatenate(segments)
    ax.auto_scale_xyz(*points.T)
    ax.set_box_aspect(np.ptp(points, axis=0).clip(min=1), zoom=1.05)  # one scale for all axes
    ax.set_axis_off()
    ax.view_init(elev=elev, azim=azim)
    plt.close(figure)
    return figure


def checked(text: str, where: str) -> str:
    """Return a structure's text if it holds atoms."""
    if isinstance(text, str) and re.search(r"^(ATOM|HETATM)\s", text, re.MULTILINE):
        return text
    raise ValueError(
        f"{where}: this is no protein structure, no line begins with ATOM; it reads "
        f"{str(text).strip()[:60]!r}. Give the text that fetch_protein_structure returns."
    )


def _color_map(structure: str, color: str) -> dict[str, str]:
    """Return the colours that 3Dmol is to give to the values of the property it looks at."""
    if color == "secondary structure":
        return SECONDARY_COLORS
    if color == "residue class":
        present = {name: x for name, x in _LETTERS.items() if f" {name} " in structure}
        return {name: CLASS_COLORS[amino_acid_class(x)] for name, x in present.items()}
    names = [chain.id for chain in _first_model(structure)]
    return dict(zip(names, cycle(PALETTE), strict=False))


def _secondary_structure(pdb_text: str) -> dict[tuple[str, int], str]:
    """Return what HELIX ("h") and SHEET ("s") lines say of (chain, residue number)."""
    found = {}
    for line in pdb_text.splitlines():
        if line.startswith(("HELIX", "SHEET")):
            # One column apart in the two kinds of line: chain, first and last residue.
            first = (19, 21, 33) if line.startswith("HELIX") else (21, 22, 33)
            chain, begin, end = line[first[0]], *(int(line[at : at + 4]) for at in first[1:])
            found |= {(chain, number): line[0].lower() for number in range(begin, end + 1)}
    return found


def _first_model(structure: str):
    parser = PDBParser(QUIET=True) if _kind(structure) == "pdb" else MMCIFParser(QUIET=True)
    return parser.get_structure("structure", StringIO(structure))[0]


def _slim(pdb_text: str) -> str:
    """Leave out what a cartoon does not use, so that a notebook stays small."""
    kept = []
    for line in pdb_text.splitlines():
        # Not END: at its sight 3Dmol forgets what HELIX and SHEET said.
        if line.startswith(("HEADER", "HELIX", "SHEET", "TER", "ENDMDL", "MODEL")):
            kept.append(line.rstrip())
        elif line.startswith(("ATOM", "HETATM")) and line[17:20].strip() in _LETTERS:
            # A modified residue (HETATM) is a link of the chain too. Coordinates end at 54.
            kept += ["ATOM  " + line[6:54]] * (line[12:16] in (" CA ", " O  "))
    return "\n".join(kept) + "\n"


def _kind(structure: str) -> str:
    return "cif" if structure.lstrip().startswith("data_") else "pdb"
