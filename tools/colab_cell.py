"""The first code cell of every page: it installs dlfb on hosted notebooks, and does nothing else.

pip leaves what is there as it is, as long as it will do. Where dlfb is there already the cell is
silent, so its stored output is empty. `make home` writes the cell into every page, with the
repository's address if it has one, and the guards hold every page's copy to this text.
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIRST_WORDS = "# On Colab and the like: installs dlfb where it is missing"
FIRST_LINE = f"{FIRST_WORDS}, and leaves the rest alone."
TEMPLATE = f"""{FIRST_LINE}
try:
    import dlfb.colab
except ImportError:
    INSTALL
    import dlfb.colab

dlfb.colab.prepare()"""
FROM_HOME = '%pip install -q "dlfb @ git+https://github.com/{}"'
FROM_WHEEL = """\
from glob import glob

    if not glob("dlfb-*.whl"):
        raise ImportError(
            "dlfb is not installed. Run `make wheel` in a copy of the repository, upload "
            "the file that it makes in dist/ to this notebook's folder (on Colab: the Files "
            "panel), and run this cell again. In the copy itself, `make lab` needs none of this."
        ) from None
    %pip install -q dlfb-*.whl"""

# The cell in a text half.
FENCE = re.compile(rf"^```\{{code-cell\}}(?:(?!^```).)*{FIRST_WORDS}.*?^```\n", re.M | re.S)
# On the site the cell is folded, since only a hosted notebook needs it.
METADATA = {
    "mystnb": {
        "code_prompt_show": "Install dlfb, where it is missing",
        "code_prompt_hide": "Fold the installation",
    },
    "tags": ["hide-input"],
}


def repository(root: Path = ROOT) -> str | None:
    """Return owner/name from the Repository address of pyproject.toml, None without one."""
    text = (root / "pyproject.toml").read_text(encoding="utf8")
    found = re.search(r'^Repository = "https://github\.com/([^"/]+/[^"/]+)"$', text, re.MULTILINE)
    return found and found.group(1)


def colab_cell(root: Path = ROOT) -> str:
    """Return the source of the cell for the present home of the repository."""
    home = repository(root)
    return TEMPLATE.replace("INSTALL", FROM_HOME.format(home) if home else FROM_WHEEL)


def write_into_pages(root: Path = ROOT) -> None:
    """Write the cell into both halves of every page, where its first line is.

    It is silent where dlfb is installed, so the stored half's empty output stays true.
    """
    source = colab_cell(root)
    prompts = "".join(f"  {key}: {words}\n" for key, words in METADATA["mystnb"].items())
    options = f"---\nmystnb:\n{prompts}tags: [{', '.join(METADATA['tags'])}]\n---\n"
    fence = f"```{{code-cell}} ipython3\n{options}{source}\n```\n"
    for path in root.glob("notebooks/[0-9]*.md"):
        before = path.read_text(encoding="utf8")
        _renew(path, before, FENCE.sub(lambda _: fence, before, count=1))
    for path in root.glob("notebooks/[0-9]*.ipynb"):
        before = path.read_text(encoding="utf8")
        notebook = json.loads(before)
        for cell in notebook["cells"]:
            if "".join(cell["source"]).startswith(FIRST_WORDS):
                cell["source"] = source.splitlines(keepends=True)
        _renew(path, before, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def _renew(path: Path, before: str, after: str) -> None:
    if after != before:  # the times of a page's halves say which was edited last
        path.write_text(after, encoding="utf8")
