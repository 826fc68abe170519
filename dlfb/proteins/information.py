"""How much a term tells: its information accretion, which weighted Fmax and Smin count with.

References
----------
.. [1] Clark & Radivojac. "Information-theoretic evaluation of predicted ontological
   annotations." Bioinformatics 29, i53-i61 (2013).
"""

from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
from scipy import sparse

from dlfb.proteins.cafa import read_terms
from dlfb.proteins.ontology import parents, read_ontology, sorted_codes
from dlfb.utils.context import assets

ACCRETION_FILE = "IA.tsv"
_CHUNK = 4096  # proteins at a time: some hundred MB for all of GO


def information_accretion(terms: pd.DataFrame, graph: nx.MultiDiGraph | None = None) -> pd.Series:
    """Compute the information accretion of every term from annotation.

    It is -log2 of how often a protein that has all parents of the term has the
    term as well [1]_: 0 where the parents imply it, as for a root, which has none.

    Parameters
    ----------
    terms : DataFrame
        Columns EntryID and term, propagated. Terms that the ontology lacks are left out.
    graph : networkx.MultiDiGraph, optional
        From :func:`~dlfb.proteins.ontology.read_ontology`; default: the edition's.

    Returns
    -------
    Series of float64, in bits
        A value for each live term, sorted by term. A term that no protein has gets 0, as
        in CAFA's files: nothing is known of its frequency, and it counts for nothing.
    """
    graph = read_ontology() if graph is None else graph
    live = sorted(graph)
    column_of = {term: i for i, term in enumerate(live)}
    proteins, rows = sorted_codes(terms["EntryID"])
    names, codes = sorted_codes(terms["term"])
    columns = np.array([column_of.get(name, -1) for name in names], dtype=int)[codes]
    rows, columns = rows[columns >= 0], columns[columns >= 0]
    shape = (len(proteins), len(live))
    has = sparse.csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape=shape)
    has.data[:] = 1  # a row of the table may be repeated

    pairs = [(column_of[p], i) for i, term in enumerate(live) for p in parents(graph, term)]
    above = np.array(pairs, dtype=int).reshape(-1, 2).T
    wanted = np.bincount(above[1], minlength=len(live))
    # One product counts the parents that a protein has, and adds `own` where it has the term.
    own = int(wanted.max(initial=0)) + 1
    counting = sparse.csr_array((np.ones(above.shape[1], np.int32), tuple(above)), (len(live),) * 2)
    counting = counting + own * sparse.eye_array(len(live), dtype=np.int32, format="csr")
    eligible, both = np.zeros((2, len(live)))
    for start in range(0, len(proteins), _CHUNK):
        found = (has[start : start + _CHUNK] @ counting).tocoo()
        all_parents = found.data % own == wanted[found.col]
        eligible += np.bincount(found.col[all_parents], minlength=len(live))
        both += np.bincount(found.col[all_parents & (found.data >= own)], minlength=len(live))
    bits = np.log2(np.divide(eligible, both, out=np.ones(len(live)), where=both > 0))
    return pd.Series(bits, index=pd.Index(live, name="term"), name="information accretion")


def load_information_accretion() -> pd.Series:
    """Return the terms' information accretion, as weights for `smin` and `weighted_fmax`.

    From the edition's ``IA.tsv`` (a term and its bits on each line) where it has one, else
    computed from its annotation.

    Returns
    -------
    Series of float64, indexed by term

    Raises
    ------
    ValueError
        If the file is not of that form.
    """
    path = Path(assets(f"proteins/datasets/{ACCRETION_FILE}"))
    if not path.is_file():
        return information_accretion(read_terms())
    try:
        table = pd.read_csv(
            path, sep="\t", names=["term", "bits"], dtype={"term": "str", "bits": "float64"}
        )
    except ValueError as error:
        raise ValueError(f"{path}: a term and a number on each line are wanted: {error}") from error
    return table.set_index("term")["bits"].rename("information accretion")
