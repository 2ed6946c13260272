"""``python -m bench``: every benchmark in a process of its own, one JSON document at the end."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from bench.machine import load, machine
from bench.timing import result, say

MODULES = {
    "startup": ("import_seconds", "help_seconds"),
    "moments_product": ("moments_vs_gemm", "moments_vs_syrk"),
    "moments_file": ("moments_file_float32", "moments_file_float16"),
    "moments_sklearn": ("moments_vs_sklearn",),
    "gallery": ("gallery_vs_gemm", "gallery_mb"),
    "apply_copy": ("apply_vs_copy",),
    "closers_fit": ("closers_fit_seconds",),
    "peak_memory": ("peak_rss_mb",),
    "sweep": ("sweep_vs_naive", "sweep_vs_naive_euclidean"),
    "topk": ("topk_vs_faiss",),
    "embedding": ("embed_vs_session",),
    "opening": ("open_workers",),
    "audit_time": ("audit_seconds",),
    "page_weight": ("page_kb", "page_kb_5000", "page_first_paint_ms"),
    "audit_cpu": ("audit_vs_sgemm", "recommend_vs_sgemm", "audit_cpu_seconds", "audit_two_threads"),
}


def main() -> int:
    """Run what was asked for; exit code 1 where a benchmark could not run at all."""
    names = [name for of in MODULES.values() for name in of]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=str(names))
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer repeats")
    parser.add_argument("--module", choices=MODULES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.module:
        print(json.dumps(import_module(f"bench.{given.module}").measure(given.quick)))
        return 0
    wanted = set(given.only or names)
    before = load()
    results: dict[str, Any] = {}
    for module, of in MODULES.items():
        if wanted.intersection(of):
            say(f"{module} ({', '.join(of)})")
            results |= _in_own_process(module, of, given.quick)
    results = {name: entry for name, entry in results.items() if name in wanted}
    document = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": given.quick,
        "machine": machine(),
        "load_before": before,
        "load_after": load(),
        "results": results,
        "skipped": [name for name, entry in results.items() if "skipped" in entry],
        "holds_all": all(entry["holds"] is not False for entry in results.values()),
    }
    print(json.dumps(_rounded(document), indent=2, ensure_ascii=False))
    return int(any("failed" in entry for entry in results.values()))


def _in_own_process(module: str, names: tuple[str, ...], quick: bool) -> dict[str, Any]:
    """A fresh process each, so that no benchmark inherits another's memory or threads."""
    command = [sys.executable, "-m", "bench", "--module", module] + ["--quick"] * quick
    load_before = load()
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if child.returncode:
        reason = f"the benchmark ended with exit code {child.returncode}"
        return {name: {**result(None, ""), "failed": reason, "holds": False} for name in names}
    found: dict[str, Any] = json.loads(child.stdout)
    return {name: {**entry, "load_before": load_before} for name, entry in found.items()}


def _rounded(value: Any) -> Any:
    """Four digits of every float: more would be noise."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    raise SystemExit(main())
