"""What every page must keep: one function per rule, each returning a sentence for what breaks it.

The rules are the page contract of CONTRIBUTING.md. test_pages.py holds the pages to them,
test_guards.py shows each rule failing on a page that breaks it.
"""

import json
import re
from itertools import zip_longest

from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbformat.v4 import new_markdown_cell, new_notebook

from tools.colab_cell import METADATA
from tools.halves import CAPTION, FOLDS, cells_of

OBJECTIVES, LAST = "What you will be able to do", ["Check yourself", "Key points", "Next"]
COLUMNS = 76
NO_WORDS = re.compile(r"""!\[\s*\]\([^)]*\)|<img\b(?![^>]*\balt=["'][^"'])[^>]*>""")
MACHINE_PATH = re.compile(
    r"(?<![\w/.])/(?:work|farm|tmp|root|home|Users|opt|mnt|var|private)/[\w.+/-]+|[A-Z]:\\\\Users"
    r"|site-packages"
)
REGISTRY = re.compile(r"pypi\.org|pythonhosted\.org|registry\.npmjs\.org|deb\.debian\.org")
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")
# MyST's roles, directives, their options and labels, as Colab and GitHub show them.
MYST = re.compile(r"\{[a-z]+(?::[a-z]+)?\}|^\s*:::|^\s*:[a-z-]+:|^\s*\([\w-]+\)=", re.MULTILINE)
PADDED = re.compile(r"\b[Pp]ages? 0\d")  # the site numbers its pages 1, 2, 3
INVENTED = re.compile(r"\bsimulat\w*", re.IGNORECASE)
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.MULTILINE | re.DOTALL)


def pair_problems(text, executed) -> list[str]:
    """The executed half says what the text half says, and nothing of the run but its outputs."""
    pairs = zip_longest(cells_of(text), cells_of(executed))
    problems = [
        f"cell {number}: the two halves differ: run make notebooks"
        for number, (one, other) in enumerate(pairs)
        if one != other
    ]
    if executed.metadata | {"dlfb": {}} != text.metadata | {"dlfb": {}}:
        problems.append("the notebook's metadata are not the text's: run make notebooks")
    if [cell.get("id") for cell in executed.cells] != [cell.id for cell in text.cells]:
        problems.append("the cells' ids are not those of their words: run make notebooks")
    return problems


def execution_problems(notebook) -> list[str]:
    """Every code cell was executed, in order, with nothing on stderr and no error."""
    code = code_cells(notebook)
    counts = [cell.execution_count for _, cell in code]
    in_order = counts == list(range(1, len(code) + 1))
    problems = [] if in_order else [f"the code cells were not executed in order: {counts}"]
    for number, cell in code:
        for output in cell.outputs:
            if output.output_type == "error":
                problems.append(f"cell {number} stores an error: {output.ename}")
            elif output.get("name") == "stderr":
                problems.append(f"cell {number} stores text from stderr: {output.text[:60]!r}")
    return problems


def stability_problems(notebook) -> list[str]:
    """Nothing is shown that differs from run to run, and no widget without its kernel."""
    problems = []
    for number, cell in code_cells(notebook):
        if any("widget" in kind for kind, _ in data_of(cell)):
            problems.append(f"cell {number} stores a widget: set DLFB_PROGRESS=0")
        if ADDRESS.search(json.dumps(cell.outputs)):
            problems.append(f"cell {number} shows an address in memory: end it with plt.show()")
    return problems


def contract_problems(notebook, colab_cell: str, cells: tuple[int, int] = (15, 40)) -> list[str]:
    """The parts of a page, in the order of the contract."""
    problems = []
    least, most = cells
    number = sum(CAPTION not in cell.metadata.get("tags", []) for cell in notebook.cells)
    if not least <= number <= most:
        problems.append(f"{number} cells; a page has {least} to {most}")
    headings = headings_of(notebook)
    titles = [number for number, level, _ in headings if level == 1]
    if titles != [0] or not notebook.cells[0].source.startswith("# "):
        problems.append("a page opens with its title, the one heading of level 1")
    second = [text for _, level, text in headings if level == 2]
    if second[:1] != [OBJECTIVES]:
        problems.append(f"the first section is not '{OBJECTIVES}'")
    if second[-3:] != LAST or any(name in second[:-3] for name in LAST):
        problems.append(f"the last sections are not {', '.join(LAST)}")
    code = code_cells(notebook)
    if not code or code[0][1].source != colab_cell:
        problems.append("the first code cell is not the Colab cell of tools/colab_cell.py")
    elif not METADATA.items() <= code[0][1].metadata.items() or code[0][1].outputs:
        problems.append("the Colab cell has the metadata of tools/colab_cell.py and no output")
    before = notebook.cells[: code[1][0] if len(code) > 1 else None]
    if "pocket" not in "\n".join(c.source for c in before if c.cell_type == "markdown"):
        problems.append("the first screen does not say which model, or edition, gave the outputs")
    return problems + exercise_problems(notebook)


def exercise_problems(notebook) -> list[str]:
    """Each exercise has a folded solution, and at least one solution is code that was run."""
    problems, exercises, run, inside = [], [], False, False
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            if inside and exercises and "hide-cell" in cell.metadata.get("tags", []):
                exercises[-1][2], run = True, run or bool(cell.execution_count)
            continue
        pattern = r"^(?:(#{1,3})\s+(.+?)\s*|<details.*)$"
        for marks, heading in re.findall(pattern, FENCE.sub("", cell.source), re.MULTILINE):
            if marks in ("#", "##"):
                inside = heading == LAST[0]
            elif inside and marks:
                exercises.append([number, heading, False])
            elif inside and exercises:
                exercises[-1][2] = True
    if not exercises:
        problems.append(f"'{LAST[0]}' has no exercise, a heading of level 3")
    problems += [
        f"cell {number}: the exercise '{text}' has no folded solution: a code cell tagged "
        "hide-cell, or <details>"
        for number, text, solved in exercises
        if not solved
    ]
    if exercises and not run:
        problems.append("no solution is a code cell, tagged hide-cell, that was run")
    return problems


def picture_problems(notebook) -> list[str]:
    """Every picture has an alternative text, every figure a caption and a name of its own."""
    problems, names = [], []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            problems += [f"cell {number}: {text}" for text in markdown_pictures(cell.source)]
            continue
        settings = cell.metadata.get("mystnb", {})
        figure = settings.get("figure", {})
        pictures = [kind for kind, _ in data_of(cell) if kind.startswith("image/")]
        viewers = [data for kind, data in data_of(cell) if "3dmol" in (kind + str(data)).lower()]
        alternative = str(settings.get("image", {}).get("alt", ""))
        if pictures and len(alternative.split()) < 5:
            problems.append(f"cell {number}: its picture has no alternative text (image: alt:)")
        if (pictures or viewers) and not (figure.get("caption") and figure.get("name")):
            problems.append(f"cell {number}: its picture has no caption or name (figure:)")
        if alternative and alternative.strip() == str(figure.get("caption")).strip():
            problems.append(f"cell {number}: the alternative text only repeats the caption")
        shown = [output for output in cell.outputs if "data" in output]
        if figure and len(shown) != 1:
            problems.append(
                f"cell {number}: it has a caption and {len(shown)} outputs that are shown, each of "
                "which would get the caption: show one"
            )
        names += [figure["name"]] if figure.get("name") else []
    repeated = sorted({name for name in names if names.count(name) > 1})
    return problems + [f"two figures are named {name!r}" for name in repeated]


def markdown_pictures(source: str) -> list[str]:
    """Return a sentence for each picture in Markdown that has no alternative text."""
    return [f"the picture {found} has no alternative text" for found in NO_WORDS.findall(source)]


def viewer_problems(notebook) -> list[str]:
    """Colab, GitHub and JupyterLab show the lesson: readable text, captions, folded solutions."""
    text = [new_markdown_cell(c.source) for c in notebook.cells if c.cell_type == "markdown"]
    html, _ = HTMLExporter().from_notebook_node(new_notebook(cells=text))
    shown = BeautifulSoup(html, "html.parser").body
    for code in shown.find_all(["pre", "code", "script", "style"]):
        code.decompose()
    found = MYST.findall(shown.get_text())
    problems = [f"Colab and GitHub don't render {each.strip()!r}" for each in found]
    halves = [a["href"] for a in shown.find_all("a", href=re.compile(r"^\d\d_\w+\.md"))]
    problems += [f"the link to {half} should lead to the .ipynb half" for half in halves]
    for number, cell in code_cells(notebook):
        tags, fold = cell.metadata.get("tags", []), cell.metadata.get("jupyter", {})
        wanted = next((FOLDS[tag] for tag in tags if tag in FOLDS), {})
        if fold != wanted or (cell.metadata.get("cellView") == "form") != bool(wanted):
            problems.append(f"cell {number} is not folded as its tags say: run make notebooks")
        caption = cell.metadata.get("mystnb", {}).get("figure", {}).get("caption")
        if caption and not notebook.cells[number + 1].source.endswith(f".* {caption}"):
            problems.append(f"cell {number}: its caption is not below it: run make notebooks")
    return problems


def number_problems(notebook) -> list[str]:
    """A page is called by the number that it has on the site."""
    cells = [(n, cell) for n, cell in enumerate(notebook.cells) if cell.cell_type == "markdown"]
    found = [(number, PADDED.search(cell.source)) for number, cell in cells]
    return [f"cell {number} says {match[0]!r}: leave out the 0" for number, match in found if match]


def width_problems(notebook) -> list[str]:
    """Code fits into a page that is printed, or shown beside a table of contents."""
    return [
        f"cell {number}, line {n}: {len(line)} columns, more than {COLUMNS}"
        for number, cell in code_cells(notebook)[1:]
        for n, line in enumerate(cell.source.splitlines(), start=1)
        if len(line) > COLUMNS
    ]


def code_cells(notebook) -> list[tuple]:
    """Return (number, cell) for each code cell."""
    return [(n, cell) for n, cell in enumerate(notebook.cells) if cell.cell_type == "code"]


def data_of(cell) -> list[tuple]:
    """Return (kind, data) of everything that the cell shows."""
    return [item for output in cell.outputs for item in output.get("data", {}).items()]


def headings_of(notebook) -> list[tuple[int, int, str]]:
    """Return (cell number, level, text) of every heading."""
    return [
        (number, len(marks), text)
        for number, cell in enumerate(notebook.cells)
        if cell.cell_type == "markdown"
        for marks, text in re.findall(
            r"^(#{1,6})\s+(.+?)\s*$", FENCE.sub("", cell.source), re.MULTILINE
        )
    ]
