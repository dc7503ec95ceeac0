"""The documentation as a reader sees it: every page of the built site in a headless browser.

The variable SITE names the folder that `make site` has built; without it these tests are skipped.
"""

import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

if "SITE" not in os.environ:
    pytest.skip("SITE names no built documentation", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api")

SITE = Path(os.environ["SITE"]).resolve()
PAGES = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html") if p.name != "404.html")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
# a browser that asks for nothing of its own
QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


class Reader:
    """A tab that may ask this site alone, and keeps what went wrong."""

    def __init__(self, browser, address):
        self.address, self.wrong = address, []
        self.tab = browser.new_page(viewport=DESK)
        self.tab.route("**/*", self._only_here)
        self.tab.on("console", self._heard)
        self.tab.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.tab.on("response", self._answered)

    def _only_here(self, route):
        url = route.request.url
        if url.startswith((self.address, "data:", "blob:")):
            route.continue_()
        else:
            self.wrong.append(f"asked {url}")
            route.abort()

    def _heard(self, message):
        if message.type in ("error", "warning"):
            self.wrong.append(message.text)

    def _answered(self, response):
        if response.status >= 400:
            self.wrong.append(f"{response.status} {response.url}")

    def open(self, page):
        self.wrong.clear()
        self.tab.goto(f"{self.address}/{page}", wait_until="load")
        return self.tab


@pytest.fixture(scope="module")
def reader(browser, address):
    reader = Reader(browser, address)
    yield reader
    reader.tab.close()


#: formulas as written and as drawn, those that could not be, pictures that did not come, and how
#: much wider the page is than the screen
SEEN = """() => ({
    written: document.querySelectorAll(".arithmatex").length,
    drawn: document.querySelectorAll(".arithmatex .katex").length,
    failed: [...document.querySelectorAll(".katex-error")].map(e => e.title || e.textContent),
    bare: [...document.querySelectorAll("article p, article li, article td")]
        .filter(e => !e.querySelector("code, pre") && /\\\\\\(|\\\\\\[|\\$\\$/.test(e.textContent))
        .filter(e => !e.querySelector(".katex")).map(e => e.textContent.slice(0, 80)),
    broken: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
})"""


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole(page, reader):
    tab = reader.open(page)
    seen = tab.evaluate(SEEN)
    assert not reader.wrong
    assert seen["drawn"] >= seen["written"], seen
    assert not seen["failed"]
    assert not seen["bare"]
    assert not seen["broken"]
    assert tab.locator("h1").count() == 1
    try:
        tab.set_viewport_size(PHONE)
        assert tab.evaluate(SEEN)["overflow"] <= 1, "wider than a phone"
    finally:
        tab.set_viewport_size(DESK)


@pytest.mark.parametrize(
    ("words", "page"),
    [("duality gap", "howto/convergence"), ("GTVUnroll", "reference/unroll")],
)
def test_the_search_finds(words, page, reader):
    tab = reader.open("index.html")
    tab.locator("input.md-search__input").fill(words)
    tab.locator(f".md-search-result__link[href*='{page}']").first.wait_for(timeout=10_000)
    assert not reader.wrong


def test_the_colours_can_be_changed_and_stay(reader):
    tab = reader.open("index.html")
    scheme = "document.body.getAttribute('data-md-color-scheme')"
    before = tab.evaluate(scheme)
    tab.locator("form[data-md-component='palette'] label:not([hidden])").first.click()
    after = tab.evaluate(scheme)
    assert after != before
    reader.open("reference/index.html")
    assert tab.evaluate(scheme) == after
    assert not reader.wrong
