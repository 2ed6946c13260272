"""Whose a sample is: a run that goes on keeps its own, what a killed one left is removed."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

from isthmus.errors import OptionError

DAY = 24 * 3600


def owner() -> dict[str, Any]:
    """Who makes a sample: this process."""
    return {"host": platform.node(), "process": os.getpid(), "since": int(time.time())}


def refuse_others(made_by: dict[str, Any], name: str) -> None:
    """Refuse a sample of another run that goes on: one of another machine is kept for a day.

    Raises:
        OptionError: it goes on, or nobody can tell.
    """
    host, process = made_by.get("host"), made_by.get("process", 0)
    if host == platform.node():
        goes_on = process != os.getpid() and is_running(process)
    else:
        goes_on = time.time() - made_by.get("since", 0) < DAY
    if goes_on:
        raise OptionError(
            "sample-in-use",
            f"'{name}' is the sample of another run (process {process} of '{host}'); wait until it "
            "ends, or remove it where that run is gone",
        )


def is_running(process: int) -> bool:
    """Whether a process of this machine goes on; where that cannot be asked, yes."""
    if os.name != "posix":  # there a signal would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
