"""Processes of this machine: from any program, without a trace in its environment, and killed."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from isthmus.engines.local import THREAD_VARIABLES, ProcessExecutor
from refusals import refused

TESTS = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def whose(item: int) -> tuple[int, int, dict[str, str | None]]:
    """What a worker is: its number, the item, and its threads."""
    return os.getpid(), item, {name: os.environ.get(name) for name in THREAD_VARIABLES}


def dies(folder: str, times: int, item: int) -> tuple[int, int]:
    """A worker that gets item 2 is killed, so many times."""
    if item == 2:
        for number in range(times):
            with suppress(FileExistsError):
                Path(folder, f"killed-{number}").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid(), item * item


def crashes(item: int) -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return item


def complains(item: int) -> int:
    if item == 3:
        raise ValueError(f"item {item}")
    print("a worker's own words")  # must not be taken for an answer
    return item


def test_results_come_in_order_and_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = dict(os.environ)
    found = ProcessExecutor(2).map(whose, range(6))
    first = next(found)
    assert dict(os.environ) == before  # while it runs, too
    done = [first, *found]
    assert [item for _, item, _ in done] == list(range(6))
    assert 1 <= len({pid for pid, _, _ in done}) <= 2
    assert os.getpid() not in {pid for pid, _, _ in done}
    threads = str(max(1, (os.cpu_count() or 1) // 2))
    assert all(set(seen.values()) == {threads} for _, _, seen in done)
    assert dict(os.environ) == before


def test_what_a_killed_worker_was_doing_is_done_by_a_fresh_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("isthmus").propagate = True
    with caplog.at_level(logging.WARNING, logger="isthmus"):
        done = list(ProcessExecutor(2).map(partial(dies, str(tmp_path), 2), range(6)))
    assert [square for _, square in done] == [item * item for item in range(6)]
    assert os.getpid() not in {pid for pid, _ in done}
    assert len(list(tmp_path.iterdir())) == 2
    assert "SIGKILL), most likely because memory ran out; what it was doing" in caplog.text


def test_what_kills_three_workers_is_refused(tmp_path: Path) -> None:
    with refused("worker-killed", "3 times with the same part"):
        list(ProcessExecutor(2).map(partial(dies, str(tmp_path), 3), range(6)))


def leaves(item: int) -> int:
    os._exit(3)


@pytest.mark.parametrize(
    ("fn", "how"),
    [(crashes, "SIGSEGV"), pytest.param(leaves, "exit code 3", marks=pytest.mark.slow)],
)
def test_a_crash_is_not_tried_again(fn: Callable[[int], int], how: str) -> None:
    with refused("worker-crashed", how):
        list(ProcessExecutor(2).map(fn, range(3)))


def test_errors_come_back_as_they_are() -> None:
    results = ProcessExecutor(2).map(complains, range(6))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3"):
        next(results)


PROGRAM = """
import sys
sys.path[:0] = {tests!r}
from test_local import whose
from isthmus.engines.local import ProcessExecutor
found = [item for _, item, _ in ProcessExecutor(2).map(whose, range(4))]
assert found == [0, 1, 2, 3], found
assert len({{pid for pid, _, _ in ProcessExecutor(2).map(whose, range(4))}}) <= 2
print("ran once")
"""


@pytest.mark.parametrize(
    "how",
    ["text", *(pytest.param(h, marks=pytest.mark.slow) for h in ("script", "standard input"))],
)
def test_any_program_may_use_them(how: str, tmp_path: Path) -> None:
    program = PROGRAM.format(tests=TESTS)
    script = tmp_path / "program.py"
    script.write_text(program)
    (tmp_path / "pickle.py").write_text("raise SystemExit('a module of the working folder')")
    words = {"script": [str(script)], "standard": ["-"], "text": ["-c", program]}[how.split()[0]]
    done = subprocess.run(
        [sys.executable, "-P", *words],
        input=program if how == "standard input" else None,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ran once\n"


def in_daemon(queue: multiprocessing.Queue[list[int]]) -> None:
    queue.put([item for _, item, _ in ProcessExecutor(2).map(whose, range(4))])


@pytest.mark.slow
def test_a_daemonic_process_may_use_them() -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=in_daemon, args=(queue,), daemon=True)
    process.start()
    assert queue.get(timeout=60) == [0, 1, 2, 3]
    process.join()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(
    number: signal.Signals, tmp_path: Path
) -> None:
    program = (
        f"import sys; sys.path[:0] = {TESTS!r}\n"
        "from test_local import complains\nimport time\n"
        "from isthmus.engines.local import ProcessExecutor\n"
        "found = ProcessExecutor(2).map(complains, range(3))\nnext(found)\n"
        "print('started', flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        parent.send_signal(number)
        parent.wait()
    assert len(children) == 2
    end = time.monotonic() + 20
    while any(alive(int(pid)) for pid in children) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(alive(int(pid)) for pid in children)
