"""What people do to stored vectors, each once, and what every closer does about it.

Closers are fitted once, at default settings. Codes have no draws, so one search of all queries
answers for both parts; Gaussian noise goes by its law where there is one, on each part by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.core.progress import Progress
from isthmus.robustness import Perturbation, closed_searches, measure_perturbations
from isthmus.workflows.recommendation.parts import Measured
from isthmus.workflows.recommendation.trying import Trials

RESCORED = 50
"""How many of the best by code are ranked again in float."""


@dataclass(frozen=True)
class Disturbance:
    """Something that happens to stored vectors: its name, and what is measured."""

    name: str
    perturbation: Perturbation


def _code(name: str, family: str, rescored: int = 0) -> Disturbance:
    return Disturbance(name, Perturbation(family, "candidates", 1.0, None, rescored))


def noise_of(level: float, convention: str) -> Disturbance:
    """Gaussian noise on the candidates."""
    return Disturbance(
        f"noise {level:g}", Perturbation("gaussian", "candidates", level, convention)
    )


FLOAT32 = "float32, undisturbed"
CODES = (
    _code("float16", "fp16"),
    _code("int8", "int8"),
    _code("one bit, rabitq", "rabitq"),
    _code(f"one bit, rabitq, top {RESCORED} rescored", "rabitq", RESCORED),
    _code("one bit, sign", "sign"),
)
NOISE_LEVELS = (0.005, 0.04)
RULER_ONLY = (_code("4 bit", "sq4"),)
"""Codes that are measured of plain search alone, for the ruler."""


@dataclass(frozen=True, eq=False)
class Disturbed:
    """Every closer under every disturbance.

    Attributes:
        rows: disturbance's name -> each closer on the validation and on the test queries; of those
            of the ruler alone the first closer, plain search.
        codec_errors: name of a code -> its E‖e‖² on what plain search stores.
    """

    rows: dict[str, list[tuple[Closer, Measured, Measured]]] = field(default_factory=dict)
    codec_errors: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        codes: Trials,
        noise: Trials,
        noises: Sequence[Disturbance],
        closers: Sequence[Closer],
        progress: Progress,
    ) -> Disturbed:
        """Measure all of it, as many closers at once as memory holds.

        Args:
            codes: both parts, whose task holds all queries. noise: both parts by themselves.
        """
        found, size = cls(), codes.test.batch()
        for start in range(0, len(closers), size):
            progress("verdict", start, len(closers))
            found._add(codes, noise, noises, closers[start : start + size])
        progress("verdict", len(closers), len(closers))
        return found

    def _add(
        self, codes: Trials, noise: Trials, noises: Sequence[Disturbance], closers: Sequence[Closer]
    ) -> None:
        task, parts = codes.test.task, (codes.validation, codes.test)
        today = np.empty(len(task.queries), np.int64)
        for part in parts:
            today[part.rows] = part.today
        searches = closed_searches(task, closers, today, kept=True)
        first = not self.rows
        for shown, some in ((CODES, searches), (RULER_ONLY, searches[:1])):
            if shown is RULER_ONLY and not first:
                continue
            asked = [one.perturbation for one in shown]
            results = measure_perturbations(task, some, asked, trials=1, seed=0, tabled=0)
            for one, mine in zip(shown, results, strict=True):
                self._keep(one, [[p.summary(r.search, [r]) for r in mine] for p in parts], closers)
                if first:
                    self.codec_errors[one.name] = float(mine[0].extra["codec_error"])
        levels = [one.perturbation for one in noises]
        drawn = []
        for part, alone in zip(parts, (noise.validation, noise.test), strict=True):
            some = [search.restricted(alone.task, part.rows) for search in searches]
            drawn.append((alone, alone.results(some, levels)))
        for i, one in enumerate(noises):
            self._keep(
                one, [[p.summary(r.search, [r]) for r in found[i]] for p, found in drawn], closers
            )

    def _keep(
        self, one: Disturbance, parts: Sequence[Sequence[Measured]], closers: Sequence[Closer]
    ) -> None:
        mine = zip(closers, *parts, strict=False)
        self.rows.setdefault(one.name, []).extend(mine)
