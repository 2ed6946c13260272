"""Fitting every closer from moments, beside one eigenvalue decomposition of that size."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import process_time
from typing import Any

from bench.rows import MADE_UP, pairs
from bench.timing import interleaved, ratio, result, seconds


def measure(quick: bool) -> dict[str, Any]:
    """Seconds to fit all closers with their default options, each moments' spectrum found once.

    ``seconds_each`` is of the last turn: ``spectra`` are found first and shared, and
    ``each_alone`` starts every closer on moments whose spectrum is not known yet.
    ``processor_seconds`` are those of all threads, which other work on the machine stretches less.
    """
    import numpy as np

    from isthmus.closers import METHODS, fit
    from isthmus.data.moments import Moments, PairMoments

    dim = 256 if quick else 768
    a, b = pairs(4 * dim, dim)
    both = PairMoments.of(a, b)
    extra: dict[str, dict[str, Any]] = {
        "procrustes": {"pairs": both},
        "realign": {"query_rows": a[:500]},
    }

    def fresh() -> tuple[Moments, Moments]:
        """The same moments with nothing cached."""
        made = [Moments(m.count, m.mean, m.scatter, m.resolution) for m in (both.a, both.b)]
        return made[0], made[1]

    def fitter(name: str, given: tuple[Moments, Moments]) -> Callable[[], Any]:
        return lambda: fit(name, *given, **extra.get(name, {}))

    each: dict[str, float] = {}
    processor: list[float] = []

    def fit_all() -> None:
        given = fresh()
        before = process_time()
        each["spectra"] = seconds(lambda: [m.spectrum for m in given])
        for name in METHODS:
            each[name] = seconds(fitter(name, given))
        processor.append(process_time() - before)

    covariance = both.a.covariance()
    taken = interleaved(
        {"fit_all": fit_all, "eigh": lambda: np.linalg.eigh(covariance)}, repeats=3 if quick else 7
    )
    found = ratio(taken, "fit_all", "eigh")
    whole = sorted(taken["fit_all"])
    return {
        "closers_fit_seconds": result(
            whole[len(whole) // 2],
            "s",
            at_most=2.0,
            what=f"fitting all {len(METHODS)} closers from moments (procrustes from pairs, realign "
            "also from 500 rows), and the two spectra they share",
            least=whole[0],
            greatest=whole[-1],
            over_eigh={key: found[key] for key in ("value", "least", "greatest")},
            processor_seconds=median(processor),
            repeats=found["repeats"],
            seconds=found["seconds"],
            seconds_each=dict(each),
            each_alone={name: seconds(fitter(name, fresh())) for name in METHODS},
            dim=dim,
            rows=MADE_UP,
        )
    }
