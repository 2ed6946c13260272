"""The layout of the package, read from its imports: ``python tests/test_house.py`` prints it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

import isthmus

PACKAGE = Path(isthmus.__file__).parent

ORDER = (
    "core",
    "engines",
    "data",
    "search",
    "metrics",
    "perturb",
    "closers",
    "theory",
    "robustness",
    "encoders",
    "lab",
    "deploy",
    "workflows",
    "cli",
)
"""A folder imports only folders that stand before it. ``report`` stands apart: it imports
``REPORT_SEES`` and may be imported by any folder."""
REPORT_SEES = {"core", "data"}
ANYWHERE = {"errors", "_version"}
MOST_ARROWS = 50
MOST_FILES = 15
"""Between ``isthmus audit`` and a row's flips in ``report.json``, as ``walk.py`` finds them."""

CORE = {
    "core",
    "engines",
    "data",
    "search",
    "metrics",
    "closers",
    "theory",
    "perturb",
    "robustness",
    "workflows",
}
"""Folders that may name NumPy alone, of third parties, at module level."""
HEAVY = (
    "torch",
    "faiss",
    "pandas",
    "matplotlib",
    "plotly",
    "scipy",
    "pyarrow",
    "sklearn",
    "onnxruntime",
    "transformers",
    "jinja2",
    "PIL",
    "typer",
    "rich",
)
MAY_NAME = {
    "perturb/images.py": {"PIL"},
    "perturb/_recode.py": {"PIL"},
    "perturb/_corruptions.py": {"PIL"},
    "closers/estimators": {"sklearn"},
}
"""Files or folders that are the home of one library and are imported only where it is needed."""


@dataclass
class House:
    """What imports say: arrows between folders, arrows between files, and what is wrong."""

    arrows: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    files: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    wrong: list[str] = field(default_factory=list)


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
                named = [f"{base}.{alias.name}" for alias in child.names]
                mine = base == package or base.startswith(package + ".")
                found.extend((name, top) for name in (named if mine else [base]))
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            visit(child, top and not inside)

    visit(ast.parse(path.read_text(encoding="utf-8")), True)
    return found


def file_of(name: str, root: Path, package: str) -> str | None:
    """The file that a dotted name of ours leads to: a module, or the package that holds it."""
    parts = name.split(".")[1:] if name.split(".")[0] == package else None
    while parts:
        for path in (
            root.joinpath(*parts).with_suffix(".py"),
            root.joinpath(*parts, "__init__.py"),
        ):
            if path.is_file():
                return path.relative_to(root).as_posix()
        parts = parts[:-1]
    return None


def measure(root: Path, package: str = "isthmus") -> House:
    """Read every import of a package."""
    house = House()
    place = {folder: i for i, folder in enumerate(ORDER)}
    for path in sorted(root.rglob("*.py")):
        where = path.relative_to(root).as_posix()
        folder = where.split("/")[0].removesuffix(".py")
        if folder in ("__init__", "__main__"):  # the facade loads a folder when it is used
            continue
        if folder not in place and folder not in ANYWHERE and folder != "report":
            house.wrong.append(f"{where}: folder '{folder}' has no place in the order")
            continue
        for name, top in imports_of(path, root, package):
            first, *rest = name.split(".")
            if first == package and rest:
                other = rest[0]
                target = file_of(name, root, package)
                if target is not None and target != where:
                    house.files[where].add(target)
                if other == folder or other in ANYWHERE:
                    continue
                house.arrows[folder, other].append(where)
                if other not in place and other != "report":
                    house.wrong.append(f"{where}: imports unknown folder '{other}'")
                elif folder == "report":
                    if other not in REPORT_SEES:
                        house.wrong.append(f"{where}: report imports {other}")
                elif folder in ANYWHERE or (other != "report" and place[other] > place[folder]):
                    house.wrong.append(f"{where}: imports {other}, which stands after {folder}")
            elif top and folder in CORE and first not in sys.stdlib_module_names:
                home = next((MAY_NAME[p] for p in MAY_NAME if where.startswith(p)), set())
                if first not in ("numpy", package, *home):
                    house.wrong.append(f"{where}: imports {first} at module level")
    return house


def circles(files: dict[str, set[str]]) -> list[set[str]]:
    """Sets of files that import each other in a loop (Tarjan's components of two and more)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in sorted(files.get(node, ())):
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            part: set[str] = set()
            while node not in part:
                part.add(stack.pop())
            if len(part) > 1:
                found.append(part)

    for node in sorted(files):
        if node not in number:
            visit(node)
    return found


@cache
def measured() -> House:
    return measure(PACKAGE)


def test_imports_go_down_the_list() -> None:
    assert measured().wrong == []


def test_arrows_between_folders_stay_few() -> None:
    assert len(measured().arrows) <= MOST_ARROWS


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(measured().files) == []


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"data/moments.py": "from isthmus.closers import fit"}, "imports closers, which stands"),
        ({"data/moments.py": "def f():\n    import isthmus.metrics.gap"}, "imports metrics"),
        ({"search/scores.py": "from .. import closers"}, "imports closers"),
        ({"robustness/grid.py": "from isthmus import encoders"}, "imports encoders"),
        ({"report/table.py": "from isthmus.search import scores"}, "report imports search"),
        ({"errors.py": "from isthmus.core import arrays"}, "imports core"),
        ({"metrics/gap.py": "import scipy.special"}, "imports scipy at module level"),
        (
            {"metrics/gap.py": "try:\n    import torch\nexcept ImportError:\n    pass"},
            "imports torch at module level",
        ),
        ({"kitchen/stove.py": "import numpy"}, "folder 'kitchen' has no place in the order"),
        ({"cli/app.py": "from isthmus.kitchen import stove"}, "imports unknown folder"),
    ],
)
def test_the_check_can_fail(files: dict[str, str], complaint: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = measure(tmp_path).wrong
    assert len(found) == 1
    assert complaint in found[0]


def test_a_circle_is_found(tmp_path: Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "a.py").write_text("from isthmus.core.b import x")
    (tmp_path / "core" / "b.py").write_text("def f():\n    from isthmus.core import a")
    assert circles(measure(tmp_path).files) == [{"core/a.py", "core/b.py"}]


@pytest.mark.slow
def test_a_row_goes_through_few_files_to_its_flips() -> None:
    script = Path(__file__).with_name("walk.py")
    out = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    *files, count = out.stdout.splitlines()
    assert {"cli/audit.py", "robustness/table.py"} <= {line.split()[0] for line in files}
    assert count == f"{len(files)} files"
    assert len(files) <= MOST_FILES, out.stdout


def loaded_after(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys\nprint(' '.join({{m.split('.')[0] for m in sys.modules}}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(out.stdout.split())


def test_importing_isthmus_loads_nothing_heavy() -> None:
    assert loaded_after("import isthmus").isdisjoint(HEAVY)


def test_importing_the_core_loads_nothing_heavy() -> None:
    names = ", ".join(f"isthmus.{folder}" for folder in sorted(CORE))
    assert loaded_after(f"import {names}").isdisjoint(HEAVY)


def test_the_check_of_loaded_modules_can_fail() -> None:
    assert "scipy" in loaded_after("import isthmus, scipy")


def table(house: House) -> str:
    """The arrows as a table: a row per folder, a mark where it imports a folder above it."""
    folders = [*ORDER, "report"]
    used = [f for f in folders if any(f in pair for pair in house.arrows)]
    lines = [" " * 12 + " ".join(f[:5].ljust(5) for f in used)]
    for row in used:
        marks = (
            str(len(house.arrows.get((row, col), []))) if (row, col) in house.arrows else "."
            for col in used
        )
        lines.append(row.ljust(12) + " ".join(m.center(5) for m in marks))
    up = sum("stands after" in w for w in house.wrong)
    lines.append(
        f"{len(house.arrows)} arrows between folders (at most {MOST_ARROWS}), {up} upward, "
        f"{len(circles(house.files))} circles of files"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(measure(PACKAGE)))
