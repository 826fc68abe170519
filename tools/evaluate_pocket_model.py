"""How good is the pocket language model? Judged on real proteins, beside three rivals.

    python tools/evaluate_pocket_model.py --model dlfb/pocket/model --work DIR [--output FILE.md]

Everything is measured on real proteins of ``../shared/data`` (``--data``), nothing on simulated
ones. The rivals: residue composition (20 frequencies), the same architecture untrained, and
the vectors of facebook/esm2_t6_8M_UR50D where the reference data have them.
"""

import argparse
import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from train_pocket_model import (
    cluster,
    hold_out,
    masked_logits,
    new_model,
    read_corpus,
    tokenize,
)
from transformers import EsmForMaskedLM, EsmTokenizer

from dlfb.proteins.baselines import composition_features
from dlfb.proteins.dataset import NEAR_UNIVERSAL_TERMS, Split, function_table, split_proteins
from dlfb.proteins.embeddings import get_mean_embeddings
from dlfb.proteins.metrics import per_protein_metrics, per_term_metrics
from dlfb.proteins.sequences import AMINO_ACIDS

MASK = 32


def asked_places(tokens, number, every=24):
    """Return which of a protein's tokens are asked for: every 24th, to save time.

    The first one moves on from protein to protein: were it always the first residue, which is
    methionine, one answer in ten would be free.
    """
    return np.arange(1 + number * 7 % every, len(tokens) - 1, every)


@torch.no_grad()
def pseudo_perplexity(model, proteins, crop=256):
    """Return exp(mean cross-entropy), each residue masked alone (Salazar et al. 2020)."""
    total = count = 0
    for number, tokens in enumerate(proteins):
        places = torch.from_numpy(asked_places(tokens[:crop], number))
        tokens = torch.from_numpy(tokens[:crop].astype(np.int64))
        batch = tokens.repeat(len(places), 1)
        batch[torch.arange(len(places)), places] = MASK
        asked = torch.arange(len(places)) * len(tokens) + places
        logits = masked_logits(model, batch, asked, torch.float32)
        total += F.cross_entropy(logits, tokens[places], reduction="sum").item()
        count += len(places)
    return math.exp(total / count)


def composition_perplexity(proteins, reference, crop=256):
    """Return the same for the residue frequencies of `reference`."""
    counts = np.bincount(np.concatenate(reference), minlength=33)[4:24]
    surprise = -np.log(counts / counts.sum())
    asked = np.concatenate([t[asked_places(t[:crop], n)] for n, t in enumerate(proteins)])
    asked = asked[(asked >= 4) & (asked < 24)]
    return math.exp(surprise[asked.astype(int) - 4].mean())


def probe(features, targets):
    """Return the mean over terms of auPRC, 5-fold, L2-regularised logistic regression.

    The strength is the best of three for each kind of feature: wide and narrow ones differ.
    """
    folds = StratifiedKFold(5, shuffle=True, random_state=42)
    best = 0.0
    for strength in (0.01, 0.1, 1.0):
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        scores = [
            average_precision_score(
                y,
                cross_val_predict(classifier, features, y, cv=folds, method="predict_proba")[:, 1],
            )
            for y in targets.T
        ]
        best = max(best, float(np.mean(scores)))
    return best


def mlp(table, features_of):
    """Return validation auPRC and auROC, over proteins and over terms, of the chapter's MLP."""
    import jax
    import optax

    from dlfb.proteins.model import Model
    from dlfb.proteins.train import predict, train

    terms = [c for c in table.columns if c.startswith("GO:")]
    splits = {}
    for name, part in split_proteins(table).items():
        targets = part[terms].to_numpy(np.float32)
        splits[name] = Split(
            features_of(part), targets, part["EntryID"].to_numpy(object), np.array(terms, object)
        )
    state = Model(num_targets=len(terms)).create_train_state(
        rng=jax.random.PRNGKey(42), dummy_input=splits["train"].embeddings[:1], tx=optax.adam(0.001)
    )
    state, _ = train(state, splits)
    probs = predict(state, splits["valid"])
    proteins = per_protein_metrics(splits["valid"].targets, probs).mean()
    by_term = per_term_metrics(splits["valid"].targets, probs).mean()
    return {
        "MLP auPRC, over proteins": proteins["auprc"],
        "MLP auROC, over proteins": proteins["auroc"],
        "MLP auPRC, over terms": by_term["auprc"],
        "MLP auROC, over terms": by_term["auroc"],
    }


def location(features, labels):
    """Return the accuracy of the nearest other protein's location (cosine), leave one out."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    nearest = KNeighborsClassifier(1, metric="cosine")
    folds = StratifiedKFold(10, shuffle=True, random_state=42)
    return float((cross_val_predict(nearest, unit, labels, cv=folds) == labels).mean())


def blosum_agreement(weights):
    """Return Spearman's correlation of BLOSUM62 with the cosines of token embeddings (33, D)."""
    from Bio.Align import substitution_matrices
    from train_pocket_model import VOCABULARY

    matrix = substitution_matrices.load("BLOSUM62")
    unit = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    pairs = [(a, b) for i, a in enumerate(AMINO_ACIDS) for b in AMINO_ACIDS[:i]]
    cosines = [unit[VOCABULARY.index(a)] @ unit[VOCABULARY.index(b)] for a, b in pairs]
    return float(spearmanr(cosines, [matrix[a][b] for a, b in pairs]).statistic)


def insulin_leucine(model, tokenizer):
    """Return P(leucine) at insulin's residue 29, and the most likely other residue with its P."""
    from dlfb.proteins.inspect import MaskPredictor
    from dlfb.proteins.sequences import INSULIN

    guesses = MaskPredictor(tokenizer, model).predict(INSULIN, 29)
    guesses = pd.Series(guesses).sort_values(ascending=False)
    other = guesses.drop("L").index[0]
    return float(guesses["L"]), other, float(guesses[other])


def locations_of(data):
    """Return the candidates of page 05: EntryID, Sequence and location, of real human proteins."""
    from dlfb.proteins.dataset import load_sequences, load_taxonomy, load_terms

    terms = load_terms("CCO")
    human = load_taxonomy().query("taxonomyID == 9606")["EntryID"]
    terms = terms[terms["EntryID"].isin(human) & ~terms["term"].isin(["GO:0005575", "GO:0110165"])]
    only = terms.groupby("EntryID")["term"].agg(["size", "first"]).query("size == 1")["first"]
    only = only[only.isin(["GO:0005576", "GO:0016020"])].rename("location").reset_index()
    sequences = load_sequences().rename(columns=str)
    table = only.merge(sequences, on="EntryID")
    return table[table["Sequence"].str.len().between(100, 500)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("dlfb/pocket/model"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True, help="where training kept its clusters")
    parser.add_argument("--output", type=Path, help="write the Markdown table here too")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    if not (args.data / "lm_corpus").is_dir():
        sys.exit(
            f"{args.data} has no lm_corpus/: the real proteins to judge the model on are missing."
        )
    os.environ["DLFB_ASSETS"] = str(args.data / "cafa6")
    torch.manual_seed(0)

    tokenizer = EsmTokenizer.from_pretrained(args.model)
    trained = EsmForMaskedLM.from_pretrained(args.model, dtype=torch.float32).eval()
    config = trained.config
    untrained = new_model(
        config.hidden_size, config.num_hidden_layers, config.num_attention_heads
    ).eval()
    models = {"pocket model": trained, "same, untrained": untrained}

    corpus = args.data / "lm_corpus" / "corpus.fasta.gz"
    ids, taxa, sequences = read_corpus(corpus)
    _, held_out = hold_out(ids, cluster(corpus, args.work))
    proteins = [tokenize(s) for s in sequences]
    human = [proteins[i] for i in np.flatnonzero(held_out & (taxa == "9606"))][:150]
    others = [proteins[i] for i in np.flatnonzero(held_out & (taxa != "9606"))][:150]
    known = [proteins[i] for i in np.flatnonzero(~held_out)]

    reference = np.load(args.data / "esm2_reference" / "esm2_t6_8M_human.npz")
    sequence_of = dict(zip(ids, sequences, strict=True))
    reference_ids, vectors = reference["ids"].astype(str), reference["emb"]
    there = np.isin(reference_ids, ids)  # a few have no sequence in the corpus
    reference_ids, vectors = reference_ids[there], vectors[there]
    truth = pd.read_csv(args.data / "cafa6/proteins/datasets/train_terms.tsv.zip", sep="\t")
    truth = truth[(truth["aspect"] == "MFO") & truth["EntryID"].isin(reference_ids)]
    hits = pd.crosstab(truth["EntryID"], truth["term"]).reindex(reference_ids, fill_value=0)
    hits = hits.drop(columns=list(NEAR_UNIVERSAL_TERMS))
    targets = hits.loc[:, hits.sum() >= 25].to_numpy()
    reference_sequences = [sequence_of[i] for i in reference_ids]
    places = locations_of(args.data)
    table = function_table(verbose=False)

    train = split_proteins(table)["train"]["Sequence"]
    scaler = StandardScaler().fit(composition_features(train))
    rows = {}
    rows["residue composition"] = {
        "pseudo-perplexity, human": composition_perplexity(human, known),
        "pseudo-perplexity, others": composition_perplexity(others, known),
        "probe auPRC": probe(composition_features(reference_sequences)[:, :20], targets),
        "location, 1-NN": location(
            composition_features(places["Sequence"])[:, :20], places["location"].to_numpy()
        ),
        **mlp(
            table,
            lambda part: scaler.transform(composition_features(part["Sequence"])),
        ),
    }
    for name, model in models.items():
        embed = lambda s, model=model: get_mean_embeddings(list(s), tokenizer, model.esm)  # noqa: E731
        rows[name] = {
            "pseudo-perplexity, human": pseudo_perplexity(model, human),
            "pseudo-perplexity, others": pseudo_perplexity(model, others),
            "probe auPRC": probe(embed(reference_sequences), targets),
            "location, 1-NN": location(embed(places["Sequence"]), places["location"].to_numpy()),
            "BLOSUM62 agreement": blosum_agreement(
                model.esm.embeddings.word_embeddings.weight.detach().numpy()
            ),
            **mlp(table, lambda part, embed=embed: embed(part["Sequence"])),
        }
    rows["ESM2 8M (reference vectors)"] = {"probe auPRC": probe(vectors, targets)}

    result = pd.DataFrame(rows).round(3).astype(object)
    result = result.where(result.notna(), "—")
    leucine, other, runner_up = insulin_leucine(trained, tokenizer)
    text = result.to_markdown() + (
        f"\n\n{len(human)} human and {len(others)} other proteins of held-out clusters; "
        f"{len(reference_ids)} reference proteins and {targets.shape[1]} terms; "
        f"{len(places)} proteins of one location; {len(table)} human proteins with "
        f"{table.shape[1] - 3} functions. "
        f"Insulin's residue 29: leucine {leucine:.2f}, next {other} {runner_up:.2f}.\n"
    )
    print(text)
    if args.output:
        args.output.write_text(text)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2, default=float))


if __name__ == "__main__":
    main()
