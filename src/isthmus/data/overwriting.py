"""Outputs that would destroy an input, each other, or a file of the user are refused early."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from isthmus.data.atomic import output_folder
from isthmus.data.targets import FORMATS, splits
from isthmus.errors import FileError

Named = Mapping[str, Any]
NO_ROWS = frozenset({"images", "texts", "encoder", "model"})
"""Options whose folders hold no shards of rows: an output may go in there."""


def refuse_overwriting(outputs: Named, inputs: Named) -> None:
    """Refuse outputs that are inputs or each other, also by links or a name in other letters.

    Args:
        outputs: option -> path or None. inputs: option -> anything; paths, ``FILE:KEY``, folders
            and globs are looked at. An output in a folder of shards, or one that their pattern
            matches, would be a shard of the next run.

    Raises:
        FileError: as above. Nothing is opened.
    """
    places = {name: os.fspath(path) for name, path in outputs.items() if path is not None}
    seen: dict[Any, str] = {}
    for name, path in places.items():
        for one in {_identity(path), os.path.realpath(path).casefold()} - {None}:
            if one in seen:
                raise FileError(
                    "output-twice",
                    f"{_option(name)} and {_option(seen[one])} are the same file, '{path}'; "
                    "name two",
                )
            seen[one] = name
    for name, given in inputs.items():
        for file in _files_of(given):
            if (found := seen.get(_identity(file))) is not None:
                raise FileError(
                    "output-is-input",
                    f"{_option(found)} '{places[found]}' is the input '{file}', which would be "
                    "lost; write to another file",
                )
        for out, path in places.items():
            if name not in NO_ROWS and _becomes_shard(path, given):
                raise FileError(
                    "output-among-inputs",
                    f"{_option(out)} '{path}' lies among the shards of '{given}', and would be "
                    "read as one of them; write to another folder",
                )


def refuse_foreign(path: Path, out: Path, hint: str, ours: bytes | None = None) -> None:
    """Refuse to replace a file beside ``out`` that no earlier run for ``out`` can have written.

    Args:
        path: the file. hint: what to do besides moving it.
        ours: how such a file of a run begins where ``out`` need not be there.

    Raises:
        FileError: as above.
    """
    if out.parent.is_dir():
        output_folder(out.parent)  # first, what a run that was killed among its renames began
    if not path.exists() or out.exists():
        return
    if ours is not None and path.is_file():
        with path.open("rb") as file:
            if file.read(len(ours)) == ours:
                return
    raise foreign(path, out, hint)


def foreign(path: Path, out: Path, hint: str) -> FileError:
    """The refusal of a file that is of no run for ``out``."""
    return FileError(
        "not-ours", f"'{path}' is there already and is of no earlier run for '{out}'; move it{hint}"
    )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _identity(path: str) -> tuple[int, int] | None:
    """The file itself, whatever it is called; None: there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _paths(given: Any) -> Iterator[str]:
    """All that a text may mean: itself, and what stands before a colon."""
    if isinstance(given, (str, os.PathLike)) and os.fspath(given):
        yield from (head for head, _ in splits(os.path.expanduser(os.fsdecode(given))))


def _files_of(given: Any) -> Iterator[str]:
    for path in _paths(given):
        if os.path.isdir(path):
            yield path
            yield from (entry.path for entry in os.scandir(path) if entry.is_file())
        elif glob.has_magic(path) and not os.path.exists(path):
            yield from glob.iglob(path, recursive=True)
        else:
            yield path


def _becomes_shard(out: str, given: Any) -> bool:
    if os.path.splitext(out)[1].lower() not in FORMATS:
        return False
    real = os.path.realpath(out)
    folder = _identity(os.path.dirname(real))
    for path in _paths(given):
        if os.path.isdir(path) and _identity(path) == folder:
            return any(os.path.splitext(n)[1].lower() in FORMATS for n in os.listdir(path))
        if glob.has_magic(path) and not os.path.exists(path):
            pattern = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
            if fnmatch(real, pattern):
                return True
    return False
