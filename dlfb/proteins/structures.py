"""Structures in the PDB format: fetched from RCSB, read, turned and drawn (notebook 01)."""

import re
from base64 import b64encode
from functools import lru_cache, partial
from io import BytesIO
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
import py3Dmol
import requests
from Bio.Data import IUPACData, PDBData
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Line3DCollection

from dlfb.proteins.sequences import CLASS_COLORS, amino_acid_class
from dlfb.utils.config import PALETTE
from dlfb.utils.context import assets, cache_dir, edition
from dlfb.utils.restore import kept

STRUCTURES = {
    "3I40": "insulin", "1BKV": "collagen", "1YAR": "proteasome",
    "1UBI": "ubiquitin", "2HHB": "haemoglobin", "1I10": "lactate dehydrogenase",
}  # fmt: skip
RCSB = "https://files.rcsb.org/download"
TIMEOUT = (10, 60)  # seconds to connect, and to wait for more of the answer
STYLES = ("cartoon", "stick", "sphere", "line")
COLORINGS = ("spectrum", "chain", "residue class", "secondary structure")
SECONDARY_COLORS = {"h": "#D55E00", "s": "#0072B2", "c": "#999999"}  # helix, strand, neither
ELEV, AZIM = 30, -60  # the direction of view in degrees, as matplotlib counts them

_LETTERS = {three.upper(): one for three, one in IUPACData.protein_letters_3to1_extended.items()}
_LETTERS |= PDBData.protein_letters_3to1_extended | {"UNK": "X"}  # a thousand modified ones
_SHADES = [to_hex(shade) for shade in colormaps["viridis"](np.linspace(0.1, 1, 9))]


def fetch_protein_structure(pdb_id: str) -> str:
    """Return an entry of the Protein Data Bank, as text in the PDB format.

    `pdb_id` is such as ``"3I40"``, in either case, or ``"pdb_00003i40"``. The pocket edition has
    those of `STRUCTURES`, and a printed line says if one is a model. The full edition downloads any
    other, once. ValueError for a wrong id, FileNotFoundError or ConnectionError if it can't be had.
    """
    pattern = re.compile("(?:pdb_0000)?([0-9][a-z0-9]{3})", re.ASCII | re.IGNORECASE)
    if not (entry := pattern.fullmatch(str(pdb_id).strip())):
        raise ValueError(
            f"{pdb_id!r} is not the PDB id of an entry in the PDB format: four letters or digits "
            "that begin with a digit, such as '3I40' or 'pdb_00003i40'. Entries with a longer id "
            "are only in mmCIF, which is not read."
        )
    pdb_id = entry[1].upper()
    here = Path(assets(f"proteins/structures/{pdb_id}.pdb"))
    text = checked(here.read_text("utf8", "replace"), str(here)) if here.is_file() else ""
    is_model = "\nEXPDTA    THEORETICAL MODEL" in text
    if edition() == "full" and (is_model or not text):
        key = {"function": "fetch_protein_structure()"}
        return kept(cache_dir() / "structures" / pdb_id, key, lambda: _downloaded(pdb_id))
    if not text:
        fault = f"There is no structure {pdb_id} here, only {', '.join(available_structures())}"
        way_out = "After dlfb.use_edition('full'), any other is downloaded"
        raise FileNotFoundError(f"{fault}. {way_out}, which needs a network.")
    if is_model:
        print(f"{pdb_id}: a model built from geometry. The full edition has the measured entry.")
    return text


def available_structures() -> dict[str, str]:
    """Return those of `STRUCTURES` that can be fetched here, id to name."""
    files = {key: Path(assets(f"proteins/structures/{key}.pdb")) for key in STRUCTURES}
    return {k: name for k, name in STRUCTURES.items() if edition() == "full" or files[k].is_file()}


def read_chains(structure: str) -> dict[str, list[str]]:
    """Return each chain's amino acids with coordinates, also modified ones, in three letters."""
    residues = _residues(checked(structure, "read_chains"))
    return {name: list(chain.resn) for name, chain in residues.groupby("chain", sort=False)}


class StructureView(py3Dmol.view):
    """A ``py3Dmol.view`` that is also stored as a still picture, for pages without scripts."""

    still: partial | None = None

    def _make_html(self) -> str:
        box, code = super()._make_html().split("<script>", 1)
        # Nothing in a structure may end the script that it is part of, or begin another.
        code = re.sub(r"<(?=[/!?a-zA-Z])", r"\\u003c", code.removesuffix("</script>"))
        if picture := self._repr_png_():  # under the canvas, in case 3Dmol can't be loaded
            style = "position: absolute; width: 100%; height: 100%; object-fit: contain; margin: 0"
            source = f"data:image/png;base64,{b64encode(picture).decode()}"
            still = f'<img alt="" style="{style}" src="{source}">'
            box = re.sub(r"<p id=.*?</p>", still, box, flags=re.DOTALL)
        return f"{box}<script>{code}</script>"

    _repr_html_ = _make_html

    def _repr_png_(self) -> bytes | None:
        picture = BytesIO()
        if self.still is not None:
            self.still().savefig(picture, format="png", dpi=120, bbox_inches="tight")
        return picture.getvalue() or None

    def __repr__(self) -> str:
        return "A structure to turn with the mouse."


def view_structure(
    structure: str, style: str = "cartoon", color: str = "spectrum", width=640, height=480
) -> StructureView:
    """Return a view of a structure that can be turned with the mouse, a ``py3Dmol.view``.

    `structure` is what `fetch_protein_structure` returns; `style` is one of `STYLES`, `color` one
    of `COLORINGS` (``"spectrum"`` goes along each chain); `width` and `height` are in pixels.
    """
    if style not in STYLES:
        raise ValueError(f"view_structure: no style {style!r}; choose {', '.join(STYLES)}.")
    drawn = _drawn(checked(structure, "view_structure"), style)
    if not re.search("^(ATOM|HETATM)", drawn, re.MULTILINE):
        raise ValueError(f"view_structure: no atom to draw as {style!r} has coordinates.")
    scheme, meaning = coloring(structure, color)
    view = StructureView(width=width, height=height)
    view.addModel(drawn, "pdb")
    view.setStyle({style: {"colorscheme": scheme}})
    for i, (name, shade) in enumerate(meaning.items()):
        place = {"useScreen": True, "position": {"x": 8, "y": 8 + 24 * i, "z": 0}, "fontSize": 12}
        view.addLabel(name, {"backgroundColor": shade} | place)
    # The same direction of view as the still picture's.
    view.rotate(-(90 + AZIM), "vz")
    view.rotate(ELEV - 90, "vx")
    view.zoomTo()
    view.still = partial(plot_structure, structure, color) if len(_residues(structure)) else None
    return view


def plot_structure(structure: str, color: str = "spectrum") -> Figure:
    """Draw the chains from alpha carbon to alpha carbon, as a still picture."""
    residues = _residues(checked(structure, "plot_structure"))
    if residues.empty:
        fault = "no amino acid here has an alpha carbon with coordinates"
        raise ValueError(f"plot_structure: {fault}. Use view_structure(..., style='sphere').")
    scheme, meaning = coloring(structure, color)
    values, places = residues[scheme["prop"]], residues[["x", "y", "z"]].to_numpy()
    if color == "spectrum":
        shades = colormaps["viridis"](0.1 + 0.9 * (values - values.min()) / (np.ptp(values) or 1))
    else:
        shades = list(values.map(scheme["map"]))
    # Each residue's line begins at the one before; the first of a chain is a dot.
    same = (residues.chain == residues.chain.shift()).to_numpy()
    begins = np.where(same[:, None], np.roll(places, 1, axis=0), places - 0.01)
    lines = np.stack([begins, places], axis=1)
    figure = plt.figure(figsize=(5, 5), layout="constrained")
    ax = figure.add_subplot(projection="3d")
    ax.add_collection3d(Line3DCollection(lines, colors=shades, linewidths=2.5, capstyle="round"))
    ax.auto_scale_xyz(*places.T)
    ax.set_box_aspect(np.ptp(places, axis=0).clip(min=1), zoom=1.05)  # one scale for all axes
    ax.set_axis_off()
    ax.view_init(elev=ELEV, azim=AZIM)
    for name, shade in meaning.items():
        ax.plot([], [], [], color=shade, linewidth=5, label=name)
    if meaning:
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
    plt.close(figure)  # for pyplot, so that a notebook shows it once
    return figure


def coloring(structure: str, color: str) -> tuple[dict, dict[str, str]]:
    """Return one of `COLORINGS` as 3Dmol's colorscheme, and its colours by what they mean."""
    if color not in COLORINGS:
        raise ValueError(f"There is no color {color!r}; choose {', '.join(COLORINGS)}.")
    residues = _residues(structure)
    if color == "spectrum":
        ends = residues.resi.agg(["min", "max"]).fillna(0).astype(int).to_dict()
        return {"prop": "resi", "gradient": "linear", "colors": _SHADES} | ends, {}
    if color == "chain":
        shades = dict(zip(residues.chain.unique(), cycle(PALETTE), strict=False))
        return {"prop": "chain", "map": shades}, {}
    if color == "secondary structure":
        meaning = dict(zip(("helix", "strand", "neither"), SECONDARY_COLORS.values(), strict=True))
        return {"prop": "ss", "map": SECONDARY_COLORS}, {} if residues.empty else meaning
    classes = {name: amino_acid_class(_LETTERS[name]) for name in residues.resn.unique()}
    meaning = {name: shade for name, shade in CLASS_COLORS.items() if name in classes.values()}
    return {"prop": "resn", "map": {name: meaning[x] for name, x in classes.items()}}, meaning


def checked(text: str, where: str) -> str:
    """Return a structure's text, without a byte-order mark, if it has atoms in the PDB format."""
    text = text.removeprefix("\ufeff") if isinstance(text, str) else repr(text)
    if re.search(r"^[ \t]*(?:data_\S|(?:loop_\s+)?_atom_site\.)", text, re.MULTILINE | re.I):
        raise ValueError(f"{where}: this is mmCIF, which is not read. Give the file in PDB format.")
    if not re.search(r"^(?:ATOM|HETATM)\s", text, re.MULTILINE):
        start = text.strip()[:60]
        raise ValueError(f"{where}: this is not a structure in the PDB format: {start!r}")
    return text


@lru_cache(maxsize=4)  # a page uses one structure several times in a row
def _residues(structure: str) -> pd.DataFrame:
    """Return the first model's amino acids with coordinates; columns are named as in 3Dmol."""
    found, kinds = {}, {}
    for line in structure.split("\nENDMDL")[0].splitlines():
        chain, resn = line[21:22], line[17:20]
        for number in _span(line):
            kinds[line[19] if line[0] == "H" else chain, number] = line[0].lower()
        # The residue is looked at because a calcium atom is called CA too.
        if (place := _place(line)) and line[12:16].strip() == "CA" and resn in _LETTERS:
            # The first of a residue's alternative positions.
            found.setdefault(line[21:27], (chain, int(line[22:26]), resn, *place))
    residues = pd.DataFrame(found.values(), columns=["chain", "resi", "resn", "x", "y", "z"])
    at = zip(residues.chain, residues.resi, strict=True)
    return residues.assign(ss=[kinds.get(key, "c") for key in at])


def _place(line: str) -> list[float]:
    """Return the coordinates in an atom's line; none if it has none, or is another line."""
    try:
        place = [float(line[at : at + 8]) for at in (30, 38, 46) if int(line[22:26]) < 10_000]
    except ValueError:
        return []
    return place if line.startswith(("ATOM", "HETATM")) and np.isfinite(place).all() else []


def _span(line: str) -> range:
    """Return the residue numbers in a HELIX or SHEET line; none if it is another line."""
    try:
        begin = {"HELIX ": 21, "SHEET ": 22}[line[:6]]
        return range(int(line[begin : begin + 4]), int(line[33:37]) + 1)
    except (KeyError, ValueError):
        return range(0)


def _drawn(structure: str, style: str) -> str:
    """Return the lines that 3Dmol needs to draw a style."""
    lines = []
    for line in structure.splitlines():
        amino = line[17:20] in _LETTERS
        # Without END, at which 3Dmol forgets HELIX and SHEET.
        if line.startswith(("HEADER", "TER", "ENDMDL", "MODEL ")) or _span(line):
            lines.append(line[:72].rstrip())
        elif not _place(line):
            continue
        elif style != "cartoon" or (line.startswith("ATOM") and not amino):
            lines.append(line)  # cartoons of DNA and RNA take all their atoms
        elif amino and line[12:16] in (" CA ", " O  "):
            # A modified residue (HETATM) is part of the chain too. Coordinates end at 54.
            lines.append("ATOM  " + line[6:54])
    return "\n".join(lines) + "\n"


def _downloaded(pdb_id: str) -> str:
    url = f"{RCSB}/{pdb_id}.pdb"
    try:
        answer = requests.get(url, timeout=TIMEOUT)
        if answer.status_code == 404:
            fault = f"The Protein Data Bank has no entry {pdb_id} in the PDB format"
            raise FileNotFoundError(f"{fault}. The largest are in mmCIF only, which is not read.")
        answer.raise_for_status()
        return checked(answer.content.decode(errors="replace"), url)
    except (requests.RequestException, ValueError) as error:
        way_out = "Connect to the network and try again, or set DLFB_EDITION=pocket"
        raise ConnectionError(f"{url} gave no structure: {error} {way_out}.") from error
