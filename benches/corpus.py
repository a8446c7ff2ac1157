"""Prunes many models and says of each what can go: a table in Markdown on standard output.

    python benches/corpus.py LAYERPRUNE MODEL[=INPUT_SHAPE]...

For each model: `selfcheck`, `inspect --channels`, `prune --filters 30% --criterion weight-norm`, and a run of what was
written by ONNX Runtime. Needs the packages onnx, onnxruntime and numpy; measured with onnx 1.23.2, onnxruntime 1.32.0.
"""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort


def run(program, *arguments):
    done = subprocess.run([program, *arguments, "--format", "json", "-q"], capture_output=True, text=True)
    said = json.loads(done.stdout) if done.returncode == 0 else None
    return said, " ".join(done.stderr.split())


def onnx_runtime(path, shape):
    onnx.checker.check_model(str(path))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options)
    random = np.random.default_rng(0)
    feeds = {}
    for port in session.get_inputs():
        sizes = [size if isinstance(size, int) and size > 0 else 1 for size in port.shape]
        if shape and port is session.get_inputs()[0]:
            sizes = [int(size) for size in shape.split("=")[-1].split(",")]
        kind = np.float32 if "float" in port.type else np.int64
        feeds[port.name] = random.standard_normal(sizes).astype(kind)
    session.run(None, feeds)


def percent(before, after):
    if not before or after is None:
        return "–"
    return f"−{100 * (before - after) / before:.1f} %"


def row(program, given):
    path, _, shape = given.partition("=")
    shapes = ["--input-shape", shape] if shape else []
    name = Path(path).stem
    channels, why = run(program, "inspect", path, "--channels", *shapes)
    if channels is None:
        return f"| {name} | refused: {why} | | | | |"
    verdict, why = run(program, "selfcheck", path, "--rounds", "3", *shapes)
    passed = f"passed, {verdict['worst']:.0e}" if verdict else f"**{why[:160]}**"
    share = f"{100 * channels['parameters_in_groups']:.1f} %"
    reasons = Counter()
    for layer in channels["layers"]:
        if layer["removable"] < layer["channels"]:
            reasons[layer["reason"].rsplit(": ", 1)[-1]] += layer["channels"] - layer["removable"]
    held = "; ".join(f"{count} channels: {reason}" for reason, count in reasons.most_common(4))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.onnx"
        done, why = run(
            program, "prune", path, "--filters", "30%", "--criterion", "weight-norm", "-o", str(out), *shapes
        )
        if done is None:
            return f"| {name} | {passed} | {share} | {why[:160]} | | {held} |"
        before, after = done["plan"]["before"], done["plan"]["after"]
        counted, _ = run(program, "inspect", str(out), *shapes)
        found = counted["total"] if counted else after
        agrees = "as predicted" if found == after else f"**{found} counted**"
        try:
            onnx_runtime(out, shape)
            runs = "runs"
        except Exception as error:  # what ONNX Runtime raises has no common base
            runs = f"**{str(error)[:120]}**"
    change = f"{percent(before['parameters'], after['parameters'])}, {percent(before['macs'], after['macs'])}"
    return f"| {name} | {passed} | {share} | {change}, {agrees} | {runs} | {held} |"


def main():
    program, *models = sys.argv[1:]
    print("| model | selfcheck, 3 cuts | parameters in groups | parameters, MACs at `--filters 30%` | ONNX Runtime | held |")
    print("|---|---|---|---|---|---|")
    for given in models:
        print(row(program, given), flush=True)


if __name__ == "__main__":
    main()
