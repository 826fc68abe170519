"""Three-dimensional structures: fetching them and turning them (notebook 01).

A structure is passed around as the text of its file, in the PDB format or, for
entries too large for it, in mmCIF. The archive is the Protein Data Bank, read
from RCSB; its data are in the public domain (CC0 1.0).
"""

import os
import re
import tempfile
import warnings
from io import StringIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import py3Dmol
import requests
from Bio.PDB import MMCIFParser, PDBParser
from Bio.PDB.Polypeptide import protein_letters_3to1_extended
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Line3DCollection

from dlfb.proteins.sequences import CLASS_COLORS, amino_acid_class
from dlfb.utils.context import assets, edition

STRUCTURES = {"3I40": "insulin", "1BKV": "collagen", "1YAR": "proteasome"}
RCSB = "https://files.rcsb.org/download"
TIMEOUT_S = (10, 60)  # to connect, and between two pieces of an answer

COLORINGS = ("spectrum", "chain", "residue class", "secondary structure")
#: Okabe and Ito's colours; chains beyond the eighth begin again.
CHAIN_COLORS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#666666",
)  # fmt: skip
SECONDARY_COLORS = {"h": "#D55E00", "s": "#0072B2", "c": "#999999"}

_LETTERS = {**{k.upper(): v for k, v in protein_letters_3to1_extended.items()}, "HYP": "P"}
_KINDS = ("pdb", "cif")
_PROPERTIES = {"chain": "chain", "residue class": "resn", "secondary structure": "ss"}


def fetch_protein_structure(pdb_id: str) -> str:
    """Return an entry of the Protein Data Bank.

    In the full edition it is downloaded once and kept. The pocket edition has
    the three of `STRUCTURES`, as geometry built in code and no experiment's.

    Parameters
    ----------
    pdb_id : str
        Four characters, the first a digit, in either case: ``"3I40"``.

    Returns
    -------
    str
        The text of the file: PDB format, or mmCIF if the entry has no other.

    Raises
    ------
    ValueError
        If `pdb_id` can't be one, or the file is no structure.
    FileNotFoundError
        If there is no such entry, or the edition does not have it.
    ConnectionError
        If the archive can't be reached.
    """
    if not isinstance(pdb_id, str) or not re.fullmatch("[0-9][A-Za-z0-9]{3}", pdb_id.strip()):
        raise ValueError(
            f"{pdb_id!r} is no PDB id: one has four letters or digits and begins with a digit, "
            "such as '3I40'."
        )
    pdb_id = pdb_id.strip().upper()
    for path in _local_paths(pdb_id):
        if path.is_file():
            return _checked(path.read_text(encoding="utf-8", errors="replace"), str(path))
    if edition() != "full":
        raise FileNotFoundError(_not_here(pdb_id))
    for path in _local_paths(pdb_id):
        text = _download(f"{RCSB}/{path.name}")
        if text is not None:
            _keep(text, path)
            return text
    raise FileNotFoundError(f"The Protein Data Bank has no entry {pdb_id}. Check the id.")


def available_structures() -> dict[str, str]:
    """Return those of `STRUCTURES` that can be fetched here, id to name."""
    return {
        pdb_id: name
        for pdb_id, name in STRUCTURES.items()
        if edition() == "full" or any(path.is_file() for path in _local_paths(pdb_id))
    }


def view_structure(
    structure: str,
    style: str = "cartoon",
    color: str = "spectrum",
    width: int = 640,
    height: int = 480,
) -> py3Dmol.view:
    """Return a view of a structure that can be turned with the mouse.

    Parameters
    ----------
    structure : str
        What `fetch_protein_structure` returns.
    style : str
        ``"cartoon"``, ``"stick"``, ``"sphere"`` or ``"line"``.
    color : str
        One of `COLORINGS`. ``"spectrum"`` runs from blue at the beginning to
        red at the end.
    width, height : int
        In pixels.

    Returns
    -------
    py3Dmol.view
        Shown where it is the last line of a notebook's cell. It holds the
        atoms that the style needs, so a notebook stays small.

    Raises
    ------
    ValueError
        If `structure` is none, or `style` or `color` are unknown.
    """
    styles = ("cartoon", "stick", "sphere", "line")
    if style not in styles or color not in COLORINGS:
        raise ValueError(
            f"view_structure: style={style!r}, color={color!r} can't be drawn. Styles are "
            f"{', '.join(styles)}; colors are {', '.join(COLORINGS)}."
        )
    structure = _checked(structure, "view_structure")
    kind = _kind(structure)
    view = py3Dmol.view(width=width, height=height)
    view.addModel(_slim(structure) if kind == "pdb" and style == "cartoon" else structure, kind)
    if color == "spectrum":
        coloring = {"color": "spectrum"}
    else:
        coloring = {
            "colorscheme": {"prop": _PROPERTIES[color], "map": _color_map(structure, color)}
        }
    view.setStyle({style: coloring})
    view.zoomTo()
    return view


def plot_structure(
    structure: str, color: str = "spectrum", elev: float = 20, azim: float = -60
) -> Figure:
    """Draw the course of the chains as a still picture, for where nothing can be turned.

    Parameters
    ----------
    structure : str
        What `fetch_protein_structure` returns.
    color : str
        ``"spectrum"``, ``"chain"`` or ``"residue class"``.
    elev, azim : float
        Where it is seen from, in degrees.

    Returns
    -------
    matplotlib.figure.Figure
        Lines from alpha carbon to alpha carbon. Already closed for pyplot, so
        that a notebook shows it once.
    """
    if color not in ("spectrum", "chain", "residue class"):
        raise ValueError(
            f"plot_structure: no color {color!r}; take spectrum, chain or residue class."
        )
    chains = [
        [residue for residue in chain if "CA" in residue and residue.get_resname() in _LETTERS]
        for chain in _first_model(_checked(structure, "plot_structure"))
    ]
    total = sum(map(len, chains))
    table = {} if color == "spectrum" else _color_map(structure, color)
    segments, shades = [], []
    for chain in chains:
        points = [residue["CA"].coord for residue in chain]
        segments += list(pairwise(points))
        for residue in chain[1:]:
            if color == "spectrum":
                shades.append(colormaps["viridis"](len(shades) / total))
            elif color == "chain":
                shades.append(table[residue.get_parent().id])
            else:
                shades.append(table[residue.get_resname()])
    figure = plt.figure(figsize=(5, 5), layout="constrained")
    ax = figure.add_subplot(projection="3d")
    ax.add_collection3d(Line3DCollection(segments, colors=shades, linewidths=2.5))
    ax.auto_scale_xyz(*np.concatenate(segments).T)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.view_init(elev=elev, azim=azim)
    plt.close(figure)
    return figure


def _color_map(structure: str, color: str) -> dict[str, str]:
    """Return the colours that 3Dmol is to give to the values of the property it looks at."""
    if color == "secondary structure":
        return SECONDARY_COLORS
    if color == "residue class":
        present = {name: x for name, x in _LETTERS.items() if f" {name} " in structure}
        return {name: CLASS_COLORS[amino_acid_class(x)] for name, x in present.items()}
    names = [chain.id for chain in _first_model(structure)]
    return {name: CHAIN_COLORS[i % len(CHAIN_COLORS)] for i, name in enumerate(names)}


def _first_model(structure: str):
    parser = PDBParser(QUIET=True) if _kind(structure) == "pdb" else MMCIFParser(QUIET=True)
    return parser.get_structure("structure", StringIO(structure))[0]


def _slim(pdb_text: str) -> str:
    """Leave out what a cartoon does not use, so that a notebook stays small."""
    kept = []
    for line in pdb_text.splitlines():
        if line.startswith(("HELIX", "SHEET", "TER", "END", "MODEL")):
            kept.append(line.rstrip())
        elif line.startswith(("ATOM", "HETATM")) and line[12:16] in (" CA ", " O  "):
            kept.append(line[:54])  # to the coordinates' end
    return "\n".join(kept) + "\n"


def _local_paths(pdb_id: str) -> list[Path]:
    return [Path(assets(f"proteins/structures/{pdb_id}.{kind}")) for kind in _KINDS]


def _kind(structure: str) -> str:
    return "cif" if structure.lstrip().startswith("data_") else "pdb"


def _checked(text: str, where: str) -> str:
    """Return a structure's text if it holds atoms."""
    if isinstance(text, str) and re.search(r"^(ATOM|HETATM)\s", text, re.MULTILINE):
        return text
    raise ValueError(
        f"{where}: this is no protein structure, no line begins with ATOM; it reads "
        f"{str(text).strip()[:60]!r}. Give the text that fetch_protein_structure returns."
    )


def _download(url: str) -> str | None:
    """Return what stands at an address, None if nothing does."""
    try:
        response = requests.get(url, timeout=TIMEOUT_S)
        content = response.content.decode("utf-8", errors="replace")
    except requests.RequestException as error:
        raise ConnectionError(
            f"{url} can't be reached ({type(error).__name__}). Connect to the network, or set "
            "DLFB_EDITION=pocket for the structures that come with dlfb."
        ) from error
    if response.status_code == 404:
        return None
    if response.status_code != 200:
        raise ConnectionError(
            f"{url} answered with status {response.status_code} {response.reason}. Try later."
        )
    return _checked(content, url)


def _keep(text: str, path: Path) -> None:
    """Write a file whole or not at all; a reader goes on without a copy."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as aside:
            aside.write(text)
        os.replace(aside.name, path)
    except OSError as error:
        warnings.warn(f"{path} can't be kept ({error}), so it is fetched anew.", stacklevel=3)


def _not_here(pdb_id: str) -> str:
    have = available_structures()
    if os.environ.get("DLFB_ASSETS"):
        where = f"the assets in {os.environ['DLFB_ASSETS']}"
    else:
        where = f"the {edition()} edition"
    offer = ", ".join(f"{i} ({name})" for i, name in have.items()) or "none of the chapter's"
    return (
        f"There is no structure {pdb_id} in {where}. At hand: {offer}. Any other entry is "
        "downloaded after dlfb.use_edition('full'), which needs the network."
    )
