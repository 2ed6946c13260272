"""The journal of unfinished runs: locked, ordered, checked, and never somebody else's file."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from isthmus.data.journal import Journal
from isthmus.errors import FileError
from refusals import refused

ASKED = {"work": "a digest", "rows": 5}
STEPS = [({"n": n, "word": "é\udcff"}, bytes([n]) * 3) for n in range(5)]
READ = [({"n": n, "word": "é\\udcff"}, bytes([n]) * 3) for n in range(5)]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output with a journal of five steps, written by two runs."""
    out = tmp_path / "new folder" / "t.parquet"
    with Journal(out, ASKED) as journal:
        for about, data in STEPS[:3]:
            journal.append(about, data)
    with Journal(out, ASKED, every=60) as journal:
        for about, data in STEPS[3:]:
            journal.append(about, data)
    return out


def steps(out: Path) -> list[object]:
    with Journal(out, ASKED) as journal:
        return list(journal.steps())


def change(out: Path, *statements: str) -> None:
    with closing(sqlite3.connect(f"{out}.journal")) as base:
        for statement in statements:
            base.execute(statement)
        base.commit()


def test_steps_come_back_in_order_whoever_wrote_them(out: Path) -> None:
    assert steps(out) == READ
    change(out, "DELETE FROM steps WHERE number > 2")  # as a run killed earlier leaves it
    assert steps(out) == READ[:3]


@pytest.mark.parametrize(
    ("what", "step"),
    [
        ("UPDATE steps SET about = replace(about, '2', '7') WHERE number = 2", 2),
        ("UPDATE steps SET data = x'000000' WHERE number = 2", 2),
        ("DELETE FROM steps WHERE number = 2", 2),
        ("UPDATE steps SET number = -1 WHERE number = 2", 0),
        ("INSERT INTO steps SELECT 5, about, data, checksum FROM steps WHERE number = 4", 5),
        (
            "UPDATE steps SET number = 9 WHERE number = 1;"
            "UPDATE steps SET number = 1 WHERE number = 2;"
            "UPDATE steps SET number = 2 WHERE number = 9",
            1,
        ),
        (
            "CREATE TABLE t AS SELECT * FROM steps;"
            "UPDATE steps SET about = (SELECT about FROM t WHERE t.number = 4 - steps.number)",
            0,
        ),
        ("UPDATE run SET asked = replace(asked, '5', '6')", 0),
    ],
)
def test_whatever_was_changed_is_found(out: Path, what: str, step: int) -> None:
    change(out, *what.split(";"))
    with refused("damaged-journal", f"step {step} is not", "start over"):
        steps(out)


@pytest.mark.parametrize(
    "what", ["DROP TABLE run", "DROP TABLE steps", "DELETE FROM run", "UPDATE run SET asked = 'x'"]
)
def test_a_journal_without_its_parts_is_damaged(out: Path, what: str) -> None:
    change(out, what)
    with refused("damaged-journal"):
        steps(out)


def test_a_journal_with_a_damaged_byte_is_never_believed(out: Path) -> None:
    """Each byte in turn, unless it is one that SQLite does not use."""
    file = Path(f"{out}.journal")
    whole = file.read_bytes()
    refusals = []
    for at in range(0, len(whole), 97):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            assert steps(out) in ([], READ), at  # [] only where no step is seen at all
        except FileError as refusal:
            refusals.append(refusal.code)
    assert set(refusals) <= {"damaged-journal", "not-a-journal"}
    assert refusals
    file.write_bytes(whole[: len(whole) // 2])
    with refused("damaged-journal"):
        steps(out)


def test_what_others_asked_is_named_and_can_be_started_anew(out: Path) -> None:
    asked = {"work": "a digest", "rows": 6}
    with Journal(out, asked) as journal:
        assert journal.others() == {"rows": 5}
        journal.restart()
        assert journal.others() == {}
        journal.append("first")
    with Journal(out, asked) as journal:
        assert list(journal.steps()) == [("first", b"")]
        journal.remove()
    assert list(out.parent.iterdir()) == []


def test_nothing_is_left_of_a_killed_run_that_had_done_all(out: Path) -> None:
    """A run that adds no step does not open SQLite's own journal, and so would not remove it."""
    left = out.with_name(f"{out.name}.journal-journal")
    left.write_bytes(bytes(512))
    with Journal(out, ASKED) as journal:
        assert list(journal.steps()) == READ
        journal.remove()
    assert list(out.parent.iterdir()) == []


def text(file: Path) -> None:
    file.write_text("my own notes\n" * 100)


def database(file: Path) -> None:
    with closing(sqlite3.connect(file)) as base:
        base.execute("CREATE TABLE mine (x)")
        base.commit()


def link(file: Path) -> None:
    file.symlink_to(file.with_name("elsewhere"))


def folder(file: Path) -> None:
    file.mkdir()


@pytest.mark.parametrize("make", [text, database, link, folder])
def test_somebody_elses_file_is_left_alone(make: Callable[[Path], None], tmp_path: Path) -> None:
    file = tmp_path / "t.json.journal"
    make(file)
    before = file.read_bytes() if file.is_file() else None
    with refused("not-a-journal", "t.json.journal", "move it"), Journal(tmp_path / "t.json", ASKED):
        pass
    assert before is None or file.read_bytes() == before
    assert not (tmp_path / "elsewhere").exists()


OTHER = """
import sys
from isthmus.data.journal import Journal
try:
    with Journal(sys.argv[1], {"work": "a digest", "rows": 5}):
        print("open")
except OSError as refusal:
    print(refusal.code)
"""


def other_process(out: Path) -> str:
    found = subprocess.run([sys.executable, "-c", OTHER, str(out)], capture_output=True, text=True)
    return found.stdout.strip()


@pytest.mark.slow
def test_one_run_at_a_time(out: Path) -> None:
    with Journal(out, ASKED) as journal:
        assert other_process(out) == "file-in-use"
        with refused("file-in-use", "another run", "wait"), Journal(out, ASKED):
            pass
        assert other_process(out) == "file-in-use"  # our own refusal did not drop the lock
        journal.append("more")
    assert other_process(out) == "open"
    with Journal(out, ASKED) as journal:
        journal.remove()
        assert other_process(out) == "open"  # of a new one: this one has no name any more


def test_a_folder_without_permission_is_said_in_plain_words(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error

    monkeypatch.setattr(sqlite3, "connect", refuse)
    with refused("no-permission", "may not be written by this user"), Journal(out, ASKED):
        pass


def test_a_full_disk_is_one_sentence_and_keeps_the_steps(out: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = os.path.getsize(f"{out}.journal")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, limits[1]))
        with refused("file-system", "t.parquet.journal"), Journal(out, ASKED) as journal:
            journal.append("much", bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert steps(out) == READ
