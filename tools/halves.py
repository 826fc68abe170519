"""The two halves of a page: what the text half says, and whether the executed half agrees with it.

Notebook viewers know neither captions nor folded cells of MyST. So what a page says in the metadata
of its cells is said once more for them: a caption in a Markdown cell under its figure, which the
site leaves out, and a folded cell in the words of JupyterLab and of Colab.
"""

import hashlib
import re
from collections import Counter
from pathlib import Path

import jupytext
import nbformat
import yaml

from tools.colab_cell import FIRST_LINE

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python", "file_extension": ".py", "pygments_lexer": "ipython3"}
LEAVES_OUT_FOLDS = "  cell_metadata_filter: -jupyter,-cellView\n"
CAPTION = "caption"  # the tag of a cell that repeats a figure's caption
CODE_CELL = re.compile(
    r"^```\{code-cell\}[^\n]*\n(?:---\n(.*?)^---\n)?.*?^```\n", re.MULTILINE | re.DOTALL
)
CAPTION_HEAD = f'\n+++ {{"tags": ["{CAPTION}", "remove-cell"]}}\n\n'
CAPTION_CELL = re.compile(re.escape(CAPTION_HEAD) + r".*\n(?:\n\+\+\+\n)?")
# A fold of the site -> the same in JupyterLab; Colab folds the code.
FOLDS = {"hide-input": {"source_hidden": True},
         "hide-cell": {"source_hidden": True, "outputs_hidden": True}}  # fmt: skip


def read_text_half(path: Path) -> nbformat.NotebookNode:
    """Return the notebook that a text half holds, without outputs, as it will be stored."""
    notebook = jupytext.read(path, fmt="md:myst")
    about = {"jupytext": {"default_lexer": "ipython3"}, "kernelspec": KERNEL}
    notebook.metadata = nbformat.from_dict({**about, "language_info": LANGUAGE})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        for fold in FOLDS.keys() & set(cell.metadata.get("tags", [])):
            cell.metadata |= nbformat.from_dict({"jupyter": FOLDS[fold], "cellView": "form"})
        # From the cell's own words: an id changes when its cell does, and with nothing else.
        words = f"{cell.cell_type}\n{cell.source}"
        identifier = hashlib.sha256(words.encode()).hexdigest()[:8]
        seen[identifier] += 1
        cell.id = identifier if seen[identifier] == 1 else f"{identifier}-{seen[identifier]}"
    return notebook


def write_for_viewers(path: Path) -> None:
    """Repeat in a text half each figure's caption, with its number, in a cell below the figure.

    Folds follow from tags, so the text leaves them out, and its header tells jupytext so.
    """
    before = path.read_text(encoding="utf8")
    text, figures = CAPTION_CELL.sub("", before), 0
    if LEAVES_OUT_FOLDS not in text:
        text = text.replace("jupytext:\n", f"jupytext:\n{LEAVES_OUT_FOLDS}", 1)

    def below(cell: re.Match) -> str:
        nonlocal figures
        settings = (yaml.safe_load(cell[1] or "") or {}).get("mystnb", {})
        if not (caption := settings.get("figure", {}).get("caption")):
            return cell[0]
        figures += 1
        words = f"*Figure {int(path.stem[:2])}.{figures}.* {caption}\n"
        follows = text[cell.end() :].lstrip("\n").startswith(("```{code-cell}", "+++"))
        return cell[0] + CAPTION_HEAD + words + ("" if follows else "\n+++\n")

    after = CODE_CELL.sub(below, text)
    if after != before:
        path.write_text(after, encoding="utf8")


def source_of(notebook: nbformat.NotebookNode) -> str:
    """Return a hash of what people write in a notebook, so that an edit is noticed."""
    written = [cell for cell in notebook.cells if FIRST_LINE not in cell.source]  # `make home`'s
    words = repr([(cell.cell_type, cell.source) for cell in written])
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def was_edited(text_path: Path, path: Path) -> bool:
    """Return whether the executed half says what its text half does not, and was written later."""
    if not path.exists():
        return False
    text, executed = read_text_half(text_path), nbformat.read(path, as_version=4)
    if cells_of(text) == cells_of(executed):
        return False
    stored = executed.metadata.get("dlfb", {}).get("source")
    words, wanted = source_of(executed), source_of(text)
    if stored is None or stored == words == wanted:  # no hash tells, or only tags of cells differ
        return path.stat().st_mtime > text_path.stat().st_mtime
    return words not in (stored, wanted)


def keep_outputs(text: nbformat.NotebookNode, path: Path) -> None:
    """Give a text half the outputs of its executed half; the code of both has to be the same."""
    if not path.exists():
        raise ValueError("it was never executed: leave out --text.")
    executed = nbformat.read(path, as_version=4)
    code, stored = ([c for c in half.cells if c.cell_type == "code"] for half in (text, executed))
    if [cell.source for cell in code] != [cell.source for cell in stored]:
        raise ValueError("its code has changed, so it has to be executed: leave out --text.")
    for cell, old in zip(code, stored, strict=True):
        cell.outputs, cell.execution_count = old.outputs, old.execution_count
    text.metadata["dlfb"] = executed.metadata["dlfb"] | {"source": source_of(text)}


def cells_of(notebook: nbformat.NotebookNode) -> list[tuple]:
    """Return what the two halves of a page have to agree on, cell by cell."""
    return [(cell.cell_type, cell.source, cell.metadata) for cell in notebook.cells]
