"""The report that sets our figures beside the book's: `make results`."""

import ast
import builtins
import json
import os
import re
from pathlib import Path

import jupytext
import numpy as np
import pytest

from tools import results

ROOT = Path(__file__).resolve().parents[1]
CHAPTER = ROOT.parent / "shared/chapter.md"


# What is asked


@pytest.mark.skipif(not CHAPTER.is_file(), reason="needs ../shared/chapter.md")
def test_every_figure_of_the_chapter_has_a_row():
    text = CHAPTER.read_text(encoding="utf8").partition("## Part 4")[0]
    text = text.partition("## Part 1")[2].replace("`", "")
    # Counts with separators, shapes, scores, and what is written in no such form.
    figures = set(re.findall(r"\d{1,3}(?:,\d{3})+|\(\d+, \d+\)|(?<![\d.])\.\d{3}\b", text))
    figures |= {"110", "33", "164", "65", "303", "30"}
    figures |= set(re.findall(r"GO:000(?:3674|5488|5515)", text))
    assert len(figures) > 45
    printed = " ".join(results.BOOK.values())
    assert sorted(figure for figure in figures if figure not in printed) == []


def test_every_fact_has_a_name_of_its_own():
    assert results.FACTS["fact"].is_unique and len(results.BOOK) > 55
    assert set(results.FACTS["section"]) <= set(results.WORDS)
    assert set(results.VERDICT.values()) <= set(results.BOOK)


def names_in(code: str) -> tuple[set[str], set[str]]:
    """Return the names that code binds, and those that it reads."""
    bound, read = set(), set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.alias):
            bound.add(node.asname or node.name)
        elif isinstance(node, (ast.FunctionDef, ast.arg)):
            bound.add(node.name if isinstance(node, ast.FunctionDef) else node.arg)
    return bound, read


@pytest.mark.parametrize(
    "page", sorted((ROOT / "notebooks").glob("0[1-8]*.md")), ids=lambda p: p.stem
)
def test_every_expression_reads_what_its_page_has(page):
    cells = [cell.source for cell in jupytext.read(page).cells if cell.cell_type == "code"]
    bound, _ = names_in("\n".join(cells[1:]))  # without the cell that installs dlfb
    more, read = names_in(results.probe(page.stem[:2]))
    assert read - bound - more - set(dir(builtins)) == set()


def test_both_ways_of_counting_what_is_undefined(capsys, monkeypatch):
    # The second protein has a term and no prediction, so its precision is undefined.
    truth, probs = np.array([[1, 0, 0], [0, 1, 0]]), np.array([[0.9, 0.1, 0], [0.4, 0.3, 0]])
    page = {"predictions": {"coin flip": probs}, "truth": truth,
            "test_truth": truth[:1], "test_probs": probs[:1]}  # fmt: skip
    monkeypatch.setattr(results, "FACTS", results.FACTS[:0])
    exec(results.probe("08"), page)
    facts = json.loads(capsys.readouterr().out.removeprefix(results.MARK))
    assert facts["precision, coin flip"] == "0.500" and facts["precision, model (test)"] == "1.000"
    # Nobody has the third function.
    assert facts["auPRC per term, coin flip"] == "1.000 (1.000–1.000)"
    assert facts["auPRC per protein, coin flip"] == "0.750 (0.500–1.000)"
    assert float(facts["Fmax, model (test)"]) == 1
    assert set(results.facts_of(results.AS_OURS, {"a": {"facts": facts}})) < facts.keys()


# Running


def write_page(folder: Path, name: str, code: str) -> None:
    folder.mkdir(exist_ok=True)
    kernel = "kernelspec:\n  display_name: Python 3\n  language: python\n  name: python3"
    page = f"---\n{kernel}\n---\n\n# A page\n\n```{{code-cell}} ipython3\n{code}\n```\n"
    (folder / f"{name}.md").write_text(page)


PAGE = """\
import os
import numpy as np
AMINO_ACIDS, INSULIN, indices = ("R", "H"), "M" * 1110, [16, 12]
with_jax = np.zeros((1, int(os.environ["DLFB_EDITION"])))"""


def test_a_page_is_run_and_its_variables_are_read(tmp_path, monkeypatch):
    write_page(tmp_path / "pages", "02_short", PAGE)
    write_page(tmp_path / "pages", "03_stops", "raise OSError('no network')")
    monkeypatch.setattr(results, "machine", lambda: "a machine")
    before = dict(os.environ)
    run = results.run_pages("words", {"DLFB_EDITION": "7"}, tmp_path / "pages")
    assert dict(os.environ) == before
    assert run["facts"] == {
        "residues of the insulin precursor": "1110", "order of the alphabet": "RH",
        "`MALWM` as indices": "16, 12", "one-hot shape of `MALWM`": "(1, 7)",
    }  # fmt: skip
    assert run["stopped"] == {"03_stops": "OSError: no network"}
    assert list(run["seconds"]) == ["02_short"] and run["data"] == "words"


def canned(shift: int = 0, **more) -> dict:
    facts = {fact: str(1000 * i + shift) for i, fact in enumerate(results.BOOK, start=1)}
    return {"data": f"data {shift}", "machine": "a machine", "facts": facts, "stopped": {},
            "seconds": {"01_a": 1.2, "02_b": 30.0}, **more}  # fmt: skip


def test_the_report_has_book_and_runs_side_by_side():
    second = canned(1, stopped={"03_c": "OSError: no network"})
    second["facts"]["GO names"] = "nan"
    del second["facts"]["tokens"]
    text = results.report({"yours": canned(), "shipped set": second})
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", text, re.MULTILINE))
    assert rows["fact"] == "book | yours | shipped set"
    number = f"{1 + list(results.BOOK).index('accuracy, coin flip')},00"
    assert rows["accuracy, coin flip"] == f".501 | {number}0 | {number}1"
    assert rows["tokens"].startswith("33 | ") and rows["tokens"].endswith("| —")
    assert rows["GO names"].endswith("| undefined")
    assert rows["02_b"] == "30 | 30" and set(results.BOOK) < set(rows)
    assert "- **Yours**: data 0 (a machine)." in text
    assert "03_c stopped: OSError: no network" in text


def test_the_verdict_is_computed_from_the_figures():
    facts = {fact: results.BOOK[fact] for fact in results.VERDICT.values()}
    assert results.verdict({"facts": facts})[0].startswith("**5 of 5 figures are within 15 %")
    facts |= {"auprc, model (test)": "0.300", "training proteins": "3261"}
    del facts["auPRC of GO:0004930"]
    first, _, *rows = results.verdict({"facts": facts})
    assert first.startswith("**3 of 5") and len(rows) == 2 + 5
    assert rows[4].endswith("| 3,574 | 3,261 | near: 91 % of it |")
    assert rows[5].endswith("| .410 | 0.300 | not near: 73 % of it |")
    assert rows[6].endswith("| .949 | — | not known |")


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    """Give the report a home of its own, where a run is stored, and pages that take no time."""
    (tmp_path / "stored").mkdir()
    (tmp_path / "stored/pocket.json").write_text(json.dumps(canned(2)))
    monkeypatch.setattr(results, "STORED", tmp_path / "stored")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    pages = lambda data, environment: canned(9, data=data, **environment)  # noqa: E731
    monkeypatch.setattr(results, "run_pages", pages)
    return tmp_path


def files_of(folder: Path) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_reader_s_own_run_leaves_what_is_stored(at_home, monkeypatch):
    before = files_of(at_home)
    monkeypatch.chdir(at_home)
    monkeypatch.setenv("DLFB_ASSETS", "data/cafa5")
    results.main(["--mine"])
    text = (at_home / "my-results/results.md").read_text()
    run = json.loads((at_home / "my-results/run.json").read_text())
    assert run["DLFB_EDITION"] == "full" and run["DLFB_ASSETS"] == f"{at_home}/data/cafa5"
    assert "- **Yours**: the full edition on cafa5 (a machine)." in text
    assert "| fact | book | yours | shipped set |" in text
    assert "| residues of the insulin precursor | 110 | 2,009 | 2,002 |" in text
    after = files_of(at_home)
    assert {path: after[path] for path in before} == before
    assert {path.name for path in set(after) - set(before)} == {"results.md", "run.json"}
    # It becomes a column of everybody's where it is wanted.
    (at_home / "stored/full.json").write_text((at_home / "my-results/run.json").read_text())
    assert list(results.stored()) == ["shipped set", "full edition"]


def test_the_stored_run_is_renewed_only_by_a_whole_one(at_home, monkeypatch):
    results.main([])
    text = (at_home / "results.md").read_text()
    assert "| residues of the insulin precursor | 110 | 2,009 |" in text
    before = files_of(at_home)
    monkeypatch.setattr(results, "run_pages", lambda *_: canned(3, stopped={"01_a": "OSError: x"}))
    with pytest.raises(SystemExit, match="Nothing was stored"):
        results.main([])
    assert files_of(at_home) == before
