"""make bench: times the package beside other ways of doing the same, and writes benchmarks.md.

    python tools/bench.py             everything, some 10 minutes on two quiet cores
    python tools/bench.py --quick     fewer proteins and rounds; into _build, the page stays

Ways are timed in turn, round after round, in one process, so that whatever else the machine does
hits all alike.
"""

import argparse
import datetime
import os
import platform
import re
import statistics
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import optax
import sklearn.metrics as sk
import torch
from transformers import EsmModel

from dlfb.proteins.dataset import Split
from dlfb.proteins.embeddings import get_mean_embeddings
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.metrics import per_protein_metrics
from dlfb.proteins.model import Model
from dlfb.proteins.sequences import read_fasta
from dlfb.proteins.train import predict, train, train_step
from dlfb.utils.context import POCKET_MODEL, assets
from dlfb.utils.restore import restorable

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 500  # residues, as in the chapter's data set
SHAPES = {"8M": (320, 6, 20), "150M": (640, 30, 20), "650M": (1280, 33, 20)}  # of ESM2
N_TRAIN, N_VALID, WIDTH, N_TERMS = 3574, 1191, 640, 303  # the chapter's
CHAPTER, FACEBOOK, SKLEARN = "the chapter's way", "facebookresearch's policy", "scikit-learn by row"
LOOP = "the chapter's loop"
# Set before anything was measured: how many times as fast, and seconds at most.
AIMS, SECONDS = {CHAPTER: 3, FACEBOOK: 1.1, SKLEARN: 50, LOOP: 20}, 0.5


def in_turn(rounds: int, ways: dict) -> dict[str, list[float]]:
    """Time functions in turn; return the seconds of each."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, function in ways.items():
            start = time.perf_counter()
            function()
            spent[name].append(time.perf_counter() - start)
    return spent


def row(what: str, spent: dict, rival: str | None = None, work: tuple = (1, 1)) -> dict:
    """Return a row of the table: medians of the seconds, and the ratios of the rounds' rates."""
    ours = spent["ours"]
    row = {"what": what, "seconds": statistics.median(ours), "rival": rival or "", "times": ""}
    if rival is None:
        return row | {"aim": f"under {SECONDS} s", "met": row["seconds"] < SECONDS}
    ratios = [work[0] * b / work[1] / a for a, b in zip(ours, spent[rival], strict=True)]
    times = statistics.median(ratios)
    row["times"] = f"{times:.3g} ({min(ratios):.3g}–{max(ratios):.3g})"
    return row | {"aim": f"{AIMS[rival]} times", "met": times >= AIMS[rival]}


# Embedding


def embedding(quick: bool) -> list[dict]:
    """Time the mean of every protein's states, each way over the same transformers model."""
    proteins = proteins_by_length()
    tokenizer, pocket = load_language_model(POCKET_MODEL)
    models = {"the small model": pocket.float(), "ESM2 8M's shape": untrained("8M", pocket.config)}
    n, few = (128, 64) if quick else (256, 128)
    many, fewer = sample(proteins, n), sample(proteins, few)
    residues = [sum(map(len, sampled)) for sampled in (many, fewer)]
    rows = []
    for name, model in models.items():
        ways = {
            "ours": lambda: get_mean_embeddings(many, tokenizer, model, "cpu"),  # noqa: B023
            CHAPTER: lambda: chapter_embed(fewer, tokenizer, model),  # noqa: B023
            FACEBOOK: lambda: facebook_embed(many, tokenizer, model),  # noqa: B023
        }
        check(ways["ours"](), ways[FACEBOOK]())
        spent = in_turn(3, ways)
        rate = residues[0] / statistics.median(spent["ours"])
        what = f"embedding {n:,} proteins, {name}, cpu: {rate:,.0f} residues/s"
        rows += [row(what, spent, CHAPTER, residues), row(what, spent, FACEBOOK)]
    return rows


def proteins_by_length(longest: int = LONGEST) -> list[str]:
    """Return the shipped proteins of at most `longest` residues, the shortest first."""
    records = read_fasta(assets("proteins/datasets/train_sequences.fasta"))
    return sorted((s for _, s in records if len(s) <= longest), key=len)


def untrained(name: str, like) -> EsmModel:
    """Return a model of ESM2's shape; its weights are random, as speed does not depend on them."""
    size, layers, heads = SHAPES[name]
    config = type(like)(**like.to_dict() | {
        "hidden_size": size, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": 4 * size, "dtype": "float32"})  # fmt: skip
    torch.manual_seed(0)
    return EsmModel(config, add_pooling_layer=False).eval()


def sample(proteins: list[str], n: int) -> list[str]:
    """Return n proteins whose lengths are quantiles of those given (sorted), in a random order."""
    places = (np.arange(n) + 0.5) / n * len(proteins)
    return [proteins[int(i)] for i in np.random.default_rng(42).permutation(places)]


def chapter_embed(proteins, tokenizer, model) -> np.ndarray:
    """Batches of 64 in file order, padded; mean over all positions."""
    return np.concatenate([
        states(proteins[i : i + 64], tokenizer, model).mean(dim=1).numpy()
        for i in range(0, len(proteins), 64)
    ])  # fmt: skip


def facebook_embed(proteins, tokenizer, model) -> np.ndarray:
    """As its extract.py: by length, 4,096 tokens a batch with padding; mean over residues."""
    batches, means = [[]], np.zeros((len(proteins), model.config.hidden_size), np.float32)
    for i in sorted(range(len(proteins)), key=lambda i: len(proteins[i])):
        if (len(batches[-1]) + 1) * (len(proteins[i]) + 2) > 4096:
            batches.append([])
        batches[-1].append(i)
    for batch in batches:
        computed = states([proteins[i] for i in batch], tokenizer, model)
        for i, protein in zip(batch, computed, strict=True):
            means[i] = protein[1 : len(proteins[i]) + 1].mean(0).numpy()
    return means


@torch.no_grad()
def states(proteins, tokenizer, model):
    return model(**tokenizer(proteins, return_tensors="pt", padding=True)).last_hidden_state


def check(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Stop if we are quick because we compute something else."""
    far = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
    if not far.max() < 1e-4:
        raise SystemExit(f"Our vectors are {far.max():.1e} from facebookresearch's.")


# Scoring, training, restoring


def training(quick: bool) -> list[dict]:
    """Time scoring, training and restoring at the chapter's size, on random data."""
    splits, rng = {}, np.random.default_rng(42)
    for name, n in {"train": N_TRAIN, "valid": N_VALID}.items():
        targets = (rng.random((n, N_TERMS)) < 0.3 / np.arange(1, N_TERMS + 1) ** 0.6).astype("f4")
        targets[np.arange(n), rng.integers(0, N_TERMS, n)] = 1
        vectors = rng.standard_normal((n, WIDTH), dtype=np.float32)
        names = [np.array([str(i) for i in range(size)], object) for size in (n, N_TERMS)]
        splits[name] = Split(vectors, targets, *names)
    valid = splits["valid"]
    state = Model(num_targets=N_TERMS).create_train_state(
        rng=jax.random.PRNGKey(42), dummy_input=valid.embeddings[:1], tx=optax.adam(0.001)
    )
    probs, rounds = predict(state, valid), 1 if quick else 3
    steps = {"num_steps": 30 if quick else 300, "eval_every": 30}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # scikit-learn's, about undefined metrics

        def restore():
            return restorable(train)(state, splits, 32, num_steps=1, store_path=f"{folder}/mlp")

        scored = in_turn(rounds, {
            "ours": lambda: per_protein_metrics(valid.targets, probs),
            SKLEARN: lambda: list(map(score_row, valid.targets, probs)),
        })  # fmt: skip
        trained = in_turn(rounds, {
            "ours": lambda: train(state, splits, 32, **steps),
            LOOP: lambda: chapter_train(state, splits, **steps),
        })  # fmt: skip
        restore()
        restored = in_turn(5, {"ours": restore})
    shape = f"{N_VALID:,} proteins x {N_TERMS} functions"
    return [
        row(f"scoring {shape}", scored, SKLEARN),
        row(f"training, {steps['num_steps']} steps", trained, LOOP),
        row("restoring a trained network", restored),
    ]


def score_row(truth, probs) -> list[float]:
    """Score one protein with scikit-learn."""
    predicted = probs >= 0.5
    return [
        sk.accuracy_score(truth, predicted),
        sk.recall_score(truth, predicted, zero_division=0),
        sk.precision_score(truth, predicted, zero_division=0),
        sk.average_precision_score(truth, probs),
        sk.roc_auc_score(truth, probs),
    ]


def chapter_train(state, splits, num_steps: int, eval_every: int):
    """Train the plain way: batches of 32 cut in Python, every validation protein scored by row."""
    forward = jax.jit(lambda s, x: jax.nn.sigmoid(s.apply_fn({"params": s.params}, x)))
    data, valid, rng = splits["train"], splits["valid"], np.random.default_rng(42)
    batches, means = [], []
    while len(batches) < num_steps:
        order = rng.permutation(len(data.targets))
        batches += [order[i : i + 32] for i in range(0, len(order), 32)]
    for step, rows in enumerate(batches[:num_steps], start=1):
        batch = {"embedding": data.embeddings[rows], "target": data.targets[rows]}
        state, loss = train_step(state, batch)
        float(loss)
        for j in range(0, len(valid.targets), 32) if step % eval_every == 0 else ():
            probs = np.asarray(forward(state, valid.embeddings[j : j + 32]))
            scores = list(map(score_row, valid.targets[j : j + 32], probs))
            means.append(np.mean(scores, axis=0))
    return state, means


# The page


def write_page(rows: list[dict], conditions: str) -> str:
    """Return the page: a verdict, one table, and how it was measured."""
    missed = [r["what"].split(":")[0] for r in rows if not r["met"]]
    verdict = f"**{len(rows) - len(missed)} of {len(rows)} aims are met**, which were set before "
    verdict += "anything was measured" + (f". Missed: {'; '.join(missed)}." if missed else ".")
    lines = ["# How fast is it?", "", verdict, ""]
    lines += ["| what | here | beside | times as fast | aim |", "|---|---|---|---|---|"]
    for r in rows:
        aim = r["aim"] + ("" if r["met"] else ", **missed**")
        lines.append(
            f"| {r['what']} | {r['seconds']:.3g} s | {r['rival']} | {r['times']} | {aim} |"
        )
    lines += ["", "## How it was measured", "", f"- **CPU**: {conditions}"]
    return "\n".join([*lines, HOW])


HOW = """\
- Ways are timed in turn in one process. A time is the median of the rounds, a ratio the median of
  the rounds' ratios, with the least and the greatest behind it.
- *The chapter's way* of embedding takes batches of 64 in file order, padded, and the mean over all
  positions; it is given fewer proteins of the same lengths, and rates are compared.
  *facebookresearch's policy* is that of its `extract.py`: sorted by length, 4,096 tokens per batch,
  mean over residues. All use the same transformers model in float32, on proteins of the shipped set
  of at most 500 residues. Weights of ESM2's shapes are random: speed does not depend on them.
- *The chapter's loop* cuts batches of 32 in Python and scores every validation protein with five
  calls of scikit-learn. Model, data, optimiser, steps and evaluations are the same.
"""


QUICK = (
    " **A quick run** (`--quick`): fewer proteins, and 30 training steps, most of them compiling."
)


def conditions(quick: bool) -> str:
    """Return in words what is measured on, how busy it is, and with which packages."""
    names = ("torch", "transformers", "jax", "flax", "numpy", "scikit-learn")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    load, day = os.getloadavg()[0], datetime.date.today().isoformat()
    busy = f" **Other work was running (load {load:.1f}).**" if load > 0.5 else ""
    python = platform.python_version()
    return f"{processor()}; Python {python}, {packages}; {day}.{busy}{QUICK if quick else ''}"


def processor() -> str:
    """Return the name of this machine's processor, and how many cores it has."""
    info = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", info.read_text() if info.exists() else "")
    return f"{named[1] if named else platform.machine()}, {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer proteins and rounds")
    quick = parser.parse_args().quick
    os.environ["DLFB_PROGRESS"] = "0"
    measured_on = conditions(quick)
    page = ROOT / ("_build/quick-benchmarks.md" if quick else "benchmarks.md")
    page.parent.mkdir(exist_ok=True)
    page.write_text(write_page(embedding(quick) + training(quick), measured_on), "utf8")
    print(page.read_text("utf8"))


if __name__ == "__main__":
    main()
