"""The commands, collected. A command's file imports only its options until it is run."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Annotated, Any

import typer

from isthmus._version import __version__

COMMANDS = (
    "audit",
    "close",
    "stress",
    "apply",
    "compare",
    "calibrate",
    "decide",
    "canary",
    "export",
    "deploy",
    "recommend",
    "search",
    "mixed",
    "plan",
    "embed",
    "lab",
    "demo",
)
"""``isthmus NAME`` is the function ``command`` of ``isthmus.cli.NAME``, or its ``group``."""

app = typer.Typer(
    name="isthmus",
    help="Measure, explain, close and stress-test the modality gap of embeddings.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
)


def _version(shown: bool) -> None:
    if shown:
        print(f"isthmus {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Nothing happens before a command is named."""


OUTPUTS = ("out", "bias_out", "page")
"""Options that name what a command writes; whatever else names a file is an input."""


def _kept(command: Callable[..., None]) -> Callable[..., None]:
    """The command, refused before it reads anything where an output would destroy an input."""

    @wraps(command)
    def run(**given: Any) -> None:
        from isthmus.data.overwriting import refuse_overwriting

        refuse_overwriting(
            {name: given[name] for name in OUTPUTS if name in given},
            {name: value for name, value in given.items() if name not in OUTPUTS},
        )
        command(**given)

    return run


for _name in COMMANDS:
    _module = import_module(f"isthmus.cli.{_name}")
    if hasattr(_module, "group"):
        for _info in _module.group.registered_commands:
            _info.callback = _kept(_info.callback)
        app.add_typer(_module.group, name=_name)
    else:
        app.command(_name)(_kept(_module.command))
