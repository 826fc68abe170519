"""Says under each page's title how long it takes to read, and when and with what it was run.

The second comes from the page's metadata, where tools/run_pages.py notes it. The role ``minutes``
gives the reading time of a page elsewhere, as in ``{minutes}`notebooks/01_...` ``.
"""

import json
from datetime import date
from math import ceil
from pathlib import Path

from docutils import nodes

WORDS_A_MINUTE = 180  # prose that teaches is read more slowly than a novel
SECONDS_A_LINE = 3  # of code
SECONDS_A_FIGURE = 15


def reading_minutes(notebook: dict) -> int:
    """Return how long a page takes to read, without running it, in minutes, at least 1."""
    seconds = 0.0
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            seconds += len(source.split()) * 60 / WORDS_A_MINUTE
        elif "hide-input" not in cell["metadata"].get("tags", []):
            seconds += len([line for line in source.splitlines() if line.strip()]) * SECONDS_A_LINE
            seconds += SECONDS_A_FIGURE * ("figure" in cell["metadata"].get("mystnb", {}))
    return max(1, ceil(seconds / 60))


def last_run(notebook: dict) -> str:
    """Return a sentence on the page's last execution, empty if it keeps no note of it."""
    run = notebook["metadata"].get("dlfb")
    if not run:
        return ""
    day = date.fromisoformat(run["executed"])
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return (
        f"Last run on {day.day} {day:%B %Y} on the {run['edition']} edition, "
        f"in {run['seconds']} s, with {versions}."
    )


def read_page(folder: str, docname: str) -> dict | None:
    """Return the notebook behind a page of the book, or None where there is none."""
    path = Path(folder, docname.removesuffix(".ipynb") + ".ipynb")
    return json.loads(path.read_text(encoding="utf8")) if path.is_file() else None


def add_facts(app, doctree) -> None:
    """Put the facts below the title of the page that was just read."""
    notebook = read_page(app.srcdir, app.env.docname)
    title = next(iter(doctree.findall(nodes.title)), None)
    if notebook is None or title is None:
        return
    minutes = f"Reading time: about {reading_minutes(notebook)} minutes."
    text = f"{minutes} {last_run(notebook)}".strip()
    facts = nodes.paragraph(text, text, classes=["page-facts"])
    title.parent.insert(title.parent.index(title) + 1, facts)


def minutes_role(name, rawtext, text, lineno, inliner, options=None, content=()):
    """Give the reading time of a page, such as "9 min"; note that it depends on that page."""
    environment = inliner.document.settings.env
    notebook = read_page(environment.srcdir, text)
    if notebook is None:
        message = inliner.reporter.error(f"minutes: there is no page {text!r}.", line=lineno)
        return [inliner.problematic(rawtext, rawtext, message)], [message]
    environment.note_dependency(str(Path(environment.srcdir, text + ".ipynb")))
    return [nodes.Text(f"{reading_minutes(notebook)} min")], []


def setup(app):
    """Tell Sphinx what this extension adds."""
    app.connect("doctree-read", add_facts)
    app.add_role("minutes", minutes_role)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
