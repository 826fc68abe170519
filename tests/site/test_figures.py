"""The drawings' words for those who can't see them."""

import sys

from docutils import nodes
from docutils.utils import new_document

from tests.site.conftest import ROOT

sys.path.insert(0, str(ROOT / "_ext"))
from figures import DescribeDrawings  # noqa: E402


def bundle(*outputs):
    container = nodes.container("", *outputs)
    container["nb_element"] = "mime_bundle"
    return container


def test_a_drawing_gets_the_words_of_the_picture_beside_it():
    drawing, table = nodes.raw("", "<svg class='a'>"), nodes.raw("", "<table>")
    picture = nodes.image(alt='Two "clouds" & a line')
    document = new_document("page")
    document += [bundle(drawing, picture), bundle(table, picture.deepcopy()), drawing.deepcopy()]
    DescribeDrawings(document).run()
    label = "Two &quot;clouds&quot; &amp; a line"
    assert drawing.astext() == f'<svg role="img" aria-label="{label}" class=\'a\'>'
    assert [raw.astext() for raw in document.findall(nodes.raw)][1:] == [
        "<table>",
        "<svg class='a'>",
    ]
