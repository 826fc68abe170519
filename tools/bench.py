"""make bench: measures what the package promises, and writes the book's page of it.

    python tools/bench.py                 everything, some 25 minutes on two quiet cores
    python tools/bench.py --quick         minutes; to _build, the book's figures stay
    python tools/bench.py --device cuda   a GPU's rows only; those of the CPU stay
    python tools/bench.py --page          the page anew, from the figures of the last run

Figures go to ``_static/benchmarks.json``, with the machine, the versions and the day; the page
``benchmarks.md`` is written from that file and nothing else. A GPU's rows are measured beside the
CPU's where there is a GPU.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "_static" / "benchmarks.json"
PAGE = ROOT / "benchmarks.md"
PACKAGES = ("torch", "transformers", "jax", "flax", "numpy", "scikit-learn")
# Set before anything was measured: ratios, and a share.
AIMS = {
    ("exact", "chapter"): 3,
    ("exact", "facebookresearch"): 1.3,
    ("fast", "chapter"): 6,
    "share": 0.6,
    "scoring": 50,
    "the same, with compiling": 20,
}
NAMES = {"chapter": "the chapter's way", "facebookresearch": "facebookresearch's policy"}


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    os.environ["DLFB_PROGRESS"] = "0"
    figures, page = FIGURES, PAGE
    if args.quick:
        figures, page = (ROOT / "_build" / f"quick-{path.name}" for path in (FIGURES, PAGE))
        figures.parent.mkdir(exist_ok=True)
    runs = json.loads(figures.read_text("utf8")) if figures.exists() else {}
    if not args.page:
        for device in args.device:
            runs[device] = measure(device, args.quick)
        figures.write_text(json.dumps(runs, indent=1) + "\n", "utf8")
    text = write_page(runs)
    page.write_text(text, "utf8")
    print(text)
    print(f"wrote {figures.relative_to(ROOT)} and {page.relative_to(ROOT)}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller samples, less to measure")
    parser.add_argument("--page", action="store_true", help="measure nothing")
    parser.add_argument("--device", nargs="+", choices=["cpu", "cuda"], help="default: all there")
    args = parser.parse_args(arguments)
    if args.device is None and not args.page:
        import torch

        args.device = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    return args


def measure(device: str, quick: bool) -> dict:
    """Measure all there is to measure on a device: on a GPU, embedding."""
    start, load = time.perf_counter(), os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    import bench_embedding
    import bench_limits
    import bench_training
    import torch

    lengths, source = bench_embedding.protein_lengths()
    plans = bench_embedding.PLANS["quick" if quick and device == "cpu" else device]
    run = {"embedding": []}
    for plan in plans:
        run["embedding"] += bench_embedding.measure(plan, torch.device(device), lengths, say)
    if device == "cpu":
        run["training"] = bench_training.measure(1 if quick else 5, say=say)
        names = [name for name in bench_limits.LIMITS if not (quick and name == "metrics")]
        run["limits"] = [bench_limits.measure(name) for name in names]
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    return run | {
        "lengths": source,
        "machine": gpu or f"{cpu_name()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "amx": getattr(torch.cpu, "_is_amx_tile_supported", bool)(),
        "load_before": round(load, 1),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "day": datetime.date.today().isoformat(),
        "seconds": round(time.perf_counter() - start),
    }


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            line = next(line for line in file if line.startswith("model name"))
        return line.split(":")[1].strip()
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write_page(runs: dict) -> str:
    """Return the page: one table of everything, then how it was measured."""
    lines = [
        "# How fast is it?",
        "",
        "What the package adds to the chapter's code, timed beside other ways of doing the same. "
        "Written by `make bench`, which measures all of it in one run. What counts is the ratio, "
        "since a ratio says the same on most machines; the aims were set before anything was "
        "measured.",
        "",
        "| what | here | beside | there | times as fast | aim |",
        "|---|---|---|---|---|---|",
    ]
    for device, run in runs.items():
        for row in run["embedding"]:
            if row["way"] in ("exact", "fast"):
                lines += embedding_rows(row, run, device)
        lines += [training_row(row) for row in run.get("training", ())]
        lines += [limit_row(row) for row in run.get("limits", ())]
    lines += ["", "## How it was measured", ""]
    for device, run in runs.items():
        lines += [f"- **{device.upper().replace('CUDA', 'GPU')}.** {conditions(run)}"]
    return "\n".join([*lines, HOW])


def embedding_rows(row: dict, run: dict, device: str) -> list[str]:
    """Return a way's lines: beside each rival, and beside the machine's own products."""
    aimed = device == "cpu" and (row["way"] == "exact" or run["amx"])
    way = f"{row['way']} ({row['precision']})"
    model = "pocket model" if row["model"] == "pocket" else f"ESM2 {row['model']}"
    what = f"embedding, {model}{' on the GPU' if device == 'cuda' else ''}, {way}"
    lines = []
    for other in run["embedding"]:
        rival = other["way"]
        if other["model"] == row["model"] and rival in NAMES:
            aim = AIMS.get((row["way"], rival)) if aimed else None
            lines.append(
                line(
                    what,
                    f"{row['residues_per_second']:,.0f} residues/s",
                    NAMES[rival],
                    f"{other['residues_per_second']:,.0f} residues/s",
                    spread(row["times"][rival]),
                    at_least(aim, row["times"][rival][0]),
                )
            )
    share, wanted = row["share_of_product_rate"], AIMS["share"]
    rate = f"{row['product_gflops']:,.0f} GFLOP/s"
    aim = f"at least {wanted:.0%}{missed(share >= wanted)}"
    lines.append(line(what, f"{share:.0%}", "matrix products alone", rate, "", aim))
    return lines


def training_row(row: dict) -> str:
    what = row["what"]
    aim = AIMS.get("scoring" if what.startswith("scoring") else what)
    here, there = (f"{row[name]:.3g} s" for name in ("seconds", "rival_seconds"))
    times = row["times"]
    return line(what, here, NAMES["chapter"], there, spread(times), at_least(aim, times[0]))


def limit_row(row: dict) -> str:
    value, limit, unit = row["value"], row["limit"], row["unit"]
    aim = f"under {limit:g} {unit}{missed(value < limit)}"
    return line(row["what"], f"{value:.2g} {unit}", "", "", "", aim)


def line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def spread(times: list[float]) -> str:
    median, least, greatest = times
    digits = 2 if median < 20 else 0
    return f"{median:.{digits}f} ({least:.{digits}f}–{greatest:.{digits}f})"


def at_least(aim: float | None, value: float) -> str:
    return "" if aim is None else f"at least {aim}{missed(value >= aim)}"


def missed(met: bool) -> str:
    return "" if met else ", **missed**"


def conditions(run: dict) -> str:
    models = ", ".join(
        f"{row['proteins']:,} proteins for {row['model']} ({row['rounds']} rounds)"
        for row in run["embedding"]
        if row["way"] == "exact"
    )
    fewer = ", ".join(
        f"{row['proteins']} ({row['model']})" for row in run["embedding"] if row["way"] == "chapter"
    )
    packages = ", ".join(f"{name} {number}" for name, number in run["packages"].items())
    text = (
        f"{run['machine']}, {run['threads']} threads; Python {run['python']}, {packages}; "
        f"{run['day']}, {run['seconds'] / 60:.0f} minutes. Embedded: {models}; by the chapter's "
        f"way {fewer}. Their lengths are quantiles of those of {run['lengths']}."
    )
    if run["load_before"] > 0.5:
        text += f" **Other work was running (load {run['load_before']}): take care.**"
    return text


HOW = """\
- Ways are timed in turn in one process; a time or a rate is the median of the rounds, a ratio the
  median of the rounds' ratios, with the least and the greatest behind it.
- *The chapter's way* of embedding takes batches of 64 in file order, padded, and the mean over all
  positions. *facebookresearch's policy* is that of its `extract.py`: sorted by length, 4,096 tokens
  a batch with padding, float32, mean over residues. Both run over the same transformers model.
  Models have the shapes of ESM2; weights, on which speed does not depend, are random but for the
  pocket model's. The slower the way and the larger the model, the fewer proteins it is given:
  rates are per residue, and few have the same distribution of lengths as many.
- *Matrix products alone* are those of one layer of the model, in the same precision and the same
  rounds, with weights as PyTorch keeps them or as oneDNN prefers them, whichever is quicker. The
  share counts no padding as work.
- `fast` is bfloat16 where the processor has instructions for it. It was to be six times as fast as
  the chapter's way on processors with AMX; others have less to gain, so no aim stands there.
- *The chapter's way* of training cuts batches of 32 in Python and scores each protein of each
  batch with five calls of scikit-learn. Model, data, optimiser, steps and evaluations are the same.
- Restoring and fingerprinting are medians of five. Memory is the most that a process of its own
  ever held, Python and PyTorch included; for scoring, what was held beside the two matrices.
"""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
