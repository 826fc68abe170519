"""The report of ``dlfb-predict``: what is shown of each protein. How is in ``report.html``.

The page needs no other file and no script.
"""

import textwrap
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import jinja2
import networkx as nx
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from dlfb.proteins.ontology import ASPECTS, ancestors

CARDS = 500  # more make a page that opens slowly
MOST_TERMS = 12  # drawn above a term
# Least probability of a hidden residue for its class, and how the legend says it.
LEVELS = {"c": (0.5, ".5 or more"), "b": (0.2, ".2 to .5"), "a": (0.1, ".1 to .2"), "": (0, "less")}


def report_page(
    table, proteins, skipped, hits, profiles, vectors, predictor, graph, model_name
) -> str:
    """Return the page in HTML, from what :func:`dlfb.prediction.predict` computed."""
    functions = dict(iter(table.groupby("protein", sort=False)))
    relatives = dict(iter(hits.groupby("query")))
    named = zip(proteins.index, profiles, strict=False)
    terms = predictor.targets.columns
    aspect = ASPECTS[graph.nodes[terms[0]]["aspect"]].replace("_", " ")
    template = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(template).render(
        title=f"{aspect.capitalize()}: predictions for {len(proteins):,} proteins",
        model=model_name,
        learned=len(predictor.train),
        terms=len(terms),
        quality=predictor.quality(),
        skipped=skipped[:CARDS],
        map=_map(predictor, vectors, proteins.index, graph),
        levels=[(key, what) for key, (_, what) in LEVELS.items()],
        cards=[
            _card(proteins.loc[name], functions[name], profile, relatives.get(i, hits[:0]), graph)
            for i, (name, profile) in enumerate(named)
        ],
        more=len(proteins) - len(profiles),
    )


def _card(protein: pd.Series, rows: pd.DataFrame, profile, hits: pd.DataFrame, graph) -> dict:
    rows, letters = rows.dropna(subset="term"), protein["Sequence"]
    functions = rows.to_dict("records")
    # The most specific of those that are half as probable as the most probable, or more.
    likely = rows["term"][rows["probability"] >= rows["probability"].max() / 2]
    above = set().union(*(ancestors(graph, term) for term in likely))
    top = next((row for row in functions if row["term"] not in above), None)
    marked = [(_level(chance), letter) for chance, letter in zip(profile, letters, strict=True)]
    tens = [groupby(marked[i : i + 10], itemgetter(0)) for i in range(0, len(marked), 10)]
    return {
        "name": _visible(protein.name),
        "length": len(letters),
        "flags": protein["flags"],
        "functions": functions,
        "top": top,
        "path": top and _lineage(top["term"], graph, rows.set_index("term")["probability"]),
        "hits": hits.head(5).to_dict("records"),
        "relatives": len(hits),
        "residues": [[(key, "".join(x for _, x in run)) for key, run in ten] for ten in tens],
    }


def _visible(name: str) -> str:
    """Return the beginning of a name; what would not show, or turn the text round, as its code."""
    shown = "".join(x if x.isprintable() else f"\\u{ord(x):04x}" for x in name[:61])
    return shown if len(name) <= 60 else f"{shown[:60]}…"


def _level(chance: float) -> str:
    return next((key for key, (least, _) in LEVELS.items() if chance >= least), "")


def _lineage(term: str, graph: nx.MultiDiGraph, probabilities: pd.Series) -> dict:
    """Lay out the terms above a term, the root on top; if they are many, one of the ways up."""
    hierarchy, terms = graph.graph["hierarchy"], [term, *ancestors(graph, term)]
    if len(terms) > MOST_TERMS:
        terms = nx.shortest_path(hierarchy, term, next(t for t in terms if not hierarchy[t]))
    upward = hierarchy.subgraph(terms)
    levels = [sorted(level) for level in nx.topological_generations(upward.reverse())]
    width = 190 * max(map(len, levels)) + 60
    place = {
        t: (round(30 + (width - 60) * (i + 0.5) / len(level)), 1 + 90 * depth)
        for depth, level in enumerate(levels)
        for i, t in enumerate(level)
    }
    boxes = []
    for t, (x, y) in place.items():
        name = graph.nodes[t]["name"].replace("_", " ")
        text = textwrap.wrap(name, 26, max_lines=3, placeholder="…")
        text += [f"{100 * chance:.0f} %" for chance in probabilities[probabilities.index == t]]
        boxes.append({"x": x, "y": y, "title": f"{t} {name}", "text": text})
    lines = []
    for (x, y), (u, v) in ((place[child], place[parent]) for child, parent in upward.edges):
        # An edge that passes by a level bends around its boxes.
        side = -60 if x + u <= width else width + 60
        bends = (x, u) if y - v == 90 else (side, side)
        lines.append(f"M{x} {y}C{bends[0]} {y - 28} {bends[1]} {v + 90} {u} {v + 62}")
    return {"width": width, "height": 90 * len(levels) - 26, "boxes": boxes, "lines": lines}


def _map(predictor, vectors: np.ndarray, names: pd.Index, graph: nx.MultiDiGraph) -> dict:
    """Place all proteins by the two main components of the annotated ones."""
    components = PCA(2, random_state=0).fit(predictor.vectors)
    theirs, mine = map(components.transform, (predictor.vectors, vectors))
    low, high = theirs.min(axis=0), theirs.max(axis=0)
    theirs, mine = (
        10 + [580, 380] * (np.clip(points, low, high) - low) / (high - low)
        for points in (theirs, mine)
    )
    common = predictor.targets.sum().idxmax()
    having = predictor.targets[common].to_numpy() == 1
    others, ones = (
        "".join(f"M{x:.0f} {y:.0f}h0" for x, y in theirs[chosen]) for chosen in (~having, having)
    )
    return {
        "others": others,
        "common": ones,
        "term": graph.nodes[common]["name"],
        "mine": [
            (round(x), round(y), _visible(name)) for (x, y), name in zip(mine, names, strict=True)
        ],
        "variance": components.explained_variance_ratio_.sum(),
    }
