"""Products are taken on the device that arrays came from, if it has all digits of float32."""

from __future__ import annotations

import logging
from typing import Any

import array_api_strict as strict
import numpy as np
import pytest

import isthmus as im
from isthmus.core import devices
from isthmus.core.arrays import namespace
from isthmus.core.devices import Device
from isthmus.robustness.signs import sign_product
from isthmus.search.scores import Ranking
from isthmus.search.shared import Product
from worlds import two_modalities

AWAY = strict.Device("device1")


def away(rows: np.ndarray) -> Any:
    return strict.asarray(rows, device=AWAY)


def numbers(report: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if key not in ("created", "inputs")}


def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the products taken on a device, or here."""
    seen: list[tuple[int, ...]] = []
    product = Device.product

    def taken(self: Device, queries: np.ndarray, held: Any) -> np.ndarray:
        assert held.device == AWAY
        assert held.dtype == strict.float32
        seen.append((len(queries), held.shape[0]))
        return product(self, queries, held)

    monkeypatch.setattr(Device, "product", taken)
    return seen


@pytest.mark.parametrize("verb", ["audit", "recommend", "stress"])
def test_arrays_on_a_device_have_their_products_there(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers are those of the same rows here."""
    a, b = two_modalities(120, 64, seed=5)
    run: Any = {
        "audit": lambda *rows: im.audit(*rows, trials=2, levels=[0.05]).report,
        "recommend": lambda *rows: im.recommend(*rows, perturb="rabitq").to_dict(),
        "stress": lambda *rows: im.stress(*rows, perturb="sign", trials=2).to_dict(),
    }[verb]
    here = run(a, b)
    seen = watched(monkeypatch)
    assert numbers(run(a, b)) == numbers(here)
    assert not seen
    multiplied = Product.multiplied

    def nowhere_else(self: Product, *more: np.ndarray) -> np.ndarray:
        assert self.device is not None
        return multiplied(self, *more)

    monkeypatch.setattr(Product, "multiplied", nowhere_else)
    there = run(away(a), away(b))
    assert len(seen) > 3
    assert {columns for _, columns in seen[1:]} == {len(b)}
    assert numbers(there) == numbers(here)


def test_the_processor_is_no_device() -> None:
    rows = np.ones((3, 4), np.float32)
    assert Device.of(rows, "a.npy", strict.asarray(rows)) is None
    found = Device.of(rows, away(rows.astype(np.float64)))
    assert found is not None
    assert (found.sample.device, found.sample.dtype) == (AWAY, strict.float32)


def test_a_device_of_fewer_digits_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As of TF32, which keeps 10 bits: near ties would be missed."""
    product = Device.product

    def coarse(self: Device, queries: np.ndarray, held: Any) -> np.ndarray:
        cut = (queries.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
        return product(self, cut, held)

    monkeypatch.setattr(Device, "product", coarse)
    with caplog.at_level(logging.WARNING, "isthmus.devices"):
        assert Device.of(away(np.ones((3, 4)))) is None
    assert "until TF32 or the like is turned off" in caplog.text


def test_all_kinds_of_products_go_there(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, c = rng.normal(size=(9, 7)), rng.normal(size=(11, 7))
    device = Device.of(away(q))
    assert device is not None
    ranking = Ranking.of(q, c, "dot")
    made = [
        (Product.of(q, c, device=device), q @ c.T),
        (Product.of(q, c, kept=False, device=device), q @ c.T),
        (sign_product(ranking, device), np.sign(q) @ np.sign(c).T),
    ]
    seen = watched(monkeypatch)
    for product, expected in made:
        seen.clear()
        found = np.empty(expected.shape, np.float32)

        def work(part: slice, block: np.ndarray, found: np.ndarray = found) -> None:
            found[part] = block

        product.blocks(work)
        assert seen
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert namespace(product._held) is namespace(away(q))
    part = made[0][0].at(np.array([4, 2]))
    np.testing.assert_allclose(part.block(slice(0, 2)), (q @ c.T)[[4, 2]], atol=1e-5)


@pytest.mark.torch
def test_tensors_go_through_the_same_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the processor they are taken here; told that it is a device, products are torch's."""
    torch = pytest.importorskip("torch")
    a, b = two_modalities(120, 64, seed=5)
    tensors = torch.tensor(a), torch.tensor(b)
    assert Device.of(*tensors) is None
    here = im.recommend(*tensors, perturb="sign").to_dict()
    made: list[Any] = []
    product = Device.product

    def taken(self: Device, queries: np.ndarray, held: Any) -> np.ndarray:
        made.append(held)
        return product(self, queries, held)

    monkeypatch.setattr(Device, "product", taken)
    monkeypatch.setattr(devices, "_is_away", lambda side: isinstance(side, torch.Tensor))
    there = im.recommend(*tensors, perturb="sign").to_dict()
    assert len(made) > 3
    assert all(isinstance(held, torch.Tensor) and held.dtype == torch.float32 for held in made)
    for one, other in zip(there["rows"], here["rows"], strict=True):
        assert one["judging"]["flips"] == pytest.approx(other["judging"]["flips"], abs=1e-6)
