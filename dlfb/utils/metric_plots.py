"""Figures of how a model learns and of how good it is (notebooks 06 to 08).

The functions know frames and numbers only; what an axis is called is for the page to say.
Each returns a figure, six inches wide so that its text stays readable on a phone, with
Okabe and Ito's colours, which colour-blind readers can tell apart. Shapes and line styles
differ as well, so that nothing is said by colour alone.
"""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

#: A colour for each split, the same in every figure.
DEFAULT_SPLIT_COLORS = {"train": "#0072B2", "valid": "#D55E00", "test": "#009E73"}

# The model first, in the colour of the validation set; its rivals in none that is a split's.
_SERIES = ("#D55E00", "#CC79A7", "#56B4E9", "#E69F00", "#999999", "#000000")
_MARKERS = "osD^vP"
_LINES = {"train": "--", "valid": "-", "test": "-."}
_WIDTH = 6.0
_STEPS = (1, 2, 5, 10)  # ticks at round numbers
_NUMBER = StrMethodFormatter("{x:,.0f}")


def plot_history(
    history: Mapping[str, Sequence[dict]],
    names: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    best: str | None = None,
) -> Figure:
    """Draw the loss of each split and, panel by panel, other metrics over the steps.

    Parameters
    ----------
    history : dict of lists of dicts
        For each split its evaluations, each with ``step``, ``loss`` and metrics.
    names : sequence of str, optional
        Which metrics beside the loss, in which order: all there are, if not given.
    labels : dict, optional
        What to write for a name, such as ``{"auprc": "auPRC"}``.
    best : str, optional
        A metric. A line marks the step at which ``"valid"`` has its highest value.

    Returns
    -------
    Figure
        Two panels to a row; of an odd number the loss takes the first row. Metrics run from 0
        to 1, so that panels can be compared; where a metric is NaN there is a gap.
    """
    frames = {split: pd.DataFrame(entries) for split, entries in history.items()}
    if names is None:
        found = dict.fromkeys(name for frame in frames.values() for name in frame.columns)
        names = [name for name in found if name not in ("step", "loss")]
    figure, axes = _panels(1 + len(names))
    for ax, name in zip(axes, ["loss", *names], strict=True):
        _draw_metric(ax, frames, name)
        ax.set_title((labels or {}).get(name, name), loc="left")
        if best is not None:
            step = frames["valid"].set_index("step")[best].idxmax()
            ax.axvline(step, color="#8C8C8C", lw=1, ls=":", zorder=0)
    if best is not None:
        axes[0].annotate(
            f"best: step {step}", (step, 1), (-4, -4), textcoords="offset points", rotation=90,
            xycoords=("data", "axes fraction"), ha="right", va="top", color="#555555", fontsize=9,
        )  # fmt: skip
    axes[0].legend(frameon=False)
    return figure


def plot_heat_maps(
    targets,
    probs,
    titles: tuple[str, str] = ("true", "predicted"),
    xlabel: str = "columns",
    ylabel: str = "rows",
    label: str = "score",
    max_rows: int = 150,
    max_columns: int = 60,
) -> Figure:
    """Draw the true matrix and the predicted one side by side, in one order and one colour scale.

    Parameters
    ----------
    targets, probs : array or DataFrame of shape (N, T)
        Truth as 0/1, and scores from 0 to 1. The names of a frame's rows and columns become
        ticks that aren't drawn: `dlfb.utils.hover.show` reads them out.
    titles, xlabel, ylabel, label : str
        What the two, their columns, rows and cells are.
    max_rows, max_columns : int
        How many of them a reader can still see: the most frequent columns, and rows taken
        evenly from top to bottom.

    Returns
    -------
    Figure
        Columns run from the most frequent to the rarest; rows that share the most frequent
        columns stand together. The colour scale is stretched at its low end.
    """
    named = pd.DataFrame(targets)
    targets, probs = named.to_numpy(), np.asarray(probs)
    columns = np.argsort(-targets.sum(axis=0), kind="stable")[:max_columns]
    rows = np.lexsort(1 - targets[:, columns[::-1]].T)
    if len(rows) > max_rows:
        rows = rows[np.linspace(0, len(rows) - 1, max_rows).round().astype(int)]
    figure, axes = plt.subplots(1, 2, figsize=(_WIDTH, 5.2), layout="constrained", sharey=True)
    for ax, matrix, title in zip(axes, (targets, probs), titles, strict=True):
        image = ax.imshow(
            matrix[np.ix_(rows, columns)], cmap="cividis", norm=PowerNorm(0.6, 0, 1),
            aspect="auto", interpolation="nearest",
        )  # fmt: skip
        ax.set_title(title, loc="left")
        ax.set_xticks(range(len(columns)), named.columns[columns])
        ax.set_yticks(range(len(rows)), named.index[rows])
        ax.tick_params(length=0, labelbottom=False, labelleft=False)
        ax.set_xlabel(f"{len(columns)} {xlabel}")
    axes[0].set_ylabel(f"{len(rows)} {ylabel}")
    bar = figure.colorbar(image, ax=axes, location="bottom", aspect=40, label=label)
    bar.set_ticks([0, 0.1, 0.25, 0.5, 1])
    return figure


def plot_trend(
    x, y, xlabel: str, ylabel: str, bins: int = 6, reference=None, reference_label: str = "chance"
) -> Figure:
    """Draw one quantity against another on a logarithmic scale, with the trend by bins.

    Parameters
    ----------
    x, y : array or Series of shape (N,)
        Points; those with NaN, or `x` not above 0, are left out.
    xlabel, ylabel : str
        What they are.
    bins : int
        The trend is the median of `y` in so many bins of about as many points each.
    reference : array or Series of shape (N,), optional
        For each point the value of `y` to compare with, drawn as a line.
    reference_label : str
        What that line is.
    """
    columns = {"x": x, "y": y} | ({} if reference is None else {"reference": reference})
    table = pd.DataFrame({name: np.asarray(values, float) for name, values in columns.items()})
    table = table[(table["x"] > 0) & table["y"].notna()].sort_values("x", kind="stable")
    figure, ax = plt.subplots(figsize=(_WIDTH, 4.2), layout="constrained")
    # In the order given, so that names can be given in that order, too; NaN is not drawn.
    ax.scatter(x, y, s=22, color=_SERIES[0], alpha=0.5, linewidths=0)
    medians = table.groupby(pd.qcut(table["x"], bins, duplicates="drop"), observed=True).median()
    ax.plot(medians["x"], medians["y"], color="black", lw=2.5, marker="o", label="median of a bin")
    if reference is not None:
        ax.plot(
            table["x"], table["reference"], color="#666666", lw=1.5, ls="--", label=reference_label
        )
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(_NUMBER)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set(xlabel=xlabel, ylabel=ylabel, ylim=(-0.02, 1.02))
    ax.legend(frameon=False)
    _tidy(ax)
    return figure


def plot_comparison(table: pd.DataFrame, xlabel: str, title: str | None = None) -> Figure:
    """Draw one row of points for each row of a table, its name above it.

    Parameters
    ----------
    table : DataFrame
        A row for each thing compared, its name in the index, and a column for each method,
        the one that matters first. NaN draws no point.
    xlabel, title : str
        What the numbers are, and a sentence that says what to see.
    """
    n = len(table)
    figure, ax = plt.subplots(figsize=(_WIDTH, 1.4 + 0.44 * n), layout="constrained")
    place = np.arange(n)
    ax.hlines(place, table.min(axis=1), table.max(axis=1), color="#C8C8C8", lw=2, zorder=1)
    # Points of one value would hide each other: each method stands a little lower.
    for i, method in enumerate(table.columns):
        ax.scatter(
            table[method], place + 0.11 * max(0, i - 1), s=80 if i == 0 else 40, label=method,
            color=_SERIES[i % len(_SERIES)], marker=_MARKERS[i % len(_MARKERS)],
            zorder=3 if i == 0 else 2, edgecolors="white", linewidths=0.6,
        )  # fmt: skip
    # Beside the plot, long names would leave no room for it on a phone.
    for row, name in enumerate(table.index):
        short = textwrap.shorten(str(name), 72, placeholder=" ...")
        ax.text(0, row - 0.33, short, va="center", transform=ax.get_yaxis_transform(), fontsize=10)
    ax.set_ylim(n - 0.5, -0.75)
    ax.set_xlim(left=min(0, ax.get_xlim()[0]))
    ax.set_yticks([])
    ax.set_xlabel(xlabel)
    _tidy(ax)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x", color="#E6E6E6", lw=0.8)
    ax.legend(
        loc="lower left", bbox_to_anchor=(-0.03, 1), ncols=2, frameon=False, handletextpad=0.2
    )
    if title is not None:
        figure.suptitle(textwrap.fill(title, 60), x=0.01, ha="left")
    return figure


def _panels(n: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with n axes, two to a row, after a wide one if n is odd."""
    rows = (n + 1) // 2
    figure = plt.figure(figsize=(_WIDTH, 0.4 + 2.2 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, 2)
    cells = [grid[0, :]] if n % 2 else [grid[0, 0], grid[0, 1]]
    cells += [grid[row, column] for row in range(1, rows) for column in (0, 1)]
    axes = [figure.add_subplot(cell) for cell in cells]
    for ax in axes[-2:]:
        ax.set_xlabel("step")
    return figure, axes


def _draw_metric(ax: Axes, frames: Mapping[str, pd.DataFrame], name: str) -> None:
    """Draw one metric of every split that has it."""
    for split, frame in frames.items():
        if name in frame:
            ax.plot(
                frame["step"], frame[name], _LINES.get(split, "-"), label=split, lw=2,
                color=DEFAULT_SPLIT_COLORS.get(split, "black"), marker="o", ms=4,
            )  # fmt: skip
    if name != "loss":
        ax.set_ylim(-0.03, 1.03)
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(MaxNLocator(4, steps=_STEPS, integer=True))
    _tidy(ax)


def _tidy(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
