"""Showing things in notebooks and in plain Python: source code, figures, dictionaries, progress."""

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

    For a wrapped function (by ``jax.jit``, ``functools.partial`` or ``restorable``) it is the code
    of the function inside. The entries of a list are shown one by one.
    """
    if isinstance(thing, list):
        for entry in thing:
            display(entry)
        return
    source, ipython = _source_of(thing), running_ipython()
    if source is None:
        (ipython.display.display if ipython else print)(thing)
    elif ipython:
        fence = "`" * 3 if "```" not in source else "`" * 5
        bundle = {"text/markdown": f"{fence}python\n{source}{fence}", "text/plain": source}
        ipython.display.display(bundle, raw=True)
    else:
        print(source, end="")


def _source_of(thing: Any) -> str | None:
    while isinstance(thing, functools.partial):
        thing = thing.func
    try:
        # A method is indented.
        return textwrap.dedent(inspect.getsource(inspect.unwrap(thing)))
    except (OSError, TypeError):  # not code; or built in, or typed into plain Python
        return None


def running_ipython():
    """Return IPython where it runs, without importing it: plain Python remains fast."""
    ipython = sys.modules.get("IPython")
    return ipython if ipython is not None and ipython.get_ipython() is not None else None


def show(figure, names: Sequence[str]) -> None:
    """Show a matplotlib figure whose points tell their names under the pointer, and close it.

    `names` has one name for each point of the figure's scatter plots, in the order in which they
    were drawn, or one for each thing that is in all of them; any other number is a ValueError.
    """
    from matplotlib import pyplot as plt

    points, ipython = _named_points(figure, list(names)), running_ipython()
    if ipython is None:
        plt.show()
    else:
        # The picture, with a transparent disc on each point that has a title: no script is needed.
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
        points = " + ".join(map(str, counts)) or "no"
        fault = f"there are {len(names)} names, but the scatter plots have {points} points"
        raise ValueError(f"show: {fault}. Give one for each point, in the order of drawing.")
    figure.canvas.draw()  # the layout is known then
    places = [
        place / figure.dpi
        for plot in plots
        for place in plot.get_offset_transform().transform(plot.get_offsets().filled(float("nan")))
    ]
    named = zip(names, places, strict=True)
    return [(str(name), x, y) for name, (x, y) in named if isfinite(x + y)]


def print_short_dict(mapping: Mapping, max_entries: int = 10) -> None:
    """Print a dictionary, one line per entry: of a long one the first and last `max_entries`."""
    total = len(mapping)
    texts = [repr(value).replace("\n", " ") for value in mapping.values()]  # arrays have lines
    shortened = [text if len(text) <= 70 else text[:67] + "..." for text in texts]
    lines = [f"  {key!r}: {text}," for key, text in zip(mapping, shortened, strict=True)]
    if total > max_entries:
        head = (max_entries + 1) // 2
        hidden = slice(head, total - max_entries + head)
        lines[hidden] = [f"  ... ({total - max_entries:,} more)"]
    count = f"{total:,} entr{'y' if total == 1 else 'ies'}"
    print("\n".join(["{", *lines, f"}} ({count})"]) if lines else f"{{}} ({count})")


def progress(iterable: Iterable | None = None, *, total=None, desc=None, unit: str = "it"):
    """Return tqdm's progress bar, which the environment variable ``DLFB_PROGRESS=0`` silences."""
    silent, scale = os.environ.get("DLFB_PROGRESS") == "0", unit != "it"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm complains where ipywidgets is missing, and works
        from tqdm.auto import tqdm
    return tqdm(iterable, total=total, desc=desc, unit=unit, disable=silent, unit_scale=scale)
