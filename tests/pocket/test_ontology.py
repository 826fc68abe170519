import io
from pathlib import Path

import networkx as nx
import obonet
import pytest

from dlfb.pocket.families import families
from dlfb.pocket.ontology import NAMESPACES, obo_text, slice_terms, with_ancestors

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared/data/cafa6/proteins/datasets/go-basic.obo"


@pytest.fixture(scope="module")
def graph():
    return obonet.read_obo(io.StringIO(obo_text()), ignore_obsolete=False)


@pytest.fixture(scope="module")
def real():
    if not REAL.is_file():
        pytest.skip("the real Gene Ontology is not beside this repository")
    return obonet.read_obo(REAL)


def test_the_slice_is_large_enough_and_of_three_aspects():
    counts = {a: sum(t.aspect == a for t in slice_terms().values()) for a in NAMESPACES}
    assert sum(counts.values()) >= 120 and min(counts.values()) >= 30


def test_every_term_leads_to_the_root_of_its_own_aspect():
    roots = {"BPO": "GO:0008150", "MFO": "GO:0003674", "CCO": "GO:0005575"}
    for identifier, term in slice_terms().items():
        if not term.obsolete:
            assert roots[term.aspect] in with_ancestors(identifier), identifier
            assert {slice_terms()[x].aspect for x in with_ancestors(identifier)} == {term.aspect}


def test_every_term_of_a_family_is_in_the_slice_under_its_aspect():
    for f in families():
        for aspect, terms in (("MFO", f.mfo + f.extra_mfo), ("BPO", f.bpo), ("CCO", f.cco)):
            assert all(slice_terms()[t].aspect == aspect for t in terms), f.name


def test_obonet_reads_what_is_written(graph):
    assert graph.graph["data-version"].startswith("dlfb-pocket-slice")
    assert len(graph) == len(slice_terms())
    assert nx.is_directed_acyclic_graph(graph)
    for identifier, term in slice_terms().items():
        data = graph.nodes[identifier]
        assert data["name"] == term.name and data["namespace"] == NAMESPACES[term.aspect]
        assert tuple(data.get("alt_id", ())) == term.alt_ids
        assert (data.get("is_obsolete") == "true") == term.obsolete
        edges = {(p, kind) for _, p, kind in graph.out_edges(identifier, keys=True)}
        assert edges == {(p, "is_a") for p in term.is_a} | {(p, "part_of") for p in term.part_of}


def test_readers_meet_alternative_and_obsolete_identifiers(graph):
    assert sum("alt_id" in d for _, d in graph.nodes(data=True)) >= 3
    assert sum("is_obsolete" in d for _, d in graph.nodes(data=True)) == 2
    assert not {a for t in slice_terms().values() for a in t.alt_ids} & set(slice_terms())


def test_the_slice_agrees_with_the_real_ontology(real):
    """Names as there; is_a parents are is_a ancestors there, part_of parents ancestors."""
    is_a = nx.DiGraph([(u, v) for u, v, k in real.edges(keys=True) if k == "is_a"])
    both = nx.DiGraph([(u, v) for u, v, k in real.edges(keys=True) if k in ("is_a", "part_of")])
    wrong = []
    for identifier, term in slice_terms().items():
        if term.obsolete:
            assert identifier not in real
            continue
        data = real.nodes[identifier]
        if (data["name"], data["namespace"]) != (term.name, NAMESPACES[term.aspect]):
            wrong.append((identifier, term.name, data["name"]))
        above = nx.descendants(is_a, identifier) if identifier in is_a else set()
        wrong += [(identifier, "is_a", p) for p in term.is_a if p not in above]
        above = nx.descendants(both, identifier) if identifier in both else set()
        wrong += [(identifier, "part_of", p) for p in term.part_of if p not in above]
        wrong += [(identifier, "alt_id", a) for a in term.alt_ids if a in real]
    assert not wrong
