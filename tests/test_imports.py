"""Which room may know which: read from the source, so that nobody has to remember it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import isthmus

PACKAGE = Path(isthmus.__file__).parent

LAYERS: list[set[str]] = [
    {"errors", "_version"},
    {"_arrays", "_pool"},
    {"embeddings"},
    {"stats", "io"},
    {"engines"},
    {"moments"},
    {"scores", "maps", "gap"},
    {"closers", "tasks", "cautions", "picture", "correctors"},
    {"perturb", "aokvqa"},
    {"predict", "summarise", "verify", "mixed", "ann"},
    {"sweep"},
    {"stress", "compare", "calibrate"},
    {"recommend", "inputs"},
    {"audit"},
    {"report", "encoders", "stores", "lab", "estimators"},
    {"demo", "export"},
    {"cli", "__main__"},
]
"""A room may import rooms of the layers above it in this list, and its own."""

CORE = {
    "errors", "_version", "_arrays", "_pool", "embeddings", "stats", "moments", "scores", "maps",
    "gap", "closers", "tasks", "cautions", "mixed", "picture", "perturb", "predict", "summarise",
    "verify", "sweep", "stress", "recommend", "audit", "engines", "inputs", "aokvqa", "compare",
    "calibrate", "ann", "correctors",
}  # fmt: skip
"""Rooms that may name NumPy alone, of third parties, at module level."""

OUTER = {"report", "encoders", "stores", "lab", "export", "estimators", "cli"}
HEAVY = ("torch", "faiss", "pandas", "matplotlib", "plotly", "scipy", "pyarrow", "sklearn",
         "onnxruntime", "transformers", "jinja2", "PIL", "typer", "rich")  # fmt: skip
MODEL_PARTS = {"perturb/images.py", "perturb/_recode.py", "perturb/_corruptions.py"}


def room_of(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").parts[0]


def imports_of(path: Path, root: Path, package: str) -> list[tuple[str, bool]]:
    """(dotted name, at module level) of everything a file imports, type checking aside."""
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import):
                found.extend((alias.name, top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    parts = (package, *path.relative_to(root).with_suffix("").parts)
                    base = ".".join([*parts[: -child.level], *([base] if base else [])])
                if base == package:
                    found.extend((f"{package}.{alias.name}", top) for alias in child.names)
                else:
                    found.append((base, top))
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            visit(child, top and not inside)

    visit(ast.parse(path.read_text(encoding="utf-8")), True)
    return found


def violations(root: Path, package: str = "isthmus") -> list[str]:
    """Every import that points the wrong way, as 'file: why'."""
    layer = {room: i for i, rooms in enumerate(LAYERS) for room in rooms}
    out = []
    for path in sorted(root.rglob("*.py")):
        room = room_of(path, root)
        where = str(path.relative_to(root))
        if room == "__init__":  # the public names: they may name any room, lazily
            continue
        if room not in layer:
            out.append(f"{where}: room '{room}' has no place in the order")
            continue
        for name, top in imports_of(path, root, package):
            first, *rest = name.split(".")
            if first == package and rest:
                other = rest[0]
                if other == room:
                    continue
                if other not in layer:
                    out.append(f"{where}: imports unknown room '{other}'")
                elif layer[other] > layer[room] or (layer[other] == layer[room]):
                    out.append(f"{where}: imports {other}, which stands beside or after {room}")
                elif room in CORE and other in OUTER:
                    out.append(f"{where}: core imports {other}")
            elif (
                top and room in CORE and where not in MODEL_PARTS
                and first not in sys.stdlib_module_names and first not in ("numpy", package)
            ):  # fmt: skip
                out.append(f"{where}: imports {first} at module level")
    return out


def test_imports_point_one_way() -> None:
    assert violations(PACKAGE) == []


BROKEN: list[tuple[dict[str, str], str]] = [
    ({"moments.py": "from isthmus.closers import fit"},
     "moments.py: imports closers, which stands beside or after moments"),
    ({"moments.py": "def f():\n    import isthmus.gap"}, "moments.py: imports gap"),
    ({"maps.py": "from . import scores"}, "maps.py: imports scores"),
    ({"stress.py": "from isthmus import encoders"}, "stress.py: imports encoders"),
    ({"audit.py": "from .report.render import page"}, "audit.py: imports report"),
    ({"perturb/noise.py": "from ..stress import grid"}, "perturb/noise.py: imports stress"),
    ({"gap.py": "import scipy.special"}, "gap.py: imports scipy at module level"),
    ({"gap.py": "try:\n    import torch\nexcept ImportError:\n    pass"},
     "gap.py: imports torch at module level"),
    ({"embeddings.py": "from pyarrow import parquet"}, "imports pyarrow at module level"),
    ({"kitchen.py": "import numpy"}, "kitchen.py: room 'kitchen' has no place in the order"),
    ({"audit.py": "from isthmus.kitchen import stove"}, "audit.py: imports unknown room"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "complaint"), BROKEN)
def test_the_check_can_fail(files: dict[str, str], complaint: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = violations(tmp_path)
    assert len(found) == 1
    assert complaint in found[0]


def test_the_check_lets_good_imports_pass(tmp_path: Path) -> None:
    (tmp_path / "closers.py").write_text(
        "import numpy as np\nfrom isthmus.maps import Closer\nfrom .moments import Moments\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
        "def f():\n    from scipy.special import ndtr\n    return ndtr\n"
    )
    assert violations(tmp_path) == []


def loaded_after(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys\nprint(' '.join({{m.split('.')[0] for m in sys.modules}}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(out.stdout.split())


def test_importing_isthmus_loads_nothing_heavy() -> None:
    assert loaded_after("import isthmus").isdisjoint(HEAVY)


def test_importing_the_core_loads_nothing_heavy() -> None:
    rooms = "moments, maps, closers, gap, scores, tasks, predict, stress, recommend"
    names = ", ".join(f"isthmus.{room.strip()}" for room in rooms.split(","))
    assert loaded_after(f"import {names}").isdisjoint(HEAVY)


def test_the_check_of_loaded_modules_can_fail() -> None:
    assert "scipy" in loaded_after("import isthmus, scipy")
