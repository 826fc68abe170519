"""Every page keeps the page contract. What it computes is held by nbval, on the same files."""

import nbformat
import pytest

from tests.notebooks import guards
from tools.build_book import toc_files
from tools.colab_cell import ROOT, colab_cell
from tools.run_pages import read_text_half

FOLDER = ROOT / "notebooks"
EXECUTED = sorted(FOLDER.glob("*.ipynb"))
page = pytest.mark.parametrize("path", EXECUTED, ids=lambda path: path.stem)


def keeps(problems: list[str]) -> None:
    assert not problems, "\n" + "\n".join(f"- {problem}" for problem in problems)


@pytest.fixture(scope="module")
def read():
    cache = {}

    def reader(path):
        if path not in cache:
            cache[path] = nbformat.read(path, as_version=4)
        return cache[path]

    return reader


def test_table_of_contents_names_every_page():
    keeps(guards.toc_problems(toc_files(ROOT), ROOT))


@page
def test_halves_agree(path, read):
    keeps(guards.pair_problems(read_text_half(path.with_suffix(".md")), read(path)))


@page
def test_executed_in_order_without_errors(path, read):
    keeps(guards.execution_problems(read(path)))


@page
def test_stores_nothing_that_differs_between_runs(path, read):
    keeps(guards.stability_problems(read(path)))


@page
def test_keeps_the_contract(path, read):
    keeps(guards.contract_problems(read(path), colab_cell()))


@page
def test_pictures_have_words(path, read):
    keeps(guards.picture_problems(read(path)))


@page
def test_links_resolve(path, read):
    sources = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    keeps(guards.link_problems(sources, FOLDER))


@page
def test_names_no_machine(path, read):
    keeps(guards.place_problems(read(path)))


@page
def test_is_small(path):
    keeps(guards.size_problems(path))


@pytest.mark.parametrize("name", ["index.md", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_the_other_pages_resolve(name):
    keeps(guards.link_problems([(ROOT / name).read_text(encoding="utf8")], ROOT))


@pytest.mark.parametrize("name", ["index.md", "README.md"])
def test_pictures_of_the_other_pages_have_words(name):
    keeps(guards.markdown_pictures((ROOT / name).read_text(encoding="utf8")))
