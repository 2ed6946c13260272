"""Every closer through every cell, under common noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from isthmus.maps import Closer
from isthmus.stress.cells import Cell, check_cell
from isthmus.stress.coded import measure_codec
from isthmus.stress.cuts import measure_cut
from isthmus.stress.noisy import measure_noise
from isthmus.stress.problems import Play, Problem, Result, plays_of


def measure(
    problem: Problem, plays: Sequence[Play], cell: Cell, *, trials: int, seed: int
) -> list[Result]:
    """Perturb, search, compare: one result per play, all under the same noise.

    Noise, dropped dimensions and random projections run ``trials`` times; truncation and codecs,
    which have no chance in them, once.

    Raises:
        OptionError: an unknown family, side, level or convention.
    """
    kind = check_cell(cell).kind
    if kind == "noise":
        return measure_noise(problem, plays, cell, trials=trials, seed=seed)
    if kind == "cut":
        return measure_cut(problem, plays, cell, trials=trials, seed=seed)
    return [measure_codec(problem, play, cell) for play in plays]


def grid(
    problem: Problem,
    closers: Iterable[Closer],
    cells: Sequence[Cell],
    *,
    trials: int,
    control_trials: int | None = None,
    seed: int = 0,
    on_cell: Callable[[Cell], None] | None = None,
) -> list[Result]:
    """Every closer through every cell. Noise is common to all closers of a cell.

    Results come closer by closer, each through the cells in their order.

    Args:
        closers: fitted for this direction; each is searched with its own score.
        trials: noise draws where candidates alone are hit; ``control_trials`` elsewhere
            (queries, both), by default the same.
        on_cell: called after each cell, for progress bars.
    """
    plays = plays_of(problem, closers)
    results = []
    for cell in cells:
        count = trials if cell.side == "candidates" else (control_trials or trials)
        results += measure(problem, plays, cell, trials=count, seed=seed)
        if on_cell is not None:
            on_cell(cell)
    order = {id(play): i for i, play in enumerate(plays)}
    return sorted(results, key=lambda r: order[id(r.play)])
