"""make student: writes copies of the pages for a class, without solutions and without outputs.

    python tools/student.py [FOLDER]     the folder is student/, unless you name another

Each exercise keeps its question. What follows it, up to the next heading, becomes an empty cell.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.halves import read_text_half

ROOT = Path(__file__).resolve().parents[1]
EXERCISES, FOLDED = "## Check yourself", "<details"


def without_solutions(cells: list) -> Iterator[nbformat.NotebookNode]:
    """Yield the cells of a page, with one empty cell in place of the solution of each exercise."""
    inside = solving = False
    for cell in _one_heading_each(cells):
        if heading := cell.cell_type == "markdown" and re.match(r"#{1,2} .*|###", cell.source):
            inside = heading[0] == EXERCISES or (inside and heading[0] == "###")
            solving = False
        question, _, in_words = cell.source.partition(FOLDED)
        if not inside:
            yield cell
        elif solving:
            continue
        elif solving := bool(in_words):
            yield new_markdown_cell(f"{question}*Your answer:*")
        elif solving := "hide-cell" in cell.metadata.get("tags", []):
            yield new_code_cell("# Your answer\n")
        else:
            yield cell


def _one_heading_each(cells: list) -> Iterator[nbformat.NotebookNode]:
    """Yield the cells; one of Markdown in pieces, so that a heading is at a beginning only."""
    for cell in cells:
        if cell.cell_type == "code":
            yield cell
            continue
        for piece in re.split(r"^(?=##)", cell.source, flags=re.MULTILINE):
            if piece.strip():
                yield new_markdown_cell(piece.strip(), metadata=cell.metadata)


def main(folder: Path) -> None:
    """Write the copies of all pages into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = sorted((ROOT / "notebooks").glob("[0-9]*.md"))
    for text_half in pages:
        notebook = read_text_half(text_half)
        notebook.cells = list(without_solutions(notebook.cells))
        nbformat.write(notebook, folder / f"{text_half.stem}.ipynb")
    print(f"{len(pages)} pages without solutions are in {folder}.")


if __name__ == "__main__":
    main(Path(*sys.argv[1:2] or [ROOT / "student"]))
