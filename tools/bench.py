"""Benchmark embedding: `make bench`, or `python tools/bench.py --quick`.

Ways of computing the same vectors are timed in turn, round after round, in one process, so that
whatever else the machine does hits all alike; a ratio is the median over the rounds of that round's
ratio. The machine's own rate of matrix products, at the model's shapes, is measured in the same
rounds. Weights are random where there is no checkpoint (speed does not depend on them).

The rivals:

chapter            the chapter's way: batches of 64 in file order, padded, mean over all positions
facebookresearch   the policy of its extract.py: sorted by length, 4,096 tokens a batch with
                   padding, float32, mean over residues; over the same transformers model
"""

import argparse
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import EsmConfig, EsmModel, EsmTokenizer

from dlfb.proteins import forward
from dlfb.proteins.embeddings import get_mean_embeddings
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.sequences import AMINO_ACIDS, read_fasta

ROOT = Path(__file__).parent.parent
REAL = ROOT.parent / "shared/data/cafa6/proteins/datasets/train_sequences.fasta"
WINDOW = 1022
# name: (hidden size, layers, heads, share of the proteins: the larger models take long)
SHAPES = {
    "8M": (320, 6, 20, 1.0),
    "150M": (640, 30, 20, 0.128),
    "650M": (1280, 33, 20, 0.128),
}
WAYS = ("chapter", "facebookresearch", "exact", "fast")

clock = time.perf_counter


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    os.environ["DLFB_PROGRESS"] = "0"
    if args.threads:
        torch.set_num_threads(args.threads)
    global clock
    clock = time.process_time if args.cpu_time else time.perf_counter
    device = torch.device(args.device)
    lengths, source = protein_lengths()
    lines = [*preamble(args, device, source), *header()]
    for name in args.models:
        loaded = load(name)
        if loaded is None:
            say(f"{name}: not there, left out")
            continue
        for cut in args.cuts:
            proteins = sample(lengths, cut, args.proteins, SHAPES.get(name, (0, 0, 0, 1.0))[3])
            lines += rows(name, *loaded, cut, proteins, args.rounds, device)
    text = "\n".join(lines) + "\n"
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(text)
    print(text)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, default=ROOT / "_build/bench.md", help="the table, Markdown")
    add("--quick", action="store_true", help="some minutes: fewer proteins, three rounds, no 150M")
    add("--models", nargs="+", choices=[*SHAPES, "pocket"], default=None)
    add("--proteins", type=int, default=None, help="1,000; of them 128 for the larger models")
    add("--cuts", type=int, nargs="+", default=None, help="keep proteins of at most 500 residues "
        "(the chapter's way), or truncate to 1022 (the model's window)")  # fmt: skip
    add("--rounds", type=int, default=None)
    add("--threads", type=int, default=None, help="of torch; default: its own choice")
    add("--device", default="cpu")
    add("--cpu-time", action="store_true", help="CPU seconds instead of elapsed ones: on a busy "
        "machine, with --threads 1")  # fmt: skip
    args = parser.parse_args(arguments)
    args.models = args.models or (["pocket", "8M"] if args.quick else ["pocket", "8M", "150M"])
    args.proteins = args.proteins or (128 if args.quick else 1000)
    args.cuts = args.cuts or ([500] if args.quick else [500, WINDOW])
    args.rounds = args.rounds or (3 if args.quick else 5)
    return args


def protein_lengths() -> tuple[np.ndarray, str]:
    """Return lengths to draw from, and what they are."""
    if REAL.exists():
        lengths = np.array([len(sequence) for _, sequence in read_fasta(REAL)])
        return lengths, f"{len(lengths):,} proteins of CAFA6"
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(6.05, 0.75, 50_000)).astype(int).clip(20)
    return lengths, "log-normal (mean log 6.05, deviation 0.75), which is near CAFA6's"


def sample(lengths: np.ndarray, cut: int, proteins: int, share: float) -> list[str]:
    rng = np.random.default_rng(42)
    lengths = np.minimum(lengths, WINDOW) if cut == WINDOW else lengths[lengths <= cut]
    drawn = rng.choice(lengths, max(1, round(proteins * share)))
    return ["".join(rng.choice(AMINO_ACIDS, n)) for n in drawn]


def load(name: str) -> tuple[EsmTokenizer, EsmModel] | None:
    from dlfb import pocket

    here = (pocket.model_dir() / "config.json").is_file()
    if name == "pocket":
        return load_language_model("pocket") if here else None
    size, layers, heads, _ = SHAPES[name]
    torch.manual_seed(0)
    config = EsmConfig(
        vocab_size=33, mask_token_id=32, pad_token_id=1, hidden_size=size,
        num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * size,
        max_position_embeddings=1026, position_embedding_type="rotary", token_dropout=True,
        emb_layer_norm_before=False, layer_norm_eps=1e-5, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return vocabulary(), EsmModel(config, add_pooling_layer=False).eval()


def vocabulary() -> EsmTokenizer:
    import tempfile

    tokens = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.txt"
        file.write_text("\n".join([*tokens, "<mask>"]))
        return EsmTokenizer(str(file))


@torch.no_grad()
def chapter(proteins, tokenizer, model, device) -> np.ndarray:
    means = []
    for start in range(0, len(proteins), 64):
        batch = tokenizer(proteins[start : start + 64], return_tensors="pt", padding=True)
        means.append(model(**batch.to(device)).last_hidden_state.mean(dim=1).cpu().numpy())
    return np.concatenate(means)


@torch.no_grad()
def facebookresearch(proteins, tokenizer, model, device) -> np.ndarray:
    means = np.zeros((len(proteins), model.config.hidden_size), np.float32)
    batches, batch = [], []
    for i in sorted(range(len(proteins)), key=lambda i: len(proteins[i])):
        if batch and (len(batch) + 1) * (len(proteins[i]) + 2) > 4096:
            batches, batch = [*batches, batch], []
        batch.append(i)
    for chosen in [*batches, batch]:
        inputs = tokenizer([proteins[i] for i in chosen], return_tensors="pt", padding=True)
        states = model(**inputs.to(device)).last_hidden_state.cpu()
        for i, protein in zip(chosen, states, strict=True):
            means[i] = protein[1 : len(proteins[i]) + 1].mean(0).numpy()
    return means


def product_rate(model: EsmModel, device: torch.device, dtype: torch.dtype) -> float:
    """Return the rate of a layer's matrix products alone, in FLOP/s: best of five."""
    size, tokens = model.config.hidden_size, 16384 if device.type == "cuda" else 2048
    shapes = [(size, 3 * size), (size, size), (size, 4 * size), (4 * size, size)]
    work = [
        (torch.randn(tokens, i, device=device, dtype=dtype),
         torch.randn(o, i, device=device, dtype=dtype)) for i, o in shapes
    ]  # fmt: skip
    best = float("inf")
    for _ in range(5):
        _, seconds = timed(lambda: [F.linear(x, w) for x, w in work], device)
        best = min(best, seconds)
    return 2 * tokens * sum(i * o for i, o in shapes) / best


def useful_flops(proteins: list[str], model: EsmModel) -> float:
    """Return the work that no way can do without: matrix products and attention, no padding."""
    size, tokens = model.config.hidden_size, np.array([len(p) + 2 for p in proteins], float)
    per_layer = (24 * size**2 + 4 * tokens * size) * tokens
    return model.config.num_hidden_layers * per_layer.sum()


def timed(function, device: torch.device):
    start = clock()
    result = function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return result, clock() - start


def rows(name, tokenizer, model, cut, proteins, rounds, device) -> list[str]:
    """Time every way in turn, and return the lines of the table."""
    model.to(device)
    ways = {
        "chapter": lambda: chapter(proteins, tokenizer, model, device),
        "facebookresearch": lambda: facebookresearch(proteins, tokenizer, model, device),
        "exact": lambda: get_mean_embeddings(proteins, tokenizer, model, device),
        "fast": lambda: get_mean_embeddings(proteins, tokenizer, model, device, precision="fast"),
    }
    dtypes = dict.fromkeys(WAYS, torch.float32) | {"fast": forward.dtype_for("fast", device)}
    get_mean_embeddings(proteins[:8], tokenizer, model, device)  # warm up
    seconds, rates = {way: [] for way in WAYS}, {dtype: [] for dtype in dtypes.values()}
    for i in range(rounds):
        vectors = {}
        for dtype in rates:
            rates[dtype].append(product_rate(model, device, dtype))
        for way in WAYS:
            vectors[way], spent = timed(ways[way], device)
            seconds[way].append(spent)
            say(f"{name}, cut {cut}, round {i + 1} of {rounds}: {way} {spent:.1f} s")
        for way, tolerance in (("exact", 1e-5), ("fast", 2e-2)):
            far = np.linalg.norm(vectors[way] - vectors["facebookresearch"], axis=1)
            far = (far / np.linalg.norm(vectors["facebookresearch"], axis=1)).max()
            if not far < tolerance:
                raise SystemExit(
                    f"{way} is {far:.1e} from facebookresearch's: not the same vectors"
                )
    flops, residues = useful_flops(proteins, model), sum(map(len, proteins))
    lines = []
    for way in WAYS:
        ratios = [ratio(seconds[rival], seconds[way]) for rival in WAYS[:2]]
        kind = str(dtypes[way]).removeprefix("torch.")
        rate = statistics.median(
            flops / s / r for s, r in zip(seconds[way], rates[dtypes[way]], strict=True)
        )
        median = statistics.median(seconds[way])
        product = statistics.median(rates[dtypes[way]]) / 1e9
        lines.append(
            f"| {name} | {cut:,} | {len(proteins):,} | {way} | {kind} | {median:.1f} | "
            f"{residues / median:,.0f} | {' | '.join(ratios)} | {product:,.0f} | {rate:.0%} |"
        )
    return lines


def ratio(rival: list[float], own: list[float]) -> str:
    each = [r / o for r, o in zip(rival, own, strict=True)]
    return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


def preamble(args, device, source) -> list[str]:
    load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    noisy = load_average > 0.5 and not args.cpu_time and device.type == "cpu"
    turns = f"{args.rounds} rounds, in turn{', CPU seconds' if args.cpu_time else ''}"
    return [
        f"{machine}; {os.cpu_count()} cores, {torch.get_num_threads()} threads; "
        f"torch {torch.__version__}; {turns}. Lengths: {source}."
        + (f" **Other work was running (load {load_average:.1f}): take care.**" if noisy else ""),
        "",
    ]


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(
                line.split(":")[1].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def header() -> list[str]:
    names = (
        "model", "residues at most", "proteins", "way", "precision", "seconds", "residues/s",
        "times the chapter's", "times facebookresearch's", "matrix products, GFLOP/s",
        "share of that",
    )  # fmt: skip
    return [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
