"""What a killed run left in a folder: temporaries to remove, and a set of files to put in place.

It needs nothing of the code that writes, so that readers can end a set too: as SQLite does with the
journal of a writer that was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from isthmus.errors import FileError

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # without these locks nothing is taken for a dead process's
    flock = None  # type: ignore[assignment]

OURS = re.compile(r"\.isthmus-[0-9a-f]{12}(\..*)?")
NOTE = ".isthmus-000000000000.renames"
"""A folder's note of renames that are not done: one name, as one set at a time is renamed there."""


def own_name(suffix: str) -> str:
    """A new name of our temporaries."""
    return f".isthmus-{secrets.token_hex(6)}{suffix}"


def remove(path: Path) -> None:
    """A file, or a folder with all that it holds; it may be gone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """One process at a time renames in a folder, or removes what dead ones left."""
    with ExitStack() as stack:
        if flock is not None:
            with contextlib.suppress(OSError):
                handle = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, handle)
                flock(handle, LOCK_EX)
        yield


def clean(folder: Path) -> None:
    """End the set and remove the temporaries that no living process locks."""
    with contextlib.suppress(PermissionError):
        left = [entry for entry in os.listdir(folder) if OURS.fullmatch(entry)]
        if left and flock is not None:
            _clean(folder, left)


def _clean(folder: Path, left: list[str]) -> None:
    with folder_lock(folder):
        for name in sorted(left, key=lambda name: name != NOTE):  # the note first
            path = folder / name
            with contextlib.suppress(OSError), ExitStack() as stack:
                handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
                stack.callback(os.close, handle)
                flock(handle, LOCK_EX | LOCK_NB)
                if os.fstat(handle).st_uid == os.geteuid():
                    end_set(path)
                    remove(path)


def end_set(note: Path) -> None:
    """Do the renames that a killed run had begun, if it is a note of some; else nothing."""
    for made, target in _renames(note) if note.name == NOTE else ():
        if made.is_dir() and target.is_dir():
            os.replace(target, aside := target.with_name(own_name(".old")))
            remove(aside)
        os.replace(made, target)


def _renames(note: Path) -> list[tuple[Path, Path]]:
    """The renames of a note that are not done."""
    try:
        return [
            (note.with_name(made), note.with_name(target))
            for made, target in json.loads(note.read_text(encoding="utf-8"))
            if OURS.fullmatch(made) and Path(target).name == target
            if note.with_name(made).exists()
        ]
    except (OSError, ValueError, TypeError):  # its run was killed before the first of them
        return []


def end_half_set(path: str | os.PathLike[str]) -> None:
    """Before a file is read: end the set that it is a part of, where a run was killed in between.

    Raises:
        FileError: this user may not end it, so the file may not fit those that belong to it.
    """
    place = Path(os.path.realpath(path))
    if not os.path.lexists(place.with_name(NOTE)):
        return
    clean(place.parent)
    if any(target == place for _, target in _renames(place.with_name(NOTE))):
        raise FileError(
            "half-written-set",
            f"'{os.fspath(path)}' is of a set of files that a killed run left half replaced, and "
            "this user may not change their folder; run the command that writes them again",
        )
