"""make results: runs the pages and sets what they computed beside the printed book's figures.

    python tools/results.py                      the stored column, and results.md
    python tools/results.py --mine               your run beside it, on the full edition
    DLFB_ASSETS=DIR python tools/results.py --mine      ... on files of your own

The pages themselves are executed, and at the end of each the expressions that tools/facts.tsv has
for it are read, and page 8's predictions are scored. Only the book's own figures are typed.

The stored column is the pocket edition's: the shipped proteins, and the small language model.
``--mine`` writes a column and a report into the folder my-results, and leaves what is stored as it
is; its run.json, copied to _static/results/full.json, becomes a third column.
"""

import argparse
import json
import os
import platform
import re
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import nbformat
import pandas as pd
import torch
from nbclient.exceptions import CellExecutionError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.halves import read_text_half
from tools.run_pages import PAGES, ROOT, execute

STORED = ROOT / "_static" / "results"
FACTS = pd.read_csv(
    ROOT / "tools" / "facts.tsv", sep="\t", dtype=str, keep_default_na=False, quoting=3
)
AS_BOOK, AS_OURS = "Scores, counted as the book counts", "Scores, as these pages count"
# The book's means over proteins: accuracy, recall, precision, auPRC, auROC.
BOOK_SCORES = {
    "coin flip": (".501", ".499", ".024", ".025", ".500"),
    "proportional guess": (".956", ".094", ".080", ".040", ".536"),
    "model (valid)": (".979", ".129", ".424", ".412", ".883"),
    "model (test)": (".978", ".126", ".435", ".410", ".879"),
}
METRICS = ("accuracy", "recall", "precision", "auprc", "auroc")
BOOK = dict(zip(FACTS["fact"], FACTS["book"], strict=True)) | {
    f"{metric}, {name}": value
    for name, values in BOOK_SCORES.items()
    for metric, value in zip(METRICS, values, strict=True)
}
VERDICT = {
    "How many human proteins with a known function?": "human proteins with MFO terms",
    "How many functions are predicted?": "terms in at least 50 proteins",
    "From how many proteins does the network learn?": "training proteins",
    "How well does it rank a new protein's functions (auPRC)?": "auprc, model (test)",
    "How well does it find proteins with GO:0004930 (auPRC)?": "auPRC of GO:0004930",
}
NEAR = 0.15  # of the book's figure: what the verdict calls near
WORDS = {
    "Looking at proteins": "Pages 1 to 5.",
    "From annotation to a data set": "Page 6, and the batches of page 7.",
    AS_BOOK: "Pages 7 and 8; the validation set, but for the model's test. Means over proteins. "
    "As in the book, a measure that is undefined for a protein counts as 0.",
    AS_OURS: "The same predictions. What is undefined is left out of a mean; the interval is the "
    "bootstrap's, of 95 %. Means over terms, and Fmax, the book does not print.",
}
SCORES = """
from dlfb.proteins import metrics as _m
_scored = {_name: (truth, _probs) for _name, _probs in predictions.items()}
_scored["model (test)"] = (test_truth, test_probs)
for _name, _pair in _scored.items():
    _means = _m.per_protein_metrics(*_pair, undefined="book")[list(_m.METRICS)].mean()
    _facts |= {f"{_metric}, {_name}": f"{_value:.3f}" for _metric, _value in _means.items()}
    for _over in ("protein", "term"):
        _score = getattr(_m, f"per_{_over}_metrics")
        _values = _score(*_pair)["auprc"].dropna()
        _low, _high = _m.bootstrap_interval(_values)
        _facts[f"auPRC per {_over}, {_name}"] = f"{_values.mean():.3f} ({_low:.3f}–{_high:.3f})"
    _facts[f"Fmax, {_name}"] = f"{_m.fmax(*_pair):.3f}"
"""
PACKAGES = ("torch", "transformers", "jax", "flax", "numpy")
MARK = "dlfb-facts:"


def probe(page: str) -> str:
    """Return the code of the cell that is added to a page to print its facts."""
    rows = FACTS[FACTS["page"] == page]
    values = ", ".join(f"{row.fact!r}: str({row.expression})" for row in rows.itertuples())
    scores = SCORES if page == "08" else ""
    return f"import json\n_facts = {{{values}}}\n{scores}\nprint({MARK!r} + json.dumps(_facts))"


def run_pages(data: str, environment: dict, folder: Path = PAGES) -> dict:
    """Execute the pages that have facts and return what a column is written from.

    A page that stops leaves its facts out, and is under "stopped" with its error.
    """
    run = {"data": data, "machine": machine(), "facts": {}, "seconds": {}, "stopped": {}}
    with (
        tempfile.TemporaryDirectory(prefix="dlfb-results-") as cache,
        mock.patch.dict(os.environ, {"DLFB_CACHE": cache, **environment}),
    ):
        for text_half in sorted(folder.glob("[0-9]*.md")):
            if text_half.stem[:2] in set(FACTS["page"]) | {"08"}:
                one_page(text_half, run)
    return run


def one_page(text_half: Path, run: dict) -> None:
    """Execute a page, and add its facts and its time to `run`, or the error that stopped it."""
    name, notebook = text_half.stem, read_text_half(text_half)
    notebook.cells.append(nbformat.v4.new_code_cell(probe(name[:2])))
    try:
        run["seconds"][name] = execute(notebook, text_half.parent)
    except CellExecutionError as error:
        run["stopped"][name] = f"{error.ename}: {error.evalue}"
        print(f" stopped  {name}: {run['stopped'][name]}", flush=True)
        return
    print(f"{run['seconds'][name]:6.1f} s  {name}", flush=True)
    printed = "".join(output.get("text", "") for output in notebook.cells[-1].outputs)
    run["facts"] |= json.loads(printed.split(MARK)[1])


def machine() -> str:
    """Return in words what a run was made on and with."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{os.cpu_count()} CPU cores, {device}; Python {platform.python_version()}, {packages}"


def stored() -> dict[str, dict]:
    """Return the runs that are stored, by the heading of their column."""
    files = {"shipped set": STORED / "pocket.json", "full edition": STORED / "full.json"}
    return {name: json.loads(p.read_text("utf8")) for name, p in files.items() if p.exists()}


def report(columns: dict[str, dict]) -> str:
    """Return the text of the report from runs by the heading of their column."""
    lines = ["# How close does it come?", "", *verdict(next(iter(columns.values()))), ""]
    lines += [INTRODUCTION, "", f"- **Book**: {BOOK_DATA}."]
    for heading, run in columns.items():
        lines.append(f"- **{heading.capitalize()}**: {run['data']} ({run['machine']}).")
        lines += [f"  - {page} stopped: {why}" for page, why in run["stopped"].items()]
    for title, words in WORDS.items():
        lines += ["", f"## {title}", "", words, "", *table("fact", "book", *columns)]
        for fact in facts_of(title, columns):
            values = [run["facts"].get(fact, "—") for run in columns.values()]
            lines.append(row(fact, BOOK.get(fact, "—"), *values))
    lines += ["", "## Why the figures differ", "", WHY]
    lines += ["", "## Time", "", *table("page", *(f"{heading}, s" for heading in columns))]
    for page in sorted({page for run in columns.values() for page in run["seconds"]}):
        spent = [run["seconds"].get(page) for run in columns.values()]
        lines.append(row(page, *("—" if each is None else f"{each:.0f}" for each in spent)))
    return "\n".join(lines) + "\n"


def facts_of(title: str, columns: dict[str, dict]) -> list[str]:
    """Return a section's facts: those of facts.tsv, then the scores that the runs have."""
    typed = list(FACTS.loc[FACTS["section"] == title, "fact"])
    found = dict.fromkeys(fact for run in columns.values() for fact in run["facts"])
    kinds = {AS_BOOK: METRICS, AS_OURS: ("auPRC per protein", "auPRC per term", "Fmax")}
    return typed + [
        fact for kind in kinds.get(title, ()) for fact in found if fact.startswith(f"{kind}, ")
    ]


def verdict(run: dict) -> list[str]:
    """Return the five rows that the report opens with, and their sum in a sentence."""
    rows, near = table("question", "book", "here", "verdict"), 0
    for question, fact in VERDICT.items():
        value, words = run["facts"].get(fact, "—"), "not known"
        if re.fullmatch(r"[\d,]*\.?\d+", value):
            share = float(value.replace(",", "")) / float(BOOK[fact].replace(",", ""))
            near += abs(share - 1) <= NEAR
            words = f"{'near' if abs(share - 1) <= NEAR else 'not near'}: {100 * share:.0f} % of it"
        rows.append(row(question, BOOK[fact], value, words))
    words = f"**{near} of {len(VERDICT)} figures are within {100 * NEAR:.0f} % of the book's.**"
    return [words, "", *rows]


def table(*headings: str) -> list[str]:
    return [row(*headings), "|---" * len(headings) + "|"]


def row(*cells) -> str:
    """Return a line of a table: whole numbers with separators, NaN in words."""
    plain = ["undefined" if cell == "nan" else str(cell) for cell in cells]
    return f"| {' | '.join(f'{int(c):,}' if c.isdigit() else c for c in plain)} |"


INTRODUCTION = """\
The printed chapter's figures beside what these pages compute. Written by `make results`, which
executes the pages and reads their variables; only the book's column is typed. With
`make results MINE=--mine` you get a column of your own, in a file of your own; CONTRIBUTING.md
says how."""
SHIPPED = "the proteins and the small language model of the pocket edition, `dlfb/pocket_t6_3M`"
BOOK_DATA = (
    "the CAFA5 data of the book, which it calls CAFA3, and ESM2 (650M, 150M, 8M), as printed"
)
WHY = """\
- **Other annotation.** The shipped proteins are human ones with experimental annotation of 2022 and
  sequences of 2014; the book used the files of CAFA5, which have 142,246 proteins of all species.
- **Another language model.** The shapes of the embeddings tell which: 1280, 320 and 640 numbers
  are ESM2's. Other widths are those of the pocket edition's small model, which answers for all
  three with a fraction of their size and training.
- **Other means.** Our vectors are means over residues only, where the book's take in padding and
  special tokens. Our scores are means over proteins; the book averages the means of batches, of
  which the last is smaller. How undefined measures count is why there are two tables.
- **Another split.** Ours keeps identical sequences together and does not depend on Python's
  hash seed. The coin and the proportional guess are drawn anew, with a seed."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mine", action="store_true", help="a run of your own, aside")
    if parser.parse_args(arguments).mine:
        environment, data = {"DLFB_EDITION": "full"}, "the full edition"
        if assets := os.environ.get("DLFB_ASSETS"):
            environment["DLFB_ASSETS"] = str(Path(assets).resolve())  # pages run in their folder
            data += f" on {Path(assets).name}"
        run, folder = run_pages(data, environment), ROOT / "my-results"
        folder.mkdir(exist_ok=True)
        file, path = folder / "run.json", folder / "results.md"
    else:
        run, file, path = run_pages(SHIPPED, {}), STORED / "pocket.json", ROOT / "results.md"
        if run["stopped"]:
            sys.exit(f"Nothing was stored, as pages stopped: {', '.join(run['stopped'])}.")
    file.write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    own = {"yours": run} if file.parent != STORED else {}
    path.write_text(report(own | stored()), "utf8")
    print(f"wrote {path}")
    if run["stopped"]:
        sys.exit(f"Pages that stopped: {', '.join(run['stopped'])}.")


if __name__ == "__main__":
    main()
