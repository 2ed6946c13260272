"""How heavy ``report.html`` is, and when a browser shows its first text."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from bench.rows import MADE_UP, pairs
from bench.timing import result

FIRST_PAINT = """() => new Promise((found) => {
  const seen = (list) => {
    const entry = list.find((e) => e.name === "first-contentful-paint");
    if (entry) found(entry.startTime);
  };
  seen(performance.getEntriesByType("paint"));
  const watch = new PerformanceObserver((list) => seen(list.getEntries()));
  watch.observe({type: "paint", buffered: true});
})"""


def measure(quick: bool) -> dict[str, Any]:
    """Pages of audits of 500 and of 5,000 pairs; the first opened in headless Chromium."""
    from isthmus.report.render import render_html
    from isthmus.workflows.audits import audit

    pages = {n: render_html(audit(*pairs(n, 512)).report) for n in (500, 800 if quick else 5_000)}
    small, large = pages.values()
    weights = {
        name: result(
            len(page.encode()) / 1e3,
            "kB",
            at_most=bound,
            what=f"report.html of an audit of {count:,} × 512 pairs",
            rows=MADE_UP,
        )
        for name, page, bound, count in (
            ("page_kb", small, 500, 500),
            ("page_kb_5000", large, 1000, list(pages)[1]),
        )
    }
    return weights | {"page_first_paint_ms": _first_paint(small, 3 if quick else 9)}


def _first_paint(page: str, repeats: int) -> dict[str, Any]:
    """Milliseconds from the start of the navigation to the first text on the screen."""
    about = {"what": "first contentful paint of the page of 500 pairs, headless Chromium, 1300 px"}
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        return {**result(None, "ms", **about), "skipped": "needs playwright and Chromium"}
    taken = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        file = Path(folder) / "report.html"
        file.write_text(page, encoding="utf-8")
        try:
            browser = play.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
        except Error as error:
            return {**result(None, "ms", **about), "skipped": str(error).splitlines()[0]}
        for _ in range(repeats):
            with browser.new_context(viewport={"width": 1300, "height": 900}) as context:
                tab = context.new_page()
                tab.goto(file.as_uri())
                taken.append(tab.evaluate(FIRST_PAINT))
        browser.close()
    spread = {"least": min(taken), "greatest": max(taken), "repeats": repeats}
    return result(median(taken), "ms", **about, **spread)


def _chromium() -> str | None:
    """The system's Chromium where there is one, else Playwright's own."""
    import shutil

    return shutil.which("chromium") or shutil.which("chromium-browser")
