"""CAFA files on disk, of either layout, and the real ones where they are at hand."""

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from dlfb.provision import main
from tests.test_provision import GO

REAL = Path(__file__).parents[1] / "../shared/data/cafa6/proteins/datasets"
HEAD = "EntryID\tterm\taspect\n"
CAFA5 = {
    "Train/train_terms.tsv": HEAD
    + "P2\tGO:0005488\tMFO\nP2\tGO:0003674\tMFO\nP1\tGO:0008150\tBPO\n",
    "Train/train_sequences.fasta": ">P1 sp|P1|A_HUMAN Something OS=Homo\nMALW\nM\n>P2\nMK\n",
    "Train/train_taxonomy.tsv": "EntryID\ttaxonomyID\nP1\t9606\nP2\t10090\n",
    "Train/go-basic.obo": GO,
    "IA.txt": "GO:0005488\t1.5\n",
    "Test/testsuperset.fasta": ">T1\nMK\n",
}
CAFA6 = CAFA5 | {
    "Train/train_terms.tsv": HEAD + "P2\tGO:0005554\tF\nP1\tGO:0008150\tP\n",
    "Train/train_sequences.fasta": ">sp|P1|A_HUMAN Some OS=Homo\nMALW\nM\n>tr|P2|B_HUMAN B\nMK\n",
    "Train/train_taxonomy.tsv": "P1\t9606\nP2\t10090\n",
    "IA.tsv": CAFA5["IA.txt"],
}
del CAFA6["IA.txt"]


def lay_out(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def run(directory, out):
    return main(["--source", "kaggle", str(directory), "--destination", str(out)])


def read(out):
    datasets = out / "proteins/datasets"
    tables = [pd.read_csv(datasets / f"train_{x}.tsv.zip", sep="\t", dtype=str)
              for x in ("terms", "taxonomy")]  # fmt: skip
    return [t.to_numpy().tolist() for t in tables], (datasets / "train_sequences.fasta").read_text()


@pytest.mark.parametrize(("layout", "files"), [("CAFA5", CAFA5), ("CAFA6", CAFA6)])
def test_both_layouts_give_the_same_files(tmp_path, layout, files):
    assert run(lay_out(tmp_path / "in", files), tmp_path / "out") == 0
    (terms, taxonomy), sequences = read(tmp_path / "out")
    assert sorted(terms) == [
        ["P1", "GO:0008150", "BPO"], ["P2", "GO:0003674", "MFO"], ["P2", "GO:0005488", "MFO"],
    ]  # fmt: skip
    assert (terms[0][0] == "P2") == (layout == "CAFA5")  # propagated rows stay in their order
    assert taxonomy == [["P1", "9606"], ["P2", "10090"]]
    assert sequences == ">P1\nMALWM\n>P2\nMK\n"
    datasets = tmp_path / "out/proteins/datasets"
    assert (datasets / "IA.tsv").read_text() == "GO:0005488\t1.5\n"
    assert (datasets / "go-basic.obo").read_text() == GO
    manifest = json.loads((tmp_path / "out/proteins/MANIFEST.json").read_text())
    assert manifest["versions"] == {"go": "releases/2030-01-01", "layout": layout}
    assert len(manifest["inputs"]) == len(manifest["files"]) == 5
    assert main(["--check", "--destination", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize("kind", ["folder with the zip", "the zip", "a zip for each file"])
def test_zips_are_read_as_they_came(tmp_path, kind):
    plain, packed = lay_out(tmp_path / "plain", CAFA6), tmp_path / "packed"
    packed.mkdir()
    if kind == "a zip for each file":
        for name, text in CAFA6.items():
            with zipfile.ZipFile(packed / f"{Path(name).name}.zip", "w") as archive:
                archive.writestr(Path(name).name, text)
    else:
        shutil.make_archive(packed / "cafa-6", "zip", plain)
    given = packed / "cafa-6.zip" if kind == "the zip" else packed
    before = sorted(packed.iterdir())
    assert run(given, tmp_path / "out") == run(plain, tmp_path / "out2") == 0
    assert read(tmp_path / "out") == read(tmp_path / "out2")
    assert sorted(packed.iterdir()) == before


def test_a_zip_that_climbs_is_refused(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "cafa.zip", "w") as archive:
        for name, text in CAFA6.items():
            archive.writestr(name, text)
        archive.writestr("../../IA.tsv", "out!")
    assert run(tmp_path / "cafa.zip", tmp_path / "out") == 1
    assert "outside the folder" in capsys.readouterr().err
    assert not list(tmp_path.rglob("IA.tsv"))


TERMS, TAXA = "Train/train_terms.tsv", "Train/train_taxonomy.tsv"
FASTA, OBO = "Train/train_sequences.fasta", "Train/go-basic.obo"
ROW = "P1\tGO:0008150\tP\n"
BAD = {
    "terms without a column": (TERMS, "EntryID\tterm\nP1\tGO:0005488\n", "EntryID, term, aspect"),
    "terms with commas": (TERMS, "EntryID,term,aspect\nP1,GO:0005488,F\n", "first line reads"),
    "an aspect of no kind": (
        TERMS,
        HEAD + ROW + ROW.replace("\tP", "\tX"),
        "line 3: aspect is 'X'",
    ),
    "a term that is none": (TERMS, HEAD + "P1\tGO:815\tP\n", "line 2: term is 'GO:815'"),
    "a row cut short": (TERMS, HEAD + ROW + "P1\tGO:00", "line 3"),
    "no id": (TERMS, HEAD + ROW[2:], "line 2: EntryID"),
    "no rows": (TERMS, HEAD, "no rows"),
    "empty": (TERMS, "", "first line reads"),
    "a taxon that is none": (TAXA, "P1\t9606\nP2\thuman\n", "line 2: taxonomyID is 'human'"),
    "a protein of two taxa": (TAXA, "P1\t9606\nP1\t10090\n", "line 2: EntryID is 'P1'"),
    "sequences of others": (FASTA, ">X1\nMK\n", "No annotated protein has a sequence"),
    "a letter that is none": (FASTA, ">P1\nMA1\n", "position 3"),
    "another ontology": (OBO, "format-version: 1.2\n", "no term"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_told_with_their_place(tmp_path, capsys, case):
    name, text, told = BAD[case]
    assert run(lay_out(tmp_path / "good", CAFA6), tmp_path / "out") == 0
    before = read(tmp_path / "out")
    assert run(lay_out(tmp_path / "in", CAFA6 | {name: text}), tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
    assert read(tmp_path / "out") == before


def test_a_missing_file_is_named(tmp_path, capsys):
    folder = lay_out(tmp_path / "in", CAFA6)
    (folder / "Train/go-basic.obo").unlink()
    assert run(folder, tmp_path / "out") == 1
    assert "lacks go-basic.obo" in capsys.readouterr().err


def test_what_does_not_join_is_counted(tmp_path, capsys):
    files = CAFA6 | {
        "Train/train_sequences.fasta": ">P1\nMK\n",
        "Train/train_taxonomy.tsv": "P2\t1\n",
    }
    assert run(lay_out(tmp_path / "in", files), tmp_path / "out") == 0
    told = capsys.readouterr().out
    assert "1 annotated proteins have no sequence, such as P2" in told
    assert "1 annotated proteins have no taxon, such as P1" in told


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/cafa6")
def test_the_real_cafa6_in_kaggle_s_layout(tmp_path):
    with zipfile.ZipFile(REAL / "train_terms_direct.tsv.zip") as archive:
        direct = archive.read(archive.namelist()[0]).decode()
    for name, letter in {"MFO": "F", "BPO": "P", "CCO": "C"}.items():
        direct = direct.replace(f"\t{name}\n", f"\t{letter}\n")
    with zipfile.ZipFile(REAL / "train_taxonomy.tsv.zip") as archive:
        taxonomy = archive.read(archive.namelist()[0]).decode()
    lay_out(tmp_path / "in", {
        "Train/train_terms.tsv": direct,
        "Train/train_taxonomy.tsv": taxonomy.partition("\n")[2],
        "Train/train_sequences.fasta": "".join(
            f">sp|{line[1:].strip()}|X_Y A protein\n" if line[0] == ">" else line
            for line in (REAL / "train_sequences.fasta").open()
        ),
    })  # fmt: skip
    shutil.copy(REAL / "go-basic.obo", tmp_path / "in/Train")
    shutil.copy(REAL / "IA.tsv", tmp_path / "in")

    code = (
        "import resource, sys; from dlfb.provision import main; status = main(sys.argv[1:]); "
        "used = resource.getrusage(resource.RUSAGE_SELF); "
        "print(status, used.ru_utime + used.ru_stime, used.ru_maxrss)"
    )
    arguments = ["--source", "kaggle", str(tmp_path / "in"), "--destination", str(tmp_path / "out")]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    status, seconds, kilobytes = done.stdout.splitlines()[-1].split()
    print(f"{seconds} s of CPU, {time.perf_counter() - start:.0f} s, {int(kilobytes) / 1e6:.2f} GB")
    # CPU time, as other work on the machine must not fail a test.
    assert status == "0" and float(seconds) < 60 and int(kilobytes) < 4e6

    made = tmp_path / "out/proteins/datasets"
    order = ["EntryID", "term"]
    ours, theirs = (
        pd.read_csv(folder / "train_terms.tsv.zip", sep="\t").sort_values(order, ignore_index=True)
        for folder in (made, REAL)
    )
    assert len(ours) == 2_487_706
    pd.testing.assert_frame_equal(ours, theirs)
    for name in ("train_sequences.fasta", "go-basic.obo", "IA.tsv"):
        assert (made / name).read_bytes() == (REAL / name).read_bytes()
    with zipfile.ZipFile(made / "train_taxonomy.tsv.zip") as archive:
        assert archive.read("train_taxonomy.tsv").decode() == taxonomy
