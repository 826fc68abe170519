"""The one cell that opens every page on Colab, kept here and nowhere else.

It does nothing where somebody has installed dlfb, so its stored output is empty. What it does once
dlfb is there stands in dlfb/colab.py. `make home` writes it, with the repository's address, into
every page, and the guards hold every page's copy to this text.
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# On the site the cell is folded, since only a hosted notebook needs it.
METADATA = {
    "mystnb": {
        "code_prompt_show": "Install dlfb, where it is missing",
        "code_prompt_hide": "Fold the installation",
    },
    "tags": ["hide-input"],
}

TEMPLATE = """\
# On Colab and the like: installs dlfb where it is missing, and leaves what is there as it is.
# On a GPU there it fetches the full edition's files, too, and the page runs on those.
import importlib.util
from pathlib import Path

kept = Path("dlfb-constraints.txt")
if importlib.util.find_spec("dlfb") is None:
    import subprocess
    import sys
    from importlib.metadata import distributions

    repository = "OWNER/dlfb"
    if repository.startswith("OWNER/"):
        raise RuntimeError(
            "dlfb has no public address yet, so it can't be installed from here. Take a copy of "
            "the repository, run `make lab` in it, and open this page there."
        )
    here = {d.name: d.version for d in reversed([*distributions()])}
    names = ("torch", "jax", "jaxlib", "numpy", "pandas")
    pins = [f"{name}=={here[name]}" for name in names if name in here]
    kept.write_text("\\n".join(pins))
    address = f"dlfb @ git+https://github.com/{repository}"
    pip = [sys.executable, "-m", "pip", "install", "-c", kept, address]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        kept.unlink()
        raise RuntimeError(
            f"dlfb can't be installed beside the versions that are here, which are kept: "
            f"{', '.join(pins)}. pip says:\\n{(done.stdout + done.stderr)[-1500:]}"
        )
    importlib.invalidate_caches()
if kept.exists():  # this cell installed dlfb, now or earlier
    from dlfb.colab import prepare

    prepare()"""

FIRST_LINE = TEMPLATE.split("\n")[0]


def repository(root: Path = ROOT) -> str:
    """Return owner/name from the one setting, the Repository address of pyproject.toml."""
    text = (root / "pyproject.toml").read_text(encoding="utf8")
    found = re.search(r'^Repository = "https://github\.com/([^"/]+/[^"/]+)"$', text, re.MULTILINE)
    if found is None:
        raise ValueError(
            "pyproject.toml has no line 'Repository = \"https://github.com/owner/name\"' "
            "under [project.urls], where the home of the repository stands."
        )
    return found.group(1)


def colab_cell(root: Path = ROOT) -> str:
    """Return the source of the cell for the present home of the repository."""
    return TEMPLATE.replace("OWNER/dlfb", repository(root))


def write_into_pages(root: Path = ROOT) -> list[Path]:
    """Put the cell into both halves of every page, as its first code cell; return what changed."""
    changed = []
    for path in sorted(root.glob("notebooks/[0-9]*.md")) + sorted(root.glob("notebooks/*.ipynb")):
        before = path.read_text(encoding="utf8")
        put = _into_text if path.suffix == ".md" else _into_executed
        after = put(before, colab_cell(root))
        if after != before:
            path.write_text(after, encoding="utf8")
            changed.append(path)
    return changed


def _into_text(page: str, source: str) -> str:
    prompts = "".join(f"  {key}: {words}\n" for key, words in METADATA["mystnb"].items())
    options = f"---\nmystnb:\n{prompts}tags: [{', '.join(METADATA['tags'])}]\n---\n"
    fence = f"```{{code-cell}} ipython3\n{options}{source}\n```\n"
    first = re.search(r"^```\{code-cell\}[^\n]*\n(.*?)^```\n", page, re.MULTILINE | re.DOTALL)
    if first is None:
        return f"{page.rstrip()}\n\n{fence}"
    if FIRST_LINE in first.group(1):
        return page[: first.start()] + fence + page[first.end() :]
    return f"{page[: first.start()]}{fence}\n{page[first.start() :]}"


def _into_executed(page: str, source: str) -> str:
    notebook = json.loads(page)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and FIRST_LINE in "".join(cell["source"]):
            # Silent where dlfb is installed, so its empty output stays true.
            cell["source"], cell["metadata"] = source.splitlines(keepends=True), METADATA
            return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    return page


if __name__ == "__main__":
    print(colab_cell())
