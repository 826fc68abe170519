"""`make student`: the pages without solutions."""

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

from tests.notebooks.test_pages import FOLDER
from tools.halves import read_text_half
from tools.student import EXERCISES, main, without_solutions

SOLUTION = {"tags": ["hide-cell"]}


def test_solutions_give_way_to_empty_cells():
    cells = [
        new_code_cell("shown()", metadata=SOLUTION),  # not an exercise
        new_markdown_cell("Words.\n\n## Check yourself\n\n### First\n\nHow many?"),
        new_code_cell("answer()", metadata=SOLUTION),
        new_code_cell("again()", metadata=SOLUTION),
        new_markdown_cell("It is 3.\n\n### Second\n\nWhy?\n\n<details>Because.</details>"),
        new_markdown_cell("More reasons.\n\n## Key points\n\n- One."),
    ]
    kept = [(cell.cell_type, cell.source) for cell in without_solutions(cells)]
    assert kept == [
        ("code", "shown()"),
        ("markdown", "Words."),
        ("markdown", "## Check yourself"),
        ("markdown", "### First\n\nHow many?"),
        ("code", "# Your answer\n"),
        ("markdown", "### Second\n\nWhy?\n\n*Your answer:*"),
        ("markdown", "## Key points\n\n- One."),
    ]


def test_every_page_has_a_copy_with_its_questions_only(tmp_path):
    main(tmp_path)
    for text_half in FOLDER.glob("[0-9]*.md"):
        copy = nbformat.read(tmp_path / f"{text_half.stem}.ipynb", as_version=4).cells
        sources = [cell.source for cell in copy]
        solutions = [
            cell.source
            for cell in read_text_half(text_half).cells
            if "hide-cell" in cell.metadata.get("tags", [])
        ]
        assert solutions and not set(solutions) & set(sources)
        exercises = text_half.read_text(encoding="utf8").partition(EXERCISES)[2].count("\n### ")
        answers = [source for source in sources if "our answer" in source]
        assert len(answers) == exercises > 0 and "<details" not in "".join(sources)
