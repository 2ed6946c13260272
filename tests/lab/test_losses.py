"""Losses: values against slow NumPy sums, gradients against differences and exact formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isthmus.lab.gradients import loss_gradients
from refusals import refused

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from isthmus.lab import losses  # noqa: E402

N, D = 7, 5
SCALE, BIAS = 6.0, -2.0


@pytest.fixture
def batch(rng) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that resemble each other, apart by an offset, of any norm."""
    what = rng.normal(size=(N, D))
    x, y = what + 0.4 * rng.normal(size=(N, D)), what + 0.4 * rng.normal(size=(N, D))
    return 2 * (x + 0.7), y - 0.7


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def squares(a: np.ndarray, b: np.ndarray, same: bool) -> list[float]:
    """Squared distances of pairs (i, j), i ≠ j; each pair once where both are one set."""
    n = len(a)
    return [
        float(((a[i] - b[j]) ** 2).sum())
        for i in range(n)
        for j in range(n)
        if (i < j if same else i != j)
    ]


def kernel(distances: list[float], t: float = 2.0) -> float:
    return math.log(np.mean([math.exp(-t * d) for d in distances]))


def slow_infonce(a: np.ndarray, b: np.ndarray, forth: float, back: float) -> float:
    total = 0.0
    for i in range(len(a)):
        row = [math.exp(forth * float(a[i] @ y)) for y in b]
        column = [math.exp(back * float(x @ b[i])) for x in a]
        total -= math.log(row[i] / sum(row)) + math.log(column[i] / sum(column))
    return total / 2 / len(a)


def covariance(rows: np.ndarray) -> np.ndarray:
    return np.cov(rows.T, bias=True)


def slow(name: str, a: np.ndarray, b: np.ndarray) -> float:
    """Each loss of unit rows once more, from its formula in docs/losses.md."""
    gap = b.mean(0) - a.mean(0)
    align = np.mean([((x - y) ** 2).sum() for x, y in zip(a, b)])
    if name == "infonce":
        return slow_infonce(a, b, SCALE, SCALE)
    if name == "own-temperatures":
        return slow_infonce(a, b, SCALE, 2 * SCALE)
    if name == "sigmoid":
        signs = 2 * np.eye(len(a)) - 1
        z = signs * (SCALE * a @ b.T + BIAS)
        return float(np.log1p(np.exp(-z)).sum() / len(a))
    if name == "gap_penalty":
        return float((gap**2).sum())
    if name == "alignment":
        return float(align)
    if name == "uniformity":
        return kernel(squares(a, a, True))
    if name == "cross_uniformity":
        return kernel(squares(a, b, False))
    if name == "align_uniform":
        both = (kernel(squares(a, a, True)) + kernel(squares(b, b, True))) / 2
        return float(align + both + kernel(squares(a, b, False)))
    if name == "centroid_uniformity":
        middles = (a + b) / 2
        ordered = [d for d in squares(middles, middles, True) for _ in range(2)]
        return float(align + math.log(sum(math.exp(-2 * d) for d in ordered) / len(a)))
    if name == "coral":
        return float(((covariance(a) - covariance(b)) ** 2).sum() / 4 / D**2)
    if name == "variance_along_gap":
        both = covariance(a) + covariance(b)
        return float(gap @ both @ gap / (gap @ gap) / np.trace(both))
    raise AssertionError(name)


CALLS = {
    "infonce": lambda x, y: losses.infonce(x, y, SCALE),
    "own-temperatures": lambda x, y: losses.infonce(x, y, SCALE, 2 * SCALE),
    "sigmoid": lambda x, y: losses.sigmoid(x, y, SCALE, BIAS),
    "gap_penalty": losses.gap_penalty,
    "alignment": losses.alignment,
    "uniformity": lambda x, y: losses.uniformity(x),
    "cross_uniformity": losses.cross_uniformity,
    "align_uniform": losses.align_uniform,
    "centroid_uniformity": losses.centroid_uniformity,
    "coral": losses.coral,
    "variance_along_gap": losses.variance_along_gap,
}


@pytest.mark.parametrize("name", CALLS)
def test_the_value_is_that_of_the_formula(name: str, batch) -> None:
    x, y = batch
    found = float(CALLS[name](torch.tensor(x), torch.tensor(y)))
    assert found == pytest.approx(slow(name, unit(x), unit(y)), abs=1e-12)


@pytest.mark.parametrize("name", [*CALLS, "whitened"])
def test_the_gradient_is_that_of_finite_differences(name: str, batch) -> None:
    tensors = [torch.tensor(side, requires_grad=True) for side in batch]
    call = CALLS.get(name) or (lambda x, y: losses.coral(*losses.whitened(x, y)))
    assert torch.autograd.gradcheck(call, tensors, eps=1e-6, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("loss", ["infonce", "sigmoid"])
def test_gradients_are_those_of_the_exact_formulas(loss: str, batch) -> None:
    x, y = (torch.tensor(side, requires_grad=True) for side in batch)
    log_scale = torch.tensor(math.log(SCALE), dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(BIAS, dtype=torch.float64, requires_grad=True)
    scale = log_scale.exp()
    value = losses.sigmoid(x, y, scale, bias) if loss == "sigmoid" else losses.infonce(x, y, scale)
    value.backward()
    exact = loss_gradients(*batch, SCALE, BIAS, loss=loss, normalised=True)
    assert value.item() == pytest.approx(float(exact.loss), abs=1e-12)
    for found, wanted in ((x, exact.x), (y, exact.y), (log_scale, exact.log_scale)):
        np.testing.assert_allclose(found.grad.numpy(), wanted, atol=1e-10)
    if loss == "sigmoid":
        assert float(bias.grad) == pytest.approx(float(exact.bias), abs=1e-10)


def test_whitened_rows_have_the_identity_as_covariance(rng) -> None:
    x, y = (torch.tensor(rng.normal(size=(400, D)) * [1, 2, 3, 4, 5] + 1) for _ in range(2))
    a, b = losses.whitened(x, y, shrink=1e-9)
    both = torch.cat([a, b]).numpy()
    np.testing.assert_allclose(both.mean(0), 0, atol=1e-10)
    np.testing.assert_allclose(covariance(both), np.eye(D), atol=1e-6)


def test_whitening_has_a_gradient_where_rows_have_no_variance(rng) -> None:
    flat = [np.pad(rng.normal(size=(N, 2)), ((0, 0), (0, 4))) for _ in range(2)]
    x, y = (torch.tensor(side, requires_grad=True) for side in flat)
    call = lambda x, y: losses.coral(*losses.whitened(x, y))  # noqa: E731
    assert torch.autograd.gradcheck(call, (x, y), eps=1e-6, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("name", ["alignment", "gap_penalty", "centroid_uniformity"])
def test_a_step_along_the_penalty_closes_the_gap(name: str, batch) -> None:
    x, y = (torch.tensor(side, requires_grad=True) for side in batch)
    CALLS[name](x, y).backward()
    with torch.no_grad():
        before = losses.gap_penalty(x, y)
        after = losses.gap_penalty(x - 0.1 * x.grad, y - 0.1 * y.grad)
    assert after < before


def test_the_orthogonal_penalty_flattens_the_gap_axis(batch) -> None:
    x, y = (torch.tensor(side, requires_grad=True) for side in batch)
    before = losses.variance_along_gap(x, y)
    before.backward()
    with torch.no_grad():
        after = losses.variance_along_gap(x - 0.1 * x.grad, y - 0.1 * y.grad)
    assert after < before


def test_bounds_hold_without_a_gradient() -> None:
    value = torch.tensor(9.0, requires_grad=True)
    losses.bound_scale(value, 1.0, 100.0)
    assert value.exp().item() == pytest.approx(100.0)
    assert value.requires_grad
    with refused("bad-option", "bounds"):
        losses.bound_scale(value, 10.0, 1.0)


@pytest.mark.parametrize("kind", losses.SCHEDULES)
def test_schedules_start_and_end_where_they_say(kind: str) -> None:
    schedule = losses.ScaleSchedule(kind, 80.0, 20.0, 50)
    values = [schedule(step) for step in range(101)]
    assert values[0] == 80.0
    assert values[50] == values[100] == pytest.approx(80.0 if kind == "constant" else 20.0)
    assert all(np.diff(values) <= 0)
    middle = {"constant": 80.0, "linear": 50.0, "cosine": 50.0, "geometric": 40.0}[kind]
    assert values[25] == pytest.approx(middle)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: losses.alignment(torch.zeros(3, 2), torch.zeros(4, 2)), "unequal-batches"),
        (lambda: losses.uniformity(torch.zeros(1, 2)), "unequal-batches"),
        (lambda: losses.whitened(torch.zeros(3, 2), torch.zeros(3, 2), 0.0), "bad-option"),
        (lambda: losses.ScaleSchedule("step", 1.0, 2.0, 3), "unknown-schedule"),
        (lambda: losses.ScaleSchedule("linear", 0.0, 2.0, 3), "bad-option"),
    ],
)
def test_what_cannot_be_is_refused(call, code: str) -> None:
    with refused(code):
        call()
