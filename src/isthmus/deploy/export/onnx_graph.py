"""Behind an encoder's ONNX graph: a few standard nodes, any runtime, no code of ours."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from isthmus.closers.closer import Closer, Role
from isthmus.core.libraries import library
from isthmus.data import atomic_path
from isthmus.data.atomic import together
from isthmus.deploy.export.stores import Evened
from isthmus.encoders.libraries import loading
from isthmus.errors import CorruptFile, OptionError, ShapeError

WHAT = "Export to ONNX"
BIAS_OUTPUT = "stored_number"
MARK = "isthmus_closer"
PREFIX = "isthmus/"


def append_to_onnx(
    encoder: str | PathLike[str],
    closer: Closer | Evened,
    role: Role,
    out: str | PathLike[str],
    *,
    output: str | None = None,
) -> list[str]:
    """Write an encoder's ONNX file with one role of a closer behind it.

    The output that held the rows keeps its name and now gives closed rows, in float32; candidates
    of a closer with candidate bias get a second output ``stored_number`` (batch,). Nodes are
    LpNormalization, MatMul and Add (and for :class:`~isthmus.deploy.export.Evened` Mul, Sub, Max,
    Sqrt and
    Concat). The closer's name, role, score and guarantee go into the metadata ``isthmus_closer``.

    Args:
        encoder: the file; it is not changed.
        out: where to write; a file with its weights in a second file is written as one again.
        output: which output holds the rows (batch, d), where there are several.

    Returns:
        Names of the outputs of the new graph.

    Precision: what ONNX Runtime gives is the NumPy path's within 1e-5 of the row's length.

    Raises:
        MissingExtra: the package ``onnx`` is not installed. FileError: no readable graph.
        CorruptFile: the file is closed already. OptionError: unknown or unnamed output.
        ShapeError: rows of another length. CloserError: an unknown role.
    """
    onnx = library("onnx", WHAT, "onnx", "onnx")
    source, target = Path(encoder), Path(out)
    inner = closer.closer if isinstance(closer, Evened) else closer
    side = inner.map_of(role)
    model, apart = _read(onnx, source, target)
    graph = model.graph
    rows = _chosen(graph, output, source)
    _check_rows(onnx, rows, side.dim, source)
    build = _Builder(onnx, graph)
    current = build.renamed(rows)
    kinds = onnx.TensorProto
    if rows.type.tensor_type.elem_type != kinds.FLOAT:
        current = build.node("Cast", current, to=kinds.FLOAT)
    entering = build.node("LpNormalization", current, axis=-1, p=2) if side.normalised else current
    current = _steps(build, side.steps, entering)
    bias = None
    if role == "candidate" and inner.bias_weights is not None:
        bias = build.node("MatMul", entering, build.constant("bias", inner.bias_weights[:, None]))
    width = side.dim_out
    if isinstance(closer, Evened):
        current, bias, width = _even(build, closer, role, current, bias), None, width + 1
    build.named(current, rows.name)
    batch = _batch(rows)
    rows.CopyFrom(onnx.helper.make_tensor_value_info(rows.name, kinds.FLOAT, [batch, width]))
    if bias is not None:
        _add_bias(build, bias, batch, source)
    about = {
        "name": closer.name,
        "role": role,
        "score": closer.score,
        "guarantee": inner.guarantee.to_dict(),
        "memo": inner.memo,
    }
    model.metadata_props.add(key=MARK, value=json.dumps(about, sort_keys=True))
    if not apart:  # the checker takes no more than 2 GB in one piece
        onnx.checker.check_model(model)
    _write(onnx, model, target, apart)
    return [entry.name for entry in graph.output]


def _read(onnx: Any, source: Path, target: Path) -> tuple[Any, bool]:
    """The encoder's model, and whether its weights are in a file of their own."""
    if target.exists() and source.exists() and target.samefile(source):
        raise OptionError(
            "same-file", f"'{target}' is the encoder itself; name another file to write to"
        )
    with loading(WHAT, str(source)):
        apart = _weights_apart(onnx, onnx.load(str(source), load_external_data=False).graph)
        model = onnx.load(str(source))
    if any(entry.key == MARK for entry in model.metadata_props):
        raise CorruptFile(
            "closer-twice",
            f"'{source}' has a closer behind it already; join closers with Closer.then",
        )
    return model, apart


def _add_bias(build: _Builder, bias: str, batch: int | str, source: Path) -> None:
    """A second output for the candidate bias."""
    onnx, outputs = build.onnx, build.graph.output
    if BIAS_OUTPUT in {o.name for o in outputs}:
        raise OptionError(
            "name-taken", f"'{source}' has an output '{BIAS_OUTPUT}' already; rename it first"
        )
    build.named(build.node("Reshape", bias, build.shape("flat", [-1])), BIAS_OUTPUT)
    kind = onnx.TensorProto.FLOAT
    outputs.append(onnx.helper.make_tensor_value_info(BIAS_OUTPUT, kind, [batch]))


class _Builder:
    """Nodes and constants with names that nothing else in the graph has."""

    def __init__(self, onnx: Any, graph: Any) -> None:
        self.onnx, self.graph, self.count = onnx, graph, 0

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        self.count += 1
        name = f"{PREFIX}{kind}_{self.count}"
        self.graph.node.append(
            self.onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes)
        )
        return name

    def constant(self, name: str, values: Any) -> str:
        return self._initialiser(name, np.asarray(values, np.float32))

    def shape(self, name: str, values: list[int]) -> str:
        return self._initialiser(name, np.asarray(values, np.int64))

    def _initialiser(self, name: str, values: np.ndarray) -> str:
        self.count += 1
        full = f"{PREFIX}{name}_{self.count}"
        self.graph.initializer.append(self.onnx.numpy_helper.from_array(values, full))
        return full

    def renamed(self, rows: Any) -> str:
        """Free the output's name for the closed rows; what had it goes by another from now on."""
        old, new = rows.name, f"{PREFIX}rows"
        for node in self.graph.node:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    if name == old:
                        names[place] = new
        for info in self.graph.value_info:
            if info.name == old:
                info.name = new
        return new

    def named(self, current: str, name: str) -> None:
        """Give a tensor the name of an output."""
        self.graph.node.append(
            self.onnx.helper.make_node("Identity", [current], [name], name=f"{PREFIX}{name}")
        )


def _steps(build: _Builder, steps: tuple[Any, ...], current: str) -> str:
    for place, step in enumerate(steps):
        if step.normalised and place:  # the first one is done before, for the bias as well
            current = build.node("LpNormalization", current, axis=-1, p=2)
        if step.matrix is not None:
            current = build.node("MatMul", current, build.constant("matrix", step.matrix.T))
        if step.offset is not None:
            current = build.node("Add", current, build.constant("offset", step.offset))
        if step.renormalised:
            current = build.node("LpNormalization", current, axis=-1, p=2)
    return current


def _even(build: _Builder, closer: Evened, role: Role, current: str, bias: str | None) -> str:
    """Append √(limit - s‖z‖² - 2n) to candidates, 0 to queries."""
    wide = closer.closer.map_of(role).dim_out
    if role == "query":
        last = build.node("MatMul", current, build.constant("nothing", np.zeros((wide, 1))))
        return build.node("Concat", current, last, axis=1)
    rest = build.constant("limit", [[closer.limit]])
    if closer.squares:
        square = build.node("Mul", current, current)
        total = build.node("MatMul", square, build.constant("ones", np.ones((wide, 1))))
        rest = build.node("Sub", rest, total)
    if bias is not None:
        twice = build.node("Mul", bias, build.constant("two", [[2.0]]))
        rest = build.node("Sub", rest, twice)
    rest = build.node("Max", rest, build.constant("zero", [[0.0]]))
    return build.node("Concat", current, build.node("Sqrt", rest), axis=1)


def _chosen(graph: Any, output: str | None, source: Path) -> Any:
    names = [entry.name for entry in graph.output]
    wanted = output or (names[0] if len(names) == 1 else "")
    for entry in graph.output:
        if entry.name == wanted:
            return entry
    raise OptionError(
        "ambiguous-output",
        f"'{source}' has the outputs {', '.join(names)}; say output= which of them holds the rows",
    )


def _check_rows(onnx: Any, rows: Any, dim: int, source: Path) -> None:
    kind = rows.type.tensor_type
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    shape = [axis.dim_value or axis.dim_param or "?" for axis in kind.shape.dim]
    if kind.elem_type not in floats or (shape and len(shape) != 2):
        raise ShapeError(
            "wrong-axes",
            f"the output '{rows.name}' of '{source}' has shape {tuple(shape)}, not (batch, dim)",
        )
    if shape and isinstance(shape[1], int) and shape[1] != dim:
        raise ShapeError(
            "unequal-dimensions",
            f"'{rows.name}' of '{source}' has {shape[1]} dimensions, the closer {dim}",
        )


def _batch(rows: Any) -> int | str:
    axes = rows.type.tensor_type.shape.dim
    return (axes[0].dim_value or axes[0].dim_param or "batch") if len(axes) else "batch"


def _weights_apart(onnx: Any, graph: Any) -> bool:
    external = onnx.TensorProto.EXTERNAL
    return any(tensor.data_location == external for tensor in graph.initializer)


def _write(onnx: Any, model: Any, target: Path, apart: bool) -> None:
    """The graph, and in a file of its own what is too large to stay in it."""
    weights_file = target.with_name(f"{target.name}.data")
    with together(), atomic_path(target) as temporary:
        if apart:
            with atomic_path(weights_file) as weights, weights.open("wb") as file:
                for tensor in model.graph.initializer:
                    if tensor.HasField("raw_data"):
                        _move_out(onnx, tensor, file, weights_file.name)
        temporary.write_bytes(model.SerializeToString())


def _move_out(onnx: Any, tensor: Any, file: BinaryIO, name: str) -> None:
    """Append a tensor's numbers to a file, on a page of its own, and say in the graph where."""
    file.write(b"\0" * (-file.tell() % 4096))
    at, data = file.tell(), tensor.raw_data
    file.write(data)
    onnx.external_data_helper.set_external_data(tensor, name, offset=at, length=len(data))
    tensor.ClearField("raw_data")
