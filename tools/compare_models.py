"""make compare: trains the networks of page 11 and writes what they score on the validation set.

    python tools/compare_models.py

One protocol: each row of the table differs from the reference in what its name says, and in nothing
else. It is trained from five seeds, which decide the first weights, the order of proteins and what
dropout leaves out; `train` keeps the weights of the best evaluation on the validation set. The test
set is not used.

The small language model reads each protein once. Its states and each row's scores are kept in the
cache under proteins/models/better_model, so a run that was stopped continues. Delete that folder
after changing the code of a network.
"""

import functools
import re
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import torch
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from dlfb.proteins.baselines import composition_features
from dlfb.proteins.dataset import function_table, split_proteins
from dlfb.proteins.embeddings import get_mean_embeddings
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.metrics import fmax, per_protein_metrics, per_term_metrics
from dlfb.proteins.model import Model
from dlfb.proteins.ontology import ancestors, read_ontology
from dlfb.proteins.sequences import AMINO_ACIDS, encode
from dlfb.proteins.splits import Split
from dlfb.proteins.train import predict, train
from dlfb.utils.context import POCKET_MODEL, assets, checkpoint_name
from dlfb.utils.fingerprint import fingerprint
from dlfb.utils.restore import kept, restorable

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "dlfb/pocket/proteins/better_model.tsv"
CHECKPOINT, SECOND = "facebook/esm2_t30_150M_UR50D", "facebook/esm2_t6_8M_UR50D"
SEEDS = range(42, 47)
LONGEST, WINDOW = 500, 5  # residues
BRANCHES = ("GO:0003824", "GO:0005488")  # catalytic activity, binding; the rest is a third group


# The networks that are not the chapter's


class Layers(Model):
    """Have any number of hidden layers, of the given widths."""

    widths: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x):
        for width in self.widths:
            x = nn.gelu(nn.Dense(width)(x))
            x = nn.Dropout(self.dropout, deterministic=not self.has_rng("dropout"))(x)
        return nn.Dense(self.num_targets)(x)


class OnePerFunction(Model):
    """Give each function a network of its own, with one hidden layer of `dim` units."""

    @nn.compact
    def __call__(self, x):
        hidden = nn.gelu(nn.DenseGeneral((self.num_targets, self.dim))(x))  # (..., T, dim)
        hidden = nn.Dropout(self.dropout, deterministic=not self.has_rng("dropout"))(hidden)
        draw = nn.initializers.lecun_normal(in_axis=1, out_axis=0)
        weights = self.param("weights", draw, (self.num_targets, self.dim))
        bias = self.param("bias", nn.initializers.zeros, (self.num_targets,))
        return (hidden * weights).sum(axis=-1) + bias


class OnePerGroup(Model):
    """Give each group of functions a network; `groups` has the group's number of each one."""

    groups: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x):
        sizes = np.bincount(self.groups)
        logits = [Model(int(size), self.dim, self.dropout)(x) for size in sizes]
        order = np.argsort(np.argsort(self.groups, kind="stable"))
        return jnp.concatenate(logits, axis=-1)[..., order]


class AttentionPooling(Model):
    """Learn how much each window of residues counts in the mean."""

    heads: int = 4

    @nn.compact
    def __call__(self, x):  # (..., windows, D), zeros behind the end
        inside = (x != 0).any(axis=-1, keepdims=True)
        # Zeros give the plain mean, from which training starts.
        scores = nn.Dense(self.heads, kernel_init=nn.initializers.zeros)(x)
        shares = nn.softmax(jnp.where(inside, scores, -jnp.inf), axis=-2)
        pooled = jnp.einsum("...lh,...ld->...hd", shares, x)
        x = pooled.reshape(*x.shape[:-2], -1)
        return Model(self.num_targets, self.dim, self.dropout)(x)


class Convolution(Model):
    """Look for short motifs in the letters themselves, without a language model."""

    motifs: int = 64
    width: int = 9

    @nn.compact
    def __call__(self, x):  # (..., residues), numbers of letters, -1 behind the end
        letters = jax.nn.one_hot(x.astype(int), len(AMINO_ACIDS) + 1)
        found = nn.relu(nn.Conv(self.motifs, (self.width,))(letters))
        best = jnp.where(x[..., None] >= 0, found, 0).max(axis=-2)
        return Model(self.num_targets, self.dim, self.dropout)(best)


# The rows


def row(
    part, name, inputs="last layer", network=Model, steps=1000, batch=128, decay=0.1, **options
):
    """Return a line of the table: what it changes about the reference."""
    return {
        "part": part, "row": name, "inputs": inputs, "network": network, "steps": steps,
        "batch": batch, "decay": decay, "options": {"dropout": 0.3} | options,
    }  # fmt: skip


ROWS = [
    row("training", "reference"),
    row("training", "as on page 7", batch=32, decay=0.0, dropout=0.0),
    row("training", "no dropout, no weight decay", decay=0.0, dropout=0.0),
    row("training", "no dropout", dropout=0.0),
    row("training", "dropout 0.5", dropout=0.5),
    row("training", "no weight decay", decay=0.0),
    row("training", "weight decay 1", decay=1.0),
    row("training", "500 steps", steps=500),
    row("training", "2,000 steps", steps=2000),
    row("shape", "no hidden layer", network=Layers),
    row("shape", "one hidden layer", network=Layers, widths=(512,)),
    row("shape", "three hidden layers", network=Layers, widths=(512, 256, 256)),
    row("shape", "a quarter as wide", dim=64),
    row("shape", "twice as wide", dim=512),
    row("shape", "one network per group", network=OnePerGroup),
    row("shape", "one network per function", network=OnePerFunction, dim=8, dropout=0.0),
    row("input", "not standardised", "last layer as it is"),
    row("input", "input embeddings", "layer 0"),
    row("input", "layer 3 of 6", "layer 3"),
    row("input", "layer 5 of 6", "layer 5"),
    row("input", "all layers joined", "layers"),
    row("input", "with extreme windows", "windows"),
    row("input", "with length", "with length"),
    row("input", "with composition, length", "with composition"),
    row("input", "composition, length only", "composition"),
    row("input", "two language models", "two models"),
    row("input", "attention pooling", "windows in order", AttentionPooling),
    row("input", "one-hot, convolution", "letters", Convolution, batch=32),
    row("proteins", "half of the proteins", "half"),
    row("proteins", "long proteins added", "long, too"),
    row("proteins", "the same, 2,000 steps", "long, too", steps=2000),
    row("combined", "dropout 0.5, 4,000 steps", steps=4000, dropout=0.5),
]
if checkpoint_name(SECOND) == checkpoint_name(CHECKPOINT):
    # The pocket edition has one language model, which answers for both.
    ROWS = [line for line in ROWS if line["inputs"] != "two models"]


# The data


@torch.inference_mode()
def read(sequences: list[str], tokenizer, model) -> dict[str, np.ndarray]:
    """Return mean states of each layer (N, layers, D), and of windows of the last (N, 100, D)."""
    size, depth = model.config.hidden_size, model.config.num_hidden_layers + 1
    means = np.zeros((len(sequences), depth, size), np.float32)
    windows = np.zeros((len(sequences), LONGEST // WINDOW, size), np.float16)
    by_length = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    for start in range(0, len(sequences), 8):
        places = by_length[start : start + 8]
        tokens = tokenizer([sequences[i] for i in places], return_tensors="pt", padding=True)
        states = torch.stack(model(**tokens, output_hidden_states=True).hidden_states, dim=1)
        for i, of_protein in zip(places, states, strict=True):
            residues = of_protein[:, 1 : len(sequences[i]) + 1]
            means[i] = residues.mean(dim=1)
            cut = torch.nn.functional.avg_pool1d(residues[-1].T, WINDOW, ceil_mode=True).T
            windows[i, : len(cut)] = cut
    return {"layers": means, "windows": windows}


@functools.cache
def material() -> tuple:
    """Return training, validation and long proteins, and the states of the first two."""
    table = function_table(max_length=None, verbose=False)
    splits = split_proteins(table[table["Length"] <= LONGEST].reset_index(drop=True))
    short = pd.concat([splits["train"], splits["valid"]])
    longer = table[table["Length"] > LONGEST]
    states = kept_vectors(read, short["Sequence"], "states", CHECKPOINT)
    return splits["train"], splits["valid"], longer, states


def kept_vectors(embed, sequences: pd.Series, name: str, checkpoint: str):
    path = assets(f"proteins/models/better_model/{name}")
    model = load_language_model(checkpoint)
    return restorable(embed, version=1)(list(sequences), *model, store_path=path)


def inputs(name: str) -> tuple[np.ndarray, pd.DataFrame]:
    """Return an input of training and validation proteins, in this order, and the training set."""
    train_set, valid_set, longer, states = material()
    short, n = pd.concat([train_set, valid_set]), len(train_set)
    layers, windows = states["layers"], states["windows"]
    last, inside = layers[:, -1], (windows != 0).any(axis=-1)
    if name == "last layer as it is":
        return last, train_set
    if name == "letters":
        letters = np.full((len(short), LONGEST), -1, np.float32)
        for place, sequence in enumerate(short["Sequence"]):
            letters[place, : len(sequence)] = encode(sequence)
        return letters, train_set
    if name == "windows in order":
        # Scaled so that their plain mean is the reference's input.
        scaled = np.zeros(windows.shape, np.float32)
        scaled[inside] = StandardScaler().fit(last[:n]).transform(windows[inside].astype("f4"))
        return scaled, train_set
    if name == "half":
        last, train_set = np.vstack([last[:n:2], last[n:]]), train_set[::2]
    elif name == "long, too":
        more = kept_vectors(get_mean_embeddings, longer["Sequence"], "long", CHECKPOINT)
        last, train_set = np.vstack([last[:n], more, last[n:]]), pd.concat([train_set, longer])
    elif name == "two models":
        second = kept_vectors(get_mean_embeddings, short["Sequence"], "second", SECOND)
        last = np.hstack([last, second])
    elif name.startswith("layer "):
        last = layers[:, int(name.split()[1])]
    elif name == "layers":
        last = layers.reshape(len(short), -1)
    elif name == "windows":
        there = np.where(inside[..., None], windows, np.nan)
        last = np.hstack([last, np.nanmin(there, axis=1), np.nanmax(there, axis=1)])
    elif name != "last layer":
        composition = composition_features(short["Sequence"])  # the last column is the length
        last = {
            "with length": np.hstack([last, composition[:, -1:]]),
            "with composition": np.hstack([last, composition]),
            "composition": composition,
        }[name]
    return StandardScaler().fit(last[: len(train_set)]).transform(last), train_set


def splits_of(name: str, terms: np.ndarray) -> dict[str, Split]:
    x, train_set = inputs(name)
    cut = len(train_set)
    sets = {"train": (x[:cut], train_set), "valid": (x[cut:], material()[1])}
    return {
        split: Split(values, table[terms].to_numpy(np.float32), table["EntryID"].to_numpy(), terms)
        for split, (values, table) in sets.items()
    }


def branches(terms: np.ndarray) -> tuple[int, ...]:
    """Return each function's group: the first of BRANCHES that it is, or is a kind of."""
    graph = read_ontology()
    lines = [{term, *ancestors(graph, term)} for term in terms]
    return tuple(next((i for i, b in enumerate(BRANCHES) if b in line), 2) for line in lines)


# The table


def scores(line: dict, splits: dict[str, Split], optimiser, seed: int) -> dict[str, float]:
    """Train a row from a seed, and score it on the validation set."""
    valid_set = splits["valid"]
    network = line["network"](len(valid_set.terms), **line["options"])
    state = network.create_train_state(
        jax.random.PRNGKey(seed), splits["train"].embeddings[:1], optimiser
    )
    state, _ = train(state, splits, line["batch"], line["steps"], eval_every=250, seed=seed)
    probs, truth = predict(state, valid_set), valid_set.targets
    return {
        "auprc_per_protein": float(per_protein_metrics(truth, probs)["auprc"].mean()),
        "auprc_per_term": float(per_term_metrics(truth, probs)["auprc"].mean()),
        "fmax": fmax(truth, probs),
        "best_step": int(state.step),
    }


def run(line: dict) -> pd.DataFrame:
    """Return what a row scores from each seed; what is kept is not trained again."""
    terms = material()[0].columns[3:].to_numpy(object)
    if line["network"] is OnePerGroup:
        line["options"]["groups"] = branches(terms)
    splits = splits_of(line["inputs"], terms)
    optimiser = optax.adamw(0.001, weight_decay=line["decay"])
    changes = [line["network"].__name__, *map(line.get, ("steps", "batch", "decay", "options"))]
    key = {"function": "a row of page 11", "the row": fingerprint(changes)}
    key["the data"] = fingerprint([splits["train"].embeddings, splits["train"].targets])
    file = re.sub(r"\W+", "_", line["row"])
    path = assets(f"proteins/models/better_model/{file}")
    found = [
        kept(f"{path}_{seed}", key, lambda seed=seed: scores(line, splits, optimiser, seed))
        for seed in SEEDS
    ]
    names = pd.DataFrame({"part": line["part"], "row": line["row"], "seed": SEEDS})
    return names.join(pd.DataFrame(found))


def main() -> None:
    found = []
    for line in ROWS:
        found.append(run(line))
        means = found[-1][["auprc_per_protein", "auprc_per_term", "fmax"]].mean()
        print(f"{line['row']:32}", *(f"{mean:.3f}" for mean in means), flush=True)
    head = (
        "# python tools/compare_models.py: scores on the validation set, a line per network and "
        f"seed; language model {checkpoint_name(CHECKPOINT)}\n"
    )
    table = pd.concat(found).to_csv(sep="\t", index=False, float_format="%.4f")
    ours = checkpoint_name(CHECKPOINT) == POCKET_MODEL
    output = OUTPUT if ours else Path(assets("proteins/better_model.tsv"))
    output.write_text(head + table, "utf8")
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
