"""The 3D viewers and the drawings of the pages, as the site shows them.

A stored output brings py3Dmol's own script, which loads 3Dmol from a CDN: right for Colab, and not
for a site that asks nobody else for anything. Here each viewer is taken apart. A page keeps the
still picture, the structure, once however many viewers show it, and its colours;
_static/viewers.js draws it with the script in _static/vendor.

A cell tagged ``choose-structure`` gets a choice beside its viewer: of all structures on the page
and of the ways to colour them.

A drawing whose points have names gets the alternative text of the picture that is stored with it.
"""

import hashlib
import html
import json
import re

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

from dlfb.proteins.structures import STRUCTURES, coloring

CHOICES = {"chain": "chain", "resn": "residue class", "ss": "secondary structure"}
STRING = r'"(?:[^"\\]|\\.)*"'
logger = logging.getLogger(__name__)


class ShowOutputs(SphinxPostTransform):
    """Puts a still picture, a structure and its colours where a stored viewer was."""

    default_priority = 3  # before MyST-NB chooses between the HTML or drawing and the picture
    formats = ("html",)

    def run(self, **kwargs) -> None:
        stored: set[str] = set()
        for bundle in list(self.document.findall(nodes.container)):
            if bundle.get("nb_element") != "mime_bundle":
                continue
            pictures = [image for image in bundle.findall(nodes.image) if image.get("alt")]
            raws = [node for node in bundle.findall(nodes.raw) if "3dmolviewer_" in node.astext()]
            if raws and pictures:
                shown = viewer(raws[0].astext(), pictures[0], chooses(bundle), stored)
                bundle.replace_self(shown)
            elif raws:
                logger.warning("a viewer has no still picture with an alt", location=bundle)
            elif pictures:
                describe(bundle, pictures[0]["alt"])


def describe(bundle: nodes.container, words: str) -> None:
    """Give a drawing these words for those who can't see it."""
    for raw in bundle.findall(nodes.raw):
        if raw.astext().startswith("<svg"):
            label = f'<svg role="img" aria-label="{html.escape(words)}"'
            raw[:] = [nodes.Text(raw.astext().replace("<svg", label, 1))]


def viewer(text: str, still: nodes.image, choose: bool, stored: set[str]) -> list[nodes.Node]:
    """Return what a page shows for one viewer; `stored` grows by what the page holds already."""
    model = re.search(rf'addModel\(({STRING}),\s*"pdb"\)', text)
    # What follows the structure, which may say anything.
    structure, text = json.loads(model[1]), text[model.end() :]
    style = json.loads(re.search(r"setStyle\((\{.*\})\);", text)[1])
    turns = re.findall(r'rotate\((-?[\d.]+),\s*"(\w+)"\)', text)
    key = "structure-" + hashlib.sha256(structure.encode()).hexdigest()[:8]
    color = CHOICES.get(next(iter(style.values()))["colorscheme"]["prop"])
    settings = {"structure": key, "style": style, "color": color, "choose": choose}
    opening = f'<div class="structure" data-settings="{html.escape(json.dumps(settings))}">'
    if key not in stored:
        stored.add(key)
        entry = re.search(r"^HEADER.{56}(\w{4})", structure, re.MULTILINE)
        entry = entry[1].upper() if entry else "structure"
        data = {
            "name": STRUCTURES.get(entry, entry),
            "text": structure,
            "turns": [[float(angle), axis] for angle, axis in turns],
            "colors": {name: coloring(structure, name) for name in choices(structure)},
        }
        # No text ends the script that it is part of, or begins another.
        text = json.dumps(data).replace("<", "\\u003c")
        opening += f'<script type="application/json" id="{key}">{text}</script>'
    return [raw(opening), still, raw("</div>")]


def choices(structure: str) -> list[str]:
    """Return the ways to colour a structure; one without a sequence has no classes of residues."""
    known = re.search(r"^ATOM.{8} CA .(?!UNK)", structure, re.MULTILINE)
    return [name for name in CHOICES.values() if known or name != "residue class"]


def chooses(node: nodes.Node) -> bool:
    """Return whether the cell around a node is tagged as the one to choose in."""
    while node is not None and node.get("nb_element") != "cell_code":
        node = node.parent
    return node is not None and "tag_choose-structure" in node["classes"]


def raw(text: str) -> nodes.raw:
    return nodes.raw("", text, format="html", structure=True)


def add_script(app, pagename, templatename, context, doctree) -> None:
    """Load the viewers' script on the pages that have a viewer, and there only."""
    raws = [] if doctree is None else doctree.findall(nodes.raw)
    if any(node.get("structure") for node in raws):
        app.add_js_file("viewers.js", loading_method="defer")


def only_where_used(app, config) -> None:
    """Take back what jupyter-book does with every script of _static: to put it on every page."""
    ours = ("viewers.js", "vendor/3Dmol-min.js")
    config.html_js_files = [name for name in config.html_js_files if name not in ours]


def setup(app):
    app.add_post_transform(ShowOutputs)
    app.connect("config-inited", only_where_used)
    app.connect("html-page-context", add_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
