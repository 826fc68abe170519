"""Derive the shipped proteins from four Debian packages: one command, the same bytes every time.

    python tools/build_human_data.py [--packages DIR] [--output dlfb/pocket/proteins/datasets]

Runs on Debian 12 (``apt-get``, ``dpkg-deb``) with ``blastdbcmd`` of the package ncbi-blast+ and
``mmseqs`` of mmseqs2. It fetches 290 MB and takes about ten minutes, most of them for clustering.
dlfb/pocket/README.md says what is taken from which package, and under which licence.
"""

import argparse
import gzip
import re
import sqlite3
import subprocess
import tempfile
import zipfile
from collections import defaultdict
from pathlib import Path

import pandas as pd

from dlfb.proteins import ontology

OUTPUT = Path(__file__).resolve().parents[1] / "dlfb/pocket/proteins/datasets"
PACKAGES = {
    "metastudent-data": "usr/share/metastudent-data/dataset_201401",
    "r-bioc-org.hs.eg.db": "usr/lib/R/site-library/org.Hs.eg.db/extdata/org.Hs.eg.sqlite",
    "r-bioc-go.db": "usr/lib/R/site-library/GO.db/extdata/GO.sqlite",
    "mmseqs2-examples": "usr/share/doc/mmseqs2/example-data",
}
PAIR = ["EntryID", "term", "aspect"]
ASPECTS = {"bp": "BPO", "cc": "CCO", "mf": "MFO"}
NAMESPACES = {"BPO": "biological_process", "CCO": "cellular_component",
              "MFO": "molecular_function"}  # fmt: skip
RELATIONS = {"isa": "is_a: ", "part of": "relationship: part_of "}
# What CAFA counts as evidence: experiments, one by one or many at once, and two curators' codes.
EXPERIMENTAL = {"EXP", "IDA", "IPI", "IMP", "IGI", "IEP", "HTP", "HDA", "HMP", "HGI", "HEP",
                "TAS", "IC"}  # fmt: skip
NO_DATA = "ND"  # a curator looked and found nothing known
TAXA = {
    "Arabidopsis thaliana": 3702,
    "Bacillus subtilis (strain 168)": 224308,
    "Bos taurus": 9913,
    "Caenorhabditis elegans": 6239,
    "Danio rerio": 7955,
    "Dictyostelium discoideum": 44689,
    "Drosophila melanogaster": 7227,
    "Escherichia coli (strain K12)": 83333,
    "Gallus gallus": 9031,
    "Mus musculus": 10090,
    "Oryza sativa subsp. japonica": 39947,
    "Rattus norvegicus": 10116,
    "Saccharomyces cerevisiae (strain ATCC 204508 / S288c)": 559292,
    "Schizosaccharomyces pombe (strain 972 / ATCC 24843)": 284812,
    "Xenopus laevis": 8355,
}
HUMAN_TAXON = 9606


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", type=Path, help="keep the packages here, use what is there")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        build(options.packages or Path(scratch), options.output)


def build(packages: Path, output: Path):
    """Write the seven files of the shipped proteins into a folder."""
    places = [unpacked(name, packages) / inside for name, inside in PACKAGES.items()]
    swiss_prot, human_db, ontology_db, headers = places
    sequences = read_sequences(swiss_prot)
    terms, parents = read_ontology(ontology_db)
    by_evidence = read_annotation(human_db, sequences)
    taxa = read_other_species(headers, sequences.keys() - human_accessions(human_db))

    counted = by_evidence["evidence"].isin(EXPERIMENTAL)
    others = read_old_annotation(swiss_prot, taxa, terms)
    direct = joined(pd.concat([by_evidence[counted], others]))
    output.mkdir(parents=True, exist_ok=True)
    (output / "go-basic.obo").write_text(obo(terms, parents))
    propagated = ontology.propagate(direct, ontology.read_ontology(output / "go-basic.obo"))
    ids = sorted(set(propagated["EntryID"]))

    electronic = by_evidence[~counted & by_evidence["evidence"].ne(NO_DATA)]
    electronic = joined(electronic[electronic["EntryID"].isin(ids)])
    known = pd.MultiIndex.from_frame(propagated)
    electronic = electronic[~pd.MultiIndex.from_frame(electronic[PAIR]).isin(known)]

    fasta = output / "train_sequences.fasta"
    fasta.write_text("".join(f">{entry}\n{sequences[entry]}\n" for entry in ids))
    taxonomy = pd.DataFrame({"EntryID": ids, "taxonomyID": [taxa.get(i, HUMAN_TAXON) for i in ids]})
    write_table(output / "train_taxonomy.tsv.zip", taxonomy)
    write_table(output / "train_terms.tsv.zip", propagated)
    write_table(output / "train_terms_direct.tsv.zip", direct)
    write_table(output / "electronic_terms.tsv.zip", electronic)
    clusters = cluster(fasta)
    write_table(output / "clusters.tsv.zip", clusters)
    print(
        f"{len(ids):,} proteins, {sum(i in taxa for i in ids)} of them not human; "
        f"{len(direct):,} direct and {len(propagated):,} propagated rows, {len(electronic):,} by "
        f"other evidence; {clusters['cluster'].nunique():,} clusters"
    )


def unpacked(package: str, folder: Path) -> Path:
    """Return where a Debian package is unpacked, downloading it if it is not at hand."""
    to = folder / package
    if not to.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        if not list(folder.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
        (deb,) = folder.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", deb, to], check=True)
    return to


def read_sequences(swiss_prot: Path) -> dict[str, str]:
    """Return accession -> sequence from the three BLAST databases, which overlap."""
    sequences = {}
    for aspect in NAMESPACES:
        command = ["blastdbcmd", "-db", swiss_prot / aspect / "goasp.fasta", "-entry", "all"]
        # A title is an accession, a bar and terms of which annotation there is.
        with subprocess.Popen(
            [*command, "-outfmt", "%t\t%s"], stdout=subprocess.PIPE, text=True
        ) as process:
            for line in process.stdout:
                title, sequence = line.rstrip("\n").split("\t")
                accession = title.split("|")[0]
                if sequences.setdefault(accession, sequence) != sequence:
                    raise ValueError(f"{accession} has two sequences in {swiss_prot}.")
        if process.returncode:
            raise RuntimeError(f"blastdbcmd could not read {swiss_prot / aspect}.")
    return sequences


def read_ontology(path: Path) -> tuple[dict, dict]:
    """Return term -> (name, aspect) and term -> its (relation, parent) within the aspect."""
    database = sqlite3.connect(path)
    rows = database.execute("select _id, go_id, term, lower(ontology) from go_term")
    # The root that the database puts above the three aspects has an aspect of its own.
    numbered = {n: (go, name, ASPECTS[a]) for n, go, name, a in rows if a in ASPECTS}
    terms = {go: (name, aspect) for go, name, aspect in numbered.values()}
    parents = defaultdict(set)
    for aspect in ASPECTS:
        for child, parent, relation in database.execute(
            f"select _id, _parent_id, relationship_type from go_{aspect}_parents"
        ):
            if child in numbered and parent in numbered and relation in RELATIONS:
                (child, _, of_child), (parent, _, of_parent) = numbered[child], numbered[parent]
                if of_child == of_parent:
                    parents[child].add((relation, parent))
    return terms, parents


def human_accessions(path: Path) -> set[str]:
    """Return the UniProt accessions of all human genes."""
    return {a for (a,) in sqlite3.connect(path).execute("select uniprot_id from uniprot")}


def read_annotation(path: Path, sequences: dict[str, str]) -> pd.DataFrame:
    """Return the annotation of human proteins, one row per protein, term and kind of evidence.

    A gene's annotation holds for each of its proteins whose sequence is known.
    """
    parts = [
        pd.read_sql_query(
            "select uniprot_id EntryID, go_id term, ? aspect, evidence "
            f"from go_{short} join uniprot using (_id)",
            sqlite3.connect(path),
            params=[aspect],
        )
        for short, aspect in ASPECTS.items()
    ]
    rows = pd.concat(parts).drop_duplicates()
    return rows[rows["EntryID"].isin(sequences.keys())]


def read_other_species(folder: Path, accessions: set[str]) -> dict[str, int]:
    """Return accession -> taxon of the given proteins that the examples' headers tell."""
    taxa = {}
    for name in ("DB", "QUERY"):
        with gzip.open(folder / f"{name}.fasta.gz", "rt") as file:
            for line in file:
                found = re.match(r">\w\w\|([^|]+)\|\S+ .*?OS=(.*?) (?:GN=|PE=)", line)
                if found and found[1] in accessions and found[2] in TAXA:
                    taxa[found[1]] = TAXA[found[2]]
    return taxa


def read_old_annotation(swiss_prot: Path, taxa: dict[str, int], terms: dict) -> pd.DataFrame:
    """Return the annotation of 2014 of other species; its kind of evidence is not told.

    Terms that the ontology has merged, moved or dropped since are left out.
    """
    rows = []
    for aspect in NAMESPACES:
        with open(swiss_prot / aspect / "goasp_annot.dat") as file:
            for line in file:
                entry, *annotated = line.split()
                if entry in taxa:
                    rows += [
                        (entry, term, aspect, "")
                        for term in annotated
                        if terms.get(term, ("", ""))[1] == aspect
                    ]
    return pd.DataFrame(rows, columns=[*PAIR, "evidence"])


def joined(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per protein and term, sorted, with all its codes: ``IDA,IMP``."""
    rows = rows.drop_duplicates().sort_values([*PAIR, "evidence"])
    return rows.groupby(PAIR, as_index=False)["evidence"].agg(",".join)


def obo(terms: dict, parents: dict) -> str:
    """Return the ontology as an OBO file: ids, names, aspects, is_a and part_of."""
    parts = ["format-version: 1.2\ndata-version: releases/2022-07-01\nontology: go\n"]
    for term, (name, aspect) in sorted(terms.items()):
        parts.append(f"\n[Term]\nid: {term}\nname: {name}\nnamespace: {NAMESPACES[aspect]}\n")
        parts += [f"{RELATIONS[how]}{parent}\n" for how, parent in sorted(parents.get(term, ()))]
    return "".join(parts)


def cluster(fasta: Path) -> pd.DataFrame:
    """Return the cluster of each protein, named by its representative.

    MMseqs2 (Steinegger & Söding 2017), greedy set cover: members share 30 % identity with
    the representative over 60 % of both, found at the highest sensitivity.
    """
    options = ["--min-seq-id", "0.3", "-c", "0.6", "--cov-mode", "0", "-s", "7.5", "-v", "1"]
    with tempfile.TemporaryDirectory() as scratch:
        command = ["mmseqs", "easy-cluster", fasta, f"{scratch}/found", f"{scratch}/work"]
        subprocess.run([*command, *options], check=True)
        found = pd.read_csv(
            f"{scratch}/found_cluster.tsv", sep="\t", header=None, names=["cluster", "EntryID"]
        )
    return found[["EntryID", "cluster"]].sort_values("EntryID", ignore_index=True)


def write_table(path: Path, table: pd.DataFrame):
    """Write a table as a zip of one TSV file whose time stamp is always the same."""
    entry = zipfile.ZipInfo(path.stem, date_time=(1980, 1, 1, 0, 0, 0))
    entry.external_attr, entry.create_system = 0o644 << 16, 3
    with zipfile.ZipFile(path, "w") as file:
        text = table.to_csv(sep="\t", index=False, lineterminator="\n")
        file.writestr(entry, text, zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    main()
