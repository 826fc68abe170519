"""make home REPO=owner/name: writes the home of the repository wherever it is needed.

The setting is the Repository address in pyproject.toml. Everything else that names the home (the
badges, the launch buttons, the first cell of each page, the citation) is written from it here.
Without REPO, the first cell is written into pages that lack it or hold an older one, and all
places are checked.
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from colab_cell import ROOT, repository, write_into_pages

PLACES = (
    "pyproject.toml",
    "_config.yml",
    "CITATION.cff",
    "README.md",
    "CONTRIBUTING.md",
    "index.md",
    "CHANGELOG.md",
    "notebooks/*.md",
    "notebooks/*.ipynb",
)


def places(root: Path) -> list[Path]:
    """Return the files in which the home may stand, those that exist."""
    return sorted(path for pattern in PLACES for path in root.glob(pattern))


def move(root: Path, new: str) -> list[Path]:
    """Write `new` for the present home in every place; return the files that changed."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", new) or new.endswith(".git"):
        raise ValueError(f"REPO={new!r} is not of the form owner/name, such as 'ada/dlfb'.")
    # Whole names only: 'ada/dlfb' is neither in 'canada/dlfb' nor in 'ada/dlfb-notes'.
    whole = re.compile(rf"(?<![\w.-]){re.escape(repository(root))}(?![\w-])")
    changed = []
    for path in places(root):
        before = path.read_text(encoding="utf8")
        after = whole.sub(new, before)
        if after != before:
            path.write_text(after, encoding="utf8")
            changed.append(path)
    return changed


def disagreements(root: Path) -> list[str]:
    """Return a sentence for each place that names another home, or names none and should."""
    home = repository(root)
    name = home.split("/")[1]
    problems = []
    address = re.compile(
        rf"(?:github\.com|colab\.research\.google\.com/github|mybinder\.org/v2/gh)/"
        rf"([\w.-]+/{re.escape(name)})(?![\w-])"
    )
    for path in places(root):
        text = path.read_text(encoding="utf8")
        others = {found.removesuffix(".git") for found in address.findall(text)} - {home}
        if home != "OWNER/dlfb" and "OWNER/dlfb" in text:
            others.add("OWNER/dlfb")
        here = path.relative_to(root).as_posix()
        problems += [f"{here} names {other}, and the home is {home}." for other in sorted(others)]
        needs_it = path.suffix == ".ipynb" or here in PLACES[:4]
        if needs_it and not re.search(rf"(?<![\w.-]){re.escape(home)}(?![\w-])", text):
            problems.append(f"{here} does not name the home {home}.")
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("repo", nargs="?", help="owner/name; without it, the home stays")
    arguments = parser.parse_args()
    try:
        if arguments.repo:
            changed = move(ROOT, arguments.repo)
            print(f"The home is {arguments.repo}: {len(changed)} files changed.")
        for path in write_into_pages(ROOT):
            print(f"The Colab cell was written into {path.relative_to(ROOT)}.")
        problems = disagreements(ROOT)
    except ValueError as error:
        sys.exit(str(error))
    if problems:
        sys.exit("\n".join(problems))
    print(f"All places agree on {repository(ROOT)}.")


if __name__ == "__main__":
    main()
