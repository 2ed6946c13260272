"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("isthmus", "numpy", "scipy", "scikit-learn", "onnxruntime", "pillow")


def machine() -> dict[str, Any]:
    """Processor, cores, memory, BLAS and versions."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gb": _memory_gb(),
        "python": platform.python_version(),
        "blas": _blas(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def load() -> list[float] | None:
    """Load averages over 1, 5 and 15 minutes: other work on the machine adds to the times."""
    return [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _memory_gb() -> float | None:
    try:
        import psutil
    except ImportError:
        return None
    return round(psutil.virtual_memory().total / 1e9, 1)


def _blas() -> list[dict[str, Any]]:
    import numpy as np
    from scipy import linalg  # loads SciPy's own library beside NumPy's
    from threadpoolctl import threadpool_info

    assert np is not None
    assert linalg is not None
    facts = ("internal_api", "version", "num_threads", "architecture")
    found = [
        {key: lib[key] for key in facts} for lib in threadpool_info() if lib["user_api"] == "blas"
    ]
    return [lib for i, lib in enumerate(found) if lib not in found[:i]]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
