"""The parts of a matplotlib panel as Plotly writes them; see `dlfb.utils.hover`."""

import html
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.markers import MarkerStyle
from matplotlib.patches import FancyArrowPatch
from matplotlib.text import Annotation

_SYMBOLS = {"o": "circle", "s": "square", "D": "diamond", "^": "triangle-up",
            "v": "triangle-down", "P": "cross"}  # fmt: skip
_DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}
_PIXELS = 96 / 72  # in a point
_GAPS = {"x": 0.2, "y": 0.08}  # between panels, as a share of the figure


def axis(ax: Axes, which: str) -> dict:
    """Return an axis with matplotlib's own ticks, label and limits, in its panel's place."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    limits = np.array(ax.get_xlim() if which == "x" else ax.get_ylim())
    ticks = [tick for tick in _ticks(axis) if min(limits) <= tick[0] <= max(limits)]
    shown = axis.get_tick_params().get("labelbottom" if which == "x" else "labelleft", True)
    panel = ax.get_subplotspec().get_topmost_subplotspec()
    count = panel.get_gridspec().ncols if which == "x" else panel.get_gridspec().nrows
    first, last = panel.colspan.start, panel.colspan.stop
    if which == "y":  # rows are counted from the top, a domain from the bottom
        first, last = count - panel.rowspan.stop, count - panel.rowspan.start
    size = (1 + _GAPS[which]) / count
    return {
        "domain": [round(first * size, 3), round(last * size - _GAPS[which], 3)],
        "type": axis.get_scale(),
        "range": _numbers(np.log10(limits) if axis.get_scale() == "log" else limits),
        "title": {"text": words(axis.get_label_text())},
        "tickvals": _numbers([place for place, _ in ticks]),
        "ticktext": [label for _, label in ticks],
        "showticklabels": bool(shown),
        "tickangle": 0,
        # What is counted in whole numbers is read out in whole numbers.
        "hoverformat": ",.3~f" if any("." in label for _, label in ticks) else ",.0f",
        "automargin": True,
        "showgrid": False,
        "zeroline": False,
    }


def _ticks(axis: Axis) -> list[tuple[float, str]]:
    """Return where ticks are and what they are called, be they shown or not."""
    places = axis.get_majorticklocs()
    labels = axis.get_major_formatter().format_ticks(places)
    return [(place, words(label)) for place, label in zip(places, labels, strict=True)]


def _read_out(ax: Axes, which: str) -> str:
    """Return how a place on an axis is read out: by its name, as a number of what, or not."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    what = words(axis.get_label_text()).replace("<br>", " ")
    if any(letter.isalpha() for _, label in _ticks(axis) for letter in label):
        return f"%{{{which}}}<br>"
    return f"{what}: %{{{which}}}<br>" if what and _ticks(axis) else ""


def traces(ax: Axes) -> list[dict]:
    """Return what a panel shows, what lies in front last."""
    return [*_heat_maps(ax), *_lines(ax), *_points(ax), *_bars(ax)]


def _heat_maps(ax: Axes) -> Iterator[dict]:
    """Yield the matrices of a panel, each colour as matplotlib drew it."""
    for image in ax.images:
        steps, (low, high) = np.linspace(0, 1, 33), image.get_clim()
        title = words(ax.get_title() or ax.get_title(loc="left"))
        value = f"<b>{title + ': ' if title else ''}%{{z}}</b><extra></extra>"
        colors = 255 * image.cmap(image.norm(low + steps * (high - low)))[:, :3]
        yield {
            "type": "heatmap",
            "z": [_numbers(row) for row in np.ma.filled(image.get_array().astype(float), np.nan)],
            "zmin": low,
            "zmax": high,
            # rgb() is a colour that means a number; those like #000000 may follow a page's theme.
            "colorscale": [
                [round(step, 4), f"rgb({r:.0f},{g:.0f},{b:.0f})"]
                for step, (r, g, b) in zip(steps.tolist(), colors, strict=True)
            ],
            "showscale": image.colorbar is not None,
            "colorbar": {"x": axis(ax, "x")["domain"][1], "thickness": 10, "outlinewidth": 0},
            "hovertemplate": _read_out(ax, "y") + _read_out(ax, "x") + value,
        }


def _lines(ax: Axes) -> Iterator[dict]:
    """Yield the lines of a panel, but for those across all of it, which are shapes."""
    for lines in (part for part in ax.collections if isinstance(part, LineCollection)):
        ends = [point for part in lines.get_segments() for point in (*part, (np.nan, np.nan))]
        stroke = {"color": to_hex(lines.get_color()[0]), "width": 2}
        yield _series(ax, lines, ends, mode="lines", line=stroke, hoverinfo="skip")
    for line in (part for part in ax.lines if part.get_transform() == ax.transData):
        mode = "lines" if line.get_marker() in ("", " ", "None", None) else "lines+markers"
        yield _series(ax, line, line.get_xydata(), mode=mode, line=_stroke(line))


def _points(ax: Axes) -> Iterator[dict]:
    """Yield the points of a panel."""
    for points in (part for part in ax.collections if isinstance(part, PathCollection)):
        faces = points.get_facecolor()
        marker = {
            "color": [to_hex(face) for face in faces] if len(faces) > 1 else to_hex(faces[0]),
            "opacity": round(float(faces[0][3]), 2),
            "symbol": _symbol(points.get_paths()[0].vertices),
            "size": round(float(np.sqrt(points.get_sizes()[0])) * _PIXELS, 1),
            "line": {"color": "#ffffff", "width": 0.6},
        }
        yield _series(ax, points, points.get_offsets(), mode="markers", marker=marker)


def _bars(ax: Axes) -> Iterator[dict]:
    """Yield the upright bars of a panel."""
    for bars in ax.containers:
        tops = [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in bars]
        outline = [2 if bar.get_linewidth() > 1 else 0 for bar in bars]
        marker = {
            "color": [to_hex(bar.get_facecolor()) for bar in bars],
            "line": {"color": "#000000", "width": outline},
        }
        width = round(float(bars[0].get_width()), 3)
        yield _series(ax, bars, tops, type="bar", marker=marker, width=width)
        for bar in (bar for bar in bars if not bar.get_label().startswith("_")):
            color = {"color": to_hex(bar.get_facecolor())}  # of the legend only
            yield _series(ax, bar, [(np.nan, np.nan)], type="bar", marker=color)


def _series(ax: Axes, artist, places, **kind) -> dict:
    """Return what points, lines and bars have in common."""
    label = str(artist.get_label())
    own = "" if label.startswith("_") else words(label)
    places = np.ma.filled(np.ma.asarray(places, float), np.nan)
    read_out = [own and f"{own}<br>", _read_out(ax, "x"), _read_out(ax, "y")]
    return {
        "type": "scatter",
        "name": own or "points",
        "showlegend": bool(own),
        "x": _numbers(places[:, 0]),
        "y": _numbers(places[:, 1]),
        "hovertemplate": "".join(read_out).removesuffix("<br>") + "<extra></extra>",
    } | kind


def texts(ax: Axes, x: str, y: str) -> Iterator[dict]:
    """Yield the words in a panel, its title first."""
    same = {"showarrow": False}
    title = words(ax.get_title() or ax.get_title(loc="left"))
    if title and len(ax.figure.axes) > 1:  # of a single panel the caption says as much
        frame = {"xref": f"{x} domain", "yref": f"{y} domain", "x": 0, "y": 1}
        yield same | frame | {"text": f"<b>{title}</b>", "xanchor": "left", "yanchor": "bottom"}
    for text in (text for text in ax.texts if text.get_text()):
        note = isinstance(text, Annotation)
        place = _numbers(text.xy if note else text.get_position())
        above = note or text.get_va() == "bottom"
        yield same | {
            "text": words(text.get_text()),
            **_frame(ax, ax.transData if note else text.get_transform(), x, y),
            "x": place[0],
            "y": place[1],
            "xanchor": text.get_ha(),
            "yanchor": "bottom" if above else "middle",
            "font": {"color": to_hex(text.get_color())},
        }


def shapes(ax: Axes, x: str, y: str) -> Iterator[dict]:
    """Yield what runs across a whole panel: lines and shaded spans."""
    for line in (part for part in ax.lines if part.get_transform() != ax.transData):
        box = line.get_path().get_extents()
        yield _box(box) | _frame(ax, line.get_transform(), x, y) | {
            "type": "line", "line": _stroke(line),
        }  # fmt: skip
    bars = {bar for bars in ax.containers for bar in bars}
    for patch in (part for part in ax.patches if part not in bars):
        if isinstance(patch, FancyArrowPatch):  # from a label to its point
            (x0, y0), (x1, y1) = patch.get_path().vertices[[0, -1]]
            ends = dict(zip(("x0", "y0", "x1", "y1"), _numbers([x0, y0, x1, y1]), strict=True))
            stroke = {"color": to_hex(patch.get_edgecolor()), "width": 1}
            yield ends | {"type": "line", "xref": x, "yref": y, "line": stroke}
            continue
        box = patch.get_path().transformed(patch.get_patch_transform()).get_extents()
        yield _box(box) | {
            "type": "rect", "xref": x, "yref": f"{y} domain", "line": {"width": 0},
            "fillcolor": to_hex(patch.get_facecolor()), "opacity": patch.get_alpha() or 1,
            "layer": "below",
        }  # fmt: skip


def _box(box) -> dict:
    return dict(zip(("x0", "y0", "x1", "y1"), _numbers(box.extents), strict=True))


def _frame(ax: Axes, transform, x: str, y: str) -> dict:
    """Return what a place is measured in: data, or shares of the panel."""
    across = transform == ax.get_yaxis_transform()
    along = transform == ax.get_xaxis_transform()
    return {"xref": f"{x} domain" if across else x, "yref": f"{y} domain" if along else y}


def _stroke(line) -> dict:
    dash = _DASHES.get(line.get_linestyle(), "solid")
    return {"color": to_hex(line.get_color()), "width": line.get_linewidth(), "dash": dash}


def _symbol(vertices) -> str:
    """Return Plotly's name of the marker that has these vertices."""
    for mark, name in _SYMBOLS.items():
        style = MarkerStyle(mark)
        known = style.get_path().transformed(style.get_transform()).vertices
        if known.shape == vertices.shape and np.allclose(known, vertices):
            return name
    return "circle"


def _numbers(values) -> list:
    """Return rounded numbers, whole ones without a point, and None in place of NaN."""
    rounded = [round(float(value), 3) for value in values]
    return [None if v != v else int(v) if v.is_integer() else v for v in rounded]


def words(text) -> str:
    """Return a text as Plotly takes it, which reads a little HTML."""
    return html.escape(str(text), quote=False).replace("\n", "<br>")
