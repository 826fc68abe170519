"""Fine-tune the small language model on the shipped set: adapters, and what they score.

    OMP_NUM_THREADS=1 python tools/finetune_pocket.py --seeds 42                       13 minutes
    python tools/finetune_pocket.py --device cuda --seeds 42 43 44 45 46    what is shipped

For each seed: train the network on frozen vectors; then let it learn on from them, or freeze it and
let the adapters learn from the sequences, for as many steps. The whole validation set is scored
after every epoch. Written to ``dlfb/pocket/proteins/finetuned``: ``measured.tsv``, a row for each
epoch, and, of the first seed, ``lora.safetensors``, the adapters and the network.
"""

import argparse
import copy
import time
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save_file

from dlfb.proteins.dataset import (
    build_dataset,
    function_table,
    split_proteins,
    store_sequence_embeddings,
)
from dlfb.proteins.finetune import FunctionPredictor, fit, predict, tokenize
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.metrics import fmax, per_protein_metrics, per_term_metrics
from dlfb.utils.context import POCKET_MODEL, assets

OUTPUT = Path(__file__).resolve().parents[1] / "dlfb/pocket/proteins/finetuned"
BATCH = 16


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    tokenizer, language_model = load_language_model(POCKET_MODEL)
    tables = split_proteins(function_table(verbose=False))
    for name, proteins in tables.items():
        prefix = assets(f"proteins/datasets/protein_dataset_{name}")
        store_sequence_embeddings(proteins, prefix, tokenizer, language_model)
    splits = build_dataset(model_checkpoint=POCKET_MODEL)
    tokens = {name: tokenize(tokenizer, table["Sequence"]) for name, table in tables.items()}
    vectors = {name: torch.tensor(split.embeddings) for name, split in splits.items()}
    targets, truth = splits["train"].targets, splits["valid"].targets
    per_epoch = -(-len(targets) // BATCH)

    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in arguments.seeds:
        start = FunctionPredictor(language_model, vectors["train"], targets.shape[1], seed=seed)
        start.to(arguments.device)
        for _ in fit(start, vectors["train"], targets, steps=2000, batch_size=128, seed=seed):
            pass
        ways = {"frozen": (vectors, 1e-3, "exact"), "adapters": (tokens, 2e-3, "fast")}
        for name, (inputs, rate, precision) in ways.items():
            predictor, seconds = copy.deepcopy(start), 0.0
            predictor.head.requires_grad_(name == "frozen")
            steps = fit(
                predictor, inputs["train"], targets, arguments.epochs * per_epoch, BATCH, rate,
                precision, seed,
            )  # fmt: skip
            for epoch in range(arguments.epochs + 1):
                begin = time.process_time()
                for _ in range(per_epoch if epoch else 0):
                    next(steps)
                seconds += time.process_time() - begin
                scores = predict(predictor, inputs["valid"])
                row = {
                    "seed": seed,
                    "model": name,
                    "epoch": epoch,
                    "auPRC per protein": per_protein_metrics(truth, scores)["auprc"].mean(),
                    "auPRC per term": per_term_metrics(truth, scores)["auprc"].mean(),
                    "Fmax": fmax(truth, scores),
                    "seconds": round(seconds),  # of the processor, also while a GPU works
                }
                print(row, flush=True)
                rows.append(row)
                table = pd.DataFrame(rows).round(4)
                table.to_csv(arguments.output / "measured.tsv", sep="\t", index=False)
                if seed == arguments.seeds[0]:
                    save(predictor, arguments.output / "lora.safetensors")


def save(predictor, path):
    """Write what training has changed, and what the network standardises by, as float16."""
    kept = {
        name: weight.half()
        for name, weight in predictor.state_dict().items()
        if "lora_" in name or not name.startswith("encoder.")
    }
    save_file(kept, path)


if __name__ == "__main__":
    main()
