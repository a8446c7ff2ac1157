"""Times read + analyse + prune + write of one model against onnxsim's structured pruning, in turns, each in a fresh process.

    cargo run --release -p layerprune-testing --example resnet50 -- resnet50.onnx
    python benches/prune.py LAYERPRUNE resnet50.onnx

Needs the packages onnx and onnxsim; measured with onnx 1.23.2 and onnxsim 0.8.1. The two do not remove the same: onnxsim
prunes chains of one producer and one consumer only, layerprune all channel groups. `prune` also reads back and runs what
it wrote, which is part of its time.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ONNXSIM = """
import sys, onnx, onnxsim
onnx.save(onnxsim.apply_structured_pruning(onnx.load(sys.argv[1]), sparsity=0.3), sys.argv[2])
"""
ROUNDS = 5


def measured(command):
    """Seconds and peak megabytes of one process."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} failed")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def main():
    program, model = sys.argv[1:]
    size = Path(model).stat().st_size / 1e6
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "out.onnx")
        commands = {
            "layerprune": [program, "prune", model, "--filters", "30%", "--criterion", "weight-norm", "-o", out],
            "onnxsim": [sys.executable, "-c", ONNXSIM, model, out],
        }
        rows = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                rows[name].append(measured(command))
    for name, samples in rows.items():
        seconds = statistics.median(sample[0] for sample in samples)
        peak = max(sample[1] for sample in samples)
        print(f"{name}: {seconds:.2f} s, {peak:.0f} MB peak, {peak * 1.048576 / size:.2f} times the file")


if __name__ == "__main__":
    main()
