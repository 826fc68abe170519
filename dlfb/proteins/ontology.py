"""The Gene Ontology: names of terms, their ancestors, and what an annotation implies.

A protein that has a term has every ancestor of it too (the true-path rule; Ashburner et al.,
Nature Genetics 2000). As CAFA does, we follow ``is_a`` and ``part_of`` within one aspect.
"""

import os
from functools import lru_cache
from pathlib import Path

import networkx as nx
import obonet
import pandas as pd

from dlfb.proteins.sequences import open_text
from dlfb.utils.checks import check_table
from dlfb.utils.context import assets

ASPECTS = {"BPO": "biological_process", "MFO": "molecular_function", "CCO": "cellular_component"}


def read_ontology(path: str | os.PathLike | None = None) -> nx.MultiDiGraph:
    """Read a GO file in OBO format, by default the chapter's ``go-basic.obo``.

    Nodes are the live terms, with ``name`` and ``aspect``; edges go from a term to its parents.
    The graph's attributes are ``alt_ids`` (old id of a merged term: its id now), ``obsolete`` (id
    of a withdrawn term: name), ``hierarchy`` (a graph of the edges that annotation follows) and
    ``data-version``. It is frozen, as a file is parsed once per process.
    """
    path = dataset_file("go-basic.obo") if path is None else Path(path)
    status = path.stat()
    return _parse(path.absolute(), status.st_mtime_ns, status.st_size)


def dataset_file(name: str) -> Path:
    """Return the path of a data file; it may also be in CAFA6's ``Train/``, without ``.zip``."""
    asked = Path(assets(f"proteins/datasets/{name}"))
    own = Path(os.environ.get("DLFB_ASSETS", "")).expanduser()
    for place in (asked, own.absolute() / "Train" / name.removesuffix(".zip")):
        if place.is_file():
            return place
    way_out = "Put it there, or unset DLFB_ASSETS to read the files that come with dlfb"
    raise FileNotFoundError(f"There is no {name} (looked for {asked}). {way_out}.")


@lru_cache(maxsize=2)
def _parse(path: Path, mtime_ns: int, size: int) -> nx.MultiDiGraph:
    try:
        with open_text(path) as text:
            graph = obonet.read_obo(text, ignore_obsolete=False)
    except (KeyError, ValueError) as error:
        fault = f"{path} is damaged, or not an ontology in OBO format"
        raise ValueError(f"{fault} ({error!r}). Get it again.") from error
    aspects = {namespace: aspect for aspect, namespace in ASPECTS.items()}
    obsolete, alt_ids = {}, {}
    for term, node in graph.nodes(data=True):
        if not node and (child := next(graph.predecessors(term), None)):
            raise ValueError(f"{path}: {child} has the parent {term}, which the file lacks.")
        node["name"] = node.get("name") or term
        if node.get("is_obsolete") == "true":
            obsolete[term] = node["name"]
            continue
        if (namespace := node.get("namespace")) not in aspects:
            raise ValueError(f"{path}: {term} has the namespace {namespace!r}, which GO lacks.")
        node["aspect"] = aspects[namespace]
        alt_ids.update(dict.fromkeys(node.get("alt_id", ()), term))
    graph.remove_nodes_from(obsolete)
    if not graph:
        raise ValueError(f"{path} has no [Term] that is in use. Get go-basic.obo again.")
    # A live term keeps its own id even where another claims it as an alternative.
    graph.graph["alt_ids"] = {old: new for old, new in alt_ids.items() if old not in graph}
    graph.graph["obsolete"] = {t: name for t, name in obsolete.items() if t not in alt_ids}
    graph.graph["hierarchy"] = _hierarchy(graph, path.name)
    graph.graph.setdefault("data-version", "unknown release")
    return nx.freeze(graph)


def _hierarchy(graph: nx.MultiDiGraph, name: str) -> nx.DiGraph:
    """Return the edges to follow, without those that close a circle (a release of GO had one)."""
    aspect, hierarchy = graph.nodes(data="aspect"), nx.DiGraph()
    hierarchy.add_nodes_from(graph)
    for child, parent, relation in graph.edges(keys=True):
        if relation in ("is_a", "part_of") and aspect[child] == aspect[parent]:
            hierarchy.add_edge(child, parent)
    while not nx.is_directed_acyclic_graph(hierarchy):
        circle = nx.find_cycle(hierarchy)
        # is_a says what a term is, so an edge that is only part_of goes first.
        child, parent = next((e for e in circle if "is_a" not in graph.adj[e[0]][e[1]]), circle[-1])
        chain = " -> ".join(term for term, _ in [*circle, circle[0]])
        print(f"{name}: {chain} is a circle; the edge from {child} to {parent} is left out.")
        hierarchy.remove_edge(child, parent)
    return hierarchy


def outdated(terms: pd.Series, graph: nx.MultiDiGraph) -> list[str]:
    """Say in words, for each kind of GO id that is not a live term's, how many rows have it."""
    obsolete, merged = (terms.isin([*graph.graph[kind]]) for kind in ("obsolete", "alt_ids"))
    kinds = {
        "of terms that it calls obsolete": obsolete,
        "under old ids of terms that it merged into others": merged,
        "of ids that it does not know": ~(obsolete | merged | terms.isin([*graph])),
    }
    return [
        f"{rows.sum():,} {what} ({terms[rows].nunique():,} distinct, first {terms[rows].iloc[0]})"
        for what, rows in kinds.items()
        if rows.any()
    ]


def ancestors(graph: nx.MultiDiGraph, term: str) -> set[str]:
    """Return all ancestors of a term, without itself; an old id counts as that of the term now."""
    current = graph.graph["alt_ids"].get(term, term)
    if current not in graph:
        kind = "obsolete" if term in graph.graph["obsolete"] else "unknown"
        raise ValueError(f"ancestors(): {term!r} is {kind} in GO {graph.graph['data-version']}.")
    return nx.descendants(graph.graph["hierarchy"], current)


def propagate(terms: pd.DataFrame, graph: nx.MultiDiGraph | None = None) -> pd.DataFrame:
    """Add to each protein's terms (columns EntryID and term) all their ancestors.

    Returns columns EntryID, term, aspect: each pair once, sorted. A line says how many rows have
    outdated ids: those of merged terms are replaced, the others dropped.
    """
    check_table(terms, ["EntryID", "term"], "propagate()")
    graph = read_ontology() if graph is None else graph
    given = terms[["EntryID", "term"]].astype("str").rename(columns={"term": "given"})
    if rows := outdated(given["given"], graph):
        fate = "Ids of merged terms are replaced, the other rows dropped."
        print(f"GO {graph.graph['data-version']}, outdated ids: {'; '.join(rows)}. {fate}")
    lines = []
    for old in given["given"].unique():
        if (current := graph.graph["alt_ids"].get(old, old)) in graph:
            implied = [current, *ancestors(graph, current)]
            lines += [(old, term, graph.nodes[term]["aspect"]) for term in implied]
    found = given.merge(pd.DataFrame(lines, columns=["given", "term", "aspect"], dtype="str"))
    found = found[["EntryID", "term", "aspect"]].drop_duplicates()
    return found.sort_values(["EntryID", "term"], ignore_index=True)
