"""The Gene Ontology: names of terms, their ancestors, and what an annotation implies.

GO is three hierarchies in one file, in which a term may have several parents.
A protein annotated with a term has every ancestor of it too (the "true path
rule"; Ashburner et al., Nature Genetics 2000), so that annotations are
*propagated* to the root before anything is counted or learned. As CAFA does, we
follow the relations ``is_a`` and ``part_of``, and stay within one aspect.
"""

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd

from dlfb.utils.context import assets

ASPECTS = {"BPO": "biological_process", "MFO": "molecular_function", "CCO": "cellular_component"}
RELATIONS = ("is_a", "part_of")
_ASPECT_OF_NAMESPACE = {namespace: aspect for aspect, namespace in ASPECTS.items()}


def read_ontology(path: str | os.PathLike | None = None) -> nx.MultiDiGraph:
    """Read a GO file in OBO format.

    Parameters
    ----------
    path : path, by default that of the chapter's ``go-basic.obo``

    Returns
    -------
    networkx.MultiDiGraph
        One node per live term, with ``name`` and ``aspect``; edges point from a
        term to its parents, the relation as key. ``graph.graph["alt_ids"]``
        maps the ids of merged terms to the id that took them over, and
        ``graph.graph["obsolete"]`` the ids of withdrawn terms to their names.
        The graph is frozen: the same file is parsed once per process.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not GO: no terms, a term without id or of no aspect, or a
        parent that is not defined.
    """
    path = dataset_file("go-basic.obo") if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"read_ontology(): there is no Gene Ontology file {path}.")
    status = path.stat()
    return _parse(str(path.absolute()), status.st_mtime_ns, status.st_size)


def dataset_file(name: str) -> Path:
    """Return the path of one of the chapter's files, such as ``"train_terms.tsv.zip"``.

    It is ``assets("proteins/datasets/...")``. In a folder named by ``DLFB_ASSETS`` the files of
    a CAFA competition may also lie as they were unpacked, under ``Train/`` and without ``.zip``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    asked = Path(assets(f"proteins/datasets/{name}"))
    places = [asked]
    if own := os.environ.get("DLFB_ASSETS"):
        folders = [
            Path(own).expanduser().absolute() / f for f in ("proteins/datasets", "Train", "")
        ]
        places += [f / n for f in folders for n in (name, name.removesuffix(".zip"))]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"There is no {name} (looked for {asked}). Put it under proteins/datasets/ in the folder "
        "that DLFB_ASSETS names, or unset DLFB_ASSETS to read the files that come with dlfb."
    )


@lru_cache(maxsize=2)
def _parse(path: str, mtime_ns: int, size: int) -> nx.MultiDiGraph:
    # Imported here: only a reader of OBO files waits for the parser.
    import obonet

    text = Path(path).read_text(encoding="utf-8", errors="replace")
    terms = ["\n" + stanza.split("\n[")[0] for stanza in text.split("[Term]\n")[1:]]
    if not terms:
        raise ValueError(
            f"{path}: the file has no [Term], so it is no ontology in OBO format (it begins with "
            f"{text.strip()[:40]!r}). Get go-basic.obo again."
        )
    if nameless := [stanza for stanza in terms if "\nid: " not in stanza]:
        raise ValueError(f"{path}: a term has no id: {nameless[0].strip()[:80]!r}.")
    try:
        graph = obonet.read_obo(path, ignore_obsolete=False)
    except ValueError as error:
        raise ValueError(f"{path} could not be read as OBO: {error}") from error
    obsolete, alt_ids = {}, {}
    for term, node in graph.nodes(data=True):
        if not node:
            child = next(iter(graph.predecessors(term)))
            raise ValueError(f"{path}: {child} has the parent {term}, which the file lacks.")
        node["name"] = node.get("name") or term
        if node.get("is_obsolete") == "true":
            obsolete[term] = node["name"]
            continue
        if node.get("namespace") not in _ASPECT_OF_NAMESPACE:
            namespace = node.get("namespace")
            raise ValueError(f"{path}: {term} has the namespace {namespace!r}, which GO lacks.")
        node["aspect"] = _ASPECT_OF_NAMESPACE[node["namespace"]]
        alt_ids.update(dict.fromkeys(node.get("alt_id", ()), term))
    graph.remove_nodes_from(obsolete)
    _cut_circles(graph, Path(path).name)
    # A live term keeps its own id even where another claims it as an alternative.
    graph.graph["alt_ids"] = {old: new for old, new in alt_ids.items() if old not in graph}
    graph.graph["obsolete"] = {t: name for t, name in obsolete.items() if t not in alt_ids}
    return nx.freeze(graph)


def _cut_circles(graph: nx.MultiDiGraph, name: str) -> None:
    """Leave out edges that make a term its own ancestor, as a release of GO has had, and say so."""
    aspect = dict(graph.nodes(data="aspect"))
    edges = graph.edges(keys=True)
    followed = nx.DiGraph(
        (child, parent) for child, parent, relation in edges
        if relation in RELATIONS and aspect[child] == aspect[parent]
    )  # fmt: skip
    while not nx.is_directed_acyclic_graph(followed):
        circle = nx.find_cycle(followed)
        # is_a says what a term is, so an edge that is part_of only goes first.
        child, parent = next((e for e in circle if "is_a" not in graph.adj[e[0]][e[1]]), circle[-1])
        chain = " -> ".join(term for term, _ in [*circle, circle[0]])
        print(f"{name}: {chain} is a circle; that {parent} is above {child} is left out.")
        followed.remove_edge(child, parent)
        graph.remove_edges_from([(child, parent, relation) for relation in RELATIONS])


def data_version(graph: nx.MultiDiGraph) -> str:
    """Return the release that the file says it is, such as ``"releases/2024-01-17"``."""
    return graph.graph.get("data-version") or "unknown release"


def descriptions(graph: nx.MultiDiGraph) -> pd.DataFrame:
    """Return the live terms as a table with columns term, description, aspect, sorted by term.

    A term whose name the file does not give is described by its id.
    """
    rows = sorted((term, node["name"], node["aspect"]) for term, node in graph.nodes(data=True))
    return pd.DataFrame(rows, columns=["term", "description", "aspect"])


def ancestors(graph: nx.MultiDiGraph, term: str) -> set[str]:
    """Return all ancestors of a term over is_a and part_of within its aspect, without itself.

    The id of a merged term counts as the term that took it over.

    Raises
    ------
    KeyError
        If the ontology has no such term, or has withdrawn it.
    """
    (start,), (kind,) = resolve([term], graph)
    if start not in graph:
        raise KeyError(f"ancestors(): {term!r} is {kind} in GO {data_version(graph)}.")
    found, to_visit = set(), [start]
    while to_visit:
        for parent in set(parents(graph, to_visit.pop())) - found:
            found.add(parent)
            to_visit.append(parent)
    return found


def parents(graph: nx.MultiDiGraph, term: str) -> list[str]:
    """Return the terms that a live term points to by is_a or part_of within its aspect."""
    aspect = graph.nodes[term]["aspect"]
    return [
        parent
        for parent, relations in graph.adj[term].items()
        if graph.nodes[parent]["aspect"] == aspect and any(r in relations for r in RELATIONS)
    ]


def propagate(
    terms: pd.DataFrame, graph: nx.MultiDiGraph | None = None, verbose: bool = True
) -> pd.DataFrame:
    """Add to each protein's terms all their ancestors.

    Parameters
    ----------
    terms : DataFrame
        Columns EntryID and term; others are ignored (the aspect is the ontology's).
    graph : networkx.MultiDiGraph, optional
        From :func:`read_ontology`; default: the edition's.
    verbose : bool
        Print a line for each kind of row that was mapped or dropped.

    Returns
    -------
    DataFrame
        Columns EntryID, term, aspect: each pair once, sorted by EntryID and term.
    """
    if not {"EntryID", "term"} <= set(terms.columns):
        raise ValueError(f"propagate(): wanted are EntryID and term, not {list(terms.columns)}.")
    for column in ("EntryID", "term"):
        if (empty := terms[column].isna().to_numpy()).any():
            raise ValueError(f"The column {column!r} is empty in row {int(empty.argmax())}.")
    graph = read_ontology() if graph is None else graph
    pairs = terms[["EntryID", "term"]].astype("str")
    given = pairs["term"].unique()
    current, kinds = resolve(given, graph)
    if verbose:
        _report(given, kinds, pairs["term"], data_version(graph))
    implied = [
        (old, term, graph.nodes[term]["aspect"])
        for old, new in zip(given, current, strict=True)
        if new in graph
        for term in [new, *ancestors(graph, new)]
    ]
    lines = pd.DataFrame(implied, columns=["given", "term", "aspect"], dtype="str")
    all_pairs = pairs.rename(columns={"term": "given"}).merge(lines, on="given")
    all_pairs = all_pairs[["EntryID", "term", "aspect"]].drop_duplicates(["EntryID", "term"])
    return all_pairs.sort_values(["EntryID", "term"], ignore_index=True)


def resolve(terms: Iterable[str], graph: nx.MultiDiGraph) -> tuple[np.ndarray, np.ndarray]:
    """Say what became of each of N GO ids in an ontology's release.

    Returns
    -------
    current : array of str, shape (N,)
        The id to use now; a withdrawn or unknown id stays as it is.
    kind : array of str, shape (N,)
        ``"live"``, ``"merged"`` (into another term), ``"obsolete"`` or ``"unknown"``.
    """
    terms, alt_ids = list(terms), graph.graph["alt_ids"]
    current = [alt_ids.get(term, term) for term in terms]
    kinds = [
        "live" if term in graph
        else "merged" if term in alt_ids
        else "obsolete" if term in graph.graph["obsolete"]
        else "unknown"
        for term in terms
    ]  # fmt: skip
    return np.array(current, dtype=object), np.array(kinds, dtype=object)


def _report(ids: np.ndarray, kinds: np.ndarray, rows: pd.Series, release: str) -> None:
    fates = {
        "merged": f"mapped: old ids of terms that {release} merged into others",
        "obsolete": f"dropped: terms that are obsolete in {release}",
        "unknown": f"dropped: ids that {release} does not know",
    }
    for kind, fate in fates.items():
        if (kinds == kind).any():
            of_kind = ids[kinds == kind]
            print(f"{rows.isin(of_kind).sum():,} rows {fate}, the first {min(of_kind)}")
