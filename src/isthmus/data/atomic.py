"""Files written under another name and renamed: a reader never sees half a file."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data.file_errors import os_errors
from isthmus.errors import FileError


@contextmanager
def atomic_path(final: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``final``; rename it to ``final`` on success.

    The folder is made where missing. The temporary file has the same suffix and a leading dot (so
    folders and globs of shards never pick it up), is flushed to disk before the rename, and is
    removed where the body fails, leaving an old ``final`` as it was. A symbolic link is followed.
    Raises FileError where the folder cannot be made or the file cannot be put in place.
    """
    target = Path(os.path.realpath(final))
    if target.is_dir():
        raise FileError(
            "is-a-folder", f"'{os.fspath(final)}' is a folder; expected a file name to write to"
        )
    make_folder(target.parent)
    temporary = target.parent / f".{target.stem}.{secrets.token_hex(6)}{target.suffix}"
    try:
        yield temporary
        with os_errors(final, "written"):
            with open(temporary, "rb+") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _flush_folder(target.parent)


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder, made with those above it where missing; raises FileError where it cannot be."""
    path = Path(folder)
    with os_errors(path, "written"):
        path.mkdir(parents=True, exist_ok=True)
    return path


def _flush_folder(folder: Path) -> None:
    """Make the rename itself durable where the system allows it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Write ``obj`` as JSON, atomically, keys in the order given, NaN and infinity as null.

    NumPy scalars and arrays, tuples and paths become plain JSON. Raises TypeError for anything
    else that JSON has no form for, FileError where writing fails.
    """
    text = json.dumps(plain(obj), ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    with atomic_path(path) as temporary, os_errors(path, "written"):
        temporary.write_text(text, encoding="utf-8", newline="\n")


def plain(obj: Any) -> Any:
    """The same value in dicts, lists, strings, numbers, booleans and None."""
    if isinstance(obj, str):
        return written(obj)
    if obj is None or isinstance(obj, (bool, int)):
        return obj
    if isinstance(obj, (np.generic, np.ndarray)):
        return plain(obj.tolist())
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else None
    if isinstance(obj, Mapping):
        return {_key(key): plain(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [plain(value) for value in obj]
    if isinstance(obj, os.PathLike):
        return written(os.fsdecode(obj))
    raise TypeError(f"JSON has no form for a {type(obj).__name__}")


def written(text: str) -> str:
    """Names of files that are not UTF-8 have no form in a text file: their bytes are shown."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _key(key: Any) -> str:
    if isinstance(key, str):
        return written(key)
    if isinstance(key, (int, float, np.number)) and not isinstance(key, bool):
        return str(plain(key))
    raise TypeError(f"a JSON key must be text or a number, not a {type(key).__name__}")
