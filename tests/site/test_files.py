"""The site as files: what can be said of it without a browser."""

import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import py3Dmol
import pytest
from bs4 import BeautifulSoup

from dlfb.proteins.structures import STRUCTURES
from tests.site.conftest import PAGES, ROOT
from tools.colab_cell import repository
from tools.halves import CAPTION

LIMIT_BYTES = 1_500_000
# What a browser loads by itself, as against what a reader may follow.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf8"), "html.parser")


def broken_links(path: Path) -> list[str]:
    """Return what a page points to within the site that is not there."""
    broken = []
    for tag in soup(path).find_all(href=True) + soup(path).find_all(src=True):
        target = tag.get("href") or tag.get("src")
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not there.is_file():
            broken.append(target)
        elif parts.fragment and there.suffix == ".html":
            anchor = unquote(parts.fragment)
            if not soup(there).find(id=anchor) and not soup(there).find(attrs={"name": anchor}):
                broken.append(target)
    # "#" is what a button of the theme points to.
    return [target for target in broken if target != "#"]


def loaded(path: Path) -> list[str]:
    """Return the addresses that a browser asks for when it opens a page."""
    page = soup(path)
    found = [tag[key] for name, key in LOADED.items() for tag in page.find_all(name, **{key: True})]
    found += [tag["href"] for tag in page.find_all("link", href=True)]
    return found


def weight(path: Path) -> int:
    """Return the bytes of a page and its own pictures, without its structures."""
    text = path.read_text(encoding="utf8")
    data = r'<script type="application/json" id="structure-[^>]*>.*?</script>'
    pictures = {
        (path.parent / src).resolve() for src in re.findall(r'<img[^>]*\ssrc="([^":]+)"', text)
    }
    without = len(re.sub(data, "", text, flags=re.DOTALL).encode())
    return without + sum(picture.stat().st_size for picture in pictures)


@pytest.mark.parametrize("name", [*PAGES, "genindex.html", "search.html"])
def test_a_page_is_whole_light_and_asks_nobody_else(html, name):
    path = html / name
    assert broken_links(path) == []
    assert [address for address in loaded(path) if urlsplit(address).netloc] == []
    # A stored output names one, for Colab and GitHub.
    assert "cdn." not in path.read_text(encoding="utf8")
    assert weight(path) < LIMIT_BYTES


def test_viewers_are_stored_with_a_picture_and_each_structure_once(html):
    page = soup(html / "notebooks" / "01_protein_structures.html")
    boxes = page.select(".structure")
    stored = {tag["id"]: json.loads(tag.string) for tag in page.select('script[id^="structure-"]')}
    assert {data["name"] for data in stored.values()} == set(STRUCTURES.values()) - {
        "lactate dehydrogenase"
    }
    assert len(page.select('script[id^="structure-"]')) == len(stored) < len(boxes)
    for box in boxes:
        assert json.loads(box["data-settings"])["structure"] in stored
        assert len(box.img["alt"].split()) >= 5
        assert (html / "notebooks" / box.img["src"]).resolve().is_file()
    assert "3dmolviewer" not in str(page)


def test_the_viewers_script_is_on_the_pages_with_a_viewer_only(html):
    with_script = [n for n in PAGES if any("viewers.js" in src for src in loaded(html / n))]
    assert with_script == [n for n in PAGES if soup(html / n).select(".structure")]
    script = soup(html / with_script[0]).select_one('script[src*="viewers.js"]')
    assert script.has_attr("defer")
    vendor = html / "_static" / "vendor"
    licence = (vendor / "3Dmol-min.js.LICENSE.txt").read_text(encoding="utf8")
    # The viewer of the site is the viewer of the notebooks.
    version = re.search(r"3dmol@([\d.]+)/", py3Dmol.view().startjs)[1]
    assert f"3dmol v{version}\n" in licence and "BSD-3-Clause" in licence


def test_launch_buttons_lead_home(html):
    home = repository(ROOT)
    for name in PAGES:
        links = {tag["href"] for tag in soup(html / name).find_all("a", href=True)}
        ours = re.compile(r"OWNER|executablebooks|colab\.research|mybinder|github\.com/.*/dlfb")
        led = {link for link in links if ours.search(link)}
        assert all(home and home in link for link in led), "a button leads nowhere"
        if home and name.startswith("notebooks/"):
            notebook = Path(name).with_suffix(".ipynb").as_posix()
            colab = f"https://colab.research.google.com/github/{home}/blob/main/{notebook}"
            binder = f"https://mybinder.org/v2/gh/{home}/main?urlpath=lab/tree/{notebook}"
            assert {colab, binder} <= links


def test_pages_and_figures_have_one_number_everywhere(html):
    index = soup(html / "index.html")
    listed = {a["href"]: a.get_text(" ", strip=True) for a in index.select("table.pages a")}
    sidebar = {a["href"]: a.get_text(" ", strip=True) for a in index.select(".bd-links a[href]")}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        name, number = f"notebooks/{path.stem}.html", int(path.stem[:2])
        page = soup(html / name)
        title = page.select_one("article h1").get_text(" ", strip=True).removesuffix(" #")
        assert title.startswith(f"{number}. ")
        assert listed[name] == sidebar[name] == title
        captions = [tag.get_text(strip=True) for tag in page.select("figcaption .caption-number")]
        assert captions == [f"Figure {number}.{i}." for i in range(1, len(captions) + 1)]
        # The same in the cells that notebook viewers show, which the site leaves out.
        cells = nbformat.read(path, as_version=4).cells
        shown = [cell.source for cell in cells if CAPTION in cell.metadata.get("tags", [])]
        assert [re.match(r"\*(.*?)\* ", words)[1] for words in shown] == captions
        assert len(page.select("figcaption")) == len(captions)


def test_a_word_of_the_glossary_says_what_it_means(html):
    links = soup(html / "notebooks" / "04_masked_prediction.html").select("a.glossary-link")
    titles = {link.get_text(): link["title"] for link in links}
    assert titles["softmax"] == "Turns a row of logits into probabilities that add up to 1."
    assert all(title.endswith(".") and "{" not in title for title in titles.values())


def test_a_drawing_has_the_words_of_its_picture(html):
    path = ROOT / "notebooks" / "05_protein_locations.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    alts = [cell.metadata.get("mystnb", {}).get("image", {}).get("alt") for cell in cells]
    drawings = soup(html / "notebooks" / f"{path.stem}.html").select("svg.named-points")
    assert drawings and all(drawing["role"] == "img" for drawing in drawings)
    assert {drawing["aria-label"] for drawing in drawings} <= set(alts)


def test_formulas_are_mathml(html):
    text = (html / "notebooks" / "07_function_mlp.html").read_text(encoding="utf8")
    assert "<math" in text and "<mi>log</mi>" in text
    assert not list(html.rglob("*[mM]ath[jJ]ax*"))


# The checks themselves, seen failing


def test_a_page_that_leaves_the_site_is_noticed(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(
        '<a href="#nowhere"></a><a href="gone.html"></a><img src="https://cdn.example/x.png">'
        '<script type="application/json" id="structure-1">12345</script>'
    )
    assert broken_links(path) == ["#nowhere", "gone.html"]
    assert loaded(path) == ["https://cdn.example/x.png"]
    assert weight(path) == path.stat().st_size - len(
        '<script type="application/json" id="structure-1">12345</script>'
    )
