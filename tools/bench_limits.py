"""What must stay below a limit, each in a process of its own: a part of `make bench`.

    python tools/bench_limits.py titin

prints its row as JSON. Times are medians of five; memory is the most that the process ever held, or
the most that was held besides the data.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

TITIN = 34_350  # residues of the human protein's longest form, Q8WZ42
# name: what, unit, limit
LIMITS = {
    "restore": ("restoring the chapter's trained state", "s", 0.5),
    "fingerprint": ("fingerprinting 100 MB of arrays", "s", 0.5),
    "titin": (f"embedding a protein of {TITIN:,} residues, ESM2 8M", "GB", 4.0),
    "metrics": ("scoring 20,000 proteins x 5,000 functions, beside the data", "GB", 0.5),
}


def measure(name: str, *sizes: int) -> dict:
    """Run one of `LIMITS` in a process of its own."""
    command = [sys.executable, __file__, name, *map(str, sizes)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def restore(n_train: int = 3574) -> float:
    """Train for one step at the chapter's size, keep it, and restore it."""
    import jax
    import optax
    from bench_training import N_TERMS, N_VALID, make_split

    from dlfb.proteins.model import Model
    from dlfb.proteins.train import train
    from dlfb.utils.restore import restorable

    splits = {"train": make_split(n_train, 0), "valid": make_split(N_VALID, 1)}
    state = Model(num_targets=N_TERMS).create_train_state(
        rng=jax.random.PRNGKey(42), dummy_input=splits["valid"].embeddings[:1], tx=optax.adam(1e-3)
    )
    with tempfile.TemporaryDirectory() as folder:

        def ask():
            return restorable(train)(state, splits, num_steps=1, store_path=f"{folder}/mlp")

        ask()
        return _median_seconds(ask)


def fingerprint(megabytes: int = 100) -> float:
    from dlfb.utils.fingerprint import fingerprint

    arrays = [np.random.default_rng(i).random(megabytes * 25_000) for i in range(5)]
    return _median_seconds(lambda: fingerprint(arrays))


def titin(residues: int = TITIN) -> float:
    import torch
    from bench_embedding import load

    from dlfb.proteins.embeddings import get_mean_embeddings
    from dlfb.proteins.sequences import AMINO_ACIDS

    protein = "".join(np.random.default_rng(0).choice(AMINO_ACIDS, residues))
    get_mean_embeddings([protein], *load("8M"), torch.device("cpu"))
    return _most_memory_ever() / 1e9


def metrics(proteins: int = 20_000, terms: int = 5_000) -> float:
    from dlfb.proteins.metrics import per_protein_metrics, per_term_metrics

    rng = np.random.default_rng(0)
    scores = rng.random((proteins, terms), dtype=np.float32)
    targets = scores > rng.random((proteins, terms), dtype=np.float32) + 0.9
    tracemalloc.start()
    for score in (per_protein_metrics, per_term_metrics):
        score(targets, scores)
    return tracemalloc.get_traced_memory()[1] / 1e9


def _median_seconds(function, times: int = 5) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _most_memory_ever() -> int:
    """Return the most bytes that this process has held at a time."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # Where there is no such file. It would also count the parent's on Linux.
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    os.environ["DLFB_PROGRESS"] = "0"
    chosen, *given = sys.argv[1:]
    what, unit, limit = LIMITS[chosen]
    value = globals()[chosen](*map(int, given))
    print(json.dumps({"what": what, "value": value, "unit": unit, "limit": limit}))
