"""What ``import isthmus`` adds to NumPy's own import, and how fast help comes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from statistics import median
from typing import Any

from bench.timing import Work, interleaved, result


def measure(quick: bool) -> dict[str, Any]:
    """Fresh processes in turn, wall time from start to exit."""
    command = shutil.which("isthmus", path=sysconfig.get_path("scripts"))
    if command is None:
        raise FileNotFoundError("the command 'isthmus' is not installed beside this Python")
    taken = interleaved(
        {
            "numpy": _process(sys.executable, "-c", "import numpy"),
            "numpy_and_isthmus": _process(sys.executable, "-c", "import numpy, isthmus"),
            "help": _process(command, "--help"),
        },
        repeats=5 if quick else 21,
    )
    both = zip(taken["numpy_and_isthmus"], taken["numpy"], strict=True)
    added = [after - before for after, before in both]
    return {
        "import_seconds": result(
            median(added),
            "s",
            at_most=0.15,
            what="a process that imports NumPy and isthmus minus one that imports NumPy",
            least=min(added),
            greatest=max(added),
            repeats=len(added),
            numpy_process_seconds=median(taken["numpy"]),
        ),
        "help_seconds": result(
            median(taken["help"]),
            "s",
            at_most=0.5,
            what="isthmus --help, from start to exit",
            least=min(taken["help"]),
            greatest=max(taken["help"]),
            repeats=len(taken["help"]),
        ),
    }


def _process(*command: str) -> Work:
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
