"""Engines map a function over partitions of rows. The protocol is one method; see ``local``."""

from isthmus.engines.dask import DaskExecutor
from isthmus.engines.local import Executor, ProcessExecutor, SerialExecutor
from isthmus.engines.opening import open_engine
from isthmus.engines.ray import RayExecutor

__all__ = [
    "DaskExecutor",
    "Executor",
    "ProcessExecutor",
    "RayExecutor",
    "SerialExecutor",
    "open_engine",
]
