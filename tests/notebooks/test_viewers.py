"""What notebook viewers show of a page: GitHub and Colab, which know no MyST, and JupyterLab."""

import re

import pytest
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbformat.v4 import new_markdown_cell, new_notebook

from tests.notebooks.guards import code_cells
from tests.notebooks.test_pages import FOLDER, read
from tools.halves import read_text_half

PAGES = sorted(FOLDER.glob("*.ipynb"))
# Roles, directives, their options and labels, as they would be read.
LEFTOVER = re.compile(r"\{[a-z]+(?::[a-z]+)?\}|^\s*:::|^\s*:[a-z-]+:|^\s*\([\w-]+\)=", re.MULTILINE)


def words(notebook) -> str:
    """Return what a viewer shows of the Markdown of a notebook, without code in it."""
    cells = [new_markdown_cell(c.source) for c in notebook.cells if c.cell_type == "markdown"]
    html, _ = HTMLExporter().from_notebook_node(new_notebook(cells=cells))
    page = BeautifulSoup(html, "html.parser").body
    for code in page.find_all(["pre", "code", "script", "style"]):
        code.decompose()
    return page.get_text()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_nothing_unreadable_is_left_where_no_myst_is_known(path):
    text = words(read(path))
    assert len(text) > 3000 and LEFTOVER.search(text) is None


@pytest.mark.parametrize(
    "source", ["see {numref}`a`", ":::{note}\nx\n:::", ":class: tip", "(label)=", "{cite:t}`a`"]
)
def test_leftovers_are_noticed(source):
    assert LEFTOVER.search(words(new_notebook(cells=[new_markdown_cell(source)])))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_captions_are_shown_and_solutions_are_folded(path):
    cells = read(path).cells
    for number, cell in code_cells(read(path)):
        tags = cell.metadata.get("tags", [])
        folded = cell.metadata.get("jupyter", {})
        hidden = "hide-input" in tags or "hide-cell" in tags
        assert (cell.metadata.get("cellView") == "form") == hidden  # Colab
        assert folded.get("source_hidden", False) == hidden  # JupyterLab
        assert folded.get("outputs_hidden", False) == ("hide-cell" in tags)
        if caption := cell.metadata.get("mystnb", {}).get("figure", {}).get("caption"):
            assert re.fullmatch(
                r"\*Figure \d+\.\d+\.\* " + re.escape(caption), cells[number + 1].source
            )


def test_a_text_half_that_jupyterlab_saved_has_its_captions_once(tmp_path):
    page = tmp_path / "07_page.md"
    page.write_text("""\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
---

```{code-cell}
---
mystnb:
  figure:
    caption: '**New.** Words.'
---
1
```

+++ {"tags": ["caption", "remove-cell"]}

*Figure 3.9.* **Old.** Words.
""")
    captions = [cell.source for cell in read_text_half(page).cells if cell.cell_type == "markdown"]
    assert captions == ["*Figure 7.1.* **New.** Words."]
