"""From raw annotation to a data set that a network can learn from (notebook 06).

The files have the layout of the CAFA competitions. :func:`function_table` turns them into one
row per protein and one 0/1 column per function, :func:`split_proteins` divides it, and
:func:`build_dataset` joins it with embeddings. All errors are FileNotFoundError or ValueError.
"""

import csv
import io
from collections.abc import Collection

import networkx as nx
import pandas as pd

from dlfb.proteins import ontology
from dlfb.proteins.embedding_store import (  # noqa: F401 (the book imports them from here)
    load_sequence_embeddings,
    store_sequence_embeddings,
)
from dlfb.proteins.embeddings import get_mean_embeddings  # noqa: F401 (as above)
from dlfb.proteins.sequences import open_text, read_fasta
from dlfb.proteins.splits import Split, build_dataset, split_proteins  # noqa: F401
from dlfb.utils.restore import restorable

#: molecular_function (the root), binding, protein binding: true of most proteins.
NEAR_UNIVERSAL_TERMS = ("GO:0003674", "GO:0005488", "GO:0005515")
_CAFA6_ASPECTS = ["P", "F", "C"]
_UNIQUE = "a protein that was not named before"


def load_terms(aspect: str | None = None) -> pd.DataFrame:
    """Read which protein has which GO term: columns EntryID, term, aspect (BPO, MFO, CCO).

    Where the file calls the aspects P, F and C, its terms are as annotated (CAFA6's layout);
    their ancestors are added then, and that is said. With `aspect`, only its rows are kept.
    """
    aspects = list(ontology.ASPECTS)
    if aspect not in (None, *aspects):
        raise ValueError(f"There is no aspect {aspect!r}; choose one of {', '.join(aspects)}.")
    terms, name = _read_table("train_terms.tsv.zip", ["EntryID", "term", "aspect"])
    _check(terms["term"], terms["term"].str.startswith("GO:"), name, "a GO id")
    as_annotated = terms["aspect"].iloc[0] in _CAFA6_ASPECTS
    known = _CAFA6_ASPECTS if as_annotated else aspects
    _check(terms["aspect"], terms["aspect"].isin(known), name, f"one of {', '.join(known)}")
    repeated = terms.duplicated(["EntryID", "term"])
    if repeated.any():
        print(
            f"{name}: {repeated.sum():,} rows dropped: they repeat the protein and term of an "
            f"earlier row, the first of them in line {repeated.idxmax()}."
        )
        terms = terms[~repeated]
    if as_annotated:
        print(f"{name}: {len(terms):,} rows as annotated; the terms' ancestors are added.")
        terms = ontology.propagate(terms)
    kept = slice(None) if aspect is None else terms["aspect"] == aspect
    return terms[kept].reset_index(drop=True)


def load_taxonomy() -> pd.DataFrame:
    """Read which species a protein is of: columns EntryID and taxonomyID (NCBI's number, int64)."""
    taxonomy, name = _read_table("train_taxonomy.tsv.zip", ["EntryID", "taxonomyID"])
    _check(taxonomy["EntryID"], ~taxonomy["EntryID"].duplicated(), name, _UNIQUE)
    numbers = taxonomy["taxonomyID"]
    _check(numbers, numbers.str.fullmatch("[0-9]+"), name, "a taxonomy number")
    return taxonomy.astype({"taxonomyID": "int64"}).reset_index(drop=True)


def load_sequences() -> pd.DataFrame:
    """Read the proteins' sequences: columns EntryID, Sequence (clean) and Length (int64)."""
    path = ontology.dataset_file("train_sequences.fasta")
    records = pd.DataFrame(read_fasta(path), columns=["EntryID", "Sequence"], dtype="str")
    ids = records["EntryID"].set_axis(records.index + 1)
    _check(ids, ~ids.duplicated(), path.name, _UNIQUE, unit="record")
    return records.assign(Length=records["Sequence"].str.len().astype("int64"))


def get_go_term_descriptions(store_path: str | None = None) -> pd.DataFrame:
    """Return the names of the live GO terms: columns term and description, sorted by term.

    With `store_path`, the table is kept there and restored while the GO file stays the same.
    """
    go_file = ontology.dataset_file("go-basic.obo").read_bytes()
    return restorable(_go_term_descriptions)(go_file, store_path=store_path)


def name_terms(
    terms: pd.DataFrame, graph: nx.MultiDiGraph | None = None, verbose: bool = True
) -> pd.DataFrame:
    """Add each term's description, and drop the rows whose term the ontology does not have.

    Those are terms withdrawn since the annotation was made, or merged into others. An inner merge
    would drop them without a word; here a line says how many, and why. Rows keep their index.
    """
    graph = ontology.read_ontology() if graph is None else graph
    ids = terms["term"].unique()
    kinds = terms["term"].map(dict(zip(ids, ontology.resolve(ids, graph)[1], strict=True)))
    losses = []
    for kind, why in {
        "obsolete": "of terms that it calls obsolete",
        "merged": "under old ids of terms that it merged into others",
        "unknown": "of ids that it does not know",
    }.items():
        if len(lost := terms["term"][kinds == kind]):
            which = f"({lost.nunique():,} distinct, first {lost.iloc[0]})"
            losses.append(f"{len(lost):,} {why} {which}")
    named = terms[kinds == "live"]
    if verbose:
        print(
            f"GO {ontology.data_version(graph)}, {len(graph):,} terms: {len(named):,} of "
            f"{len(terms):,} rows named; dropped: {'; '.join(losses) or 'none'}"
        )
    names = dict(graph.nodes(data="name"))
    return named.assign(description=named["term"].map(names).astype("str"))


def function_table(
    aspect: str | None = "MFO",
    taxonomy_id: int | None = 9606,
    drop_terms: Collection[str] = NEAR_UNIVERSAL_TERMS,
    min_proteins: int = 50,
    max_length: int | None = 500,
    verbose: bool = True,
) -> pd.DataFrame:
    """Build the chapter's table: a row for each protein, a 0/1 column for each function.

    Columns are EntryID, Sequence, Length, then one of int8 per term; sorted by EntryID and term.
    With `verbose`, each step prints what it keeps, what it loses, and why.

    Parameters
    ----------
    aspect, taxonomy_id : {"BPO", "MFO", "CCO"}, int
        Which functions, and which species by NCBI's number; None for all.
    drop_terms : collection of str
        Terms that say too little to be worth predicting.
    min_proteins : int
        Keep the terms that at least so many of the species' proteins have, counted before
        `max_length`, as in the chapter, so that a column of the table can have fewer.
    max_length : int or None
        Keep the proteins of at most so many residues.
    """
    terms = load_terms(aspect)

    def keep(rows: pd.Series | None, step: str, why: str = "") -> None:
        nonlocal terms
        before, terms = len(terms), terms if rows is None else terms[rows]
        if terms.empty:
            raise ValueError(f"function_table(): '{step}' leaves none of {before:,} rows ({why}).")
        lost = f"; {before - len(terms):,} rows dropped: {why}" if before > len(terms) else ""
        if verbose:
            counts = f"{len(terms):,} rows, {terms['EntryID'].nunique():,} proteins"
            print(f"{step}: {counts}, {terms['term'].nunique():,} terms{lost}")

    def keep_known(proteins: pd.Series, step: str, file: str) -> None:
        unknown = terms["EntryID"][~terms["EntryID"].isin(proteins)]
        if len(unknown):
            which = f"{unknown.nunique():,} distinct, first {unknown.iloc[0]}"
            keep(terms["EntryID"].isin(proteins), step, f"of proteins that {file} lacks ({which})")

    keep(None, f"Annotation, {aspect or 'all aspects'}")
    terms = name_terms(terms, verbose=verbose)
    if taxonomy_id is not None:
        taxonomy = load_taxonomy()
        keep_known(taxonomy["EntryID"], "Species known", "train_taxonomy.tsv")
        of_species = taxonomy["EntryID"][taxonomy["taxonomyID"] == taxonomy_id]
        keep(terms["EntryID"].isin(of_species), f"Species {taxonomy_id}", "of other species")
    keep(~terms["term"].isin(drop_terms), "Informative terms", f"of {', '.join(drop_terms)}")
    counts = terms["term"].value_counts()
    frequent = terms["term"].isin(counts.index[counts >= min_proteins])
    keep(frequent, f"Terms of {min_proteins} or more proteins", "of rarer terms")
    sequences = load_sequences().set_index("EntryID")
    keep_known(sequences.index, "Sequence known", "train_sequences.fasta")

    wide = pd.crosstab(terms["EntryID"], terms["term"]).astype("int8").rename_axis(columns=None)
    table = sequences.loc[wide.index].join(wide).reset_index()
    if verbose:
        distinct = table["Sequence"].nunique()
        print(f"Table: {len(table):,} x {table.shape[1]:,}; {distinct:,} distinct sequences")
    if max_length is not None:
        before, table = len(table), table[table["Length"] <= max_length].reset_index(drop=True)
        kept = f"At most {max_length} residues: {len(table):,} proteins"
        if verbose:
            print(f"{kept}; {before - len(table):,} proteins dropped: longer ones")
        if table.empty:
            raise ValueError(f"function_table(): {kept}.")
    return table


def proteins_at(
    location: str, taxonomy_id: int = 9606, lengths: tuple = (100, 500), at_least: int = 1
) -> pd.DataFrame:
    """Return the proteins that are in one place of the cell and in no other (notebook 05).

    Of the aspect CCO, such a protein has the term `location`, such as ``"GO:0005576"``, and at
    most its ancestors besides; `lengths` are the fewest and the most residues. Columns EntryID,
    Sequence, Length, sorted by EntryID.
    """
    graph = ontology.read_ontology()
    general = ontology.ancestors(graph, location)
    [location] = ontology.resolve([location], graph)[0]
    if graph.nodes[location]["aspect"] != "CCO":
        name = graph.nodes[location]["name"]
        raise ValueError(f"proteins_at(): {location} is {name!r}, which is no place in the cell.")
    terms, taxonomy, found = load_terms("CCO"), load_taxonomy(), load_sequences()
    species = taxonomy["EntryID"][taxonomy["taxonomyID"] == taxonomy_id]
    terms = terms[terms["EntryID"].isin(species) & ~terms["term"].isin(general)]
    is_here = terms["term"] == location
    here, elsewhere = terms["EntryID"][is_here], terms["EntryID"][~is_here]
    only = here[~here.isin(elsewhere)]
    found = found[found["EntryID"].isin(only) & found["Length"].between(*lengths)]
    if len(found) < at_least:
        raise ValueError(
            f"proteins_at({location!r}): {len(here):,} proteins of species {taxonomy_id} have this "
            f"location, {len(only):,} no other, {len(found):,} of these have {lengths[0]} to "
            f"{lengths[1]} residues; {at_least} are needed. Choose a more general location."
        )
    return found.sort_values("EntryID", ignore_index=True)


def _read_table(name: str, columns: list[str]) -> tuple[pd.DataFrame, str]:
    """Read columns of a tab-separated file as text, indexed by line, and return the file's name."""
    path = ontology.dataset_file(name)
    with open_text(path) as file:
        text = file.read()
    first = text.split("\n", 1)[0].split("\t")
    headed = not {*columns}.isdisjoint(first)  # CAFA6's taxonomy has no header
    lacking = [column for column in columns if column not in first]
    if lacking and (headed or len(first) != len(columns)):
        there = f"its first line reads {', '.join(first)[:200]}; wanted are {', '.join(columns)}"
        raise ValueError(f"{path}: the table lacks the column {lacking[0]!r} ({there}, with tabs).")
    # No cell is special (a protein may be called NA) and no line skipped (so that rows are lines).
    table = pd.read_csv(
        io.StringIO(text), sep="\t", dtype="str", names=first if headed else columns,
        header=0 if headed else None, usecols=columns, index_col=False, quoting=csv.QUOTE_NONE,
        keep_default_na=False, skip_blank_lines=False,
    )[columns]  # fmt: skip
    if table.empty:
        raise ValueError(f"{path}: the file has a header and no rows.")
    table.index += 2 if headed else 1
    for column in columns:
        _check(table[column], table[column].fillna("") != "", path.name, f"a value of {column}")
    return table, path.name


def _check(cells: pd.Series, good: pd.Series, name: str, wanted: str, unit: str = "line") -> None:
    if not good.all():
        place = (~good).idxmax()
        raise ValueError(f"{name}, {unit} {place}: {cells[place]!r} where {wanted} should be.")


def _go_term_descriptions(go_file: bytes) -> pd.DataFrame:  # the argument is part of the key
    return ontology.descriptions(ontology.read_ontology())[["term", "description"]]
