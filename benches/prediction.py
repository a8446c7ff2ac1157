#!/usr/bin/env python3
"""How far a latency profile predicts whole cuts: random layer-pruned and filter-pruned variants, predicted and measured.

    python3 benches/prediction.py --model resnet56=R56.onnx --model vgg16=VGG16.onnx --engines rten,onnxruntime
        --ort-lib LIBRARY --batches 1,8 --variants 30 --folder FOLDER

Layers: a number of layers drawn evenly, then so many of the removable ones at random. Filters: of each channel group a share
drawn evenly from 0.1 to 1 stays. For each engine and batch the model is profiled once (`layerprune profile --channels`), what
the profile predicts of each variant is asked of `prune --profile --plan`, and the variants are timed against the whole model in
turns, five at once. FOLDER keeps everything; what is there is not done again. Prints a table in Markdown: errors are measured
less predicted latency reduction, in points; the last column is the median error where the profile's cuts of many parts are left
out, so that savings are only added up.
"""
import argparse, json, pathlib, random, statistics, subprocess, sys

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", action="append", required=True, metavar="NAME=FILE")
parser.add_argument("--engines", default="rten")
parser.add_argument("--ort-lib")
parser.add_argument("--batches", default="1,8")
parser.add_argument("--variants", type=int, default=30)
parser.add_argument("--samples", type=int, default=40)
parser.add_argument("--counts", type=int, default=4, help="numbers of channels timed of each group")
parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("prediction"))
parser.add_argument("--layerprune", default="target/release/layerprune")
args = parser.parse_args()
args.folder.mkdir(parents=True, exist_ok=True)


def layerprune(*words, ort=True):
    command = [args.layerprune, *map(str, words), "--format", "json", "--quiet"]
    if args.ort_lib and ort:
        command += ["--ort-lib", args.ort_lib]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def plans(name, model):
    """Plan files of random variants, by kind."""
    draw = random.Random(f"{name} 0")
    whole = layerprune("prune", model, "--layers", 0, "--criterion", "weight-norm", "--shrink-chains", "--dry-run")["plan"]
    units = [row for row in layerprune("inspect", model)["units"] if {"bypass", "shrink-chain"} & set(row["ways"])]
    # A channel's number is not its place where groups share an axis: what random cuts take, all together, is all there is.
    groups = {}
    for seed in range(8):
        cut = layerprune("prune", model, "--filters", "99.9%", "--scope", "uniform", "--floor", "0.1%", "--criterion",
                         "random", "--seed", seed, "--dry-run")
        for group in cut["plan"]["channels"]:
            groups.setdefault(group["group"], set()).update(group["removed"])
    groups = {name: sorted(channels) for name, channels in groups.items()}
    found = []
    while len(found) < 2 * args.variants:
        kind = "layers" if len(found) < args.variants else "filters"
        plan = dict(whole, target=f"random {kind}")
        if kind == "layers":
            chosen = draw.sample(units, draw.randint(1, len(units)))
            way = lambda row: "bypass" if "bypass" in row["ways"] else "shrink-chain"
            plan["removed"] = [{"unit": row["name"], "way": way(row)} for row in chosen]
        else:
            plan["channels"] = []
            for group, channels in groups.items():
                size = len(channels)
                kept = max(1, round(size * draw.uniform(0.1, 1)))
                if kept < size:
                    gone = sorted(draw.sample(channels, size - kept))
                    plan["channels"].append({"group": group, "channels": size, "removed": gone})
        path = args.folder / f"{name}-{kind}-{len(found)}.json"
        path.write_text(json.dumps(plan))
        found.append((kind, path))
    return found


def study(name, model, engine, batch):
    path = args.folder / f"{name}-{engine}-{batch}.result.json"
    if path.exists():
        return json.loads(path.read_text())
    profile = args.folder / f"{name}-{engine}-{batch}.profile.json"
    layerprune("profile", model, "--channels", "--counts", args.counts, "--shrink-chains", "--engine", engine, "--batch", batch, "-o", profile)
    variants = []
    for number, (kind, plan) in enumerate(plans(name, model)):
        cut = args.folder / f"{name}-{number}.onnx"
        command = ["prune", model, "--plan", plan, "--shrink-chains", "--profile", profile, "-o", cut]
        variants.append({"kind": kind, "file": str(cut), "predicted": layerprune(*command)["predicted_percent"]})
    for start in range(0, len(variants), 5):
        some = variants[start : start + 5]
        timed = layerprune("latency", model, *[it["file"] for it in some], "--engine", engine, "--batch", batch,
                           "--samples", args.samples)
        for variant, cell in zip(some, timed[0]["models"][1:]):
            variant["measured"] = cell["against_first"]["latency_reduction_percent"]
    path.write_text(json.dumps(variants, indent=1))
    return variants


def sums(name, model, engine, batch, variants):
    """What is predicted of the variants without the profile's cuts of many parts."""
    profile = json.loads((args.folder / f"{name}-{engine}-{batch}.profile.json").read_text())
    alone = args.folder / f"{name}-{engine}-{batch}.sums.json"
    alone.write_text(json.dumps(dict(profile, joint=[])))
    plan_files = [str(path) for _, path in plans(name, model)]
    for variant, plan in zip(variants, plan_files):
        command = ["prune", model, "--plan", plan, "--shrink-chains", "--profile", alone, "--dry-run"]
        variant["added_up"] = layerprune(*command)["predicted_percent"]


print("| model | engine | batch | kind | variants | measured reduction | median error | 90 % of errors below | bias | added up only |")
print("|---|---|---|---|---|---|---|---|---|---|")
for engine in args.engines.split(","):
    for batch in map(int, args.batches.split(",")):
        for name, model in (pair.split("=", 1) for pair in args.model):
            variants = study(name, model, engine, batch)
            sums(name, model, engine, batch, variants)
            for kind in ("layers", "filters"):
                these = [it for it in variants if it["kind"] == kind]
                errors = [it["measured"] - it["predicted"] for it in these]
                sizes = sorted(map(abs, errors))
                reach = [it["measured"] for it in these]
                print(f"| {name} | {engine} | {batch} | {kind} | {len(these)} | {min(reach):.0f} to {max(reach):.0f} % | "
                      f"{statistics.median(sizes):.1f} | {sizes[int(0.9 * (len(sizes) - 1))]:.1f} | "
                      f"{statistics.median(errors):+.1f} | "
                      f"{statistics.median(abs(it['measured'] - it['added_up']) for it in these):.1f} |", flush=True)
