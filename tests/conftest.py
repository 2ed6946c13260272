"""Fixtures of the core's tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from isthmus.core.registry import Registry
from worlds import leave_verdict_out, two_modalities

settings.register_profile("isthmus", deadline=None, max_examples=40)
settings.load_profile("isthmus")
Install = Callable[..., None]


@pytest.fixture
def rng() -> np.random.Generator:
    """One seeded generator per test."""
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def pairs_small() -> tuple[np.ndarray, np.ndarray]:
    """60 pairs in 24 dimensions, read-only."""
    a, b = two_modalities(60, 24, seed=3)
    a.flags.writeable = b.flags.writeable = False
    return a, b


@pytest.fixture(scope="session")
def pairs_wide() -> tuple[np.ndarray, np.ndarray]:
    """40 pairs in 96 dimensions (fewer rows than dimensions), read-only."""
    a, b = two_modalities(40, 96, seed=5)
    a.flags.writeable = b.flags.writeable = False
    return a, b


@pytest.fixture
def files_wide(
    pairs_wide: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """``pairs_wide`` as images.npy and captions.npy in the working folder."""
    monkeypatch.chdir(tmp_path)
    for name, rows in zip(("images", "captions"), pairs_wide):
        np.save(f"{name}.npy", rows.astype(np.float32))
    return tmp_path


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Call it with a module's name, its code, entry points by group, and the registries to read
    anew: as if such a package were installed."""
    made: list[str] = []

    def as_installed(
        module: str, code: str, points: Mapping[str, str], *registries: Registry[Any]
    ) -> None:
        (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
        info = tmp_path / f"{module}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
        lines = [f"[{group}]\n{entries}\n" for group, entries in points.items()]
        (info / "entry_points.txt").write_text("".join(lines))
        monkeypatch.syspath_prepend(str(tmp_path))
        made.append(module)
        for registry in registries:
            monkeypatch.setattr(registry, "_entries", dict(registry._entries))
            monkeypatch.setattr(registry, "_loaded", False)

    yield as_installed
    for module in made:
        sys.modules.pop(module, None)


@pytest.fixture
def no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audits leave out the verdict, which takes most of their time."""
    leave_verdict_out(monkeypatch)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A fresh folder."""
    return tmp_path


@pytest.fixture
def real_data() -> Path:
    """The folder of published embeddings, named by ISTHMUS_REAL_DATA."""
    folder = os.environ.get("ISTHMUS_REAL_DATA")
    if not folder:
        pytest.skip("real embeddings are not here: ISTHMUS_REAL_DATA names no folder")
    return Path(folder)


@pytest.fixture
def coco(real_data: Path) -> np.ndarray:
    """500 images and their captions through CLIP ViT-B/16, (2, 500, 512) float64."""
    rows = np.load(real_data / "modgap/features_clip.npy", allow_pickle=False)
    return rows.astype(np.float64)
