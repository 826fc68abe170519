"""How good is dlfb-predict? Judged on the test split, beside the combination of page 9.

    python tools/judge_predictor.py [MFO BPO CCO]

Each figure has the 95 % interval of 200 draws of proteins. The predictors are trained where the
cache does not have them yet: a few minutes each on two cores.
"""

import sys

import numpy as np

from dlfb.prediction import CHECKPOINT
from dlfb.proteins.homology import combine
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.metrics import fmax
from dlfb.proteins.predictor import load_predictor
from dlfb.proteins.thresholds import calibration_error


def with_interval(score, truth: np.ndarray, chances: np.ndarray, draws: int = 200) -> str:
    rng, n = np.random.default_rng(42), len(truth)
    drawn = [score(truth[rows], chances[rows]) for rows in rng.integers(0, n, (draws, n))]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{score(truth, chances):.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    tokenizer, model = load_language_model(CHECKPOINT, masked=True)
    for aspect in sys.argv[1:] or ["MFO"]:
        predictor = load_predictor(aspect, tokenizer, model)
        test = predictor.held_back["test"]
        truth, scores = test["targets"], test["scores"]
        print(f"{aspect}: {len(truth):,} test proteins, {truth.shape[1]:,} terms")
        for name, chances in {
            "relatives and network, as on page 9": combine(*scores),
            "dlfb-predict": predictor.probabilities(*scores),
        }.items():
            print(f"  {name}")
            print(f"    Fmax               {with_interval(fmax, truth, chances)}")
            print(f"    calibration error  {with_interval(calibration_error, truth, chances)}")


if __name__ == "__main__":
    main()
