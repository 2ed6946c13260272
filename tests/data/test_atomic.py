"""Files and sets of files: whole, together, with their mode, and nothing left of dead processes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.data import atomic, leftovers, open_rows
from isthmus.data.atomic import atomic_folder, atomic_path, output_folder, together, write_json
from isthmus.data.file_errors import read_json
from refusals import refused

pytest.importorskip("fcntl")


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def dies(folder: Path, body: str) -> None:
    """A process that runs ``body`` in the folder and is killed."""
    program = (
        "import os, signal, sys\nfrom isthmus.data import atomic\n"
        "from isthmus.data.atomic import *\n" + body + "\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder)
    assert done.returncode == -9


def test_what_a_killed_process_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / ".isthmus-notes.txt").write_text("mine")
    with atomic_path(tmp_path / "living.npy") as living:
        dies(tmp_path, "files = together(); files.__enter__(); write_json('a.json', [1])")
        left = set(names(tmp_path)) - {living.name, ".isthmus-notes.txt"}
        assert len(left) == 1
        output_folder(tmp_path)
        assert names(tmp_path) == sorted([living.name, ".isthmus-notes.txt"])
        living.write_bytes(b"whole")
    assert names(tmp_path) == [".isthmus-notes.txt", "living.npy"]


def test_a_set_appears_together_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text("old")
    with together():
        write_json(tmp_path / "a.json", 1)
        write_json(tmp_path / "b.json", 2)
        assert not (tmp_path / "a.json").exists()
    assert names(tmp_path) == ["a.json", "b.json"]
    with pytest.raises(TypeError, match="no form"), together():
        [write_json(tmp_path / f"{name}.json", value) for name, value in (("a", 3), ("c", {1}))]
    assert names(tmp_path) == ["a.json", "b.json"]
    assert (tmp_path / "a.json").read_text() == "1\n"


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("second_names", [True, False])
def test_a_rename_that_fails_takes_the_others_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, second_names: bool
) -> None:
    (tmp_path / "a.json").write_text("old a")
    (tmp_path / "c.json").write_text("old c")
    real, link, seen = os.replace, os.link, []

    def fails(source: Path, target: Path) -> None:
        if Path(target).suffix == ".json" and Path(source).suffix == ".json":
            seen.append(target)
            if len(seen) == at + 1:
                raise OSError(5, "Input/output error")
        real(source, target)

    def none(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(atomic.os, "replace", fails)
    monkeypatch.setattr(atomic.os, "link", link if second_names else none)
    with refused("file-system", "Input/output error"), together():
        for name in "abc":
            write_json(tmp_path / f"{name}.json", name)
    assert names(tmp_path) == ["a.json", "c.json"]
    assert (tmp_path / "a.json").read_text() == "old a"
    assert (tmp_path / "c.json").read_text() == "old c"


DIES_AT = """
real, left = os.replace, [{after}]
def replace(source, target):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
atomic.os.replace = replace
"""
"""Killed at its rename of that number."""


def half_set(folder: Path, after: int) -> None:
    """Three files, of which a killed run has replaced so many by new ones."""
    for name in "abc":
        (folder / f"{name}.json").write_text("old")
    write = "    for name in 'abc':\n        write_json(name + '.json', 'new')"
    dies(folder, DIES_AT.format(after=after) + f"with together():\n{write}\n")


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_kill_among_the_renames_is_ended_at_the_next_start(tmp_path: Path, after: int) -> None:
    half_set(tmp_path, after)
    output_folder(tmp_path)
    assert names(tmp_path) == ["a.json", "b.json", "c.json"]
    assert {(tmp_path / f"{name}.json").read_text() for name in "abc"} == {'"new"\n'}


@pytest.mark.parametrize("first", "abc")
def test_a_kill_among_the_renames_is_ended_before_a_file_of_the_set_is_read(
    tmp_path: Path, first: str
) -> None:
    half_set(tmp_path, 1)
    assert [read_json(tmp_path / f"{name}.json") for name in (first, *"abc")] == ["new"] * 4
    assert names(tmp_path) == ["a.json", "b.json", "c.json"]


def test_a_half_set_that_cannot_be_ended_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_set(tmp_path, 1)
    write_json(tmp_path / "folder" / "d.json", "own")
    monkeypatch.setattr(leftovers.os, "geteuid", lambda: os.getuid() + 1)
    assert read_json(tmp_path / "a.json") == "new"  # it is in its place
    for name in "bc":
        with refused("half-written-set", f"{name}.json"):
            read_json(tmp_path / f"{name}.json")
    assert read_json(tmp_path / "folder" / "d.json") == "own"


def test_rows_and_their_biases_are_read_as_one_set(tmp_path: Path) -> None:
    """A reader between the two renames of ``apply`` gets both of the new run."""
    write = "np.save(path, np.full(shape, number), allow_pickle=False)"
    body = f"""
import numpy as np
def run(number):
    with together():
        for name, shape in (("rows.npy", (3, 2)), ("rows.bias.npy", (3, 1))):
            with atomic_path(name) as temporary, open(temporary, "wb") as path:
                {write}
run(1.0)
{DIES_AT.format(after=1)}
run(2.0)
"""
    dies(tmp_path, body)
    assert [open_rows(tmp_path / f"{name}.npy").read()[0, 0] for name in ("rows", "rows.bias")] == [
        2.0,
        2.0,
    ]


def fills(folder: Path, words: str) -> None:
    (folder / "inner").mkdir()
    for name in ("config.json", "inner/weights"):
        (folder / name).write_text(words)


def model(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


WHOLE = {name: {"config.json": name, "inner/weights": name} for name in ("old", "new")}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path, after: int, old: bool) -> None:
    if old:
        with atomic_folder(tmp_path / "model") as folder:
            fills(folder, "old")
    dies(
        tmp_path,
        DIES_AT.format(after=after)
        + "with atomic_folder('model') as folder:\n"
        + "    (folder / 'inner').mkdir()\n"
        + "    [(folder / n).write_text('new') for n in ('config.json', 'inner/weights')]\n",
    )
    if (tmp_path / "model").exists():
        assert model(tmp_path / "model") in WHOLE.values()
    output_folder(tmp_path)
    # an unfinished replacement goes through; a first one that was never begun leaves nothing
    expected = ["model"] if old or after else []
    assert names(tmp_path) == expected
    assert all(model(tmp_path / name) == WHOLE["new"] for name in expected)


def test_a_folder_that_is_half_filled_goes_and_the_old_one_stays(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "model") as folder:
        fills(folder, "old")
    body = (
        "with atomic_folder('model') as folder:\n    (folder / 'config.json').write_text('new')\n"
    )
    body += "    os.kill(os.getpid(), signal.SIGKILL)"
    dies(tmp_path, body)
    assert model(tmp_path / "model") == WHOLE["old"]
    with refused("file-system", "File exists"), atomic_folder(tmp_path / "model") as folder:
        fills(folder, "new")
        fills(folder, "again")
    assert model(tmp_path / "model") == WHOLE["old"]
    assert names(tmp_path) == ["model"]


def test_a_folder_with_anything_else_in_it_is_not_replaced(tmp_path: Path) -> None:
    place = tmp_path / "model"
    place.mkdir()  # an empty one is
    with atomic_folder(place) as folder:
        fills(folder, "old")
    place.chmod(0o750)
    with atomic_folder(place) as folder:
        fills(folder, "new")
    assert model(place) == WHOLE["new"]
    assert stat.S_IMODE(place.stat().st_mode) == 0o750
    (place / "inner" / "notes.txt").write_text("mine")
    with refused("not-ours", "inner/notes.txt"), atomic_folder(place) as folder:
        fills(folder, "old")
    assert (place / "config.json").read_text() == "new"
    with refused("not-a-folder", "config.json"), atomic_folder(place / "config.json"):
        pass
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize(
    "note",
    ["[", "", "7", "[7]", '[["a.json", "b.json"]]', '[[".isthmus-0123456789ab.x", "../up.json"]]'],
)
def test_a_note_of_something_else_moves_no_file(tmp_path: Path, note: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.json").write_text("mine")
    (folder / ".isthmus-0123456789ab.x").write_text("left")
    (folder / leftovers.NOTE).write_text(note)
    output_folder(folder)
    assert names(folder) == ["a.json"]
    assert names(tmp_path) == ["in"]


def test_a_replaced_file_keeps_its_mode_and_a_link_its_place(tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    real.write_text("old")
    real.chmod(0o640)
    (tmp_path / "link.json").symlink_to(real)
    write_json(tmp_path / "link.json", 1)
    assert real.read_text() == "1\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert (tmp_path / "link.json").is_symlink()
    mask = os.umask(0o027)
    try:
        write_json(tmp_path / "new.json", 1)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "new.json").stat().st_mode) == 0o640


def test_places_that_are_no_files_are_refused_and_stay(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    for place, code in ((pipe, "not-a-file"), (Path("/dev/full"), "not-a-file")):
        with refused(code, str(place)):
            write_json(place, 1)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    (tmp_path / "file").write_text("no folder")
    with refused("file-system", "file"):
        write_json(tmp_path / "file" / "a.json", 1)


def test_names_that_are_no_utf_8_are_shown_by_their_bytes(tmp_path: Path) -> None:
    place = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.json")
    write_json(place, {"file": place, "b\udcff": Path(place)})
    assert "\\\\udcff.json" in Path(place).read_text(encoding="utf-8")
