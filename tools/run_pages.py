"""make notebooks: writes the executed half of each page from its text half.

A page is notebooks/NN_name.md, which people edit, and notebooks/NN_name.ipynb, which is executed
top to bottom in a clean kernel and stored with its outputs. A notebook half that was edited by
itself is not overwritten.

    python tools/run_pages.py                    every page
    python tools/run_pages.py 03 05              some pages, by the beginning of their names
    python tools/run_pages.py 03 --text          runs nothing: new words, with the stored outputs
    python tools/run_pages.py --output-dir DIR   stores the executed pages in DIR, not here
"""

import argparse
import os
import platform
import re
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.halves import (
    LANGUAGE,
    keep_outputs,
    read_text_half,
    source_of,
    was_edited,
    write_for_viewers,
)

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "notebooks"
VIEWER = "application/3dmoljs_load.v0"
QUIET = {"DLFB_PROGRESS": "0", "TOKENIZERS_PARALLELISM": "false"}
# What the outputs depend on, and the site names under the page's title.
NAMED_VERSIONS = ("dlfb", "torch", "transformers", "jax", "flax", "numpy")


def chosen_pages(names: list[str], folder: Path = PAGES) -> list[Path]:
    """Return the text halves that `names` begin, all of them without names, in order."""
    texts = sorted(folder.glob("[0-9]*.md"))
    begun = {name: [p for p in texts if p.name.startswith(Path(name).stem)] for name in names}
    for name, found in begun.items():
        if not found:
            there = ", ".join(path.stem for path in texts) or "none"
            raise ValueError(f"There is no page {name!r} in {folder.name}/; there are: {there}.")
    return sorted(set().union(*begun.values())) if names else texts


def execute(notebook: nbformat.NotebookNode, folder: Path) -> float:
    """Execute `notebook` in place, in a clean kernel in `folder`; return the seconds it took."""
    begin = time.perf_counter()
    client = NotebookClient(
        notebook, kernel_name="python3", record_timing=False, store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--Application.log_level=ERROR"],
    )  # fmt: skip
    # A kernel draws into the page only where no other way of drawing is asked for.
    client.execute(env={**QUIET, **os.environ, "MPLBACKEND": ""})
    seconds = time.perf_counter() - begin
    notebook.metadata.language_info = nbformat.from_dict(LANGUAGE)
    notebook.metadata["dlfb"] = {
        "edition": os.environ.get("DLFB_EDITION") or "pocket",
        "executed": date.today().isoformat(),
        "seconds": round(seconds),
        "source": source_of(notebook),
        "versions": {
            "Python": platform.python_version(),
            **{name: version(name) for name in NAMED_VERSIONS},
        },
    }
    _strip_noise(notebook)
    return seconds


def _strip_noise(notebook: nbformat.NotebookNode) -> None:
    """Take out what differs from run to run and tells a reader nothing."""
    viewers: dict[str, str] = {}

    def viewer(found: re.Match) -> str:
        return found.group(1) + viewers.setdefault(found.group(2), str(len(viewers) + 1))

    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        merged: list = []
        for output in cell.outputs:
            if merged and "name" in output and merged[-1].get("name") == output.name:
                merged[-1].text += output.text
            else:
                merged.append(output)
        cell.outputs = merged
        for output in cell.outputs:
            # py3Dmol stores each viewer twice over, for an old JupyterLab ...
            data = output.get("data", {})
            if data.get(VIEWER) == data.get("text/html"):
                data.pop(VIEWER, None)
            # ... and names it after the clock.
            for kind, text in data.items():
                if isinstance(text, str) and not kind.startswith("image/"):
                    data[kind] = re.sub(r"((?:viewer|warning)_)(\d{9,})", viewer, text)


def make(text_path: Path, path: Path, text: bool = False) -> float:
    """Write the executed half `path` of one page; return the seconds that it ran.

    Raises ValueError if `path` was edited by itself, before or while the page ran, and with `text`,
    which keeps the stored outputs, if there are none for this code.
    """
    write_for_viewers(text_path)
    refuse_to_lose_edits(text_path, path)
    notebook, seconds = read_text_half(text_path), 0.0
    if text:
        keep_outputs(notebook, path)
    else:
        seconds = execute(notebook, text_path.parent)
    refuse_to_lose_edits(text_path, path)
    nbformat.validate(notebook)
    aside = path.with_suffix(".ipynb.part")  # so that no page is ever half written
    aside.write_text(nbformat.writes(notebook, version=4).rstrip("\n") + "\n", encoding="utf8")
    aside.replace(path)
    return seconds


def refuse_to_lose_edits(text_path: Path, path: Path) -> None:
    if was_edited(text_path, path):
        raise ValueError(
            f"{path.name} was edited, and {text_path.name} does not say the same. To keep the "
            f"edits, write them into the text half (what only that half says is lost) with\n"
            f"    jupytext --to md:myst {os.path.relpath(path)}\nand run the page again. "
            f"To drop them, delete {path.name} and run the page again."
        )


def run(pages: list[Path], output: Path, text: bool = False) -> list[str]:
    """Make the pages one after another; return a sentence for each that was not stored."""
    failures = []
    for text_path in pages:
        name = text_path.stem
        try:
            seconds = make(text_path, output / f"{name}.ipynb", text)
            print(f"{seconds:6.1f} s  {name}", flush=True)
        except ValueError as error:
            failures.append(f"{name} was left as it is: {error}")
            print(f"{'left':>8}  {name}", flush=True)
        except (CellExecutionError, DeadKernelError) as error:
            plain = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip().splitlines()[-30:]
            failures.append("\n".join([f"{name} stopped, and was not stored:", *plain]))
            print(f"{'failed':>8}  {name}", flush=True)
    return failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pages", nargs="*", help="beginnings of names, such as 03; all without")
    parser.add_argument("--text", action="store_true", help="new words only: run nothing")
    parser.add_argument("--output-dir", type=Path, help="store the executed pages there instead")
    arguments = parser.parse_args()
    try:
        pages = chosen_pages(arguments.pages)
    except ValueError as error:
        sys.exit(str(error))
    output = arguments.output_dir or PAGES
    output.mkdir(parents=True, exist_ok=True)
    # Outputs may not depend on what this person computed before, unless they ask for it. The full
    # edition's files are in the cache, though, and its embeddings take hours without a GPU.
    with tempfile.TemporaryDirectory(prefix="dlfb-pages-") as fresh:
        if os.environ.get("DLFB_EDITION") != "full":
            os.environ.setdefault("DLFB_CACHE", fresh)
        begin = time.perf_counter()
        failures = run(pages, output, arguments.text)
    print(f"{time.perf_counter() - begin:6.1f} s  {len(pages)} pages")
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
