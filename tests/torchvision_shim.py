"""Test only: let torchvision's wheel import beside a torch that it was not built for.

Its compiled operators then do not load, and its Python part stops at the first one it wants to
describe. Declaring their names is enough: nothing that the adapters use calls them.
"""

from __future__ import annotations

import sys
from typing import Any

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    *(
        f"{name}(Tensor a) -> Tensor"
        for base in ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")
        for name in (base, f"_{base}_backward")
    ),
)


_kept: list[Any] = []  # a library's operators live as long as the library


def install() -> None:
    """Declare the operators, unless torchvision imports without."""
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _kept.append(torch.library.Library("torchvision", "DEF"))
        for operator in OPERATORS:
            _kept[0].define(operator)
