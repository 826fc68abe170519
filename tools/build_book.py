"""make book: builds the site in _build/html from stored outputs.

With ``--edition full`` every page is executed first, on the full edition, into a copy of the
sources, of which the book is then built. The stored pages stay.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def toc_files(root: Path) -> list[str]:
    """Return the pages that the table of contents names, in its order, as it writes them."""
    text = (root / "_toc.yml").read_text(encoding="utf8")
    return re.findall(r"^[\s-]*(?:root|file):\s*(\S+)", text, re.MULTILINE)


def build(source: Path, output: Path) -> None:
    """Build the book, with warnings as errors: a page that is missing or empty is one, too."""
    html = output / "_build" / "html"
    # A page of an earlier build must not pass for one of this build.
    shutil.rmtree(html, ignore_errors=True)
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(source)]
    # --all: warnings of pages that did not change are only repeated when they are read again.
    command += ["--path-output", str(output), "--all", "-W", "--keep-going", "-q"]
    if subprocess.run(command, cwd=source).returncode:
        sys.exit("The book was not built: see the warnings above, each of which counts.")
    print(f"The book is in {os.path.relpath(html)}: {len(toc_files(source))} pages.")


def full_edition(root: Path) -> Path:
    """Execute every page on the full edition and return sources of the book that hold them."""
    copy = root / "_build" / "full"
    shutil.rmtree(copy, ignore_errors=True)
    ignored = shutil.ignore_patterns("_build", ".*", "__pycache__", "*.egg-info")
    shutil.copytree(root, copy, ignore=ignored)
    command = [sys.executable, "tools/run_pages.py", "--output-dir", str(copy / "notebooks")]
    subprocess.run(command, cwd=root, env={**os.environ, "DLFB_EDITION": "full"}, check=True)
    return copy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--edition", choices=("pocket", "full"), default="pocket")
    build(ROOT if parser.parse_args().edition == "pocket" else full_edition(ROOT), ROOT)
