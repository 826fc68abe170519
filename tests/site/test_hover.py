"""Figures that answer a pointer: each has its twin on the page, which names what lies under it."""

import json
import re

import plotly.graph_objects as go
import pytest

# page -> its figures with a twin
FIGURES = {
    "notebooks/02_one_hot_encoding.html": ["fig-2-5", "fig-blosum"],
    "notebooks/03_token_embeddings.html": ["fig-cosine", "fig-2-7"],
    "notebooks/04_masked_prediction.html": ["fig-2-9", "fig-2-10", "fig-scan"],
    "notebooks/05_protein_locations.html": ["fig-2-11"],
    "notebooks/07_function_mlp.html": ["fig-2-14", "fig-2-15"],
    "notebooks/08_baselines.html": ["fig-2-16", "fig-all-terms"],
}
LETTER = "[ACDEFGHIKLMNPQRSTVWY]"
# page, figure, what to point at, what is then read: a residue pair, a token, a protein, a function
POINTED_AT = [
    (
        "notebooks/02_one_hot_encoding.html", "fig-blosum", ".heatmaplayer image >> nth=1",
        f"{LETTER}, {LETTER}, .*-?\\d",
    ),
    ("notebooks/03_token_embeddings.html", "fig-2-7", ".point >> nth=0", f"{LETTER}, hydrophobic"),
    (
        "notebooks/04_masked_prediction.html", "fig-scan", ".barlayer .point >> nth=29",
        r"L at 29, probability of the truth: 0(\.\d+)?",
    ),
    (
        "notebooks/05_protein_locations.html", "fig-2-11", ".point >> nth=0",
        r"\w{3,}, (extracellular|membrane)",
    ),
    (
        "notebooks/08_baselines.html", "fig-2-16", ".trace >> nth=1 >> .point >> nth=10",
        r"GO:\d{7} [\w -]+.*, \d+ in training, .*auPRC on the validation set: [01](\.\d+)?",
    ),
]  # fmt: skip


def twins(page: str) -> dict[str, dict]:
    """Return the twins of a page by their figures' labels."""
    figure = r'<figure[^>]* id="([^"]+)">(?:(?!<figure).)*?</figure>'
    pattern = figure + r'\s*<script[^>]*"dlfb-hover">(.*?)</script>'
    return {label: json.loads(text) for label, text in re.findall(pattern, page, re.DOTALL)}


def drawn(page, label: str):
    """Scroll to a figure and return its twin, once that is drawn."""
    figure = page.locator(f"figure#{label}")
    figure.scroll_into_view_if_needed()
    plot = figure.locator(".hover-plot")
    plot.locator(".main-svg").first.wait_for()
    return plot


def read(plot) -> str:
    """Return the lines of the label beside the pointer."""
    plot.locator(".hoverlayer .hovertext tspan.line").first.wait_for()
    lines = plot.locator(".hoverlayer .hovertext").first.locator("tspan.line").all_text_contents()
    return ", ".join(filter(None, lines))


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_its_twin(html, name):
    text = (html / name).read_text(encoding="utf8")
    found = twins(text)
    assert sorted(found) == sorted(FIGURES[name])
    for twin in found.values():
        go.Figure(twin)  # refuses what Plotly does not know
    assert len(text) < 1_500_000


@pytest.mark.parametrize(("name", "label", "what", "words"), POINTED_AT)
def test_what_lies_under_the_pointer_is_named(open_page, name, label, what, words):
    page = open_page(name)
    plot = drawn(page, label)
    assert plot.get_attribute("role") == "img"
    picture = page.locator(f"figure#{label} img")
    assert plot.get_attribute("aria-label") == picture.get_attribute("alt")
    assert not picture.is_visible()
    plot.locator(what).hover(force=True)
    assert re.fullmatch(words, read(plot))
    assert page.locator(f"figure#{label} figcaption").is_visible()
    assert (page.problems, page.outside) == ([], [])
    page.emulate_media(media="print")
    assert picture.is_visible() and not plot.is_visible()


def test_the_keyboard_reaches_every_point(open_page):
    page = open_page("notebooks/05_protein_locations.html")
    plot = drawn(page, "fig-2-11")
    plot.focus()
    heard = set()
    for _ in range(40):
        page.keyboard.press("ArrowRight", delay=100)  # Plotly takes no more than twenty a second
        heard.add(page.locator("figure#fig-2-11 .hover-spoken").text_content())
    assert len(heard) == 40
    assert sum(text.endswith("membrane") for text in heard) == 20


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_gets_one_panel_below_the_other_in_the_colours_of_the_page(open_page, theme):
    size = {"width": 390, "height": 844}
    page = open_page("notebooks/02_one_hot_encoding.html", viewport=size)
    plot = drawn(page, "fig-blosum")
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    ink, width = page.evaluate(
        "[getComputedStyle(document.body).color, document.documentElement.scrollWidth]"
    )
    page.wait_for_function(
        "ink => getComputedStyle(document.querySelector('#fig-blosum .xtick text')).fill === ink",
        arg=ink,
    )
    assert width <= 390
    upper, lower = (plot.locator(".heatmaplayer image").nth(i).bounding_box() for i in (0, 1))
    assert upper["y"] + upper["height"] < lower["y"]
    assert upper["x"] == pytest.approx(lower["x"], abs=1) and upper["width"] > 200
    letters = plot.locator(".xtick text").first.evaluate("e => getComputedStyle(e).fontSize")
    assert float(letters.removesuffix("px")) >= 12
    assert page.problems == []


def test_a_site_in_a_folder_needs_no_server(open_page, html):
    page = open_page((html / "notebooks/05_protein_locations.html").as_uri())
    plot = drawn(page, "fig-2-11")
    plot.locator(".point").first.hover(force=True)
    assert read(plot)
    assert (page.problems, page.outside) == ([], [])


def test_without_a_script_the_picture_stays(open_page):
    name = "notebooks/05_protein_locations.html"
    page = open_page(name, java_script_enabled=False)
    assert page.locator("figure#fig-2-11 img").is_visible()
    page = open_page(name)
    page.route("**/plotly.min.js", lambda route: route.abort())
    page.locator("figure#fig-2-11").scroll_into_view_if_needed()
    with page.expect_console_message(lambda message: "stays a picture" in message.text):
        page.reload()
        page.locator("figure#fig-2-11").scroll_into_view_if_needed()
    assert page.locator("figure#fig-2-11 img").is_visible()
