"""make home REPO=owner/name: writes the public address of the repository wherever it is needed.

The setting is the Repository address in pyproject.toml. Without one, nothing leads to an address:
the badges and buttons are left out, and the pages say how they are run from a copy. Without REPO,
the first cell is written into pages that lack it or hold an older one, and all places are checked.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.colab_cell import ROOT, repository, write_into_pages

FIRST_PAGE = "notebooks/01_protein_structures.ipynb"
# A file, what it says without an address, and with one.
PLACES = [
    (
        "pyproject.toml",
        "# The repository has no public address yet; `make home REPO=owner/name` writes one.\n",
        """[project.urls]
Repository = "https://github.com/HOME"
Issues = "https://github.com/HOME/issues"
""",
    ),
    (
        "CITATION.cff",
        "# repository-code: written by `make home`\n",
        'repository-code: "https://github.com/HOME"\n',
    ),
    (
        "_config.yml",
        "  # Launch buttons and the repository's address: written by `make home`.\n",
        """  use_issues_button: true
  use_repository_button: true

launch_buttons:
  notebook_interface: jupyterlab
  binderhub_url: https://mybinder.org
  colab_url: https://colab.research.google.com

repository:
  url: https://github.com/HOME
  branch: main
""",
    ),
    (
        "README.md",
        "The pages run from a copy of this repository, in your own browser or on Colab.\n",
        f"""\
[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/HOME/blob/main/{FIRST_PAGE})
[![Open in Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/HOME/main?urlpath=lab/tree/{FIRST_PAGE})
""",
    ),
]


def passages(home: str | None) -> list[tuple[str, str]]:
    """Return each file and what it says while the repository has this address, or none."""
    return [
        (name, with_one.replace("HOME", home) if home else without)
        for name, without, with_one in PLACES
    ]


def check(root: Path) -> None:
    """Raise ValueError, with a sentence for each passage that is not what the address asks for."""
    problems = [
        f"{name} does not say, as it should:\n{passage}"
        for name, passage in passages(repository(root))
        if passage not in (root / name).read_text(encoding="utf8")
    ]
    if problems:
        raise ValueError("\n".join(problems))


def move(root: Path, new: str) -> None:
    """Write the address `new` in every place."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", new) or new.endswith(".git"):
        raise ValueError(f"REPO={new!r} is not of the form owner/name, such as 'ada/dlfb'.")
    check(root)
    for (name, before), (_, after) in zip(passages(repository(root)), passages(new), strict=True):
        text = (root / name).read_text(encoding="utf8")
        (root / name).write_text(text.replace(before, after), encoding="utf8")


def main() -> None:
    try:
        if sys.argv[1:]:
            move(ROOT, sys.argv[1])
        write_into_pages(ROOT)
        check(ROOT)
    except ValueError as error:
        sys.exit(str(error))
    print(f"All places agree on {repository(ROOT) or 'no public address'}.")


if __name__ == "__main__":
    main()
