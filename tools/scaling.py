"""make scaling: what embedding costs on this machine, for the page "How it grows".

    python -m tools.scaling          some ten minutes on two quiet cores
    python -m tools.scaling --gpu    the row of the GPU only, on a machine with one

Writes dlfb/pocket/proteins/scaling.json: the speed of one core by size of model, the shares of a
run's steps, the speed of one process and of one and two workers of Ray, and the speed of a GPU.
"""

import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import pandas as pd
import torch

from dlfb import embed
from dlfb.proteins.embeddings import mean_states
from dlfb.proteins.encoder import encoder_of
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.sequences import read_fasta
from dlfb.utils.context import POCKET_MODEL
from tools.bench import SHAPES, processor, proteins_by_length, sample, untrained

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "dlfb/pocket/proteins/scaling.json"
PROTEINS = {"the small model": 64, "8M": 32, "150M": 6, "650M": 3}
WAYS = {"one process": [], "Ray, 1 worker": ["1"], "Ray, 2 workers": ["2"]}
ON_RAY, ROUNDS = 600, 3  # proteins of each run, and runs


def speeds(proteins: list[str]) -> list[dict]:
    """Time models on one core."""
    tokenizer, pocket = load_language_model(POCKET_MODEL)
    rows = []
    for name, n in PROTEINS.items():
        model = untrained(name, pocket.config) if name in SHAPES else pocket
        chosen = sample(proteins, n)
        encoder = encoder_of(tokenizer, model)
        mean_states(chosen[:1], encoder, "cpu")
        start = time.process_time()  # what the core did for us, and not for others
        mean_states(chosen, encoder, "cpu")
        seconds, residues = time.process_time() - start, sum(map(len, chosen))
        parameters = sum(w.numel() for k, w in model.named_parameters() if "contact" not in k)
        rows.append({"model": name, "parameters": parameters, "residues": residues,
                     "seconds": round(seconds, 2)})  # fmt: skip
    return rows


def gpu_speeds(name: str = "650M", n: int = 600, device: str = "cuda") -> list[dict]:
    """Time a model on a GPU in both precisions: the second of two runs, as the first warms up."""
    tokenizer, pocket = load_language_model(POCKET_MODEL)
    encoder = encoder_of(tokenizer, untrained(name, pocket.config))
    chosen, rows = sample(proteins_by_length(encoder.window), n), []
    for precision in ("exact", "fast"):
        for _ in range(2):
            start = time.perf_counter()
            mean_states(chosen, encoder, device, precision=precision)
            seconds = round(time.perf_counter() - start, 2)
        rows.append({"model": name, "precision": precision, "residues": sum(map(len, chosen)),
                     "seconds": seconds})  # fmt: skip
    return rows


def shares(fasta: Path, folder: Path) -> dict[str, float]:
    """Return the CPU seconds of the steps of a run in one process."""
    steps = {"loading": "Embedder", "model": "mean_states", "writing": "_write"}
    spent = dict.fromkeys(steps, 0.0)

    def timed(step: str, function):
        def run(*args, **kwargs):
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent[step] += time.process_time() - start

        return run

    timers = {name: timed(step, getattr(embed, name)) for step, name in steps.items()}
    start = time.process_time()
    with mock.patch.multiple(embed, **timers):
        embed.embed_fasta(fasta, folder / "shares", POCKET_MODEL, device="cpu")
    spent["reading and checking"] = time.process_time() - start - sum(spent.values())
    sequences = [sequence for _, sequence in read_fasta(fasta)]
    ids = encoder_of(*load_language_model(POCKET_MODEL)).ids
    start = time.process_time()
    for sequence in sequences:
        torch.tensor([ids[letter] for letter in sequence])
    spent["tokens"] = time.process_time() - start
    spent["model"] -= spent["tokens"]
    return {step: round(seconds, 3) for step, seconds in spent.items()}


def curve(fasta: Path, folder: Path) -> list[dict]:
    """Time whole runs: until the first part is there, and the speed from there to the last."""
    rows = []
    for turn in range(ROUNDS):
        for way, workers in WAYS.items():
            out = folder / f"{way}{turn}"
            command = [sys.executable, "-c", "from dlfb.embed import main; main()", str(fasta)]
            command += ["--out", str(out), "--part-size", "20", "--device", "cpu"]
            command += ["--engine", "ray", "--workers", *workers] if workers else []
            start = time.time()
            # Ray would give its workers a lower priority than that of this process.
            own = {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
            subprocess.run(command, check=True, env=os.environ | own)
            parts = sorted(out.glob("part-*"), key=lambda file: file.stat().st_mtime)
            ends = [file.stat().st_mtime for file in parts]
            later = sum(pd.read_parquet(file)["length"].sum() for file in parts[1:])
            rows.append({"way": way, "start": round(ends[0] - start, 1),
                         "speed": round(float(later / (ends[-1] - ends[0])), 1)})  # fmt: skip
    return rows


def write_fasta(path: Path, sequences) -> Path:
    path.write_text("".join(f">{i}\n{sequence}\n" for i, sequence in enumerate(sequences)))
    return path


def main() -> None:
    os.environ |= {"DLFB_PROGRESS": "0", "DLFB_EDITION": "pocket"}
    kept = json.loads(KEPT.read_text(encoding="utf8"))
    if "--gpu" in sys.argv:
        device = f"{torch.cuda.get_device_name()}; torch {torch.__version__}"
        return write(kept | {"gpu": {"machine": device, "speeds": gpu_speeds()}})
    torch.set_num_threads(1)
    proteins = proteins_by_length()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = dict.fromkeys(sample(proteins, ON_RAY))
        fasta = write_fasta(folder / "proteins.fasta", chosen)
        found = {"speeds": speeds(proteins), "curve": curve(fasta, folder)}
        few = write_fasta(folder / "few.fasta", sample(proteins, 100))
        found["shares"] = shares(few, folder)
    found["machine"] = f"{processor()}; torch {torch.__version__}; "
    found["machine"] += f"{datetime.date.today().isoformat()}; load before {load:.1f}"
    write(found | {"gpu": kept["gpu"]})


def write(found: dict) -> None:
    KEPT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf8")
    print(KEPT.read_text(encoding="utf8"))


if __name__ == "__main__":
    main()
