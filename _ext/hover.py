"""Interactive figures: the twin that dlfb.utils.hover.show stored, beside its picture.

A figure is found by its label. _static/hover.js draws the twin in place of the picture once the
figure comes into view, with the script that Plotly's Python package brings and the site serves.
"""

import json
from importlib.resources import files
from pathlib import Path

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

from dlfb.utils.hover import MIME


class AddTwins(SphinxPostTransform):
    """Puts the twin of each figure behind it, as JSON that only a script reads."""

    default_priority = 100  # when MyST-NB has chosen what is shown of each output
    formats = ("html",)

    def run(self, **kwargs) -> None:
        path = Path(self.env.doc2path(self.env.docname))
        found = twins(path) if path.suffix == ".ipynb" else {}
        for figure in list(self.document.findall(nodes.figure)):
            for label in found.keys() & {*figure["ids"], *figure["names"]}:
                script = nodes.raw("", as_script(found[label]), format="html")
                figure.parent.insert(figure.parent.index(figure) + 1, script)


def twins(notebook: Path) -> dict[str, dict]:
    """Return the stored twins of a page by the labels of their figures."""
    found = {}
    for cell in json.loads(notebook.read_text(encoding="utf8"))["cells"]:
        label = cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")
        for output in cell.get("outputs", ()):
            if label and MIME in output.get("data", {}):
                found[label] = output["data"][MIME]
    return found


def as_script(twin: dict) -> str:
    text = json.dumps(twin, separators=(",", ":")).replace("</", "<\\/")
    return f'<script type="application/json" class="dlfb-hover">{text}</script>'


def serve_plotly(app, config) -> None:
    config.html_static_path.append(str(files("plotly") / "package_data" / "plotly.min.js"))


def setup(app):
    app.add_post_transform(AddTwins)
    app.connect("config-inited", serve_plotly)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
