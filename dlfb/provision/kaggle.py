"""CAFA competition files that a reader has already got from Kaggle.

Two layouts are in use. CAFA5: terms propagated, aspects BPO, MFO, CCO, IA.txt.
CAFA6: terms as annotated, aspects P, F, C, FASTA headers in UniProt's form, a
taxonomy without header, IA.tsv. They are told apart by what the files hold.
"""

import zipfile
from pathlib import Path

import pandas as pd

from dlfb.proteins.ontology import ASPECTS, data_version, propagate
from dlfb.proteins.sequences import read_fasta
from dlfb.provision.files import (
    DATASETS,
    GO_FILE,
    copy_text,
    open_text,
    place_ontology,
    unpack,
    write_cafa,
)
from dlfb.utils.download import digest_of

LICENCES = [
    "CAFA files: the rules of the Kaggle competition that they come from; annotations and "
    "sequences derive from UniProt and GOA (CC BY 4.0).",
    "Gene Ontology: CC BY 4.0, https://geneontology.org/docs/go-citation-policy/",
]
_ASPECT_OF_LETTER = {"P": "BPO", "F": "MFO", "C": "CCO"}
_ROOTS = {"BPO": "GO:0008150", "MFO": "GO:0003674", "CCO": "GO:0005575"}
_REQUIRED = ("train_terms.tsv", "train_sequences.fasta", "train_taxonomy.tsv", "go-basic.obo")
_ACCRETION = ("IA.tsv", "IA.txt")


def build(staging: Path, directory: Path) -> dict:
    """Import a folder (or the competition's zip); see :func:`dlfb.provision.provision`."""
    files = _find_files(Path(directory), staging / "raw")
    graph = place_ontology(files["go-basic.obo"], staging / GO_FILE)

    terms = read_terms(files["train_terms.tsv"])
    bare = _without_root(terms)
    if bare:
        print(f"Terms as annotated (CAFA6's layout; {bare:,} protein-aspect pairs lack the root).")
        terms = propagate(terms[["EntryID", "term"]], graph)
    else:
        print("Terms already propagated (CAFA5's layout): kept as they are.")
    sequences = dict(read_fasta(_plain(files["train_sequences.fasta"], staging)))
    taxonomy = read_taxonomy(files["train_taxonomy.tsv"])
    _say_missing("sequence", terms, sequences)
    _say_missing("taxon", terms, set(taxonomy["EntryID"]))
    names = [*write_cafa(staging, terms, sequences, taxonomy), GO_FILE]
    if "IA" in files:
        names.append(f"{DATASETS}/IA.tsv")
        copy_text(files["IA"], staging / names[-1])
    return {
        "versions": {"go": data_version(graph), "layout": "CAFA6" if bare else "CAFA5"},
        "licences": LICENCES,
        "names": names,
        "origins": {},
        "inputs": {name: digest_of(path) for name, path in sorted(files.items())},
    }


def read_terms(path: Path) -> pd.DataFrame:
    """Read train_terms.tsv of either layout, with aspects BPO, MFO, CCO.

    Raises
    ------
    ValueError
        If a column is missing, or an id, term or aspect is not one; the message gives the row.
    """
    terms = _read_table(path, ["EntryID", "term", "aspect"])
    terms["aspect"] = terms["aspect"].replace(_ASPECT_OF_LETTER)
    _check(path, terms, "EntryID", terms["EntryID"].notna(), "a protein's id")
    _check(path, terms, "term", terms["term"].str.fullmatch(r"GO:\d{7}") == True, "a GO id")  # noqa: E712
    _check(path, terms, "aspect", terms["aspect"].isin(list(ASPECTS)), "BPO, MFO, CCO, P, F or C")
    return terms


def read_taxonomy(path: Path) -> pd.DataFrame:
    """Read train_taxonomy.tsv, with or without header; raise ValueError as `read_terms` does."""
    taxonomy = _read_table(path, ["EntryID", "taxonomyID"])
    numeric = taxonomy["taxonomyID"].str.fullmatch(r"\d+") == True  # noqa: E712
    _check(path, taxonomy, "taxonomyID", numeric, "a number of NCBI's taxonomy")
    _check(path, taxonomy, "EntryID", ~taxonomy["EntryID"].duplicated(), "an id not seen before")
    return taxonomy


def _read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    with open_text(path) as lines:
        first = lines.readline().rstrip("\r\n").split("\t")
    headed = "EntryID" in first
    missing = [name for name in columns if headed and name not in first]
    if missing or (not headed and len(first) != len(columns)):
        raise ValueError(
            f"{path}: a table with the columns {', '.join(columns)} was expected, separated by "
            f"tabs; its first line reads {' '.join(first)[:80]!r}."
        )
    with open_text(path) as lines:
        table = pd.read_csv(
            lines, sep="\t", dtype=str, header=0 if headed else None,
            names=None if headed else columns, keep_default_na=False, na_values=[""],
        )  # fmt: skip
    if table.empty:
        raise ValueError(f"{path} holds no rows.")
    table.attrs["first_row"] = 2 if headed else 1
    return table[columns].copy()


def _check(path: Path, table: pd.DataFrame, column: str, good: pd.Series, what: str) -> None:
    if not good.all():
        row = int((~good).to_numpy().argmax())
        raise ValueError(
            f"{path}, line {row + table.attrs.get('first_row', 2)}: {column} is "
            f"{table[column].iloc[row]!r}, which is not {what}. Is the file complete?"
        )


def _without_root(terms: pd.DataFrame) -> int:
    """Count the pairs of protein and aspect that lack the aspect's root: none once propagated."""
    pairs = len(terms[["EntryID", "aspect"]].drop_duplicates())
    rooted = terms[terms["term"] == terms["aspect"].map(_ROOTS)]
    return pairs - len(rooted[["EntryID", "aspect"]].drop_duplicates())


def _say_missing(what: str, terms: pd.DataFrame, known) -> None:
    lacking = sorted(set(terms["EntryID"].unique()).difference(known))
    if lacking and len(lacking) == terms["EntryID"].nunique():
        raise ValueError(
            f"No annotated protein has a {what}: the ids in train_terms.tsv look like "
            f"{lacking[0]!r}, those of the other file do not. Are they of the same competition?"
        )
    if lacking:
        print(f"{len(lacking):,} annotated proteins have no {what}, such as {lacking[0]}.")


def _find_files(directory: Path, scratch: Path) -> dict[str, Path]:
    """Return {name: path} of the competition's files, unpacked from its zip if need be."""
    if not directory.exists():
        raise FileNotFoundError(f"--source kaggle: there is no folder {directory}.")
    names = [*_REQUIRED, *_ACCRETION]
    found = {} if directory.is_file() else _among(names, directory)
    if not set(_REQUIRED) <= set(found):
        for archive in [directory] if directory.is_file() else sorted(directory.glob("*.zip")):
            if archive.name.removesuffix(".zip") not in names:  # a zip of one file is read as it is
                unpack(archive, scratch / archive.stem, names)
                found = {**_among(names, scratch / archive.stem), **found}
    missing = [name for name in _REQUIRED if name not in found]
    if missing:
        raise FileNotFoundError(
            f"--source kaggle: {directory} lacks {', '.join(missing)}. Download all of the "
            "competition's data (its Data page, 'Download All') and name that folder or zip."
        )
    accretion = next((found.pop(name) for name in _ACCRETION if name in found), None)
    files = {name: found[name] for name in _REQUIRED}
    return files if accretion is None else {**files, "IA": accretion}


def _among(names: list[str], folder: Path) -> dict[str, Path]:
    """Return where the names lie in a folder and those in it, the shortest path of each."""
    hits = {name: [h for end in ("", ".zip", ".gz") for h in folder.rglob(name + end)]
            for name in names}  # fmt: skip
    return {
        name: min((p for p in paths if p.is_file()), key=lambda p: (len(p.parts), p))
        for name, paths in hits.items()
        if any(p.is_file() for p in paths)
    }


def _plain(path: Path, staging: Path) -> Path:
    """Return a copy that `read_fasta` can read of a file that came zipped."""
    if not zipfile.is_zipfile(path):
        return path
    copy_text(path, staging / "raw" / "sequences.fasta")
    return staging / "raw" / "sequences.fasta"
