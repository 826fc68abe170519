"""The CAFA files built from UniProt, GOA and the Gene Ontology.

As CAFA builds its training set, only annotations that somebody saw evidence
for are kept: experimental ones (EXP IDA IPI IMP IGI IEP), their high-throughput
kin (HTP HDA HMP HGI HEP), traceable author statements (TAS) and inferences by
a curator (IC). See Zhou et al. 2019, Genome Biology 20:244 (CAFA3), the data
page of the CAFA5 competition, and
https://geneontology.org/docs/guide-go-evidence-codes/.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from dlfb.proteins.information import ACCRETION_FILE, information_accretion
from dlfb.proteins.ontology import data_version, propagate
from dlfb.proteins.sequences import read_fasta
from dlfb.provision.files import (
    DATASETS,
    GO_FILE,
    fetch_inputs,
    ontology_wanted,
    open_text,
    place_ontology,
    reading,
    write_cafa,
)
from dlfb.utils.download import Downloaded, Wanted, digest_of, size_of

LICENCES = [
    "UniProt: CC BY 4.0, https://www.uniprot.org/help/license",
    "GOA: CC BY 4.0, https://www.ebi.ac.uk/GOA/",
    "Gene Ontology: CC BY 4.0, https://geneontology.org/docs/go-citation-policy/",
]
EVIDENCE = frozenset(
    ["EXP", "IDA", "IPI", "IMP", "IGI", "IEP", "HTP", "HDA", "HMP", "HGI", "HEP", "TAS", "IC"]
)
#: Human, mouse, baker's yeast (strain S288c, to which UniProt's yeast proteins belong).
TAXA = (9606, 10090, 559292)
#: Taxon: the folder and name of GOA's file of the species, and UniProt's reference proteome.
SPECIES = {
    9606: ("HUMAN", "human", "UP000005640"),
    10090: ("MOUSE", "mouse", "UP000000589"),
    10116: ("RAT", "rat", "UP000002494"),
    559292: ("YEAST", "yeast", "UP000002311"),
    7227: ("FLY", "fly", "UP000000803"),
    6239: ("WORM", "worm", "UP000001940"),
    7955: ("ZEBRAFISH", "zebrafish", "UP000000437"),
    3702: ("ARABIDOPSIS", "arabidopsis", "UP000006548"),
}
_GOA = "/pub/databases/GO/goa"
_PROTEOMES = "/pub/databases/uniprot/current_release/knowledgebase/reference_proteomes/Eukaryota"


def build(
    staging: Path,
    hosts: dict[str, str],
    *,
    taxa: Sequence[int] = TAXA,
    go_release: str | None = None,
    sequences: Sequence[str] = (),
    annotations: Sequence[str] = (),
    ontology: str | None = None,
) -> dict:
    """Build the files for some taxa in `staging`; see :func:`dlfb.provision.provision`.

    `sequences`, `annotations` and `ontology` are files, or their addresses, to
    be used in place of those of the usual hosts.
    """
    raw = staging / "raw"
    taxa = list(dict.fromkeys(taxa))
    if not taxa:
        raise ValueError("--taxa: name at least one taxon of NCBI's taxonomy, such as 9606.")
    wanted = {
        "go": _given([ontology] if ontology else [], raw, "go")
        or [ontology_wanted(raw / "go.obo", hosts, go_release)],
        "gaf": _given(annotations, raw, "gaf") or _annotations_of(taxa, raw, hosts),
        "fasta": _given(sequences, raw, "fasta") or [_sequences_of(t, raw, hosts) for t in taxa],
    }
    fetched = iter(fetch_inputs([w for group in wanted.values() for w in group if w.url]))
    got = {
        kind: [next(fetched) if w.url else _local(w.path) for w in group]
        for kind, group in wanted.items()
    }
    graph = place_ontology(got["go"][0].path, staging / GO_FILE)

    annotated, headers = read_annotations([g.path for g in got["gaf"]], taxa)
    terms = propagate(annotated[["EntryID", "term"]], graph)
    proteins = set(terms["EntryID"].unique())
    known = {}
    for file in got["fasta"]:
        with reading(file.path):
            known.update((e, letters) for e, letters in read_fasta(file.path) if e in proteins)
    if not known:
        raise ValueError(
            f"None of the {len(proteins):,} annotated proteins is in the sequence files "
            f"({', '.join(g.path.name for g in got['fasta'])}). Are they of the same taxa?"
        )
    if lost := len(proteins) - len(known):
        print(f"{lost:,} annotated proteins left out: the sequence files lack them.")
    terms = terms[terms["EntryID"].isin(known)].reset_index(drop=True)
    taxonomy = annotated[["EntryID", "taxonomyID"]].drop_duplicates("EntryID")
    taxonomy = taxonomy[taxonomy["EntryID"].isin(known)].sort_values("EntryID")
    names = [*write_cafa(staging, terms, known, taxonomy), GO_FILE, f"{DATASETS}/{ACCRETION_FILE}"]
    information_accretion(terms, graph).to_csv(staging / names[-1], sep="\t", header=False)

    release = {g.headers.get("x-uniprot-release") for g in got["fasta"]} - {None}
    versions = {"uniprot": " ".join(sorted(release)) or "not told", "go": data_version(graph)}
    inputs = {f"{kind} {g.url}": g.sha256 for kind, group in got.items() for g in group}
    return {
        "versions": {**versions, "goa": headers},
        "licences": LICENCES,
        "names": names,
        "origins": {GO_FILE: got["go"][0].url},
        "inputs": inputs,
        "taxa": taxa,
    }


def read_annotations(paths: Iterable[Path], taxa: Sequence[int]) -> tuple[pd.DataFrame, list[str]]:
    """Read GAF files (2.1 or 2.2) and keep what CAFA keeps.

    Parameters
    ----------
    paths : iterable of Path
        Plain or gzipped. Format: https://geneontology.org/docs/go-annotation-file-gaf-format-2.2/
    taxa : sequence of int
        Only proteins of exactly these taxa.

    Returns
    -------
    annotated : DataFrame
        Columns EntryID, term, taxonomyID; each pair of protein and term once.
    versions : list of str
        What the files say of their date and of GO's.

    Raises
    ------
    ValueError
        If a file is not GAF, is damaged, or nothing is left; the message gives the line.
    """
    rows, counts, versions = {}, Counter(), []
    wanted = {f"taxon:{taxon}": str(taxon) for taxon in taxa}
    for path in paths:
        with open_text(path) as lines:
            first = lines.readline()
            if not re.match(r"!\s*gaf-version:\s*2\.", first):
                raise ValueError(
                    f"{path.name}, line 1: a GAF file begins with '!gaf-version: 2.2', but this "
                    f"reads {first.strip()[:60]!r}. Is it another kind of file?"
                )
            for number, line in enumerate(lines, start=2):
                if line[0] == "!":
                    if re.match(r"!\s*(date-generated|go-version):", line, re.I):
                        versions.append(f"{path.name} {line[1:].strip()}")
                    continue
                fields = line.rstrip("\r\n").split("\t")
                if len(fields) < 15:
                    raise ValueError(
                        f"{path.name}, line {number}: {len(fields)} fields where GAF has 17. The "
                        "file is damaged or of another format; fetch it again."
                    )
                counts["annotations in all"] += 1
                taxon = wanted.get(fields[12].partition("|")[0])
                if fields[0] != "UniProtKB" or taxon is None:
                    counts["of other taxa or no protein of UniProt"] += 1
                elif fields[6] not in EVIDENCE:
                    counts["neither experimental nor curated"] += 1
                elif "NOT" in fields[3].split("|"):
                    counts["negative (NOT)"] += 1
                else:
                    # A form of a protein (P12345-2, P12345:PRO_1) counts as the protein.
                    entry = re.split("[-:]", fields[1], maxsplit=1)[0]
                    rows[entry, fields[4]] = taxon
    print("GOA: " + "; ".join(f"{count:,} {what}" for what, count in counts.items()) + ".")
    if not rows:
        raise ValueError(
            f"No annotation is left for the taxa {', '.join(map(str, taxa))}. UniProt files some "
            "species under a strain's number (baker's yeast: 559292); look it up there."
        )
    annotated = pd.DataFrame(list(rows), columns=["EntryID", "term"])
    return annotated.assign(taxonomyID=list(rows.values())), versions


def _sequences_of(taxon: int, raw: Path, hosts: dict[str, str]) -> Wanted:
    query = quote(f"(organism_id:{taxon})")
    url = f"{hosts['uniprot']}/uniprotkb/stream?query={query}&format=fasta&compressed=true"
    proteome = SPECIES.get(taxon, ("", "", ""))[2]
    mirror = f"{hosts['uniprot-ftp']}{_PROTEOMES}/{proteome}/{proteome}_{taxon}.fasta.gz"
    return Wanted(url, raw / f"{taxon}.fasta.gz", mirrors=(mirror,) if proteome else ())


def _annotations_of(taxa: Sequence[int], raw: Path, hosts: dict[str, str]) -> list[Wanted]:
    """Return GOA's file for each taxon; those without one at the top level are looked up."""
    goa, files = hosts["goa"] + _GOA, {}
    rare = [taxon for taxon in taxa if taxon not in SPECIES]
    if rare:
        # Lines of name, taxon, file name; a species may have several proteomes.
        [table] = fetch_inputs([Wanted(f"{goa}/proteomes/proteome2taxid", raw / "proteomes.tsv")])
        for line in table.path.read_text("utf-8", "replace").splitlines():
            _, taxon, file = (line.split("\t") + ["", ""])[:3]
            if taxon.isdigit():
                files.setdefault(int(taxon), file.strip())
    unknown = [str(taxon) for taxon in rare if not files.get(taxon)]
    if unknown:
        raise ValueError(
            f"GOA has no proteome of taxon {', '.join(unknown)}. Use the number under which "
            "UniProt files the species (often a strain's), or name a GAF file: --annotations."
        )
    wanted = []
    for taxon in taxa:
        if taxon in SPECIES:
            folder, name, _ = SPECIES[taxon]
            url, mirror = f"{goa}/{folder}/goa_{name}.gaf.gz", ()
            if taxon == 9606:
                mirror = (f"{hosts['go']}/annotations/gaf/HUMAN-uniprot.gaf.gz",)
        else:
            url, mirror = f"{goa}/proteomes/{quote(files[taxon])}", ()
        wanted.append(Wanted(url, raw / f"{taxon}.gaf", mirrors=mirror))
    return wanted


def _given(places: Sequence[str], raw: Path, kind: str) -> list[Wanted]:
    """Return files named by the reader: addresses to fetch, or paths (without an address)."""
    wanted = []
    for number, place in enumerate(places):
        if re.match(r"https?://", str(place)):
            wanted.append(Wanted(str(place), raw / f"given-{number}.{kind}"))
        elif size_of(Path(place)) == 0:
            raise FileNotFoundError(f"--source uniprot: there is no file {place}, or it is empty.")
        else:
            wanted.append(Wanted("", Path(place)))
    return wanted


def _local(path: Path) -> Downloaded:
    return Downloaded(path, str(path), size_of(path), digest_of(path), {})
