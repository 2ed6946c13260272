"""Two things timed side by side in turn, so that a busy machine slows both alike."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

Work = Callable[[], Any]
Clock = Callable[[], float]
Seconds = dict[str, list[float]]

REST = 0.15
"""Seconds before each timed work. Waiting threads of ONNX Runtime spin after the last call of a
session (``bench.embedding`` measures how long): they take a core, and would be counted as the next
work's."""


def say(text: str) -> None:
    """Progress goes to standard error; standard output holds the JSON alone."""
    print(text, file=sys.stderr, flush=True)


def seconds(work: Work, clock: Clock = time.perf_counter) -> float:
    """Time of one call; what it returns is freed after the clock has stopped.

    ``clock``: wall time; ``time.process_time`` counts the CPU seconds of all threads instead.
    """
    start = clock()
    kept = work()
    taken = clock() - start
    del kept
    return taken


def interleaved(
    works: dict[str, Work], repeats: int, warm: bool = True, clock: Clock = time.perf_counter
) -> Seconds:
    """Times of each work: all once unmeasured (``warm``), then all in turn, ``repeats`` times.

    Before each there is a rest (:data:`REST`), so that none pays for what another left running.
    """
    if warm:
        for work in works.values():
            work()
    taken: Seconds = {name: [] for name in works}
    for turn in range(repeats):
        for name, work in works.items():
            time.sleep(REST)
            taken[name].append(seconds(work, clock))
        say(f"  turn {turn + 1} of {repeats}: " + _turn(taken))
    return taken


def _turn(taken: Seconds) -> str:
    return ", ".join(f"{name} {times[-1]:.3f} s" for name, times in taken.items())


def ratio(taken: Seconds, above: str, below: str) -> dict[str, Any]:
    """``value``: median over turns of time ``above`` / time ``below``; least and greatest kept."""
    ratios = [a / b for a, b in zip(taken[above], taken[below], strict=True)]
    return {
        "value": median(ratios),
        "least": min(ratios),
        "greatest": max(ratios),
        "repeats": len(ratios),
        "seconds": {name: median(taken[name]) for name in (above, below)},
    }


def spread(times: list[float]) -> dict[str, float]:
    """Median, least and greatest of some turns."""
    return {"median": median(times), "least": min(times), "greatest": max(times)}


def result(
    value: float | None,
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    **detail: Any,
) -> dict[str, Any]:
    """One entry of the document; ``holds`` is null where there is no bound or no value."""
    bound, holds = None, None
    if at_most is not None:
        bound = f"<= {at_most:g}"
        holds = value <= at_most if value is not None else None
    if at_least is not None:
        bound = f">= {at_least:g}"
        holds = value >= at_least if value is not None else None
    return {"value": value, "unit": unit, "bound": bound, "holds": holds, **detail}
