"""Embedding, timed against two rivals: a part of `make bench`.

Ways of computing the same vectors are timed in turn, round after round, in one process, so that
whatever else the machine does hits all alike; a ratio is the median over the rounds of that round's
ratio of residues a second. The machine's own rate of matrix products, at the model's shapes, is
measured in the same rounds. Weights are random but for the pocket model's (speed does not depend on
them); lengths are those of real proteins.

chapter            the chapter's way: batches of 64 in file order, padded, mean over all positions
facebookresearch   the policy of its extract.py: sorted by length, 4,096 tokens a batch with
                   padding, float32, mean over residues; over the same transformers model
exact, fast        get_mean_embeddings in that precision
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import EsmConfig, EsmModel, EsmTokenizer

from dlfb.proteins import forward, packed_forward
from dlfb.proteins.embeddings import get_mean_embeddings
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.sequences import AMINO_ACIDS, read_fasta

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared/data/cafa6/proteins/datasets/train_sequences.fasta"
LONGEST = 500  # as in the chapter's data set
WAYS = ("chapter", "facebookresearch", "exact", "fast")
RIVALS = WAYS[:2]
# How far a way's vectors may be from facebookresearch's, relative to their length.
TOLERANCES = {"exact": 1e-5, "fast": 2e-2}
# hidden size, layers, heads
SHAPES = {"8M": (320, 6, 20), "150M": (640, 30, 20), "650M": (1280, 33, 20)}


class Plan(NamedTuple):
    """How much of a model is timed: a round must not take too long."""

    model: str
    proteins: int
    by_chapter: int  # How many of them the chapter's way, the slowest, is given.
    rounds: int


# A batch of the chapter's pads to its longest; one of fewer than 64 would do so less.
PLANS = {
    "cpu": (Plan("pocket", 1000, 128, 5), Plan("8M", 512, 128, 5), Plan("150M", 64, 64, 3)),
    "cuda": tuple(Plan(name, 1000, 1000, 5) for name in ("8M", "150M", "650M")),
    "quick": (Plan("pocket", 128, 64, 3), Plan("8M", 64, 64, 3)),
}


def measure(plan: Plan, device: torch.device, lengths: np.ndarray, say=print) -> list[dict]:
    """Time every way in turn; return a row of figures for each."""
    tokenizer, model = load(plan.model)
    model.to(device)
    proteins = sample(lengths, plan.proteins)
    given = dict.fromkeys(WAYS, proteins) | {"chapter": sample(lengths, plan.by_chapter)}
    dtypes = dict.fromkeys(WAYS, torch.float32) | {"fast": forward.dtype_for("fast", device)}
    embed(WAYS[-1], proteins[:8], tokenizer, model, device)  # warm up
    seconds = {way: [] for way in WAYS}
    rates = {dtype: [] for dtype in dtypes.values()}
    for i in range(plan.rounds):
        vectors = {}
        for dtype in rates:
            rates[dtype].append(product_rate(model, device, dtype))
        for way in WAYS:
            vectors[way], spent = timed(embed, device, way, given[way], tokenizer, model, device)
            seconds[way].append(spent)
            say(f"{plan.model}, round {i + 1} of {plan.rounds}: {way} {spent:.1f} s")
        check(vectors)
    residues = {way: sum(map(len, given[way])) for way in WAYS}
    per_second = {way: [residues[way] / s for s in seconds[way]] for way in WAYS}
    return [
        {
            "model": plan.model,
            "way": way,
            "precision": str(dtypes[way]).removeprefix("torch."),
            "proteins": len(given[way]),
            "rounds": plan.rounds,
            "seconds": statistics.median(seconds[way]),
            "residues_per_second": statistics.median(per_second[way]),
            "times": {rival: ratios(per_second[way], per_second[rival]) for rival in RIVALS},
            "product_gflops": statistics.median(rates[dtypes[way]]) / 1e9,
            "share_of_product_rate": statistics.median(
                useful_flops(given[way], model) / s / rate
                for s, rate in zip(seconds[way], rates[dtypes[way]], strict=True)
            ),
        }
        for way in WAYS
    ]


def protein_lengths() -> tuple[np.ndarray, str]:
    """Return lengths to draw from, and what they are."""
    if REAL.exists():
        lengths = np.array([len(sequence) for _, sequence in read_fasta(REAL)])
        source = f"the {np.sum(lengths <= LONGEST):,} proteins of CAFA6"
    else:
        lengths = np.exp(np.random.default_rng(0).normal(6.05, 0.75, 50_000)).astype(int).clip(20)
        source = "a log-normal (mean log 6.05, deviation 0.75), which is near CAFA6's"
    return np.sort(lengths[lengths <= LONGEST]), f"{source} of at most {LONGEST} residues"


def sample(lengths: np.ndarray, proteins: int) -> list[str]:
    """Return proteins whose lengths are quantiles of `lengths` (sorted), in an order by chance.

    So a few proteins have the same distribution of lengths as many.
    """
    rng = np.random.default_rng(42)
    places = (np.arange(proteins) + 0.5) / proteins * len(lengths)
    drawn = rng.permutation(lengths[places.astype(int)])
    return ["".join(rng.choice(AMINO_ACIDS, n)) for n in drawn]


def load(name: str) -> tuple[EsmTokenizer, EsmModel]:
    if name == "pocket":
        return load_language_model("pocket")
    size, layers, heads = SHAPES[name]
    torch.manual_seed(0)
    config = EsmConfig(
        vocab_size=33, mask_token_id=32, pad_token_id=1, hidden_size=size,
        num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * size,
        max_position_embeddings=1026, position_embedding_type="rotary", token_dropout=True,
        emb_layer_norm_before=False, layer_norm_eps=1e-5, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    tokens = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>"]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder) / "vocab.txt"
        vocabulary.write_text("\n".join([*tokens, "<mask>"]))
        tokenizer = EsmTokenizer(str(vocabulary))
    return tokenizer, EsmModel(config, add_pooling_layer=False).eval()


def embed(way: str, proteins, tokenizer, model, device) -> np.ndarray:
    if way in RIVALS:
        return globals()[way](proteins, tokenizer, model, device)
    return get_mean_embeddings(proteins, tokenizer, model, device, precision=way)


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


def check(vectors: dict[str, np.ndarray]) -> None:
    """Stop if a way is quick because it computes something else."""
    right = vectors["facebookresearch"]
    for way, tolerance in TOLERANCES.items():
        far = np.linalg.norm(vectors[way] - right, axis=1) / np.linalg.norm(right, axis=1)
        if not far.max() < tolerance:
            raise SystemExit(f"{way} is {far.max():.1e} from facebookresearch's: other vectors.")


def product_rate(model: EsmModel, device: torch.device, dtype: torch.dtype) -> float:
    """Return the rate of a layer's matrix products alone, in FLOP/s: best of five.

    On a CPU with weights as PyTorch has them and as oneDNN prefers them, whichever is quicker.
    """
    size, tokens = model.config.hidden_size, 16384 if device.type == "cuda" else 2048
    shapes = [(size, 3 * size), (size, size), (size, 4 * size), (4 * size, size)]
    work: list[tuple[torch.Tensor, list[packed_forward.Product]]] = []
    for i, o in shapes:
        weight, bias = (torch.randn(*shape, device=device, dtype=dtype) for shape in ((o, i), (o,)))
        ways = [packed_forward.Product(weight, bias)]
        if device.type == "cpu":
            ways.append(packed_forward.prepare(weight, bias, dtype))
        work.append((torch.randn(tokens, i, device=device, dtype=dtype), ways))

    def layer(way: int) -> None:
        for x, ways in work:
            packed_forward.linear(x, ways[way])

    best = min(timed(layer, device, way)[1] for way in range(len(ways)) for _ in range(5))
    return 2 * tokens * sum(i * o for i, o in shapes) / best


def useful_flops(proteins: list[str], model: EsmModel) -> float:
    """Return the work that no way can do without: matrix products and attention, no padding."""
    size, tokens = model.config.hidden_size, np.array([len(p) + 2 for p in proteins], float)
    per_layer = (24 * size**2 + 4 * tokens * size) * tokens
    return model.config.num_hidden_layers * per_layer.sum()


def timed(function, device: torch.device, *args):
    start = time.perf_counter()
    result = function(*args)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return result, time.perf_counter() - start


def ratios(own: list[float], rival: list[float]) -> list[float]:
    """Return the median, the least and the greatest of the rounds' ratios."""
    each = [a / b for a, b in zip(own, rival, strict=True)]
    return [statistics.median(each), min(each), max(each)]
