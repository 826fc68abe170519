"""``dlfb.predict`` and ``dlfb-predict``, from end to end on a small set of real proteins."""

import contextlib
import gzip
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

import dlfb
from dlfb.prediction import COLUMNS, main, predict, read_proteins
from dlfb.proteins import dataset, predictor
from dlfb.utils.context import assets

INSULIN = "MALWMRLLPLLALLALWGPDPAAAFVNQHLCGSHLVEALYLVCGERGFFYTPKTRREAEDLQVGQVELGGGPGAGSLQPLALEG"
WITHOUT_A_WORD = {
    "unknown": "X" * 50,
    "single": "M",
    "half": "MKRSTVAGGLLILPWYFHEDCNQ" + "X" * 20 + "KRSTVAGGLL",
    "dna": "ATGGCGTACGTTAGCATGCCGTAAGCTATCGATCGGCTAAC",
    "repeat": "MSGSGSGSGSGSGSGSGSGSGSGSGSGSGSGSGSGSGSGSGS",
}
NAMES = ["<script>alert(1)</script>", "a&b\"'>", "\u202egnp.exe", "n" * 10_000]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Make a small set of 320 short annotated proteins."""
    root = tmp_path_factory.mktemp("world")
    table = dataset.function_table(max_length=170, min_proteins=400, verbose=False)[:320]
    wide = table.set_index("EntryID").drop(columns=["Sequence", "Length"])
    pairs = [(wide.index[i], wide.columns[j]) for i, j in np.argwhere(wide.to_numpy() == 1)]
    folder = root / "proteins/datasets"
    folder.mkdir(parents=True)
    terms = "".join(f"{protein}\t{term}\tMFO\n" for protein, term in pairs)
    (folder / "train_terms.tsv.zip").write_text("EntryID\tterm\taspect\n" + terms)
    species = "".join(f"{protein}\t9606\n" for protein in wide.index)
    (folder / "train_taxonomy.tsv.zip").write_text("EntryID\ttaxonomyID\n" + species)
    write_fasta(folder / "train_sequences.fasta", table[["EntryID", "Sequence"]].to_numpy())
    shutil.copy(assets("proteins/datasets/go-basic.obo"), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLFB_ASSETS", str(root))
        yield table


def write_fasta(path: Path, records) -> Path:
    path.write_text("".join(f">{name}\n{text}\n" for name, text in records), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    """Run the command on annotated proteins, odd ones, and records that can't be used."""
    folder = tmp_path_factory.mktemp("run")
    annotated = world[["EntryID", "Sequence"]].to_numpy()
    records = [*annotated[:12], *WITHOUT_A_WORD.items(), *((name, INSULIN) for name in NAMES)]
    records += [("bad", "MK1L"), ("single", "MM"), ("unknown", "X" * 50)]
    fasta, out = write_fasta(folder / "mine.fasta", records), folder / "out"
    out.mkdir()
    (out / "notes.txt").write_text("kept")
    (out / "report.html").write_text("old")
    printed, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        status = main([str(fasta), "--out", str(out), "--on-error", "skip"])
    assert status == 0, errors.getvalue()
    table = pd.read_csv(out / "predictions.tsv", sep="\t", keep_default_na=False)
    page = BeautifulSoup((out / "report.html").read_text(encoding="utf-8"), "html.parser")
    return folder, table, page, printed.getvalue(), errors.getvalue()


def test_what_the_command_says_and_that_files_of_others_stay(run):
    folder, table, _, printed, errors = run
    assert f"{(table['term'] != '').sum():,} functions of 21 proteins" in printed
    assert "Replaced: report.html." in printed and "Traceback" not in errors
    assert "Records left out: 2. The first: mine.fasta, record 22 (bad): the letter" in errors
    assert "Warning: Looks like DNA, not protein: dna\n" in errors
    names = sorted(path.name for path in (folder / "out").iterdir())
    assert names == ["notes.txt", "predictions.tsv", "report.html"]


def test_every_protein_is_in_the_table(run, world):
    _, table, *_ = run
    assert list(table) == COLUMNS
    order = [*world["EntryID"][:12], *WITHOUT_A_WORD, *NAMES]
    assert list(dict.fromkeys(table["protein"])) == order
    known = table[table["term"] != ""]
    assert known["probability"].astype(float).between(0.1, 1).all()
    assert set(known["evidence"]) <= {"model", "relatives", "both"}
    for _, rows in known.groupby("protein"):
        assert rows["probability"].astype(float).is_monotonic_decreasing
    with_relative = known[known["nearest"] != ""]
    assert with_relative["identity"].astype(float).between(0, 1).all() and len(with_relative)
    assert set(known["evidence"][known["nearest"] == ""]) <= {"model"}
    learned = known["flags"].str.contains("learned from this sequence")
    assert (known["identity"][learned] == "1.000").all() and learned.any()


def test_parents_are_at_least_as_probable(run):
    from dlfb.proteins.ontology import ancestors, read_ontology

    known, graph, compared = run[1][run[1]["term"] != ""], read_ontology(), 0
    for _, rows in known.groupby("protein"):
        chance = rows.set_index("term")["probability"].astype(float)
        for term in chance.index:
            above = [t for t in ancestors(graph, term) if t in chance]
            compared += len(above)
            assert (chance[above] >= chance[term]).all()
    assert compared > 0


def test_what_tells_a_network_nothing_gets_no_probability(run):
    rows = run[1][run[1]["protein"].isin(WITHOUT_A_WORD)]
    assert len(rows) == 5 and (rows["term"] == "").all() and (rows["probability"] == "").all()
    reasons = "fewer than 30|unknown residues|looks like DNA|few kinds of residues"
    assert rows["flags"].str.contains(reasons).all()
    assert rows["flags"].str.contains("no relative").all()


def test_the_report_is_one_file_without_scripts(run):
    page = run[2]
    assert page.find_all(["script", "link", "img", "iframe", "object", "base"]) == []
    assert not [tag for tag in page.find_all(True) for name in tag.attrs if name.startswith("on")]
    ids = {f"#{tag['id']}" for tag in page.find_all(id=True)}
    for link in page.find_all(href=True):
        assert link["href"] in ids or re.fullmatch(
            r"https://www\.uniprot\.org/uniprotkb/\w+", link["href"]
        )
    assert "url(" not in str(page.style) and "@import" not in str(page.style)


def test_the_report_has_a_card_for_each_protein(run, world):
    page, table = run[2], run[1]
    cards = page.select("details.card:has(section)")
    names = [card.summary.bdi.text for card in cards]
    assert len(names) == 21 and names[:12] == list(world["EntryID"][:12])
    assert names[-4:] == [*NAMES[:2], "\\u202egnp.exe", "n" * 60 + "…"]
    assert [card.select_one(".residues").text for card in cards[:12]] == list(
        world["Sequence"][:12]
    )
    for card in cards:
        rows = table[(table["protein"] == card.summary.bdi.text) & (table["term"] != "")]
        shown = [bar.span.text for bar in card.select(".bars li")]
        if card.summary.bdi.text in table["protein"].array:
            assert shown == list(rows["name"])[:10]
        assert bool(card.select("svg rect")) == bool(shown)
    assert len(page.select("svg.map circle")) == 21
    left_out = page.select_one("details:not(:has(section))").text
    assert "Left out: 2" in left_out and "(bad)" in left_out and "another sequence" in left_out


def test_a_second_run_learns_nothing_and_gives_the_same(run, monkeypatch):
    monkeypatch.setattr(predictor, "train", None)
    with pytest.warns(UserWarning, match="left out|like DNA"):
        again = predict(run[0] / "mine.fasta", on_error="skip")
    stored = run[1]["probability"].replace("", np.nan).astype(float)
    np.testing.assert_allclose(again["probability"], stored, atol=5e-4)
    assert again["flags"].tolist() == run[1]["flags"].tolist()


def test_proteins_with_and_without_relatives_are_calibrated_apart():
    found = np.repeat([True, False], 50)
    targets = np.zeros((100, 1))
    targets[:45] = targets[50:55] = 1  # of one score, nine tenths are true and one tenth
    half = np.full((100, 1), 0.5, np.float32)
    valid = {"targets": targets, "scores": (half, half, found)}
    made = predictor.Predictor(None, None, None, None, None, {"valid": valid})
    chances = made.probabilities(half[:2], half[:2], np.array([True, False]))
    np.testing.assert_allclose(chances.ravel(), [0.9, 0.1], atol=1e-6)


# What is wrong is said before anything is computed


@pytest.mark.parametrize(
    "content, said",
    [
        (b">a\nMK1L\n", "record 1 (a): the letter '1' at position 3"),
        (b">a\nMK\n>a\nML\n", "a has another sequence, too"),
        (">a\nMKL\n".encode("utf-16"), "UTF-8"),
        (gzip.compress(b">a\nMKLV\n")[:-9], "damaged or cut off"),
    ],
)
def test_a_file_that_can_t_be_used_gets_a_sentence(tmp_path, capsys, content, said):
    (tmp_path / "mine.fasta").write_bytes(content)
    assert main([str(tmp_path / "mine.fasta"), "--out", str(tmp_path / "out")]) == 1
    printed, errors = capsys.readouterr()
    assert said in errors and errors.startswith("dlfb-predict: ") and errors.count("\n") == 1
    assert printed == "" and not (tmp_path / "out").exists()


def test_wrong_options_get_a_sentence(tmp_path, capsys):
    fasta = write_fasta(tmp_path / "mine.fasta", [("a", INSULIN)])
    for options, said in {
        (str(fasta), "--out", str(fasta)): "mine.fasta can't be a folder for the results",
        (str(fasta), "--out", str(tmp_path), "--min-probability", "2"): "min_probability=2.0 shou",
        (str(tmp_path / "none.fasta"), "--out", str(tmp_path)): "There is no file",
    }.items():
        assert main(options) == 1
        errors = capsys.readouterr().err
        assert errors.startswith("dlfb-predict: ") and said in errors and errors.count("\n") == 1
    with pytest.raises(ValueError, match="no aspect 'XYZ'; choose one of MFO, BPO, CCO"):
        predict(fasta, aspect="XYZ")


def test_mistakes_are_told_without_waiting_for_torch(tmp_path):
    code = "import sys; from dlfb.prediction import main; status = main(sys.argv[1:]); "
    code += "print(status, {'torch', 'jax'} & sys.modules.keys())"
    command = [sys.executable, "-c", code, str(tmp_path / "none.fasta"), "--out", str(tmp_path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stdout == "1 set()\n"


def test_flags_and_repeated_records(tmp_path):
    records = [("same", INSULIN), ("same", INSULIN), ("cut", INSULIN[1:]), ("long", INSULIN * 9)]
    proteins, skipped = read_proteins(write_fasta(tmp_path / "mine.fasta", records), "stop")
    assert skipped == [] and proteins.index.tolist() == ["same", "cut", "long"]
    flags = dict(zip(proteins.index, proteins["flags"], strict=True))
    assert flags["same"] == [] and flags["cut"] == ["does not begin with M: a fragment?"]
    assert len(flags["long"]) == 1 and flags["long"][0].startswith("longer than the 500 residues")
    assert not proteins["unsure"].any()


def test_predict_is_at_hand_without_an_import():
    assert dlfb.predict is predict
