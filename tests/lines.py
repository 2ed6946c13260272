"""Which lines of ``src`` the tests of one run reach: ``pytest -p tests.lines``.

Slipcover's probes stand at every line and are gone once they were met: a loop costs nothing. What
they met is handed to coverage.py, which decides what a statement is and prints the table, so that
the lines that count are those of its own tracer. Lines that only a process started by a test
reaches are not seen: the true figure is above the printed one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coverage
import pytest
from slipcover import FileMatcher, ImportManager, Slipcover

ROOT = Path(__file__).resolve().parents[1]
met: dict[str, set[int]] = defaultdict(set)
probes = Slipcover(immediate=True, exclude_lines=[])
ImportManager(probes, FileMatcher(sources=[ROOT / "src"])).__enter__()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: Any) -> Iterator[None]:
    """A worker hands over what it met; the process that started the workers prints what all met."""
    here = {name: file["executed_lines"] for name, file in probes.get_coverage()["files"].items()}
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["lines"] = here
        return (yield)
    done = yield
    _add(here)
    report = coverage.Coverage(data_file=None, config_file=str(ROOT / "pyproject.toml"))
    report.get_data().add_lines(met)
    report.get_data().touch_files(str(file) for file in (ROOT / "src").rglob("*.py"))
    if report.report() < report.get_option("report:fail_under"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return done


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of pytest-xdist has ended."""
    _add(getattr(node, "workeroutput", {}).get("lines", {}))


def _add(lines: dict[str, list[int]]) -> None:
    for name, numbers in lines.items():
        met[str(ROOT / name)].update(numbers)
