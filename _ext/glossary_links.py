"""Links each word of the glossary where a page first uses it, so that the text need not.

What the word means is the link's title: a pointer shows it, and for a keyboard dlfb.css does. Only
running text is linked: no headings, code, captions, or what is a link already.
"""

import re

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform

UNTOUCHED = (
    nodes.title, nodes.literal, nodes.literal_block, nodes.reference, nodes.caption, nodes.term,
    nodes.math, nodes.raw, nodes.citation, addnodes.pending_xref, addnodes.compact_paragraph,
)  # fmt: skip


class GlossaryLinks(SphinxPostTransform):
    """Runs before references are resolved, when the glossary of every page is known."""

    default_priority = 5

    def run(self, **kwargs) -> None:
        if not self.env.docname.startswith("notebooks/"):
            return
        objects = self.env.get_domain("std").objects
        terms = {name for kind, name in objects if kind == "term"}
        self.meanings = meanings(self.env)
        for paragraph in list(self.document.findall(nodes.paragraph)):
            if "page-facts" in paragraph["classes"]:
                continue  # "transformers" is the name of a library there
            for text in list(paragraph.findall(nodes.Text)):
                if not _inside(text, UNTOUCHED):
                    text.parent.replace(text, self._linked(text, terms))

    def _linked(self, text: nodes.Text, terms: set[str]) -> list[nodes.Node]:
        """Return the text in pieces, with a link at the first use of each word; shrink `terms`."""
        pieces, rest = [], text.astext()
        while terms:
            # The longest word first: "masked language modelling" before "mask". "GO" is not "go".
            either = "|".join(
                re.escape(term) if term.isupper() else f"(?i:{re.escape(term)})"
                for term in sorted(terms, key=len, reverse=True)
            )
            found = re.search(rf"(?<![\w-])({either})(s|es)?(?![\w-])", rest)
            if found is None:
                break
            word = found.group(1)
            term = word if word in terms else next(t for t in terms if t.lower() == word.lower())
            terms.discard(term)
            page, anchor = self.env.get_domain("std").objects["term", term]
            uri = f"{self.app.builder.get_relative_uri(self.env.docname, page)}#{anchor}"
            link = nodes.reference("", found.group(0), refuri=uri, internal=True)
            link["reftitle"] = self.meanings[term]
            link["classes"].append("glossary-link")
            pieces += [nodes.Text(rest[: found.start()]), link]
            rest = rest[found.end() :]
        return [*pieces, nodes.Text(rest)]


def meanings(environment) -> dict[str, str]:
    """Return what the glossary says of each word, without the papers that it cites."""
    found = {}
    for item in environment.get_doctree("glossary").findall(nodes.definition_list_item):
        texts = [text for text in item.children[-1].findall(nodes.Text)
                 if not isinstance(text.parent.parent, addnodes.pending_xref)]  # fmt: skip
        words = re.sub(r"\s+([.:,])", r"\1", " ".join("".join(texts).split()))
        found |= {term.astext(): words for term in item.findall(nodes.term)}
    return found


def _inside(node: nodes.Node, kinds: tuple) -> bool:
    while (node := node.parent) is not None:
        if isinstance(node, kinds):
            return True
    return False


def setup(app):
    app.add_post_transform(GlossaryLinks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
