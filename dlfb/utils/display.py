"""Showing things to a reader: source code, figures with names, dictionaries, progress.

All of it works in a notebook, in IPython, and in plain Python.
"""

import base64
import functools
import hashlib
import inspect
import io
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any
from xml.etree import ElementTree

_SVG = "{http://www.w3.org/2000/svg}"


def display(thing: Any) -> None:
    """Show the source code of a function or class, and anything else as usual.

    Parameters
    ----------
    thing : object
        For a function, class, method or module, also where it is wrapped (by
        ``jax.jit``, ``functools.partial`` or ``restorable``), its source is
        shown: highlighted in a notebook, as text elsewhere. Each entry of a list is
        shown by itself. Other things are shown as a notebook shows them, or printed.
    """
    if isinstance(thing, list):
        for entry in thing:
            display(entry)
        return
    source, ipython = _source_of(thing), _ipython()
    if source is None:
        (ipython.display.display if ipython else print)(thing)
    elif ipython:
        fence = "`" * 3 if "```" not in source else "`" * 5
        bundle = {"text/markdown": f"{fence}python\n{source}{fence}", "text/plain": source}
        ipython.display.display(bundle, raw=True)
    else:
        print(source, end="")


def show(figure, names: Sequence[str]) -> None:
    """Show a figure whose points say their names when a pointer rests on them.

    In a notebook it is one output: a drawing that a browser shows without any script, and beside
    it a picture for where only pictures are shown.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        A finished figure. It is closed afterwards.
    names : sequence of str
        A name for each point of the figure's scatter plots, in the order in which they were
        drawn; or, where all scatter plots are of the same things, a name for each thing.

    Raises
    ------
    ValueError
        If there are more or fewer names than points, or a point is outside the picture.
    """
    from matplotlib import pyplot as plt

    drawing, ipython = named_svg(figure, names), _ipython()
    if ipython is None:
        plt.show()
    else:
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=2 * figure.dpi, bbox_inches="tight")
        data = picture.getvalue()
        width, height = (int.from_bytes(data[i : i + 4], "big") // 2 for i in (16, 20))
        bundle = {"image/png": base64.b64encode(data).decode()}
        bundle |= {"text/html": drawing, "text/plain": repr(figure)}
        size = {"image/png": {"width": width, "height": height}}
        ipython.display.display(bundle, metadata=size, raw=True)
    plt.close(figure)


def named_svg(figure, names: Sequence[str]) -> str:
    """Return a figure as an SVG element in which each point of its scatter plots has a name.

    Parameters and errors as for :func:`show`. The same figure gives the same text. Black becomes
    the colour of the text around it, so that the drawing suits a dark page as well.
    """
    points = [c for ax in figure.axes for c in ax.collections if hasattr(c, "get_sizes")]
    names, counts = list(names), [len(drawn.get_offsets()) for drawn in points]
    if counts and set(counts) == {len(names)}:
        names *= len(counts)
    if len(names) != sum(counts) or not counts:
        raise ValueError(
            f"show: there are {len(names)} names, but the scatter plots of this figure have "
            f"{' + '.join(map(str, counts)) or 'no'} points. Give a name for each point, in the "
            "order in which they were drawn."
        )
    for number, drawn in enumerate(points):
        drawn.set_gid(f"points-{number}")
    svg = ElementTree.fromstring(_svg_text(figure))
    groups = {group.get("id", "").partition("-")[2]: group for group in svg.iter()}
    for drawn, count in zip(points, counts, strict=True):
        mine, names = names[:count], names[count:]
        places = drawn.get_offset_transform().transform(drawn.get_offsets().filled(float("nan")))
        mine = [name for name, (x, y) in zip(mine, places, strict=True) if isfinite(x + y)]
        parents = groups[drawn.get_gid()].iter() if mine else ()
        marks = [m for parent in parents if parent.tag != f"{_SVG}defs" for m in parent]
        marks = [mark for mark in marks if mark.tag in (f"{_SVG}use", f"{_SVG}path")]
        if len(marks) != len(mine):
            raise ValueError("show: some points are outside the picture. Widen the axes' limits.")
        for mark, name in zip(marks, mine, strict=True):
            ElementTree.SubElement(mark, f"{_SVG}title").text = str(name)
    svg.attrib.pop("height")
    svg.set("style", f"width: 100%; max-width: {svg.attrib.pop('width')}; height: auto")
    svg.set("class", "named-points")
    for prefix, space in (("", _SVG[1:-1]), ("xlink", "http://www.w3.org/1999/xlink")):
        ElementTree.register_namespace(prefix, space)
    return ElementTree.tostring(svg, encoding="unicode")


def _svg_text(figure) -> str:
    """Draw a figure so that it may stand in a page beside others."""
    import matplotlib as mpl

    file, nothing = io.StringIO(), dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": "dlfb", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", bbox_inches="tight", transparent=True, metadata=nothing)
    text = file.getvalue().replace("#000000", "currentColor")
    # A style would hold for the whole page; as attributes, the drawing's parts inherit it.
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = text.replace("<svg ", '<svg fill="currentColor" stroke-linejoin="round" ', 1)
    # What is referred to gets an id that no other figure of the page has; nothing else has one.
    key = "f" + hashlib.sha256(text.encode()).hexdigest()[:8]
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))

    def with_key(match):
        kept = match[1] in used or match[1].startswith("points-")
        return f' id="{key}-{match[1]}"' if kept else ""

    text = re.sub(r' id="([^"]+)"', with_key, text)
    return re.sub(r'(href="|url\()#', rf"\1#{key}-", text)


def print_short_dict(mapping: Mapping, max_entries: int = 10) -> None:
    """Print a dictionary on a line per entry, leaving out the middle of a long one.

    Parameters
    ----------
    mapping : Mapping
        The dictionary. An entry's value is cut at about 70 characters.
    max_entries : int
        How many entries to print at most, at least 1.

    Raises
    ------
    ValueError
        If `max_entries` is less than 1.

    Examples
    --------
    >>> print_short_dict({letter: i for i, letter in enumerate("abcdef")}, max_entries=3)
    {
      'a': 0,
      'b': 1,
      ... (3 more)
      'f': 5,
    } (6 entries)
    """
    if max_entries < 1:
        raise ValueError(f"print_short_dict: max_entries must be 1 or more, not {max_entries}.")
    total = len(mapping)
    hidden = max(0, total - max_entries)
    head = total if not hidden else (max_entries + 1) // 2
    lines = []
    for i, (key, value) in enumerate(mapping.items()):
        if i < head or i >= head + hidden:
            lines.append(f"  {key!r}: {_shortened(value)},")
        elif i == head:
            lines.append(f"  ... ({hidden:,} more)")
    count = f"{total:,} entr{'y' if total == 1 else 'ies'}"
    print("\n".join(["{", *lines, f"}} ({count})"]) if lines else f"{{}} ({count})")


def progress(
    iterable: Iterable | None = None,
    *,
    total: float | None = None,
    desc: str | None = None,
    unit: str = "it",
):
    """Return a progress bar, to iterate over or to use as a context manager.

    Parameters
    ----------
    iterable : Iterable, optional
        What to go through. Without it, call ``bar.update(n)`` yourself.
    total : float, optional
        The count at the end, where `iterable` has no length.
    desc, unit : str
        What is done, and what is counted.

    Returns
    -------
    tqdm.tqdm
        A widget in a notebook that has ipywidgets, text on stderr elsewhere,
        and silent where the environment variable ``DLFB_PROGRESS`` is ``0``.
    """
    silent = os.environ.get("DLFB_PROGRESS") == "0"
    with warnings.catch_warnings():
        # tqdm.auto complains once where ipywidgets is missing, then works all the same.
        warnings.simplefilter("ignore")
        if silent:
            from tqdm import tqdm
        else:
            from tqdm.auto import tqdm
    return tqdm(
        iterable, total=total, desc=desc, unit=unit, disable=silent, unit_scale=unit != "it"
    )


def _ipython():
    """Return IPython where it runs; it isn't imported elsewhere, so that plain Python is fast."""
    ipython = sys.modules.get("IPython")
    return ipython if ipython is not None and ipython.get_ipython() is not None else None


def _source_of(thing: Any) -> str | None:
    """Return the source code of what is code, None for anything else."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    if callable(thing) or inspect.ismodule(thing):
        thing = inspect.unwrap(thing)
    is_code = (inspect.isclass, inspect.isroutine, inspect.ismodule)
    if not any(check(thing) for check in is_code):
        return None
    try:
        source = inspect.getsource(thing)
    except (OSError, TypeError):  # built in, or typed into plain Python: nothing to read
        return None
    return textwrap.dedent(source)  # a method is indented


def _shortened(value: Any, width: int = 70) -> str:
    text = repr(value)
    return text if len(text) <= width else f"{text[: width - 3]}..."
