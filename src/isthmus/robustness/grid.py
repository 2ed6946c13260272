"""Every closer through every perturbation, under common noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from isthmus.closers.maps import Closer
from isthmus.robustness.coded import measure_codec
from isthmus.robustness.cuts import measure_cut
from isthmus.robustness.noisy import measure_noise
from isthmus.robustness.perturbations import Perturbation, check_perturbation
from isthmus.robustness.searches import ClosedSearch, Result, closed_searches
from isthmus.search.task import RetrievalTask


def measure(
    task: RetrievalTask,
    searches: Sequence[ClosedSearch],
    perturbation: Perturbation,
    *,
    trials: int,
    seed: int,
) -> list[Result]:
    """Perturb, search, compare: one result per search, all under the same noise.

    Noise, dropped dimensions and random projections run ``trials`` times; truncation and codecs,
    which have no chance in them, once.

    Raises:
        OptionError: an unknown family, side, level or convention.
    """
    kind = check_perturbation(perturbation).kind
    if kind == "noise":
        return measure_noise(task, searches, perturbation, trials=trials, seed=seed)
    if kind == "cut":
        return measure_cut(task, searches, perturbation, trials=trials, seed=seed)
    return [measure_codec(task, search, perturbation) for search in searches]


def grid(
    task: RetrievalTask,
    closers: Iterable[Closer],
    perturbations: Sequence[Perturbation],
    *,
    trials: int,
    control_trials: int | None = None,
    seed: int = 0,
    on_perturbation: Callable[[Perturbation], None] | None = None,
) -> list[Result]:
    """Every closer through every perturbation. Noise is common to all closers of a perturbation.

    Results come closer by closer, each through the perturbations in their order.

    Args:
        closers: fitted for this direction; each is searched with its own score.
        trials: noise draws where candidates alone are hit; ``control_trials`` elsewhere
            (queries, both), by default the same.
        on_perturbation: called after each perturbation, for progress bars.
    """
    searches = closed_searches(task, closers)
    results = []
    for perturbation in perturbations:
        count = trials if perturbation.target == "candidates" else (control_trials or trials)
        results += measure(task, searches, perturbation, trials=count, seed=seed)
        if on_perturbation is not None:
            on_perturbation(perturbation)
    order = {id(search): i for i, search in enumerate(searches)}
    return sorted(results, key=lambda r: order[id(r.search)])
