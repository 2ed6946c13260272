"""Checks of options: what passes comes back, what does not is named with what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.core.checks import at_least, ends_in, in_range, one_of, share
from refusals import refused


def test_a_value_that_passes_comes_back() -> None:
    assert one_of("dot", ("dot", "cosine"), "score") == "dot"
    assert (share(0, "floor"), share(1.0, "floor"), at_least(2, 2, "k")) == (0, 1.0, 2)
    assert in_range(-5.0, "alpha") == -5.0
    assert ends_in(Path("a.JSON"), (".json",), "a plan") == Path("a.JSON")


def test_a_name_that_is_none_of_the_list() -> None:
    with refused("unknown-level-convention", "'half'", "total, spread"):
        one_of("half", ("total", "spread"), "level convention")
    with refused("bad-bits", "3", "4, 8"):
        one_of(3, (4, 8), "bits", "bad-bits")
    with refused("unknown-score", "score 'cosin' is unknown (did you mean 'cosine'?); choose one"):
        one_of("cosin", ("dot", "cosine"), "score")


@pytest.mark.parametrize(
    ("value", "limits", "wanted"),
    [
        (-0.1, {"least": 0, "most": 1}, "at least 0 and at most 1"),
        (1.1, {"least": 0, "most": 1}, "at least 0 and at most 1"),
        (0, {"above": 0, "below": 1}, "above 0 and below 1"),
        (1, {"above": 0, "below": 1}, "above 0 and below 1"),
        (float("nan"), {"least": 0}, "nan; expected at least 0"),
        (float("inf"), {"least": 0}, "inf; expected at least 0"),
        (float("inf"), {}, "a finite number"),
    ],
)
def test_a_number_outside_its_limits(value: float, limits: dict[str, float], wanted: str) -> None:
    with refused("bad-floor", f"floor {value}", wanted, "such as 0.5"):
        in_range(value, "floor", "bad-floor", hint=", such as 0.5", **limits)


def test_a_suffix_that_is_not_one_of_ours() -> None:
    with refused("unknown-suffix", "--out a.txt", "a plan", ".json or .parquet"):
        ends_in(Path("a.txt"), (".json", ".parquet"), "a plan", "--out ")
