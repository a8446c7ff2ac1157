#!/usr/bin/env python3
"""How often a model is called different from itself: `layerprune latency M M` with many seeds, at a stated error rate of 5 %.

    python3 benches/same.py --model R56.onnx --engines rten,onnxruntime --ort-lib LIBRARY --seeds 50
"""
import argparse, json, statistics, subprocess

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True)
parser.add_argument("--engines", default="rten")
parser.add_argument("--ort-lib")
parser.add_argument("--seeds", type=int, default=50)
parser.add_argument("--samples", type=int, default=100)
parser.add_argument("--layerprune", default="target/release/layerprune")
args = parser.parse_args()

for engine in args.engines.split(","):
    different, reductions, halves = 0, [], []
    for seed in range(args.seeds):
        command = [args.layerprune, "latency", args.model, args.model, "--engine", engine, "--samples", args.samples]
        command += ["--warm-up", "0.2", "--seed", seed, "--format", "json", "--quiet"]
        command += ["--ort-lib", args.ort_lib] if args.ort_lib else []
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        against = json.loads(done.stdout)[0]["models"][1]["against_first"]
        low, high = against["latency_reduction_interval"]
        different += against["verdict"] != "not-faster"
        reductions.append(abs(against["latency_reduction_percent"]))
        halves.append((high - low) / 2)
    print(f"{engine}: called different {different} times of {args.seeds}; half width of the interval "
          f"{statistics.median(halves):.2f} points (median), largest difference {max(reductions):.2f}", flush=True)
