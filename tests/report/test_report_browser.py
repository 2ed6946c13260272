"""The page in a real browser: it draws, complains of nothing and asks the network for nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
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


def drawn(dom: str) -> tuple[int, int]:
    """How many plots there are, and how many of them hold a drawn figure."""
    places = len(re.findall(r'<div id="plot-\d+" class="[^"]*plot', dom))
    figures = len(re.findall(r'class="plot-container', dom))
    return places, figures


@pytest.mark.parametrize("width", [1280, 500])
def test_plots_draw_without_a_word_on_the_console(
    browser: str, page: Path, tmp_path: Path, width: int
) -> None:
    done = run(browser, page, tmp_path / "p", f"--window-size={width},900", "--dump-dom")
    assert console(done.stderr) == []
    places, figures = drawn(done.stdout)
    assert places == figures > 10
    assert done.stdout.count("main-svg") >= figures


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
        places, figures = drawn(done.stdout)
        assert places == figures == 6  # codecs, noise, cuts: what survives, and the gain


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
    text = page.read_text(encoding="utf-8").replace("<noscript>", loads + "<noscript>", 1)
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
    places, figures = drawn(shown.stdout)
    assert places == figures > 10
    pictures = re.findall(r'<img src="data:image/png;base64,[^"]+" width="64"', shown.stdout)
    assert len(pictures) >= 12
    assert 'id="perturbed"' in shown.stdout
    assert shown.stdout.count("<tr") > 100


def _can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode == 0
