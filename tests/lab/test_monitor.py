"""The monitor's numbers against slow references, and its diagnosis on readings made by hand."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

import isthmus as im
from isthmus.lab.monitor import Monitor, diagnose
from isthmus.lab.monitor.logs import plain_numbers, to_jsonl
from isthmus.lab.monitor.window import Window, batch_values, predicted_flips
from isthmus.theory.prediction import predict
from refusals import refused
from worlds import two_modalities

DIM = 24
SCALE = 12.0


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    """96 pairs, unit rows."""
    return two_modalities(96, DIM, seed=3)


def seen(x: np.ndarray, y: np.ndarray, parts: int = 1, **values: float) -> Monitor:
    """A monitor that was given rows in so many batches."""
    monitor = Monitor(every=1)
    for a, b in zip(np.array_split(x, parts), np.array_split(y, parts)):
        monitor.update(a, b, **values)
    return monitor


def slow_numbers(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """What the monitor must say of all rows at once, from definitions."""
    gap = y.mean(0) - x.mean(0)
    length = np.linalg.norm(gap)
    along = sum(np.var(side @ gap / length) for side in (x, y))
    spread = [np.var(side, axis=0).sum() for side in (x, y)]
    closable = []
    ranks = []
    for side in (x, y):
        values, vectors = np.linalg.eigh(np.cov(side.T, bias=True))
        values, vectors = values[::-1], vectors[:, ::-1]
        keep = next(k for k in range(1, DIM + 1) if values[:k].sum() >= 0.95 * values.sum())
        rest = gap - vectors[:, :keep] @ (vectors[:, :keep].T @ gap)
        closable.append(rest @ rest / length**2)
        share = np.maximum(values, 1e-300) / values.sum()
        ranks.append(math.exp(-(share * np.log(share)).sum()))
    return {
        "gap": length,
        "gap_over_tau": length**2 * SCALE / 2,
        "closable_share": np.mean(closable),
        "matched_cosine": np.mean([a @ b for a, b in zip(x, y)]),
        "variance_along_gap": along,
        "variance_share_along_gap": along / sum(spread),
        "spread_a": spread[0],
        "spread_b": spread[1],
        "effective_rank_a": ranks[0],
        "effective_rank_b": ranks[1],
    }


@pytest.mark.parametrize("parts", [1, 4, 7])
def test_numbers_are_those_of_all_rows_whatever_the_batches(parts: int, pairs) -> None:
    x, y = pairs
    found = seen(3 * x, 0.5 * y, parts, scale=SCALE, loss=2.0).read()
    for name, value in slow_numbers(x, y).items():
        assert found[name] == pytest.approx(value, abs=1e-10), name
    assert (found["rows"], found["loss"], found["scale"], found["bias"]) == (96, 2.0, SCALE, None)


def test_batch_values_are_the_softmaxes_own(pairs) -> None:
    x, y = (side[:20] for side in pairs)
    cosines = x @ y.T
    rows, columns = np.zeros(20), np.zeros(20)
    hits = 0
    for i in range(20):
        row = np.exp(SCALE * cosines[i])
        rows += row / row.sum()
        column = np.exp(SCALE * cosines[:, i])
        columns += column / column.sum()
        hits += int(cosines[i].argmax() == i) + int(cosines[:, i].argmax() == i)
    found = batch_values(x, y, SCALE)
    off = np.concatenate([rows, columns]) - 1
    assert found["doubly_stochastic"] == pytest.approx(np.sqrt(np.mean(off**2)), abs=1e-12)
    assert found["recall"] == hits / 40
    assert batch_values(x, y, None)["doubly_stochastic"] is None


@pytest.mark.parametrize("noise", [0.005, 0.1, 0.5])
def test_predicted_flips_are_those_of_the_theory(noise: float, pairs) -> None:
    x, y = (side[:48] for side in pairs)
    exact = predict(x, y, score="dot", noise=noise, convention="total")
    assert predicted_flips(x, y, noise) == pytest.approx(1 - exact.keep.mean(), abs=1e-3)


def test_monitors_merge_to_what_one_has_seen(pairs) -> None:
    x, y = pairs
    one = seen(x, y, 6, scale=SCALE, loss=1.0)
    parts = [seen(x[k::3], y[k::3], 2, scale=SCALE, loss=1.0) for k in range(3)]
    for part in parts[1:]:
        parts[0].merge(part)
    whole, merged = one.window, parts[0].window
    for name in ("mean", "scatter"):
        for side in ("a", "b"):
            a, b = (getattr(getattr(w.pairs, side), name) for w in (whole, merged))
            np.testing.assert_allclose(a, b, atol=1e-12)
    np.testing.assert_allclose(whole.pairs.cross, merged.pairs.cross, atol=1e-12)
    again = Window.unpack(merged.pack(), DIM)
    for name, value in merged.numbers().items():
        assert again.numbers()[name] == value


def test_only_every_kth_batch_is_looked_at(pairs) -> None:
    monitor = Monitor(every=3)
    for _ in range(7):
        monitor.update(*pairs)
    assert monitor.read()["rows"] == 3 * 96
    assert monitor.read()["rows"] == 0


def test_rows_that_are_not_finite_are_left_out_and_named(pairs) -> None:
    x, y = pairs[0].copy(), pairs[1].copy()
    x[3], y[5] = np.nan, 0
    monitor = seen(x, y)
    numbers = monitor.read()
    assert numbers["rows"] == 94
    assert numbers["bad_rows"] == pytest.approx(2 / 96)
    assert [f.code for f in monitor.diagnose()] == ["not-finite"]
    monitor.update(np.full_like(x, np.inf), y)
    assert monitor.read()["bad_rows"] == 1


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: Monitor(every=0), "bad-option"),
        (lambda: Monitor(noise=0.0), "bad-option"),
        (lambda: Monitor().update(np.ones((3, 2)), np.ones((4, 2))), "unequal-batches"),
    ],
)
def test_what_cannot_be_is_refused(call, code: str) -> None:
    with refused(code):
        call()


HEALTHY = {"gap": 0.3, "gap_over_tau": 1.0, "scale": 15.0, "spread_a": 0.5, "spread_b": 0.5}
HEALTHY |= {"effective_rank_a": 9.0, "effective_rank_b": 9.0, "bad_rows": 0.0}


def readings(count: int = 8, **changes) -> list[dict[str, float]]:
    """Readings of a healthy training, with some numbers replaced by functions of time 0 … 1."""
    made = []
    for k in range(count):
        t = k / (count - 1)
        line = {**HEALTHY, "loss": 4 - 2 * t, "recall": 0.1 + 0.6 * t}
        made.append(line | {name: make(t) for name, make in changes.items()})
    return made


CASES = {
    "scale-falling": ({"scale": lambda t: 14 * (1 - t) + 1.2 * t}, True),
    "dead-bias": ({"bias": lambda t: -10.0, "bias_gradient": lambda t: 0.0}, True),
    "tower-collapse": ({"spread_b": lambda t: 0.5 * (1 - t) ** 3 + 1e-4}, True),
    "recall-falling": ({"recall": lambda t: 0.6 - 0.5 * t}, True),
    "not-finite": ({"bad_rows": lambda t: float(t > 0.9)}, True),
    "scale-at-ceiling": ({"scale": lambda t: min(100.0, 60 + 80 * t)}, False),
    "gap-frozen": ({"gap": lambda t: 0.9, "gap_over_tau": lambda t: 40.0}, False),
    "gap-closing": ({"gap": lambda t: 0.9 - 0.5 * t}, False),
}


@pytest.mark.parametrize("code", CASES)
def test_each_rule_names_its_case_and_nothing_else(code: str) -> None:
    changes, fault = CASES[code]
    found = diagnose(readings(**changes))
    assert [(f.code, f.fault) for f in found if f.fault or not fault] == [(code, fault)]


def test_a_healthy_training_names_nothing() -> None:
    healthy = readings(bias=lambda t: -10 + t, bias_gradient=lambda t: 1e-3 * (1 - t))
    assert diagnose(healthy) == []
    assert diagnose([]) == []


@pytest.mark.parametrize("code", sorted(set(CASES) - {"not-finite"}))
def test_few_readings_say_nothing(code: str) -> None:
    assert diagnose(readings(**CASES[code][0])[:3]) == []


def test_a_bias_that_stands_still_is_dead_where_no_gradient_is_known() -> None:
    still = readings(bias=lambda t: -10.0, scale=lambda t: 10 + t)
    assert [f.code for f in diagnose(still)] == ["dead-bias"]


def test_held_out_recall_is_trusted_more_than_recall_inside_batches() -> None:
    found = diagnose(readings(held_out_recall=lambda t: 0.3 - 0.25 * t))
    assert [f.code for f in found] == ["recall-falling"]
    assert "held-out" in found[0].text


def test_faults_come_first() -> None:
    both = readings(scale=lambda t: 14 - 12.8 * t, gap=lambda t: 0.9 - 0.5 * t)
    assert [f.code for f in diagnose(both)] == ["scale-falling", "gap-closing"]


def test_planted_faults_are_all_named_and_healthy_trainings_name_none() -> None:
    rows = im.lab["monitor"].run().rows()
    assert {row["planted"] for row in rows} == {None, *CASES} - {"gap-closing"}
    for row in rows:
        fault = row["planted"] in CASES and CASES[row["planted"]][1]
        assert row["faults"] == (row["planted"] if fault else None), row["case"]
        if row["planted"] and not fault:
            assert row["planted"] in row["notes"].split(", ")
        assert row["overhead"] < 0.02
    healthy = [row for row in rows if row["planted"] is None]
    assert sorted(row["seed"] for row in healthy) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_logs_take_plain_numbers(tmp_path, pairs) -> None:
    numbers = seen(*pairs).read(step=7)
    said = plain_numbers(numbers)
    assert said["gap/gap"] == numbers["gap"]
    assert "gap/loss" not in said
    assert "gap/step" not in said
    log = to_jsonl(tmp_path / "log.jsonl")
    log(numbers)
    log(numbers)
    assert (tmp_path / "log.jsonl").read_text().count('"step": 7') == 2


def test_the_plain_object_loads_no_torch() -> None:
    code = (
        "import isthmus.lab.monitor, sys; print('torch' in sys.modules or 'scipy' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
