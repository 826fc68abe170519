"""Drawings whose points have names get the words that the page has for those who can't see them."""

import html

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform


class DescribeDrawings(SphinxPostTransform):
    """Gives a drawing the alternative text of the picture that is stored beside it."""

    default_priority = 4  # before MyST-NB chooses the drawing and drops the picture
    formats = ("html",)

    def run(self, **kwargs) -> None:
        for raw in self.document.findall(nodes.raw):
            if not raw.astext().startswith("<svg") or not raw.parent.parent:
                continue
            for picture in raw.parent.parent.findall(nodes.image):
                label = html.escape(picture.get("alt", ""))
                text = raw.astext().replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
                raw[:] = [nodes.Text(text)]


def setup(app):
    app.add_post_transform(DescribeDrawings)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
