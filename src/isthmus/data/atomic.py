"""Files written under another name and renamed: a reader never sees half a file, or half a set.

A temporary file, ``.isthmus-HEX.SUFFIX`` in the folder of its output, is locked by its process. One
that nobody locks was left by a killed process, and the next run that writes there removes it. Files
of a set are renamed once all of them are whole, after a note of the renames: a run that fails
takes them back, and the next run after a kill ends them.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data.file_errors import os_errors
from isthmus.errors import FileError

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # without these locks nothing is taken for a dead process's
    flock = None  # type: ignore[assignment]

OURS = re.compile(r"\.isthmus-[0-9a-f]{12}(\..*)?")
NOTE = ".renames"
"""Suffix of a note of renames."""

_SET: ContextVar[list[_Temporary] | None] = ContextVar("files of one set", default=None)


class _Temporary:
    """A file of this process, beside its place."""

    def __init__(self, target: Path, suffix: str | None = None) -> None:
        self.target, self.suffix, self.handle = target, suffix, -1
        self._name()

    def _name(self) -> None:
        kind = self.target.suffix if self.suffix is None else self.suffix
        self.path = self.target.parent / f".isthmus-{secrets.token_hex(6)}{kind}"

    def make(self) -> None:
        """An empty file that this process locks."""
        while True:
            # made here, so that it is nobody's link and has the mode of an ordinary new file
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            self.handle = os.open(self.path, flags, 0o666)
            if flock is None:
                os.close(self.handle)  # an open file cannot be renamed there
                break
            with contextlib.suppress(OSError):  # a file system without locks
                flock(self.handle, LOCK_EX)
            if os.fstat(self.handle).st_nlink:  # not removed before it was locked
                break
            os.close(self.handle)
            self._name()

    def flush(self) -> None:
        """All of it on the disk, with the mode of the file that it replaces."""
        with contextlib.suppress(FileNotFoundError):
            os.chmod(self.path, stat.S_IMODE(os.stat(self.target).st_mode))
        with open(self.path, "rb+") as handle:
            os.fsync(handle.fileno())

    def release(self) -> None:
        """Gone, unless it is in its place; unlocked."""
        with contextlib.suppress(OSError):
            os.close(self.handle)
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


@contextmanager
def atomic_path(final: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``final``; rename it to ``final`` on success.

    The folder is made where missing. The temporary file is there, empty; it has the same suffix and
    a leading dot (so folders and globs of shards never pick it up), is flushed to disk before the
    rename, and is removed where the body fails, leaving an old ``final`` as it was. A symbolic link
    is followed, and the mode of an old file is kept. Inside :func:`together` the rename waits for
    the other files.

    Raises:
        FileError: the folder cannot be made, ``final`` is no ordinary file, the disk fails.
    """
    target = Path(os.path.realpath(final))
    _refuse_other_kinds(final, target)
    output_folder(target.parent)
    temporary, files = _Temporary(target), _SET.get()
    try:
        with os_errors(final, "written"):
            temporary.make()
            yield temporary.path
            temporary.flush()
        if files is None:
            _put_in_place([temporary])
        else:
            files.append(temporary)
    finally:
        if files is None or temporary not in files:
            temporary.release()


@contextmanager
def together() -> Iterator[None]:
    """All files that are written inside are put in place at its end, or none of them is."""
    if _SET.get() is not None:
        yield
        return
    files: list[_Temporary] = []
    token = _SET.set(files)
    try:
        try:
            yield
        finally:
            _SET.reset(token)
        _put_in_place(files)
    finally:
        for file in files:
            file.release()


def _put_in_place(files: Sequence[_Temporary]) -> None:
    """Rename all, or take back what was renamed; two processes never mix their sets."""
    if not files:
        return
    folder = files[0].target.parent
    undo: list[tuple[Path, Path]] = []
    with ExitStack() as stack, os_errors(files[0].target, "written"):
        stack.enter_context(_folder_lock(folder))
        note = _note(files) if len(files) > 1 else None
        if note is not None:
            stack.callback(note.release)
        try:
            for file in files:
                if note is not None:
                    undo.append((file.target, _aside(file.target, stack)))
                os.replace(file.path, file.target)
        except BaseException:
            for target, old in reversed(undo):
                with contextlib.suppress(OSError):
                    os.replace(old, target) if old.exists() else target.unlink(missing_ok=True)
            raise
    for place in {file.target.parent for file in files}:
        _flush_folder(place)


def _note(files: Sequence[_Temporary]) -> _Temporary:
    """On disk before the first rename: what a run that is killed among them has still to do."""
    folder = files[0].target.parent
    note = _Temporary(folder / "set", NOTE)
    try:
        note.make()
        pairs = [[f.path.name, f.target.name] for f in files if f.target.parent == folder]
        note.path.write_text(json.dumps(pairs), encoding="utf-8")
        note.flush()
    except BaseException:
        note.release()
        raise
    _flush_folder(folder)
    return note


def _aside(target: Path, stack: ExitStack) -> Path:
    """The old file under a second name as long as the set is not in place."""
    old = target.parent / f".isthmus-{secrets.token_hex(6)}.old"
    if target.exists():
        try:
            os.link(target, old)
        except OSError:  # a file system without second names
            os.replace(target, old)
    stack.callback(old.unlink, missing_ok=True)
    return old


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """One process at a time renames in a folder, or removes what dead ones left."""
    with ExitStack() as stack:
        if flock is not None:
            with contextlib.suppress(OSError):
                handle = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, handle)
                flock(handle, LOCK_EX)
        yield


def output_folder(folder: str | os.PathLike[str]) -> Path:
    """A folder to write to: made where missing, and rid of what killed runs left in it.

    Raises:
        FileError: it cannot be made.
    """
    path = Path(folder)
    with os_errors(path, "written"):
        path.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):
            left = [entry for entry in os.listdir(path) if OURS.fullmatch(entry)]
            if left and flock is not None:
                _clean(path, left)
    return path


def _clean(folder: Path, left: list[str]) -> None:
    """End the sets and remove the temporaries that no living process locks."""
    with _folder_lock(folder):
        for name in sorted(left, key=lambda name: not name.endswith(NOTE)):  # notes first
            path = folder / name
            with contextlib.suppress(OSError), ExitStack() as stack:
                handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
                stack.callback(os.close, handle)
                flock(handle, LOCK_EX | LOCK_NB)
                if os.fstat(handle).st_uid == os.geteuid():
                    _end_set(path)
                    path.unlink()


def _end_set(note: Path) -> None:
    """The renames that a killed run had begun, if it is a note of some; else nothing."""
    try:
        pairs = json.loads(note.read_text(encoding="utf-8")) if note.suffix == NOTE else []
    except ValueError:  # it was killed before the first of them
        return
    for made, target in pairs:
        if OURS.fullmatch(made) and Path(target).name == target:
            with contextlib.suppress(FileNotFoundError):
                os.replace(note.with_name(made), note.with_name(target))


def _refuse_other_kinds(final: str | os.PathLike[str], target: Path) -> None:
    """Refuse a place that is taken by a folder, a pipe or a device: a rename would replace it."""
    with os_errors(final, "written"):
        try:
            mode = os.stat(target).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return
    if stat.S_ISDIR(mode):
        raise FileError(
            "is-a-folder", f"'{os.fspath(final)}' is a folder; expected a file name to write to"
        )
    if not stat.S_ISREG(mode):
        raise FileError(
            "not-a-file",
            f"'{os.fspath(final)}' is a pipe or a device; expected a file name to write to",
        )


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
