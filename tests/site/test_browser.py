"""The site in a real browser: it shows, answers the keyboard, and asks nobody else for anything."""

import io

import nbformat
import numpy as np
import pytest
from nbconvert import HTMLExporter
from PIL import Image

from dlfb.proteins.structures import fetch_protein_structure, view_structure
from tests.proteins.test_structures import EVIL
from tests.site.conftest import PAGES, ROOT

STRUCTURES = "notebooks/01_protein_structures.html"
# Nothing draws: neither on the page nor aside.
NO_WEBGL = """
for (const kind of [HTMLCanvasElement, globalThis.OffscreenCanvas].filter(Boolean))
  kind.prototype.getContext = () => null;
"""
PHONE = {"width": 390, "height": 844}


def violations(page, rules: dict) -> list[str]:
    """Return what axe-core finds serious or critical."""
    rules = {"resultTypes": ["violations"], "preload": False, **rules}
    result = page.evaluate("(rules) => axe.run(document, rules)", rules)
    return [
        f"{problem['id']} ({problem['impact']}): {node['html'][:160]}"
        for problem in result["violations"]
        if problem["impact"] in ("serious", "critical")
        for node in problem["nodes"]
    ]


def overhang(page) -> int:
    """Return by how many pixels a page is wider than the window."""
    return page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


@pytest.mark.parametrize("name", [*PAGES, "search.html"])
def test_a_page_opens_alone_accessible_and_on_a_telephone(open_page, axe, name):
    page = open_page(name)
    assert "Learning the language of proteins" in page.title()
    page.add_script_tag(path=axe)
    # Colours are checked when they have stopped changing.
    page.add_style_tag(content="*, ::before, ::after { transition: none !important; }")
    found = violations(page, {})
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    found += violations(page, {"runOnly": ["color-contrast"]})
    page.set_viewport_size(PHONE)
    # The theme lets the keyboard into what can be scrolled, a moment after the size changed.
    page.wait_for_timeout(600)
    found += violations(page, {"runOnly": ["scrollable-region-focusable"]})
    assert found == page.problems == page.outside == []
    assert overhang(page) <= 0


@pytest.mark.parametrize("name", ["index.html", STRUCTURES])
def test_opens_as_a_file(open_page, html, name):
    page = open_page((html / name).as_uri())
    page.locator("article h1").first.wait_for()
    if name == STRUCTURES:
        drawn(page, page.locator(".structure").first)
    assert page.problems == [] and page.outside == []


def test_a_word_of_the_glossary_is_explained_to_a_keyboard(open_page):
    page = open_page("notebooks/04_masked_prediction.html", viewport=PHONE)
    link = page.locator("a.glossary-link").first
    tip = "link => getComputedStyle(link, '::after').content"
    assert link.evaluate(tip) == "none"
    page.keyboard.press("Tab")
    link.focus()
    assert link.evaluate(tip) == f'"{link.get_attribute("title")}"'
    assert overhang(page) <= 0


@pytest.mark.parametrize("name", ["index.html", "notebooks/05_protein_locations.html"])
def test_pictures_are_dark_in_dark_mode(open_page, name):
    page = open_page(name)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    pictures = page.locator(":is(img.cover, .cell_output img, .cell_output svg):visible").all()
    assert pictures and all(np.median(pixels(picture)) < 60 for picture in pictures)


@pytest.mark.parametrize(
    "number", ["06_cafa_dataset", "09_relatives", "10_thresholds", "12_unfreezing"]
)
def test_tables_fit_a_telephone(open_page, number):
    page = open_page(f"notebooks/{number}.html", viewport=PHONE)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    wider = """() => [...document.querySelectorAll(".output.text_html:has(table)")]
      .filter((box) => box.scrollWidth > box.clientWidth + 1).length"""
    assert page.evaluate(wider) == 0
    heads = """() => [...document.querySelectorAll("table.dataframe")]
      .filter((table) => getComputedStyle(table).display === "flex")
      .map((table) => table.tHead.rows.length)"""
    assert set(page.evaluate(heads)) == ({1} if number == "10_thresholds" else set())
    page.locator("table").last.evaluate("table => table.style.width = '600px'")
    assert page.evaluate(wider) > 0


def test_on_paper_nothing_is_cut(open_page):
    wider = """() => [...document.querySelectorAll(".bd-article :is(pre, table)")]
      .map((one) => (one.tagName === "PRE" ? one : one.parentElement))
      .filter((box) => box.scrollWidth > box.clientWidth + 1).length"""
    page = open_page("notebooks/10_thresholds.html", viewport={"width": 600, "height": 900})
    assert page.evaluate(wider) > 0
    page.emulate_media(media="print")
    assert page.evaluate(wider) == 0


# Structures


def drawn(page, box):
    """Scroll to a viewer and wait until it has drawn, or failed."""
    box.scroll_into_view_if_needed()
    page.wait_for_function(
        "box => box.matches('.drawn, .failed')", arg=box.element_handle(), timeout=60_000
    )
    assert "drawn" in box.get_attribute("class"), "no WebGL"


def pixels(box) -> np.ndarray:
    """Return what a viewer's canvas shows, as colours."""
    return np.asarray(Image.open(io.BytesIO(box.screenshot())).convert("RGB")).astype(int)


def coloured(image: np.ndarray) -> int:
    """Return how many pixels are neither white nor grey."""
    return int(((image.max(axis=2) - image.min(axis=2)) > 40).sum())


@pytest.fixture(scope="module")
def structures(browser, site):
    """Return the page with the viewers, open."""
    context = browser.new_context(viewport={"width": 900, "height": 700})
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(site + STRUCTURES)
    yield page
    context.close()


@pytest.mark.parametrize("figure", ["insulin-3d", "collagen-3d", "proteasome-3d"])
def test_a_viewer_draws(structures, figure):
    box = structures.locator(f"#fig-{figure} .structure")
    drawn(structures, box)
    # The still picture is hidden now, so that what is seen was drawn.
    assert not box.locator("img").is_visible()
    assert coloured(pixels(box)) > 2000


def test_the_keyboard_turns_a_structure(structures):
    box = structures.locator("#fig-insulin-3d .structure")
    drawn(structures, box)
    canvas = box.locator(".structure-canvas")
    assert "arrow keys" in canvas.get_attribute("aria-label")
    canvas.focus()
    before = pixels(box)
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "+"):
        structures.keyboard.press(key)
    assert (pixels(box) != before).any(axis=2).sum() > 1000
    box.get_by_role("button", name="Reset the view").click()
    canvas.focus()
    assert (pixels(box) != before).any(axis=2).sum() < 100


def test_a_structure_is_dark_in_dark_mode(structures):
    box = structures.locator("#fig-insulin-3d .structure")
    drawn(structures, box)
    for theme, is_dark in (("dark", True), ("light", False)):
        structures.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        structures.wait_for_timeout(300)
        assert (np.median(pixels(box)) < 60) == is_dark


def test_the_page_scrolls_under_a_finger_until_a_structure_is_tapped(open_page):
    page = open_page(STRUCTURES, has_touch=True, viewport=PHONE)
    box = page.locator("#fig-insulin-3d .structure")
    drawn(page, box)
    canvas = box.locator("canvas").first
    action = "canvas => getComputedStyle(canvas).touchAction"
    # 3Dmol keeps a touch from the page where it hears of it.
    heard = "canvas => !canvas.dispatchEvent(new TouchEvent('touchmove', {cancelable: true}))"
    assert canvas.evaluate(action) == "pan-y" and not canvas.evaluate(heard)
    canvas.tap()
    assert canvas.evaluate(action) == "none" and canvas.evaluate(heard)


def test_choosing_changes_the_structure_and_its_colours(structures):
    figure = structures.locator("#fig-choice-3d")
    box = figure.locator(".structure")
    drawn(structures, box)
    status = figure.get_by_role("status")
    insulin = pixels(box)
    figure.get_by_label("collagen").check()
    status.get_by_text("Shown: collagen, coloured by residue class.").wait_for()
    collagen = pixels(box)
    assert (collagen != insulin).any(axis=2).sum() > 2000
    # By keyboard: one radio button of a group is reached with Tab, the others with the arrows.
    figure.get_by_label("residue class").focus()
    structures.keyboard.press("ArrowDown")
    status.get_by_text("Shown: collagen, coloured by secondary structure.").wait_for()
    assert coloured(pixels(box)) < coloured(collagen)
    legend = figure.locator(".structure-legend").inner_text().split()
    assert legend == ["helix", "strand", "neither"]
    # It has no sequence, so its residues have no classes.
    figure.get_by_label("residue class").check()
    figure.get_by_label("proteasome").check()
    status.get_by_text("Shown: proteasome, coloured by chain.").wait_for()
    assert figure.get_by_label("residue class").is_disabled()
    structures.wait_for_function(
        "box => box.shown === 'proteasome'", arg=box.element_handle(), timeout=60_000
    )


@pytest.mark.parametrize("why", ["without JavaScript", "without WebGL", "without 3Dmol"])
def test_the_still_pictures_show(open_page, site, why):
    if why == "without JavaScript":
        page = open_page(STRUCTURES, java_script_enabled=False)
    elif why == "without WebGL":
        page = open_page(STRUCTURES, script=NO_WEBGL)
    else:
        page = open_page("index.html")
        page.route("**/3Dmol-min.js", lambda route: route.abort())
        page.goto(site + STRUCTURES)
    boxes = page.locator(".structure").all()
    assert len(boxes) == 7
    for box in boxes:
        box.scroll_into_view_if_needed()
        if why != "without JavaScript":
            page.wait_for_function(
                "box => box.matches('.failed')", arg=box.element_handle(), timeout=60_000
            )
        assert box.locator("img").is_visible()
        assert box.locator("canvas").count() == 0
    assert page.locator("text=failed to load").count() == 0
    if why == "without WebGL":
        assert page.problems == []
        # Choosing still changes the picture.
        still = page.locator("#fig-choice-3d img")
        before = still.get_attribute("src")
        page.get_by_label("collagen").check()
        assert still.get_attribute("src") != before


# What a notebook shows elsewhere


@pytest.mark.parametrize("style", ["cartoon", "stick"])
@pytest.mark.parametrize("network", [True, False])
def test_nothing_in_a_structure_runs_in_a_page(browser, tmp_path, style, network):
    text = f"REMARK {EVIL}\nHEADER    {EVIL}\nTER {EVIL}\n" + fetch_protein_structure("3I40")
    output = nbformat.v4.new_output(
        "display_data", data={"text/html": view_structure(text, style)._repr_html_()}
    )
    cell = nbformat.v4.new_code_cell("", outputs=[output])
    exported, _ = HTMLExporter(embed_images=True).from_notebook_node(
        nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_markdown_cell("the end")])
    )
    (tmp_path / "page.html").write_text(exported, encoding="utf8")
    page, dialogs = browser.new_page(), []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    if network:
        script = ROOT / "_static" / "vendor" / "3Dmol-min.js"
        page.route("**/3Dmol-min.js", lambda route: route.fulfill(path=script))
    page.goto((tmp_path / "page.html").as_uri())
    page.get_by_text("the end").wait_for()
    shown = page.locator("[id^='3dmolviewer_']")
    if network:
        shown.locator("canvas").first.wait_for(timeout=60_000)
    # Where 3Dmol can't be loaded, the still picture is what is seen.
    assert shown.locator("canvas").count() == network and coloured(pixels(shown)) > 300
    assert dialogs == []
    page.close()


# The checks themselves, seen failing


def test_what_a_bad_page_does_is_noticed(open_page, axe):
    page = open_page("index.html")
    with page.expect_event("pageerror"), page.expect_event("requestfailed"):
        page.evaluate(
            """() => {
              document.body.insertAdjacentHTML("beforeend", '<img src="https://elsewhere.test/x.png">');
              document.body.insertAdjacentHTML("beforeend", '<p style="width: 2000px">wide</p>');
              setTimeout(() => { throw new Error("a fault") });
            }"""
        )
    assert page.outside == ["https://elsewhere.test/x.png"]
    assert any("a fault" in problem for problem in page.problems)
    page.add_script_tag(path=axe)
    assert [v for v in violations(page, {}) if v.startswith("image-alt (critical)")]
    assert overhang(page) > 0
