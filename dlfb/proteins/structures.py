"""Three-dimensional structures: fetching them and turning them (notebook 01).

A structure is passed around as the text of its file, in the PDB format or, for
entries too large for it, in mmCIF. The archive is the Protein Data Bank, read
from RCSB; its data are in the public domain (CC0 1.0).
"""

import os
import re
import tempfile
from pathlib import Path

from dlfb.proteins.structure_views import (
    COLORINGS,
    STYLES,
    checked,
    plot_structure,
    read_chains,
    view_structure,
)
from dlfb.utils.context import assets, edition
from dlfb.utils.download import DownloadError, NotThereError, Wanted, download, keep

__all__ = [
    "COLORINGS",
    "STRUCTURES",
    "STYLES",
    "available_structures",
    "fetch_protein_structure",
    "plot_structure",
    "read_chains",
    "view_structure",
]

STRUCTURES = {"3I40": "insulin", "1BKV": "collagen", "1YAR": "proteasome"}
RCSB = "https://files.rcsb.org/download"

_KINDS = ("pdb", "cif")


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
        If the archive can't be reached, or answers with something else.
    """
    if not isinstance(pdb_id, str) or not re.fullmatch("[0-9][A-Za-z0-9]{3}", pdb_id.strip()):
        raise ValueError(
            f"{pdb_id!r} is no PDB id: one has four letters or digits and begins with a digit, "
            "such as '3I40'."
        )
    pdb_id = pdb_id.strip().upper()
    for path in _local_paths(pdb_id):
        if path.is_file():
            return checked(path.read_text(encoding="utf-8", errors="replace"), str(path))
    if edition() != "full":
        raise FileNotFoundError(_not_here(pdb_id))
    for path in _local_paths(pdb_id):
        text = _download(f"{RCSB}/{path.name}")
        if text is not None:
            keep(text.encode(), path)
            return text
    raise FileNotFoundError(f"The Protein Data Bank has no entry {pdb_id}. Check the id.")


def available_structures() -> dict[str, str]:
    """Return those of `STRUCTURES` that can be fetched here, id to name."""
    return {
        pdb_id: name
        for pdb_id, name in STRUCTURES.items()
        if edition() == "full" or any(path.is_file() for path in _local_paths(pdb_id))
    }


def _local_paths(pdb_id: str) -> list[Path]:
    return [Path(assets(f"proteins/structures/{pdb_id}.{kind}")) for kind in _KINDS]


def _download(url: str) -> str | None:
    """Return the structure that stands at an address, None if nothing does."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = download(Wanted(url, Path(folder) / url.rsplit("/", 1)[-1])).path
        except NotThereError:
            return None
        except DownloadError as error:
            raise ConnectionError(
                f"{error} Connect to the network, or set DLFB_EDITION=pocket for the structures "
                "that come with dlfb."
            ) from error
        return checked(file.read_text(encoding="utf-8", errors="replace"), url)


def _not_here(pdb_id: str) -> str:
    assets_folder = os.environ.get("DLFB_ASSETS")
    where = f"the assets in {assets_folder}" if assets_folder else f"the {edition()} edition"
    have = [f"{known} ({name})" for known, name in available_structures().items()]
    return (
        f"There is no structure {pdb_id} in {where}. At hand: {', '.join(have) or 'none'}. "
        "Any other entry is downloaded after dlfb.use_edition('full'), which needs the network."
    )
