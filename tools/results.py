"""make results: runs the pages and sets what they computed beside the printed book's figures.

    python tools/results.py                                  pocket, and real proteins if there
    python tools/results.py --assets DIR --checkpoints hub   real proteins and models of your own

The pages themselves are executed, on the pocket edition and on real proteins (``--assets``, a
folder in the full edition's layout; by default ``../shared/data/cafa6`` where that is there). At
the end of each page the variables named in ``FACTS`` are read, and the figures named in ``FIGURES``
are taken from its outputs. Nothing in results.md is typed but the book's own figures.
"""

import argparse
import base64
import json
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from run_pages import PAGES, ROOT, read_text_half

# page -> (fact, the book's figure, an expression over the page's variables at its end)
FACTS = {
    "01": [
        (
            "structures at hand",
            "insulin, collagen, proteasome",
            "', '.join(available_structures().values())",
        ),
    ],
    "02": [
        ("residues of the insulin precursor", "110", "len(INSULIN)"),
        ("`MALWM` as indices", "16, 12, 15, 19, 16", "', '.join(map(str, indices))"),
        ("one-hot shape of `MALWM`", "(5, 20)", "tuple(with_jax.shape)"),
    ],
    "03": [
        ("tokens", "33", "len(tokens)"),
        ("token embeddings", "(33, 1280)", "tuple(embeddings.shape)"),
    ],
    "04": [
        (
            "P(L) at residue 29 of insulin",
            "high",
            "round(float(predictor.predict(insulin, 29)['L']), 2)",
        ),
        (
            "first guesses at residue 26 (N)",
            "A, T, S",
            "', '.join(predictor.predict(insulin, 26).sort_values(ascending=False).index[:3])",
        ),
    ],
    "05": [
        (
            "extracellular candidates",
            "164",
            "int((candidates['location'] == 'extracellular').sum())",
        ),
        ("membrane candidates", "65", "int((candidates['location'] == 'membrane').sum())"),
        ("embeddings of the sample", "(20, 320) each", "tuple(sample_embeddings.shape)"),
    ],
    "06": [
        ("term rows", "5,363,863", "len(terms)"),
        ("GO names", "40,214", "len(names)"),
        ("rows with a name", "4,933,958", "len(named_terms)"),
        ("human proteins with MFO terms", "16,336", "human_mfo['EntryID'].nunique()"),
        ("human MFO terms", "4,101", "human_mfo['term'].nunique()"),
        ("human MFO rows", "152,526", "len(human_mfo)"),
        ("terms in at least 50 proteins", "303", "table.shape[1] - 3"),
        ("proteins of at most 500 residues", "5,957", "len(table)"),
        (
            "train / valid / test",
            "3,574 / 1,191 / 1,192",
            "' / '.join(f'{len(s):,}' for s in splits.values())",
        ),
        ("embedded training set", "(3574, 946)", "tuple(train_embeddings.shape)"),
    ],
    "07": [
        (
            "best function by auPRC",
            "GO:0004930 (.949)",
            "f\"{term_metrics.index[0]} ({term_metrics['auprc'].iloc[0]:.3f})\"",
        ),
    ],
    "08": [
        (f"{metric}, {label}", book, f"f\"{{comparison.loc['{metric}', '{column}']:.3f}}\"")
        for metric, row in {
            "accuracy": (".501", ".956", "—", "—", ".979", ".978"),
            "recall": (".499", ".094", "—", "—", ".129", ".126"),
            "precision": (".024", ".080", "—", "—", ".424", ".435"),
            "auprc": (".025", ".040", "—", "—", ".412", ".410"),
            "auroc": (".500", ".536", "—", "—", ".883", ".879"),
        }.items()
        for (label, column), book in zip(
            [
                ("coin flip", "coin flip"),
                ("proportional guess", "proportional guess"),
                ("term frequency", "term frequency"),
                ("composition MLP", "composition"),
                ("model, valid", "model (valid)"),
                ("model, test", "model (test)"),
            ],
            row,
            strict=True,
        )
    ]
    + [
        (
            f"auprc over functions, {label}",
            "—",
            f"f\"{{term_comparison.loc['auprc', '{column}']:.3f}}\"",
        )
        for label, column in [
            ("term frequency", "term frequency"),
            ("composition MLP", "composition"),
            ("model, valid", "model (valid)"),
            ("model, test", "model (test)"),
        ]
    ],
}

# figure of the book -> what to say of ours
FIGURES = {
    "fig-2-7": "Token embeddings by class of amino acid (figure 2-7).",
    "fig-2-11": "Proteins of two places in the cell (figure 2-11).",
    "fig-2-13": "Training (figure 2-13).",
    "fig-2-15": "Training examples of a function against how well it is predicted (figure 2-15).",
    "fig-2-16": "The twenty best functions, model beside baselines (figure 2-16).",
}

MARK = "dlfb-facts:"


def run_pages(environment: dict[str, str], pictures: Path | None) -> tuple[dict, dict]:
    """Execute all pages under `environment`; return {fact: value} and {page: seconds}."""
    facts, seconds = {}, {}
    with tempfile.TemporaryDirectory(prefix="dlfb-results-") as cache:
        os.environ.update({"DLFB_PROGRESS": "0", "DLFB_CACHE": cache, **environment})
        for text_half in sorted(PAGES.glob("[0-9]*.md")):
            notebook = read_text_half(text_half)
            wanted = FACTS[text_half.stem[:2]]
            probe = ", ".join(f"{name!r}: str({expression})" for name, _, expression in wanted)
            source = f"import json\nprint({MARK!r} + json.dumps({{{probe}}}))"
            notebook.cells.append(nbformat.v4.new_code_cell(source))
            began = time.perf_counter()
            NotebookClient(
                notebook,
                timeout=1800,
                kernel_name="python3",
                resources={"metadata": {"path": str(PAGES)}},
            ).execute()
            seconds[text_half.stem] = time.perf_counter() - began
            print(f"{seconds[text_half.stem]:6.1f} s  {text_half.stem}", flush=True)
            printed = "".join(o.get("text", "") for o in notebook.cells[-1].outputs)
            facts |= json.loads(printed.split(MARK)[1])
            if pictures is not None:
                save_pictures(notebook, pictures)
    return facts, seconds


def save_pictures(notebook, folder: Path) -> None:
    """Write the PNG of each cell that is labelled as one of `FIGURES`."""
    folder.mkdir(parents=True, exist_ok=True)
    for cell in notebook.cells:
        label = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        if label in FIGURES:
            image = next(
                o["data"]["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})
            )
            (folder / f"{label}.png").write_bytes(base64.b64decode(image))


def remembered(real: dict | None) -> dict | None:
    """Keep the run on real proteins beside its figures; return the kept one where none was made."""
    kept = ROOT / "_static" / "results" / "real.json"
    if real is not None:
        kept.write_text(json.dumps(real, indent=1) + "\n", encoding="utf8")
    return real or (json.loads(kept.read_text(encoding="utf8")) if kept.exists() else None)


def write_report(path: Path, real: dict | None, pocket: dict) -> None:
    """Write results.md from what the two runs returned."""
    real_facts = real["facts"] if real else {}
    lines = [
        "# How close does it come?",
        "",
        "The printed chapter's figures beside what these pages compute. Written by `make results`, "
        "which executes all pages and reads their variables; only the book's column is typed.",
        "",
        "- **Book**: the CAFA data of the book and ESM2 (650M, 150M, 8M), as printed.",
        f"- **Real proteins**: {real['data'] if real else 'not run here'}.",
        f"- **Pocket**: {pocket['data']}.",
        "",
        "| fact | book | real proteins | pocket |",
        "|---|---|---|---|",
    ]
    for wanted in FACTS.values():
        for name, book, _ in wanted:
            cells = (name, book, real_facts.get(name, "—"), pocket["facts"][name])
            lines.append("| " + " | ".join(thousands(cell) for cell in cells) + " |")
    lines += ["", "## Why the figures differ", "", WHY, ""]
    if real:
        lines += ["## Figures of the run on real proteins", ""]
        for label, words in FIGURES.items():
            alt = words.rstrip(".") + ", computed on real proteins"
            lines += [
                f"```{{figure}} _static/results/{label}.png",
                f":alt: {alt}",
                ":width: 90%",
                "",
                words,
                "```",
                "",
            ]
    lines += ["## Time", "", "| page | real proteins, s | pocket, s |", "|---|---|---|"]
    for page, seconds in pocket["seconds"].items():
        there = f"{real['seconds'][page]:.0f}" if real else "—"
        lines.append(f"| {page} | {there} | {seconds:.0f} |")
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("torch", "transformers", "jax", "flax", "numpy")
    )
    lines += ["", f"Two shared CPU cores; Python {sys.version.split()[0]}, {packages}.", ""]
    path.write_text("\n".join(lines), encoding="utf8")


WHY = """\
- **Other proteins.** The real run uses a CAFA6 release of which about a quarter of the human
  sequences could not be had; the book used the files of CAFA5. The pocket edition's proteins are
  simulated, so its numbers say how well the lessons show, not how well anything predicts real
  functions.
- **Another language model.** Unless the line above says otherwise, the pocket edition's own small
  model stands in for ESM2, at a fraction of its size and training.
- **Other means.** Our vectors are means over residues only, not over padding and special tokens;
  metrics that are undefined are left out of a mean, where the book counts them as 0; means are over
  proteins, not over batches.
- **Another split.** Ours keeps identical sequences together and does not depend on Python's
  hash seed."""


def thousands(value: str) -> str:
    """Return a whole number with separators, NaN in words, anything else as it is."""
    if value == "nan":
        return "undefined"
    return f"{int(value):,}" if str(value).isdigit() else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=ROOT.parent / "shared/data/cafa6")
    parser.add_argument("--checkpoints", default="pocket", help="pocket, hub or a folder")
    parser.add_argument(
        "--data",
        default="CAFA6 annotation of real human proteins, with the pocket edition's own "
        "small language model in place of ESM2",
        help="what the real run's data and models are",
    )
    parser.add_argument("--output", type=Path, default=ROOT / "results.md")
    args = parser.parse_args()
    pocket = {"data": "simulated proteins and the pocket edition's small language model"}
    pocket["facts"], pocket["seconds"] = run_pages({}, None)
    real = None
    if args.assets.is_dir():
        environment = {
            "DLFB_ASSETS": str(args.assets.resolve()),
            "DLFB_CHECKPOINTS": args.checkpoints,
        }
        real = {"data": args.data}
        pictures = ROOT / "_static" / "results"
        real["facts"], real["seconds"] = run_pages(environment, pictures)
    else:
        print(f"{args.assets} is not there: the column of real proteins stays as it was.")
    write_report(args.output, remembered(real), pocket)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
