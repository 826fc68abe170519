"""The Gene Ontology of a small file: what is read, followed, propagated, and refused."""

import networkx as nx
import pandas as pd
import pytest

from dlfb.proteins import ontology
from dlfb.utils.context import assets

HEADER = "format-version: 1.2\ndata-version: releases/2024-01-17\nontology: go\n"
TYPEDEF = "[Typedef]\nid: part_of\nname: part of\nnamespace: external\nis_transitive: true\n"


def term(number, *lines, namespace="molecular_function", name=None):
    name = f"name: {name or f'term {number}'}" if name != "" else "comment: nameless"
    head = ["[Term]", f"id: GO:{number:07d}", name, f"namespace: {namespace}"]
    return "\n".join([*head, *lines]) + "\n"


SMALL = [
    term(1, name="root"),
    term(2, "is_a: GO:0000001 ! root"),
    term(3, "is_a: GO:0000001", "relationship: regulates GO:0000002"),
    term(4, "is_a: GO:0000002", "relationship: part_of GO:0000003", "alt_id: GO:0000040"),
    term(5, "relationship: part_of GO:0000004", name=""),
    term(6, "is_obsolete: true", "replaced_by: GO:0000005"),
    term(10, namespace="biological_process"),
    term(11, "is_a: GO:0000001", "relationship: part_of GO:0000010"),
]


@pytest.fixture
def write(tmp_path):
    def write(*terms, header=HEADER, name="go.obo"):
        path = tmp_path / name
        path.write_text("\n".join([header, *terms, TYPEDEF]))
        return path

    return write


@pytest.fixture
def graph(write):
    return ontology.read_ontology(write(*SMALL))


def ids(*numbers):
    return {f"GO:{n:07d}" for n in numbers}


def test_read_ontology_keeps_live_terms_with_name_and_aspect(graph):
    assert set(graph) == ids(1, 2, 3, 4, 5, 10, 11)
    assert graph.nodes["GO:0000001"]["name"] == "root"
    assert graph.nodes["GO:0000005"]["name"] == "GO:0000005"  # the file gives no name
    assert graph.nodes["GO:0000010"]["aspect"] == "BPO"
    assert graph.graph["alt_ids"] == {"GO:0000040": "GO:0000004"}
    assert graph.graph["obsolete"] == {"GO:0000006": "term 6"}
    assert graph.graph["data-version"] == "releases/2024-01-17"


def test_read_ontology_parses_a_file_once_and_a_changed_file_again(write):
    path = write(*SMALL)
    first = ontology.read_ontology(path)
    assert ontology.read_ontology(str(path)) is first
    with pytest.raises(nx.NetworkXError, match="[Ff]rozen"):
        first.add_node("GO:9999999")
    write(*SMALL, term(12))
    assert "GO:0000012" in ontology.read_ontology(path)


@pytest.mark.parametrize(("start", "expected"), [
    (1, ids()),
    (3, ids(1)),  # regulates is not followed
    (4, ids(1, 2, 3)),  # is_a and part_of are
    (40, ids(1, 2, 3)),  # an old id
    (5, ids(1, 2, 3, 4)),
    (11, ids(1)),  # part_of a term of another aspect
])  # fmt: skip
def test_ancestors(graph, start, expected):
    assert ontology.ancestors(graph, f"GO:{start:07d}") == expected


def test_ancestors_of_no_live_term(graph):
    for start, why in (("GO:0000006", "obsolete"), ("GO:7", "unknown")):
        with pytest.raises(ValueError, match=f"'{start}' is {why} in GO releases/2024-01-17"):
            ontology.ancestors(graph, start)


def test_propagate(graph, capsys):
    annotated = [("P2", 5), ("P1", 40), ("P1", 4), ("P1", 11)]
    annotated += [("P3", 6), ("P1", 6), ("P1", 99), ("P0", 10)]
    direct = pd.DataFrame(annotated, columns=["EntryID", "term"])
    direct["term"] = direct["term"].map("GO:{:07d}".format)
    result = ontology.propagate(direct, graph)
    expected = [("P0", "GO:0000010", "BPO")]
    expected += [("P1", f"GO:{n:07d}", "MFO") for n in (1, 2, 3, 4, 11)]
    expected += [("P2", f"GO:{n:07d}", "MFO") for n in (1, 2, 3, 4, 5)]
    assert list(result.columns) == ["EntryID", "term", "aspect"]
    assert list(result.itertuples(index=False, name=None)) == expected
    assert capsys.readouterr().out == (
        "GO releases/2024-01-17, outdated ids: 2 of terms that it calls obsolete (1 distinct, "
        "first GO:0000006); 1 under old ids of terms that it merged into others (1 distinct, "
        "first GO:0000040); 1 of ids that it does not know (1 distinct, first GO:0000099). "
        "Ids of merged terms are replaced, the other rows dropped.\n"
    )
    categories = ontology.propagate(direct.astype("category"), graph)
    pd.testing.assert_frame_equal(categories, result)
    assert ontology.propagate(direct[:0], graph).shape == (0, 3)
    with pytest.raises(ValueError, match=r"propagate\(\): the table has no column 'EntryID'"):
        ontology.propagate(direct[["term"]], graph)


@pytest.mark.parametrize(("terms", "message"), [
    ([term(1, "is_a: GO:0000002")], "GO:0000001 has the parent GO:0000002, which the file"),
    ([term(1, namespace="fly_anatomy")], "GO:0000001 has the namespace 'fly_anatomy'"),
    (["[Term]\nid: GO:0000001\n"], "GO:0000001 has the namespace None"),
    (["[Term]\nname: x\nnamespace: molecular_function\n"], "not an ontology.*'id'.*Get it again"),
    ([term(1, "no tag")], "not an ontology in OBO format"),
    (["<!DOCTYPE html>\n<title>Not found</title>\n"], "not an ontology in OBO format"),
    ([], "no .Term..*Get go-basic.obo again"),
    ([term(1, "is_obsolete: true")], "no .Term. that is in use"),
])  # fmt: skip
def test_read_ontology_refuses_what_is_not_go(write, terms, message):
    with pytest.raises(ValueError, match=f"go.obo:? .*{message}"):
        ontology.read_ontology(write(*terms))


def test_a_missing_or_damaged_file_is_named(tmp_path):
    (tmp_path / "go.obo.gz").write_bytes(b"\x1f\x8b" + bytes(20))
    with pytest.raises(ValueError, match="go.obo.gz: the file is damaged or cut off"):
        ontology.read_ontology(tmp_path / "go.obo.gz")
    with pytest.raises(FileNotFoundError, match="No such file.*x.obo"):
        ontology.read_ontology(tmp_path / "x.obo")


def test_a_circle_is_cut_where_it_is_part_of_and_said(write, capsys):
    circle = [
        term(1),
        term(2, "is_a: GO:0000001", "is_a: GO:0000003"),
        term(3, "relationship: part_of GO:0000004"),
        term(4, "is_a: GO:0000002"),
    ]
    graph = ontology.read_ontology(write(*circle))
    assert capsys.readouterr().out.endswith(
        " is a circle; the edge from GO:0000003 to GO:0000004 is left out.\n"
    )
    assert ontology.ancestors(graph, "GO:0000004") == ids(1, 2, 3)
    assert ontology.ancestors(graph, "GO:0000003") == set()
    # Of is_a only, one edge goes all the same.
    graph = ontology.read_ontology(
        write(term(1, "is_a: GO:0000002"), term(2, "is_a: GO:0000001"), name="two.obo")
    )
    assert sum(len(ontology.ancestors(graph, t)) for t in graph) == 1
    assert "two.obo: GO:000000" in capsys.readouterr().out


def test_real_annotation_propagates_to_the_propagated_file():
    direct, expected = (
        pd.read_csv(assets(f"proteins/datasets/{name}.tsv.zip"), sep="\t", dtype="str")
        for name in ("train_terms_direct", "train_terms")
    )
    result = ontology.propagate(direct)
    assert len(result) == 970_184
    assert result.equals(expected.sort_values(["EntryID", "term"], ignore_index=True)[list(result)])
