"""BLAS has one thread within, what was set comes back, and libraries that came later are seen."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from threading import Barrier
from types import ModuleType

import numpy as np
import pytest
import threadpoolctl
from threadpoolctl import threadpool_info, threadpool_limits

from isthmus.core.threads import Spare, blas_threads, one_blas_thread, over_blocks


def of_blas() -> set[int]:
    return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}


@pytest.mark.skipif(not of_blas(), reason="a BLAS that says nothing of its threads")
def test_blas_has_one_thread_within_and_what_was_set_comes_back() -> None:
    with threadpool_limits(2, user_api="blas"):
        with one_blas_thread(), one_blas_thread():
            assert of_blas() == {1}
            assert blas_threads() == 2  # what it may use outside
        assert of_blas() == {2}
        assert blas_threads() == 2


def test_libraries_are_looked_for_again_where_modules_were_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = []

    class Counting(threadpoolctl.ThreadpoolController):
        def __init__(self) -> None:
            looks.append(len(sys.modules))
            super().__init__()

    monkeypatch.setattr(threadpoolctl, "ThreadpoolController", Counting)
    for name in ("one", "two"):
        monkeypatch.setitem(sys.modules, f"loaded_by_a_test_{name}", ModuleType(name))
        for _ in range(3):
            with one_blas_thread():
                pass
    assert looks == [looks[0], looks[0] + 1]


def test_spare_memory_is_of_one_thread_and_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.core.threads.blas_threads", lambda: 2)
    spare, both, kept = Spare(), Barrier(2), {}

    def work(part: slice) -> None:
        mine = spare.of(1, 6)
        mine[:] = part.start
        both.wait()  # both threads have written theirs
        assert (mine == part.start).all()
        assert np.shares_memory(mine, spare.of(2, 3))
        kept[part.start] = spare.of(3, 9).shape  # more than there was

    over_blocks(work, 2, 1)
    assert kept == {0: (3, 9), 1: (3, 9)}


BEFORE, IMPORT = "import numpy, threadpoolctl", "import faiss"
LIMIT = "limit = threadpoolctl.threadpool_limits(1, user_api='blas')"
SAY = "from isthmus.core.threads import blas_threads; print(blas_threads())"


@pytest.mark.parametrize(
    ("variable", "lines"),
    [("1", (IMPORT, SAY)), ("2", (BEFORE, LIMIT, IMPORT, SAY)), ("2", (IMPORT, SAY))],
    ids=["variable", "limit", "none"],
)
def test_a_library_of_its_own_threads_does_not_lift_what_was_set(
    variable: str, lines: tuple[str, ...]
) -> None:
    """FAISS brings a BLAS that heeds OMP_NUM_THREADS only, and no limit that was set before."""
    pytest.importorskip("faiss")
    code = "\n".join((*lines, "import threadpoolctl", "print(threadpoolctl.threadpool_info())"))
    env = os.environ | {"OPENBLAS_NUM_THREADS": variable, "OMP_NUM_THREADS": "2"}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    said, libraries = done.stdout.splitlines()
    blas = [lib["num_threads"] for lib in ast.literal_eval(libraries) if lib["user_api"] == "blas"]
    if max(blas) < 2:
        pytest.skip("all libraries have one thread")
    assert int(said) == (2 if lines == (IMPORT, SAY) and variable == "2" else 1)
