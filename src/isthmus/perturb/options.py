"""The order of the answers of a multiple-choice question."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.errors import LabelsError
from isthmus.perturb._seeds import item_rng
from isthmus.perturb._words import how_many


@dataclass(frozen=True)
class OptionOrder:
    """Options in a new order: ``options[k]`` was option ``order[k]``.

    ``right`` is where the right option now is, None if it was not given. ``edits`` counts the
    options that moved.
    """

    options: tuple[str, ...]
    order: tuple[int, ...]
    right: int | None
    note: str
    changed: bool
    edits: int


def reorder_options(
    options: Sequence[str], right: int | None, level: int | float, seed: int, index: int
) -> OptionOrder:
    """Permute the options of one question.

    ``level``: an int is the number of options to move, a float a share (rounded up) of them; 1.0
    moves all. Options trade places in one cycle, so that each chosen one ends elsewhere; one
    alone cannot move, so a level of 1 option moves two. Raises
    :class:`~isthmus.errors.LabelsError` if ``right`` is not the index of an option.
    """
    count = len(options)
    if right is not None and not 0 <= operator.index(right) < count:
        raise LabelsError(
            "option-out-of-range", f"the right one is option {right}, expected 0 to {count - 1}"
        )
    moved = how_many(level, count)
    moved = min(count, 2) if moved == 1 else moved
    moved = 0 if moved < 2 else moved
    order = list(range(count))
    if moved:
        cycle = [int(i) for i in item_rng(seed, index, "options", level).permutation(count)[:moved]]
        for place, source in zip(cycle, cycle[1:] + cycle[:1], strict=True):
            order[place] = source
    new = tuple(options[i] for i in order)
    note = f"order: {', '.join(map(str, order))}" if moved else "unchanged: no option to move"
    where = None if right is None else order.index(operator.index(right))
    return OptionOrder(new, tuple(order), where, note, new != tuple(options), moved)
