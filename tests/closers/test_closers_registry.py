"""The registry of closing methods: what it says is what the functions do."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

import isthmus.closers
from isthmus.closers import METHODS, fit
from isthmus.data.moments import Moments
from worlds import fitted, two_modalities

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.mark.parametrize("name", METHODS)
def test_a_record_says_what_its_function_takes(name: str) -> None:
    method = METHODS[name]
    first, *taken_ = signature(method.function).parameters.items()
    assert first[0] == "given"
    taken = dict(taken_)
    assert {n for n in taken if n in ("pairs", "query_rows")} == method.needs
    options = {o.name: o for o in method.options}
    assert {n: p.default for n, p in taken.items() if n not in method.needs} == {
        n: o.default for n, o in options.items()
    }
    for option in options.values():
        for value in option.grid:
            option.check(name, value)
    assert method.score in method.scores
    assert (DOCS / method.page).is_file()
    assert method.words
    assert method.words not in {m.words for m in METHODS.values() if m is not method}


@pytest.mark.parametrize("name", METHODS)
def test_a_record_says_what_comes_out(name: str) -> None:
    """Promises, strengths and what one role alone determines, on rows that tell them apart."""
    method = METHODS[name]
    a, b = two_modalities(12, 20, seed=2)
    closer = fitted(name, a, b)
    assert closer.guarantee.kind == method.guarantee
    others = two_modalities(12, 20, seed=4)
    alone = set()
    for role, pair in (("query", (a, others[1])), ("candidate", (others[0], b))):
        other = fitted(name, *pair)
        same = [
            np.array_equal(other.apply(r, o), closer.apply(r, o))
            for r in (a, b)
            for o in ("query", "candidate")
        ]
        same.append(np.array_equal(other.candidate_bias(a), closer.candidate_bias(a)))
        alone |= {role} if all(same) else set()
    assert alone == method.alone
    if method.has_strength and name != "drop-dimensions":
        half = fitted(name, a, b, strength=0.5)
        assert not np.array_equal(half.apply(a, "query"), closer.apply(a, "query")) or (
            not np.array_equal(half.apply(b, "candidate"), closer.apply(b, "candidate"))
        )


def test_settings_that_recommend_tries() -> None:
    assert METHODS["none"].settings == ({},)
    assert METHODS["center-queries"].settings[:2] == ({"strength": 1.0}, {"strength": 0.75})
    assert METHODS["orthogonal-shift"].settings[3:5] == ({"strength": 0.25}, {"variance": 0.999})
    assert METHODS["span"].settings[:2] == ({}, {"variance": 0.999})
    assert METHODS["ridge-shift"].settings[0] == {"ridge": 30.0}
    assert METHODS["low-rank-memo"].settings == tuple({"rank": r} for r in (1, 2, 4, 8, 16))


PLUGIN = """
from isthmus.closers import ClosingMethod, Option

def halve(given, *, depth=1):
    moved = given.moved(-given.queries.mean / 2**depth)
    return given.closer(moved, given.fixed, given.no_promise("half of the queries' mean goes"))

method = ClosingMethod("halve", halve, "queries lose half of their mean", score="dot",
                       options=(Option("depth", "whole", 1, "how often it is halved", low=1),))
"""


def test_a_third_party_registers_a_method(install: Callable[..., None]) -> None:
    install("halving", PLUGIN, {"isthmus.closers": "halve = halving:method"}, METHODS)
    rows = np.eye(4)
    closer = fit("halve", Moments.of(rows), Moments.of(rows), depth=2)
    np.testing.assert_allclose(closer.apply(rows, "query"), rows - rows.mean(axis=0) / 4)
    assert list(isthmus.closers)[-1] == "halve"  # type: ignore[call-overload]
