"""The CAFA files of a small world: read, named, and turned into a table."""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dlfb.proteins import dataset

HUMAN, MOUSE = 9606, 10090
OBO = """format-version: 1.2
data-version: releases/2024-01-17
ontology: go

"""
NAMES = {"GO:0003674": "molecular_function", "GO:0005488": "binding",
         "GO:0005515": "protein binding",
         "GO:0000001": "one", "GO:0000002": "two", "GO:0000003": "three"}  # fmt: skip


def write_world(root, terms, taxonomy, sequences, obo_extra=""):
    """Write the CAFA files of a small world, and return the folder for DLFB_ASSETS."""
    folder = Path(root) / "proteins/datasets"
    folder.mkdir(parents=True, exist_ok=True)
    table = "EntryID\tterm\taspect\n" + "".join("\t".join(row) + "\n" for row in terms)
    taxa = "EntryID\ttaxonomyID\n" + "".join(f"{p}\t{taxon}\n" for p, taxon in taxonomy)
    for name, text in (("train_terms", table), ("train_taxonomy", taxa)):
        with zipfile.ZipFile(folder / f"{name}.tsv.zip", "w") as archive:
            archive.writestr(f"{name}.tsv", text)
    fasta = "".join(f">{p} a protein\n{s}\n" for p, s in sequences)
    (folder / "train_sequences.fasta").write_text(fasta)
    stanzas = [
        f"[Term]\nid: {term}\nname: {name}\nnamespace: molecular_function\n"
        for term, name in NAMES.items()
    ]
    (folder / "go-basic.obo").write_text(OBO + "\n".join(stanzas) + "\n" + obo_extra)
    return Path(root)


TERMS = [
    (protein, f"GO:{number:07d}", aspect)
    for protein, number, aspect in [
        ("B", 3674, "MFO"), ("B", 2, "MFO"), ("B", 1, "MFO"), ("A", 1, "MFO"), ("A", 3, "MFO"),
        ("C", 2, "MFO"), ("M", 1, "MFO"), ("A", 5575, "CCO"),
    ]
]  # fmt: skip


def stanza(number, *lines, namespace="molecular_function"):
    head = ["", "[Term]", f"id: GO:{number:07d}", f"name: term {number}", f"namespace: {namespace}"]
    return "\n".join([*head, *lines]) + "\n"


CHILD = stanza(5, "is_a: GO:0000001")
TAXONOMY = [("B", HUMAN), ("A", HUMAN), ("C", HUMAN), ("M", MOUSE)]
SEQUENCES = [("C", "MKVLA"), ("B", "MALWM"), ("M", "MMMMMM"), ("A", "malw m*")]


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("DLFB_ASSETS", str(tmp_path))

    def world(terms=TERMS, taxonomy=TAXONOMY, sequences=SEQUENCES, obo_extra=""):
        return write_world(tmp_path, terms, taxonomy, sequences, obo_extra)

    return world


# Reading the files


def test_files_as_read(world):
    world()
    terms = dataset.load_terms()
    assert list(terms.itertuples(index=False, name=None)) == TERMS
    assert list(terms.columns) == ["EntryID", "term", "aspect"]
    assert dataset.load_terms("CCO").values.tolist() == [["A", "GO:0005575", "CCO"]]
    taxonomy = dataset.load_taxonomy()
    assert list(taxonomy.itertuples(index=False, name=None)) == TAXONOMY
    assert taxonomy["taxonomyID"].dtype == "int64"
    sequences = dataset.load_sequences()
    assert sequences["EntryID"].tolist() == ["C", "B", "M", "A"]
    assert sequences["Sequence"].tolist() == ["MKVLA", "MALWM", "MMMMMM", "MALWM"]
    assert sequences["Length"].tolist() == [5, 5, 6, 5]


def test_ids_that_look_like_something_else_stay_as_they_are(world):
    ids = ["007", "1E5", "12", "NA", '"x', "nan"]
    terms = [(i, "GO:0000001", "MFO") for i in ids]
    world(terms, taxonomy=[(i, HUMAN) for i in ids], sequences=[(i, "MA") for i in ids])
    assert dataset.load_terms()["EntryID"].tolist() == ids
    assert dataset.load_taxonomy()["EntryID"].tolist() == ids
    assert dataset.function_table(min_proteins=1, verbose=False)["EntryID"].tolist() == sorted(ids)
    world(terms[:1])  # all of them numbers: still text
    assert dataset.load_terms()["EntryID"].tolist() == ["007"]


def test_repeated_annotation_is_dropped_and_said(world, capsys):
    world(terms=[*TERMS, TERMS[4], TERMS[0]])
    assert len(dataset.load_terms()) == len(TERMS)
    assert capsys.readouterr().out == (
        "train_terms.tsv.zip: 2 rows dropped: they repeat an earlier row, first in line 10.\n"
    )


NEW = "a protein that was not named before"


@pytest.mark.parametrize(("files", "message"), [
    ({"terms": [*TERMS, ("A", "GO:0000001", "XYZ")]},
     "train_terms.tsv.zip, line 10: 'XYZ' where one of BPO, MFO, CCO should be"),
    ({"terms": [("A", "0003674", "MFO")]}, "line 2: .*3674.* where a GO id should be"),
    ({"terms": [*TERMS[:3], ("", "GO:0000001", "MFO")]}, "line 5: '' where a value of EntryID"),
    ({"terms": []}, "train_terms.tsv.zip: the file has a header and no rows"),
    ({"taxonomy": [("B", 1), ("A", 9606.5)]}, "train_taxonomy.tsv.zip, line 3: '9606.5' where a"),
    ({"taxonomy": [("A", 1), ("B", 2), ("A", 1)]}, f"taxonomy.tsv.zip, line 4: 'A' where {NEW}"),
    ({"sequences": [("B", "M"), ("A", "M"), ("A", "MA")]}, f"fasta, record 3: 'A' where {NEW}"),
])  # fmt: skip
def test_files_that_make_no_sense_are_refused(world, files, message):
    world(**files)
    with pytest.raises(ValueError, match=message):
        dataset.load_terms()
        dataset.load_taxonomy()
        dataset.load_sequences()


@pytest.mark.parametrize(("text", "message"), [
    ("EntryID\tterm\tkind\nA\tGO:1\tMFO\n", "lacks the column 'aspect'.*EntryID, term, kind"),
    ("", "train_terms.tsv.zip: the table lacks the column"),
    ("EntryID\tterm\taspect\nA\tGO:1\tMFO\n\n", "line 3: .* where a value of EntryID"),
])  # fmt: skip
def test_a_table_of_another_form_is_refused(world, text, message):
    folder = world() / "proteins/datasets"
    with zipfile.ZipFile(folder / "train_terms.tsv.zip", "w") as archive:
        archive.writestr("t.tsv", text)
    with pytest.raises(ValueError, match=message):
        dataset.load_terms()


def test_cafa6_s_layout(world, tmp_path, monkeypatch, capsys):
    """Other names, no zip, no header in the taxonomy, aspects P F C, terms as annotated."""
    folder = world(obo_extra=CHILD) / "proteins/datasets"
    own = tmp_path / "own/Train"
    own.mkdir(parents=True)
    (own / "go-basic.obo").write_bytes((folder / "go-basic.obo").read_bytes())
    rows = ["EntryID\tterm\taspect", "A\tGO:0000005\tF", "B\tGO:0000001\tF"]
    (own / "train_terms.tsv").write_text("\n".join(rows) + "\n")
    (own / "train_taxonomy.tsv").write_text("A\t9606\nB\t10090\n")
    (own / "train_sequences.fasta").write_text(">sp|A|A_HUMAN Some\nMAL\n>sp|B|B_MOUSE\nMK\n")
    monkeypatch.setenv("DLFB_ASSETS", str(own.parent))
    terms = dataset.load_terms("MFO")
    assert terms.values.tolist() == [
        ["A", "GO:0000001", "MFO"],
        ["A", "GO:0000005", "MFO"],
        ["B", "GO:0000001", "MFO"],
    ]
    said = "train_terms.tsv: 2 rows as annotated; the terms' ancestors are added."
    assert said in capsys.readouterr().out
    assert dataset.load_taxonomy().values.tolist() == [["A", 9606], ["B", 10090]]
    assert dataset.load_sequences()["EntryID"].tolist() == ["A", "B"]
    assert dataset.function_table(min_proteins=1, verbose=False)["EntryID"].tolist() == ["A"]


def test_a_missing_file_and_an_unknown_aspect(tmp_path, monkeypatch, world):
    world()
    with pytest.raises(ValueError, match="no aspect 'XXX'; choose one of BPO, MFO, CCO"):
        dataset.load_terms("XXX")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("DLFB_ASSETS", str(tmp_path / "elsewhere"))
    for load in (dataset.load_terms, dataset.load_taxonomy, dataset.load_sequences):
        with pytest.raises(FileNotFoundError, match="There is no train_.*DLFB_ASSETS"):
            load()


# Names of terms

OUTDATED = stanza(9, "is_obsolete: true") + stanza(4, "alt_id: GO:0000008")


def test_get_go_term_descriptions_are_kept_while_the_ontology_is_the_same(
    world, tmp_path, monkeypatch, capsys
):
    world()
    path = tmp_path / "names"
    first = dataset.get_go_term_descriptions(store_path=path)
    assert dict(first.itertuples(index=False)) == NAMES
    assert list(first.columns) == ["term", "description"] and first["term"].is_monotonic_increasing
    with monkeypatch.context() as patch:
        patch.setattr(dataset.ontology, "read_ontology", None)
        pd.testing.assert_frame_equal(dataset.get_go_term_descriptions(store_path=path), first)
    assert not capsys.readouterr().out
    world(obo_extra=OUTDATED)
    assert len(dataset.get_go_term_descriptions(store_path=path)) == len(first) + 1
    assert "computed anew" in capsys.readouterr().out


def test_name_terms_says_what_an_inner_merge_would_lose(world, capsys):
    numbers = {"A": (9, 8, 77), "B": (9,)}
    lost = [(p, f"GO:{n:07d}", "MFO") for p in "AB" for n in numbers[p]]
    world(terms=[*lost, *TERMS[:-1]], obo_extra=OUTDATED)
    terms = dataset.load_terms()
    named = dataset.name_terms(terms)
    merged = terms.merge(dataset.get_go_term_descriptions(), on="term")
    pd.testing.assert_frame_equal(named.reset_index(drop=True), merged)
    assert capsys.readouterr().out == (
        "GO releases/2024-01-17, 7 terms: 7 of 11 rows named; dropped: "
        "2 of terms that it calls obsolete (1 distinct, first GO:0000009); "
        "1 under old ids of terms that it merged into others (1 distinct, first GO:0000008); "
        "1 of ids that it does not know (1 distinct, first GO:0000077)\n"
    )
    dataset.name_terms(terms, verbose=False)
    assert not capsys.readouterr().out
    dataset.name_terms(named)
    assert capsys.readouterr().out.endswith("7 of 7 rows named; dropped: none\n")


# The table


def test_function_table(world, capsys):
    world()
    table = dataset.function_table(min_proteins=1)
    assert list(table.columns) == [
        "EntryID", "Sequence", "Length", "GO:0000001", "GO:0000002", "GO:0000003",
    ]  # fmt: skip
    assert table.values.tolist() == [
        ["A", "MALWM", 5, 1, 0, 1],
        ["B", "MALWM", 5, 1, 1, 0],
        ["C", "MKVLA", 5, 0, 1, 0],
    ]
    assert set(table.dtypes.iloc[3:]) == {np.dtype("int8")}
    assert capsys.readouterr().out.splitlines() == [
        "Annotation, MFO: 7 rows, 4 proteins, 4 terms",
        "GO releases/2024-01-17, 6 terms: 7 of 7 rows named; dropped: none",
        "Species 9606: 6 rows, 3 proteins, 4 terms; 1 rows dropped: of other species",
        "Informative terms: 5 rows, 3 proteins, 3 terms; "
        "1 rows dropped: of GO:0003674, GO:0005488, GO:0005515",
        "Terms of 1 or more proteins: 5 rows, 3 proteins, 3 terms",
        "Table: 3 x 6; 2 distinct sequences",
        "At most 500 residues: 3 proteins; 0 proteins dropped: longer ones",
    ]


def test_function_table_says_what_does_not_join(world, capsys):
    world(
        terms=[*TERMS, ("N", "GO:0000002", "MFO"), ("S", "GO:0000001", "MFO")],
        taxonomy=[*TAXONOMY, ("S", HUMAN)],
    )
    table = dataset.function_table(min_proteins=1)
    assert table["EntryID"].tolist() == ["A", "B", "C"]
    printed = capsys.readouterr().out
    for file, protein in (("taxonomy.tsv", "N"), ("sequences.fasta", "S")):
        lost = f"1 rows dropped: of proteins that train_{file} lacks, first {protein}\n"
        assert lost in printed
    assert dataset.function_table(min_proteins=1, verbose=False).equals(table)
    assert not capsys.readouterr().out


def test_function_table_counts_proteins_of_the_species_before_length(world):
    world(sequences=[("A", "M" * 9), ("B", "M" * 3), ("C", "M" * 4), ("M", "M")])
    table = dataset.function_table(min_proteins=2, max_length=4, verbose=False)
    assert list(table.columns[3:]) == ["GO:0000001", "GO:0000002"]
    assert table["EntryID"].tolist() == ["B", "C"]
    everything = dataset.function_table(
        aspect=None, taxonomy_id=None, drop_terms=(), min_proteins=1, max_length=None, verbose=False
    )
    assert everything["EntryID"].tolist() == ["A", "B", "C", "M"]
    # GO:0005575 is not in this ontology.
    assert list(everything.columns[3:]) == ["GO:0000001", "GO:0000002", "GO:0000003", "GO:0003674"]


@pytest.mark.parametrize(("options", "message"), [
    ({"taxonomy_id": 7}, "'Species 7' leaves none of 7 rows .of other species"),
    ({"min_proteins": 9}, "'Terms of 9 or more proteins' leaves none of 5 rows"),
    ({"aspect": "BPO"}, "'Annotation, BPO' leaves none"),
    ({"min_proteins": 1, "max_length": 4}, "At most 4 residues: 0 proteins"),
])  # fmt: skip
def test_function_table_with_nothing_left(world, options, message):
    world()
    with pytest.raises(ValueError, match=message):
        dataset.function_table(**options)


# Proteins of one place

CELL = "cellular_component"
PLACES = stanza(5575, namespace=CELL) + stanza(10, "is_a: GO:0005575", namespace=CELL)
PLACES += stanza(11, "relationship: part_of GO:0000010", "alt_id: GO:0000019", namespace=CELL)


def test_proteins_at(world):
    at = {"A": (10, 11), "B": (10,), "C": (11,), "D": (11, 2), "E": (11,), "M": (11,)}
    terms = [(p, f"GO:{n:07d}", "CCO") for p, places in at.items() for n in places]
    terms += [(p, "GO:0005575", "CCO") for p in at] + [("C", "GO:0000001", "MFO")]
    lengths = {"A": 5, "B": 3, "C": 6, "D": 5, "E": 7, "M": 5}
    world(
        terms=terms,
        taxonomy=[(p, HUMAN if p != "M" else MOUSE) for p in at],
        sequences=[(p, "M" * n) for p, n in reversed(lengths.items())],
        obo_extra=PLACES,
    )
    found = dataset.proteins_at("GO:0000011", lengths=(5, 6))
    # A's other term is an ancestor; D is elsewhere too, E too long, M of a mouse.
    assert found.values.tolist() == [["A", "M" * 5, 5], ["C", "M" * 6, 6]]
    assert dataset.proteins_at("GO:0000010", lengths=(1, 9))["EntryID"].tolist() == ["B"]
    message = "4 proteins of species 9606 have this location, 3 no other, 2 of these have 5 to 6"
    with pytest.raises(ValueError, match=f"'GO:0000011'.*{message} residues; 3 are needed"):
        dataset.proteins_at("GO:0000011", lengths=(5, 6), at_least=3)
    for place, why in (("GO:1", "'GO:1' is unknown"), ("GO:0000001", "0 proteins of species")):
        with pytest.raises(ValueError, match=why):
            dataset.proteins_at(place)
    merged = dataset.proteins_at("GO:0000019", lengths=(5, 6))  # an old id of GO:0000011
    pd.testing.assert_frame_equal(merged, found)
