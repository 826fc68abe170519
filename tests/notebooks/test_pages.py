"""Every page keeps the page contract. What it computes is held by nbval, on the same files."""

import re
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
    "width": lambda path, page: guards.width_problems(page),
    "numbers": lambda path, page: guards.number_problems(page),
    "viewers": lambda path, page: guards.viewer_problems(page),
}


@cache
def read(path):
    return nbformat.read(path, as_version=4)


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


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_page_is_small_enough_to_be_read_on_a_telephone(path):
    assert path.stat().st_size < 2e6


# The links of the site's pages are checked when it is built.
@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_of_other_pages_lead_somewhere(name):
    text = re.sub(r"^````.*?^````", "", (ROOT / name).read_text("utf8"), flags=re.M | re.S)
    targets = re.findall(r"\]\(([^)#]+)", text)
    there = [target for target in targets if "://" not in target and (ROOT / target).exists()]
    assert there == [target for target in targets if "://" not in target] != []


@pytest.mark.parametrize("name", ["README.md", "index.md"])
def test_pictures_of_other_pages_have_words(name):
    keeps(guards.markdown_pictures((ROOT / name).read_text("utf8")))
