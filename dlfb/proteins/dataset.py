"""From raw annotation to a data set that a network can learn from (notebook 06).

The CAFA files say which protein has which function. :func:`function_table` turns
them into one row a protein and one 0/1 column a function, saying what each step
loses. How the table is divided and joined with embeddings stands in ``splits``,
how the files are read in ``cafa``; their functions can be had from here as well.
"""

import hashlib
from collections.abc import Collection

import networkx as nx
import numpy as np
import pandas as pd

from dlfb.proteins import ontology
from dlfb.proteins.cafa import (
    SEQUENCES_FILE,
    TAXONOMY_FILE,
    TERMS_FILE,
    load_sequences,
    load_taxonomy,
    load_terms,
    load_truth,
    provided,
    read_terms,
)
from dlfb.proteins.splits import Split, build_dataset, split_proteins

_FROM_EMBEDDINGS = (
    "get_mean_embeddings",
    "load_sequence_embeddings",
    "store_sequence_embeddings",
)
__all__ = [
    "NEAR_UNIVERSAL_TERMS",
    "Split",
    "build_dataset",
    "function_table",
    "get_go_term_descriptions",
    "load_sequences",
    "load_taxonomy",
    "load_terms",
    "load_truth",
    "name_terms",
    "split_proteins",
    *_FROM_EMBEDDINGS,
]

#: molecular_function (the root), binding, protein binding: true of most proteins.
NEAR_UNIVERSAL_TERMS = ("GO:0003674", "GO:0005488", "GO:0005515")


def __getattr__(name: str):
    # The book takes these from here. They need torch, which the rest of the module does without.
    if name in _FROM_EMBEDDINGS:
        from dlfb.proteins import embeddings

        return getattr(embeddings, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get_go_term_descriptions(store_path: str | None = None) -> pd.DataFrame:
    """Return the names of the live GO terms: columns term and description, sorted by term.

    With `store_path`, the table is kept there and restored while the GO file stays the same.
    """
    if store_path is None:
        return _go_term_descriptions()
    from dlfb.utils.restore import restorable

    digest = hashlib.sha256(provided("go-basic.obo").read_bytes()).hexdigest()
    return restorable(_go_term_descriptions)(go_sha256=digest, store_path=store_path)


def name_terms(
    terms: pd.DataFrame, graph: nx.MultiDiGraph | None = None, verbose: bool = True
) -> pd.DataFrame:
    """Add each term's description, and drop the rows whose term the ontology does not have.

    Annotation and ontology are seldom of the same day: a term may have been
    withdrawn since, or merged into another one. Its rows are dropped, as an
    inner merge with the names would do, but not without a word.

    Parameters
    ----------
    terms : DataFrame
        As :func:`load_terms` returns it.
    graph : networkx.MultiDiGraph, optional
        From :func:`dlfb.proteins.ontology.read_ontology`; default: the edition's.
    verbose : bool
        Print how many rows are lost, and why.

    Returns
    -------
    DataFrame
        The rows kept, with a column ``description`` and the index they had.
    """
    graph = ontology.read_ontology() if graph is None else graph
    codes, ids = pd.factorize(terms["term"])
    kinds = ontology.resolve(ids, graph)[1]
    row_kinds = kinds[codes]
    losses = [
        f"{(row_kinds == kind).sum():,} {why} ({(kinds == kind).sum():,} distinct, "
        f"first {ids[int((kinds == kind).argmax())]})"
        for kind, why in {
            "obsolete": "of terms that it calls obsolete",
            "merged": "under old ids of terms that it merged into others",
            "unknown": "of ids that it does not know",
        }.items()
        if (kinds == kind).any()
    ]
    kept = row_kinds == "live"
    if verbose:
        print(
            f"GO {ontology.data_version(graph)}, {len(graph):,} terms: {kept.sum():,} of "
            f"{len(kept):,} rows named; dropped: {'; '.join(losses) or 'none'}"
        )
    names = [graph.nodes[term]["name"] if term in graph else "" for term in ids]
    named = terms.assign(description=pd.Index(names, dtype="str").take(codes))
    return named[kept]


def function_table(
    aspect: str | None = "MFO",
    taxonomy_id: int | None = 9606,
    drop_terms: Collection[str] = NEAR_UNIVERSAL_TERMS,
    min_proteins: int = 50,
    max_length: int | None = 500,
    verbose: bool = True,
) -> pd.DataFrame:
    """Build the chapter's table: a row for each protein, a 0/1 column for each function.

    Parameters
    ----------
    aspect : {"BPO", "MFO", "CCO"} or None
        Which functions; None for all.
    taxonomy_id : int or None
        Which species, by NCBI's number; None for all.
    drop_terms : collection of str
        Terms that say too little to be worth predicting.
    min_proteins : int
        Keep the terms that at least so many of the species' proteins have. They
        are counted before `max_length`, as in the chapter, so that a column of
        the table can have fewer.
    max_length : int or None
        Keep the proteins of at most so many residues.
    verbose : bool
        Print what each step keeps, what it loses, and why.

    Returns
    -------
    DataFrame
        Columns EntryID, Sequence, Length, then int8 columns of 0 and 1 sorted
        by term; rows sorted by EntryID.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or not what it should be, or a step leaves nothing.
    """
    terms = read_terms(aspect)

    def keep(rows: np.ndarray | None, step: str, why: str = "") -> None:
        nonlocal terms
        before, terms = len(terms), terms if rows is None else terms[rows]
        if terms.empty:
            raise ValueError(f"function_table(): '{step}' leaves none of {before:,} rows ({why}).")
        lost = f"; {before - len(terms):,} rows dropped: {why}" if before > len(terms) else ""
        if verbose:
            counts = f"{len(terms):,} rows, {terms['EntryID'].nunique():,} proteins"
            print(f"{step}: {counts}, {terms['term'].nunique():,} terms{lost}")

    keep(None, f"Annotation, {aspect or 'all aspects'}")
    terms = name_terms(terms, verbose=verbose)
    if taxonomy_id is not None:
        species = _look_up(terms["EntryID"], load_taxonomy().set_index("EntryID")["taxonomyID"])
        without = np.isnan(species)
        if without.any():
            keep(~without, "Species known", _not_in(TAXONOMY_FILE, terms[without]))
        keep(species[~without] == taxonomy_id, f"Species {taxonomy_id}", "of other species")
    dropped = terms["term"].isin(drop_terms).to_numpy()
    keep(~dropped, "Informative terms", f"of {', '.join(drop_terms)}")
    proteins_of = _look_up(terms["term"], terms["term"].value_counts())
    keep(proteins_of >= min_proteins, f"Terms of {min_proteins} or more proteins", "of rarer terms")
    sequences = load_sequences().set_index("EntryID")
    without = np.isnan(_look_up(terms["EntryID"], sequences["Length"]))
    if without.any():
        keep(~without, "Sequence known", _not_in(SEQUENCES_FILE, terms[without]))

    proteins, rows = ontology.sorted_codes(terms["EntryID"])
    columns, places = ontology.sorted_codes(terms["term"])
    functions = np.zeros((len(proteins), len(columns)), dtype=np.int8)
    functions[rows, places] = 1
    wide = pd.DataFrame(functions, columns=pd.Index(columns, dtype="str"))
    table = pd.concat([sequences.loc[proteins].reset_index(), wide], axis="columns")
    short = table["Length"] <= (np.inf if max_length is None else max_length)
    if not short.any():
        raise ValueError(f"function_table(): no protein has at most {max_length} residues.")
    if verbose:
        distinct = table["Sequence"].nunique()
        print(f"Table: {len(table):,} x {table.shape[1]:,}; {distinct:,} distinct sequences")
        if max_length is not None:
            print(
                f"At most {max_length} residues: {short.sum():,} proteins; "
                f"{(~short).sum():,} proteins dropped: longer ones"
            )
    return table[short].reset_index(drop=True)


def _look_up(column: pd.Series, values: pd.Series) -> np.ndarray:
    """Return for each cell of a column of categories what `values` has under it, else NaN."""
    found = values.reindex(column.cat.categories).to_numpy(dtype=float)
    return found[column.cat.codes]


def _not_in(file: str, terms: pd.DataFrame) -> str:
    protein, line = terms["EntryID"].iloc[0], terms.index[0] + 2
    return (
        f"of proteins that {file} lacks ({terms['EntryID'].nunique():,} distinct, "
        f"first {protein} in {TERMS_FILE}, line {line})"
    )


def _go_term_descriptions(go_sha256: str = "") -> pd.DataFrame:
    """Return the names; the argument is what `restorable` tells one GO file from another by."""
    return ontology.descriptions(ontology.read_ontology())[["term", "description"]]
