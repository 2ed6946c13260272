"""Write trained models as ONNX with 8-bit weights, and measure them again through ONNX Runtime.

    python training/export.py contrastive sigmoid gap --default gap

Batch norms are folded into the convolutions, then every matrix, filter and table is stored as
int8 with one float scale per output channel (per row for the table) and multiplied out when the
model is loaded; activations stay float32. Input of the image net: (b, 3, 32, 32) uint8; of the
text net: (b, L) int64. Output: (b, 128) float32, not normalised. The figures in
``figures.json`` are those of the exported files.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from measure import measured
from model import DIM, TwoTowers
from onnx import TensorProto, helper, numpy_helper
from recipes import RECIPES
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from isthmus.encoders.emoji import _manifest
from isthmus.encoders.emoji_text import TABLE
from isthmus.encoders.emoji_world import DATA

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "emoji"
OPSET = 18


def fuse_bn_linear(norm: nn.BatchNorm1d, layer: nn.Linear) -> nn.Linear:
    """linear(norm(x)) in evaluation mode as one linear layer."""
    gain = (norm.running_var + norm.eps).rsqrt()
    fused = nn.Linear(layer.in_features, layer.out_features)
    with torch.no_grad():
        fused.weight.copy_(layer.weight * gain)
        shift = fused.weight @ norm.running_mean
        fused.bias.copy_((0 if layer.bias is None else layer.bias) - shift)
    return fused


class Graph:
    """A list of nodes and initialisers that grows line by line."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        name = out or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def const(self, value: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def int8(self, weight: torch.Tensor, axis: int = 0) -> str:
        """A float weight as int8 with one scale per index of ``axis``; returns the float value.

        Cast and Mul rather than DequantizeLinear: ONNX Runtime folds these into one float weight
        when it loads the model, and does not round activations to 8 bits for single rows.
        """
        w = weight.detach().numpy().astype(np.float32)
        other = tuple(i for i in range(w.ndim) if i != axis)
        scale = np.maximum(np.abs(w).max(axis=other, keepdims=True), 1e-12) / np.float32(127)
        q = np.clip(np.rint(w / scale), -127, 127).astype(np.int8)
        rows = self.op("Cast", self.const(q), to=TensorProto.FLOAT)
        return self.op("Mul", rows, self.const(scale.astype(np.float32)))

    def conv(self, x: str, pair: nn.Sequential | nn.Conv2d, stride: int, pad: int) -> str:
        fused = pair if isinstance(pair, nn.Conv2d) else fuse_conv_bn_eval(pair[0], pair[1])
        inputs = [x, self.int8(fused.weight)]
        if fused.bias is not None:
            inputs.append(self.const(fused.bias.detach().numpy()))
        return self.op("Conv", *inputs, strides=[stride] * 2, pads=[pad] * 4)

    def linear(self, x: str, layer: nn.Linear, out: str | None = None) -> str:
        w = self.op("Transpose", self.int8(layer.weight), perm=[1, 0])
        if layer.bias is None:
            return self.op("MatMul", x, w, out=out)
        y = self.op("MatMul", x, w)
        return self.op("Add", y, self.const(layer.bias.detach().numpy()), out=out)

    def last(self, x: str, centre: nn.Module, layer: nn.Linear) -> None:
        """The last layer, with the standardisation of its input folded into it."""
        if isinstance(centre, nn.BatchNorm1d):
            layer = fuse_bn_linear(centre, layer)
        self.linear(x, layer, "rows")

    def save(self, path: Path, given: onnx.ValueInfoProto, doc: str) -> None:
        result = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["b", DIM])
        graph = helper.make_graph(self.nodes, path.stem, [given], [result], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version, model.doc_string = 9, doc
        onnx.checker.check_model(model)
        onnx.save(model, path)


def image_net(model: TwoTowers, path: Path) -> None:
    net, g = model.image, Graph()
    x = g.op("Cast", "pixels", to=TensorProto.FLOAT)
    x = g.op("Sub", g.const(np.float32(127.5)), x)
    x = g.op("Div", x, g.const(np.float32(64)))
    x = g.op("Relu", g.conv(x, net.stem, 2, 2))
    for block in net.blocks:
        main = g.op("Relu", g.conv(x, block.first, 2, 1))
        main = g.conv(main, block.second, 1, 1)
        short = g.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
        x = g.op("Relu", g.op("Add", main, g.conv(short, block.short[1], 1, 0)))
    mean = g.op("GlobalAveragePool", x)
    peak = g.op("Mul", g.op("GlobalMaxPool", x), g.const(np.float32(0.5)))
    x = g.op("Flatten", g.op("Add", mean, peak))
    g.last(x, net.centre, net.proj)
    shape = ["b", 3, 32, 32]
    given = helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)
    g.save(path, given, "RGB pixels to image rows, not normalised")


def text_net(model: TwoTowers, path: Path) -> None:
    net, g = model.text, Graph()
    axis = g.const(np.array([1], np.int64))
    real = g.op("Greater", "grams", g.const(np.int64(0)))
    count = g.op("ReduceSum", g.op("Cast", real, to=TensorProto.FLOAT), axis, keepdims=1)
    count = g.op("Sqrt", g.op("Max", count, g.const(np.float32(1))))
    weight = net.table.weight.detach().numpy().astype(np.float32)
    scale = np.maximum(np.abs(weight).max(1, keepdims=True), 1e-12) / 127
    rows = g.op("Gather", g.const(np.rint(weight / scale).astype(np.int8)), "grams")
    rows = g.op("Cast", rows, to=TensorProto.FLOAT)
    rows = g.op("Mul", rows, g.op("Gather", g.const(scale.astype(np.float32)), "grams"))
    x = g.op("Div", g.op("ReduceSum", rows, axis, keepdims=0), count)
    gain, shift = (g.const(p.detach().numpy()) for p in (net.norm.weight, net.norm.bias))
    x = g.op("LayerNormalization", x, gain, shift, axis=-1, epsilon=net.norm.eps)
    hidden = g.op("Relu", g.linear(x, net.up))
    x = g.op("Add", x, g.linear(hidden, net.down))
    g.last(x, net.centre, net.proj)
    given = helper.make_tensor_value_info("grams", TensorProto.INT64, ["b", "length"])
    g.save(path, given, "hashed n-grams (0 is padding) to text rows, not normalised")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="RECIPE", choices=sorted(RECIPES))
    parser.add_argument("--default", required=True)
    given = parser.parse_args()
    record: dict[str, Any] = {"default": given.default, "models": {}}
    for name in given.models:
        recipe = RECIPES[name]
        model = TwoTowers(
            TABLE, recipe.scale, recipe.logit_bias, recipe.offset, recipe.centre, recipe.dropout
        )
        model.load_state_dict(torch.load(CACHE / f"{name}.pt", weights_only=True))
        model.eval()
        image_net(model, DATA / f"{name}-image.onnx")
        text_net(model, DATA / f"{name}-text.onnx")
        sigmoid = recipe.loss == "sigmoid"
        record["models"][name] = {
            "dim": DIM,
            "logit_scale": round(float(model.log_scale.detach().exp()), 4),
            "bias": round(float(model.logit_bias.detach()), 4) if sigmoid else None,
            "normalised": False,
            "recipe": asdict(recipe),
            "figures": {},
        }
    path = DATA / "figures.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for name in given.models:
        record["models"][name]["figures"] = measured(name)
    _manifest.cache_clear()
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for name in given.models:
        print(name, json.dumps(record["models"][name]["figures"], indent=1))


if __name__ == "__main__":
    main()
