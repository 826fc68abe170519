"""Each guard is seen failing, on a page that keeps every rule but one.

The good page is the template of CONTRIBUTING.md, executed: so the template is held to the contract,
and the tool that executes pages to its promises.
"""

import copy
import os
import re
import shutil

import jupytext.cli
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from tests.notebooks import guards
from tools import halves, run_pages
from tools.build_book import toc_files
from tools.colab_cell import ROOT, colab_cell, write_into_pages

FEW = (5, 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with one page, the template, executed."""
    root = tmp_path_factory.mktemp("book")
    pages = root / "notebooks"
    pages.mkdir()
    shutil.copy(ROOT / "pyproject.toml", root)
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf8")
    (template,) = re.findall(r"^````markdown\n(.*?)^````$", contributing, re.M | re.S)
    (pages / "01_page.md").write_text(template.replace("02_next_page.ipynb", "01_page.ipynb"))
    write_into_pages(root)
    assert run_pages.run([pages / "01_page.md"], pages, timeout=300) == []
    return pages


@pytest.fixture
def text(folder):
    return halves.read_text_half(folder / "01_page.md")


@pytest.fixture
def page(folder):
    return nbformat.read(folder / "01_page.ipynb", as_version=4)


def code(page, number=-1):
    return guards.code_cells(page)[number][1]


def figure_cell(page):
    return next(cell for cell in page.cells if "figure" in cell.metadata.get("mystnb", {}))


def fails(problems, words):
    assert any(re.search(words, problem) for problem in problems), problems


def test_the_template_keeps_every_rule(folder, text, page):
    sources = [cell.source for cell in page.cells if cell.cell_type == "markdown"]
    assert guards.pair_problems(text, page) == []
    assert guards.execution_problems(page) == []
    assert guards.stability_problems(page) == []
    assert guards.contract_problems(page, colab_cell(), FEW) == []
    assert guards.picture_problems(page) == []
    assert guards.link_problems(sources, folder) == []
    assert guards.word_problems(page) == guards.invention_problems(page) == []
    assert guards.width_problems(page) == guards.plain_problems(page) == []
    assert guards.number_problems(page) == []
    assert guards.size_problems(folder / "01_page.ipynb") == []


@pytest.mark.parametrize("what", ["source", "metadata", "count", "kind"])
def test_halves_that_differ(text, page, what):
    if what == "source":
        page.cells[0].source += " more"
    elif what == "metadata":
        del figure_cell(page).metadata["mystnb"]
    else:
        last = page.cells.pop()
        page.cells += [new_code_cell(last.source)] if what == "kind" else []
    fails(guards.pair_problems(text, page), "halves differ|the text half has")


def test_cells_that_were_not_executed_in_order(page):
    never, twice = copy.deepcopy(page), copy.deepcopy(page)
    code(never).execution_count = None
    code(twice).execution_count = 17
    for broken in (never, twice):
        fails(guards.execution_problems(broken), "not executed in order")


def test_errors_and_stderr(page):
    code(page, 1).outputs = [new_output("stream", name="stderr", text="UserWarning: old")]
    code(page, 2).outputs = [new_output("error", ename="ValueError", evalue="", traceback=[])]
    fails(guards.execution_problems(page), "text from stderr: 'UserWarning")
    fails(guards.execution_problems(page), "stores an error: ValueError")


def test_things_that_differ_from_run_to_run(page):
    page.metadata["widgets"] = {}
    page.metadata["language_info"]["version"] = "3.11.7"
    page.metadata["kernelspec"]["name"] = "my-kernel"
    page.cells[1]["id"] = page.cells[0]["id"]
    code(page, 1).metadata["execution"] = {"iopub.busy": "now"}
    address = new_output("execute_result", data={"text/plain": "<Axes at 0x7f3a2c1b>"})
    code(page, 2).outputs = [address]
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    code(page, 3).outputs = [new_output("display_data", data=widget)]
    problems = guards.stability_problems(page)
    for words in ("widgets", "version", "kernel", "ids", "when it was", "address", "a widget"):
        fails(problems, words)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("# The question", "## The question", "opens with its title"),
        ("## What you will be able to do", "## Aims", "first section is not"),
        ("## Key points", "## Summary", "last sections"),
        ("## Next", "### Next", "last sections"),
        ("pocket", "small", "which model, or edition, gave the outputs"),
        ("### How long", "How long", "the exercise"),
        ("### Why is", "## Why is", "last sections"),
        ("<details>", "<b>", "'Why is one number.*no folded solution"),
    ],
)
def test_contract_that_is_not_kept(page, old, new, words):
    if old == "### How long":  # ... then what follows it is left with two solutions and no question
        page.cells = [cell for cell in page.cells if "hide-cell" not in str(cell.metadata)]
        words = "no solution is a code cell|no folded solution"
    else:
        for cell in page.cells:
            cell.source = cell.source.replace(old, new)
    fails(guards.contract_problems(page, colab_cell(), FEW), words)


def test_page_that_is_too_short_or_too_long(page):
    fails(guards.contract_problems(page, colab_cell()), "cells; a page has 15 to 40")
    page.cells += [new_markdown_cell("more")] * 40
    fails(guards.contract_problems(page, colab_cell()), "cells; a page has 15 to 40")


def test_colab_cell_that_was_changed_or_moved(page):
    changed, moved, spoke = (copy.deepcopy(page) for _ in range(3))
    code(changed, 0).source += "\nimport os"
    moved.cells.remove(code(moved, 0))
    code(spoke, 0).outputs = [new_output("stream", name="stdout", text="installed")]
    for broken in (changed, moved):
        fails(guards.contract_problems(broken, colab_cell(), FEW), "is not the Colab cell")
    fails(guards.contract_problems(spoke, colab_cell(), FEW), "no output")


def test_exercise_whose_solution_was_not_run(page):
    for cell in page.cells:
        if "hide-cell" in cell.metadata.get("tags", []):
            cell.execution_count = None
    fails(guards.exercise_problems(page), "no solution is a code cell")
    fails(guards.exercise_problems(nbformat.v4.new_notebook(cells=[])), "has no exercise")


def test_picture_without_words(page):
    settings = figure_cell(page).metadata["mystnb"]
    for key, words in (("image", "no alternative text"), ("figure", "no caption")):
        broken = copy.deepcopy(page)
        del figure_cell(broken).metadata["mystnb"][key]
        fails(guards.picture_problems(broken), words)
    settings["image"]["alt"] = settings["figure"]["caption"]
    fails(guards.picture_problems(page), "only repeats the caption")


def test_figure_with_two_outputs_or_a_name_of_another(page):
    cell = figure_cell(page)
    page.cells.append(copy.deepcopy(cell))
    fails(guards.picture_problems(page), "two figures are named 'fig-template'")
    cell.outputs.append(new_output("display_data", data={"text/plain": "a table"}))
    fails(guards.picture_problems(page), "2 outputs that are shown")


def test_viewer_without_caption(page):
    viewer = {"text/html": "<div id=3dmolviewer_1>", "application/3dmoljs_load.v0": "..."}
    code(page, 1).outputs = [new_output("display_data", data=viewer)]
    fails(guards.picture_problems(page), "no caption or name")


@pytest.mark.parametrize(
    ("source", "good"),
    [
        ("![](a.png)", False),
        ("![words](a.png)", True),
        ('<img src="a.png">', False),
        ('<img src="a.png" alt="words">', True),
        ("```{figure} a.png\n:name: a\n\ncaption\n```", False),
        ("```{image} a.png\n:alt: words\n```", True),
    ],
)
def test_pictures_in_markdown(page, source, good):
    page.cells.append(new_markdown_cell(source))
    assert (guards.picture_problems(page) == []) == good


def test_links(folder):
    good = "[a](01_page.ipynb) [b](https://example.org) [c](#here) `[d](no)` [e](../pyproject.toml)"
    code_block = "```python\nrows[0](nowhere.md)\n```\n"
    assert guards.link_problems([good, code_block], folder) == []
    fails(guards.link_problems(["[a](02_page.ipynb#part)"], folder), "leads nowhere")
    fails(guards.link_problems(["```{note}\n[a](gone.md)\n```"], folder), "leads nowhere")
    fails(guards.link_problems(["[a](01_page.md)"], folder), "should lead to the .ipynb half")


def test_places(page):
    place = "/".join(["", "home", "ada", "dlfb", "notebooks"])
    index = "https://" + ".".join(["pypi", "org"])
    stored = copy.deepcopy(page)
    code(stored).outputs = [new_output("stream", name="stdout", text=f"kept in {place}")]
    fails(guards.word_problems(stored), "a path of a machine")
    code(page).source += f"\n# see {index}"
    fails(guards.word_problems(page), "a registry")


def test_words_of_what_is_not_real(page):
    code(page).outputs = [new_output("stream", name="stdout", text="Simulated proteins")]
    fails(guards.invention_problems(page), "cell .* names something that is not real: Simulated")


def test_code_that_is_too_wide(page):
    code(page).source += "\n# " + "x" * (guards.COLUMNS - 2)
    assert guards.width_problems(page) == []
    code(page).source += "x"
    fails(guards.width_problems(page), "line 2: 77 columns, more than 76")


def test_size(tmp_path):
    (tmp_path / "large.ipynb").write_bytes(b" " * guards.LIMIT_BYTES)
    fails(guards.size_problems(tmp_path / "large.ipynb"), "2.0 MB, more than")


def test_table_of_contents(folder):
    root = folder.parent
    listed = ["index", "notebooks/01_page.ipynb"]
    (root / "index.md").write_text("# Book")
    assert guards.toc_problems(listed, root) == []
    fails(guards.toc_problems(["index"], root), "does not name notebooks/01_page.ipynb")
    fails(guards.toc_problems([*listed, "notebooks/02_page.ipynb"], root), "02_page.ipynb, which")
    fails(guards.toc_problems([*listed, "results"], root), "results, which is not there")
    fails(guards.toc_problems([*listed, "index"], root), "index twice")
    assert "index" in toc_files(ROOT)


# The tool that executes pages


def test_two_runs_write_the_same_file(folder, tmp_path):
    assert run_pages.run([folder / "01_page.md"], tmp_path, timeout=300) == []
    one, other = ((place / "01_page.ipynb").read_text() for place in (tmp_path, folder))
    seconds = re.compile(r'"seconds": \d+')
    assert seconds.sub("", one) == seconds.sub("", other)


def test_stale_pages_are_noticed(folder, tmp_path):
    for path in folder.glob("01_page.*"):
        shutil.copy(path, tmp_path)
    text_path = tmp_path / "01_page.md"
    assert halves.stale(text_path) is None
    text_path.write_text(text_path.read_text().replace("110", "111"))
    assert halves.stale(text_path) == "the text has changed"
    text_path.with_suffix(".ipynb").unlink()
    assert halves.stale(text_path) == "never executed"


@pytest.mark.parametrize("half", ["both", "text", "notebook", "unknown", "tags"])
def test_an_edited_notebook_is_not_overwritten(folder, tmp_path, half):
    for path in folder.glob("01_page.*"):
        shutil.copy(path, tmp_path)
    text_path, path = tmp_path / "01_page.md", tmp_path / "01_page.ipynb"
    if half in ("both", "text"):  # ... as JupyterLab saves the pair, or an editor
        text_path.write_text(text_path.read_text().replace("110", "120"))
    if half != "text":
        notebook = nbformat.read(path, as_version=4)
        if half == "unknown":  # ... by whom: the notebook is the newer
            del notebook.metadata["dlfb"]
            os.utime(text_path, (0, 0))
        for cell in notebook.cells:
            cell.source = cell.source.replace("110", "110" if half == "tags" else "120")
        if half == "tags":
            notebook.cells[-1].metadata["tags"] = ["hide-input"]
        nbformat.write(notebook, path)
    before = path.read_bytes()
    output = type(tmp_path)(os.path.relpath(tmp_path))  # the same folder, named in another way
    failures = run_pages.run([text_path], output, timeout=300)
    if half in ("both", "text"):
        assert failures == [] and b"120" in path.read_bytes()
        return
    (failure,) = failures
    assert "01_page.ipynb was edited" in failure and path.read_bytes() == before
    assert halves.stale(text_path) == "the notebook was edited"
    # Either way that the sentence names goes on.
    if half == "notebook":
        command = re.search(r"jupytext (--to \S+) ", failure).group(1).split()
        jupytext.cli.jupytext([*command, str(path), "--quiet"])
        assert "120" in text_path.read_text() and halves.stale(text_path) is None
    else:
        assert run_pages.run([text_path], tmp_path, timeout=300, force=True) == []
        assert b"120" not in path.read_bytes()


def test_an_edit_made_while_the_page_runs_is_not_overwritten(folder, tmp_path, monkeypatch):
    for path in folder.glob("01_page.*"):
        shutil.copy(path, tmp_path)
    text_path, path = tmp_path / "01_page.md", tmp_path / "01_page.ipynb"

    def edit(*_):
        path.write_text(path.read_text().replace("110", "120"))
        return 1.0

    monkeypatch.setattr(run_pages, "execute", edit)
    (failure,) = run_pages.run([text_path], tmp_path, timeout=300)
    assert "01_page.ipynb was edited" in failure and "120" in path.read_text()


def test_ids_change_with_their_cells_only(folder, text):
    page = jupytext.read(folder / "01_page.md", fmt="md:myst")
    page.cells.insert(3, new_markdown_cell("One more."))
    page.cells[0].source = page.cells[0].source.replace("question", "problem")
    (folder / "01_other.md").write_text(jupytext.writes(page, fmt="md:myst"))
    other = halves.read_text_half(folder / "01_other.md")
    (folder / "01_other.md").unlink()
    ids = [cell.id for cell in text.cells]
    assert [cell.id for cell in other.cells if cell.source != "One more."][1:] == ids[1:]
    assert other.cells[0].id != ids[0]


def test_page_that_fails_is_not_stored(tmp_path):
    header = "---\njupytext:\n  text_representation:\n    format_name: myst\n---\n"
    (tmp_path / "01_bad.md").write_text(header + "\n```{code-cell} ipython3\n1 / 0\n```\n")
    (failure,) = run_pages.run([tmp_path / "01_bad.md"], tmp_path, timeout=300)
    assert "01_bad stopped" in failure and "ZeroDivisionError" in failure
    assert [path.name for path in tmp_path.iterdir()] == ["01_bad.md"]


def test_pages_are_chosen_by_the_beginning_of_their_names(tmp_path):
    for name in ("01_a.md", "02_b.md", "02_c.md", "README.md"):
        (tmp_path / name).touch()
    chosen = lambda *names: [p.name for p in run_pages.chosen_pages(list(names), tmp_path)]  # noqa: E731
    assert chosen() == ["01_a.md", "02_b.md", "02_c.md"]
    assert chosen("02") == ["02_b.md", "02_c.md"]
    assert chosen("02_b.ipynb", "notebooks/02_b.md") == ["02_b.md"]
    with pytest.raises(ValueError, match="no page '07'.*there are: 01_a, 02_b, 02_c"):
        chosen("07")


def test_viewers_get_names_that_stay():
    html = "<p id='3dmolwarning_17953{0}'><div id='3dmolviewer_17953{0}'>viewer_17953{0}.render()"
    outputs = [
        new_output("display_data", data={"text/html": text, run_pages.VIEWER: text})
        for text in (html.format("0000001"), html.format("0000002"))
    ]
    page = nbformat.v4.new_notebook(cells=[new_code_cell("", outputs=outputs)])
    run_pages._strip_noise(page)
    shown = [output.data for output in page.cells[0].outputs]
    wanted = "<p id='3dmolwarning_{0}'><div id='3dmolviewer_{0}'>viewer_{0}.render()"
    assert shown == [{"text/html": wanted.format(n)} for n in (1, 2)]


@pytest.mark.parametrize(
    "typed", ["{numref}`fig-a`", "```{note}\nA note.\n```", ":::{tip}\nA tip.\n:::", "(here)=\n"]
)
def test_text_that_only_the_site_renders_is_noticed(page, typed):
    page.cells.append(new_markdown_cell(typed))
    fails(guards.plain_problems(page), "Colab and GitHub don't render")


def test_a_page_that_is_called_by_its_file_is_noticed(page):
    page.cells.append(new_markdown_cell("As [page 06](06_a.ipynb) says."))
    fails(guards.number_problems(page), "'page 06': leave out the 0")


def test_new_words_keep_the_outputs_of_a_page(folder, tmp_path):
    for path in folder.glob("01_page.*"):
        shutil.copy(path, tmp_path)
    text_path, path = tmp_path / "01_page.md", tmp_path / "01_page.ipynb"
    before = nbformat.read(path, as_version=4)
    text_path.write_text(text_path.read_text().replace("middling", "average"))
    assert run_pages.run([text_path], tmp_path, timeout=300, text=True) == []
    after = nbformat.read(path, as_version=4)
    assert halves.stale(text_path) is None and "average length" in str(after)
    outputs = [[cell.outputs for _, cell in guards.code_cells(half)] for half in (before, after)]
    assert outputs[0] == outputs[1] and after.metadata["dlfb"]["executed"]
    text_path.write_text(text_path.read_text().replace("110", "111"))
    (failure,) = run_pages.run([text_path], tmp_path, timeout=300, text=True)
    assert "its code has changed" in failure
