"""The Gene Ontology: names of terms, their ancestors, and what an annotation implies.

A protein annotated with a term has every ancestor of it too (the true-path rule; Ashburner et al.,
Nature Genetics 2000), so annotations are *propagated* to the root before anything is counted. As
CAFA does, we follow the relations ``is_a`` and ``part_of``, and stay within one aspect.
"""

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd

from dlfb.proteins.sequences import open_text
from dlfb.utils.context import assets

ASPECTS = {"BPO": "biological_process", "MFO": "molecular_function", "CCO": "cellular_component"}
RELATIONS = ("is_a", "part_of")
_ASPECT_OF_NAMESPACE = {namespace: aspect for aspect, namespace in ASPECTS.items()}


def read_ontology(path: str | os.PathLike | None = None) -> nx.MultiDiGraph:
    """Read a GO file in OBO format, by default the chapter's ``go-basic.obo``.

    One node per live term, with ``name`` and ``aspect``; edges point from a term to its parents.
    The graph's attributes: ``alt_ids`` (id of a merged term: id that took it over), ``obsolete``
    (id of a withdrawn term: name), ``hierarchy`` (the graph of the edges that annotation follows).
    It is frozen: the same file is parsed once per process. A file that is not GO is a ValueError.
    """
    path = dataset_file("go-basic.obo") if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"read_ontology(): there is no Gene Ontology file {path}.")
    status = path.stat()
    return _parse(path.absolute(), status.st_mtime_ns, status.st_size)


def dataset_file(name: str) -> Path:
    """Return the path of ``train_terms.tsv.zip``, or of another of the chapter's files.

    In a folder that ``DLFB_ASSETS`` names, it may be CAFA6's ``Train/train_terms.tsv`` instead.
    """
    asked = Path(assets(f"proteins/datasets/{name}"))
    own = Path(os.environ.get("DLFB_ASSETS", "")).expanduser()
    for place in (asked, own.absolute() / "Train" / name.removesuffix(".zip")):
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"There is no {name} (looked for {asked}). Put it under proteins/datasets/ in the folder "
        "that DLFB_ASSETS names, or unset DLFB_ASSETS to read the files that come with dlfb."
    )


@lru_cache(maxsize=2)
def _parse(path: Path, mtime_ns: int, size: int) -> nx.MultiDiGraph:
    # Imported here: only a reader of OBO files waits for the parser.
    import obonet

    try:
        with open_text(path) as text:
            graph = obonet.read_obo(text, ignore_obsolete=False)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is no ontology in OBO format, or damaged ({error!r}). Get go-basic.obo again."
        ) from error
    obsolete, alt_ids = {}, {}
    for term, node in graph.nodes(data=True):
        if not node and (child := next(graph.predecessors(term), None)):
            raise ValueError(f"{path}: {child} has the parent {term}, which the file lacks.")
        node["name"] = node.get("name") or term
        if node.get("is_obsolete") == "true":
            obsolete[term] = node["name"]
            continue
        namespace = node.get("namespace")
        if namespace not in _ASPECT_OF_NAMESPACE:
            raise ValueError(f"{path}: {term} has the namespace {namespace!r}, which GO lacks.")
        node["aspect"] = _ASPECT_OF_NAMESPACE[namespace]
        alt_ids.update(dict.fromkeys(node.get("alt_id", ()), term))
    graph.remove_nodes_from(obsolete)
    if not graph:
        raise ValueError(f"{path} has no [Term] that is in use. Get go-basic.obo again.")
    # A live term keeps its own id even where another claims it as an alternative.
    graph.graph["alt_ids"] = {old: new for old, new in alt_ids.items() if old not in graph}
    graph.graph["obsolete"] = {t: name for t, name in obsolete.items() if t not in alt_ids}
    graph.graph["hierarchy"] = _hierarchy(graph, path.name)
    return nx.freeze(graph)


def _hierarchy(graph: nx.MultiDiGraph, name: str) -> nx.DiGraph:
    """Return the edges to follow, without those that close a circle, as a release of GO had."""
    aspect, hierarchy = graph.nodes(data="aspect"), nx.DiGraph()
    hierarchy.add_nodes_from(graph)
    for child, parent, relation in graph.edges(keys=True):
        if relation in RELATIONS and aspect[child] == aspect[parent]:
            hierarchy.add_edge(child, parent)
    while not nx.is_directed_acyclic_graph(hierarchy):
        circle = nx.find_cycle(hierarchy)
        # is_a says what a term is, so an edge that is part_of only goes first.
        child, parent = next((e for e in circle if "is_a" not in graph.adj[e[0]][e[1]]), circle[-1])
        chain = " -> ".join(term for term, _ in [*circle, circle[0]])
        print(f"{name}: {chain} is a circle; that {parent} is above {child} is left out.")
        hierarchy.remove_edge(child, parent)
    return hierarchy


def data_version(graph: nx.MultiDiGraph) -> str:
    """Return the release that the file says it is, such as ``"releases/2024-01-17"``."""
    return graph.graph.get("data-version") or "unknown release"


def descriptions(graph: nx.MultiDiGraph) -> pd.DataFrame:
    """Return the live terms as a table: columns term, description (or id), aspect; by term."""
    rows = sorted((term, node["name"], node["aspect"]) for term, node in graph.nodes(data=True))
    return pd.DataFrame(rows, columns=["term", "description", "aspect"])


def ancestors(graph: nx.MultiDiGraph, term: str) -> set[str]:
    """Return all ancestors of a term over is_a and part_of within its aspect, without itself.

    A merged term's id counts as the term that took it over; an obsolete or unknown is a ValueError.
    """
    (current,), (kind,) = resolve([term], graph)
    if current not in graph:
        raise ValueError(f"ancestors(): {term!r} is {kind} in GO {data_version(graph)}.")
    return nx.descendants(graph.graph["hierarchy"], current)


def propagate(
    terms: pd.DataFrame, graph: nx.MultiDiGraph | None = None, verbose: bool = True
) -> pd.DataFrame:
    """Add to each protein's terms (columns EntryID and term) all their ancestors.

    Returns columns EntryID, term, aspect: each pair once, sorted. A line is printed for each kind
    of row that was mapped or dropped.
    """
    if not {"EntryID", "term"} <= set(terms.columns):
        raise ValueError(f"propagate(): wanted are EntryID and term, not {list(terms.columns)}.")
    for column in ("EntryID", "term"):
        if (empty := terms[column].isna().to_numpy()).any():
            raise ValueError(f"The column {column!r} is empty in row {int(empty.argmax())}.")
    graph = read_ontology() if graph is None else graph
    pairs = terms[["EntryID", "term"]].astype("str").rename(columns={"term": "given"})
    given = pairs["given"].unique()
    current, kinds = resolve(given, graph)
    fates = {
        "merged": "mapped: old ids of terms that {} merged into others",
        "obsolete": "dropped: terms that are obsolete in {}",
        "unknown": "dropped: ids that {} does not know",
    }
    for kind, fate in fates.items():
        ids = given[kinds == kind]
        if verbose and len(ids):
            rows, fate = pairs["given"].isin(ids).sum(), fate.format(data_version(graph))
            print(f"{rows:,} rows {fate}, the first {min(ids)}")
    implied = [
        (old, term, graph.nodes[term]["aspect"])
        for old, new in zip(given, current, strict=True)
        if new in graph
        for term in [new, *ancestors(graph, new)]
    ]
    lines = pd.DataFrame(implied, columns=["given", "term", "aspect"], dtype="str")
    found = pairs.merge(lines, on="given").drop(columns="given")
    return found.drop_duplicates().sort_values(["EntryID", "term"], ignore_index=True)


def resolve(terms: Iterable[str], graph: nx.MultiDiGraph) -> tuple[np.ndarray, np.ndarray]:
    """Say what became of each of N GO ids in an ontology's release: two arrays of str, (N,).

    The id to use now (a withdrawn or unknown one stays as it is), and its kind: ``"live"``,
    ``"merged"`` into another term, ``"obsolete"`` or ``"unknown"``.
    """
    alt_ids, obsolete = graph.graph["alt_ids"], graph.graph["obsolete"]
    terms = [*terms]
    where = {"live": graph, "merged": alt_ids, "obsolete": obsolete}
    kinds = [next((kind for kind, ids in where.items() if t in ids), "unknown") for t in terms]
    # An id is a live one or a merged one, not both: see _parse().
    return np.array([alt_ids.get(t, t) for t in terms], object), np.array(kinds, object)
