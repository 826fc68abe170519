"""Figures of how a model learns and of how good it is (notebooks 07 and 08)."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

#: The colour of each split, the same in every figure.
DEFAULT_SPLIT_COLORS = {"train": "#0072B2", "valid": "#D55E00", "test": "#009E73"}

# The model comes first, in the colour of the validation set. No other colour is that of a split.
_SERIES = ("#D55E00", "#CC79A7", "#56B4E9", "#E69F00", "#999999", "#000000")
_MARKERS = "osD^vP"
_WIDTH = 6.0  # inches, to be readable on a phone


def plot_history(
    history: Mapping[str, Sequence[dict]], names=None, labels=None, best: str | None = None
) -> Figure:
    """Draw the loss and other metrics over the training steps, one panel each.

    `history` has the evaluations of each split: dicts of ``step``, ``loss`` and metrics. `names`
    lists those to draw (by default all), the dictionary `labels` has titles of panels. A line marks
    the step where the metric `best` of ``"valid"`` is highest; the title of its panel names it.
    """
    frames = [pd.DataFrame(entries).assign(split=split) for split, entries in history.items()]
    table = pd.concat(frames, ignore_index=True)
    names = ["loss", *(table.columns.drop(["step", "loss", "split"]) if names is None else names)]
    rows, columns = (len(names) + 1) // 2, min(len(names), 2)
    figure, axes = plt.subplots(
        rows, columns, figsize=(_WIDTH, 0.4 + 2.2 * rows), layout="constrained", squeeze=False
    )
    for ax in axes.flat[len(names) :]:
        ax.remove()
    for ax, name in zip(axes.flat, names, strict=False):
        sns.lineplot(
            table, x="step", y=name, hue="split", style="split", palette=DEFAULT_SPLIT_COLORS,
            markers=["o", "s", "D"][: len(history)], markersize=5, lw=2, ax=ax,
            legend="auto" if name == "loss" else False,
        )  # fmt: skip
        ax.set(ylabel="", xlim=(0, None), **({} if name == "loss" else {"ylim": (-0.03, 1.03)}))
        ax.xaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 10), integer=True))
        if best is not None:
            step = table[table["split"] == "valid"].set_index("step")[best].idxmax()
            ax.axvline(step, color="#8C8C8C", lw=1, ls=":", zorder=0)
        best_here = f", best at step {step}" if name == best else ""
        ax.set_title((labels or {}).get(name, name) + best_here, loc="left")
    sns.move_legend(axes[0, 0], "best", title=None, frameon=False)
    sns.despine(figure)
    return figure


def plot_heat_maps(
    targets, probs, titles=("true", "predicted"), xlabel="columns", ylabel="rows", label="score"
) -> Figure:
    """Draw the true and the predicted matrix side by side, in one order and one colour scale.

    `targets` (N, T) has 0 and 1, `probs` (N, T) scores from 0 to 1. Drawn are the 60 most frequent
    columns, and 150 evenly spaced rows, sorted by these columns.
    """
    targets, probs = np.asarray(targets), np.asarray(probs)
    columns = np.argsort(-targets.sum(axis=0), kind="stable")[:60]
    rows = np.lexsort(1 - targets[:, columns[::-1]].T)
    if len(rows) > 150:
        rows = rows[np.linspace(0, len(rows) - 1, 150).round().astype(int)]
    figure, axes = plt.subplots(1, 2, figsize=(_WIDTH, 5.2), layout="constrained", sharey=True)
    for ax, matrix, title in zip(axes, (targets, probs), titles, strict=True):
        sns.heatmap(
            matrix[np.ix_(rows, columns)], ax=ax, cmap="cividis", norm=PowerNorm(0.6, 0, 1),
            cbar=False, xticklabels=False, yticklabels=False, rasterized=True,
        )  # fmt: skip
        ax.set_title(title, loc="left")
        ax.set_xlabel(f"{len(columns)} {xlabel}")
    axes[0].set_ylabel(f"{len(rows)} {ylabel}")
    bar = {"location": "bottom", "aspect": 40, "label": label, "ticks": [0, 0.1, 0.25, 0.5, 1]}
    figure.colorbar(axes[0].collections[0], ax=axes, **bar)
    return figure


def plot_trend(
    x, y, xlabel: str, ylabel: str, bins: int = 6, reference=None, reference_label: str = "chance"
) -> Figure:
    """Draw points `x`, `y` (N,) with a logarithmic scale of `x`, and their trend.

    The trend is the median of `y` in `bins` bins with about equally many points. A line shows
    `reference` (N,), the value of `y` to compare each point with.
    """
    columns = {"x": x, "y": y} | ({} if reference is None else {"reference": reference})
    table = pd.DataFrame({name: np.asarray(values, float) for name, values in columns.items()})
    figure, ax = plt.subplots(figsize=(_WIDTH, 4.2), layout="constrained")
    # All points, in the given order, so that a name can be given for each.
    ax.scatter(table["x"], table["y"], s=22, color=_SERIES[0], alpha=0.5, linewidths=0)
    table = table[(table["x"] > 0) & table["y"].notna()].sort_values("x", kind="stable")
    medians = table.groupby(pd.qcut(table["x"], bins, duplicates="drop"), observed=True).median()
    ax.plot(medians["x"], medians["y"], color="black", lw=2.5, marker="o", label="median of a bin")
    if reference is not None:
        ax.plot(table["x"], table["reference"], color="#808080", ls="--", label=reference_label)
    ax.set(xlabel=xlabel, ylabel=ylabel, xscale="log", ylim=(-0.02, 1.02))
    ax.xaxis.set(
        major_locator=LogLocator(subs=(1, 2, 5)),
        minor_locator=NullLocator(),
        major_formatter=StrMethodFormatter("{x:,.0f}"),
    )
    ax.legend(frameon=False)
    sns.despine(figure)
    return figure


def plot_comparison(table: pd.DataFrame, xlabel: str) -> Figure:
    """Draw one row of points for each row of a table, one point per column, the first emphasized.

    The index names the things compared, the columns the methods. NaN is not drawn.
    """
    n = len(table)
    figure, ax = plt.subplots(figsize=(_WIDTH, 1.4 + 0.44 * n), layout="constrained")
    place = np.arange(n)
    ax.hlines(place, table.min(axis=1), table.max(axis=1), color="#C8C8C8", lw=2, zorder=1)
    # Equal values would hide each other, so each method is drawn a little lower.
    for i, (method, color, marker) in enumerate(zip(table, cycle(_SERIES), cycle(_MARKERS))):
        ax.scatter(
            table[method], place + 0.11 * max(0, i - 1), s=40 if i else 80, zorder=2 if i else 3,
            color=color, marker=marker, label=method, edgecolors="white", linewidths=0.6,
        )  # fmt: skip
    # Next to the plot, long names would leave no room for it on a phone.
    for row, name in enumerate(table.index):
        short = textwrap.shorten(str(name), 72, placeholder=" ...")
        ax.text(0, row - 0.33, short, va="center", transform=ax.get_yaxis_transform(), fontsize=10)
    ax.set(ylim=(n - 0.5, -0.75), xlim=(min(0, ax.get_xlim()[0]), None), yticks=[], xlabel=xlabel)
    sns.despine(figure, left=True)
    ax.grid(axis="x", color="#808080", alpha=0.25, lw=0.8)
    ax.legend(
        loc="lower left", bbox_to_anchor=(-0.03, 1), ncols=2, frameon=False, handletextpad=0.2
    )
    return figure
