"""Drawings whose points have names get the words that the page has for those who can't see them."""

import html

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform


class DescribeDrawings(SphinxPostTransform):
    """Gives a drawing the alternative text of the picture that is stored beside it."""

    default_priority = 3  # before MyST-NB chooses the drawing and drops the picture
    formats = ("html",)

    def run(self, **kwargs) -> None:
        for bundle in self.document.findall(nodes.container):
            if bundle.get("nb_element") != "mime_bundle":
                continue
            alts = [image["alt"] for image in bundle.findall(nodes.image) if "alt" in image]
            for raw in bundle.findall(nodes.raw):
                if alts and raw.astext().startswith("<svg"):
                    label = f'<svg role="img" aria-label="{html.escape(alts[0])}"'
                    raw[:] = [nodes.Text(raw.astext().replace("<svg", label, 1))]


def setup(app):
    app.add_post_transform(DescribeDrawings)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
