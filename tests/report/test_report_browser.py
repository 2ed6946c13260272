"""The page in a real browser: it draws, complains of nothing and asks the network for nothing."""

from __future__ import annotations

import base64
import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import commands
from isthmus.metrics.picture import gap_picture
from isthmus.report.render import write_html
from isthmus.workflows.audits import audit

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--virtual-time-budget=20000",
    "--enable-logging=stderr",
    "--v=0",
)


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on small correlated sides, one of whose names tries to be a script."""
    rng = np.random.default_rng(0)
    shared, offset = rng.normal(size=(60, 8)), 2.5 * np.eye(8)[0]
    a = shared + 0.3 * rng.normal(size=(60, 8)) + offset
    b = shared + 0.3 * rng.normal(size=(60, 8)) - offset
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    names = ("</script><script>console.error('broken out')</script>", "captions")
    report: Any = audit(a, b, names=names, trials=3).report
    report["picture"] = gap_picture(a, b, a.mean(axis=0), b.mean(axis=0), seed=0, paired=True)
    target = tmp_path_factory.mktemp("page") / "report.html"
    write_html(target, report)
    return target


def run(browser: str, page: Path, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [browser, *QUIET, f"--user-data-dir={profile}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def console(log: str) -> list[str]:
    """What the page wrote to its console, policy violations and failed loads included."""
    return [line for line in log.splitlines() if "CONSOLE" in line]


def drawn(dom: str) -> int:
    """How many figures the page shows."""
    return dom.count('class="fig"')


@pytest.mark.parametrize("width", [1280, 500])
def test_plots_draw_without_a_word_on_the_console(
    browser: str, page: Path, tmp_path: Path, width: int
) -> None:
    done = run(browser, page, tmp_path / "p", f"--window-size={width},900", "--dump-dom")
    assert console(done.stderr) == []
    assert drawn(done.stdout) > 10
    assert 'data-say="today">' in done.stdout


def test_the_stress_page_draws_without_a_word_on_the_console(
    browser: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        np.save(f"{name}.npy", rng.normal(size=(60, 8)) + np.eye(8)[0])
    words = ("--perturb", "gaussian,truncation,sq8,sign", "--trials", "3", "--page", "s.html")
    assert commands.run(capsys, "stress", "a.npy", "b.npy", *words)[0] == 0
    for width in (1280, 500):
        done = run(
            browser, tmp_path / "s.html", tmp_path / "p", f"--window-size={width},900", "--dump-dom"
        )
        assert console(done.stderr) == []
        assert drawn(done.stdout) == 6  # codecs, noise, cuts: what survives, and the gain


class Opened:
    """A page in Chromium through Playwright, every request refused and counted."""

    def __init__(self, browser: str, page: Path, **options: Any) -> None:
        sync = pytest.importorskip("playwright.sync_api")
        self._play = sync.sync_playwright().start()
        self._browser = self._play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = self._browser.new_context(**options).new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(page.as_uri())

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: Any) -> None:
        self._browser.close()
        self._play.stop()


def normals(seed: int) -> Iterator[float]:
    """The page's own numbers (mulberry32, Box and Muller), written again from their definition."""
    state = seed

    def uniform() -> float:
        nonlocal state
        state = (state + 0x6D2B79F5) % 2**32
        t = ((state ^ state >> 15) * (state | 1)) % 2**32
        t ^= (t + (t ^ t >> 7) * (t | 61)) % 2**32
        return ((t ^ t >> 14) % 2**32) / 2**32

    while True:
        first, second = uniform(), uniform()
        yield math.sqrt(-2 * math.log(1 - first)) * math.cos(2 * math.pi * second)


def changed(sample: dict[str, Any], strength: float, level: float, seed: int) -> tuple[int, int]:
    """Answers that change today and with the closing, by NumPy."""

    def rows(name: str) -> np.ndarray:
        flat = np.frombuffer(base64.b64decode(sample[name]), "<f4").astype(np.float64)
        return flat.reshape(-1, sample["rank"])

    q, x, mean = rows("queries"), rows("candidates"), rows("mean")[0]
    draws = normals(seed)
    noise = np.array([[next(draws) for _ in row] for row in x]) * math.sqrt(level / sample["dim"])
    clean = (q @ x.T).argmax(axis=1)
    today = (q @ (x + noise).T).argmax(axis=1)
    closed = ((q - strength * mean) @ (x + noise).T + strength * (x @ mean)).argmax(axis=1)
    return int((today != clean).sum()), int((closed != clean).sum())


SLIDE = "(slider, to) => { slider.value = to; slider.dispatchEvent(new Event('input')) }"


def test_sliders_move_things_and_figures_match(browser: str, page: Path) -> None:
    with Opened(browser, page, viewport={"width": 1300, "height": 900}) as opened:
        box = opened.page.locator("[data-live]").first
        sample = json.loads(box.locator("script").inner_html())
        places = []
        for strength, level, seed in ((1.0, 0.04, 1), (0.5, 0.2, 2), (1.25, 0.1, 3)):
            if seed > 1:
                box.locator("button").click()
            for name, value in (("strength", strength), ("noise", level)):
                slide = (
                    "(slider, v) => { slider.value = v; slider.dispatchEvent(new Event('input')) }"
                )
                box.locator(f"[name={name}]").evaluate(slide, value)
            today, closed = changed(sample, strength, level, seed)
            count = len(sample["query_rows"])
            assert box.locator("[data-say=today]").inner_text() == f"{today} of {count}"
            assert box.locator("[data-say=closed]").inner_text() == f"{closed} of {count}"
            assert box.locator(".closed .flipped").count() == closed
            places.append(box.locator("circle").first.get_attribute("transform"))
        assert len(set(places)) == 3
        assert opened.said == []
        assert opened.asked == [page.as_uri()]


def test_tables_sort_and_filter(browser: str, page: Path) -> None:
    with Opened(browser, page) as opened:
        table = opened.page.locator("table.sortable:not([data-name])").first
        tools = table.locator("xpath=../preceding-sibling::p[@class='tools'][1]")
        table.locator("th button", has_text="level").first.click()
        levels = [
            float(t.split()[0]) for t in table.locator("tbody tr td:nth-child(5)").all_inner_texts()
        ]
        assert levels == sorted(levels)
        tools.locator("input").fill("center-queries sign")
        shown = table.locator("tbody tr:visible").all_inner_texts()
        assert shown
        assert all("center-queries" in text and "sign" in text for text in shown)
        with opened.page.expect_download() as file:
            tools.locator("button", has_text="Save as CSV").click()
        saved = list(csv.reader(file.value.path().open(encoding="utf-8")))
        assert [" ".join(row) for row in saved[1:]] == [" ".join(x.split("\t")) for x in shown]
        assert saved[0][0] == "closer"
        assert opened.asked[0] == page.as_uri()


def test_without_script_every_figure_and_number_is_there(browser: str, page: Path) -> None:
    with Opened(browser, page, java_script_enabled=False) as opened:
        text = opened.page.locator("main").inner_text()
        assert opened.page.locator("svg.fig:visible").count() > 6
        assert "closing" in text
        assert opened.page.locator("table tbody tr").count() > 100


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 390])
def test_no_serious_accessibility_fault(
    browser: str, page: Path, scheme: Any, width: int, axe: str
) -> None:
    size = {"width": width, "height": 900}
    with Opened(browser, page, viewport=size, color_scheme=scheme, bypass_csp=True) as opened:
        opened.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        opened.page.evaluate(axe)
        found = opened.page.evaluate("axe.run()")["violations"]
        serious = [
            (fault["id"], fault["nodes"][0]["html"][:200], fault["nodes"][0]["failureSummary"])
            for fault in found
            if fault["impact"] in ("serious", "critical")
        ]
        assert serious == []
        width_of_page = opened.page.evaluate("document.documentElement.scrollWidth")
        assert width_of_page <= width


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's script: the file that ISTHMUS_AXE names."""
    place = os.environ.get("ISTHMUS_AXE")
    if not place:
        pytest.skip("ISTHMUS_AXE names no axe.min.js (npm: axe-core)")
    return Path(place).read_text(encoding="utf-8")


def test_the_check_would_see_an_error_and_a_request(browser: str, tmp_path: Path) -> None:
    """A page that breaks both rules is caught, so that silence above means something."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<script>console.error('seen')</script><script src='https://x.example/a.js'></script>"
        "<script>missing()</script>",
        encoding="utf-8",
    )
    said = "\n".join(console(run(browser, bad, tmp_path / "p", "--dump-dom").stderr))
    assert "seen" in said
    assert "missing is not defined" in said


def test_policy_of_the_page_refuses_every_request(browser: str, page: Path, tmp_path: Path) -> None:
    """Even a load written into the page is refused by the page's own policy."""
    worse = tmp_path / "worse.html"
    loads = "<img src='https://x.example/a.png'><script src='https://x.example/a.js'></script>"
    text = page.read_text(encoding="utf-8").replace("<main>", "<main>" + loads, 1)
    worse.write_text(text, encoding="utf-8")
    said = "\n".join(console(run(browser, worse, tmp_path / "p", "--dump-dom").stderr))
    assert said.count("Content Security Policy") >= 2


def test_the_demo_s_page_shows_pictures_curves_and_table_without_a_network(
    browser: str, tmp_path: Path
) -> None:
    """``isthmus demo`` itself, cut off from every network where the machine lets us."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("PIL")
    command = [sys.executable, "-c", "from isthmus.cli import main; main()", "demo"]
    alone = ["unshare", "--net"] if _can_unshare() else []
    done = subprocess.run(
        [*alone, *command, "--out", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Perturbed inputs" in done.stdout
    page = tmp_path / "demo" / "report.html"
    shown = run(browser, page, tmp_path / "p", "--window-size=1280,900", "--dump-dom")
    assert console(shown.stderr) == []
    assert drawn(shown.stdout) > 10
    pictures = re.findall(r'<img src="data:image/png;base64,[^"]+" width="64"', shown.stdout)
    assert len(pictures) >= 12
    assert 'id="perturbed"' in shown.stdout
    assert shown.stdout.count("<tr") > 100


def _can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode == 0
