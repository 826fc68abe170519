"""Takes out what the theme and its companions bring that this site has no use for, and marks what
_static/dlfb.css breaks, or does not, where there is little room."""

import re
from pathlib import Path

from docutils import nodes

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

NUMBER = r"[-+]?[\d.,]*\d"
CELLS = (
    # 0.42 (0.40 to 0.44), 0.42 [0.40, 0.44], 0.42 ± 0.02
    (
        rf" ([(\[]{NUMBER}(?: to |–|, ){NUMBER}[)\]]|± {NUMBER})(?=(?:</p>)?</td>)",
        r' <span class="interval">\1</span>',
    ),
    # A sequence
    (r"<td>(?=(?:<p>)?[A-Z]{20})", '<td class="sequence">'),
)
COLUMNS = 76  # of code in a cell; no printed table is wider


def without_thebe(app) -> None:
    """Have sphinx-thebe, which jupyter-book always loads, do nothing.

    It would run a page's code on somebody else's server, which no button here asks for, and it sets
    a script's constants twice on a page, an error in every browser.
    """
    for event, listeners in app.events.listeners.items():
        ours = [one for one in listeners if one.handler.__module__ != "sphinx_thebe"]
        app.events.listeners[event] = ours
    app.registry.css_files[:] = [one for one in app.registry.css_files if "thebe" not in one[0]]


def mend_pages(app, error) -> None:
    """Mend the names of buttons, and mark cells, in the pages that were written."""
    if error or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        before = after = path.read_text(encoding="utf8")
        for pattern, instead in NAMES + CELLS:
            after = re.sub(pattern, instead, after)
        if after != before:
            path.write_text(after, encoding="utf8")


def mark_sentences(app, doctree) -> None:
    """Let printed text break at the edge of a screen, unless it is set in columns."""
    for block in doctree.findall(nodes.literal_block):
        if "stream" in block["classes"]:
            text = block.astext().strip()
            is_long = max(map(len, text.splitlines()), default=0) > COLUMNS
            if is_long or (" " in text and "  " not in text):
                block["classes"].append("sentences")


def setup(app):
    without_thebe(app)
    app.connect("doctree-read", mark_sentences)
    app.connect("build-finished", mend_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
