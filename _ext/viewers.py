"""The 3D viewers of the pages, as the site shows them.

A stored output brings py3Dmol's own script, which loads 3Dmol from a CDN: right for Colab and
JupyterLab, and not for a site that asks nobody else for anything. So each viewer is taken apart
here. What a page keeps is the still picture that lies beneath the viewer, the structure, once
however many viewers show it, and how it is coloured; _static/viewers.js draws it with the script
that the site serves.

A cell tagged ``choose-structure`` gets a choice beside its viewer: of all structures on the page
and of the ways to colour them.
"""

import hashlib
import html
import json
import re
from pathlib import Path

import npm
from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

from dlfb.proteins.sequences import CLASS_COLORS, SPECIAL_TOKENS
from dlfb.proteins.structure_views import SECONDARY_COLORS, color_scheme
from dlfb.proteins.structures import STRUCTURES

CHOICES = ("chain", "residue class", "secondary structure")
# What the colours mean, where the structure's own picture does not say it.
KEYS = {
    "residue class": {name: c for name, c in CLASS_COLORS.items() if name != SPECIAL_TOKENS},
    "secondary structure": {
        "helix": SECONDARY_COLORS["h"],
        "strand": SECONDARY_COLORS["s"],
        "neither": SECONDARY_COLORS["c"],
    },
}
STRING = r'"(?:[^"\\]|\\.)*"'
logger = logging.getLogger(__name__)


class ShowStructures(SphinxPostTransform):
    """Puts a still picture, a structure and its colours where a stored viewer was."""

    default_priority = 3  # before MyST-NB chooses between the HTML and the picture
    formats = ("html",)

    def run(self, **kwargs) -> None:
        stored: set[str] = set()
        for bundle in list(self.document.findall(nodes.container)):
            if bundle.get("nb_element") != "mime_bundle":
                continue
            shown = {child["mime_type"]: child for child in bundle.children}
            text = shown["text/html"].astext() if "text/html" in shown else ""
            if "3dmolviewer_" not in text:
                continue
            stills = [*shown["image/png"].findall(nodes.image)] if "image/png" in shown else []
            if not stills or not stills[0].get("alt"):
                logger.warning("a viewer has no still picture with an alt", location=bundle)
                continue
            bundle.replace_self(self.viewer(text, stills[0], chooses(bundle), stored))

    def viewer(self, text: str, still: nodes.image, choose: bool, stored: set) -> list[nodes.Node]:
        """Return what stands on the page for one viewer."""
        structure, kind = re.search(rf'addModel\(({STRING}),\s*"(\w+)"\)', text).groups()
        style = json.loads(re.search(r"setStyle\((\{.*\})\);", text).group(1))
        turns = re.findall(r'rotate\((-?[\d.]+),\s*("\w+")\)', text)
        structure = json.loads(structure)
        key = "structure-" + hashlib.sha256(structure.encode()).hexdigest()[:8]
        settings = {"structure": key, "style": style}
        if choose:
            settings |= {"choose": CHOICES, "keys": KEYS}
        opening = f'<div class="structure" data-settings="{html.escape(json.dumps(settings))}">'
        if key not in stored:
            stored.add(key)
            data = {
                "name": name_of(structure),
                "text": structure,
                "format": kind,
                "turns": [[float(angle), json.loads(axis)] for angle, axis in turns],
                "colors": {color: color_scheme(structure, color) for color in CHOICES},
            }
            opening += script(key, data)
        return [raw(opening), still, raw("</div>")]


def chooses(node: nodes.Node) -> bool:
    """Return whether the cell around a node is tagged as the one to choose in."""
    while node is not None and node.get("nb_element") != "cell_code":
        node = node.parent
    return node is not None and "tag_choose-structure" in node["classes"]


def name_of(structure: str) -> str:
    """Return what a structure is called: its name if it is one of the chapter's, or its entry."""
    found = re.search(r"^HEADER.{56}(\w{4})|^data_(\w{4})", structure, re.MULTILINE)
    entry = (found.group(1) or found.group(2)).upper() if found else "structure"
    return STRUCTURES.get(entry, entry)


def script(key: str, data: dict) -> str:
    text = json.dumps(data).replace("</", "<\\/")
    return f'<script type="application/json" id="{key}">{text}</script>'


def raw(text: str) -> nodes.raw:
    return nodes.raw("", text, format="html", structure=True)


def take_3dmol(app, config) -> None:
    """Have the site serve 3Dmol; without it, its pages show the still pictures."""
    # jupyter-book puts every script of _static on every page.
    config.html_js_files = [name for name in config.html_js_files if name != "viewers.js"]
    try:
        config.html_static_path.append(str(npm.fetch("3dmol")))
    except npm.UnavailableError as error:
        if npm.required():
            raise
        print(f"3Dmol is not to be had, so the structures are still pictures. {error}")


def add_script(app, pagename, templatename, context, doctree) -> None:
    """Load the viewers' script on the pages that have a viewer, and there only."""
    served = (Path(app.outdir) / "_static" / "3Dmol-min.js").is_file()
    raws = [] if doctree is None else doctree.findall(nodes.raw)
    if served and any(node.get("structure") for node in raws):
        app.add_js_file("viewers.js", loading_method="defer")


def setup(app):
    app.add_post_transform(ShowStructures)
    app.connect("config-inited", take_3dmol)
    app.connect("html-page-context", add_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
