"""The outside world in small, on loopback: the book's host, GO's, the hub and RCSB.

Its data are a third of the pocket proteome, handed out as the book's host hands out its own.
"""

import hashlib
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import nbformat

from tests.loopback import Loopback, serve_hub
from tests.tiny_esm import CHECKPOINTS, save_tiny_esm

ROOT = Path(__file__).parents[2]
STARTUP = Path(__file__).parent / "startup"
REVISION = "f" * 40
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
    go: Loopback
    hub: Loopback
    rcsb: Loopback
    elsewhere: Loopback  # the proxy that anything else would go through
    models: Path
    log: Path
    environment: dict[str, str]

    def hosts(self) -> tuple[Loopback, ...]:
        return self.book, self.go, self.hub, self.rcsb


class Pages(NamedTuple):
    """The executed pages, and what the command said that provided their files."""

    notebooks: dict[str, nbformat.NotebookNode]
    provisioned: str

    def text(self, number: str) -> str:
        """Return all text that a page shows."""
        return text_of(self.notebooks[number])


def text_of(notebook) -> str:
    shown = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            shown.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
    return "\n".join(shown)


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
    # The book's trained network has a format of its own, which dlfb neither reads nor needs.
    files["proteins/models/mlp/checkpoint_300/_METADATA"] = b"{}"
    files["dna/datasets/genome.fa"] = b">another chapter's\nACGT\n"
    server.files = {f"/{name}": content for name, content in files.items()}
    listing = "".join(f"{len(content)} {name}\n" for name, content in files.items())
    server.files["/urls.txt"] = listing.encode()


def serve_model(server: Loopback, name: str, folder: Path) -> list:
    """Serve a tiny model under a checkpoint's name, and return what is to be pinned of it."""
    save_tiny_esm(folder, hidden_size=WIDTHS[name], seed=WIDTHS[name])
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        (folder / file).write_text("{}")
    serve_hub(server, name, REVISION, folder)
    weights = (folder / "model.safetensors").read_bytes()
    return [REVISION, hashlib.sha256(weights).hexdigest(), len(weights)]


def serve_structures(server: Loopback) -> None:
    """Serve three entries: collagen with modified residues and water, the proteasome as mmCIF."""
    from Bio.PDB import MMCIFIO, PDBParser, Select

    def pdb_text(pdb_id):
        return (ROOT / f"dlfb/pocket/proteins/structures/{pdb_id}.pdb").read_text()

    class PartOfAnAssembly(Select):
        def accept_chain(self, chain):
            return chain.id <= "U"  # 21 of 28

        def accept_atom(self, atom):
            return atom.id == "CA"

    water = "HETATM 9999  O   HOH A 999       0.000   0.000   0.000  1.00  0.00           O  \n"
    collagen = re.sub(r"^ATOM  (.{11}HYP)", r"HETATM\1", pdb_text("1BKV"), flags=re.M)
    server.files["/3I40.pdb"] = pdb_text("3I40").encode()
    server.files["/1BKV.pdb"] = (water + collagen).encode()
    model = PDBParser(QUIET=True).get_structure("1YAR", io.StringIO(pdb_text("1YAR")))
    writer, text = MMCIFIO(), io.StringIO()
    writer.set_structure(model)
    writer.save(text, PartOfAnAssembly())
    server.files["/1YAR.cif"] = text.getvalue().encode()
