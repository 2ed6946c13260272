"""Libraries of the extras: imported late, and with one sentence when something is amiss."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from isthmus.errors import IsthmusError, MissingExtra

QUIET = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
"""Set before a library is imported: without the first, ONNX Runtime looks up a host when it is
imported, and keeps a database of its uses in the user's cache folder."""


def library(module: str, what: str, package: str, extra: str) -> Any:
    """Import ``module``; a missing package and a broken one are told apart.

    Every import of a library that could report its use goes through here.
    """
    os.environ.update(QUIET)
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        lacking = (error.name or module).partition(".")[0]
        own = lacking == module.partition(".")[0]
        raise MissingExtra(what, package if own else lacking.replace("_", "-"), extra) from error
    except IsthmusError:
        raise
    except Exception as error:
        raise IsthmusError(
            "broken-library",
            f"{what} needs the package '{package}', which is installed but does not import "
            f"({type(error).__name__}: {first_line(error)}); reinstall it",
        ) from error


def first_line(error: BaseException) -> str:
    """Of what an error says."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else "no message"
