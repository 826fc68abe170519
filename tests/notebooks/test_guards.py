"""Each guard is seen failing, on a page that keeps every rule but one.

The good page is the template of CONTRIBUTING.md, executed: so the template is held to the contract,
and the tool that executes pages to its promises.
"""

import os
import re
import shutil

import jupytext.cli
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from tests.notebooks import guards
from tools import halves, run_pages
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
    assert run_pages.run([pages / "01_page.md"], pages) == []
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


def test_the_template_keeps_every_rule(text, page):
    assert guards.pair_problems(text, page) == contract(page) == []
    for rule in {rule for _, rule, _ in BROKEN} - {"contract"}:
        assert getattr(guards, f"{rule}_problems")(page) == []


@pytest.mark.parametrize(("break_it", "words"), [
    (lambda p: p.cells[0].update(source="More."), "cell 0: the two halves differ"),
    (lambda p: figure_cell(p).metadata.pop("mystnb"), "the two halves differ"),
    (lambda p: code(p).metadata.update(execution={}), "the two halves differ"),
    (lambda p: p.cells.append(new_code_cell(p.cells.pop().source)), "the two halves differ"),
    (lambda p: p.cells.pop(), "the two halves differ"),
    (lambda p: p.metadata.update(widgets={}), "metadata are not the text's"),
    (lambda p: p.metadata.kernelspec.update(name="my-kernel"), "metadata are not the text's"),
    (lambda p: p.cells[1].update(id=p.cells[0].id), "ids are not those of their words"),
])  # fmt: skip
def test_halves_that_differ(text, page, break_it, words):
    break_it(page)
    fails(guards.pair_problems(text, page), words)


def prints(page, text: str, name: str = "stdout") -> None:
    code(page).outputs = [new_output("stream", name=name, text=text)]


def fails_with(page, error: str) -> None:
    code(page).outputs = [new_output("error", ename=error, evalue="")]


def shown(**data) -> list:
    return [new_output("display_data", data=data)]


def shows(page, **data) -> None:
    code(page, 1).outputs = shown(**data)


def repeats_the_caption(page) -> None:
    words = figure_cell(page).metadata.mystnb
    words.image.alt = words.figure.caption


def writes(page, text: str) -> None:
    page.cells.append(new_markdown_cell(text))


def replaces(page, old: str, new: str) -> None:
    for cell in page.cells:
        cell.source = cell.source.replace(old, new)


def never_runs(page) -> None:
    for cell in page.cells:
        if "hide-cell" in cell.metadata.get("tags", []):
            cell.execution_count = None


def contract(page) -> list[str]:
    return guards.contract_problems(page, colab_cell(), FEW)


# what becomes of the page, the rule that breaks, and what the rule says
BROKEN = [
    (lambda p: setattr(code(p), "execution_count", 17), "execution", "not executed in order"),
    (lambda p: prints(p, "UserWarning: old", "stderr"), "execution", "stderr: 'UserWarning"),
    (lambda p: fails_with(p, "ValueError"), "execution", "an error: ValueError"),
    (lambda p: shows(p, **{"text/plain": "<Axes at 0x7f3a2c1b>"}), "stability", "an address"),
    (lambda p: shows(p, **{"application/vnd.widget": "1"}), "stability", "stores a widget"),
    (lambda p: replaces(p, "# The que", "## The que"), "contract", "opens with its title"),
    (lambda p: replaces(p, "## What you will", "## Aims"), "contract", "first section is not"),
    (lambda p: replaces(p, "## Key points", "## Summary"), "contract", "last sections"),
    (lambda p: replaces(p, "## Next", "### Next"), "contract", "last sections"),
    (lambda p: replaces(p, "pocket", "small"), "contract", "which model, or edition"),
    (lambda p: replaces(p, "<details>", "<b>"), "contract", "'Why is .*no folded solution"),
    (never_runs, "contract", "no solution is a code cell"),
    (lambda p: p.cells.extend([new_markdown_cell("more")] * 40), "contract", "has 5 to 40"),
    (lambda p: replaces(p, "import dlfb.colab", "import dlfb"), "contract", "not the Colab cell"),
    (lambda p: p.cells.remove(code(p, 0)), "contract", "not the Colab cell"),
    (lambda p: code(p, 0).update(outputs=["installed"]), "contract", "no output"),
    (lambda p: figure_cell(p).metadata.mystnb.pop("image"), "picture", "no alternative text"),
    (lambda p: figure_cell(p).metadata.mystnb.pop("figure"), "picture", "no caption or name"),
    (repeats_the_caption, "picture", "only repeats the caption"),
    (lambda p: p.cells.append(figure_cell(p)), "picture", "two figures are named 'fig-template'"),
    (lambda p: figure_cell(p).outputs.extend(shown(a="table")), "picture", "2 outputs that are"),
    (lambda p: shows(p, **{"text/html": "<div id=3dmolviewer_1>"}), "picture", "no caption or"),
    (lambda p: code(p).update(source="x" * 77), "width", "line 1: 77 columns, more than 76"),
    (lambda p: writes(p, "As [page 06](06_a.ipynb) says."), "number", "'page 06': leave out"),
    (lambda p: writes(p, "See {numref}`fig-a`."), "viewer", "don't render '{numref}'"),
    (lambda p: writes(p, "```{note}\nA note.\n```\n:::{tip}\nA tip."), "viewer", "render ':::'"),
    (lambda p: writes(p, ":class: tip"), "viewer", "don't render ':class:'"),
    (lambda p: writes(p, "(here)=\n"), "viewer", "don't render"),
    (lambda p: writes(p, "[Page 6](06_a.md#part)"), "viewer", "should lead to the .ipynb half"),
    (lambda p: code(p).metadata.pop("jupyter"), "viewer", "not folded as its tags say"),
    (lambda p: replaces(p, "*Figure 1.1.*", "*Figure 1.1*"), "viewer", "caption is not below it"),
]


@pytest.mark.parametrize(("break_it", "rule", "words"), BROKEN)
def test_a_broken_rule_is_noticed(page, break_it, rule, words):
    check = contract if rule == "contract" else getattr(guards, f"{rule}_problems")
    break_it(page)
    fails(check(page), words)


def test_a_page_without_exercises_and_a_short_one():
    empty = nbformat.v4.new_notebook()
    fails(guards.exercise_problems(empty), "has no exercise")
    writes(empty, "# A page")
    fails(contract(empty), "1 cells; a page has 5 to 40")


@pytest.mark.parametrize(("source", "good"), [
    ("![](a.png)", False), ("![words](a.png)", True),
    ('<img src="a.png">', False), ('<img src="a.png" alt="words">', True),
])  # fmt: skip
def test_pictures_in_markdown(page, source, good):
    page.cells.append(new_markdown_cell(source))
    assert (guards.picture_problems(page) == []) == good


# The tool that executes pages


def test_two_runs_write_the_same_file(folder, tmp_path):
    assert run_pages.run([folder / "01_page.md"], tmp_path) == []
    one, other = ((place / "01_page.ipynb").read_text() for place in (tmp_path, folder))
    seconds = re.compile(r'"seconds": \d+')
    assert seconds.sub("", one) == seconds.sub("", other)


@pytest.fixture
def pair(folder, tmp_path):
    """Return copies of the two halves of the page, to be changed."""
    for path in folder.glob("01_page.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / "01_page.md", tmp_path / "01_page.ipynb"


@pytest.mark.parametrize("half", ["both", "text", "notebook", "unknown", "tags"])
def test_an_edited_notebook_is_not_overwritten(pair, tmp_path, half):
    text_path, path = pair
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
    failures = run_pages.run([text_path], output)
    if half in ("both", "text"):
        assert failures == [] and b"120" in path.read_bytes()
        return
    (failure,) = failures
    assert "01_page.ipynb was edited" in failure and path.read_bytes() == before
    assert halves.was_edited(text_path, path)
    # Either way that the sentence names goes on.
    if half == "notebook":
        command = re.search(r"jupytext (--to \S+) ", failure).group(1).split()
        jupytext.cli.jupytext([*command, str(path), "--quiet"])
        assert "120" in text_path.read_text() and not halves.was_edited(text_path, path)
    elif half == "tags":
        assert "delete 01_page.ipynb" in failure
        path.unlink()
        assert run_pages.run([text_path], tmp_path) == []


def test_an_edit_made_while_the_page_runs_is_not_overwritten(pair, tmp_path, monkeypatch):
    text_path, path = pair

    def edit(*_):
        path.write_text(path.read_text().replace("110", "120"))
        return 1.0

    monkeypatch.setattr(run_pages, "execute", edit)
    (failure,) = run_pages.run([text_path], tmp_path)
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
    (failure,) = run_pages.run([tmp_path / "01_bad.md"], tmp_path)
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


def test_new_words_keep_the_outputs_of_a_page(pair, tmp_path):
    text_path, path = pair
    before = nbformat.read(path, as_version=4)
    text_path.write_text(text_path.read_text().replace("middling", "average"))
    assert run_pages.run([text_path], tmp_path, text=True) == []
    after = nbformat.read(path, as_version=4)
    assert "average length" in str(after)
    outputs = [[cell.outputs for _, cell in guards.code_cells(half)] for half in (before, after)]
    assert outputs[0] == outputs[1] and after.metadata["dlfb"]["executed"]
    text_path.write_text(text_path.read_text().replace("110", "111"))
    (failure,) = run_pages.run([text_path], tmp_path, text=True)
    assert "its code has changed" in failure


def test_captions_are_repeated_below_their_figures_once(tmp_path):
    page, head = tmp_path / "07_page.md", "---\njupytext:\n  text_representation:\n"
    figure = "```{code-cell}\n---\nmystnb:\n  figure:\n    caption: %s.\n---\n1\n```\n"
    figures = f"{figure % 'First'}\nWords.\n\n{figure % 'Second'}"
    page.write_text(f"{head}    format_name: myst\n---\n\n{figures}")
    for _ in range(2):
        halves.write_for_viewers(page)
        cells = halves.read_text_half(page).cells
        words = [cell.source for cell in cells if cell.cell_type == "markdown"]
        assert words == ["*Figure 7.1.* First.", "Words.", "*Figure 7.2.* Second."]
    page.write_text(page.read_text().replace("caption: First.", "caption: Another."))
    halves.write_for_viewers(page)
    assert "*Figure 7.1.* Another." in page.read_text() and "First" not in page.read_text()
