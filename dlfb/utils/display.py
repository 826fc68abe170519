"""Showing things to a reader: source code, figures with names, dictionaries, progress.

All of it works in a notebook, in IPython, and in plain Python.
"""

import base64
import functools
import html
import inspect
import io
import os
import sys
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any


def display(thing: Any) -> None:
    """Show the source code of a function or class, and anything else as usual.

    Source is highlighted in a notebook, text elsewhere; of what is wrapped (by ``jax.jit``,
    ``functools.partial`` or ``restorable``) it is what was written. Each entry of a list is
    shown by itself.
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
    """Show a figure whose points say their names when a pointer rests on them, and close it.

    In a notebook it is one output: a drawing that a browser shows without any script, and beside
    it a picture for where only pictures are shown.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    names : sequence of str
        A name for each point of the figure's scatter plots, in the order in which they were
        drawn; or, where all scatter plots are of the same things, a name for each thing. It is a
        ValueError if there are more or fewer.
    """
    from matplotlib import pyplot as plt

    points, ipython = _named_points(figure, list(names)), _ipython()
    if ipython is None:
        plt.show()
    else:
        # The drawing is the picture, with a transparent disc on each point, that has a title.
        box, file = figure.get_tightbbox().padded(0.05), io.BytesIO()  # in inches
        figure.savefig(file, dpi=2 * figure.dpi, bbox_inches=box, metadata={"Software": None})
        picture = base64.b64encode(file.getvalue()).decode()
        discs = "".join(
            f'<circle cx="{x - box.x0:.3f}" cy="{box.y1 - y:.3f}" r="0.06">'
            f"<title>{html.escape(name)}</title></circle>"
            for name, x, y in points
        )
        width, height = (round(figure.dpi * side) for side in (box.width, box.height))
        drawing = (
            f'<svg class="named-points" viewBox="0 0 {box.width:.3f} {box.height:.3f}" '
            f'style="width: 100%; max-width: {width}px; height: auto" fill="transparent">'
            f'<image width="100%" height="100%" href="data:image/png;base64,{picture}"/>'
            f"{discs}</svg>"
        )
        bundle = {"image/png": picture, "text/html": drawing, "text/plain": repr(figure)}
        size = {"image/png": {"width": width, "height": height}}
        ipython.display.display(bundle, metadata=size, raw=True)
    plt.close(figure)


def _named_points(figure, names: list[str]) -> list[tuple[str, float, float]]:
    """Return name and place, in inches, of each point drawn by a scatter plot."""
    plots = [c for ax in figure.axes for c in ax.collections if hasattr(c, "get_sizes")]
    counts = [len(plot.get_offsets()) for plot in plots]
    if set(counts) == {len(names)}:
        names = names * len(counts)
    if len(names) != sum(counts) or not names:
        raise ValueError(
            f"show: there are {len(names)} names, but the scatter plots of this figure have "
            f"{' + '.join(map(str, counts)) or 'no'} points. Give a name for each point, in the "
            "order in which they were drawn."
        )
    figure.canvas.draw()  # the layout is known then
    places = [
        place / figure.dpi
        for plot in plots
        for place in plot.get_offset_transform().transform(plot.get_offsets().filled(float("nan")))
    ]
    return [
        (str(name), x, y) for name, (x, y) in zip(names, places, strict=True) if isfinite(x + y)
    ]


def print_short_dict(mapping: Mapping, max_entries: int = 10) -> None:
    """Print a dictionary on a line per entry, leaving out the middle of a long one.

    At most `max_entries` are printed, each cut at about 70 characters.

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
    lines = [f"  {key!r}: {_shortened(value)}," for key, value in mapping.items()]
    if total > max_entries:
        head = (max_entries + 1) // 2
        hidden = slice(head, total - max_entries + head)
        lines[hidden] = [f"  ... ({total - max_entries:,} more)"]
    count = f"{total:,} entr{'y' if total == 1 else 'ies'}"
    print("\n".join(["{", *lines, f"}} ({count})"]) if lines else f"{{}} ({count})")


def progress(iterable: Iterable | None = None, *, total=None, desc=None, unit: str = "it"):
    """Return tqdm's progress bar, to iterate over or to use as a context manager.

    It is a widget in a notebook that has ipywidgets, text on stderr elsewhere, and silent where
    the environment variable ``DLFB_PROGRESS`` is ``0``.
    """
    silent = os.environ.get("DLFB_PROGRESS") == "0"
    with warnings.catch_warnings():
        # tqdm.auto complains once where ipywidgets is missing, then works all the same.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    scale = unit != "it"
    return tqdm(iterable, total=total, desc=desc, unit=unit, disable=silent, unit_scale=scale)


def _ipython():
    """Return IPython where it runs; it isn't imported elsewhere, so that plain Python is fast."""
    ipython = sys.modules.get("IPython")
    return ipython if ipython is not None and ipython.get_ipython() is not None else None


def _source_of(thing: Any) -> str | None:
    """Return the source code of what is code, None for anything else."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    if callable(thing):
        thing = inspect.unwrap(thing)
    try:
        return textwrap.dedent(inspect.getsource(thing))  # a method is indented
    except (OSError, TypeError):  # no code; or built in, or typed into plain Python
        return None


def _shortened(value: Any, width: int = 70) -> str:
    text = repr(value).replace("\n", " ")  # of an array
    return text if len(text) <= width else f"{text[: width - 3]}..."
