"""How good is the small model? Judged on the shipped real proteins, beside residue composition.

    python tools/evaluate_pocket_model.py --work DIR [--model FOLDER ...] [--card dlfb/pocket/model]

DIR is where the model was trained; its ``tokens.npz`` knows the held-out proteins. Every model and
the rival, composition and length, have the same split, protocol and seeds: vectors standardised on
the training proteins, the chapter's network, scores of the validation proteins after the last
step. A few minutes on two cores.
"""

import argparse
import math
from collections import defaultdict
from pathlib import Path

import jax
import numpy as np
import optax
import pandas as pd
import torch
from Bio.Align import substitution_matrices
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from train_pocket_model import (
    FIRST_RESIDUE,
    HUMAN,
    LAST_RESIDUE,
    OTHER,
    TRAIN,
    VOCABULARY,
    load_data,
    perplexity,
)
from transformers import EsmForMaskedLM, EsmTokenizer

from dlfb.proteins.baselines import composition_features
from dlfb.proteins.dataset import Split, function_table, proteins_at, split_proteins
from dlfb.proteins.embeddings import get_mean_embeddings
from dlfb.proteins.inspect import MaskPredictor
from dlfb.proteins.metrics import fmax, per_protein_metrics, per_term_metrics
from dlfb.proteins.model import Model
from dlfb.proteins.sequences import AMINO_ACIDS, INSULIN
from dlfb.proteins.train import predict, train

PROTOCOLS = {  # name: batch size, steps, weight decay, dropout
    "300 steps": (32, 300, 0.0, 0.0),
    "1,000 steps": (32, 1000, 0.0, 0.0),
    "2,000 steps, regularised": (128, 2000, 0.1, 0.3),
}
LOCATION = "location, logistic regression"
START, END = "<!-- figures: tools/evaluate_pocket_model.py -->", "<!-- end of figures -->"


def composition_perplexity(proteins, train):
    """Return the perplexity of guessing by the residue frequencies of the training proteins."""
    asked, reference = (
        np.bincount(np.concatenate(part), minlength=33)[FIRST_RESIDUE : LAST_RESIDUE + 1]
        for part in (proteins, train)
    )
    return math.exp(-(asked * np.log(reference / reference.sum())).sum() / asked.sum())


def functions(table, vectors_of, seeds):
    """Return {row of the table: scores} of the chapter's network on ``vectors_of(proteins)``."""
    terms = [name for name in table if name.startswith("GO:")]
    parts = split_proteins(table)
    vectors = {name: vectors_of(parts[name]) for name in ("train", "valid")}
    scaler = StandardScaler().fit(vectors["train"])
    splits = {
        name: Split(
            scaler.transform(vectors[name]).astype(np.float32),
            parts[name][terms].to_numpy(np.float32),
            parts[name]["EntryID"].to_numpy(object),
            np.array(terms, object),
        )
        for name in vectors
    }
    truth, found = splits["valid"].targets, defaultdict(list)
    for protocol, (batch_size, steps, decay, dropout) in PROTOCOLS.items():
        model = Model(num_targets=len(terms), dropout=dropout)
        for seed in range(seeds):
            state = model.create_train_state(
                jax.random.PRNGKey(seed),
                splits["train"].embeddings,
                optax.adamw(1e-3, weight_decay=decay),
            )
            state, _ = train(state, splits, batch_size, steps, steps, seed=seed)
            probs = predict(state, splits["valid"])
            of_protein, of_term = per_protein_metrics(truth, probs), per_term_metrics(truth, probs)
            found[f"auPRC per protein, {protocol}"].append(of_protein["auprc"].mean())
            found[f"auPRC per term, {protocol}"].append(of_term["auprc"].mean())
            found[f"Fmax, {protocol}"].append(fmax(truth, probs))
    return found


def location(vectors, labels, seeds):
    """Return the auROC of logistic regression that tells two places apart, for each seed."""
    strengths = {"C": [0.001, 0.01, 0.1, 1.0]}
    logistic = GridSearchCV(LogisticRegression(max_iter=1000), strengths, scoring="roc_auc")
    probe = make_pipeline(StandardScaler(), logistic)
    scores = []
    for seed in range(seeds):
        folds = StratifiedKFold(10, shuffle=True, random_state=seed)
        guesses = cross_val_predict(probe, vectors, labels, cv=folds, method="predict_proba")
        scores.append(roc_auc_score(labels, guesses[:, 1]))
    return scores


def blosum_agreement(model):
    """Return Spearman's correlation of BLOSUM62 with the cosines of token embeddings."""
    weights = model.esm.embeddings.word_embeddings.weight.detach().numpy()
    unit = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    matrix = substitution_matrices.load("BLOSUM62")
    pairs = [(a, b) for i, a in enumerate(AMINO_ACIDS) for b in AMINO_ACIDS[:i]]
    cosines = [unit[VOCABULARY.index(a)] @ unit[VOCABULARY.index(b)] for a, b in pairs]
    return float(spearmanr(cosines, [matrix[a][b] for a, b in pairs]).statistic)


def measure(folder, held_out, table, places, seeds):
    """Return {row of the table: scores} of the model in `folder`, one score for each seed."""
    tokenizer = EsmTokenizer.from_pretrained(folder)
    model = EsmForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    embed = lambda part: get_mean_embeddings(part["Sequence"].tolist(), tokenizer, model)  # noqa: E731
    leucine = MaskPredictor(tokenizer, model).predict(INSULIN, 29)["L"]
    return {
        **{name: [perplexity(model, p)] for name, p in held_out.items()},
        **functions(table, embed, seeds),
        LOCATION: location(embed(places), places["label"], seeds),
        "BLOSUM62 agreement of token embeddings": [blosum_agreement(model)],
        "probability of leucine, insulin's residue 29": [leucine],
    }


def shown(scores):
    """Return "mean ± standard deviation" with three digits, or the one score there is."""
    if not isinstance(scores, list):
        return "—"
    digits = 2 if min(scores) > 2 else 3
    spread = f" ± {np.std(scores, ddof=1):.{digits}f}" if len(scores) > 1 else ""
    return f"{np.mean(scores):.{digits}f}{spread}"


def report(columns, table, places, seeds):
    """Return the verdict, the table and what its rows mean, in Markdown."""
    (rival, low), *_, (_, high) = columns.items()
    rows = [f"auPRC {unit}, 1,000 steps" for unit in ("per protein", "per term")]
    (a, b), (c, d) = ([np.mean(of[row]) for row in rows] for of in (high, low))
    human = [np.mean(of["perplexity, held-out human proteins"]) for of in (high, low)]
    sizes = ", ".join(f"{len(part):,}" for part in split_proteins(table).values())
    extracellular = int(places["label"].sum())
    return f"""\
**Verdict.** On human proteins whose relatives were kept out of its training, its perplexity is
{human[0]:.1f}; guessing by residue frequencies has {human[1]:.1f}. For predicting functions,
the same network trained for 1,000 steps reaches an auPRC of {a:.3f} per protein and {b:.3f} per
term on its vectors, {c:.3f} and {d:.3f} on {rival}: {a - c:+.3f} and {b - d:+.3f}.

{pd.DataFrame(columns).map(shown).rename_axis("").to_markdown()}

Mean ± standard deviation of {seeds} seeds. *Perplexity*: 15 % of the residues, all masked, first
512 tokens. *auPRC, Fmax*: validation proteins of the shipped set (split {sizes};
{table.shape[1] - 3} functions), vectors standardised on the training proteins, the network after
its last step. *Location*: auROC of logistic regression in ten folds, {extracellular} extracellular
and {len(places) - extracellular} membrane proteins of page 5. *BLOSUM62 agreement*: Spearman's
correlation with the cosines. *Composition*: the shares of
the twenty residues, and the length. *Regularised*: batches of 128, weight decay .1, dropout .3.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="where the model was trained")
    parser.add_argument("--model", type=Path, nargs="+", default=[Path("dlfb/pocket/model")])
    parser.add_argument("--card", type=Path, help="folder whose README.md gets the figures")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    proteins, _, group = load_data(args.work)
    of_group = {n: [proteins[i] for i in np.flatnonzero(group == n)] for n in (TRAIN, HUMAN, OTHER)}
    held_out = {
        "perplexity, held-out human proteins": of_group[HUMAN],
        "perplexity, held-out others": of_group[OTHER],
    }
    table = function_table(verbose=False)
    places = pd.concat(
        [proteins_at(term).assign(label=n) for n, term in enumerate(("GO:0016020", "GO:0005576"))]
    )
    count = lambda part: composition_features(part["Sequence"])  # noqa: E731
    columns = {
        "composition": {
            **{n: [composition_perplexity(p, of_group[TRAIN])] for n, p in held_out.items()},
            **functions(table, count, args.seeds),
            LOCATION: location(count(places), places["label"], args.seeds),
        }
    }
    for folder in args.model:
        columns[folder.name] = measure(folder, held_out, table, places, args.seeds)
    text = report(columns, table, places, args.seeds)
    print(text)
    if args.card:
        card = args.card / "README.md"
        before, _, rest = card.read_text().partition(START)
        after = rest.partition(END)[2]
        card.write_text(f"{before}{START}\n\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
