"""What encoders ask of their libraries: a model, a device, a scale; or one sentence why not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from isthmus.core.libraries import first_line
from isthmus.errors import FileError, IsthmusError, OptionError


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
