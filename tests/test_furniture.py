"""What is around the pages: glossary, bibliography, reading times, and that each is used."""

import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "_ext"))
import page_facts  # noqa: E402

PAGES = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
TEXTS = [
    *sorted((ROOT / "notebooks").glob("[0-9]*.md")),
    *(path for path in sorted(ROOT.glob("*.md")) if path.name != "CONTRIBUTING.md"),
]


def words_of_the_glossary() -> list[str]:
    text = (ROOT / "glossary.md").read_text(encoding="utf8")
    blocks = re.findall(r"^```\{glossary\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and line[0] != " "]


def prose_of_all_pages() -> str:
    pages = [nbformat.read(path, as_version=4) for path in PAGES]
    return "\n".join(c.source for p in pages for c in p.cells if c.cell_type == "markdown")


def test_glossary_holds_words_that_the_pages_use():
    words, prose = words_of_the_glossary(), prose_of_all_pages().lower()
    assert len(words) > 40 and len(set(words)) == len(words)
    unused = [w for w in words if not re.search(rf"(?<![\w-]){re.escape(w.lower())}", prose)]
    assert not unused, f"no page uses {unused}: the glossary is for the pages"


# Names of genes, firms, programs and units, and evidence codes, which page 6 explains.
SPELLED_NOWHERE = "PA26 UBA52 HRAS KRAS NRAS NVIDIA HMMER JAX GB MB "
SPELLED_NOWHERE += "IBA IDA IEA IMP IPI ISA ISS NAS RCA TAS HDA"


def test_every_abbreviation_is_in_the_glossary():
    code = r"`[^`]*`|```.*?```|\]\([^)]*\)|\$[^$]*\$|https?://\S+"
    prose = re.sub(code, "", prose_of_all_pages(), flags=re.DOTALL)
    found = set(re.findall(r"(?<![\w-])(?:[A-Z]{2,}\d*|au[A-Z]{3})(?![\w-])", prose))
    there = {*words_of_the_glossary(), *SPELLED_NOWHERE.split()}
    assert len(found) > 15
    assert {word for word in found if not {word, word.rstrip("35")} & there} == set()


def test_citations_and_references_agree():
    bibliography = (ROOT / "references.bib").read_text(encoding="utf8")
    known = set(re.findall(r"^@\w+\{(\w+),", bibliography, re.MULTILINE))
    prose = "\n".join(path.read_text(encoding="utf8") for path in TEXTS)
    named = ",".join(re.findall(r"\{cite:[pt]\}`([^`]+)`", prose)).split(",")
    cited = {key.strip() for key in named} - {""}
    # Pages link to a paper, since Colab shows a role as it is written.
    for entry in bibliography.split("\n@")[1:]:
        address = re.search(r"(?:doi|url) = \{(?:https?://)?(\S+)\}", entry)
        if address and address[1] in prose:
            cited.add(re.search(r"\{(\w+),", entry)[1])
    assert cited - known == set(), "cited, and not in references.bib"
    assert known - cited == set(), "in references.bib, and cited nowhere"


def test_every_reference_can_be_found():
    entries = (ROOT / "references.bib").read_text(encoding="utf8").split("\n@")[1:]
    for entry in entries:
        found = re.search(r"doi = \{10\.\d{4,}/\S+\}|url = \{https://\S+\}|@?book\{", entry)
        assert found or entry.startswith("book"), entry.split(",")[0]


def test_reading_time_counts_prose_code_and_figures():
    def minutes(kind, source, times=1, **metadata):
        cell = {"cell_type": kind, "source": source, "metadata": metadata}
        return page_facts.reading_minutes({"cells": [cell] * times, "metadata": {}})

    assert minutes("markdown", "word " * 1800) == 10
    assert minutes("code", "x = 1\n\n" * 100) == 5
    assert minutes("code", "", times=8, mystnb={"figure": {"name": "a"}}) == 2
    assert minutes("code", "x\n" * 500, tags=["hide-input"]) == 1


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_page_says_when_and_with_what_it_was_run(path):
    sentence = page_facts.last_run(nbformat.read(path, as_version=4))
    assert re.match(r"Last run on \d+ \w+ 20\d\d on the pocket edition, in \d+ s", sentence)
    assert "Python 3." in sentence and "torch " in sentence and "jax " in sentence


def test_the_first_page_gives_every_reading_time():
    text = (ROOT / "index.md").read_text(encoding="utf8")
    assert re.findall(r"\{minutes\}`notebooks/([^`]+)`", text) == [path.stem for path in PAGES]
