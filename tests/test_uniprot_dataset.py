"""CAFA's files from UniProt, GOA and GO: what is kept, and what happens to bad input."""

import gzip
import zipfile

import numpy as np
import pandas as pd
import pytest

from dlfb.proteins.dataset import load_sequences, load_taxonomy, load_terms
from tools.build_human_data import EXPERIMENTAL
from tools.uniprot_dataset import main, make_dataset, read_annotations

GO = """format-version: 1.2
data-version: releases/2030-01-01

[Term]
id: GO:0003674
name: molecular_function
namespace: molecular_function

[Term]
id: GO:0005488
name: binding
namespace: molecular_function
alt_id: GO:0005554
is_a: GO:0003674 ! molecular_function

[Term]
id: GO:0008150
name: biological_process
namespace: biological_process
"""


def gaf(*rows, first="!gaf-version: 2.2"):
    """Return GAF text; a row is (id, term) or (id, term, evidence, relation, taxon, database)."""
    lines = [first, "!date-generated: 2030-01-02"]
    for entry, term, *more in rows:
        usual = ["IDA", "enables", "taxon:9606", "UniProtKB"]
        evidence, relation, taxon, database = [*more, *usual[len(more) :]]
        lines.append("\t".join([
            database, entry, "SYM", relation, term, "PMID:1", evidence, "", "F", "name", "syn",
            "protein", taxon, "20300101", "UniProt", "", "",
        ]))  # fmt: skip
    return "\n".join(lines) + "\n"


@pytest.fixture
def inputs(tmp_path):
    """Write the three inputs, and return them as arguments."""
    rows = [("P2", "GO:0005554"), ("P1", "GO:0003674", "TAS"), ("P3", "GO:0005488")]
    (tmp_path / "a.gaf.gz").write_bytes(gzip.compress(gaf(*rows).encode()))
    fasta = "".join(f">sp|{e}|{e}_HUMAN OS=Homo sapiens\nMALW\nM\n" for e in ("P1", "P2", "Q9"))
    (tmp_path / "s.fasta").write_text(fasta)
    (tmp_path / "go.obo").write_text(GO)
    return {
        "taxa": [9606],
        "sequences": [tmp_path / "s.fasta"],
        "annotations": [tmp_path / "a.gaf.gz"],
        "ontology": tmp_path / "go.obo",
    }


def test_the_chapter_s_code_reads_what_comes_out(inputs, tmp_path, monkeypatch, capsys):
    folder = make_dataset(tmp_path / "out", **inputs)
    assert "1 annotated proteins left out" in capsys.readouterr().out
    monkeypatch.setenv("DLFB_ASSETS", str(tmp_path / "out"))
    # The alternative id is mapped, ancestors are added, P3 has no sequence, Q9 no annotation.
    assert load_terms("MFO")[["EntryID", "term"]].to_numpy().tolist() == [
        ["P1", "GO:0003674"], ["P2", "GO:0003674"], ["P2", "GO:0005488"],
    ]  # fmt: skip
    assert load_taxonomy()["taxonomyID"].tolist() == [9606, 9606]
    assert load_sequences()["Sequence"].tolist() == ["MALWM", "MALWM"]
    accretion = pd.read_csv(folder / "IA.tsv", sep="\t", header=None, index_col=0)[1]
    assert accretion["GO:0005488"] == np.log2(2) and accretion["GO:0003674"] == 0
    with zipfile.ZipFile(folder / "train_terms.tsv.zip") as archive:
        assert archive.namelist() == ["train_terms.tsv"]


def annotations(tmp_path, text, taxa=(9606,)):
    (tmp_path / "a.gaf").write_text(text)
    return read_annotations([tmp_path / "a.gaf"], taxa)


def test_what_cafa_keeps_is_kept(tmp_path, capsys):
    codes = ["IEA", "ISS", "IBA", "ND", "NAS", *sorted(EXPERIMENTAL)]
    rows = [(f"P{code}", "GO:1", code) for code in codes]
    rows += [("PNOT", "GO:1", "IDA", "NOT|enables"), ("PRAT", "GO:1", "IDA", "", "taxon:10116")]
    rows += [("PVIR-2", "GO:1", "IDA", "", "taxon:9606|taxon:1"), ("PVIR:PRO_1", "GO:1")]
    table = annotations(tmp_path, gaf(*rows))
    assert set(table["EntryID"]) == {f"P{code}" for code in EXPERIMENTAL} | {"PVIR"}
    assert set(table["taxonomyID"]) == {"9606"} and not table.duplicated().any()
    told = capsys.readouterr().out
    assert "1 of another taxon; 5 neither experimental nor curated; 1 negative (NOT)" in told
    assert annotations(tmp_path, gaf(*rows) + "\n").equals(table)  # an empty line at the end


@pytest.mark.parametrize(("row", "cause"), [
    (("P1", "GO:1", "IDA", "", "taxon:9606", "UniProt"), "1 of another database than UniProtKB"),
    (("P1", "GO:1", "IDA", "", "taxon:10116"), "1 of another taxon"),
    (("P1", "GO:1", "IDA", "", ""), "1 of another taxon"),
    (("P1", ""), "1 without a protein or a term"),
    (("P1", "GO:1", "IEA"), "1 neither experimental nor curated"),
])  # fmt: skip
def test_where_nothing_is_left_the_cause_is_the_right_one(tmp_path, row, cause):
    with pytest.raises(ValueError, match=f"a.gaf; left out: {cause}") as caught:
        annotations(tmp_path, gaf(row))
    assert str(caught.value).count("1 ") == 1


@pytest.mark.parametrize(("text", "told"), [
    (gaf(first="EntryID\tterm"), "line 1: a GAF file begins with"),
    (gaf() + "UniProtKB\tP1\n", "line 3: 2 fields where GAF has 17"),
])  # fmt: skip
def test_what_is_no_gaf_is_refused_with_its_line(tmp_path, text, told):
    with pytest.raises(ValueError, match=told):
        annotations(tmp_path, text)


@pytest.mark.parametrize("name", ["annotations", "sequences", "ontology"])
def test_a_damaged_gzip_file_is_named(inputs, tmp_path, name):
    bad = tmp_path / "bad.gz"
    bad.write_bytes(gzip.compress(GO.encode())[:99])
    with pytest.raises(ValueError, match="bad.gz: the file is damaged or cut off"):
        make_dataset(tmp_path / "out", **{**inputs, name: bad if name == "ontology" else [bad]})


def test_what_can_t_be_made_is_a_sentence(inputs, tmp_path):
    with pytest.raises(SystemExit, match="goa.gaf"):
        main([str(tmp_path), "--taxa", "7", "--sequences", "s.fasta", "--annotations", "goa.gaf",
              "--ontology", str(inputs["ontology"])])  # fmt: skip
    other = tmp_path / "other.fasta"
    for text, told in {
        ">Q1\nMAL\n": "None of the 3 annotated proteins is in",
        ">P1\nMAL\n>P1\nMALW\n": "another sequence of P1",
    }.items():
        other.write_text(text)
        with pytest.raises(ValueError, match=told):
            make_dataset(tmp_path / "out", **{**inputs, "sequences": [other]})
