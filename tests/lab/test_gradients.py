"""Losses and their gradients: against loops, finite differences, autograd and equation D1."""

from __future__ import annotations

from itertools import product
from math import exp, log

import numpy as np
import pytest

import isthmus as im
from isthmus.lab.gradients import LOGITS, LOSSES, loss_gradients, softmaxes
from refusals import refused

KINDS = list(product(LOSSES, LOGITS, (False, True)))
RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(2, 3, 6, 4))


def by_loops(x, y, scale, bias, loss, logits, normalised) -> float:
    """The loss of one batch, pair by pair, in plain Python."""
    if normalised:
        x, y = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (x, y))
    n = len(x)

    def logit(i: int, j: int) -> float:
        pull = x[i] @ y[j] if logits == "dot" else -((x[i] - y[j]) ** 2).sum()
        return float(scale * pull + bias)

    total = 0.0
    for i in range(n):
        if loss == "infonce":
            total -= logit(i, i)
            total += log(sum(exp(logit(i, j)) for j in range(n))) / 2
            total += log(sum(exp(logit(j, i)) for j in range(n))) / 2
        else:
            total += sum(log(1 + exp(-logit(i, j) if i == j else logit(i, j))) for j in range(n))
    return total / n


@pytest.mark.parametrize(("loss", "logits", "normalised"), KINDS)
def test_losses_are_those_of_loops_for_every_run(loss, logits, normalised) -> None:
    scales, biases = np.array([0.5, 1.0, 2.0]), np.array([-1.0, 0.0, 1.0])
    how = {"loss": loss, "logits": logits, "normalised": normalised}
    found = loss_gradients(X, Y, scales, biases, **how)
    slow = [by_loops(X[r], Y[r], scales[r], biases[r], *how.values()) for r in range(3)]
    np.testing.assert_allclose(found.loss, slow, rtol=1e-12)
    one = loss_gradients(X[1], Y[1], 1.0, 0.0, **how)
    np.testing.assert_allclose(found.y[1], one.y, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found.log_scale[1], one.log_scale, rtol=1e-12, atol=1e-15)


def test_gradients_are_those_of_finite_differences() -> None:
    rows = im.lab["gradients"].run(seed=1).rows()
    assert [(row["loss"], row["logits"], row["normalised"]) for row in rows] == KINDS
    assert max(row["finite_differences"] for row in rows) <= 1e-7


@pytest.mark.torch
def test_gradients_are_those_of_autograd() -> None:
    pytest.importorskip("torch")
    assert max(row["autograd"] for row in im.lab["gradients"].run(seed=2).rows()) <= 1e-10


def test_equation_d1() -> None:
    """The paper's loss, equation 6, is twice ours; D1 in its own words."""
    x, y, tau, n = X[0], Y[0], 0.7, 6
    rows, columns = softmaxes(-((x[:, None] - y) ** 2).sum(-1) / tau)
    expected = [
        2
        / (n * tau)
        * (
            (1 - rows[:, k].sum()) * y[k]
            - 2 * x[k]
            + sum((rows[i, k] + columns[i, k]) * x[i] for i in range(n))
        )
        for k in range(n)
    ]
    found = loss_gradients(x, y, 1 / tau, logits="distance")
    np.testing.assert_allclose(2 * found.y, expected, rtol=1e-12)


def test_on_unit_vectors_distance_is_dot_of_twice_the_scale() -> None:
    dot = loss_gradients(X, Y, 6.0, normalised=True)
    distance = loss_gradients(X, Y, 3.0, logits="distance", normalised=True)
    np.testing.assert_allclose(dot.loss, distance.loss, rtol=1e-12)
    np.testing.assert_allclose(dot.x, distance.x, rtol=1e-10, atol=1e-14)


def test_large_logits_do_not_overflow() -> None:
    for loss in LOSSES:
        found = loss_gradients(X, Y, 1e5, loss=loss)
        assert np.isfinite(found.loss).all()
        assert np.isfinite(found.x).all()


def test_unknown_names_are_refused() -> None:
    with refused("unknown-loss", "infonce"):
        loss_gradients(X, Y, 1.0, loss="triplet")
    with refused("unknown-logits", "distance"):
        loss_gradients(X, Y, 1.0, logits="cosine")
