"""make screenshots: every page of the built site as a picture, at phone and desktop width.

Light, and a few pages dark, whole pages, in _build/screenshots: to be looked at.
"""

import argparse
import functools
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

from build_book import ROOT, toc_files
from PIL import Image
from playwright.sync_api import sync_playwright

WIDTHS = {"phone": 390, "desktop": 1280}
DARK = ("index", "notebooks/04_masked_prediction")
CHROMIUM_ARGUMENTS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
UNSTICK = """() => document.querySelectorAll("*").forEach((element) => {
  if (getComputedStyle(element).position === "sticky") element.style.position = "static";
})"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def picture(page, address: str, path: Path) -> None:
    page.goto(address, wait_until="load")
    # Structures are drawn when they come near.
    for box in page.query_selector_all(".structure"):
        box.scroll_into_view_if_needed()
        page.wait_for_function("box => box.matches('.drawn, .failed')", arg=box)
    # Piece by piece: more than 8,192 pixels at once are too many to draw in software.
    # What sticks to the window would be on every piece.
    page.evaluate(UNSTICK)
    height = page.evaluate("document.documentElement.scrollHeight")
    width, step = page.viewport_size["width"], page.viewport_size["height"]
    whole = Image.new("RGB", (width, height))
    for top in range(0, height, step):
        page.evaluate(f"window.scrollTo(0, {top})")
        at = page.evaluate("window.scrollY")
        whole.paste(Image.open(BytesIO(page.screenshot())), (0, round(at)))
    whole.save(path)
    print(path.relative_to(ROOT), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pages", nargs="*", help="parts of names, such as 03; all without")
    parser.add_argument("--chromium", default="chromium", help="which browser")
    arguments = parser.parse_args()
    handler = functools.partial(Quiet, directory=str(ROOT / "_build" / "html"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    output = ROOT / "_build" / "screenshots"
    output.mkdir(parents=True, exist_ok=True)
    names = [str(Path(name).with_suffix("")) for name in toc_files(ROOT)]
    chosen = [n for n in names if not arguments.pages or any(p in n for p in arguments.pages)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which(arguments.chromium), args=CHROMIUM_ARGUMENTS
        )
        for width_name, width in WIDTHS.items():
            for scheme in ("light", "dark"):
                page = browser.new_page(
                    viewport={"width": width, "height": 2000}, color_scheme=scheme
                )
                page.set_default_timeout(180_000)
                for name in chosen:
                    if scheme == "light" or name in DARK:
                        file = f"{name.replace('/', '-')}-{width_name}-{scheme}.png"
                        address = f"http://127.0.0.1:{server.server_port}/{name}.html"
                        picture(page, address, output / file)
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
