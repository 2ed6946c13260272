"""Rows for every test of stores."""

from __future__ import annotations

import numpy as np
import pytest
import worlds_of_stores


@pytest.fixture(scope="session")
def world() -> tuple[np.ndarray, np.ndarray]:
    """Queries and candidates."""
    return worlds_of_stores.world()
