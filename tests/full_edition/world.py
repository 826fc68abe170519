"""The outside world in small, on loopback: the book's host, GO's, the hub and RCSB.

Its data are half of the shipped proteins, handed out as the book's host hands out its own.
"""

import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import nbformat
import pandas as pd

from dlfb.proteins.language_model import REVISIONS
from dlfb.proteins.structures import STRUCTURES
from tests.loopback import Loopback, serve_hub
from tests.tiny_esm import CHECKPOINTS, save_tiny_esm

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "dlfb/pocket/proteins"
STARTUP = Path(__file__).parent / "startup"
WIDTHS = dict(zip(CHECKPOINTS, (32, 40, 48), strict=True))  # tell one model from another
# Two processes at a time, as many as the cores of the continuous integration. The pages of
# each share what they store, as in `make book`.
GROUPS = (("01", "02", "03", "04", "05"), ("06", "07", "08"))
GO = "releases/2030-01-01"
TABLES = ("train_terms.tsv.zip", "train_taxonomy.tsv.zip")
OFFLINE = ("01", "05")


class World(NamedTuple):
    """The hosts, what they hand out, and the environment of a reader who asks them."""

    book: Loopback
    hub: Loopback
    rcsb: Loopback
    elsewhere: Loopback  # the proxy that anything else would go through
    models: Path
    log: Path
    environment: dict[str, str]


class Pages(NamedTuple):
    """The executed pages, and what the command said that provided their files."""

    notebooks: dict[str, nbformat.NotebookNode]
    provisioned: str

    def text(self, number: str) -> str:
        """Return all text that a page shows."""
        outputs = [o for cell in self.notebooks[number].cells for o in cell.get("outputs", [])]
        return "\n".join(o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs)


def read_data() -> dict[str, pd.DataFrame | str]:
    """Return every second protein that is shipped: tables, sequences, and GO of another date."""
    folder = SHIPPED / "datasets"
    terms, taxonomy = (pd.read_csv(folder / name, sep="\t", dtype=str) for name in TABLES)
    chosen = set(taxonomy["EntryID"].sort_values()[::2])
    records = re.findall(r">(\S+)\n(\w+)", (folder / "train_sequences.fasta").read_text())
    sequences = pd.DataFrame(records, columns=["EntryID", "Sequence"])
    frames = {"terms": terms, "taxonomy": taxonomy, "sequences": sequences}
    frames = {name: t[t["EntryID"].isin(chosen)].reset_index(drop=True)
              for name, t in frames.items()}  # fmt: skip
    ontology = (folder / "go-basic.obo").read_text()
    return frames | {"ontology": re.sub("data-version: .*", f"data-version: {GO}", ontology)}


def execute(groups, output: Path, environment: dict[str, str]) -> dict[str, nbformat.NotebookNode]:
    """Execute groups of pages side by side, with the tool that `make book EDITION=full` uses."""
    tool = [sys.executable, str(ROOT / "tools/run_pages.py"), "--output-dir", str(output)]
    runs = [
        subprocess.Popen([*tool, *group], env=environment, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for group in groups
    ]  # fmt: skip
    told = [run.communicate()[0] for run in runs]
    assert not any(run.returncode for run in runs), "\n".join(told)
    numbers = [number for group in groups for number in group]
    files = {number: next(output.glob(f"{number}_*.ipynb")) for number in numbers}
    return {number: nbformat.read(file, as_version=4) for number, file in files.items()}


def serve_book(server: Loopback, data) -> None:
    """Serve the chapter as the book's host does: urls.txt, zipped tables, no ontology."""
    files = {}
    for name in TABLES:
        table = data[name.split("_")[1].split(".")[0]].to_csv(sep="\t", index=False)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name.removesuffix(".zip"), table)
        files[f"proteins/datasets/{name}"] = buffer.getvalue()
    fasta = "".join(f">{r.EntryID} served\n{r.Sequence}\n" for r in data["sequences"].itertuples())
    files["proteins/datasets/train_sequences.fasta"] = fasta.encode()
    files["dna/datasets/genome.fa"] = b">another chapter's\nACGT\n"
    server.files = {f"/{name}": content for name, content in files.items()}
    listing = "".join(f"{len(content)} {name}\n" for name, content in files.items())
    server.files |= {"/urls.txt": listing.encode(), "/go-basic.obo": data["ontology"].encode()}


def serve_models(server: Loopback, folder: Path) -> None:
    """Serve a tiny model of its own width under each of the chapter's names and revisions."""
    for name, width in WIDTHS.items():
        save_tiny_esm(folder / name, hidden_size=width, seed=width)
        serve_hub(server, name, REVISIONS[name], folder / name)


def serve_structures(server: Loopback) -> None:
    """Serve the page's entries, collagen with modified residues and water."""
    for pdb_id in STRUCTURES:
        text = (SHIPPED / f"structures/{pdb_id}.pdb").read_text()
        if pdb_id == "1BKV":
            water = "HETATM 9999  O   HOH A 999       0.000   0.000   0.000  1.00  0.00           O"
            text = f"{water}  \n" + re.sub(r"^ATOM  (.{11}HYP)", r"HETATM\1", text, flags=re.M)
        server.files[f"/{pdb_id}.pdb"] = text.encode()
