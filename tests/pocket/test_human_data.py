"""The shipped proteins: what is in the files, and that it fits together, with pandas alone."""

import importlib.util
import os
import re
import zlib
from pathlib import Path

import networkx as nx
import obonet
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
POCKET = ROOT / "dlfb/pocket"
DATASETS = POCKET / "proteins/datasets"
FILES = {
    "clusters.tsv.zip": ["EntryID", "cluster"],
    "electronic_terms.tsv.zip": ["EntryID", "term", "aspect", "evidence"],
    "train_taxonomy.tsv.zip": ["EntryID", "taxonomyID"],
    "train_terms.tsv.zip": ["EntryID", "term", "aspect"],
    "train_terms_direct.tsv.zip": ["EntryID", "term", "aspect", "evidence"],
}
PAIR = ["EntryID", "term", "aspect"]
COUNTED = {*"EXP IDA IPI IMP IGI IEP HTP HDA HMP HGI HEP TAS IC".split()}  # noqa: SIM905


@pytest.fixture(scope="module")
def tables():
    read = {name: pd.read_csv(DATASETS / name, sep="\t", keep_default_na=False) for name in FILES}
    records = re.findall(r"^>(\S+)\n(.+)\n", (DATASETS / "train_sequences.fasta").read_text(), re.M)
    read["sequences"] = pd.DataFrame(records, columns=["EntryID", "Sequence"])
    return {name.split(".")[0].removeprefix("train_"): table for name, table in read.items()}


@pytest.fixture(scope="module")
def human(tables):
    taxonomy = tables["taxonomy"]
    return set(taxonomy.loc[taxonomy["taxonomyID"] == 9606, "EntryID"])


def test_the_files_are_cafas_sorted_and_all_ids_join(tables):
    for name, columns in FILES.items():
        table = tables[name.split(".")[0].removeprefix("train_")]
        assert list(table.columns) == columns
        assert not table.duplicated(columns[:2]).any()
        assert table.sort_values(columns[:2]).index.is_monotonic_increasing
    ids = set(tables["sequences"]["EntryID"])
    assert tables["sequences"]["EntryID"].is_unique
    for name in ("terms", "terms_direct", "taxonomy", "clusters"):
        assert set(tables[name]["EntryID"]) == ids, name
    assert set(tables["electronic_terms"]["EntryID"]) < ids


def test_proteins_and_rows(tables, human):
    sequences, terms = tables["sequences"], tables["terms"]
    assert (len(sequences), len(human)) == (16_020, 15_660)
    assert tables["taxonomy"]["taxonomyID"].nunique() == 16
    assert sequences["Sequence"].str.len().sum() == 9_409_796
    assert sequences["Sequence"].str.fullmatch("[ACDEFGHIKLMNPQRSTVWYUX]+").all()
    assert len(terms) == 970_184
    by_aspect = {"BPO": 582_015, "CCO": 244_331, "MFO": 143_838}
    assert terms["aspect"].value_counts().to_dict() == by_aspect
    of_human = tables["terms_direct"]["EntryID"].isin(human)
    assert (of_human.sum(), (~of_human).sum()) == (143_519, 3_869)


def test_the_ontology_has_no_circle_and_no_other_relations():
    graph = obonet.read_obo(DATASETS / "go-basic.obo")
    assert (len(graph), graph.number_of_edges()) == (43_558, 77_055)
    assert nx.is_directed_acyclic_graph(graph)
    assert {how for _, _, how in graph.edges} == {"is_a", "part_of"}


def test_evidence_is_told_where_it_is_known(tables, human):
    direct, electronic = tables["terms_direct"], tables["electronic_terms"]
    of_human = direct["EntryID"].isin(human)
    codes = set(direct.loc[of_human, "evidence"].str.split(",").explode())
    assert codes <= COUNTED and "IDA" in codes
    assert set(direct.loc[~of_human, "evidence"]) == {""}
    assert len(electronic) == 121_056 and set(electronic["EntryID"]) <= human
    others = set(electronic["evidence"].str.split(",").explode())
    assert others.isdisjoint(COUNTED | {"ND", ""}) and {"IEA", "ISS", "IBA"} <= others
    assert electronic.merge(tables["terms"], on=PAIR).empty


def test_a_cluster_is_named_by_a_member_and_keeps_equal_sequences_together(tables):
    clusters = tables["clusters"].merge(tables["sequences"], on="EntryID")
    assert clusters["cluster"].nunique() == 9_187
    own = clusters.set_index("EntryID")["cluster"]
    assert (own[own.unique()] == own.unique()).all()
    assert (clusters.groupby("Sequence")["cluster"].nunique() == 1).all()


def test_sources_licences_and_counts_are_named(tables):
    text = (POCKET / "README.md").read_text()
    for word in ("UniProt", "Gene Ontology", "CC BY 4.0", "Artistic-2.0", "Debian"):
        assert word in text
    for path in DATASETS.iterdir():
        assert f"`{path.name}`" in text
    for name in ("terms", "terms_direct", "electronic_terms", "sequences"):
        assert f"{len(tables[name]):,}" in text
    assert f"{tables['clusters']['cluster'].nunique():,} clusters" in text


def test_all_that_is_shipped_is_small_and_no_code():
    files = [path for path in POCKET.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".py", ".pyc")]
    compressed = sum(len(zlib.compress(path.read_bytes(), 6)) for path in files)
    assert compressed < 18e6


@pytest.mark.slow
@pytest.mark.skipif("DLFB_DEBIAN_PACKAGES" not in os.environ, reason="needs Debian's packages")
def test_the_tool_derives_the_same_bytes(tmp_path):
    spec = importlib.util.spec_from_file_location("tool", ROOT / "tools/build_human_data.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.build(Path(os.environ["DLFB_DEBIAN_PACKAGES"]), tmp_path)
    for path in DATASETS.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
