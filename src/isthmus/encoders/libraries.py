"""How the translators meet their libraries: late, and with one sentence when something is amiss."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from isthmus.errors import FileError, IsthmusError, MissingExtra, OptionError

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
        raise MissingExtra(what, (error.name or package).replace("_", "-"), extra) from error
    except IsthmusError:
        raise
    except Exception as error:
        raise IsthmusError(
            "broken-library",
            f"{what} needs the package '{package}', which is installed but does not import "
            f"({type(error).__name__}: {first_line(error)}); reinstall it",
        ) from error


@contextmanager
def loading(what: str, model: str) -> Iterator[None]:
    """Whatever a library raises while it loads a model becomes one sentence."""
    try:
        yield
    except IsthmusError:
        raise
    except Exception as error:
        raise FileError(
            "no-such-model",
            f"{what} cannot load '{model}' ({type(error).__name__}: {first_line(error)}); give a "
            "folder that holds the saved model, or a published name that can be fetched",
        ) from error


def no_model(form: str) -> OptionError:
    """The refusal of an encoder that is named without its model."""
    return OptionError("no-model", f"an encoder of this kind needs a model, named as {form}")


def torch_device(torch: Any, device: str) -> Any:
    """``"cpu"``, ``"cuda"``, ``"cuda:1"`` -> a torch device that is there."""
    try:
        found = torch.device(device)
    except RuntimeError:
        raise OptionError(
            "no-such-device", f"device must be 'cpu' or 'cuda[:N]', got '{device}'"
        ) from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise OptionError(
            "no-such-device",
            f"device '{device}' is not there: torch sees {torch.cuda.device_count()} CUDA devices",
        )
    return found


def scalar(parameter: Any) -> float | None:
    """The one number of a model's parameter, or None where the model has none."""
    return None if parameter is None else float(parameter.detach())


def exponential(parameter: Any) -> float | None:
    """The same for a parameter that is kept as a logarithm, as logit scales are."""
    return None if parameter is None else math.exp(float(parameter.detach()))


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else "no message"
