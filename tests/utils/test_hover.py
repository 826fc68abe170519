"""Twins hold what their pictures hold, and every name; what Plotly would not take is noticed."""

import json

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import plotly.graph_objects as go  # noqa: E402
import pytest  # noqa: E402
from adjustText import adjust_text  # noqa: E402
from IPython.core.interactiveshell import InteractiveShell  # noqa: E402
from IPython.utils.capture import capture_output  # noqa: E402

from dlfb.utils.hover import MIME, show, twin  # noqa: E402
from dlfb.utils.metric_plots import plot_comparison, plot_heat_maps, plot_trend  # noqa: E402


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def groups():
    """Two labelled series of points on axes without ticks, as t-SNE maps are drawn."""
    figure, ax = plt.subplots()
    ax.scatter([1, 2.00049, np.nan], [1, 2, 3], label="inside", color="#0072B2", alpha=0.5)
    ax.scatter([4, 5], [6, 7], label="outside", color="#E69F00", marker="s", s=36)
    ax.set(xticks=[], yticks=[], xlabel="t-SNE 1", title="a map")
    ax.legend()
    return figure


def read_out(trace, **values):
    """What Plotly will write for the names of places that it is given."""
    text = trace["hovertemplate"].removesuffix("<extra></extra>")
    for key, value in values.items():
        text = text.replace(f"%{{{key}}}", value)
    return text.replace("<br>", "|").rstrip("|")


def test_a_notebook_gets_the_picture_and_the_twin_as_one_output():
    shell = InteractiveShell.instance()
    try:
        shell.display_formatter.formatters["image/png"].for_type(
            plt.Figure, lambda figure: ("cGljdHVyZQ==", {"width": 7})
        )
        with capture_output() as captured:
            show(groups())
        (output,) = captured.outputs
        assert {MIME, "image/png", "text/plain"} <= set(output.data)
        assert output.metadata["image/png"] == {"width": 7}
        assert json.loads(json.dumps(output.data[MIME], allow_nan=False)) == output.data[MIME]
    finally:
        InteractiveShell.clear_instance()
    assert plt.get_fignums() == []


def test_outside_a_notebook_the_figure_is_shown_as_ever(monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.get_fignums()))
    monkeypatch.setitem(__import__("sys").modules, "IPython", None)
    show(groups())
    assert len(shown) == 1 and shown[0]
    assert plt.get_fignums() == []


def test_points_keep_places_colours_shapes_and_get_their_names():
    names = {"inside": ["A&B", "<cls>", "C"], "outside": ["D", "E"]}
    figure = twin(groups(), names)
    inside, outside = figure["data"]
    assert (inside["x"], inside["y"]) == ([1, 2, None], [1, 2, None])
    assert inside["marker"]["color"] == "#0072b2" and inside["marker"]["opacity"] == 0.5
    assert [trace["marker"]["symbol"] for trace in (inside, outside)] == ["circle", "square"]
    assert outside["marker"]["size"] == 8
    assert inside["hovertext"] == ["A&amp;B", "&lt;cls&gt;", "C"]
    # Places on a map without ticks mean nothing, and are not read out.
    assert read_out(outside, hovertext="D") == "<b>D</b>|outside"
    assert figure["layout"]["showlegend"] and outside["showlegend"]
    assert figure["layout"]["xaxis"]["ticktext"] == []
    assert twin(groups(), pd.Series(names)) == figure
    assert twin(groups(), names) == figure


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["A"], "1 for 'any series'.*3 in 'inside', 2 in 'outside'"),
        ({"inside": ["A", "B", "C"], "outside": ["D"]}, "1 for 'outside'"),
        ({"elsewhere": ["A"]}, "1 for 'elsewhere'"),
    ],
)
def test_names_that_fit_no_points_are_an_error(names, words):
    with pytest.raises(ValueError, match=f"show: .*{words}.*in the order"):
        twin(groups(), names)


def test_a_heat_map_is_read_out_by_the_names_of_its_ticks():
    figure, ax = plt.subplots()
    image = ax.imshow([[0, 1.23456], [np.nan, -4]], cmap="RdBu", vmin=-4, vmax=4)
    figure.colorbar(image)
    ax.set_xticks([0, 1], ["L", "I"])
    ax.set_yticks([0, 1], [0, 1])
    ax.set(ylabel="place\nin the chain", title="score")
    result = twin(figure)
    (trace,) = result["data"]
    assert trace["z"] == [[0, 1.235], [None, -4]]
    assert trace["showscale"] and (trace["zmin"], trace["zmax"]) == (-4, 4)
    assert trace["colorscale"][0][1] == "rgb(103,0,31)"
    assert trace["colorscale"][-1][1] == "rgb(5,48,97)"
    assert read_out(trace, x="I", y="0", z="1.235") == "place in the chain: 0|I|<b>score: 1.235</b>"
    # Rows run downwards, as in the picture.
    assert result["layout"]["yaxis"]["range"] == [1.5, -0.5]
    assert result["layout"]["yaxis"]["hoverformat"] == ",.0f"
    assert "xaxis2" not in result["layout"]  # the bar of colours is no panel


def test_bars_spans_lines_and_words():
    figure, (top, bottom) = plt.subplots(2, 1, sharex=True)
    bars = top.bar([0, 1], [0.25, 0.5], color=["#009E73", "#0072B2"], label=["one", "_"])
    bars[1].set(edgecolor="black", linewidth=2)
    top.axhline(0.3, color="black", linestyle="--")
    top.axvspan(0.5, 1.5, color="#999999", alpha=0.2)
    top.text(1, 0.4, "here", ha="center")
    top.set(ylabel="probability", title="above")
    top.legend()
    bottom.plot([0, 1], [3, 4], "o-", color="black")
    bottom.hlines([3.5], 0, 1, color="#D55E00")
    result = twin(figure, ["L0", "A1"])
    go.Figure(result)
    bar, key, segments, line = result["data"]
    assert (bar["y"], bar["marker"]["color"]) == ([0.25, 0.5], ["#009e73", "#0072b2"])
    assert bar["marker"]["line"]["width"] == [0, 2]
    assert read_out(bar, hovertext="L0", y="0.25") == "<b>L0</b>|probability: 0.25"
    assert (key["name"], key["x"], key["marker"]["color"]) == ("one", [None], "#009e73")
    assert segments["x"] == [0, 1, None] and segments["line"]["color"] == "#d55e00"
    assert (line["mode"], line["y"], line["yaxis"]) == ("lines+markers", [3, 4], "y2")
    across, span = result["layout"]["shapes"]
    assert (across["y0"], across["xref"], across["line"]["dash"]) == (0.3, "x domain", "dash")
    assert (span["x0"], span["x1"], span["opacity"]) == (0.5, 1.5, 0.2)
    assert [note["text"] for note in result["layout"]["annotations"]] == ["<b>above</b>", "here"]
    assert result["layout"]["xaxis"]["showticklabels"] is False
    # The upper panel is above the lower one, with room between them.
    upper, lower = (result["layout"][axis]["domain"] for axis in ("yaxis", "yaxis2"))
    assert lower[0] == 0 and lower[1] < upper[0] and upper[1] == 1


def test_labels_that_were_moved_stay_tied_to_their_points():
    figure, ax = plt.subplots()
    ax.scatter([1, 1.001], [1, 1.001])
    labels = [ax.text(1, 1, "one"), ax.text(1.001, 1.001, "other")]
    adjust_text(labels, ax=ax, expand=(3, 4), arrowprops={"arrowstyle": "-", "color": "#999999"})
    shapes = twin(figure)["layout"]["shapes"]
    assert shapes and all(shape["line"]["color"] == "#999999" for shape in shapes)
    ends = [(shape[f"x{end}"], shape[f"y{end}"]) for shape in shapes for end in (0, 1)]
    (low, high), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert all(low - 1 < x < high + 1 and bottom - 1 < y < top + 1 for x, y in ends)


def test_the_figures_of_pages_07_and_08_name_proteins_and_functions():
    truth = pd.DataFrame(np.eye(4, 3), index=list("PQRS"), columns=["GO:1 a", "GO:2 b", "GO:3 c"])
    maps = twin(plot_heat_maps(truth, truth / 2))
    go.Figure(maps)
    assert sorted(maps["layout"]["yaxis2"]["ticktext"]) == list("PQRS")
    assert sorted(maps["layout"]["xaxis"]["ticktext"]) == list(truth.columns)
    assert maps["layout"]["xaxis"]["showticklabels"] is False
    annotated, predicted = (np.array(trace["z"]) for trace in maps["data"])
    np.testing.assert_allclose(predicted, annotated / 2)
    # The colour of a half is the one that the picture's stretched scale gives it.
    assert dict(maps["data"][0]["colorscale"])[0.5] == "rgb(163,154,116)"

    names = ["a", "b", "never drawn", "d"]
    trend = twin(plot_trend([9, 80, 70, 600], [0.1, 0.5, np.nan, 0.9], "proteins", "auPRC"), names)
    go.Figure(trend)
    points = next(trace for trace in trend["data"] if trace.get("mode") == "markers")
    assert list(zip(points["hovertext"], points["y"], strict=True)) == [
        ("a", 0.1), ("b", 0.5), ("never drawn", None), ("d", 0.9),
    ]  # fmt: skip
    assert trend["layout"]["xaxis"]["type"] == "log"

    table = pd.DataFrame({"model": [0.9, 0.8], "guess": [0.1, np.nan]}, index=["binding", "x" * 90])
    dots = twin(plot_comparison(table, "auPRC"), ["GO:1 binding", "GO:2 x"])
    go.Figure(dots)
    model = next(trace for trace in dots["data"] if trace["name"] == "model")
    assert read_out(model, hovertext="GO:1 binding", x="0.9") == (
        "<b>GO:1 binding</b>|model|auPRC: 0.9"
    )
    notes = [note["text"] for note in dots["layout"]["annotations"]]
    assert notes[0] == "binding" and len(notes) == 2
