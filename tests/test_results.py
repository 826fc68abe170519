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


def all_facts():
    return [
        each for _, pages in results.TABLES.values() for rows in pages.values() for each in rows
    ]


# What is asked


@pytest.mark.skipif(not CHAPTER.is_file(), reason="needs ../shared/chapter.md")
def test_every_figure_of_the_chapter_has_a_row():
    text = CHAPTER.read_text(encoding="utf8").partition("## Part 4")[0]
    text = text.partition("## Part 1")[2].replace("`", "")
    # Counts with separators, shapes, scores, and what is written in no such form.
    figures = set(re.findall(r"\d{1,3}(?:,\d{3})+|\(\d+, \d+\)|(?<![\d.])\.\d{3}\b", text))
    figures |= {
        "110",
        "33",
        "164",
        "65",
        "303",
        "30",
        *re.findall(r"GO:000(?:3674|5488|5515)", text),
    }
    assert len(figures) > 45
    printed = " ".join(book for _, book, _ in all_facts())
    assert sorted(figure for figure in figures if figure not in printed) == []


def test_every_fact_has_a_name_of_its_own():
    names = [fact for fact, _, _ in all_facts()]
    assert len(names) == len(set(names)) > 90


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
    "page", sorted((ROOT / "notebooks").glob("[0-9]*.md")), ids=lambda p: p.stem
)
def test_every_expression_reads_what_its_page_has(page):
    cells = [cell.source for cell in jupytext.read(page).cells if cell.cell_type == "code"]
    bound, _ = names_in("\n".join(cells))
    more, read = names_in(results.probe(page.stem[:2]))
    assert read - bound - more - set(dir(builtins)) == set()
    assert results.facts_of(page.stem[:2]), "no fact of this page is in the report"


def test_figures_are_those_of_the_pages():
    there = "".join(path.read_text(encoding="utf8") for path in (ROOT / "notebooks").glob("*.md"))
    assert [label for label in results.FIGURES if f"name: {label}\n" not in there] == []


def test_both_ways_of_counting_what_is_undefined(capsys):
    # The second protein has a term and no prediction, so its precision is undefined.
    truth, probs = np.array([[1, 0, 0], [0, 1, 0]]), np.array([[0.9, 0.1, 0], [0.4, 0.3, 0]])
    page = {"predictions": dict.fromkeys(list(results.PREDICTIONS)[:-1], probs), "truth": truth,
            "test_truth": truth[:1], "test_probs": probs[:1]}  # fmt: skip
    exec(results.probe("08"), page)
    facts = json.loads(capsys.readouterr().out.removeprefix(results.MARK))
    assert facts["precision, coin flip"] == "0.500"
    assert facts["precision over proteins, coin flip"] == "1.000"
    assert (
        facts["precision, model, test"] == facts["precision over proteins, model, test"] == "1.000"
    )
    # Nobody has the third function.
    assert facts["auprc over functions, coin flip"] == "1.000"
    assert facts["recall, composition MLP"] == "0.500"


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
with_jax = np.zeros((1, int(os.environ["DLFB_CHECKPOINTS"])))"""


def test_a_page_is_run_and_its_variables_are_read(tmp_path, monkeypatch):
    write_page(tmp_path / "pages", "02_short", PAGE)
    write_page(tmp_path / "pages", "03_stops", "raise OSError('no network')")
    monkeypatch.setattr(results, "machine", lambda: "a machine")
    before = dict(os.environ)
    run = results.run_pages("words", {"DLFB_CHECKPOINTS": "7"}, tmp_path, tmp_path / "pages")
    assert dict(os.environ) == before
    assert run["facts"] == {
        "residues of the insulin precursor": "1110", "order of the alphabet": "RH",
        "`MALWM` as indices": "16, 12", "one-hot shape of `MALWM`": "(1, 7)",
    }  # fmt: skip
    assert run["stopped"] == {"03_stops": "OSError: no network"}
    assert list(run["seconds"]) == ["02_short"] and run["data"] == "words"


def canned(shift: int = 0, **more) -> dict:
    facts = {fact: str(1000 * i + shift) for i, (fact, _, _) in enumerate(all_facts(), start=1)}
    return {"data": f"data {shift}", "machine": "a machine", "facts": facts, "stopped": {},
            "seconds": {"01_a": 1.2, "02_b": 30.0}, **more}  # fmt: skip


def test_the_report_has_book_and_runs_side_by_side():
    second = canned(1, stopped={"03_c": "OSError: no network"})
    second["facts"]["GO names"] = "nan"
    del second["facts"]["tokens"]
    text = results.report({"yours": canned(), "pocket": second}, "there/", "your run")
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", text, re.MULTILINE))
    assert rows["fact"] == "book | yours | pocket"
    facts = [fact for fact, _, _ in all_facts()]
    number = f"{1 + facts.index('accuracy, coin flip')},00"
    assert rows["accuracy, coin flip"] == f".501 | {number}0 | {number}1"
    assert rows["tokens"].startswith("33 | ") and rows["tokens"].endswith("| —")
    assert rows["GO names"].endswith("| undefined")
    assert rows["02_b"] == "30 | 30" and set(facts) < set(rows)
    assert "- **Yours**: data 0 (a machine)." in text
    assert "03_c stopped: OSError: no network" in text
    assert "](there/fig-2-15.png)" in text
    # Like stands beside like: the book's scores are in the table that counts as the book does.
    as_book, as_ours = text.split("## Scores, ")[1:]
    assert ".412" in as_book and ".412" not in as_ours


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    """Give the report a home of its own, where two runs are stored, and pages that take no time."""
    for name, shift in (("real", 1), ("pocket", 2)):
        results.keep(canned(shift), tmp_path / "stored" / f"{name}.json")
    (tmp_path / "root").mkdir()
    (tmp_path / "mine/proteins/datasets").mkdir(parents=True)
    monkeypatch.setattr(results, "STORED", tmp_path / "stored")
    monkeypatch.setattr(results, "ROOT", tmp_path / "root")
    asked = []

    def run_pages(data, environment, pictures=None):
        asked.append(environment)
        return canned(9, data=data)

    monkeypatch.setattr(results, "run_pages", run_pages)
    return tmp_path, asked


def files_of(folder: Path) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_reader_s_own_run_leaves_what_is_stored(at_home):
    home, asked = at_home
    before = files_of(home)
    results.main(["--mine", "--assets", str(home / "mine"), "--output", str(home / "out")])
    there = {"DLFB_EDITION": "full", "DLFB_CHECKPOINTS": "hub"}
    assert asked == [{**there, "DLFB_ASSETS": str(home / "mine")}]
    text = (home / "out/results.md").read_text()
    assert "| fact | book | yours | real proteins | pocket |" in text
    assert "| residues of the insulin precursor | 110 | 2,009 | 2,001 | 2,002 |" in text
    assert json.loads((home / "out/run.json").read_text())["facts"]["GO names"].endswith("009")
    after = files_of(home)
    assert {path: after[path] for path in before} == before
    assert {path.name for path in set(after) - set(before)} == {"results.md", "run.json"}


def test_a_reader_s_run_says_where_its_data_are_from(at_home):
    home, _ = at_home
    manifest = {"source": "uniprot", "made": "2030-01-02T03:04:05", "versions": {"go": "2030-01"},
                "files": [{"path": "x", "size": 1, "sha256": "0"}]}  # fmt: skip
    (home / "mine/proteins/MANIFEST.json").write_text(json.dumps(manifest))
    arguments = ["--mine", "--assets", str(home / "mine"), "--checkpoints", "pocket"]
    results.main(arguments)
    text = (home / "root/my-results/results.md").read_text()
    assert "dlfb-provision --source uniprot, 2030-01-02 (go 2030-01)" in text
    assert "language models: pocket" in text


def test_nothing_provisioned_is_told(at_home, monkeypatch):
    home, asked = at_home
    monkeypatch.setenv("DLFB_CACHE", str(home / "empty"))
    with pytest.raises(SystemExit, match="Run `dlfb-provision --chapter proteins` first"):
        results.main(["--mine"])
    with pytest.raises(SystemExit):
        results.main(["--assets", str(home / "mine")])
    assert asked == []


def test_the_stored_runs_are_renewed_only_by_whole_ones(at_home, monkeypatch):
    home, asked = at_home
    results.main([])
    assert asked == [{}]  # there are no real data beside this root
    text = (home / "root/results.md").read_text()
    assert "| residues of the insulin precursor | 110 | 2,001 | 2,009 |" in text
    before = files_of(home)
    monkeypatch.setattr(results, "run_pages", lambda *_: canned(3, stopped={"01_a": "OSError: x"}))
    with pytest.raises(SystemExit, match="Nothing was stored"):
        results.main([])
    assert files_of(home) == before
