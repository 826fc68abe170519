"""Make a folder in CAFA's layout from UniProt, GOA and GO, for today's release or other species.

    python tools/uniprot_dataset.py DIR --taxa 9606 10090
    python tools/uniprot_dataset.py DIR --taxa 9031 --annotations goa_chicken.gaf.gz

Then set DLFB_ASSETS=DIR. `--sequences`, `--annotations` and `--ontology` take files or addresses in
place of the usual ones. As CAFA builds its training set, only annotations that somebody saw
evidence for are kept: see Zhou et al. 2019, Genome Biology 20:244, and
https://geneontology.org/docs/guide-go-evidence-codes/.
"""

import argparse
import re
import shutil
import sys
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pooch

from dlfb.proteins.ontology import propagate, read_ontology
from dlfb.proteins.sequences import open_text, read_fasta
from dlfb.proteins.thresholds import information_accretion

#: Seen in an experiment, one by one or in great numbers, told by an author, or curated.
EVIDENCE = {
    "EXP",
    "IDA",
    "IPI",
    "IMP",
    "IGI",
    "IEP",
    "HTP",
    "HDA",
    "HMP",
    "HGI",
    "HEP",
    "TAS",
    "IC",
}
#: Where GOA has the annotation of a taxon. Yeast is filed under its strain S288c.
GOA = {9606: "HUMAN/goa_human", 10090: "MOUSE/goa_mouse", 10116: "RAT/goa_rat",
       559292: "YEAST/goa_yeast", 7227: "FLY/goa_fly", 6239: "WORM/goa_worm",
       7955: "ZEBRAFISH/goa_zebrafish", 3702: "ARABIDOPSIS/goa_arabidopsis",
       9031: "CHICKEN/goa_chicken"}  # fmt: skip
ANNOTATIONS = "https://ftp.ebi.ac.uk/pub/databases/GO/goa/{}.gaf.gz"
SEQUENCES = "https://rest.uniprot.org/uniprotkb/stream?format=fasta&compressed=true&query={}"
ONTOLOGY = "https://purl.obolibrary.org/obo/go/go-basic.obo"


def make_dataset(
    destination: Path,
    taxa: Sequence[int] = (9606,),
    sequences: Sequence[str] = (),
    annotations: Sequence[str] = (),
    ontology: str = ONTOLOGY,
) -> Path:
    """Write ``proteins/datasets/...`` under `destination`, and return that folder."""
    unknown = [taxon for taxon in taxa if taxon not in GOA]
    if unknown and not annotations:
        raise ValueError(
            f"For taxon {unknown[0]} no GOA file is known here. Look it up under "
            f"{ANNOTATIONS.partition('{')[0]}, and name it with --annotations."
        )
    annotations = annotations or [ANNOTATIONS.format(GOA[taxon]) for taxon in taxa]
    queries = [quote(f"(organism_id:{taxon})") for taxon in taxa]
    sequences = sequences or [SEQUENCES.format(query) for query in queries]
    folder = Path(destination) / "proteins/datasets"
    folder.mkdir(parents=True, exist_ok=True)
    with open_text(_local(ontology, folder)) as text:
        (folder / "go-basic.obo").write_text(text.read(), encoding="utf-8")
    graph = read_ontology(folder / "go-basic.obo")
    annotated = read_annotations([_local(place, folder) for place in annotations], taxa)
    terms = propagate(annotated, graph)
    if terms.empty:
        raise ValueError(f"None of the {len(annotated):,} annotations has a term of {ontology}.")
    wanted, letters = set(terms["EntryID"]), {}
    for place in sequences:
        for name, sequence in read_fasta(_local(place, folder), on_error="skip"):
            if name in wanted and letters.setdefault(name, sequence) != sequence:
                raise ValueError(f"{place}: another sequence of {name} was read before.")
    if not letters:
        raise ValueError(
            f"None of the {len(wanted):,} annotated proteins is in "
            f"{', '.join(map(str, sequences))}. Are they of the same taxa?"
        )
    if lost := len(wanted) - len(letters):
        print(f"{lost:,} annotated proteins left out: the sequence files lack them.")
    terms = terms[terms["EntryID"].isin(letters)].reset_index(drop=True)
    taxonomy = annotated[["EntryID", "taxonomyID"]].drop_duplicates("EntryID")
    taxonomy = taxonomy[taxonomy["EntryID"].isin(letters)].sort_values("EntryID")
    _write_table(terms, folder / "train_terms.tsv.zip")
    _write_table(taxonomy, folder / "train_taxonomy.tsv.zip")
    records = "".join(f">{name}\n{letters[name]}\n" for name in sorted(letters))
    (folder / "train_sequences.fasta").write_text(records)
    accretion = information_accretion(terms, graph)
    accretion.to_csv(folder / "IA.tsv", sep="\t", header=False)
    print(f"{len(terms):,} rows of terms, {len(letters):,} proteins, {len(taxa)} taxa in {folder}.")
    shutil.rmtree(folder / ".fetched", ignore_errors=True)
    return folder


def read_annotations(paths: Sequence[Path], taxa: Sequence[int]) -> pd.DataFrame:
    """Read GAF files (2.1 or 2.2), and keep what CAFA keeps.

    Returns
    -------
    DataFrame
        Columns EntryID, term, taxonomyID; each pair of protein and term once.

    Raises
    ------
    ValueError
        If a file is not GAF or damaged, or nothing is left: the message says why rows went.
    """
    taxon_of = {f"taxon:{taxon}": str(taxon) for taxon in taxa}
    rows, reasons = {}, Counter()
    for path in paths:
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
                taxon = fields[12].partition("|")[0]
                if fields[0] != "UniProtKB":
                    reasons[f"of the database {fields[0]}, not UniProtKB"] += 1
                elif taxon not in taxon_of:
                    reasons[f"of {taxon or 'no taxon'}"] += 1
                elif not (fields[1] and fields[4]):
                    reasons["without a protein or a term"] += 1
                elif fields[6] not in EVIDENCE:
                    reasons["neither experimental nor curated"] += 1
                elif "NOT" in fields[3].split("|"):
                    reasons["negative (NOT)"] += 1
                else:
                    # A form of a protein (P12345-2, P12345:PRO_1) counts as the protein.
                    entry = re.split("[-:]", fields[1], maxsplit=1)[0]
                    rows[entry, fields[4]] = taxon_of[taxon]
    why = "; ".join(f"{count:,} {reason}" for reason, count in reasons.most_common(5))
    if not rows:
        names = ", ".join(path.name for path in paths)
        raise ValueError(
            f"No annotation of {', '.join(taxon_of)} with an id of UniProtKB is left in {names}: "
            f"{why or 'there is none'}. GOA's files have UniProt's ids; a species is filed under "
            "the number that UniProt gives it (baker's yeast: 559292)."
        )
    print(f"{len(rows):,} annotations kept; left out: {why or 'none'}.")
    table = pd.DataFrame(list(rows), columns=["EntryID", "term"])
    return table.assign(taxonomyID=list(rows.values()))


def _local(place: str | Path, folder: Path) -> Path:
    """Return a file, which is fetched first if its address is given."""
    if not re.match("https?://", str(place)):
        return Path(place)
    name = re.sub(r"\W+", "-", str(place))[-80:]
    fetcher = pooch.create(folder / ".fetched", "", registry={name: None}, urls={name: str(place)},
                           retry_if_failed=3)  # fmt: skip
    try:
        return Path(fetcher.fetch(name, downloader=pooch.HTTPDownloader(timeout=(10, 60))))
    except (OSError, ValueError) as error:  # the errors of requests are OSErrors
        raise OSError(f"{place} can't be had: {error}. Name a file of your own instead.") from error


def _write_table(table: pd.DataFrame, path: Path) -> None:
    """Write TSV alone in a zip: without a clock in it, the same table gives the same bytes."""
    member = zipfile.ZipInfo(path.name.removesuffix(".zip"))
    member.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, table.to_csv(sep="\t", index=False, lineterminator="\n"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("destination", type=Path)
    parser.add_argument("--taxa", nargs="+", type=int, default=[9606], help="NCBI's numbers")
    parser.add_argument("--sequences", nargs="+", default=[], metavar="FASTA")
    parser.add_argument("--annotations", nargs="+", default=[], metavar="GAF")
    parser.add_argument("--ontology", default=ONTOLOGY, metavar="OBO")
    try:
        make_dataset(**vars(parser.parse_args(arguments)))
    except (ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
