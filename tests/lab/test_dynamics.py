"""Flows and optimisers on cases known by hand and beside torch; towers by finite differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from isthmus.lab.dynamics import ALL, descend, gradient_flow
from isthmus.lab.measures import first_right, gap, sinkhorn_potentials, variance_along
from isthmus.lab.models import (
    FreeVectors,
    Towers,
    paired_inputs,
    tower_state,
    two_clusters,
    with_scale,
)
from refusals import refused


@dataclass(frozen=True)
class Bowl:
    """½ k θ²: θ' = -kθ."""

    k: float = 2.0

    def gradient(self, state, batch=ALL):
        return 0.5 * self.k * (state["w"] ** 2).sum((-1, -2)), {"w": self.k * state["w"]}

    def embed(self, state):
        return state["w"], state["w"]


START = {"w": np.array([[[1.0, -2.0]]])}


def test_a_flow_is_the_closed_form() -> None:
    path = gradient_flow(Bowl(), START, [0, 0.5, 2.0], rates={"w": np.array([1.0, 0.0])})
    np.testing.assert_allclose(path.states["w"][:, 0, 0, 0], np.exp([0, -1.0, -4.0]), rtol=1e-7)
    assert (path.states["w"][..., 1] == -2).all()
    np.testing.assert_allclose(path.losses[1, 0], np.exp(-2.0) + 4, rtol=1e-7)


def test_steps_by_hand() -> None:
    sgd = descend(Bowl(), START, 3, rate=0.1, every=2)
    assert sgd.times.tolist() == [0, 2, 3]
    np.testing.assert_allclose(sgd.states["w"][:, 0, 0, 0], [1, 0.8**2, 0.8**3])
    ball = descend(Bowl(), START, 2, rate=0.1, optimiser="momentum", momentum=0.5, every=1)
    np.testing.assert_allclose(ball.states["w"][:, 0, 0, 0], [1, 0.8, 0.8 - 0.1 * (1.6 + 0.5 * 2)])
    adam = descend(Bowl(), START, 1, rate=0.1, optimiser="adam")
    np.testing.assert_allclose(adam.states["w"][-1, 0, 0], [0.9, -1.9], rtol=1e-7)
    decayed = descend(Bowl(0.0), START, 4, rate=0.1, weight_decay=0.5)
    np.testing.assert_allclose(decayed.states["w"][-1, 0, 0, 0], 0.95**4)
    with refused("unknown-optimiser", "momentum"):
        descend(Bowl(), START, 1, rate=0.1, optimiser="lion")


@pytest.mark.torch
@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "adam"])
def test_optimisers_are_torchs(optimiser: str) -> None:
    torch = pytest.importorskip("torch")
    x, y = np.random.default_rng(3).normal(size=(2, 1, 5, 4))
    mine = descend(
        FreeVectors(normalised=True),
        with_scale(x, y, 4.0),
        20,
        rate=0.05,
        optimiser=optimiser,
        weight_decay=0.1 if optimiser == "adam" else 0.0,
    )
    leaves = [torch.tensor(side[0]).requires_grad_() for side in (x, y)]
    scale = torch.tensor(np.log(4.0)).requires_grad_()
    groups = [{"params": leaves}, {"params": [scale], "weight_decay": 0.0}]
    theirs = (
        torch.optim.AdamW(groups, lr=0.05, weight_decay=0.1)
        if optimiser == "adam"
        else torch.optim.SGD(groups, lr=0.05, momentum=0.9 if optimiser == "momentum" else 0)
    )
    for _ in range(20):
        theirs.zero_grad()
        units = [torch.nn.functional.normalize(leaf, dim=-1) for leaf in leaves]
        logits = scale.exp() * units[0] @ units[1].T
        right = torch.arange(5)
        entropy = torch.nn.functional.cross_entropy
        ((entropy(logits, right) + entropy(logits.T, right)) / 2).backward()
        theirs.step()
    np.testing.assert_allclose(mine.states["y"][-1, 0], leaves[1].detach().numpy(), rtol=1e-9)
    np.testing.assert_allclose(mine.states["log_scale"][-1, 0], scale.item(), rtol=1e-9)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("widths", [(5, 4, 3), (5, 3)])
def test_gradients_of_towers_are_those_of_finite_differences(widths, shared) -> None:
    model = Towers(*paired_inputs(6, 3, 5, 0), loss="sigmoid", normalised=True, shared=shared)
    state = tower_state(widths, np.array([0.5, 1.5]), 3.0, 0, shared=shared, bias=-1.0)
    _, exact = model.gradient(state)
    assert set(exact) == set(state)
    for name, values in state.items():
        for place in np.ndindex(values.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = {key: np.array(value) for key, value in state.items()}
                moved[name][place] += step
                ends.append(model.gradient(moved)[0][place[0]])
            assert exact[name][place] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-8)


def test_starts_are_what_they_say() -> None:
    x, y = two_clusters(50, 4, 0.7, 0.03, 0)
    assert gap(x, y) == pytest.approx(0.7)
    assert variance_along(x, y) == pytest.approx(0.03)
    x, y = two_clusters(50, 4, 0.7, 0.03, 0, matched=True)
    np.testing.assert_allclose(y - x, np.broadcast_to([0.7, 0, 0, 0], x.shape), atol=1e-12)
    a, b = paired_inputs(40, 3, 6, 0, noise=0.0)
    _, wrong = paired_inputs(40, 3, 6, 0, noise=0.0, wrong=0.25)
    assert (b != wrong).any(1).sum() == 10
    np.testing.assert_array_equal(np.sort(b, 0), np.sort(wrong, 0))
    assert first_right(a, a) == 1.0


def test_runs_do_not_meet() -> None:
    """A run among others is the run alone."""
    model = Towers(*paired_inputs(8, 3, 5, 0), logits="distance")
    offsets = np.array([0.0, 2.0])
    both = descend(model, tower_state((5, 3), offsets, 1.0, 0), 20, rate=0.02, optimiser="adam")
    alone = descend(
        model, tower_state((5, 3), offsets[1:], 1.0, 0), 20, rate=0.02, optimiser="adam"
    )
    np.testing.assert_allclose(both.embeddings()[1][1], alone.embeddings()[1][0], rtol=1e-12)


def test_potentials_balance() -> None:
    logits = np.random.default_rng(4).normal(size=(7, 7))
    balanced = np.exp(logits + sinkhorn_potentials(logits))
    balanced /= balanced.sum(1, keepdims=True)
    np.testing.assert_allclose(balanced.sum(0), 1, atol=1e-9)


def test_batches_hold_each_pair_once_an_epoch() -> None:
    x, y = two_clusters(10, 4, 1.0, 0.1, 0)
    model = FreeVectors(logits="distance")
    seen = []

    class Watched(FreeVectors):
        def gradient(self, state, batch=ALL):
            seen.append(batch)
            return model.gradient(state, batch)

    path = descend(Watched(), with_scale(x[None], y[None], 1.0), 4, rate=0.1, batch=5, every=1)
    batches = [batch for batch in seen if batch is not ALL]
    assert len(batches) == 4
    assert (
        sorted(np.concatenate(batches[:2])) == sorted(np.concatenate(batches[2:])) == [*range(10)]
    )
    moved = (path.states["x"][1] != path.states["x"][0]).any(-1)[0]
    assert np.flatnonzero(moved).tolist() == sorted(batches[0])
    part = model.gradient(path.state(0), batches[0])
    alone = model.gradient(with_scale(x[None, batches[0]], y[None, batches[0]], 1.0))
    np.testing.assert_allclose(part[1]["y"][:, batches[0]], alone[1]["y"])
