"""Digests of inputs, against what sha256sum would print."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data import provenance
from isthmus.data.provenance import files_digest, versions


def test_a_file_has_the_digest_that_sha256sum_prints(tmp_path: Path) -> None:
    file = tmp_path / "rows.npz"
    np.savez(file, a=np.eye(3), b=np.eye(2))
    wanted = hashlib.sha256(file.read_bytes()).hexdigest()
    assert files_digest(str(file)) == files_digest(f"{file}:a") == wanted


def test_shards_have_one_digest_that_knows_their_order(tmp_path: Path) -> None:
    for i in (10, 9):
        np.save(tmp_path / f"shard_{i}.npy", np.full((2, 2), float(i)))
    parts = [hashlib.sha256((tmp_path / f"shard_{i}.npy").read_bytes()) for i in (9, 10)]
    wanted = hashlib.sha256("".join(part.hexdigest() for part in parts).encode()).hexdigest()
    assert files_digest(str(tmp_path)) == files_digest(f"{tmp_path}/*.npy") == wanted


def test_what_is_no_file_or_too_large_has_none(tmp_path: Path, monkeypatch: Any) -> None:
    np.save(tmp_path / "rows.npy", np.eye(3))
    assert files_digest("array") is None
    assert files_digest("lancedb:nowhere?table=t&column=c") is None
    assert files_digest(np.eye(2)) is None
    monkeypatch.setattr(provenance, "MOST_BYTES", 10)
    assert files_digest(str(tmp_path / "rows.npy")) is None


def test_versions_are_those_installed() -> None:
    assert versions()["numpy"] == np.__version__
