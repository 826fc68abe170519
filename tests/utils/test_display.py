import base64
import functools
import io
from xml.etree import ElementTree

import jax
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib import pyplot as plt

from dlfb.utils.display import display, print_short_dict, progress, show
from dlfb.utils.restore import restorable


@pytest.fixture
def in_a_notebook():
    InteractiveShell.instance()
    yield
    InteractiveShell.clear_instance()


@pytest.fixture
def scatter():
    """Return a figure of two scatter plots, of 3 and 2 points, the second of several colours."""
    figure, ax = plt.subplots()
    ax.scatter([1, 2, 3], [1, 2, 1], color="black", label="one")
    ax.scatter([1, 2], [3, 3], c=["red", "blue"], s=[20, 50])
    ax.legend(title="<b>", frameon=False)
    yield figure
    plt.close("all")


def teach(x):
    """Double a number."""
    return 2 * x


class Page:
    """A page of the book."""

    def turn(self):
        """Go on."""
        return "next"


def test_source_is_printed_whole(capsys):
    display([teach, (1, 2), len, Page.turn, Page])
    source = f'def teach(x):\n    """Double a number."""\n    return 2 * x\n(1, 2)\n{len}\n'
    method = 'def turn(self):\n    """Go on."""\n    return "next"\n'
    out = capsys.readouterr().out
    assert out.startswith(f"{source}{method}class Page:\n") and out.endswith('return "next"\n')


def test_wrapped_functions_show_what_was_written(capsys):
    @functools.wraps(teach)
    def wrapper(*args):
        return teach(*args)

    for wrapped in (wrapper, functools.partial(teach, 2), jax.jit(teach), restorable(teach)):
        display(wrapped)
        assert capsys.readouterr().out.startswith("def teach(x):")


def fenced(x):
    """Show ```code```."""


def test_a_notebook_gets_highlighted_markdown(in_a_notebook):
    with capture_output() as captured:
        display([teach, 3, fenced])
    source, number, within = (output.data for output in captured.outputs)
    assert source["text/markdown"].startswith("```python\ndef teach(x):")
    assert source["text/markdown"].endswith("return 2 * x\n```")
    assert source["text/plain"].startswith("def teach(x):")
    assert number["text/plain"] == "3"
    # A fence in the source does not end the block.
    assert within["text/markdown"].startswith("`````python\n")


def discs(figure, names):
    """Show a figure in a notebook; return its output, and (name, x, y) of each named disc."""
    with capture_output() as captured:
        show(figure, names)
    (output,) = captured.outputs
    circles = ElementTree.fromstring(output.data["text/html"]).findall("circle")
    return output, [(c.find("title").text, float(c.get("cx")), float(c.get("cy"))) for c in circles]


def test_each_point_says_its_name_where_it_is(scatter, in_a_notebook):
    names = ["A&B", "<script>alert(1)</script>", 'id="x"', "D", 5]
    output, found = discs(scatter, names)
    assert [name for name, *_ in found] == [*names[:4], "5"]
    assert set(output.data) == {"text/html", "image/png", "text/plain"}
    assert "<script" not in output.data["text/html"]
    picture = plt.imread(io.BytesIO(base64.b64decode(output.data["image/png"])))
    svg = ElementTree.fromstring(output.data["text/html"])
    scale = picture.shape[1] / float(svg.get("viewBox").split()[2])
    colours = [picture[round(y * scale), round(x * scale), :3].tolist() for _, x, y in found]
    assert colours == [[0, 0, 0]] * 3 + [[1, 0, 0], [0, 0, 1]]
    assert picture.shape[1] == pytest.approx(2 * output.metadata["image/png"]["width"], abs=2)
    assert not plt.fignum_exists(scatter.number)


def test_one_name_may_serve_a_thing_in_every_scatter_plot(in_a_notebook):
    figure, axes = plt.subplots(1, 2)
    for ax in axes:
        ax.scatter([1, np.nan, 3], [1, 2, 3])
    found = discs(figure, ["a", "not drawn", "c"])[1]
    assert [name for name, *_ in found] == ["a", "c", "a", "c"]


@pytest.mark.parametrize("names", [[], ["a"], "abcd", "abcdef"])
def test_a_wrong_number_of_names_is_refused(scatter, names):
    with pytest.raises(ValueError, match=rf"{len(names)} names, but .* have 3 \+ 2 points"):
        show(scatter, names)


def test_a_short_dict_is_printed_whole(capsys):
    print_short_dict({"M": 16, "A": 12})
    assert capsys.readouterr().out == "{\n  'M': 16,\n  'A': 12,\n} (2 entries)\n"
    print_short_dict({})
    assert capsys.readouterr().out == "{} (0 entries)\n"
    print_short_dict({1: "x" * 100, 2: np.eye(2)})
    _, line, array, _ = capsys.readouterr().out.splitlines()
    assert line.endswith("...,") and array.startswith("  2: array(")
    assert len(line) < 80


@pytest.mark.parametrize(("entries", "shown"), [(1, [0]), (2, [0, 1999]), (3, [0, 1, 1999])])
def test_a_long_dict_says_how_many_are_left_out(capsys, entries, shown):
    print_short_dict(dict.fromkeys(range(2000)), max_entries=entries)
    lines = [f"  {key}: None," for key in shown]
    head = (entries + 1) // 2
    lines[head:head] = [f"  ... ({2000 - entries:,} more)"]
    assert capsys.readouterr().out.splitlines() == ["{", *lines, "} (2,000 entries)"]


def test_progress_goes_to_stderr_and_can_be_silenced(capsys, monkeypatch):
    monkeypatch.delenv("DLFB_PROGRESS", raising=False)
    assert list(progress(range(3), desc="Embedding", unit="residue")) == [0, 1, 2]
    out, err = capsys.readouterr()
    assert out == "" and "Embedding" in err
    monkeypatch.setenv("DLFB_PROGRESS", "0")
    with progress(total=5, desc="Embedding") as bar:
        bar.update(5)
    assert capsys.readouterr() == ("", "")
