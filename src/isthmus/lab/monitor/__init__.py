"""A training watched for its gap: update with two batches, read numbers, ask what is wrong.

    monitor = Monitor()
    for x, y in batches:                      # rows of the two towers, row i of x belongs to y's
        ...
        monitor.update(x, y, scale=scale, loss=loss)
    numbers = monitor.read()
    for finding in monitor.diagnose():
        print(finding.text)

Needs NumPy alone; tensors are read through the array interface. ``docs/monitor.md`` has the
numbers, the findings, and the files beside this one: ``watch`` (torch), ``huggingface``,
``lightning``, ``metric`` (torchmetrics), ``sbert``, ``openclip`` and ``logs``. None of them is
loaded, or registered anywhere, unless it is imported.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.arrays import detached, to_numpy
from isthmus.errors import OptionError, ShapeError
from isthmus.lab.monitor.diagnosis import MAX_SCALE, Finding, diagnose
from isthmus.lab.monitor.window import Window, batch_values, predicted_flips

__all__ = ["Finding", "Monitor", "diagnose"]

EVERY = 10
NOISE = 0.022


class Monitor:
    """Running numbers of the gap during a training.

    Attributes:
        history: one dict of numbers per reading, oldest first. window: what was seen since then.

    Args:
        every: every which batch is looked at; the others cost nothing. max_scale: the ceiling that
            the logit scale is clamped to. noise: variance (of the whole vector) of the noise on
            candidates that flips are predicted for.

    Cost: of a batch of n rows looked at, O(n d² + min(n, 512)² d); of a reading O(d³).

    Raises:
        OptionError: every below 1, or a noise that is not positive.

    >>> rng = np.random.default_rng(0)
    >>> what = rng.normal(size=(64, 8))
    >>> monitor = Monitor(every=1)
    >>> monitor.update(what + 2, what - 2, scale=10.0)
    >>> round(monitor.read()["gap"], 2)
    1.8
    """

    def __init__(
        self, *, every: int = EVERY, max_scale: float = MAX_SCALE, noise: float = NOISE
    ) -> None:
        if every < 1 or not noise > 0:
            raise OptionError(
                "bad-option", f"every must be at least 1 and noise above 0, got {every} and {noise}"
            )
        self.every, self.max_scale, self.noise = every, max_scale, noise
        self.history: list[dict[str, Any]] = []
        self.window = Window.empty()
        self.batches = 0

    def due(self) -> bool:
        """Whether the next batch will be looked at; nothing is computed for one that is not."""
        return self.batches % self.every == 0

    def update(self, x: Any, y: Any, **values: Any) -> None:
        """Take in one batch.

        Args:
            x, y: (n, d) rows of the two towers, of any norm; row i of both belongs together.
            values: numbers, or tensors of one element: ``scale`` (the logit scale itself, not its
                log), ``bias``, ``scale_gradient`` and ``bias_gradient`` (of the parameters; 0 where
                they have none), ``loss``.

        Raises:
            ShapeError: batches that do not fit together. Rows that are not finite raise nothing:
            they are left out, and counted for the diagnosis.
        """
        looked = self.due()
        self.batches += 1
        if not looked:
            return
        numbers = {n: None if v is None else float(detached(v)) for n, v in values.items()}
        a, b = (np.asarray(to_numpy(detached(rows)), np.float64) for rows in (x, y))
        if a.ndim != 2 or a.shape != b.shape:
            raise ShapeError(
                "unequal-batches",
                f"a monitor got batches of shapes {a.shape} and {b.shape}; it takes two of one "
                "shape (n, d)",
            )
        norms = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b)]
        good = np.all([np.isfinite(length) & (length > 0) for length in norms], axis=(0, 2))
        numbers["bad_rows"] = float(1 - good.mean()) if len(good) else None
        if good.sum() < 2:
            self.window.sums[-1] += len(good), len(good)
            return
        a, b = (rows[good] / lengths[good] for rows, lengths in zip((a, b), norms, strict=True))
        numbers |= batch_values(a, b, numbers.get("scale"))
        if not self.window.pairs.count:  # once a window: it costs as much as the rest
            forth, back = predicted_flips(a, b, self.noise), predicted_flips(b, a, self.noise)
            numbers["predicted_flips"] = (forth + back) / 2
        self.window = self.window.merge(Window.of(a, b, numbers))

    def merge(self, other: Monitor) -> None:
        """Take in what another monitor (another rank, another shard) saw since it was read."""
        self.window = self.window.merge(other.window)

    def read(self, **more: float | None) -> dict[str, Any]:
        """The numbers since the last reading; a new window begins.

        ``more`` is kept with them: ``step``, and ``held_out_recall`` of ``held_out_rows`` queries
        where there is one, which the diagnosis trusts more than recall inside batches.
        """
        numbers = {**more, **self.window.numbers()}
        self.history.append(numbers)
        self.window = Window.empty()
        return numbers

    def diagnose(self) -> list[Finding]:
        """What the readings so far say, worst first; empty before there are enough of them."""
        return diagnose(self.history, max_scale=self.max_scale)
