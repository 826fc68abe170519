"""The CAFA files from UniProt, GOA and GO: what is kept, and what happens to bad input."""

import gzip
import json
import zipfile
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest

from dlfb.proteins.cafa import load_sequences, load_taxonomy, load_terms
from dlfb.proteins.information import load_information_accretion
from dlfb.provision import main
from dlfb.provision.uniprot import EVIDENCE, read_annotations
from dlfb.utils import download
from tests.loopback import Loopback
from tests.test_provision import GO

HEADER = [
    "!gaf-version: 2.2", "!generated-by: UniProt", "!date-generated: 2030-01-02 03:04",
    "!go-version: http://purl.obolibrary.org/obo/go/releases/2030-01-01/extensions/go-plus.owl",
]  # fmt: skip


def gaf(*rows, **changes):
    """Return GAF text; a row is (id, term) or (id, term, evidence, relation, taxon)."""
    lines = list(changes.get("header", HEADER))
    for entry, term, *more in rows:
        evidence, relation, taxon = [*more, *["IDA", "enables", "taxon:9606"][len(more) :]]
        lines.append("\t".join([
            "UniProtKB", entry, "SYM", relation, term, "PMID:1", evidence, "", "F", "name", "syn",
            "protein", taxon, "20300101", "UniProt", "", "",
        ]))  # fmt: skip
    return "\n".join(lines) + "\n"


def fasta(*entries):
    return "".join(f">sp|{e}|{e}_HUMAN Protein OS=Homo sapiens\nMALW\nM\n" for e in entries)


def stream(taxon):
    query = quote(f"(organism_id:{taxon})")
    return f"/uniprotkb/stream?query={query}&format=fasta&compressed=true"


GAF = "/pub/databases/GO/goa/HUMAN/goa_human.gaf.gz"
GO_FILE = "/ontology/go-basic.obo"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "BACKOFF", 0.0)
    with Loopback() as server:
        rows = [
            ("P2", "GO:0005554"),
            ("P1", "GO:0008150", "TAS", "involved_in"),
            ("P3", "GO:0005488"),
        ]
        server.files = {
            GAF: gzip.compress(gaf(*rows).encode()),
            stream(9606): gzip.compress(fasta("P1", "P2", "Q9").encode()),
            GO_FILE: GO.encode(),
        }
        server.headers[stream(9606)] = {"X-UniProt-Release": "2030_01"}
        yield server


def run(server, root, *more, taxa=("9606",)):
    names = ("uniprot", "uniprot-ftp", "goa", "go", "go-archive", "purl")
    hosts = [x for name in names for x in ("--host", f"{name}={server.url}")]
    arguments = ["--source", "uniprot", "--destination", str(root), *hosts]
    return main([*arguments, "--taxa", *taxa, *more])


def table(root, name):
    return pd.read_csv(root / "proteins/datasets" / name, sep="\t", dtype=str)


def test_the_cafa_files_come_out(server, tmp_path, capsys):
    assert run(server, tmp_path) == 0
    terms = table(tmp_path, "train_terms.tsv.zip")
    # The alternative id is mapped, ancestors are added, P3 has no sequence, Q9 no annotation.
    assert terms.to_numpy().tolist() == [
        ["P1", "GO:0008150", "BPO"], ["P2", "GO:0003674", "MFO"], ["P2", "GO:0005488", "MFO"],
    ]  # fmt: skip
    assert list(terms.columns) == ["EntryID", "term", "aspect"]
    taxonomy = table(tmp_path, "train_taxonomy.tsv.zip")
    assert taxonomy.to_numpy().tolist() == [["P1", "9606"], ["P2", "9606"]]
    assert list(taxonomy.columns) == ["EntryID", "taxonomyID"]
    datasets = tmp_path / "proteins/datasets"
    assert (datasets / "train_sequences.fasta").read_text() == ">P1\nMALWM\n>P2\nMALWM\n"
    assert (datasets / "go-basic.obo").read_text() == GO
    # Of two proteins with a root each, none lacks binding where it has a function.
    assert (datasets / "IA.tsv").read_text() == (
        "GO:0003674\t0.0\nGO:0005488\t0.0\nGO:0008150\t0.0\n"
    )
    with zipfile.ZipFile(datasets / "train_terms.tsv.zip") as archive:
        assert archive.namelist() == ["train_terms.tsv"]
    manifest = json.loads((tmp_path / "proteins/MANIFEST.json").read_text())
    assert manifest["versions"]["uniprot"] == "2030_01"
    assert manifest["versions"]["go"] == "releases/2030-01-01"
    assert "date-generated: 2030-01-02" in manifest["versions"]["goa"][0]
    assert manifest["taxa"] == [9606] and len(manifest["inputs"]) == 3
    assert any("CC BY 4.0" in licence for licence in manifest["licences"])
    assert "1 annotated proteins left out" in capsys.readouterr().out
    assert run(server, tmp_path, "--check") == 0
    assert not (tmp_path / "proteins/.incoming").exists()


def test_the_chapter_s_code_reads_them(server, tmp_path, monkeypatch):
    assert run(server, tmp_path) == 0
    monkeypatch.setenv("DLFB_ASSETS", str(tmp_path))
    assert load_terms("MFO")["term"].tolist() == ["GO:0003674", "GO:0005488"]
    assert load_taxonomy()["taxonomyID"].tolist() == [9606, 9606]
    assert load_sequences()["EntryID"].tolist() == ["P1", "P2"]


def test_information_accretion_is_written(server, tmp_path, monkeypatch):
    more = gaf(("P1", "GO:0005488"), ("P2", "GO:0003674"), ("Q9", "GO:0003674"))
    server.files[GAF] = gzip.compress(more.encode())
    assert run(server, tmp_path) == 0
    monkeypatch.setenv("DLFB_ASSETS", str(tmp_path))
    # One in three proteins with a function binds something.
    assert load_information_accretion()["GO:0005488"] == pytest.approx(np.log2(3))
    manifest = json.loads((tmp_path / "proteins/MANIFEST.json").read_text())
    assert "proteins/datasets/IA.tsv" in [entry["path"] for entry in manifest["files"]]


def test_the_same_input_gives_the_same_bytes(server, tmp_path):
    assert run(server, tmp_path / "a") == run(server, tmp_path / "b") == 0
    first, second = (json.loads((tmp_path / x / "proteins/MANIFEST.json").read_text())["files"]
                     for x in "ab")  # fmt: skip
    assert first == second


def annotations(tmp_path, text, taxa=(9606,)):
    (tmp_path / "a.gaf").write_text(text)
    return read_annotations([tmp_path / "a.gaf"], taxa)[0]


def test_only_evidence_that_cafa_takes_counts(tmp_path):
    every = ["IEA", "ISS", "ISO", "IBA", "ND", "RCA", "NAS", *sorted(EVIDENCE)]
    got = annotations(tmp_path, gaf(*((f"P{code}", "GO:0005488", code) for code in every)))
    assert set(got["EntryID"]) == {f"P{code}" for code in EVIDENCE} and len(EVIDENCE) == 13


def test_negations_other_taxa_and_others_than_proteins_are_dropped(tmp_path, capsys):
    text = gaf(
        ("P1", "GO:1", "IDA", "NOT|enables"), ("P2", "GO:1", "IDA", "NOT"),
        ("P3", "GO:1", "IDA", "enables", "taxon:10090"), ("P4", "GO:1"),
        ("P5", "GO:1", "IDA", "enables", "taxon:9606|taxon:1280"), ("P4", "GO:1", "EXP"),
        ("P6-2", "GO:1"), ("P7:PRO_1", "GO:1"), ("P8", "GO:1", "IDA", "enables", "taxon:96061"),
    )  # fmt: skip
    text += gaf(("R1", "GO:1"), header=[]).replace("UniProtKB", "RNAcentral", 1)
    got = annotations(tmp_path, text)
    assert got.to_numpy().tolist() == [
        [entry, "GO:1", "9606"] for entry in ("P4", "P5", "P6", "P7")
    ]
    told = capsys.readouterr().out
    assert "2 negative (NOT)" in told and "3 of other taxa" in told and "10 annotations" in told


@pytest.mark.parametrize(("text", "told"), [
    ("<html>", "a.gaf, line 1"),
    (gaf(("P1", "GO:1"), header=["!gaf-version: 1.0"]), "line 1"),
    (gaf(("P1", "GO:1")) + "UniProtKB\tP2\tcut", "a.gaf, line 6: 3 fields"),
    (gaf(("P1", "GO:1", "IEA")), "No annotation is left for the taxa 9606"),
    (gaf(), "No annotation is left"),
])  # fmt: skip
def test_what_is_no_gaf_is_refused_with_its_line(tmp_path, text, told):
    with pytest.raises(ValueError, match=told):
        annotations(tmp_path, text)


def test_a_blank_line_is_no_crash(tmp_path):
    with pytest.raises(ValueError, match="line 6"):
        annotations(tmp_path, gaf(("P1", "GO:1")) + "\n")


@pytest.mark.parametrize("path", [GAF, stream(9606), GO_FILE])
@pytest.mark.parametrize("fault", [
    {"status": 403}, {"status": 429}, {"status": 503}, {"cut": 9}, {"html": "text/html"},
])  # fmt: skip
def test_a_host_that_fails_is_told_and_nothing_is_lost(server, tmp_path, capsys, path, fault):
    assert run(server, tmp_path) == 0
    before = (tmp_path / "proteins/MANIFEST.json").read_bytes()
    server.ranges = False
    server.faults[path] = [{**fault, "forever": True}]
    assert run(server, tmp_path) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "--source book" in told and "--sequences" in told
    assert (tmp_path / "proteins/MANIFEST.json").read_bytes() == before
    server.faults.clear()
    server.requests.clear()
    assert run(server, tmp_path) == 0


DAMAGED = {
    "annotations cut": (GAF, gzip.compress(gaf(("P1", "GO:0005488")).encode())[:-12]),
    "annotations of no kind": (GAF, gzip.compress(b"nonsense")),
    "no gzip after its magic": (GAF, b"\x1f\x8b\x08\x00" + b"\x55" * 60),
    "sequences cut": (stream(9606), gzip.compress(fasta("P1").encode())[:-12]),
    "no sequences": (stream(9606), gzip.compress(b"")),
    "a message for sequences": (stream(9606), gzip.compress(b"Error messages: too many requests")),
    "sequences of others": (stream(9606), gzip.compress(fasta("X1").encode())),
    "no ontology": (GO_FILE, b"nothing of the kind\n"),
    "another ontology": (GO_FILE, GO.replace("molecular_function", "recipe").encode()),
    "an ontology cut": (GO_FILE, GO.encode()[:120]),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_input_is_told_and_fetched_anew(server, tmp_path, capsys, case):
    path, bad = DAMAGED[case]
    assert run(server, tmp_path) == 0
    before = (tmp_path / "proteins/MANIFEST.json").read_bytes()
    good, server.files[path] = server.files[path], bad
    assert run(server, tmp_path) == 1
    assert (
        "Traceback" not in (told := capsys.readouterr().err)
        and len(told) > 60
        and told.count("\n") == 1
    )
    assert (tmp_path / "proteins/MANIFEST.json").read_bytes() == before
    server.files[path] = good
    assert run(server, tmp_path) == 0


def test_a_finished_input_is_not_fetched_twice(server, tmp_path):
    server.faults[stream(9606)] = [{"wait": 0.5, "status": 403}]  # when the others are done
    assert run(server, tmp_path) == 1
    server.requests.clear()
    assert run(server, tmp_path) == 0
    assert [path for _, path, _ in server.requests] == [stream(9606)]
    manifest = json.loads((tmp_path / "proteins/MANIFEST.json").read_text())
    assert manifest["versions"]["uniprot"] == "2030_01" and len(manifest["inputs"]) == 3


def test_the_reference_proteome_stands_in_for_the_stream(server, tmp_path):
    proteome = "/pub/databases/uniprot/current_release/knowledgebase/reference_proteomes"
    proteome += "/Eukaryota/UP000005640/UP000005640_9606.fasta.gz"
    server.files[proteome] = server.files.pop(stream(9606))
    assert run(server, tmp_path) == 0
    assert ">P1" in (tmp_path / "proteins/datasets/train_sequences.fasta").read_text()


def test_any_taxon_that_goa_has(server, tmp_path, capsys):
    goa = "/pub/databases/GO/goa/proteomes"
    server.files[f"{goa}/proteome2taxid"] = b"Escherichia coli (K12)\t83333\t18.E_coli.goa\n"
    row = ("P0A", "GO:0005488", "IDA", "enables", "taxon:83333")
    server.files[f"{goa}/18.E_coli.goa"] = gaf(row).encode()
    server.files[stream(83333)] = gzip.compress(fasta("P0A").encode())
    assert run(server, tmp_path, taxa=("9606", "83333")) == 0
    taxonomy = table(tmp_path, "train_taxonomy.tsv.zip")
    assert taxonomy.to_numpy().tolist() == [["P0A", "83333"], ["P1", "9606"], ["P2", "9606"]]
    assert run(server, tmp_path, taxa=("9606", "4932")) == 1
    assert "no proteome of taxon 4932" in capsys.readouterr().err


def test_files_that_the_reader_has_need_no_network(tmp_path):
    (tmp_path / "my.gaf").write_text(gaf(("P1", "GO:0005488")))
    (tmp_path / "my.fasta").write_text(fasta("P1"))
    (tmp_path / "my.obo.gz").write_bytes(gzip.compress(GO.encode()))
    given = ["--annotations", "my.gaf", "--sequences", "my.fasta", "--ontology", "my.obo.gz"]
    given = [str(tmp_path / x) if x.startswith("my") else x for x in given]
    with Loopback() as nobody:
        assert run(nobody, tmp_path / "out", *given) == 0
        assert nobody.requests == []
    assert (tmp_path / "out/proteins/datasets/go-basic.obo").read_text() == GO
    assert (tmp_path / "my.gaf").exists()


def test_a_named_file_that_is_not_there(server, tmp_path, capsys):
    assert run(server, tmp_path, "--sequences", "/nowhere.fasta") == 1
    assert "there is no file /nowhere.fasta" in capsys.readouterr().err


def test_a_dated_ontology(server, tmp_path):
    server.files["/2029-12-01/ontology/go-basic.obo"] = GO.replace("2030", "2029").encode()
    assert run(server, tmp_path, "--go-release", "2029-12-01") == 0
    manifest = json.loads((tmp_path / "proteins/MANIFEST.json").read_text())
    assert manifest["versions"]["go"].startswith("releases/2029")
