"""The functions of your own proteins: ``dlfb.predict``, and the command ``dlfb-predict``.

The FASTA file and the options are checked first, before the libraries are loaded that compute.
"""

import argparse
import os
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from math import log2
from pathlib import Path

import numpy as np
import pandas as pd

from dlfb.proteins.sequences import read_fasta
from dlfb.utils.command import finish
from dlfb.utils.context import checkpoint_name, expanded, use_edition

CHECKPOINT = "facebook/esm2_t30_150M_UR50D"  # in the pocket edition the small model answers
ASPECTS = ("MFO", "BPO", "CCO")
OUTPUT = ("predictions.tsv", "report.html")
COLUMNS = ["protein", "term", "name", "probability", "evidence", "nearest", "identity", "flags"]
LONGEST = 500  # residues of a protein that the predictor learned from
SHORTEST = 30  # fewer tell a network nothing
LEAST_BITS = 2.3  # of variety among the residues of an annotated protein
DNA = "looks like DNA"
MAIN = 4  # a score four times as high as the other is the evidence alone


def predict(
    fasta: str | os.PathLike,
    out: str | os.PathLike | None = None,
    aspect: str = "MFO",
    min_probability: float = 0.1,
    on_error: str = "stop",
) -> pd.DataFrame:
    """Predict the functions of the proteins in a FASTA file, with the predictor of page 9.

    The first call for an aspect and an edition trains the predictor, which is kept.

    Parameters
    ----------
    fasta : path
        As for :func:`dlfb.proteins.sequences.read_fasta`. A repeated record counts once.
    out : path, optional
        A folder, made if need be, for the table (``predictions.tsv``) and a page to read
        (``report.html``). Its other files stay as they are.
    aspect : {"MFO", "BPO", "CCO"}
        Molecular function, biological process or cellular component.
    min_probability : float
        Leave out functions that are less probable.
    on_error : {"stop", "skip"}
        What to do about a record that can't be used: raise a ValueError, or warn and go on.

    Returns
    -------
    DataFrame
        A row for each function, the most probable of a protein first: ``protein``, ``term``,
        ``name``, ``probability`` (calibrated), ``evidence`` (``"model"``, ``"relatives"`` or
        ``"both"``), ``nearest`` (the annotated protein of the best alignment), its ``identity``,
        and ``flags``: what to know about the protein. A protein without a function has one row,
        without a term.
    """
    if aspect not in ASPECTS:
        raise ValueError(f"There is no aspect {aspect!r}; choose one of {', '.join(ASPECTS)}.")
    if not 0 < min_probability <= 1:
        raise ValueError(f"min_probability={min_probability} should be above 0 and at most 1.")
    proteins, skipped = read_proteins(fasta, on_error)
    if out is not None:
        out = expanded(out)
        try:
            out.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=out).close()
        except OSError as error:
            raise OSError(f"{out} can't be a folder for the results: {error.strerror}.") from error
    # Imported here: they take seconds, and what is wrong above is said at once.
    from dlfb.proteins.embeddings import get_mean_embeddings
    from dlfb.proteins.inspect import masked_profiles
    from dlfb.proteins.language_model import load_language_model
    from dlfb.proteins.ontology import read_ontology
    from dlfb.proteins.predictor import load_predictor
    from dlfb.proteins.report import CARDS, report_page

    tokenizer, model = load_language_model(checkpoint_name(CHECKPOINT), masked=True)
    predictor, graph = load_predictor(aspect, tokenizer, model), read_ontology()
    vectors = get_mean_embeddings(proteins["Sequence"], tokenizer, model)
    vectors = (vectors - predictor.mean) / predictor.scale
    # By number: a protein with the id of an annotated one is compared with that one, too.
    sequences = proteins["Sequence"].set_axis([str(i) for i in range(len(proteins))])
    hits = predictor.relatives(sequences).astype({"query": int})
    _flag(proteins, "no relative", ~np.isin(np.arange(len(proteins)), hits["query"]))
    known = proteins["Sequence"].isin(predictor.train["Sequence"])
    _flag(proteins, "the predictor learned from this sequence", known)
    table = _table(proteins, predictor, vectors, hits, graph, min_probability)
    if out is not None:
        table.to_csv(out / OUTPUT[0], sep="\t", index=False, float_format="%.3f")
        profiles = masked_profiles(proteins["Sequence"][:CARDS], tokenizer, model)
        page = report_page(
            table, proteins, skipped, hits, profiles, vectors, predictor, graph,
            model.dlfb_checkpoint,
        )  # fmt: skip
        (out / OUTPUT[1]).write_text(page, encoding="utf-8")
    return table


def read_proteins(fasta: str | os.PathLike, on_error: str) -> tuple[pd.DataFrame, list[str]]:
    """Read proteins for :func:`predict`; return them, and why records were skipped.

    Columns are Sequence, flags (a list of what to know), and unsure: whether a network's answer
    would mean nothing. The ids are the index.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        records = list(read_fasta(fasta, on_error))
    skipped = [str(warning.message).removeprefix("Record left out. ") for warning in caught]
    sequences: dict[str, str] = {}
    for name, sequence in records:
        if sequences.setdefault(name, sequence) != sequence:
            skipped.append(f"{Path(fasta).name}: {name:.80} has another sequence, too.")
            if on_error == "stop":
                raise ValueError(f"{skipped[-1]} Rename one of the two, or leave it out.")
    if skipped:
        warnings.warn(f"Records left out: {len(skipped):,}. The first: {skipped[0]}", stacklevel=3)
    proteins = pd.DataFrame({"Sequence": pd.Series(sequences, dtype="str")})
    proteins["flags"] = proteins["Sequence"].map(_doubts)
    proteins["unsure"] = proteins["flags"].map(bool)
    if dna := [name for name, doubts in proteins["flags"].items() if DNA in doubts]:
        which = ", ".join(f"{name:.40}" for name in dna[:9]) + ", ..." * (len(dna) > 9)
        warnings.warn(f"Looks like DNA, not protein: {which}", stacklevel=3)
    _flag(proteins, "does not begin with M: a fragment?", proteins["Sequence"].str[0] != "M")
    long = proteins["Sequence"].str.len() > LONGEST
    _flag(proteins, f"longer than the {LONGEST} residues of what was learned from", long)
    return proteins, skipped


def _doubts(sequence: str) -> list[str]:
    """Say why a network's answer for a sequence would mean nothing."""
    length, counts = len(sequence), Counter(sequence)
    bits = -sum(n / length * log2(n / length) for n in counts.values())
    reasons = {
        f"fewer than {SHORTEST} residues": length < SHORTEST,
        "unknown residues, more than one in ten": sum(counts[x] for x in "XBZ") > length / 10,
        DNA: length >= 10 and counts.keys() <= set("ACGTUN"),
        "few kinds of residues": bits < LEAST_BITS,
    }
    return [reason for reason, true in reasons.items() if true]


def _flag(proteins: pd.DataFrame, flag: str, where) -> None:
    for flags in proteins["flags"][where]:
        flags.append(flag)


def _table(proteins, predictor, vectors, hits, graph, min_probability: float) -> pd.DataFrame:
    """Return the table that :func:`predict` describes."""
    unsure, everyone = proteins["unsure"].to_numpy(), np.arange(len(proteins))
    scores = predictor.scores(vectors, hits, everyone, trusted=~unsure)
    probabilities, (relatives, network, found) = predictor.probabilities(*scores), scores
    probabilities[unsure & ~found] = 0  # there is nothing to go by
    rows, columns = np.nonzero(probabilities >= min_probability)
    ratio = relatives[rows, columns] / np.maximum(network[rows, columns], 1e-9)
    of_two = np.where(ratio > MAIN, "relatives", np.where(ratio < 1 / MAIN, "model", "both"))
    of_one = np.where(found, "relatives", "model")[rows]
    terms = predictor.targets.columns[columns]
    functions = pd.DataFrame(
        {
            "term": terms,
            "name": [graph.nodes[term]["name"] for term in terms],
            "probability": probabilities[rows, columns],
            "evidence": np.where((found & ~unsure)[rows], of_two, of_one),
        },
        index=rows,
    )
    nearest = hits.drop_duplicates("query").set_index("query")[["target", "identity"]]
    about = {"protein": proteins.index, "flags": proteins["flags"].map("; ".join)}
    table = pd.DataFrame(about).reset_index(drop=True).join([functions, nearest])
    table = table.rename(columns={"target": "nearest"}).rename_axis("row").reset_index()
    table = table.sort_values(["row", "probability"], ascending=[True, False], kind="stable")
    return table[COLUMNS].reset_index(drop=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command ``dlfb-predict``; return its exit status."""
    about = "Predict the functions of the proteins in a FASTA file."
    parser = argparse.ArgumentParser(prog="dlfb-predict", description=about)
    parser.add_argument("fasta", help="plain, gzip-compressed or zipped")
    parser.add_argument("--out", required=True, help=f"folder for {' and '.join(OUTPUT)}")
    parser.add_argument("--aspect", choices=ASPECTS, default="MFO", help="default: %(default)s")
    parser.add_argument("--min-probability", type=float, default=0.1, help="default: %(default)s")
    what = "what to do about a record that can't be used; default: %(default)s"
    parser.add_argument("--on-error", choices=["stop", "skip"], default="stop", help=what)
    parser.add_argument("--edition", choices=["pocket", "full"], help="default: DLFB_EDITION")
    options = vars(parser.parse_args(arguments))

    def work() -> None:
        if edition := options.pop("edition"):
            use_edition(edition)
        pages = [expanded(options["out"]) / name for name in OUTPUT]
        old = [page.name for page in pages if page.is_file()]
        table = predict(**options)
        counts = f"{table['term'].count():,} functions of {table['protein'].nunique():,} proteins"
        print(f"{counts}: {pages[0]}. To read about them, open {pages[1]}.")
        if old:
            print(f"Replaced: {', '.join(old)}.")

    with warnings.catch_warnings():
        warnings.showwarning = lambda text, *_: print(f"Warning: {text}", file=sys.stderr)
        return finish("dlfb-predict", work)
