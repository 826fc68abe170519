"""Takes out what the theme and its companions bring that this site has no use for."""

import re
from pathlib import Path

# A button's or fold's name for those who listen has to be the one that others see.
NAMES = (
    # MyST-NB calls every fold the same, whatever stands on it.
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    # "Search Ctrl+K" is what stands in the field.
    (r'(<button class="btn search-button-field[^>]*?) title="Search" aria-label="Search"', r"\1"),
    # References have a role of their own, which a list's children may not have.
    (r'<div role="list" class="citation-list">', '<div class="citation-list">'),
    # The drawings on the button become its text otherwise.
    (r'(<i class="theme-switch [^>]*?) title="[^"]*"', r"\1"),
)


def without_thebe(app) -> None:
    """Have sphinx-thebe, which jupyter-book always loads, do nothing.

    It would run a page's code on somebody else's server, which no button here asks for, and it sets
    a script's constants twice on a page, an error in every browser.
    """
    for event, listeners in app.events.listeners.items():
        ours = [one for one in listeners if one.handler.__module__ != "sphinx_thebe"]
        app.events.listeners[event] = ours
    app.registry.css_files[:] = [one for one in app.registry.css_files if "thebe" not in one[0]]


def name_by_what_is_seen(app, error) -> None:
    """Mend the names of buttons in the pages that were written."""
    if error or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        before = after = path.read_text(encoding="utf8")
        for pattern, instead in NAMES:
            after = re.sub(pattern, instead, after)
        if after != before:
            path.write_text(after, encoding="utf8")


def setup(app):
    without_thebe(app)
    app.connect("build-finished", name_by_what_is_seen)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
