"""Rows and stores for every test of stores."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import worlds_of_stores
from kinds import KINDS, Filled, scores_of


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one store in one process of ``pytest -n 2 --dist loadgroup``: it starts once."""
    for item in items:
        if item.get_closest_marker("stores"):
            name = getattr(item, "callspec", None) and item.callspec.params.get("name")
            if not item.get_closest_marker("xdist_group"):
                item.add_marker(pytest.mark.xdist_group(name or "faiss"))


@pytest.fixture(scope="session")
def world() -> tuple[np.ndarray, np.ndarray]:
    """Queries and candidates."""
    return worlds_of_stores.world()


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Filled]:
    """Name of a store -> how to fill it; each starts when first asked for."""

    @cache
    def start(name: str) -> Filled:
        return KINDS[name](tmp_path_factory.mktemp(name))

    return start


@pytest.fixture(scope="session")
def filled(started: Callable, world: tuple) -> Callable[..., str]:
    """(store, score) -> address of the candidates there.

    Tests share it: nothing that they do changes the original vectors.
    """

    @cache
    def fill(name: str, score: str) -> str:
        return started(name)(world[1], score)

    return lambda name, score="dot": fill(name, score if score in scores_of(name) else "cosine")
