"""The first code cell of every page: it installs dlfb on hosted notebooks, and does nothing else.

pip leaves what is there as it is, as long as it will do. Where dlfb is there already the cell is
silent, so its stored output is empty. `make home` writes it, with the repository's address, into
every page, and the guards hold every page's copy to this text.
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNSET = "OWNER/dlfb"  # until the repository has a home
FIRST_LINE = (
    "# On Colab and the like: installs dlfb where it is missing, and leaves the rest alone."
)
TEMPLATE = f"""{FIRST_LINE}
try:
    import dlfb.colab
except ImportError:
    INSTALL

dlfb.colab.prepare()"""
NO_ADDRESS = (
    'raise ImportError("dlfb has no public address yet: run `make lab` in a copy of it.") from None'
)

# On the site the cell is folded, since only a hosted notebook needs it.
METADATA = {
    "mystnb": {
        "code_prompt_show": "Install dlfb, where it is missing",
        "code_prompt_hide": "Fold the installation",
    },
    "tags": ["hide-input"],
}


def repository(root: Path = ROOT) -> str:
    """Return owner/name from the one setting, the Repository address of pyproject.toml."""
    text = (root / "pyproject.toml").read_text(encoding="utf8")
    found = re.search(r'^Repository = "https://github\.com/([^"/]+/[^"/]+)"$', text, re.MULTILINE)
    if found is None:
        raise ValueError(
            "pyproject.toml has no line 'Repository = \"https://github.com/owner/name\"' "
            "under [project.urls], which names the home of the repository."
        )
    return found.group(1)


def colab_cell(root: Path = ROOT) -> str:
    """Return the source of the cell for the present home of the repository."""
    home = repository(root)
    install = f'%pip install -q "dlfb @ git+https://github.com/{home}"\n    import dlfb.colab'
    return TEMPLATE.replace("INSTALL", NO_ADDRESS if home == UNSET else install)


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
    if _is_cell(first.group(1)):
        return page[: first.start()] + fence + page[first.end() :]
    return f"{page[: first.start()]}{fence}\n{page[first.start() :]}"


def _into_executed(page: str, source: str) -> str:
    notebook = json.loads(page)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and _is_cell("".join(cell["source"])):
            # Silent where dlfb is installed, so its empty output stays true.
            cell["source"], cell["metadata"] = source.splitlines(keepends=True), METADATA
            return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    return page


def _is_cell(source: str) -> bool:
    return FIRST_LINE.partition(",")[0] in source


if __name__ == "__main__":
    print(colab_cell())
