"""Information accretion: by hand on a small graph, from the definition, beside CAFA's own file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dlfb.proteins.cafa import read_terms
from dlfb.proteins.information import information_accretion, load_information_accretion
from dlfb.proteins.metrics import smin, weighted_fmax
from dlfb.proteins.ontology import parents, propagate, read_ontology

REAL = Path(__file__).parents[2] / "../shared/data/cafa6"
# root <- left, right; both <- both of them (one by part_of); rare <- left; nobody <- both.
GRAPH = {
    "GO:0003674": [], "GO:0000001": ["is_a: GO:0003674"], "GO:0000002": ["is_a: GO:0003674"],
    "GO:0000003": ["is_a: GO:0000001", "relationship: part_of GO:0000002"],
    "GO:0000004": ["is_a: GO:0000001", "relationship: regulates GO:0000002"],
    "GO:0000005": ["is_a: GO:0000003"],
}  # fmt: skip
ROOT, LEFT, RIGHT, BOTH, RARE, NOBODY = GRAPH


@pytest.fixture
def graph(tmp_path):
    stanzas = [
        "\n".join(["[Term]", f"id: {term}", f"name: {term}", "namespace: molecular_function", *up])
        for term, up in GRAPH.items()
    ]
    (tmp_path / "go.obo").write_text("format-version: 1.2\n\n" + "\n\n".join(stanzas) + "\n")
    return read_ontology(tmp_path / "go.obo")


def annotation(graph, *said):
    direct = pd.DataFrame([(f"P{i}", term) for i, each in enumerate(said) for term in each],
                          columns=["EntryID", "term"])  # fmt: skip
    return propagate(direct, graph, verbose=False)


def test_by_hand(graph):
    # 8 proteins; left has 6 of them, right 4; both parents of BOTH have 3, and it has 2 of those.
    terms = annotation(graph, [BOTH], [BOTH], [LEFT, RIGHT], [RIGHT], [RARE], [LEFT], [LEFT],
                       [ROOT])  # fmt: skip
    bits = information_accretion(terms, graph)
    assert list(bits.index) == sorted(GRAPH)
    wanted = {ROOT: 0, LEFT: np.log2(8 / 6), RIGHT: 1, BOTH: np.log2(3 / 2), RARE: np.log2(6),
              NOBODY: 0}  # fmt: skip
    assert bits.to_dict() == pytest.approx(wanted, abs=1e-12)
    assert not np.signbit(bits).any()


def test_rows_repeated_or_unknown_and_the_order_change_nothing(graph):
    terms = annotation(graph, [BOTH], [LEFT], [RARE, RIGHT])
    bits = information_accretion(terms, graph)
    more = pd.concat([terms, terms, pd.DataFrame({"EntryID": ["P0", "P9"], "term": "GO:9"})])
    again = information_accretion(more.sample(frac=1, random_state=1), graph)
    pd.testing.assert_series_equal(bits, again)
    assert information_accretion(terms[:0], graph).tolist() == [0] * len(GRAPH)


def test_a_protein_without_all_parents_says_nothing_about_a_term(graph):
    # Propagated over another release: P1 has BOTH, and lacks the parent RIGHT.
    terms = annotation(graph, [BOTH], [LEFT, RIGHT], [LEFT])
    odd = pd.DataFrame({"EntryID": ["P2"], "term": [BOTH]})
    assert information_accretion(pd.concat([terms, odd]), graph)[BOTH] == 1


def test_it_is_the_definition_on_the_pocket_edition():
    terms, graph = read_terms(), read_ontology()
    bits = information_accretion(terms, graph)
    having = {t: set(rows) for t, rows in terms.groupby("term", observed=True)["EntryID"]}
    for term, value in bits.items():
        above = [having.get(parent, set()) for parent in parents(graph, term)]
        eligible = set.intersection(*above) if above else having[term]
        own = having.get(term, set()) & eligible
        assert value == pytest.approx(np.log2(len(eligible) / len(own)) if own else 0), term
    assert (bits > 0).sum() > 100
    # Where the edition has no file, the weights are those.
    pd.testing.assert_series_equal(load_information_accretion(), bits, check_names=False)


def test_the_edition_s_file_is_read_and_fits_the_scores(tmp_path, monkeypatch):
    folder = tmp_path / "proteins/datasets"
    folder.mkdir(parents=True)
    (folder / "IA.tsv").write_text("GO:0000001\t0.5\nGO:0000002\t2.0\nGO:0000003\t1e-1\n")
    monkeypatch.setenv("DLFB_ASSETS", str(tmp_path))
    weights = load_information_accretion()
    assert weights.to_dict() == {"GO:0000001": 0.5, "GO:0000002": 2.0, "GO:0000003": 0.1}
    truth = pd.DataFrame([[1, 1]], columns=["GO:0000002", "GO:0000001"])
    probs = pd.DataFrame([[0.0, 0.9]], columns=truth.columns)
    assert smin(truth, probs, weights) == 2.0
    assert weighted_fmax(truth, probs, weights) == pytest.approx(2 * 0.2 / 1.2)
    (folder / "IA.tsv").write_text("term\tbits\nGO:0000001\t0.5\n")
    with pytest.raises(ValueError, match=r"IA\.tsv: a term and a number on each line"):
        load_information_accretion()


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/cafa6")
def test_it_is_near_cafa_s_own_on_three_fifths_of_its_proteins(monkeypatch):
    monkeypatch.setenv("DLFB_ASSETS", str(REAL))
    terms = read_terms()
    ours, theirs = information_accretion(terms), load_information_accretion()
    frequent = terms["term"].value_counts().loc[lambda counts: counts >= 50].index.astype(str)
    assert len(frequent) > 4000
    apart = (ours[frequent] - theirs[frequent]).abs()
    # Theirs counted proteins whose sequences could not be had, too.
    assert np.corrcoef(ours[frequent], theirs[frequent])[0, 1] > 0.99 and apart.median() < 0.05
