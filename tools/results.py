"""make results: runs the pages and sets what they computed beside the printed book's figures.

    python tools/results.py                                       the stored columns, results.md
    python tools/results.py --mine                                yours beside them
    python tools/results.py --mine --assets DIR --checkpoints DIR

The pages themselves are executed, and at the end of each the variables named in ``TABLES`` are
read, and the figures named in ``FIGURES`` are taken from its outputs. Nothing is typed but the
book's own figures. Two runs are stored, in _static/results: of the pocket edition, and of real
proteins from ``../shared/data/cafa6``, where that is there, with the pocket edition's model.

``--mine`` makes a run of your own, by default of the full edition: the files that `dlfb-provision`
got, and ESM2 from the hub. It goes into a column, a file and a folder of its own (my-results), and
leaves what is stored as it is.
"""

import argparse
import base64
import json
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

sys.path.insert(0, str(Path(__file__).resolve().parent))
from run_pages import PAGES, ROOT, read_text_half

from dlfb.provision.manifest import read_manifest
from dlfb.utils.context import provisioned_dir

STORED = ROOT / "_static" / "results"
PREDICTIONS = {
    "coin flip": "coin flip",
    "proportional guess": "proportional guess",
    "term frequency": "term frequency",
    "composition": "composition MLP",
    "model (valid)": "model, valid",
    "model (test)": "model, test",
}
BOOK_MEANS = {
    "accuracy": (".501", ".956", "—", "—", ".979", ".978"),
    "recall": (".499", ".094", "—", "—", ".129", ".126"),
    "precision": (".024", ".080", "—", "—", ".424", ".435"),
    "auprc": (".025", ".040", "—", "—", ".412", ".410"),
    "auroc": (".500", ".536", "—", "—", ".883", ".879"),
}

# title -> (words below it, page -> (fact, the book's figure, an expression over the page's
# variables at its end))
TABLES = {
    "Looking at proteins": (
        "Pages 01 to 05.",
        {
            "01": [
                (
                    "structures at hand",
                    "insulin (3I40), collagen (1BKV), proteasome (1YAR)",
                    "', '.join(f'{name} ({i})' for i, name in available_structures().items())",
                ),
            ],
            "02": [
                ("residues of the insulin precursor", "110", "len(INSULIN)"),
                ("order of the alphabet", "RHKDESTNQGPCAVILMFYW", "''.join(AMINO_ACIDS)"),
                ("`MALWM` as indices", "16, 12, 15, 19, 16", "', '.join(map(str, indices))"),
                ("one-hot shape of `MALWM`", "(5, 20)", "tuple(with_jax.shape)"),
            ],
            "03": [
                ("tokens", "33", "len(tokens)"),
                (
                    "`MALWM` as tokens",
                    "0, 20, 5, 4, 22, 20, 2",
                    "', '.join(map(str, tokenizer('MALWM')['input_ids']))",
                ),
                ("token embeddings", "(33, 1280)", "tuple(embeddings.shape)"),
                ("t-SNE map of the tokens", "(33, 2)", "tuple(points.shape)"),
            ],
            "04": [
                (
                    "token that hides residue 29",
                    "30",
                    "tokenizer(predictor.mask_sequence(insulin, 29))['input_ids']"
                    ".index(tokenizer.mask_token_id)",
                ),
                (
                    "probability of leucine at residue 29",
                    "high",
                    "round(float(predictor.predict(insulin, 29)['L']), 2)",
                ),
                (
                    "first guesses at residue 26 (asparagine)",
                    "A, T, S",
                    "', '.join(predictor.predict(insulin, 26)"
                    ".sort_values(ascending=False).index[:3])",
                ),
            ],
            "05": [
                (
                    "extracellular candidates",
                    "164",
                    "int((candidates['location'] == 'extracellular').sum())",
                ),
                ("membrane candidates", "65", "int((candidates['location'] == 'membrane').sum())"),
                (
                    "embeddings of the two samples",
                    "(20, 320) each",
                    "f\"({sample['location'].value_counts().min()}, "
                    '{sample_embeddings.shape[1]}) each"',
                ),
            ],
        },
    ),
    "From annotation to a data set": (
        "Page 06, and the batches of page 07.",
        {
            "06": [
                ("term rows", "5,363,863", "len(terms)"),
                ("GO names", "40,214", "len(names)"),
                ("rows with a name", "4,933,958", "len(named_terms)"),
                ("rows without a name", "429,905", "len(terms) - len(named_terms)"),
                (
                    "MFO terms",
                    "6,973",
                    "named_terms.loc[named_terms['aspect'] == 'MFO', 'term'].nunique()",
                ),
                (
                    "the three most frequent of them",
                    "GO:0003674, GO:0005488, GO:0005515",
                    "', '.join(sorted(named_terms.loc[named_terms['aspect'] == 'MFO', 'term']"
                    ".value_counts().index[:3]))",
                ),
                ("sequences", "142,246", "len(sequences)"),
                ("human proteins with MFO terms", "16,336", "human_mfo['EntryID'].nunique()"),
                ("human MFO terms", "4,101", "human_mfo['term'].nunique()"),
                ("human MFO rows", "152,526", "len(human_mfo)"),
                ("rows without the three most frequent", "106,501", "len(informative)"),
                ("terms in at least 50 proteins", "303", "frequent['term'].nunique()"),
                (
                    "a row a protein: terms, id, sequence, length",
                    "(10,709, 306)",
                    "f'({wide.shape[0]:,}, {wide.shape[1] + 3})'",
                ),
                (
                    "distinct sequences of these",
                    "10,698",
                    "sequences.loc[sequences['EntryID'].isin(wide.index), 'Sequence'].nunique()",
                ),
                (
                    "one sequence, several ids",
                    "P0DP23, P0DP24, P0DP25",
                    "', '.join(sorted(table.loc[table['Sequence'].isin(table.loc["
                    "table['EntryID'] == 'P0DP23', 'Sequence']), 'EntryID'])) or '—'",
                ),
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
                    "a batch: embeddings, targets",
                    "(32, 640), (32, 303)",
                    "f\"{batch['embedding'].shape}, {batch['target'].shape}\"",
                ),
            ],
        },
    ),
    "Scores, counted as the book counts": (
        "Page 08; the validation set where no other is named. Means over proteins. As in the book, "
        "a measure that is undefined for a protein counts as 0: set these rows beside its own.",
        {
            "07": [
                (
                    "best function by auPRC",
                    "GO:0004930 (.949)",
                    "f\"{term_metrics.index[0]} ({term_metrics['auprc'].iloc[0]:.3f})\"",
                ),
                (
                    "auPRC of GO:0004930",
                    ".949",
                    "f\"{term_metrics['auprc'].get('GO:0004930', float('nan')):.3f}\"",
                ),
            ],
            "08": [
                (f"{metric}, {label}", book, f"f\"{{_book['{column}']['{metric}']:.3f}}\"")
                for metric, row in BOOK_MEANS.items()
                for (column, label), book in zip(PREDICTIONS.items(), row, strict=True)
            ],
        },
    ),
    "Scores, as these pages count": (
        "The same predictions. What is undefined for a protein is left out of the mean, so that "
        "precision is that of the proteins for which anything was predicted. Below, means over "
        "functions, which the book does not print.",
        {
            "08": [
                (
                    f"{metric} {over}, {label}",
                    "—",
                    f"f\"{{{means}['{column}']['{metric}']:.3f}}\"",
                )
                for over, means, metrics in (
                    ("over proteins", "_own", BOOK_MEANS),
                    ("over functions", "_terms", ["auprc", "auroc"]),
                )
                for metric in metrics
                for column, label in PREDICTIONS.items()
            ],
        },
    ),
}
# page -> code that is run before its expressions
BEFORE = {
    "08": """
from dlfb.proteins import metrics as _metrics
_scored = {name: (truth, probs) for name, probs in predictions.items()}
_scored["model (test)"] = (test_truth, test_probs)
_own = {name: _metrics.per_protein_metrics(*pair).mean() for name, pair in _scored.items()}
_book = {name: _metrics.per_protein_metrics(*pair, undefined="book").mean()
         for name, pair in _scored.items()}
_terms = {name: _metrics.per_term_metrics(*pair).mean() for name, pair in _scored.items()}
"""
}
# figure of the book -> what to say of ours
FIGURES = {
    "fig-2-7": "Token embeddings by class of amino acid (figure 2-7).",
    "fig-2-11": "Proteins of two places in the cell (figure 2-11).",
    "fig-2-13": "Training (figure 2-13).",
    "fig-2-15": "Training examples of a function against how well it is predicted (figure 2-15).",
    "fig-2-16": "The twenty best functions, model beside baselines (figure 2-16).",
}
PACKAGES = ("torch", "transformers", "jax", "flax", "numpy")
MARK = "dlfb-facts:"


def facts_of(page: str) -> dict[str, str]:
    """Return {fact: expression} of a page, by the first two digits of its name."""
    return {
        fact: expression
        for _, by_page in TABLES.values()
        for fact, _, expression in by_page.get(page, [])
    }


def probe(page: str) -> str:
    """Return the code of the cell that is added to a page to print its facts."""
    values = ", ".join(
        f"{fact!r}: str({expression})" for fact, expression in facts_of(page).items()
    )
    return f"import json\n{BEFORE.get(page, '')}\nprint({MARK!r} + json.dumps({{{values}}}))"


def run_pages(
    data: str, environment: dict[str, str], pictures: Path | None = None, folder: Path = PAGES
) -> dict:
    """Execute all pages under `environment` and return what a column is written from.

    A page that stops leaves its facts out, and stands under "stopped" with its error.
    """
    run = {"data": data, "machine": machine(), "facts": {}, "seconds": {}, "stopped": {}}
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="dlfb-results-") as cache:
        os.environ.update({"DLFB_PROGRESS": "0", "DLFB_CACHE": cache, **environment})
        try:
            for text_half in sorted(folder.glob("[0-9]*.md")):
                one_page(text_half, run, pictures)
        finally:
            os.environ.clear()
            os.environ.update(before)
    return run


def one_page(text_half: Path, run: dict, pictures: Path | None) -> None:
    notebook = read_text_half(text_half)
    notebook.cells.append(nbformat.v4.new_code_cell(probe(text_half.stem[:2])))
    resources = {"metadata": {"path": str(text_half.parent)}}
    client = NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=resources)
    began = time.perf_counter()
    try:
        client.execute()
    except CellExecutionError as error:
        run["stopped"][text_half.stem] = f"{error.ename}: {error.evalue}"
        print(f" stopped  {text_half.stem}: {error.ename}: {error.evalue}", flush=True)
        return
    run["seconds"][text_half.stem] = time.perf_counter() - began
    print(f"{run['seconds'][text_half.stem]:6.1f} s  {text_half.stem}", flush=True)
    printed = "".join(output.get("text", "") for output in notebook.cells[-1].outputs)
    run["facts"] |= json.loads(printed.split(MARK)[1])
    if pictures is not None:
        save_pictures(notebook, pictures)


def machine() -> str:
    """Return in words what a run was made on and with."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{os.cpu_count()} CPU cores, {device}; Python {platform.python_version()}, {packages}"


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


def keep(run: dict, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run, indent=1) + "\n", encoding="utf8")


def stored() -> dict[str, dict]:
    """Return the runs that are stored, by the heading of their column."""
    files = {"real proteins": STORED / "real.json", "pocket": STORED / "pocket.json"}
    return {
        heading: json.loads(path.read_text(encoding="utf8"))
        for heading, path in files.items()
        if path.exists()
    }


def report(columns: dict[str, dict], pictures: str, whose: str) -> str:
    """Return the text of the report.

    Parameters
    ----------
    columns : dict
        Heading to run, in the order of the columns.
    pictures : str
        Where the figures lie, as seen from the report; those that do not are left out.
    whose : str
        Whose run the figures are of.
    """
    lines = ["# How close does it come?", "", INTRODUCTION, "", f"- **Book**: {BOOK}."]
    for heading, run in columns.items():
        lines.append(f"- **{heading.capitalize()}**: {run['data']} ({run['machine']}).")
        lines += [f"  - {page} stopped: {why}" for page, why in run["stopped"].items()]
    for title, (words, by_page) in TABLES.items():
        lines += ["", f"## {title}", "", words, "", row("fact", "book", *columns)]
        lines.append("|---|---|" + "---|" * len(columns))
        for fact, book, _ in (each for facts in by_page.values() for each in facts):
            values = [run["facts"].get(fact, "—") for run in columns.values()]
            lines.append(row(fact, book, *values))
    lines += ["", "## Why the figures differ", "", WHY, "", f"## Figures of {whose}", ""]
    for label, words in FIGURES.items():
        alt = words.rstrip(".") + f", {whose}"
        lines += [f"![{alt}]({pictures}{label}.png)", "", f"*{words}*", ""]
    lines += ["## Time", "", row("page", *(f"{heading}, s" for heading in columns))]
    lines.append("|---" * (len(columns) + 1) + "|")
    for page in sorted({page for run in columns.values() for page in run["seconds"]}):
        spent = [run["seconds"].get(page) for run in columns.values()]
        lines.append(row(page, *("—" if each is None else f"{each:.0f}" for each in spent)))
    return "\n".join(lines) + "\n"


def row(*cells) -> str:
    """Return a line of a table: whole numbers with separators, NaN in words."""
    plain = ["undefined" if cell == "nan" else str(cell) for cell in cells]
    return f"| {' | '.join(f'{int(c):,}' if c.isdigit() else c for c in plain)} |"


INTRODUCTION = """\
The printed chapter's figures beside what these pages compute. Written by `make results`, which
executes all pages and reads their variables; only the book's column is typed. With
`make results MINE=--mine` you get a column of your own, on your data and models, in a file of your
own; CONTRIBUTING.md says how."""
BOOK = "the CAFA5 data of the book, which it calls CAFA3, and ESM2 (650M, 150M, 8M), as printed"
WHY = """\
- **Other proteins.** The column *real proteins* uses a CAFA6 release of which about a quarter of
  the human sequences could not be had; the book used the files of CAFA5. What `dlfb-provision`
  builds from UniProt is today's annotation. The pocket edition's proteins are simulated, so its
  numbers say how well the lessons show, not how well anything predicts real functions.
- **Another ontology.** Rows without a name are those of terms that the ontology at hand has
  withdrawn or merged, so their number says how far apart the two files' dates are.
- **Another language model.** The shapes of the embeddings tell which: 1280, 320 and 640 numbers
  are ESM2's, other widths the pocket edition's own small model, which stands in for all three at a
  fraction of their size and training.
- **Other means.** Our vectors are means over residues only, where the book's take in padding and
  special tokens. Our scores are means over proteins; the book averages the means of batches, of
  which the last is smaller. How undefined measures count is why there are two tables.
- **Another split.** Ours keeps identical sequences together and does not depend on Python's
  hash seed. The coin and the proportional guess are drawn anew, with a seed."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--mine", action="store_true", help="a run of your own, beside what is stored")
    add("--assets", type=Path, help="the folder that holds proteins/datasets/...")
    add("--checkpoints", help="hub (default for --mine), pocket, or a folder of checkpoints")
    add("--data", help="what the data and the models are, in words for the report")
    add("--output", type=Path, help="a folder (default: my-results)")
    args = parser.parse_args(arguments)
    options = ("assets", "checkpoints", "data", "output")
    if not args.mine and any(getattr(args, name) is not None for name in options):
        parser.error("these options are for a run of your own: add --mine.")
    run, path = mine(args) if args.mine else ours()
    print(f"wrote {path}")
    if run["stopped"]:
        sys.exit(f"Pages that stopped: {', '.join(run['stopped'])}.")


def ours() -> tuple[dict, Path]:
    """Make the two runs that are stored, and results.md."""
    data = "simulated proteins and the pocket edition's small language model"
    runs = {"pocket.json": run_pages(data, {})}
    assets = ROOT.parent / "shared/data/cafa6"
    if assets.is_dir():
        data = "CAFA6 annotation of real human proteins, with the pocket edition's language model"
        there = {"DLFB_ASSETS": str(assets.resolve()), "DLFB_CHECKPOINTS": "pocket"}
        runs["real.json"] = run_pages(data, there, STORED)
    else:
        print(f"{assets} is not there: the column of real proteins stays as it was.")
    for name, run in runs.items():
        if run["stopped"]:
            sys.exit(f"Nothing was stored, as pages stopped: {', '.join(run['stopped'])}.")
        keep(run, STORED / name)
    path = ROOT / "results.md"
    path.write_text(report(stored(), "_static/results/", "the run on real proteins"), "utf8")
    return runs["pocket.json"], path


def mine(args: argparse.Namespace) -> tuple[dict, Path]:
    """Make a reader's own run and report; what is stored is only read."""
    assets = (args.assets or provisioned_dir()).expanduser().resolve()
    if not (assets / "proteins/datasets").is_dir():
        sys.exit(
            f"{assets} has no proteins/datasets. Run `dlfb-provision --chapter proteins` first, or "
            "name your folder: --assets DIR."
        )
    models = args.checkpoints or "hub"
    folder = args.output or ROOT / "my-results"
    there = {"DLFB_EDITION": "full", "DLFB_ASSETS": str(assets), "DLFB_CHECKPOINTS": models}
    run = run_pages(args.data or f"{described(assets)}; language models: {models}", there, folder)
    keep(run, folder / "run.json")
    path = folder / "results.md"
    path.write_text(report({"yours": run, **stored()}, "", "your run"), "utf8")
    return run, path


def described(assets: Path) -> str:
    """Return what the manifest of a provision says of its source and versions."""
    manifest = read_manifest(assets)
    if not manifest["files"]:
        return f"the files in {assets.name}"
    versions = ", ".join(f"{name} {what}" for name, what in manifest["versions"].items())
    return f"dlfb-provision --source {manifest['source']}, {manifest['made'][:10]} ({versions})"


if __name__ == "__main__":
    main()
