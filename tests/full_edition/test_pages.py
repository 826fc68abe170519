"""The full edition's pages, executed end to end against a small outside world on loopback.

What is looked for are numbers that a page can only have from the served files, not its sentences.
"""

import re
import subprocess
import sys

import numpy as np
import pytest

from dlfb.proteins.language_model import REVISIONS
from dlfb.proteins.structures import STRUCTURES
from dlfb.utils.context import POCKET_MODEL
from tests.full_edition.world import GO, GROUPS, OFFLINE, WIDTHS
from tests.notebooks import guards

# The chapter's own pages; those beyond it ask for nothing that these don't.
NUMBERS = sorted(number for group in GROUPS for number in group)
SMALL, MIDDLE, LARGE = WIDTHS
GENERAL = ["GO:0003674", "GO:0005488", "GO:0005515"]


@pytest.fixture(scope="session")
def expected(data):
    """Return what the pages should find, by a recomputation of its own."""
    terms, sequences = data["terms"], data["sequences"]
    human = set(data["taxonomy"].query("taxonomyID == '9606'")["EntryID"])
    lengths = sequences.set_index("EntryID")["Sequence"].str.len()

    ours = terms[terms["EntryID"].isin(human)]
    places = ours[(ours["aspect"] == "CCO") & ~ours["term"].isin(["GO:0005575", "GO:0110165"])]
    single = places[~places["EntryID"].duplicated(keep=False)]
    single = single[single["EntryID"].map(lengths).between(100, 500)]["term"].value_counts()

    functions = ours[ours["aspect"] == "MFO"]
    told = functions[~functions["term"].isin(GENERAL)]
    counts = told["term"].value_counts()
    frequent = told[told["term"].isin(counts[counts >= 50].index)]
    return {
        "rows": len(terms),
        "sequences": len(sequences),
        "extracellular": single["GO:0005576"],
        "membrane": single["GO:0016020"],
        "human": (len(functions), functions["EntryID"].nunique(), functions["term"].nunique()),
        "functions": frequent["term"].nunique(),
        "table": (frequent["EntryID"].drop_duplicates().map(lengths) <= 500).sum(),
    }


@pytest.mark.parametrize("number", NUMBERS)
def test_a_page_runs_without_a_warning_and_without_the_pocket_edition(pages, number):
    assert guards.execution_problems(pages.notebooks[number]) == []
    assert POCKET_MODEL not in pages.text(number)


def test_the_files_were_provisioned_from_the_book_s_host_and_go_s(world, pages):
    for file in ("train_terms.tsv.zip", "train_taxonomy.tsv.zip", "train_sequences.fasta"):
        assert len(world.book.asked(f"/proteins/datasets/{file}")) == 1
    assert not world.book.asked("/dna/datasets/genome.fa")
    assert len(world.book.asked("/go-basic.obo")) == 1
    assert "DLFB_EDITION=full" in pages.provisioned


def test_structures_come_from_rcsb_once(world, pages):
    asked = [path for _, path, _ in world.rcsb.requests]
    assert sorted(asked) == sorted(f"/{pdb_id}.pdb" for pdb_id in STRUCTURES)
    assert "'A': 21, 'B': 30" in pages.text("01")


def of_weights(world, name):
    path = f"/{name}/resolve/{REVISIONS[name]}/model.safetensors"
    return [h for method, asked, h in world.hub.requests if (method, asked) == ("GET", path)]


def test_models_come_from_the_hub_once_at_the_pinned_revision(world, pages):
    assert [len(of_weights(world, name)) for name in WIDTHS] == [1, 1, 1]
    assert not [path for _, path, _ in world.hub.requests if "/resolve/main/" in path]
    assert f"(33, {WIDTHS[LARGE]})" in pages.text("03")


def test_masked_prediction_asks_the_model_that_was_served(world, pages, monkeypatch):
    from dlfb.proteins.inspect import MaskPredictor
    from dlfb.proteins.language_model import load_language_model
    from dlfb.proteins.sequences import INSULIN

    monkeypatch.setenv("DLFB_CHECKPOINTS", str(world.models))
    leucine = MaskPredictor(*load_language_model(MIDDLE, masked=True)).predict(INSULIN, 29)
    assert leucine[list("LIAD")].round(2).to_string() in pages.text("04")


def test_places_are_those_of_the_provided_annotation(pages, expected):
    shown = pages.text("05")
    for place in ("extracellular", "membrane"):
        assert re.search(rf"^{place} +{expected[place]}$", shown, re.M)
    assert f"(40, {WIDTHS[SMALL]})" in shown


def test_the_table_is_that_of_the_provided_annotation(pages, expected):
    shown = pages.text("06")
    for number in (expected["rows"], expected["sequences"], *expected["human"], expected["table"]):
        assert re.search(rf"(?<![\d,]){number:,}(?![\d,]*\d)", shown), f"{number:,}"
    assert GO in shown
    sizes = [int(n) for n in re.findall(r"'(?:train|valid|test)': (\d+)", shown)]
    assert sum(sizes) == expected["table"]
    assert sizes == pytest.approx(np.array([0.6, 0.2, 0.2]) * expected["table"], abs=3)
    assert f"({sizes[0]}, {3 + expected['functions'] + WIDTHS[MIDDLE]})" in shown


def test_the_network_is_trained_on_it(pages, expected):
    batch = {"embedding": (32, WIDTHS[MIDDLE]), "target": (32, expected["functions"])}
    assert str(batch) in pages.text("07")


@pytest.mark.parametrize("number", OFFLINE)
def test_offline_the_filled_cache_is_enough(pages, again, number):
    assert again.text(number) == pages.text(number)


def test_nothing_else_was_asked(world, pages, again):
    assert world.log.read_text() == ""
    assert world.elsewhere.requests == []


def test_the_guard_would_notice(world):
    """The two ways by which a request elsewhere is seen: the sockets, and the proxy."""
    code = "import requests, socket\n"
    code += "try: socket.create_connection(('192.0.2.1', 80), timeout=1)\nexcept OSError: pass\n"
    code += "print(requests.get('http://example.org/').status_code)"
    log = world.log.with_name("seen.txt")
    environment = world.environment | {"WORLD_LOG": str(log)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "404\n", done.stderr
    assert log.read_text().splitlines()[0] == "socket.getaddrinfo 192.0.2.1"
    assert world.elsewhere.asked("/") and not world.elsewhere.requests.clear()
