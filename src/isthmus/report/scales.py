"""Where numbers and categories lie on an axis, and which of them it names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Scale:
    """Numbers or categories to places between ``start`` and ``end``, in units."""

    start: float
    end: float
    low: float
    high: float
    ticks: tuple[tuple[Any, str], ...]
    names: tuple[str, ...] = ()
    log: bool = False

    def place(self, value: Any) -> float | None:
        """Where a value lies; None for what cannot be drawn."""
        if self.names:
            if value not in self.names:
                return None
            value = self.names.index(value)
        if not isinstance(value, int | float) or not math.isfinite(value):
            return None
        if self.log:
            if value <= 0:
                return None
            value = math.log10(value)
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def step(self) -> float:
        """Units of one category."""
        return abs(self.end - self.start) / max(1, len(self.names))


def categories(traces: Sequence[dict[str, Any]], key: str) -> tuple[str, ...]:
    """The categories of an axis, in the order in which they come."""
    return tuple(dict.fromkeys(str(v) for t in traces for v in t[key] if v is not None))


def values_of(traces: Sequence[dict[str, Any]], key: str) -> list[float]:
    """All numbers of an axis, ends of intervals among them; bars begin at 0."""
    found: list[float] = []
    for trace in traces:
        values = trace.get(key) or []
        error = trace.get(f"error_{key}") or {}
        known = [v for v in values if isinstance(v, int | float) and math.isfinite(v)]
        found += known
        for sign, ends in ((1, error.get("array")), (-1, error.get("arrayminus"))):
            pairs = zip(values, ends or [], strict=False)
            found += [v + sign * e for v, e in pairs if None not in (v, e)]
        if trace.get("type") == "bar" and known:
            found.append(0.0)
    return found


def scale_of(
    axis: dict[str, Any], values: list[float], start: float, end: float, names: tuple[str, ...]
) -> Scale:
    """The scale of an axis between ``start`` and ``end``: of its type, range and step."""
    if names:
        return Scale(start, end, -0.5, len(names) - 0.5, tuple(zip(names, names)), names)
    if axis.get("type") == "log":
        return _log_scale(values, start, end)
    low, high = axis.get("range") or (min(values, default=0.0), max(values, default=1.0))
    if axis.get("rangemode") == "tozero":
        low, high = min(low, 0.0), max(high, 0.0)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    step = float(axis.get("dtick") or nice_step((high - low) / 5))
    if "range" not in axis and not axis.get("tight"):
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    ticks = tuple((v, _number(v, step, axis)) for v in ((first + i) * step for i in range(count)))
    return Scale(start, end, low, high, ticks)


def _log_scale(values: list[float], start: float, end: float) -> Scale:
    """Powers of ten around all positive values, about six of them named."""
    known = [math.log10(v) for v in values if v > 0] or [0.0]
    first = math.floor(min(known) + 1e-9)
    last = max(math.ceil(max(known) - 1e-9), first + 1)
    powers = range(first, last + 1, max(1, round((last - first) / 6)))
    ticks = tuple((10.0**k, f"{10.0**k:.6g}") for k in powers)
    return Scale(start, end, first, last, ticks, log=True)


def nice_step(step: float) -> float:
    """The least of 1, 2, 2.5 and 5 times a power of ten that is not below ``step``."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(n * power for n in (1, 2, 2.5, 5, 10) if n * power >= step * (1 - 1e-9))


def _number(value: float, step: float, axis: dict[str, Any]) -> str:
    if "%" in axis.get("tickformat", ""):
        digits = max(0, -math.floor(math.log10(step * 100) + 1e-9))
        return f"{value:.{digits}%}"
    return f"{0.0 if abs(value) < 1e-9 * step else value:.6g}"
