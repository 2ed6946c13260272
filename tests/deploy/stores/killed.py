"""One deploy that is killed: ``killed.py CLOSER ADDRESS OUT JOURNAL WHERE CALL DELAY``.

``WHERE`` is a method of the store (``prepare``, ``put``, ``finish``), ``CALL`` its how manieth call
in this run, 0 for none. SIGKILL comes ``DELAY`` seconds after the call began; 0 is before it, and
``after`` right after it. Ids of batches that came back from ``put`` are appended to the journal.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

from isthmus.deploy.stores import deploy, open_store, placement

ROWS = 240
BATCH = 6
COLUMN = "resumed"


def die() -> None:
    """As a machine that loses power."""
    os.kill(os.getpid(), signal.SIGKILL)


def watch(store: type, name: str, where: str, call: int, delay: str, journal: str) -> None:
    """Let a method of the class end this process."""
    original, calls = getattr(store, name), 0

    def watched(self: Any, *values: Any) -> Any:
        nonlocal calls
        calls += 1
        here = name == where and calls == call
        if here and delay == "0":
            die()
        if here and delay != "after":
            threading.Timer(float(delay), die).start()
        answer = original(self, *values)
        if name == "put":
            with open(journal, "a", encoding="utf-8") as lines:
                lines.writelines(f"{one}\n" for one in values[0].tolist())
        if here and delay == "after":
            die()
        return answer

    setattr(store, name, watched)


if __name__ == "__main__":
    closer, address, out, journal, where, call, delay = sys.argv[1:]
    placement.BATCH = BATCH
    for method in ("prepare", "put", "finish"):
        watch(type(open_store(address)), method, where, int(call), delay, journal)
    print(deploy(closer, address, column=COLUMN, out=out).written)
