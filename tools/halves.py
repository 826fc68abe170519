"""The two halves of a page: what the text half says, and whether the executed half agrees with it.

Notebook viewers know neither captions nor folded cells of MyST. So what a page says in the metadata
of its cells is said once more for them as the text half is read: a caption as a Markdown cell under
its figure, which the site leaves out, and a folded cell in the words of JupyterLab and of Colab.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
from nbformat.v4 import new_markdown_cell

from tools.colab_cell import FIRST_LINE

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python", "file_extension": ".py", "pygments_lexer": "ipython3"}
EDITED = "the notebook was edited"
CAPTION = "caption"  # the tag of a cell that is made from a figure's caption
# A fold of the site -> the same in JupyterLab; Colab folds the code.
FOLDS = {"hide-input": {"source_hidden": True},
         "hide-cell": {"source_hidden": True, "outputs_hidden": True}}  # fmt: skip


def read_text_half(path: Path) -> nbformat.NotebookNode:
    """Return the notebook that a text half holds, without outputs, as it will be stored."""
    notebook = jupytext.read(path, fmt="md:myst")
    about = {"jupytext": {"default_lexer": "ipython3"}, "kernelspec": KERNEL}
    notebook.metadata = nbformat.from_dict({**about, "language_info": LANGUAGE})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.cells = list(_for_viewers(notebook.cells, int(path.stem[:2])))
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        # From the cell's own words: an id changes when its cell does, and with nothing else.
        words = f"{cell.cell_type}\n{cell.source}"
        identifier = hashlib.sha256(words.encode()).hexdigest()[:8]
        seen[identifier] += 1
        cell.id = identifier if seen[identifier] == 1 else f"{identifier}-{seen[identifier]}"
    return notebook


def _for_viewers(cells: list, page: int) -> Iterator[nbformat.NotebookNode]:
    """Yield the cells of a page with their folds, and a caption under each figure."""
    figures = 0
    for cell in cells:
        tags = cell.metadata.get("tags", [])
        if CAPTION in tags:
            continue  # JupyterLab has written it into the text half
        for fold in set(tags) & FOLDS.keys():
            cell.metadata |= nbformat.from_dict({"jupyter": FOLDS[fold], "cellView": "form"})
        yield cell
        if caption := cell.metadata.get("mystnb", {}).get("figure", {}).get("caption"):
            figures += 1
            words = f"*Figure {page}.{figures}.* {caption}"
            yield new_markdown_cell(words, metadata={"tags": [CAPTION, "remove-cell"]})


def source_of(notebook: nbformat.NotebookNode) -> str:
    """Return a hash of what people write in a notebook, so that an edit is noticed."""
    written = [cell for cell in notebook.cells if FIRST_LINE not in cell.source]  # `make home`'s
    words = repr([(cell.cell_type, cell.source) for cell in written])
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def stale(text_path: Path, path: Path | None = None) -> str | None:
    """Return why the executed half must be made anew, or None if it agrees with its text."""
    path = path or text_path.with_suffix(".ipynb")
    if not path.exists():
        return "never executed"
    text, executed = read_text_half(text_path), nbformat.read(path, as_version=4)
    if _cells(text) == _cells(executed):
        code = [cell for cell in executed.cells if cell.cell_type == "code"]
        return None if all(c.execution_count for c in code) else "some cells were never executed"
    stored, words = executed.metadata.get("dlfb", {}).get("source"), source_of(executed)
    if stored not in (None, words):
        was_edited = words != source_of(text)
    elif stored and words != source_of(text):
        was_edited = False
    else:  # no hash tells, or only tags of cells differ, which it leaves out
        was_edited = path.stat().st_mtime > text_path.stat().st_mtime
    return EDITED if was_edited else "the text has changed"


def keep_outputs(text: nbformat.NotebookNode, executed: nbformat.NotebookNode) -> None:
    """Give a text half the outputs of its executed half; the code of both has to be the same."""
    code, stored = ([c for c in half.cells if c.cell_type == "code"] for half in (text, executed))
    if [cell.source for cell in code] != [cell.source for cell in stored]:
        raise ValueError("its code has changed, so it has to be executed: leave out --text.")
    for cell, old in zip(code, stored, strict=True):
        cell.outputs, cell.execution_count = old.outputs, old.execution_count
    text.metadata["dlfb"] = executed.metadata["dlfb"] | {"source": source_of(text)}


def _cells(notebook: nbformat.NotebookNode) -> list[tuple]:
    return [(cell.cell_type, cell.source, cell.metadata) for cell in notebook.cells]
