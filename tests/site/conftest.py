"""The built site, served under a sub-path, and a browser to read it with.

The site is the one that `make book` built; `make test` builds it first. Where there is no Chromium,
the tests that need one are skipped and say so; with DLFB_REQUIRE_BROWSER=1, as where the site is
published, its absence is an error.
"""

import functools
import os
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tools.build_book import toc_files

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
PAGES = [Path(name).with_suffix(".html").as_posix() for name in toc_files(ROOT)]
SERVED_AS = "/a/sub-path/"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def missing(what: str):
    """Skip the test, or fail it where nothing may be skipped."""
    required = os.environ.get("DLFB_REQUIRE_BROWSER", "0") not in ("", "0")
    (pytest.fail if required else pytest.skip)(what)


@pytest.fixture(scope="session")
def html():
    if not (HTML / "index.html").is_file():
        missing("There is no site in _build/html: make book.")
    return HTML


@pytest.fixture(scope="session")
def site(html):
    """Return the address of the site, under a sub-path of a server on loopback."""

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def translate_path(self, path):
            if not path.startswith(SERVED_AS):
                return str(html / "nothing is here")
            return super().translate_path("/" + path.removeprefix(SERVED_AS))

        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(html))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}{SERVED_AS}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def browser():
    """Return a headless Chromium that draws WebGL in software and can reach this machine only."""
    chosen = os.environ.get("DLFB_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), "")
    if not chosen:
        missing("There is no Chromium: install it, Debian's package is called chromium.")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chosen,
            args=[
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe():
    """Return axe-core's script, which a Python package brings."""
    package = pytest.importorskip("axe_playwright_python")
    return Path(package.__file__).with_name("axe.min.js")


@pytest.fixture
def open_page(browser, site):
    """Return a function that opens a page and notes what goes wrong there."""
    contexts = []

    def opener(address: str, script: str | None = None, **settings):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **settings})
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        if script:
            page.add_init_script(script)
        page.problems, page.outside = watch(page, site)
        page.goto(address if "://" in address else site + address)
        return page

    yield opener
    for context in contexts:
        context.close()


def watch(page, site: str) -> tuple[list[str], list[str]]:
    """Return two lists that fill up: errors, and requests that leave the site."""
    problems, outside = [], []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda m: m.type in ("error", "warning") and problems.append(m.text))
    page.on(
        "requestfailed",
        # A page that is left before all of it has come is no error of the site.
        lambda request: (
            request.failure == "net::ERR_ABORTED"
            or problems.append(f"{request.url} did not arrive: {request.failure}")
        ),
    )
    page.on(
        "request",
        lambda request: (
            request.url.startswith((site, "data:", "blob:", HTML.as_uri()))
            or outside.append(request.url)
        ),
    )
    return problems, outside
