"""Says under each page's title how long it takes to read, and when and with what it was run.

tools/run_pages.py notes the run in the page's metadata. The role ``minutes`` gives the reading
time of a page elsewhere, as in ``{minutes}`notebooks/01_...` ``.
"""

import json
from datetime import date
from math import ceil
from pathlib import Path

from docutils import nodes


def reading_minutes(notebook: dict) -> int:
    """Return how long a page takes to read, without running it: 180 words of prose a minute, 3
    seconds for a line of code, 15 for a figure."""
    seconds = 0.0
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            seconds += len(source.split()) / 3
        elif "hide-input" not in cell["metadata"].get("tags", []):
            seconds += 3 * sum(bool(line.strip()) for line in source.splitlines())
            seconds += 15 * ("figure" in cell["metadata"].get("mystnb", {}))
    return max(1, ceil(seconds / 60))


def last_run(notebook: dict) -> str:
    """Return a sentence on the page's last execution, empty if it keeps no note of it."""
    if not (run := notebook["metadata"].get("dlfb")):
        return ""
    day = date.fromisoformat(run["executed"])
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return (
        f"Last run on {day.day} {day:%B %Y} on the {run['edition']} edition, "
        f"in {run['seconds']} s, with {versions}."
    )


def add_facts(app, doctree) -> None:
    page = Path(app.srcdir, app.env.docname + ".ipynb")
    if page.is_file():
        notebook = json.loads(page.read_text(encoding="utf8"))
        text = f"Reading time: about {reading_minutes(notebook)} minutes. {last_run(notebook)}"
        title = next(iter(doctree.findall(nodes.title)))
        below = nodes.paragraph(text, text, classes=["page-facts"])
        title.parent.insert(title.parent.index(title) + 1, below)


def minutes_role(name, rawtext, text, lineno, inliner, options=None, content=()):
    """Give the reading time of a page, such as "9 min"; note that it depends on that page."""
    environment = inliner.document.settings.env
    page = Path(environment.srcdir, text + ".ipynb")
    environment.note_dependency(str(page))
    minutes = reading_minutes(json.loads(page.read_text(encoding="utf8")))
    return [nodes.Text(f"{minutes} min")], []


def setup(app):
    app.connect("doctree-read", add_facts)
    app.add_role("minutes", minutes_role)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
