"""The decision that audit and recommend share: the floor, and which queries choose."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from isthmus.search.task import RetrievalTask
from isthmus.workflows.recommendation import Advice, Question, Rules, advise
from isthmus.workflows.recommendation.deciding import choose, floor_shown
from worlds import task_of, two_modalities


def decided(task: RetrievalTask, *closers: str, floor: float = 1.0) -> Advice:
    return advise(task, Question(levels=[0.01, 0.03], closers=closers, floor=floor, trials=8))


def test_a_closer_below_the_floor_is_taken_only_where_the_floor_allows() -> None:
    strict = decided(task_of(*two_modalities(80, 60, seed=1, gap=1.0)), "liang-shift")
    assert strict.nothing
    assert not any(row.passes for row in strict.closers if row.closer != "none")
    figures: Any = SimpleNamespace(clean_agreement=0.95, clean_agreement_ci=(0.91, 0.97))
    shown = [floor_shown("none", figures, floor) for floor in (0.95 + 1e-9, 0.95, 0.9)]
    assert shown == ["missed", "unresolved", "by count"]


@pytest.mark.parametrize("turned", [False, True])
def test_the_closer_is_picked_by_its_flips_on_the_validation_queries(turned: bool) -> None:
    def closer(order: int, validation: float, test: float) -> Any:
        def part(flips: float) -> Any:
            return SimpleNamespace(flips=flips, removed=0.5 - flips)

        figures = SimpleNamespace(
            passes=True, floats_per_candidate=0, validation=part(validation), test=part(test)
        )
        measured = SimpleNamespace(flips=np.full((2, 50), validation))
        return SimpleNamespace(figures=figures, measured=measured, order=order, is_plain=False)

    first, second = closer(0, 0.4, 0.1), closer(1, 0.1, 0.4)
    if turned:
        first, second = closer(0, 0.1, 0.4), closer(1, 0.4, 0.1)
    assert choose(Rules(), [first, second]) is (first if turned else second)
