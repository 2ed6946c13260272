"""The built site (``make docs``): everything is in it, links lead somewhere, and it works offline.

``ISTHMUS_SHOTS=FOLDER`` keeps screenshots, to be looked at.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer.main

import isthmus
from isthmus.cli.app import app

pytestmark = pytest.mark.docs

SITE = Path(__file__).parent.parent / "docs/_site"
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""Elements that fetch something when a page is opened."""
WIDTHS = (1300, 390)
LOOKED_AT = (
    "index.html",
    "start.html",
    "findings.html",
    "formulas/noise.html",
    "reference/commands.html",
    "reference/api/stress.html",
)


class Page(HTMLParser):
    """What a page refers to, loads, and can be referred to by."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADS and LOADS[tag] in given and given.get("rel") not in ("next", "prev"):
            self.loads.append(given[LOADS[tag]])


@cache
def page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", autouse=True)
def pages() -> list[Path]:
    """Every page of the site."""
    if not (SITE / "index.html").is_file():
        pytest.skip("the site is not built: make docs")
    return sorted(SITE.rglob("*.html"))


def text_of(name: str) -> str:
    """A page without its tags."""
    text = (SITE / name).read_text(encoding="utf-8")
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_links_lead_somewhere_and_nothing_is_loaded_from_elsewhere(pages: list[Path]) -> None:
    wrong, outside, inside = [], set(), 0
    for path in pages:
        for link in page(path).links + page(path).loads:
            parts = urlsplit(link)
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc:
                outside.add(link)
                if link in page(path).loads:
                    wrong.append(f"{path.name} loads {link}")
                continue
            inside += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                wrong.append(f"{path.name}: {link}")
            elif target.suffix == ".html" and unquote(parts.fragment) not in page(target).ids:
                wrong.append(f"{path.name}: no {link}")
    for style in SITE.rglob("*.css"):
        urls = re.findall(r"url\(\s*[\"']?(https?:|//)[^)]*\)", style.read_text(encoding="utf-8"))
        wrong += [f"{style.name} loads {url}" for url in urls]
    print(f"{len(pages)} pages, {inside} links inside, {len(outside)} outside:", *sorted(outside))
    assert wrong == []
    assert inside > 1000


def test_every_public_name_has_its_docstring() -> None:
    for name in isthmus.__all__:
        if name.startswith("__"):
            continue
        about = inspect.getdoc(getattr(isthmus, name)) or ""
        first = re.sub(r":\w+:`[^`]*`?", "", about.split("\n\n")[0])
        words = re.findall(r"[A-Za-z]{4,}", first)[:3]
        shown = text_of(f"reference/api/{name}.html")
        assert words, name
        assert [word for word in words if word not in shown] == [], name


def options(command: Any, name: str) -> Iterator[tuple[str, str]]:
    for inner, one in getattr(command, "commands", {}).items():
        yield from options(one, f"{name} {inner}")
    if not hasattr(command, "commands"):
        for parameter in command.params:
            for option in parameter.opts + parameter.secondary_opts:
                if option.startswith("-") and option != "--help":
                    yield name, option


def test_every_option_of_every_command_is_there() -> None:
    text = (SITE / "reference/commands.html").read_text(encoding="utf-8")
    parts = {re.sub(r"<[^>]+>", "", part.split("<a ")[0]): part for part in text.split("<h2>")[1:]}
    wanted = list(options(typer.main.get_command(app), "isthmus"))
    assert len(wanted) > 150
    assert [(c, o) for c, o in wanted if o not in parts[c]] == []


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    found = next((p for n in ("chromium", "google-chrome") if (p := shutil.which(n))), None)
    if found is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as play:
        blocked = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND"]
        browser = play.chromium.launch(executable_path=found, args=blocked)
        yield browser
        browser.close()


class Opened:
    """Pages in one window; what they complain of and what they ask for."""

    def __init__(self, chromium: Any, **context: Any) -> None:
        self.page = chromium.new_context(**context).new_page()
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", self.ask)

    def ask(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            self.said.append(f"asked for {request.url}")

    def go(self, name: str, query: str = "") -> Any:
        self.page.goto((SITE / name).as_uri() + query)
        return self.page

    def keep(self, name: str) -> None:
        if folder := os.environ.get("ISTHMUS_SHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_open_offline_and_fit_the_window(
    chromium: Any, pages: list[Path], width: int, scheme: str
) -> None:
    """Every page at the phone's width; a few in the other settings."""
    opened = Opened(chromium, viewport={"width": width, "height": 900}, color_scheme=scheme)
    names = [path.relative_to(SITE).as_posix() for path in pages]
    if width > 390 or scheme == "dark":
        names = list(LOOKED_AT)
    wide = []
    for name in names:
        page = opened.go(name)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            wide.append(name)
        if name in LOOKED_AT:
            opened.keep(f"{name.replace('/', '-').removesuffix('.html')}-{width}-{scheme}")
    assert wide == []
    assert opened.said == []


def test_formulas_are_drawn(chromium: Any, pages: list[Path]) -> None:
    opened = Opened(chromium)
    count = 0
    for path in pages:
        if "<math" not in path.read_text(encoding="utf-8"):
            continue
        page = opened.go(path.relative_to(SITE).as_posix())
        boxes = "all => all.map(one => one.getBoundingClientRect()).map(b => b.width * b.height)"
        drawn = page.eval_on_selector_all("math", boxes)
        count += len(drawn)
        assert min(drawn) > 20, path.name
        text = re.sub(r"<(pre|code)\b.*?</\1>", "", page.inner_html("article"), flags=re.S)
        assert re.findall(r"\\(?:frac|lVert|mu|Sigma)\b", text) == [], path.name
    high = opened.go("formulas/noise.html").eval_on_selector_all(
        "mfrac", "all => all.map(one => one.getBoundingClientRect().height)"
    )
    assert max(high) > 30  # a fraction stands on two lines
    assert count > 700


def test_search_finds_offline(chromium: Any) -> None:
    opened = Opened(chromium)
    for words, wanted in (("threshold per search", "calibrate.html"), ("rabitq", "codecs.html")):
        page = opened.go("search.html", f"?q={words.replace(' ', '+')}")
        page.wait_for_selector("#search-results ul.search li a")
        found = page.eval_on_selector_all("#search-results a", "all => all.map(one => one.href)")
        assert any(wanted in link for link in found), found[:5]
    assert opened.said == []
