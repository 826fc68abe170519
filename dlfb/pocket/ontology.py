"""The pocket edition's slice of the Gene Ontology, and how to write it as OBO.

``go_slice.txt`` holds some 400 terms of the three aspects in a compact form of our own,
written by hand. Identifiers, names and aspects are the Gene Ontology's. Many
intermediate terms are left out, so a parent here is a parent or a more distant ancestor
there: is_a parents are reached there over is_a alone, part_of parents
over is_a and part_of.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

NAMESPACES = {
    "BPO": "biological_process",
    "MFO": "molecular_function",
    "CCO": "cellular_component",
}
DATA_VERSION = "dlfb-pocket-slice/1"


class Term(NamedTuple):
    """One term of the slice; identifiers as ``GO:0005515``."""

    name: str
    aspect: str
    is_a: tuple[str, ...]
    part_of: tuple[str, ...]
    alt_ids: tuple[str, ...]
    obsolete: bool


@cache
def slice_terms() -> dict[str, Term]:
    """Return the terms of the slice by identifier, in the order of the identifiers.

    Raises
    ------
    ValueError
        If a line of ``go_slice.txt`` can't be read, or a parent has no line of its own.
    """
    text = Path(__file__).with_name("go_slice.txt").read_text(encoding="utf-8")
    terms: dict[str, Term] = {}
    alternatives: dict[str, list[str]] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"(\d+) (.+?)(?: < ([\d ]+?))?(?: ~ ([\d ]+))?", line)
        if line.startswith("["):
            section = line[1:].partition("]")[0]
        elif section == "alternative":
            other, main = _ids(line)
            alternatives.setdefault(main, []).append(other)
        elif section == "obsolete":
            aspect, identifier, name = line.split(" ", 2)
            terms[_ids(identifier)[0]] = Term(name, aspect, (), (), (), True)
        elif match:
            identifier = _ids(match[1])[0]
            terms[identifier] = Term(match[2], section, _ids(match[3]), _ids(match[4]), (), False)
        else:
            raise ValueError(f"go_slice.txt, line {number}: {line!r} is not 'number name < ids'.")
    for main, others in alternatives.items():
        terms[main] = terms[main]._replace(alt_ids=tuple(sorted(others)))
    unknown = {p for t in terms.values() for p in t.is_a + t.part_of} - set(terms)
    if unknown:
        raise ValueError(f"go_slice.txt: the parents {sorted(unknown)} have no line of their own.")
    return dict(sorted(terms.items()))


@cache
def with_ancestors(term: str) -> frozenset[str]:
    """Return a term and all it implies within its aspect, over is_a and part_of."""
    entry = slice_terms()[term]
    return frozenset({term}).union(*(with_ancestors(p) for p in entry.is_a + entry.part_of))


def obo_text() -> str:
    """Return the slice as an OBO 1.2 file."""
    terms = slice_terms()
    stanzas = [
        f"format-version: 1.2\ndata-version: {DATA_VERSION}\nontology: go\n"
        "remark: A hand-picked slice of the Gene Ontology for dlfb's pocket edition; "
        "intermediate terms are left out. Gene Ontology, CC BY 4.0."
    ]
    for identifier, term in terms.items():
        lines = ["[Term]", f"id: {identifier}", f"name: {term.name}"]
        lines.append(f"namespace: {NAMESPACES[term.aspect]}")
        lines += [f"alt_id: {other}" for other in term.alt_ids]
        lines += [f"is_a: {p} ! {terms[p].name}" for p in term.is_a]
        lines += [f"relationship: part_of {p} ! {terms[p].name}" for p in term.part_of]
        lines += ["is_obsolete: true"] * term.obsolete
        stanzas.append("\n".join(lines))
    stanzas.append("[Typedef]\nid: part_of\nname: part of\nis_transitive: true")
    return "\n\n".join(stanzas) + "\n"


def _ids(numbers: str | None) -> tuple[str, ...]:
    return tuple(f"GO:{int(n):07d}" for n in (numbers or "").split())
