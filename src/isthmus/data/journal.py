"""What an unfinished run has done, step by step, in SQLite beside its output.

``OUT.journal`` is locked as long as its run works, so a second run on the same output is refused.
Each step is on disk, or gone, as a whole. It has a number and a checksum over what was asked, all
steps before it and itself: steps that were edited, swapped, dropped or repeated are found.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from isthmus.data.atomic import output_folder, plain
from isthmus.data.file_errors import os_errors
from isthmus.errors import CorruptFile, FileError

SUFFIX = ".journal"
OURS = 0x69737468
"""The application's mark in the header of the SQLite file: nobody else's file is written to."""
TABLES = (
    "CREATE TABLE run (asked TEXT NOT NULL)",
    "CREATE TABLE steps (number INTEGER PRIMARY KEY, about TEXT NOT NULL, data BLOB NOT NULL, "
    "checksum BLOB NOT NULL)",
)


class Journal:
    """The steps of one run; a context manager that holds the lock.

    Args:
        out: the output that the run is for. asked: what the run was asked for and a digest of its
            inputs, as plain values: only a run that was asked the same goes on with the steps.
        every: seconds between two writes to the disk; a killed run may lose so much work, one
            that fails or is interrupted none. 0: every step is on disk when ``append`` returns.

    Raises:
        FileError: another run holds the lock, something else has the journal's name, or the disk
            fails. CorruptFile: it was damaged.
    """

    def __init__(
        self, out: str | os.PathLike[str], asked: Mapping[str, Any], *, every: float = 0.0
    ) -> None:
        self.path = journal_of(out)
        self.asked = _text(asked)
        self.every = every

    def __enter__(self) -> Journal:
        output_folder(self.path.parent)
        self._open()
        try:
            with self._errors():
                found = self._base.execute("SELECT asked FROM run").fetchall()
                if len(found) != 1:
                    raise self._damaged("it does not say what was asked")
                self._before = found[0][0]
                dict(json.loads(self._before))
        except (ValueError, TypeError) as error:
            self._base.close()
            raise self._damaged("it does not say what was asked") from error
        except BaseException:
            self._base.close()
            raise
        self._written = monotonic()
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        with suppress(sqlite3.Error):  # it may be closed: its run is done
            self._save()
            if error is not None:
                (steps,) = self._base.execute("SELECT count(*) FROM steps").fetchone()
                error.add_note(
                    f"{self.path} keeps {steps} finished steps; give the same command again to go "
                    "on after them"
                )
        self._base.close()

    def others(self) -> dict[str, Any]:
        """What an earlier run was asked for where it differs: name -> its value; none: the same."""
        before, asked = json.loads(self._before), json.loads(self.asked)
        return {name: before.get(name) for name in asked if before.get(name) != asked[name]}

    def restart(self) -> None:
        """Forget the steps of an earlier run."""
        with self._errors():
            self._begin()
            self._base.execute("DELETE FROM steps")
            self._base.execute("UPDATE run SET asked = ?", (self.asked,))
            self._save()
        self._before = self.asked

    def steps(self) -> Iterator[tuple[Any, bytes]]:
        """What was appended, in order, each checked against its checksum as it is read."""
        last = _seal(self._before)
        with self._errors():
            rows = self._base.execute("SELECT * FROM steps ORDER BY number")
            for expected, (number, about, data, checksum) in enumerate(rows):
                last = _seal(last, number, about, data)
                if number != expected or checksum != last:
                    raise self._damaged(f"step {expected} is not what the run wrote there")
                yield json.loads(about), data

    def append(self, about: Any, data: bytes = b"") -> None:
        """Add a step: plain values, and bytes such as rows."""
        with self._errors():
            last = self._base.execute(
                "SELECT number, checksum FROM steps ORDER BY number DESC LIMIT 1"
            ).fetchone()
            number, before = (last[0] + 1, last[1]) if last else (0, _seal(self._before))
            text = _text(about)
            self._begin()
            self._base.execute(
                "INSERT INTO steps VALUES (?, ?, ?, ?)",
                (number, text, data, _seal(before, number, text, data)),
            )
            if monotonic() - self._written >= self.every:
                self._save()

    def rewrite(self, again: Callable[[Any], tuple[Any, bytes] | None]) -> None:
        """Put other steps in the place of some, all at once, and seal those after them anew.

        ``again`` is called with what each step is about, in order, and gives the step that takes
        its place, or None to keep it.
        """
        last, renewed = _seal(self._before), False
        with self._errors():
            self._begin()
            try:
                for number, (about, data) in enumerate(self.steps()):
                    new = again(about)
                    renewed = renewed or new is not None
                    about, data = (about, data) if new is None else new
                    text = _text(about)
                    last = _seal(last, number, text, data)
                    if renewed:
                        self._base.execute(
                            "UPDATE steps SET about = ?, data = ?, checksum = ? WHERE number = ?",
                            (text, data, last, number),
                        )
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._save()

    def remove(self) -> None:
        """The output is in place: the journal goes, then the lock."""
        with self._errors():
            self._save()
        removed = False
        with suppress(OSError):  # some systems do not remove an open file
            # SQLite's own journal: one that a killed run left is not this connection's to delete
            self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)
            self.path.unlink()
            removed = True
        self._base.close()
        if not removed:
            with os_errors(self.path, "removed"):
                self.path.unlink(missing_ok=True)

    def _begin(self) -> None:
        if not self._base.in_transaction:
            self._base.execute("BEGIN")

    def _save(self) -> None:
        if self._base.in_transaction:
            self._base.execute("COMMIT")
        self._written = monotonic()

    def _open(self) -> None:
        """Lock the file that has the name now, and make its tables where it is new."""
        while True:
            before = self._identity()
            with self._errors():
                base = sqlite3.connect(
                    self.path, timeout=0, isolation_level=None, check_same_thread=False
                )
                try:
                    base.execute("PRAGMA locking_mode = EXCLUSIVE")
                    base.execute("BEGIN EXCLUSIVE")
                    self._tables(base)
                    base.execute("COMMIT")
                except BaseException:
                    base.close()
                    raise
            now = self._identity()
            if now is not None and before in (None, now):
                self._base = base
                return
            base.close()  # its run ended meanwhile and removed the file that is open here

    def _tables(self, base: sqlite3.Connection) -> None:
        if base.execute("PRAGMA application_id").fetchone()[0] == OURS:
            return
        if base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise self._foreign()
        base.execute(f"PRAGMA application_id = {OURS}")
        for statement in TABLES:
            base.execute(statement)
        base.execute("INSERT INTO run VALUES (?)", (self.asked,))

    def _identity(self) -> tuple[int, int] | None:
        """Which file has the name; None: none yet. Looked at unopened: to close it drops locks."""
        with os_errors(self.path):
            try:
                found = os.lstat(self.path)
            except FileNotFoundError:
                return None
            if not stat.S_ISREG(found.st_mode):
                raise self._foreign()
        return found.st_dev, found.st_ino

    def _foreign(self) -> FileError:
        return FileError(
            "not-a-journal",
            f"'{self.path}' is no journal of an unfinished run, and nothing else is overwritten; "
            "move it, or write to another file",
        )

    def _damaged(self, what: str) -> CorruptFile:
        return CorruptFile(
            "damaged-journal",
            f"'{self.path}' was damaged since its run wrote it: {what}; delete it to start over",
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeError) as error:
            kind = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
            if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise FileError(
                    "file-in-use",
                    f"'{self.path}' is in use by another run on the same output; wait for it to "
                    "end, or write to another file",
                ) from None
            if kind in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
                raise FileError(
                    "no-permission",
                    f"'{self.path}', which says how far the run is, may not be written by this "
                    "user; change the permissions of its folder, or write to another one",
                ) from error
            if kind == sqlite3.SQLITE_NOTADB:
                raise self._foreign() from None
            if kind in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
                # SQLite shows what it cannot decode, line ends and all
                what = str(error).partition(" with text ")[0]
                raise self._damaged(what) from error
            raise FileError(
                "file-system",
                f"'{self.path}' could not be read or written ({error}); check the disk and the "
                "path, then try again: what it holds is kept",
            ) from error


def journal_of(out: str | os.PathLike[str]) -> Path:
    """Where the journal of an output is."""
    path = Path(out)
    return path.with_name(path.name + SUFFIX)


def _text(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False)


def _seal(before: str | bytes, *parts: int | str | bytes) -> bytes:
    """SHA-256 over all that went before and these parts, each with its length."""
    digest = hashlib.sha256()
    for part in (before, *parts):
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()
