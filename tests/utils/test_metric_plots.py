"""The figures: every point is drawn, labels are there and do not cover each other."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from dlfb.utils.metric_plots import (
    DEFAULT_SPLIT_COLORS,
    plot_comparison,
    plot_heat_maps,
    plot_history,
    plot_trend,
)

HISTORY = {
    "train": [{"step": s, "loss": 1 / s} for s in (10, 20, 30)],
    "valid": [
        {"step": s, "loss": 2 / s, "auprc": a, "precision": p}
        for s, a, p in ((10, 0.2, np.nan), (20, 0.5, 0.9), (30, 0.4, 0.8))
    ],
}


@pytest.fixture(autouse=True)
def close_figures():
    before = dict(plt.rcParams)
    yield
    plt.close("all")
    assert dict(plt.rcParams) == before


def assert_readable(figure):
    """No text is smaller than 9 points, cut off, or over another text."""
    figure.canvas.draw()
    size = figure.get_size_inches() * figure.dpi
    assert figure.get_size_inches()[0] <= 6
    undrawn = set()  # labels of ticks outside the axes exist but are not drawn
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not low <= tick.get_loc() <= high:
                undrawn |= {tick.label1, tick.label2}
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    boxes = [(text, text.get_window_extent()) for text in set(texts) - undrawn]
    for i, (text, box) in enumerate(boxes):
        assert text.get_fontsize() >= 9, text
        assert (box.min >= -1).all() and (box.max <= size + 1).all(), text
        for other, other_box in boxes[:i]:
            assert not box.overlaps(other_box), f"{text} over {other}"


def drawn_lines(ax):
    """Colour and places of each line that is drawn; a legend's own lines have none."""
    return {to_hex(a.get_color()).upper(): a for a in ax.lines if len(a.get_xdata()) > 2}


def test_history_has_the_loss_of_both_splits_and_a_panel_for_each_metric():
    figure = plot_history(HISTORY, labels={"auprc": "auPRC"}, best="auprc")
    loss, auprc, precision = figure.axes
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["loss", "auPRC, best at step 20", "precision"]
    lines = drawn_lines(loss)
    train, valid = (lines[DEFAULT_SPLIT_COLORS[split]] for split in ("train", "valid"))
    assert train.is_dashed() != valid.is_dashed()
    np.testing.assert_array_equal(train.get_xydata(), [(s, 1 / s) for s in (10, 20, 30)])
    of_valid = drawn_lines(auprc)
    assert list(of_valid) == [DEFAULT_SPLIT_COLORS["valid"]]  # the other split has no such metric
    np.testing.assert_array_equal(*(a.get_ydata() for a in of_valid.values()), [0.2, 0.5, 0.4])
    best = [line for line in auprc.lines if line.get_linestyle() == ":"]
    assert best[0].get_xdata()[0] == 20
    assert auprc.get_ylim() == precision.get_ylim() == (-0.03, 1.03)
    assert_readable(figure)
    figure = plot_history(HISTORY, names=["precision"])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["loss", "precision"]
    assert_readable(figure)


def test_heat_maps_share_order_and_colours():
    rng = np.random.default_rng(0)
    truth = (rng.random((40, 70)) < rng.random(70)).astype(int)
    figure = plot_heat_maps(truth, truth / 2)
    meshes = [ax.collections[0] for ax in figure.axes[:2]]
    true, predicted = (mesh.get_array() for mesh in meshes)
    assert true.shape == (40, 60)
    np.testing.assert_array_equal(predicted, true / 2)
    assert meshes[0].norm.vmax == meshes[1].norm.vmax == 1
    np.testing.assert_allclose(true.mean(axis=0), np.sort(truth.mean(axis=0))[:9:-1])
    # Rows with the most frequent function come first, in blocks.
    assert (np.diff(true[:, 0]) <= 0).all()
    more = pd.DataFrame(np.repeat(truth[:, :6], 5, axis=0))
    assert plot_heat_maps(more, more).axes[0].collections[0].get_array().shape == (150, 6)
    assert_readable(figure)


def test_trend_draws_all_points_that_can_be_drawn():
    x = np.array([1, 10, 100, 1000, 0, 5])
    y = np.array([0.1, 0.2, 0.3, 0.4, 0.5, np.nan])
    figure = plot_trend(x, y, "count", "auPRC", bins=2, reference=x / 2000, reference_label="luck")
    ax = figure.axes[0]
    assert ax.collections[0].get_offsets().count(axis=0).tolist() == [6 - 1, 6 - 1]
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [(5.5, 0.15), (550, 0.35)])
    np.testing.assert_allclose(ax.lines[1].get_ydata(), x[:4] / 2000)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["median of a bin", "luck"]
    assert ax.get_xscale() == "log"
    assert_readable(figure)
    assert len(plot_trend([7, 7, 7], [0.1, 0.2, 0.3], "count", "auPRC").axes[0].lines) == 1


def test_comparison_names_every_row_and_draws_every_value():
    names = [f"{i}: a function whose name is long, RNA polymerase II-specific" for i in range(20)]
    values = np.random.default_rng(0).random((20, 3))
    table = pd.DataFrame(values, index=names, columns=["model", "coin flip", "guess"])
    table.iloc[4, 1] = np.nan
    figure = plot_comparison(table, "auPRC")
    ax = figure.axes[0]
    points = ax.collections[1:]
    for method, drawn in zip(table, points, strict=True):
        np.testing.assert_allclose(drawn.get_offsets()[:, 0].filled(np.nan), table[method])
    assert {text.get_text() for text in ax.texts} == set(names)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row on top
    assert ax.get_xlim()[0] <= 0
    assert_readable(figure)
    assert_readable(plot_comparison(table.iloc[:2, :1], "auPRC"))
