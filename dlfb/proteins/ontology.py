"""The Gene Ontology: names of terms, their ancestors, and what an annotation implies.

GO is three hierarchies in one file, in which a term may have several parents.
A protein annotated with a term has every ancestor of it too (the "true path
rule"; Ashburner et al., Nature Genetics 2000), so that annotations are
*propagated* to the root before anything is counted or learned. As CAFA does, we
follow the relations ``is_a`` and ``part_of``, and stay within one aspect.
"""

import os
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
    path : path, by default ``assets("proteins/datasets/go-basic.obo")``

    Returns
    -------
    networkx.MultiDiGraph
        One node a live term, with ``name`` and ``aspect``; edges point from a
        term to its parents, the relation as key. ``graph.graph["alt_ids"]``
        maps the ids of merged terms to the id that took them over, and
        ``graph.graph["obsolete"]`` the ids of withdrawn terms to their names.
        The graph is frozen: the same file is parsed once a process.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not GO: a term of no aspect, a parent that is not
        defined, or a term that is its own ancestor.
    """
    path = Path(assets("proteins/datasets/go-basic.obo") if path is None else path)
    if not path.is_file():
        raise FileNotFoundError(
            f"read_ontology(): there is no Gene Ontology file {path}. Run `dlfb-provision --chapter"
            " proteins`, or put go-basic.obo under proteins/datasets/ where DLFB_ASSETS points."
        )
    status = path.stat()
    return _parse(str(path.absolute()), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def _parse(path: str, mtime_ns: int, size: int) -> nx.MultiDiGraph:
    # Imported here: only a reader of OBO files waits for the parser.
    import obonet

    graph = obonet.read_obo(path, ignore_obsolete=False)
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
    hierarchy = nx.DiGraph((term, parent) for term in graph for parent in parents(graph, term))
    if not nx.is_directed_acyclic_graph(hierarchy):
        loop = " -> ".join(edge[0] for edge in nx.find_cycle(hierarchy))
        raise ValueError(f"{path}: {loop} -> ... is a circle, so these terms have no order.")
    # A live term keeps its own id even where another claims it as an alternative.
    graph.graph["alt_ids"] = {old: new for old, new in alt_ids.items() if old not in graph}
    graph.graph["obsolete"] = {t: name for t, name in obsolete.items() if t not in alt_ids}
    return nx.freeze(graph)


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
        for parent in parents(graph, to_visit.pop()):
            if parent not in found:
                found.add(parent)
                to_visit.append(parent)
    return found


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

    Notes
    -----
    With M (proteins x terms) the annotations and C (terms x terms) each term with
    its ancestors, both 0/1 and sparse, the answer is where M C is not zero.
    """
    if not {"EntryID", "term"} <= set(terms.columns):
        raise ValueError(f"propagate(): wanted are EntryID and term, not {list(terms.columns)}.")
    graph = read_ontology() if graph is None else graph
    live = sorted(graph)
    column_of = {term: i for i, term in enumerate(live)}
    proteins, rows = sorted_codes(terms["EntryID"])
    given, given_codes = sorted_codes(terms["term"])
    current, kinds = resolve(given, graph)
    if verbose:
        _report(given, kinds, kinds[given_codes], data_version(graph))
    columns = np.array([column_of.get(term, -1) for term in current], dtype=int)[given_codes]
    rows, columns = rows[columns >= 0], columns[columns >= 0]
    pairs = [(i, j) for i in np.unique(columns) for j in _line_of(graph, live[i], column_of)]
    closure = _ones(*np.array(pairs, dtype=int).reshape(-1, 2).T, (len(live), len(live)))
    implied = _ones(rows, columns, (len(proteins), len(live))) @ closure
    # Both axes are sorted, so that reading row by row gives the order promised.
    implied.sort_indices()
    rows = np.repeat(np.arange(len(proteins)), np.diff(implied.indptr))
    aspects = [graph.nodes[term]["aspect"] for term in live]
    return pd.DataFrame(
        {
            "EntryID": pd.Index(proteins, dtype="str").take(rows),
            "term": pd.Index(live, dtype="str").take(implied.indices),
            "aspect": pd.Index(aspects, dtype="str").take(implied.indices),
        }
    )


def resolve(terms, graph: nx.MultiDiGraph) -> tuple[np.ndarray, np.ndarray]:
    """Say what became of each GO id in an ontology's release.

    Parameters
    ----------
    terms : sequence of str, length N
    graph : networkx.MultiDiGraph

    Returns
    -------
    current : array of str, shape (N,)
        The id to use now; a withdrawn or unknown id stays as it is.
    kind : array of str, shape (N,)
        ``"live"``, ``"merged"`` (into another term), ``"obsolete"`` or ``"unknown"``.
    """
    alt_ids, obsolete = graph.graph["alt_ids"], graph.graph["obsolete"]
    current = [alt_ids.get(term, term) for term in terms]
    kinds = [
        "live" if term in graph
        else "merged" if term in alt_ids
        else "obsolete" if term in obsolete
        else "unknown"
        for term in terms
    ]  # fmt: skip
    return np.array(current, dtype=object), np.array(kinds, dtype=object)


def sorted_codes(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return a column's distinct values, sorted, and the place of each row's among them.

    Raises
    ------
    ValueError
        If a cell is empty.
    """
    codes, values = pd.factorize(column)
    if (codes < 0).any():
        raise ValueError(f"The column {column.name!r} is empty in row {int(codes.argmin())}.")
    values, rank = np.unique(np.asarray(values, dtype=object), return_inverse=True)
    return values, rank[codes]


def parents(graph: nx.MultiDiGraph, term: str) -> list[str]:
    """Return the terms that a live term points to by is_a or part_of within its aspect."""
    aspect = graph.nodes[term]["aspect"]
    return [
        parent
        for parent, relations in graph.adj[term].items()
        if graph.nodes[parent]["aspect"] == aspect and any(r in relations for r in RELATIONS)
    ]


def _line_of(graph: nx.MultiDiGraph, term: str, column_of: dict[str, int]) -> list[int]:
    return [column_of[term], *(column_of[ancestor] for ancestor in ancestors(graph, term))]


def _ones(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]):
    # Imported here: it takes longer than most uses of this module.
    from scipy import sparse

    return sparse.csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape=shape)


def _report(ids: np.ndarray, kinds: np.ndarray, row_kinds: np.ndarray, release: str) -> None:
    fates = {
        "merged": f"mapped: old ids of terms that {release} merged into others",
        "obsolete": f"dropped: terms that are obsolete in {release}",
        "unknown": f"dropped: ids that {release} does not know",
    }
    for kind, fate in fates.items():
        if (kinds == kind).any():
            first = ids[int((kinds == kind).argmax())]
            print(f"{(row_kinds == kind).sum():,} rows {fate}, the first {first}")
