"""The CAFA files of a small world: read, named, and turned into a table."""

import numpy as np
import pandas as pd
import pytest

from dlfb.proteins import dataset

TERMS = """\
EntryID term aspect
B GO:0003674 MFO
B GO:0000002 MFO
B GO:0000001 MFO
A GO:0000001 MFO
A GO:0000003 MFO
C GO:0000002 MFO
M GO:0000001 MFO
A GO:0005575 CCO
"""
TAXONOMY = "EntryID taxonomyID\nB 9606\nA 9606\nC 9606\nM 10090\n"
FASTA = ">C a protein\nMKVLA\n>B\nMALWM\n>M\nMMMMMM\n>A\nmalw m*\n"
NAMES = {"GO:0003674": "molecular_function", "GO:0005488": "binding",
         "GO:0005515": "protein binding",
         "GO:0000001": "one", "GO:0000002": "two", "GO:0000003": "three"}  # fmt: skip


def stanza(number, *lines, name=None, namespace="molecular_function"):
    head = ["[Term]", f"id: GO:{number:07d}", f"name: {name or number}", f"namespace: {namespace}"]
    return "\n".join([*head, *lines]) + "\n\n"


OBO = "format-version: 1.2\ndata-version: releases/2024-01-17\nontology: go\n\n"
OBO += "".join(stanza(int(term[3:]), name=name) for term, name in NAMES.items())
OUTDATED = stanza(9, "is_obsolete: true") + stanza(4, "alt_id: GO:0000008")
CHILD = stanza(5, "is_a: GO:0000001")


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Return a function that writes the files; a space in a table becomes a tab."""
    folder = tmp_path / "proteins/datasets"
    folder.mkdir(parents=True)
    monkeypatch.setenv("DLFB_ASSETS", str(tmp_path))

    def write(terms=TERMS, taxonomy=TAXONOMY, fasta=FASTA, obo=OBO):
        (folder / "train_terms.tsv.zip").write_text(terms.replace(" ", "\t"))
        (folder / "train_taxonomy.tsv.zip").write_text(taxonomy.replace(" ", "\t"))
        (folder / "train_sequences.fasta").write_text(fasta)
        (folder / "go-basic.obo").write_text(obo)

    write()
    return write


# Reading the files


def test_files_as_read(world):
    terms, rows = dataset.load_terms(), [line.split() for line in TERMS.splitlines()]
    assert [list(terms.columns), *terms.values.tolist()] == rows
    assert dataset.load_terms("CCO").values.tolist() == rows[-1:]
    taxonomy = dataset.load_taxonomy()
    assert taxonomy.values.tolist() == [["B", 9606], ["A", 9606], ["C", 9606], ["M", 10090]]
    assert taxonomy["taxonomyID"].dtype == "int64"
    sequences = dataset.load_sequences()
    assert sequences.values.tolist() == [
        ["C", "MKVLA", 5], ["B", "MALWM", 5], ["M", "MMMMMM", 6], ["A", "MALWM", 5],
    ]  # fmt: skip


@pytest.mark.parametrize("ids", [["007", "1E5", "12", "NA", '"x', "nan"], ["007"]])
def test_ids_that_look_like_something_else_stay_as_they_are(world, ids):
    world(
        terms="EntryID term aspect\n" + "".join(f"{i} GO:0000001 MFO\n" for i in ids),
        taxonomy="EntryID taxonomyID\n" + "".join(f"{i} 9606\n" for i in ids),
        fasta="".join(f">{i}\nMA\n" for i in ids),
    )
    assert dataset.load_terms()["EntryID"].tolist() == ids
    assert dataset.load_taxonomy()["EntryID"].tolist() == ids
    assert dataset.function_table(min_proteins=1, verbose=False)["EntryID"].tolist() == sorted(ids)


def test_repeated_annotation_is_dropped_and_said(world, capsys):
    world(terms=TERMS + "A GO:0000001 MFO\nB GO:0003674 MFO\n")
    assert len(dataset.load_terms()) == 8
    assert capsys.readouterr().out == (
        "2 rows dropped: they repeat an earlier row, first in train_terms.tsv.zip, line 10.\n"
    )


NEW = "a protein that was not named before"


@pytest.mark.parametrize(("files", "message"), [
    ({"terms": TERMS + "A GO:0000001 XYZ\n"},
     "train_terms.tsv.zip, line 10: 'XYZ' where one of BPO, MFO, CCO should be"),
    ({"terms": "EntryID term aspect\nA 0003674 MFO\n"}, "line 2: .*3674.* where a GO id should be"),
    ({"terms": TERMS + "\n"}, "line 10: .* where a value of EntryID"),
    ({"terms": TERMS[:20]}, "train_terms.tsv.zip: the file has a header and no rows"),
    ({"terms": "EntryID term kind\nA GO:1 MFO\n"},
     "lacks the column 'aspect'.*EntryID, term, kind"),
    ({"terms": ""}, "train_terms.tsv.zip: the table lacks the column"),
    ({"taxonomy": TAXONOMY + "D 9606.5\n"}, "train_taxonomy.tsv.zip, line 6: '9606.5' where a"),
    ({"taxonomy": TAXONOMY + "B 1\n"}, f"taxonomy.tsv.zip, line 6: 'B' where {NEW}"),
    ({"fasta": FASTA + ">A\nMA\n"}, f"fasta, record 5: 'A' where {NEW}"),
])  # fmt: skip
def test_files_that_make_no_sense_are_refused(world, files, message):
    world(**files)
    with pytest.raises(ValueError, match=message):
        dataset.load_terms()
        dataset.load_taxonomy()
        dataset.load_sequences()


def test_cafa6_s_layout(tmp_path, monkeypatch, capsys):
    """It has other names, no zip, no header in the taxonomy, aspects P F C, terms as annotated."""
    folder = tmp_path / "Train"
    folder.mkdir()
    (folder / "go-basic.obo").write_text(OBO + CHILD)
    (folder / "train_terms.tsv").write_text(
        "EntryID\tterm\taspect\nA\tGO:0000005\tF\nB\tGO:0000001\tF\n"
    )
    (folder / "train_taxonomy.tsv").write_text("A\t9606\nB\t10090\n")
    (folder / "train_sequences.fasta").write_text(">sp|A|A_HUMAN Some\nMAL\n>sp|B|B_MOUSE\nMK\n")
    monkeypatch.setenv("DLFB_ASSETS", str(tmp_path))
    assert dataset.load_terms("MFO").values.tolist() == [
        ["A", "GO:0000001", "MFO"], ["A", "GO:0000005", "MFO"], ["B", "GO:0000001", "MFO"],
    ]  # fmt: skip
    assert "Annotation: 2 rows; the terms' ancestors are added." in capsys.readouterr().out
    assert dataset.load_taxonomy().values.tolist() == [["A", 9606], ["B", 10090]]
    assert dataset.function_table(min_proteins=1, verbose=False)["EntryID"].tolist() == ["A"]


def test_a_missing_file_and_an_unknown_aspect(tmp_path, monkeypatch, world):
    with pytest.raises(ValueError, match="no aspect 'XXX'; choose one of BPO, MFO, CCO"):
        dataset.load_terms("XXX")
    monkeypatch.setenv("DLFB_ASSETS", str(tmp_path / "proteins"))
    for load in (dataset.load_terms, dataset.load_taxonomy, dataset.load_sequences):
        with pytest.raises(FileNotFoundError, match="There is no train_.*DLFB_ASSETS"):
            load()


# Names of terms


def test_descriptions_are_kept_while_the_ontology_is_the_same(world, tmp_path, monkeypatch, capsys):
    path = tmp_path / "names"
    first = dataset.get_go_term_descriptions(store_path=path)
    assert first.values.tolist() == sorted(map(list, NAMES.items()))
    with monkeypatch.context() as patch:
        patch.setattr(dataset.ontology, "read_ontology", None)
        pd.testing.assert_frame_equal(dataset.get_go_term_descriptions(store_path=path), first)
    world(obo=OBO + OUTDATED)
    assert len(dataset.get_go_term_descriptions(store_path=path)) == len(first) + 1
    assert "computed anew" in capsys.readouterr().out


def test_name_terms_says_what_an_inner_merge_would_lose(world, capsys):
    old = "A GO:0000009 MFO\nA GO:0000008 MFO\nA GO:0000077 MFO\nB GO:0000009 MFO\n"
    world(terms=TERMS[:-17] + old, obo=OBO + OUTDATED)
    terms = dataset.load_terms()
    named = dataset.name_terms(terms)
    merged = terms.merge(dataset.get_go_term_descriptions(), on="term")
    pd.testing.assert_frame_equal(named.reset_index(drop=True), merged)
    dataset.name_terms(named)
    assert capsys.readouterr().out == (
        "GO releases/2024-01-17, 7 terms: 7 of 11 rows named; dropped: "
        "2 of terms that it calls obsolete (1 distinct, first GO:0000009); "
        "1 under old ids of terms that it merged into others (1 distinct, first GO:0000008); "
        "1 of ids that it does not know (1 distinct, first GO:0000077)\n"
        "GO releases/2024-01-17, 7 terms: 7 of 7 rows named; dropped: none\n"
    )


# The table


def test_function_table(world, capsys):
    table = dataset.function_table(min_proteins=1)
    assert list(table.columns) == [
        "EntryID", "Sequence", "Length", "GO:0000001", "GO:0000002", "GO:0000003",
    ]  # fmt: skip
    assert table.values.tolist() == [
        ["A", "MALWM", 5, 1, 0, 1], ["B", "MALWM", 5, 1, 1, 0], ["C", "MKVLA", 5, 0, 1, 0],
    ]  # fmt: skip
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
    world(TERMS + "N GO:0000002 MFO\nS GO:0000001 MFO\n", TAXONOMY + "S 9606\n")
    table = dataset.function_table(min_proteins=1)
    assert table["EntryID"].tolist() == ["A", "B", "C"]
    printed = capsys.readouterr().out
    for file, protein in (("taxonomy.tsv", "N"), ("sequences.fasta", "S")):
        assert f"1 rows dropped: of proteins that train_{file} lacks, first {protein}\n" in printed
    dataset.function_table(min_proteins=1, verbose=False)
    assert not capsys.readouterr().out


def test_function_table_counts_proteins_of_the_species_before_length(world):
    world(fasta=">A\nMMMMMMMMM\n>B\nMMM\n>C\nMMMM\n>M\nM\n")
    table = dataset.function_table(min_proteins=2, max_length=4, verbose=False)
    assert list(table.columns[3:]) == ["GO:0000001", "GO:0000002"]
    assert table["EntryID"].tolist() == ["B", "C"]
    # Nothing left out, but for GO:0005575, which is not in this ontology.
    table = dataset.function_table(None, None, (), 1, None, verbose=False)
    assert table["EntryID"].tolist() == ["A", "B", "C", "M"]
    assert list(table.columns[3:]) == ["GO:0000001", "GO:0000002", "GO:0000003", "GO:0003674"]


@pytest.mark.parametrize(("options", "message"), [
    ({"taxonomy_id": 7}, "'Species 7' leaves none of 7 rows .of other species"),
    ({"min_proteins": 9}, "'Terms of 9 or more proteins' leaves none of 5 rows"),
    ({"aspect": "BPO"}, "'Annotation, BPO' leaves none"),
    ({"min_proteins": 1, "max_length": 4}, "At most 4 residues: 0 proteins"),
])  # fmt: skip
def test_function_table_with_nothing_left(world, options, message):
    with pytest.raises(ValueError, match=message):
        dataset.function_table(**options)


def test_proteins_at(world):
    cell = {"namespace": "cellular_component"}
    places = stanza(5575, **cell) + stanza(10, "is_a: GO:0005575", **cell)
    places += stanza(11, "relationship: part_of GO:0000010", "alt_id: GO:0000019", **cell)
    at = {"A": (10, 11), "B": (10,), "C": (11,), "D": (11, 2), "E": (11,), "M": (11,)}
    long = {"M": 100, "E": 501, "D": 100, "C": 500, "B": 100, "A": 100}
    world(
        "EntryID term aspect\nC GO:0000001 MFO\n"
        + "".join(f"{p} GO:{n:07d} CCO\n" for p in at for n in (5575, *at[p])),
        "EntryID taxonomyID\n" + "".join(f"{p} {10090 if p == 'M' else 9606}\n" for p in at),
        "".join(f">{p}\n{'M' * n}\n" for p, n in long.items()),
        OBO + places,
    )
    found = dataset.proteins_at("GO:0000011")
    # A's other term is an ancestor; D is elsewhere too, E too long, M of a mouse.
    assert found.values.tolist() == [["A", "M" * 100, 100], ["C", "M" * 500, 500]]
    assert dataset.proteins_at("GO:0000010")["EntryID"].tolist() == ["B"]
    pd.testing.assert_frame_equal(dataset.proteins_at("GO:0000019"), found)  # by its old id
    message = "4 proteins of species 9606 have this location, 3 no other, 2 of these have 100 to"
    with pytest.raises(ValueError, match=f"'GO:0000011'.*{message} 500 residues; 3 are needed"):
        dataset.proteins_at("GO:0000011", at_least=3)
    for place, why in (("GO:1", "'GO:1' is unknown"), ("GO:0000001", "0 proteins of species")):
        with pytest.raises(ValueError, match=why):
            dataset.proteins_at(place)
