"""The full edition's pages, executed end to end against a small outside world on loopback."""

import re
import subprocess
import sys

import numpy as np
import pytest

from tests.full_edition.world import GO, GROUPS, OFFLINE, REVISION, WIDTHS, text_of
from tests.notebooks import guards
from tools.run_pages import chosen_pages

NUMBERS = [path.name[:2] for path in chosen_pages([])]
SMALL, MIDDLE, LARGE = WIDTHS


@pytest.fixture(scope="session")
def expected(data):
    """Return what the pages should find, by a recomputation of its own."""
    terms, sequences = data["terms"], data["sequences"]
    blocks = data["ontology"].split("[Term]")[1:]
    live = {re.search("^id: (.*)", b, re.M)[1] for b in blocks if "is_obsolete: true" not in b}
    human = set(data["taxonomy"].query("taxonomyID == '9606'")["EntryID"])
    lengths = sequences.set_index("EntryID")["Sequence"].str.len()

    ours = terms[terms["EntryID"].isin(human)]
    places = ours[(ours["aspect"] == "CCO") & ~ours["term"].isin(["GO:0005575", "GO:0110165"])]
    single = places[~places["EntryID"].duplicated(keep=False)]
    single = single[single["EntryID"].map(lengths).between(100, 500)]["term"].value_counts()

    functions = ours[(ours["aspect"] == "MFO") & ours["term"].isin(live)]
    told = functions[~functions["term"].isin(["GO:0003674", "GO:0005488", "GO:0005515"])]
    counts = told["term"].value_counts()
    frequent = told[told["term"].isin(counts[counts >= 50].index)]
    proteins = frequent["EntryID"].drop_duplicates()
    return {
        "rows": len(terms),
        "named": terms["term"].isin(live).sum(),
        "sequences": len(sequences),
        "extracellular": single["GO:0005576"],
        "membrane": single["GO:0016020"],
        "human": (len(functions), functions["EntryID"].nunique(), functions["term"].nunique()),
        "functions": frequent["term"].nunique(),
        "table": (proteins.map(lengths) <= 500).sum(),
    }


def test_the_stand_in_holds_what_the_pages_need(expected):
    assert expected["extracellular"] >= 20 and expected["membrane"] >= 20
    assert expected["functions"] >= 20 and expected["table"] >= 500
    assert expected["named"] < expected["rows"]  # some terms are withdrawn, as in real files


def test_every_page_was_executed(pages):
    assert sorted(pages.notebooks) == NUMBERS == sorted(n for group in GROUPS for n in group)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_page_raises_nothing_and_warns_of_nothing(pages, number):
    assert guards.execution_problems(pages.notebooks[number]) == []


def test_the_files_were_provisioned_from_the_book_s_host_and_go_s(world, pages):
    for file in ("train_terms.tsv.zip", "train_taxonomy.tsv.zip", "train_sequences.fasta"):
        assert len(world.book.asked(f"/proteins/datasets/{file}")) == 1
    assert not world.book.asked("/dna/datasets/genome.fa")
    assert len(world.go.asked("/ontology/go-basic.obo")) == 1
    assert "DLFB_EDITION=full" in pages.provisioned


def test_structures_come_from_rcsb_once(world, pages):
    asked = [path for _, path, _ in world.rcsb.requests]
    assert asked == ["/3I40.pdb", "/1BKV.pdb", "/1YAR.pdb", "/1YAR.cif"]
    shown = pages.text("01")
    assert "{'A': 21, 'B': 30} of 110 residues" in shown
    assert "{'A': 30, 'B': 30, 'C': 30}" in shown  # modified residues, and no water
    assert "PRO HYP GLY PRO HYP GLY PRO HYP GLY ILE THR GLY" in shown
    assert f"21 chains, {21 * 172} residues" in shown  # from mmCIF


def of_weights(world, name):
    path = f"/{name}/resolve/{REVISION}/model.safetensors"
    return [h for method, asked, h in world.hub.requests if (method, asked) == ("GET", path)]


def test_models_come_from_the_hub_once_at_the_pinned_revision(world, pages):
    for name in (SMALL, MIDDLE):
        assert len(of_weights(world, name)) == 1
        size = len(world.hub.files[f"/{name}/resolve/{REVISION}/model.safetensors"])
        told = f"{name}: {size / 1e3:.0f} kB to download from {world.hub.url}, once; kept in "
        assert "".join(map(text_of, pages.notebooks.values())).count(told) == 1
    assert not [path for _, path, _ in world.hub.requests if "/resolve/main/" in path]


def test_of_the_large_model_one_tensor_is_read(world, pages):
    spans = [
        headers["Range"].removeprefix("bytes=").split("-") for headers in of_weights(world, LARGE)
    ]
    size = len(world.hub.files[f"/{LARGE}/resolve/{REVISION}/model.safetensors"])
    assert sum(int(end) - int(begin) + 1 for begin, end in spans) < size / 4
    shown = pages.text("03")
    told = f"{LARGE}: embeddings.word_embeddings.weight alone, 6 kB of {size / 1e3:.0f} kB,"
    assert f"{told} to download from {world.hub.url}, once; kept in" in shown
    assert f"table: (33, {WIDTHS[LARGE]}) float32" in shown


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
    assert f"embeddings: (40, {WIDTHS[SMALL]})" in shown


def test_the_table_is_that_of_the_provided_annotation(pages, expected):
    shown = pages.text("06")
    assert f"annotation: {expected['rows']:,} rows" in shown
    assert f"sequences:  {expected['sequences']:,}, of" in shown
    assert f"GO {GO}, " in shown
    assert f"keeps {expected['named']:,} of {expected['rows']:,} rows" in shown
    assert "{:,} rows, {:,} proteins, {:,} terms".format(*expected["human"]) in shown
    assert f"terms of 50 or more proteins: {expected['functions']}" in shown
    assert f"At most 500 residues: {expected['table']:,} proteins" in shown
    sizes = [int(n) for n in re.findall(r"'(?:train|valid|test)': (\d+)", shown)]
    assert sum(sizes) == expected["table"]
    assert sizes == pytest.approx(np.array([0.6, 0.2, 0.2]) * expected["table"], abs=3)
    width = 3 + expected["functions"] + WIDTHS[MIDDLE]
    assert f"training set: ({sizes[0]}, {width})" in shown
    assert "There are no truth files" in shown and "left out" not in shown


def test_the_network_is_trained_on_it(pages, expected):
    shown = pages.text("07")
    batch = {"embedding": (32, WIDTHS[MIDDLE]), "target": (32, expected["functions"])}
    assert str(batch) in shown
    assert "same history as before: True" in shown


def test_rivals_are_scored_and_no_truth_is_claimed(pages):
    shown = pages.text("08")
    for rival in ("coin flip", "proportional guess", "term frequency", "composition"):
        assert re.search(rf"^model \(valid\) +against {rival} ", shown, re.M)
    assert "hidden truths" not in shown and "cousins" not in shown


@pytest.mark.parametrize("number", OFFLINE)
def test_offline_the_filled_cache_is_enough(pages, again, number):
    def shown(of):
        return re.sub(r"^facebook/.* once; kept in .*\n", "", of.text(number), flags=re.M)

    assert "kept in" in pages.text(number) or number == "01"
    assert "kept in" not in again.text(number)  # nothing is told, since nothing is fetched
    assert shown(again) == shown(pages)


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
