"""One small record of every kind that is saved, and its files taken apart and put together."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from isthmus.closers import fit
from isthmus.data.moments import PairMoments
from isthmus.data.saved import SavedRecord
from isthmus.deploy.canary import make_canary
from isthmus.deploy.thresholds import calibrate
from isthmus.robustness.mixed.levelling import PoolCloser
from isthmus.search.correctors import fit_corrector
from worlds import unit_rows

DIM = 6


def sides(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Two sides of paired unit rows."""
    rng = np.random.default_rng(11)
    a = rng.normal(size=(count, DIM))
    return unit_rows(a + 1.0), unit_rows(a + 0.4 * rng.normal(size=(count, DIM)) - 0.5)


@cache
def records() -> dict[str, tuple[SavedRecord, str]]:
    """Name -> record, suffix."""
    a, b = sides()
    pair = PairMoments.of(a, b, precise=True, normalised=True)
    both = (pair.a, pair.b)
    canary = make_canary(a, digests={"model": "aa"})
    pool = PoolCloser.of({"image": both[0], "text": both[1]})
    more: dict[str, Any] = {"realign": {"query_rows": a}}
    closers: dict[str, tuple[SavedRecord, str]] = {
        f"closer {name}": (fit(name, *both, **more.get(name, {})), ".safetensors")
        for name in ("center-queries", "realign", "orthogonal-shift")
    }
    return closers | {
        "moments": (both[0], ".safetensors"),
        "pair moments": (pair, ".safetensors"),
        "corrector": (fit_corrector("csls", b, a, k=3), ".safetensors"),
        "corrector of some": (
            fit_corrector("dynamic-inverted-softmax", b, a, reach=2),
            ".safetensors",
        ),
        "pool closer": (pool, ".safetensors"),
        "pool closer in JSON": (pool, ".json"),
        "canary": (canary, ".safetensors"),
        "canary in JSON": (canary, ".json"),
        "calibration": (calibrate(a, b, false_match_rate=0.2), ".json"),
    }


def taken_apart(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and fields of a file, by the library alone; text that is JSON is what it says."""
    if path.suffix == ".json":
        return {}, json.loads(path.read_text())
    with safe_open(path, "np") as file:
        header = file.metadata()
    return load_file(path), {name: _said(text) for name, text in header.items()}


def put_together(path: Path, arrays: dict[str, np.ndarray], fields: dict[str, Any]) -> None:
    """The file again."""
    if path.suffix == ".json":
        path.write_text(json.dumps(fields))
        return
    words = {k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()}
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path, words)


def _said(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
