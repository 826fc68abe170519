"""Every page keeps the page contract. What it computes is held by nbval, on the same files."""

from functools import cache

import nbformat
import pytest

from tests.notebooks import guards
from tools.build_book import toc_files
from tools.colab_cell import ROOT, colab_cell
from tools.halves import read_text_half

FOLDER = ROOT / "notebooks"
RULES = {
    "halves": lambda path, page: guards.pair_problems(
        read_text_half(path.with_suffix(".md")), page
    ),
    "execution": lambda path, page: guards.execution_problems(page),
    "stability": lambda path, page: guards.stability_problems(page),
    "contract": lambda path, page: guards.contract_problems(page, colab_cell()),
    "pictures": lambda path, page: guards.picture_problems(page),
    "links": lambda path, page: guards.link_problems(markdown(page), FOLDER),
    "words": lambda path, page: guards.word_problems(page),
    "width": lambda path, page: guards.width_problems(page),
    "real": lambda path, page: guards.invention_problems(page),
    "numbers": lambda path, page: guards.number_problems(page),
    "viewers": lambda path, page: guards.viewer_problems(page),
    "size": lambda path, page: guards.size_problems(path),
}


@cache
def read(path):
    return nbformat.read(path, as_version=4)


def markdown(page) -> list[str]:
    return [cell.source for cell in page.cells if cell.cell_type == "markdown"]


def keeps(problems: list[str]) -> None:
    assert not problems, "\n" + "\n".join(f"- {problem}" for problem in problems)


def test_table_of_contents_names_every_page():
    for ending in (".ipynb", ".md"):
        pages = [f"notebooks/{path.stem}.ipynb" for path in sorted(FOLDER.glob(f"*{ending}"))]
        assert [name for name in toc_files(ROOT) if name.startswith("notebooks/")] == pages


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_page_keeps_the_rule(path, rule):
    keeps(RULES[rule](path, read(path)))


@pytest.mark.parametrize("name", ["index.md", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_other_pages_keep_theirs(name):
    text = (ROOT / name).read_text(encoding="utf8")
    keeps(guards.link_problems([text], ROOT))
    keeps(guards.markdown_pictures(text) if name in ("index.md", "README.md") else [])
