"""make home REPO=owner/name: writes the home of the repository wherever it is needed.

The setting is the Repository address in pyproject.toml; badges, launch buttons, the first cell of
each page and the citation are written from it. Without REPO, the first cell is written into pages
that lack it or hold an older one, and all places are checked.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from colab_cell import ROOT, UNSET, repository, write_into_pages

NAMING = ("pyproject.toml", "_config.yml", "CITATION.cff", "README.md")
PLACES = (*NAMING, "CONTRIBUTING.md", "index.md", "CHANGELOG.md", "notebooks/*.md",
          "notebooks/*.ipynb")  # fmt: skip


def places(root: Path) -> list[Path]:
    """Return the files in which the home may be named, those that exist."""
    return sorted(path for pattern in PLACES for path in root.glob(pattern))


def move(root: Path, new: str) -> None:
    """Write `new` for the present home in every place."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", new) or new.endswith(".git"):
        raise ValueError(f"REPO={new!r} is not of the form owner/name, such as 'ada/dlfb'.")
    # Whole names only: 'ada/dlfb' is neither in 'canada/dlfb' nor in 'ada/dlfb-notes'.
    whole = re.compile(rf"(?<![\w.-]){re.escape(repository(root))}(?![\w-])")
    for path in places(root):
        text = path.read_text(encoding="utf8")
        path.write_text(whole.sub(new, text), encoding="utf8")
    write_into_pages(root)


def disagreements(root: Path) -> list[str]:
    """Return a sentence for each place that names another home, or names none and should."""
    home = repository(root)
    name = re.escape(home.split("/")[1])
    hosts = r"(?:github\.com|colab\.research\.google\.com/github|mybinder\.org/v2/gh)"
    address = re.compile(rf"{hosts}/([\w.-]+/{name})(?![\w-])|({re.escape(UNSET)})")
    problems = []
    for path in places(root):
        text, here = path.read_text(encoding="utf8"), path.relative_to(root).as_posix()
        named = {(one or other).removesuffix(".git") for one, other in address.findall(text)}
        problems += [f"{here} names {one}, and the home is {home}." for one in named - {home}]
        if here in NAMING and not re.search(rf"(?<![\w.-]){re.escape(home)}(?![\w-])", text):
            problems.append(f"{here} does not name the home {home}.")
    return problems


def main() -> None:
    try:
        if sys.argv[1:]:
            move(ROOT, sys.argv[1])
        for path in write_into_pages(ROOT):
            print(f"The Colab cell was written into {path.relative_to(ROOT)}.")
        problems = disagreements(ROOT)
    except ValueError as error:
        sys.exit(str(error))
    sys.exit("\n".join(problems) or print(f"All places agree on {repository(ROOT)}."))


if __name__ == "__main__":
    main()
