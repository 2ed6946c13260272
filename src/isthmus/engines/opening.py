"""From what a user typed to an engine."""

from __future__ import annotations

from functools import cache

from isthmus.engines.dask import DaskExecutor
from isthmus.engines.local import Executor, ProcessExecutor
from isthmus.engines.ray import RayExecutor
from isthmus.errors import IsthmusError, OptionError

Engine = str | Executor | None
"""What ``engine=`` takes: see :func:`open_engine`."""


def open_engine(engine: Engine) -> Executor | None:
    """The engine of a name, or the object itself; None stays None: whoever maps chooses.

    Args:
        engine: ``processes`` or ``processes:N`` of this machine, ``dask://HOST:PORT``,
            ``ray://HOST:PORT`` (both without a place: workers on this machine), or anything that
            has ``map`` as :class:`Executor` has. One connection to a cluster serves all calls.

    Raises:
        OptionError: another name. MissingExtra: the cluster's library is not installed.
        IsthmusError: nobody answers at that place.
    """
    if engine is None or not isinstance(engine, str):
        return engine
    kind, _, count = engine.partition(":")
    if kind == "processes" and (not count or (count.isdecimal() and int(count))):
        return ProcessExecutor(int(count) if count else None)
    scheme, _, place = engine.partition("://")
    if scheme not in ("dask", "ray") or "://" not in engine:
        raise OptionError(
            "unknown-engine",
            f"engine '{engine}' is unknown; expected processes, processes:N, dask://HOST:PORT or "
            "ray://HOST:PORT",
        )
    return _connected(scheme, place)


@cache
def _connected(scheme: str, place: str) -> Executor:
    try:
        return DaskExecutor.at(place) if scheme == "dask" else RayExecutor.at(place)
    except (OSError, ValueError) as error:
        raise IsthmusError(
            "engine-unreachable",
            f"nobody answers at {scheme}://{place} ({' '.join(str(error).split())[:200]}); is the "
            "cluster running, and of the same version?",
        ) from error
