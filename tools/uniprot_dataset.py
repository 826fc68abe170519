r"""Make a folder in CAFA's layout from UniProt, GOA and GO, for today's release or other species.

    curl -O https://ftp.ebi.ac.uk/pub/databases/GO/goa/MOUSE/goa_mouse.gaf.gz
    curl -Go mouse.fasta.gz https://rest.uniprot.org/uniprotkb/stream -d format=fasta \
        -d compressed=true -d query=organism_id:10090
    curl -LO https://purl.obolibrary.org/obo/go/go-basic.obo
    python tools/uniprot_dataset.py DIR --taxa 10090 --sequences mouse.fasta.gz \
        --annotations goa_mouse.gaf.gz --ontology go-basic.obo

Then set DLFB_ASSETS=DIR. As CAFA builds its training set, only annotations that somebody saw
evidence for are kept: see Zhou et al. 2019, Genome Biology 20:244, and
https://geneontology.org/docs/guide-go-evidence-codes/.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from dlfb.proteins.ontology import propagate, read_ontology
from dlfb.proteins.sequences import open_text, read_fasta
from dlfb.proteins.thresholds import information_accretion
from tools.build_human_data import EXPERIMENTAL, write_table

# The columns of GAF that count, by their place.
GAF = {0: "database", 1: "EntryID", 3: "relation", 4: "term", 6: "evidence", 12: "taxonomyID"}


def make_dataset(
    destination: Path,
    taxa: Sequence[int],
    sequences: Sequence[Path],
    annotations: Sequence[Path],
    ontology: Path,
) -> Path:
    """Write ``proteins/datasets/...`` under `destination`, and return that folder."""
    folder = Path(destination) / "proteins/datasets"
    folder.mkdir(parents=True, exist_ok=True)
    with open_text(ontology) as text:
        (folder / "go-basic.obo").write_text(text.read(), encoding="utf-8")
    graph = read_ontology(folder / "go-basic.obo")
    annotated = read_annotations(annotations, taxa)
    terms = propagate(annotated, graph)
    if terms.empty:
        raise ValueError(f"None of the {len(annotated):,} annotations has a term of {ontology}.")
    letters = read_wanted(sequences, set(terms["EntryID"]))
    terms = terms[terms["EntryID"].isin(letters)].reset_index(drop=True)
    taxonomy = annotated[["EntryID", "taxonomyID"]].drop_duplicates("EntryID")
    taxonomy = taxonomy[taxonomy["EntryID"].isin(letters)].sort_values("EntryID")
    write_table(folder / "train_terms.tsv.zip", terms)
    write_table(folder / "train_taxonomy.tsv.zip", taxonomy)
    records = "".join(f">{name}\n{letters[name]}\n" for name in sorted(letters))
    (folder / "train_sequences.fasta").write_text(records)
    accretion = information_accretion(terms, graph)
    accretion.to_csv(folder / "IA.tsv", sep="\t", header=False)
    print(f"{len(terms):,} rows of terms, {len(letters):,} proteins, {len(taxa)} taxa in {folder}.")
    return folder


def read_wanted(paths: Sequence[Path], wanted: set[str]) -> dict[str, str]:
    """Return the sequence of each wanted protein that the files have."""
    letters: dict[str, str] = {}
    for path in paths:
        for name, sequence in read_fasta(path, on_error="skip"):
            if name in wanted and letters.setdefault(name, sequence) != sequence:
                raise ValueError(f"{path}: another sequence of {name} was read before.")
    if not letters:
        raise ValueError(
            f"None of the {len(wanted):,} annotated proteins is in "
            f"{', '.join(map(str, paths))}. Are they of the same taxa?"
        )
    if lost := len(wanted) - len(letters):
        print(f"{lost:,} annotated proteins left out: the sequence files lack them.")
    return letters


def read_annotations(paths: Sequence[Path], taxa: Sequence[int]) -> pd.DataFrame:
    """Return what CAFA keeps of GAF files (2.1 or 2.2): columns EntryID, term, taxonomyID.

    Each pair of protein and term is there once. What is no GAF, and files of which nothing is left,
    are a ValueError, which says why rows went.
    """
    rows = pd.DataFrame([row for path in paths for row in _gaf_rows(path)], columns=[*GAF.values()])
    rows["taxonomyID"] = rows["taxonomyID"].str.partition("|")[0]
    known = {f"taxon:{taxon}": str(taxon) for taxon in taxa}
    checks = {
        "of another database than UniProtKB": rows["database"] == "UniProtKB",
        "of another taxon": rows["taxonomyID"].isin(known.keys()),
        "without a protein or a term": (rows["EntryID"] != "") & (rows["term"] != ""),
        "neither experimental nor curated": rows["evidence"].isin(EXPERIMENTAL),
        "negative (NOT)": ~rows["relation"].str.split("|").map(lambda words: "NOT" in words),
    }
    left, reasons = pd.Series(True, rows.index), []
    for reason, passes in checks.items():
        if count := (left & ~passes).sum():
            reasons.append(f"{count:,} {reason}")
        left &= passes
    why = "; ".join(reasons) or "none"
    if not left.any():
        names = ", ".join(path.name for path in paths)
        raise ValueError(
            f"No annotation of {', '.join(known)} with an id of UniProtKB is left in {names}; "
            f"left out: {why}. GOA's files have UniProt's ids; a species is filed under "
            "the number that UniProt gives it (baker's yeast: 559292)."
        )
    # A form of a protein (P12345-2, P12345:PRO_1) counts as the protein.
    table = rows.loc[left, ["EntryID", "term", "taxonomyID"]].replace({"taxonomyID": known})
    table["EntryID"] = table["EntryID"].str.replace("[-:].*", "", regex=True)
    table = table.drop_duplicates(["EntryID", "term"], ignore_index=True)
    print(f"{len(table):,} annotations kept; left out: {why}.")
    return table


def _gaf_rows(path: Path) -> list[list[str]]:
    """Return the columns of GAF of each annotation in a file."""
    rows = []
    with open_text(path) as lines:
        first = lines.readline()
        if not re.match(r"!\s*gaf-version:\s*2\.", first):
            raise ValueError(
                f"{path.name}, line 1: a GAF file begins with '!gaf-version: 2.2', but this "
                f"reads {first.strip()[:60]!r}. Is it another kind of file?"
            )
        for number, line in enumerate(lines, start=2):
            if line.startswith("!") or not line.strip():
                continue
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) < 15:
                raise ValueError(
                    f"{path.name}, line {number}: {len(fields)} fields where GAF has 17. The "
                    "file is damaged or of another format; get it again."
                )
            rows.append([fields[place] for place in GAF])
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("destination", type=Path)
    parser.add_argument("--taxa", nargs="+", type=int, required=True, help="NCBI's numbers")
    for name, kind in (("--sequences", "FASTA"), ("--annotations", "GAF")):
        parser.add_argument(name, nargs="+", type=Path, required=True, metavar=kind)
    parser.add_argument("--ontology", type=Path, required=True, metavar="OBO")
    try:
        make_dataset(**vars(parser.parse_args(arguments)))
    except (ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
