"""Which files and which versions a result is of, so that it can be told from another one."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib import metadata
from typing import Any

from isthmus.data.targets import split_spec

ARRAY = "array"
"""What a report calls rows that were given in memory."""
MOST_BYTES = 1 << 30
"""Files are hashed up to this size in all: beyond it, reading them twice would be the main work."""
LIBRARIES = ("numpy", "faiss-cpu", "pyarrow")


def files_digest(spec: Any) -> str | None:
    """SHA-256 of the file that a text names, as ``sha256sum`` prints it.

    Several shards have one digest, that of their digests in the order in which they are read.
    None for arrays, stores and what is larger than :data:`MOST_BYTES`.
    """
    if not isinstance(spec, str) or spec == ARRAY:
        return None
    try:
        target = split_spec(spec)
        paths = target.shards or (target.path,)
        if sum(os.path.getsize(path) for path in paths) > MOST_BYTES:
            return None
        digests = []
        for path in paths:
            with open(path, "rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    except (OSError, ValueError):  # no file: an array's name, a store's address
        return None
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Python's version, and of the libraries that numbers depend on those that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
