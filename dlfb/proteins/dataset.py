"""From raw annotation, in the layout of the CAFA competitions, to a table (notebook 06)."""

import csv
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
from dlfb.utils.checks import check_table
from dlfb.utils.restore import restorable

#: molecular_function (the root), binding, protein binding: true of most proteins.
NEAR_UNIVERSAL_TERMS = ("GO:0003674", "GO:0005488", "GO:0005515")
_CAFA6_ASPECTS = ["P", "F", "C"]
_HUMAN = 9606


def load_terms(aspect: str | None = None) -> pd.DataFrame:
    """Read which protein has which GO term: columns EntryID, term, aspect (BPO, MFO, CCO).

    In CAFA6's layout, with the aspects P, F and C, terms come without their ancestors. These are
    added, and a line says so.
    """
    aspects = list(ontology.ASPECTS)
    if aspect not in (None, *aspects):
        raise ValueError(f"There is no aspect {aspect!r}; choose one of {', '.join(aspects)}.")
    terms = _read_table("train_terms.tsv.zip", ["EntryID", "term", "aspect"])
    _check(terms["term"], terms["term"].str.startswith("GO:"), "a GO id")
    as_annotated = terms["aspect"].iloc[0] in _CAFA6_ASPECTS
    known = _CAFA6_ASPECTS if as_annotated else aspects
    _check(terms["aspect"], terms["aspect"].isin(known), f"one of {', '.join(known)}")
    repeated = terms.duplicated(["EntryID", "term"])
    if repeated.any():
        first = f"{terms.index.name} {repeated.idxmax()}"
        print(f"{repeated.sum():,} rows dropped: they repeat an earlier row, first in {first}.")
        terms = terms[~repeated]
    if as_annotated:
        print(f"Annotation: {len(terms):,} rows; the terms' ancestors are added.")
        terms = ontology.propagate(terms)
    kept = terms if aspect is None else terms[terms["aspect"] == aspect]
    return kept.reset_index(drop=True)


def load_taxonomy() -> pd.DataFrame:
    """Read each protein's species: columns EntryID and taxonomyID (NCBI's number, int64)."""
    taxonomy = _read_table("train_taxonomy.tsv.zip", ["EntryID", "taxonomyID"])
    _check_unique(taxonomy["EntryID"])
    numbers = taxonomy["taxonomyID"]
    _check(numbers, numbers.str.fullmatch("[0-9]+"), "a taxonomy number")
    return taxonomy.astype({"taxonomyID": "int64"}).reset_index(drop=True)


def load_sequences() -> pd.DataFrame:
    """Read the proteins' sequences: columns EntryID, Sequence (clean) and Length (int64)."""
    path = ontology.dataset_file("train_sequences.fasta")
    records = pd.DataFrame(read_fasta(path), columns=["EntryID", "Sequence"], dtype="str")
    number = pd.RangeIndex(1, len(records) + 1, name=f"{path.name}, record")
    _check_unique(records["EntryID"].set_axis(number))
    return records.assign(Length=records["Sequence"].str.len().astype("int64"))


def get_go_term_descriptions(store_path: str | None = None) -> pd.DataFrame:
    """Return the names of the live GO terms: columns term and description, sorted by term."""
    go_file = ontology.dataset_file("go-basic.obo").read_bytes()
    return restorable(_go_term_descriptions)(go_file, store_path=store_path)


def _go_term_descriptions(go_file: bytes) -> pd.DataFrame:  # the argument is part of the key
    names = ontology.read_ontology().nodes(data="name")
    return pd.DataFrame(sorted(names), columns=["term", "description"])


def name_terms(
    terms: pd.DataFrame, graph: nx.MultiDiGraph | None = None, say=print
) -> pd.DataFrame:
    """Add each term's description; rows whose term the ontology lacks are dropped.

    A line says how many, and why: terms are withdrawn or merged after the annotation is made.
    """
    check_table(terms, ["term"], "name_terms()")
    graph = ontology.read_ontology() if graph is None else graph
    names = dict(graph.nodes(data="name"))
    named = terms[terms["term"].isin(list(names))]
    lost = "; ".join(ontology.outdated(terms["term"], graph)) or "none"
    release = f"GO {graph.graph['data-version']}, {len(graph):,} terms"
    say(f"{release}: {len(named):,} of {len(terms):,} rows named; dropped: {lost}")
    return named.assign(description=named["term"].map(names).astype("str"))


def function_table(
    aspect: str | None = "MFO",
    taxonomy_id: int | None = _HUMAN,
    drop_terms: Collection[str] = NEAR_UNIVERSAL_TERMS,
    min_proteins: int = 50,
    max_length: int | None = 500,
    verbose: bool = True,
) -> pd.DataFrame:
    """Build the chapter's table: a row for each protein, a 0/1 column for each function.

    Columns are EntryID, Sequence, Length, and an int8 one per term; sorted by EntryID and term.
    `aspect` and `taxonomy_id` (NCBI's number of a species) may be None for all. Kept are terms of
    at least `min_proteins` proteins, and then proteins of at most `max_length` residues. So a
    column can have fewer proteins, as in the chapter.
    """
    say = print if verbose else lambda line: None
    terms = load_terms(aspect)
    terms = _keep(terms, terms["term"].notna(), f"Annotation, {aspect or 'all aspects'}", "", say)
    terms = name_terms(terms, say=say)
    if taxonomy_id is not None:
        taxonomy = load_taxonomy()
        terms = _keep_known(terms, taxonomy["EntryID"], "Species", "train_taxonomy.tsv", say)
        of_species = taxonomy["EntryID"][taxonomy["taxonomyID"] == taxonomy_id]
        here = terms["EntryID"].isin(of_species)
        terms = _keep(terms, here, f"Species {taxonomy_id}", "of other species", say)
    informative = ~terms["term"].isin(drop_terms)
    terms = _keep(terms, informative, "Informative terms", f"of {', '.join(drop_terms)}", say)
    frequent = terms["term"].map(terms["term"].value_counts()) >= min_proteins
    step = f"Terms of {min_proteins} or more proteins"
    terms = _keep(terms, frequent, step, "of rarer terms", say)
    sequences = load_sequences().set_index("EntryID")
    terms = _keep_known(terms, sequences.index, "Sequence", "train_sequences.fasta", say)

    wide = pd.crosstab(terms["EntryID"], terms["term"]).astype("int8").rename_axis(columns=None)
    table = sequences.loc[wide.index].join(wide).reset_index()
    distinct = table["Sequence"].nunique()
    say(f"Table: {len(table):,} x {table.shape[1]:,}; {distinct:,} distinct sequences")
    if max_length is not None:
        before, table = len(table), table[table["Length"] <= max_length].reset_index(drop=True)
        kept = f"At most {max_length} residues: {len(table):,} proteins"
        say(f"{kept}; {before - len(table):,} proteins dropped: longer ones")
        if table.empty:
            raise ValueError(f"function_table(): {kept}.")
    return table


def proteins_at(location: str, at_least: int = 1) -> pd.DataFrame:
    """Return the human proteins that are in one place of the cell and in no other (notebook 05).

    Their only CCO terms are `location`, such as ``"GO:0005576"``, and its ancestors, and they have
    100 to 500 residues. Columns are EntryID, Sequence and Length.
    """
    graph = ontology.read_ontology()
    general = ontology.ancestors(graph, location)
    location = graph.graph["alt_ids"].get(location, location)
    terms, taxonomy, found = load_terms("CCO"), load_taxonomy(), load_sequences()
    human = taxonomy["EntryID"][taxonomy["taxonomyID"] == _HUMAN]
    terms = terms[terms["EntryID"].isin(human) & ~terms["term"].isin(general)]
    is_here = terms["term"] == location
    here, elsewhere = terms["EntryID"][is_here], terms["EntryID"][~is_here]
    only = here[~here.isin(elsewhere)]
    found = found[found["EntryID"].isin(only) & found["Length"].between(100, 500)]
    if len(found) < at_least:
        raise ValueError(
            f"proteins_at({location!r}): {len(here):,} proteins of species {_HUMAN} have this "
            f"location, {len(only):,} no other, {len(found):,} of these have 100 to 500 residues; "
            f"{at_least} are needed. Choose a more general location."
        )
    return found.sort_values("EntryID", ignore_index=True)


def _read_table(name: str, columns: list[str]) -> pd.DataFrame:
    """Read columns of a tab-separated file as text. The index has the lines; its name, the file."""
    path = ontology.dataset_file(name)
    with open_text(path) as file:
        first = file.readline().rstrip("\n").split("\t")
        lacking = [column for column in columns if column not in first]
        headed = len(lacking) < len(columns)
        if lacking and (headed or len(first) != len(columns)):  # CAFA6's taxonomy has no header
            raise ValueError(
                f"{path}: the table lacks the column {lacking[0]!r}. It should have "
                f"{', '.join(columns)}, with tabs, but begins {', '.join(first)[:200]!r}."
            )
        file.seek(0)
        # No cell is special (a protein may be called NA), and rows are lines: none is skipped.
        table = pd.read_csv(
            file, sep="\t", dtype="str", names=first if headed else columns,
            header=0 if headed else None, usecols=columns, index_col=False,
            quoting=csv.QUOTE_NONE, keep_default_na=False, skip_blank_lines=False,
        )[columns]  # fmt: skip
    if table.empty:
        raise ValueError(f"{path}: the file has a header and no rows.")
    table.index = (table.index + (2 if headed else 1)).rename(f"{path.name}, line")
    for column in columns:
        _check(table[column], table[column].fillna("") != "", f"a value of {column}")
    return table


def _check(cells: pd.Series, good: pd.Series, wanted: str) -> None:
    if not good.all():
        place = (~good).idxmax()
        where = f"{cells.index.name} {place}"
        raise ValueError(f"{where}: {cells[place]!r} where {wanted} should be.")


def _check_unique(ids: pd.Series) -> None:
    _check(ids, ~ids.duplicated(), "a protein that was not named before")


def _keep_known(terms: pd.DataFrame, proteins, what: str, file: str, say) -> pd.DataFrame:
    known = terms["EntryID"].isin(proteins)
    if known.all():
        return terms  # without a word
    why = f"of proteins that {file} lacks, first {terms['EntryID'][~known].iloc[0]}"
    return _keep(terms, known, f"{what} known", why, say)


def _keep(terms: pd.DataFrame, rows: pd.Series, step: str, why: str, say) -> pd.DataFrame:
    """Return some rows of an annotation, and say how many are left, how many not, and why."""
    kept, lost = terms[rows], len(terms) - rows.sum()
    if kept.empty:
        raise ValueError(f"function_table(): '{step}' leaves none of {lost:,} rows ({why}).")
    proteins, functions = kept["EntryID"].nunique(), kept["term"].nunique()
    counts = f"{len(kept):,} rows, {proteins:,} proteins, {functions:,} terms"
    say(f"{step}: {counts}" + (f"; {lost:,} rows dropped: {why}" if lost else ""))
    return kept
