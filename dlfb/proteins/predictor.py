"""The predictor of page 9, trained once and kept: a network, and transfer from relatives.

It learns from the training split alone. The validation split says what its scores are worth, and
the test split how good it is, so that the stated quality is that of the predictor in use.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
import numpy as np
import optax
import pandas as pd
from flax.training.train_state import TrainState
from sklearn.preprocessing import StandardScaler

from dlfb.proteins.baselines import term_frequency
from dlfb.proteins.dataset import NEAR_UNIVERSAL_TERMS, function_table
from dlfb.proteins.embedding_store import store_sequence_embeddings
from dlfb.proteins.homology import combine, find_relatives, transfer
from dlfb.proteins.metrics import fmax
from dlfb.proteins.model import Model
from dlfb.proteins.ontology import dataset_file, read_ontology
from dlfb.proteins.splits import build_dataset, split_proteins
from dlfb.proteins.thresholds import calibrate, calibration_error, follow_hierarchy
from dlfb.proteins.train import predict, train
from dlfb.utils.context import assets
from dlfb.utils.display import progress
from dlfb.utils.restore import restorable

FILES = ("train_terms.tsv.zip", "train_taxonomy.tsv.zip", "train_sequences.fasta", "go-basic.obo")
GENERAL_TERMS = (*NEAR_UNIVERSAL_TERMS, "GO:0008150", "GO:0005575")  # the roots of all aspects
QUERIES = 50  # searched between two steps of the progress bar


@dataclass(frozen=True)
class Predictor:
    """It scores the functions of proteins by their vectors and by their relatives."""

    train: pd.DataFrame  # what it learned from: EntryID, Sequence, and a 0/1 column for each term
    vectors: np.ndarray  # of these proteins, standardised, (M, D)
    mean: np.ndarray  # of the vectors before that, (D,)
    scale: np.ndarray  # their standard deviation, (D,)
    params: dict  # the weights of the network
    held_back: dict = field(default_factory=dict)  # the targets and scores of valid and of test

    @property
    def targets(self) -> pd.DataFrame:
        """The annotation that it learned from: a row per EntryID, a column per term."""
        return self.train.set_index("EntryID").drop(columns="Sequence")

    def relatives(self, sequences: pd.Series) -> pd.DataFrame:
        """Find the relatives of proteins among those that it learned from, with progress."""
        targets, hits = self.train.set_index("EntryID")["Sequence"], []
        with progress(total=len(sequences), desc="Relatives", unit=" proteins") as bar:
            for start in range(0, len(sequences), QUERIES):
                part = sequences.iloc[start : start + QUERIES]
                hits.append(find_relatives(part, targets))
                bar.update(len(part))
        return pd.concat(hits, ignore_index=True)

    def scores(self, vectors: np.ndarray, hits: pd.DataFrame, ids, trusted=True) -> tuple:
        """Score all terms by relatives and by network, both (N, T); and say who has relatives.

        `vectors` (N, D) are standardised. Where `trusted` (N,) is False, the terms' frequencies
        replace the network's scores. All scores follow the ontology.
        """
        apply = Model(num_targets=self.targets.shape[1]).apply
        state = TrainState.create(apply_fn=apply, params=self.params, tx=optax.identity())
        network, frequency = predict(state, vectors), term_frequency(self.targets.to_numpy(), 1)
        network = np.where(np.reshape(trusted, (-1, 1)), network, frequency)
        relatives, found = transfer(hits, self.targets, ids)
        return relatives, follow_hierarchy(network, self.targets.columns, read_ontology()), found

    def probabilities(self, relatives, network, found) -> np.ndarray:
        """Combine what :meth:`scores` returned, as probabilities (N, T)."""
        valid, found = self.held_back["valid"], np.asarray(found)
        before, after = combine(*valid["scores"]), combine(relatives, network, found)
        # What a score is worth depends on whether it rests on relatives.
        for kind in np.unique(found):
            like = valid["scores"][2] == kind
            like = like if like.any() else slice(None)
            curve = calibrate(valid["targets"][like], before[like])
            after[found == kind] = curve(after[found == kind])
        return after

    def quality(self) -> dict[str, float]:
        """Say how good the predictor is on the proteins of the test split.

        ``precision`` is the recorded share of the functions with a probability of .5 or more.
        """
        test = self.held_back["test"]
        truth, chances = test["targets"], self.probabilities(*test["scores"])
        called = truth[chances >= 0.5]
        return {
            "proteins": len(truth),
            "fmax": fmax(truth, chances),
            "calibration_error": calibration_error(truth, chances),
            "precision": float(called.sum()) / max(called.size, 1),
        }


def load_predictor(aspect: str, tokenizer, model) -> Predictor:
    """Return the predictor of an aspect and a language model: it is restored, or trained first."""
    files = [Path(dataset_file(name)).read_bytes() for name in FILES]
    path = assets(f"proteins/models/predictor_{aspect}")
    return Predictor(**restorable(_fit)(aspect, tokenizer, model, files, store_path=path))


def _fit(aspect: str, tokenizer, model, files: list[bytes]) -> dict:  # files: a part of the key
    table = function_table(aspect, drop_terms=GENERAL_TERMS, verbose=False)
    parts = split_proteins(table)
    # The vectors for MFO are those that the pages store.
    prefix = assets(f"proteins/datasets/{'protein_dataset' if aspect == 'MFO' else aspect}")
    for name, proteins in parts.items():
        store_sequence_embeddings(proteins, f"{prefix}_{name}", tokenizer, model)
    splits = build_dataset(prefix, model.dlfb_checkpoint)
    scaler = StandardScaler().fit(splits["train"].embeddings)
    splits = {n: replace(s, embeddings=scaler.transform(s.embeddings)) for n, s in splits.items()}
    vectors = splits["train"].embeddings
    network = Model(num_targets=len(splits["train"].terms))
    start = network.create_train_state(jax.random.PRNGKey(42), vectors[:1], optax.adam(0.001))
    state, _ = train(start, splits, batch_size=32, num_steps=1000, eval_every=100)
    predictor = Predictor(
        train=parts["train"].drop(columns="Length"),
        vectors=vectors,
        mean=scaler.mean_,
        scale=scaler.scale_,
        params=jax.tree.map(np.asarray, state.params),
    )
    for name in ("valid", "test"):
        sequences = parts[name].set_index("EntryID")["Sequence"]
        hits = predictor.relatives(sequences)
        scores = predictor.scores(splits[name].embeddings, hits, sequences.index)
        predictor.held_back[name] = {"targets": splits[name].targets, "scores": scores}
    return vars(predictor)
