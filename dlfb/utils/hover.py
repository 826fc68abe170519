"""Figures that answer a pointer: a picture, and beside it the same figure for Plotly.

The site draws the second in place of the first where JavaScript runs; GitHub, Colab and paper
show the picture. The twin is read off the finished matplotlib figure, so that the two can't
disagree, and is a plain dictionary in Plotly's format: Plotly itself is not needed here.
"""

import sys
from collections.abc import Mapping, Sequence

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from dlfb.utils import plotly_parts

MIME = "application/vnd.plotly.v1+json"

Names = Sequence[str] | Mapping[str, Sequence[str]]


def show(figure: Figure, names: Names | None = None) -> None:
    """Show a figure, and in a notebook store its interactive twin with the picture.

    Parameters
    ----------
    figure : Figure
        A finished figure. It is closed afterwards.
    names : sequence of str, or mapping or Series of such, optional
        What to call each point or bar, in the order in which they were drawn: those of every
        series that has as many of them, or, as a mapping, those of the series labelled so.

    Raises
    ------
    ValueError
        If the names fit no series.
    """
    interactive = twin(figure, names)
    # IPython is not imported where it isn't running, so that plain Python starts fast.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        plt.show()
    else:
        data, about = shell.display_formatter.format(figure)
        ipython.display.display({**data, MIME: interactive}, metadata=about, raw=True)
    plt.close(figure)


def twin(figure: Figure, names: Names | None = None) -> dict:
    """Return a figure in Plotly's format, with words for each of its points, bars and cells.

    Parameters
    ----------
    figure, names
        As for `show`.

    Returns
    -------
    dict
        ``{"data": [...], "layout": {...}}``, numbers rounded to three decimals. It knows heat
        maps (``imshow``), points (``scatter``), lines, upright bars, spans and texts in a grid of
        panels. A cell or bar is called what its ticks are called, so ticks may be there unseen;
        numbers are read out if their axis says of what.

    Raises
    ------
    ValueError
        If the names fit no series.
    """
    data: list[dict] = []
    layout = {"annotations": [], "shapes": [], "hovermode": "closest", "showlegend": False}
    panels = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    for number, ax in enumerate(panels, start=1):
        x, y = ("x", "y") if number == 1 else (f"x{number}", f"y{number}")
        layout[x.replace("x", "xaxis")] = plotly_parts.axis(ax, "x") | {"anchor": y}
        layout[y.replace("y", "yaxis")] = plotly_parts.axis(ax, "y") | {"anchor": x}
        for trace in plotly_parts.traces(ax):
            data.append(trace | {"xaxis": x, "yaxis": y})
        layout["annotations"] += plotly_parts.texts(ax, x, y)
        layout["shapes"] += plotly_parts.shapes(ax, x, y)
        layout["showlegend"] |= ax.get_legend() is not None
    if names is not None:
        _name(data, names)
    return {"data": data, "layout": layout}


def _name(data: list[dict], names: Names) -> None:
    """Put the names of points and bars at the head of what is read out."""
    several = hasattr(names, "keys")  # of a Series, too
    if several:
        names = {plotly_parts.words(label): mine for label, mine in names.items()}
    series = [trace for trace in data if trace.get("mode") == "markers" or trace["type"] == "bar"]
    found = set()
    for trace in series:
        mine = names.get(trace["name"], ()) if several else names
        if len(mine) == len(trace["x"]):
            trace["hovertext"] = [plotly_parts.words(name) for name in mine]
            trace["hovertemplate"] = "<b>%{hovertext}</b><br>" + trace["hovertemplate"]
            found.add(trace["name"])
    if not found or (several and found != set(names)):
        given = names if several else {"any series": names}
        asked = ", ".join(f"{len(mine)} for {label!r}" for label, mine in given.items())
        there = ", ".join(f"{len(trace['x'])} in {trace['name']!r}" for trace in series)
        raise ValueError(
            f"show: there are names, {asked}, that fit no points of this figure, which has "
            f"{there or 'none'}. Give a name for each point, in the order in which they were drawn."
        )
