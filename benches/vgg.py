#!/usr/bin/env python3
# /// script
# requires-python = ">=3.9"
# dependencies = ["numpy", "onnx"]
# ///
"""An untrained VGG-like chain for images of 3x32x32 in 10 classes, batch norms kept: `python3 benches/vgg.py vgg.onnx`;
with `--vgg16` or `--vgg19`, the thirteen or sixteen convolutions of VGG16-BN or VGG19-BN; `--width 0.25` makes these a quarter as wide.

Nine convolutions of 3x3, each with batch norm and ReLU, pools after the 2nd, 4th and 7th; four of them keep their width.
`layerprune train` gives it weights.
"""
import argparse

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("output")
depth = parser.add_mutually_exclusive_group()
depth.add_argument("--vgg16", dest="each", action="store_const", const=3)
depth.add_argument("--vgg19", dest="each", action="store_const", const=4)
parser.add_argument("--width", type=float, default=1.0)
args = parser.parse_args()

WIDTHS = [32, 32, "pool", 64, 64, "pool", 128, 128, 128, "pool", 128, 128]
if args.each:
    stages = [[64] * 2, [128] * 2, [256] * args.each, [512] * args.each, [512] * args.each]
    WIDTHS = [width for stage in stages for width in ["pool", *stage]][1:]
WIDTHS = [width if width == "pool" else round(width * args.width) for width in WIDTHS]
nodes, stored = [], []
random = np.random.default_rng(0)


def keep(name, array):
    stored.append(numpy_helper.from_array(array.astype(np.float32), name))
    return name


value, channels = "image", 3
for number, width in enumerate(WIDTHS):
    module, out = f"features.{number}", f"v{number}"
    if width == "pool":
        nodes.append(
            helper.make_node("MaxPool", [value], [out], f"/{module}/MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        )
        value = out
        continue
    weight = keep(f"{module}.weight", random.normal(size=(width, channels, 3, 3)) * (2 / (9 * channels)) ** 0.5)
    norm = [keep(f"{module}.bn.{part}", fill(width)) for part, fill in
            [("weight", np.ones), ("bias", np.zeros), ("mean", np.zeros), ("var", np.ones)]]
    nodes += [
        helper.make_node("Conv", [value, weight], [f"{out}.c"], f"/{module}/Conv", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("BatchNormalization", [f"{out}.c", *norm], [f"{out}.n"], f"/{module}/bn/BatchNormalization"),
        helper.make_node("Relu", [f"{out}.n"], [out], f"/{module}/Relu"),
    ]
    value, channels = out, width
classifier = [keep("fc.weight", random.normal(size=(10, channels)) * 0.05), keep("fc.bias", np.zeros(10))]
nodes += [
    helper.make_node("GlobalAveragePool", [value], ["pooled"], "/pool/GlobalAveragePool"),
    helper.make_node("Flatten", ["pooled"], ["flat"], "/Flatten"),
    helper.make_node("Gemm", ["flat", *classifier], ["scores"], "/fc/Gemm", transB=1),
]
graph = helper.make_graph(
    nodes,
    "vgg",
    [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 32, 32])],
    [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 10])],
    stored,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="vgg.py")
onnx.checker.check_model(model, full_check=True)
onnx.save(model, args.output)
