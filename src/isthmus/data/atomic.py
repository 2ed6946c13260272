"""Files written under another name and renamed: a reader never sees half a file, or half a set.

A temporary file, ``.isthmus-HEX.SUFFIX`` in the folder of its output, is locked by its process. One
that nobody locks was left by a killed process, and the next run that writes there removes it. Files
of a set are renamed once all of them are whole, after a note of the renames: a run that fails
takes them back, and the next run after a kill ends them. A folder that a library fills is written
and renamed in the same way.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.core.checks import ends_in
from isthmus.data.file_errors import os_errors
from isthmus.data.leftovers import NOTE, clean, end_set, folder_lock, own_name, remove
from isthmus.errors import FileError

try:
    from fcntl import LOCK_EX, flock
except ImportError:
    flock = None  # type: ignore[assignment]

_SET: ContextVar[list[_Temporary] | None] = ContextVar("files of one set", default=None)


class _Temporary:
    """A file of this process, beside its place."""

    def __init__(self, target: Path) -> None:
        self.target, self.handle = target, -1
        self._name()

    def _name(self) -> None:
        self.path = self.target.with_name(own_name(self.target.suffix))

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
            remove(self.path)


class _TemporaryFolder(_Temporary):
    """A folder of this process, beside its place."""

    def make(self) -> None:
        """An empty folder that this process locks."""
        with folder_lock(self.path.parent):  # so that nobody removes it before it is locked
            os.mkdir(self.path)
            if flock is not None:
                self.handle = os.open(self.path, os.O_RDONLY)
                with contextlib.suppress(OSError):
                    flock(self.handle, LOCK_EX)

    def flush(self) -> None:
        """All of it on the disk; refuse to replace a folder that holds anything else."""
        if self.target.exists():
            if more := sorted(_names(self.target) - _names(self.path)):
                raise FileError(
                    "not-ours",
                    f"'{self.target}' holds '{more[0]}', which is no part of what is written "
                    "there; move it, or write to another folder",
                )
            os.chmod(self.path, stat.S_IMODE(os.stat(self.target).st_mode))
        for folder, _, files in os.walk(self.path):
            for name in files:
                with open(os.path.join(folder, name), "rb+") as handle:
                    os.fsync(handle.fileno())
            _flush_folder(Path(folder))


def _names(folder: Path) -> set[str]:
    """Files and folders at any depth, as paths from the folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


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
    with _put(_Temporary(target), final) as path:
        yield path


@contextmanager
def atomic_folder(final: str | os.PathLike[str]) -> Iterator[Path]:
    """The same for a folder that the body fills; ``final`` is replaced whole, or left as it was.

    Raises:
        FileError: as :func:`atomic_path`; ``final`` is there and no folder, or holds something that
            the new one does not.
    """
    target = Path(os.path.realpath(final))
    with os_errors(final, "written"):
        taken = target.exists() and not target.is_dir()
    if taken:
        raise FileError(
            "not-a-folder", f"'{os.fspath(final)}' is no folder; expected a folder to write to"
        )
    with _put(_TemporaryFolder(target), final) as path:
        yield path


@contextmanager
def scratch_folder(output: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty folder beside ``output`` for what is needed until its end; then it is removed.

    Raises:
        FileError: it cannot be made.
    """
    temporary = _TemporaryFolder(Path(os.path.realpath(output)).with_suffix(""))
    output_folder(temporary.target.parent)
    try:
        with os_errors(output, "written"):
            temporary.make()
            inside = temporary.path / "inside"  # whoever writes there locks the folder that it is
            inside.mkdir()
        yield inside
    finally:
        temporary.release()


@contextmanager
def _put(temporary: _Temporary, final: str | os.PathLike[str]) -> Iterator[Path]:
    """What the body writes, put in its place, or left to the set that it is a part of."""
    output_folder(temporary.target.parent)
    files = _SET.get()
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
        stack.enter_context(folder_lock(folder))
        # a folder that is there cannot be replaced by one rename
        several = len(files) > 1 or files[0].target.is_dir()
        note = _note(files) if several else None
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
                    os.replace(old, target) if old.exists() else remove(target)
            raise
    for place in {file.target.parent for file in files}:
        _flush_folder(place)


def _note(files: Sequence[_Temporary]) -> _Temporary:
    """On disk before the first rename: what a run that is killed among them has still to do."""
    folder = files[0].target.parent
    note = _Temporary(folder / NOTE)
    note.path = note.target
    try:
        end_set(note.path)  # of a run that was killed since this one looked
        remove(note.path)
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
    old = target.with_name(own_name(".old"))
    if target.exists():
        try:
            os.link(target, old)
        except OSError:  # a folder, or a file system without second names
            os.replace(target, old)
    stack.callback(remove, old)
    return old


def output_folder(folder: str | os.PathLike[str]) -> Path:
    """A folder to write to: made where missing, and rid of what killed runs left in it.

    Raises:
        FileError: it cannot be made.
    """
    path = Path(folder)
    with os_errors(path, "written"):
        path.mkdir(parents=True, exist_ok=True)
        clean(path)
    return path


def refuse_unwritable(
    place: str | os.PathLike[str],
    *,
    folder: bool = False,
    suffixes: Sequence[str] = (),
    what: str = "",
    option: str = "",
) -> None:
    """Refuse before the work what could not be written after it: a nameless file is made, and gone,
    in the nearest folder that is there.

    Args:
        folder: ``place`` is one to be filled. suffixes: of which a file's has to be one, as
            ``what`` is written under these; ``option`` gave it.

    Raises:
        OptionError: another suffix. FileError: as :func:`atomic_path`; this user may not write
            there.
    """
    if suffixes:
        ends_in(Path(place), suffixes, what, option)
    target = Path(os.path.realpath(place))
    if not folder:
        _refuse_other_kinds(place, target)
    nearest = target if folder else target.parent
    with os_errors(place, "written"):
        while not nearest.exists():
            nearest = nearest.parent
        with tempfile.TemporaryFile(dir=nearest):
            pass


def _refuse_other_kinds(final: str | os.PathLike[str], target: Path) -> None:
    """Refuse a place that is taken by a folder, a pipe or a device: a rename would replace it.

    And an address, which would be made a folder here.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", os.fspath(final)):
        raise FileError(
            "is-a-url",
            f"'{os.fspath(final)}' is an address, and files are written here alone; write it to a "
            "file, and upload that",
        )
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
