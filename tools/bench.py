"""make bench: times the package beside other ways of doing the same, and writes benchmarks.md.

    python tools/bench.py                 everything, some 10 minutes on two quiet cores
    python tools/bench.py --quick         fewer proteins and rounds; into _build, the page stays
    python tools/bench.py --device cuda   embedding on a GPU; the rows of the CPU stay

Ways are timed in turn, round after round, in one process, so that whatever else the machine does
hits all alike. Figures go to _static/benchmarks.json, and the page is written from that file.
"""

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 500  # residues, as in the chapter's data set
SHAPES = {"8M": (320, 6, 20), "150M": (640, 30, 20), "650M": (1280, 33, 20)}  # of ESM2
N_TRAIN, N_VALID, WIDTH, N_TERMS = 3574, 1191, 640, 303  # the chapter's
CHAPTER, FACEBOOK, SKLEARN = "the chapter's way", "facebookresearch's policy", "scikit-learn by row"
# Set before anything was measured: how many times as fast, and seconds at most.
AIMS = {CHAPTER: 3, FACEBOOK: 1.1, SKLEARN: 50, "the chapter's loop": 20}
SECONDS = 0.5


def in_turn(rounds: int, ours, **rivals) -> tuple[list[float], dict[str, list[float]]]:
    """Time functions in turn; return our seconds, and those of each rival."""
    spent: dict[str, list[float]] = {name: [] for name in ("", *rivals)}
    for _ in range(rounds):
        for name, function in {"": ours, **rivals}.items():
            start = time.perf_counter()
            function()
            spent[name].append(time.perf_counter() - start)
    return spent.pop(""), spent


def row(what: str, ours: list[float], rival: str = "", theirs=(), work: tuple = (1, 1)) -> dict:
    """Return a row of the table: medians of the seconds, and the ratios of the rounds' rates."""
    ratios = [work[0] * b / work[1] / a for a, b in zip(ours, theirs, strict=False)]
    seconds = statistics.median(ours)
    times = [statistics.median(ratios), min(ratios), max(ratios)] if ratios else None
    met = times[0] >= AIMS[rival] if times else seconds < SECONDS
    aim = f"{AIMS[rival]} times" if times else f"under {SECONDS} s"
    return {"what": what, "seconds": seconds, "rival": rival, "times": times, "aim": aim,
            "met": bool(met), "rounds": len(ours)}  # fmt: skip


# Embedding


def embedding(device: str, quick: bool) -> list[dict]:
    """Time the mean of every protein's states, each way over the same transformers model."""
    import torch
    from transformers import EsmModel

    from dlfb.proteins.embeddings import get_mean_embeddings
    from dlfb.proteins.language_model import load_language_model
    from dlfb.proteins.sequences import read_fasta
    from dlfb.utils.context import POCKET_MODEL, assets

    records = read_fasta(assets("proteins/datasets/train_sequences.fasta"))
    proteins = sorted((s for _, s in records if len(s) <= LONGEST), key=len)
    tokenizer, pocket = load_language_model(POCKET_MODEL)
    models, rounds = {"the small model": pocket.float()}, 3
    for name in ("8M",) if device == "cpu" else SHAPES:
        size, layers, heads = SHAPES[name]
        config = type(pocket.config)(**pocket.config.to_dict() | {
            "hidden_size": size, "num_hidden_layers": layers, "num_attention_heads": heads,
            "intermediate_size": 4 * size, "dtype": "float32"})  # fmt: skip
        torch.manual_seed(0)  # speed does not depend on the weights
        models[f"ESM2 {name}'s shape"] = EsmModel(config, add_pooling_layer=False).eval()
    rows = []
    for name, model in models.items():
        model.to(device)
        n, few = (128, 64) if quick else (256, 128) if device == "cpu" else (1000, 1000)
        many, fewer = sample(proteins, n), sample(proteins, few)
        ways = {
            "ours": lambda: get_mean_embeddings(many, tokenizer, model, device),  # noqa: B023
            CHAPTER: lambda: chapter_embed(fewer, tokenizer, model, device),  # noqa: B023
            FACEBOOK: lambda: facebook_embed(many, tokenizer, model, device),  # noqa: B023
        }
        check(ways["ours"](), ways[FACEBOOK]())
        ours, rivals = in_turn(rounds, ways.pop("ours"), **ways)
        residues = [sum(map(len, proteins)) for proteins in (many, fewer)]
        rate = residues[0] / statistics.median(ours)
        what = f"embedding {len(many):,} proteins, {name}, {device}: {rate:,.0f} residues/s"
        rows.append(row(what, ours, CHAPTER, rivals[CHAPTER], work=residues))
        rows.append(row(what, ours, FACEBOOK, rivals[FACEBOOK]))
    return rows


def sample(proteins: list[str], n: int) -> list[str]:
    """Return n proteins whose lengths are quantiles of those given (sorted), in a random order."""
    places = (np.arange(n) + 0.5) / n * len(proteins)
    return [proteins[int(i)] for i in np.random.default_rng(42).permutation(places)]


def chapter_embed(proteins, tokenizer, model, device) -> np.ndarray:
    """Batches of 64 in file order, padded; mean over all positions."""
    return np.concatenate([
        states(proteins[i : i + 64], tokenizer, model, device).mean(dim=1).cpu().numpy()
        for i in range(0, len(proteins), 64)
    ])  # fmt: skip


def facebook_embed(proteins, tokenizer, model, device) -> np.ndarray:
    """As its extract.py: by length, 4,096 tokens a batch with padding; mean over residues."""
    batches, means = [[]], np.zeros((len(proteins), model.config.hidden_size), np.float32)
    for i in sorted(range(len(proteins)), key=lambda i: len(proteins[i])):
        if (len(batches[-1]) + 1) * (len(proteins[i]) + 2) > 4096:
            batches.append([])
        batches[-1].append(i)
    for batch in batches:
        computed = states([proteins[i] for i in batch], tokenizer, model, device).cpu()
        for i, protein in zip(batch, computed, strict=True):
            means[i] = protein[1 : len(proteins[i]) + 1].mean(0).numpy()
    return means


def states(proteins, tokenizer, model, device):
    import torch

    with torch.no_grad():
        inputs = tokenizer(proteins, return_tensors="pt", padding=True).to(device)
        return model(**inputs).last_hidden_state


def check(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Stop if we are quick because we compute something else."""
    far = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
    if not far.max() < 1e-4:
        raise SystemExit(f"Our vectors are {far.max():.1e} from facebookresearch's.")


# Scoring, training, restoring


def training(quick: bool) -> list[dict]:
    """Time scoring, training and restoring at the chapter's size, on random data."""
    import jax
    import optax

    from dlfb.proteins.dataset import Split
    from dlfb.proteins.metrics import per_protein_metrics
    from dlfb.proteins.model import Model
    from dlfb.proteins.train import predict, train
    from dlfb.utils.restore import restorable

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
    steps = {"num_steps": 30, "eval_every": 30} if quick else {"num_steps": 300, "eval_every": 30}
    loop = {"the chapter's loop": lambda: chapter_train(state, splits, **steps)}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # scikit-learn's, about undefined metrics
        rivals = {SKLEARN: lambda: [score_row(*pair) for pair in zip(valid.targets, probs)]}  # noqa: B905
        scored = in_turn(rounds, lambda: per_protein_metrics(valid.targets, probs), **rivals)
        trained = in_turn(rounds, lambda: train(state, splits, 32, **steps), **loop)

        def restore():
            return restorable(train)(state, splits, 32, num_steps=1, store_path=f"{folder}/mlp")

        restore()
        restored, _ = in_turn(5, restore)
    shape = f"{N_VALID:,} proteins x {N_TERMS} functions"
    return [
        row(f"scoring {shape}", scored[0], SKLEARN, scored[1][SKLEARN]),
        *(
            row(f"training, {steps['num_steps']} steps", trained[0], k, v)
            for k, v in trained[1].items()
        ),
        row("restoring a trained network", restored),
    ]


def score_row(truth, probs) -> list[float]:
    """Score one protein with scikit-learn."""
    import sklearn.metrics as sk

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
    import jax

    from dlfb.proteins.train import train_step

    forward = jax.jit(lambda s, x: jax.nn.sigmoid(s.apply_fn({"params": s.params}, x)))
    rng, step, means = np.random.default_rng(42), 0, []
    data, valid = splits["train"], splits["valid"]
    while step < num_steps:
        order = rng.permutation(len(data.targets))
        for i in range(0, len(order), 32):
            rows = order[i : i + 32]
            batch = {"embedding": data.embeddings[rows], "target": data.targets[rows]}
            state, loss = train_step(state, batch)
            float(loss)
            step += 1
            if step % eval_every == 0:
                for j in range(0, len(valid.targets), 32):
                    probs = np.asarray(forward(state, valid.embeddings[j : j + 32]))
                    pairs = zip(valid.targets[j : j + 32], probs, strict=True)
                    means.append(np.mean([score_row(*pair) for pair in pairs], axis=0))
            if step == num_steps:
                break
    return state, means


# The page


def write_page(runs: dict[str, dict]) -> str:
    """Return the page: a verdict, one table, and how it was measured."""
    rows = [row for run in runs.values() for row in run["rows"]]
    missed = [r["what"].split(":")[0] for r in rows if not r["met"]]
    verdict = f"**{len(rows) - len(missed)} of {len(rows)} aims are met**, which were set before "
    verdict += "anything was measured" + (f". Missed: {'; '.join(missed)}." if missed else ".")
    lines = ["# How fast is it?", "", verdict, ""]
    lines += ["| what | here | beside | times as fast | aim |", "|---|---|---|---|---|"]
    for r in rows:
        times = "{:.3g} ({:.3g}–{:.3g})".format(*r["times"]) if r["times"] else ""
        aim = r["aim"] + ("" if r["met"] else ", **missed**")
        lines.append(f"| {r['what']} | {r['seconds']:.3g} s | {r['rival']} | {times} | {aim} |")
    lines += ["", "## How it was measured", ""]
    lines += [f"- **{device.upper()}**: {run['conditions']}" for device, run in runs.items()]
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


def conditions(device: str, load: float, quick: bool) -> str:
    import torch

    names = ("torch", "transformers", "jax", "flax", "numpy", "scikit-learn")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    info = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", info.read_text() if info.exists() else "")
    cpu = named.group(1) if named else platform.processor() or platform.machine()
    where = torch.cuda.get_device_name() if device == "cuda" else f"{cpu}, {os.cpu_count()} cores"
    day = datetime.date.today().isoformat()
    busy = f" **Other work was running (load {load:.1f}).**" if load > 0.5 else ""
    quick_run = QUICK if quick else ""
    return f"{where}; Python {platform.python_version()}, {packages}; {day}.{busy}{quick_run}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer proteins and rounds")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()
    os.environ["DLFB_PROGRESS"] = "0"
    figures, page = ROOT / "_static" / "benchmarks.json", ROOT / "benchmarks.md"
    if args.quick:
        figures, page = (ROOT / "_build" / f"quick-{path.name}" for path in (figures, page))
        figures.parent.mkdir(exist_ok=True)
    runs, load = json.loads(figures.read_text()) if figures.exists() else {}, os.getloadavg()[0]
    rows = embedding(args.device, args.quick)
    rows += training(args.quick) if args.device == "cpu" else []
    runs[args.device] = {"rows": rows, "conditions": conditions(args.device, load, args.quick)}
    figures.write_text(json.dumps(runs, indent=1, ensure_ascii=False) + "\n", "utf8")
    page.write_text(write_page(runs), "utf8")
    print(page.read_text("utf8"))


if __name__ == "__main__":
    main()
