#!/usr/bin/env python3
# /// script
# requires-python = ">=3.9"
# dependencies = ["pillow"]
# ///
"""Training on photos from disk beside training on the same photos made small first, in turns: does decoding hold it up?

    python3 benches/feed.py MODEL.onnx PHOTOS [--images 192] [--batch 16] [--threads 2] [--repeats 3] [--least 1900] [--most N]

MODEL.onnx reads 3x224x224 and scores two classes or more. PHOTOS is searched for JPEG files --least to --most pixels wide, which
are taken in turn until there are --images. Both runs cut a random part out of each and resize it to 224x224; the small
ones have a shorter side of 256. Medians of the repeats; `waited` is the share of the epoch in which the step had nothing to do.
"""
import argparse, json, pathlib, statistics, subprocess, tempfile

from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent


def photos(folder, least, most):
    found = []
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg"):
            with Image.open(path) as image:
                if least <= image.width <= most and image.mode == "RGB":
                    found.append((path, image.width * image.height))
    return found


def make(folder, found, count):
    """The same images as they are and small, in two classes."""
    small = folder / "small.jpg"
    for first, (path, _) in enumerate(found):
        with Image.open(path) as image:
            scale = 256 / min(image.size)
            image.resize([round(side * scale) for side in image.size], Image.LANCZOS).save(small, quality=90)
        for number in range(first, count, len(found)):
            for kind, source in (("large", path), ("small", small)):
                place = folder / kind / "train" / f"class{number % 2}" / f"{number}.jpg"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(source.read_bytes())


def train(binary, args, data, folder):
    log = folder / "epochs.jsonl"
    command = [binary, "train", args.model, "--init", "given", "--data", f"imagefolder:{data}", "--normalize", "imagenet",
               "--resize", "224", "--random-resized-crop", "0.08,1", "--flip", "--epochs", "1", "--held-out", "0.05",
               "--batch-size", str(args.batch), "--threads", str(args.threads), "--learning-rate", "0.001", "--keep", "last",
               "--quiet", "--restart", "--log", str(log), "-o", str(folder / "trained.onnx")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    row = json.loads(log.read_text().splitlines()[-1])
    return row["images"] / row["seconds"], row["waited"] / row["seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("photos")
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--least", type=int, default=1900)
    parser.add_argument("--most", type=int, default=1 << 30, help="greatest width of a photo")
    args = parser.parse_args()
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    binary = str(ROOT / "target" / "release" / "layerprune")
    found = photos(args.photos, args.least, args.most)
    if not found:
        parser.error(f"no photo in {args.photos} is {args.least} to {args.most} pixels wide")
    sizes = [pixels / 1e6 for _, pixels in found]
    print(f"{len(found)} photos of {min(sizes):.1f} to {max(sizes):.1f} million pixels, mean {statistics.mean(sizes):.1f}")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        make(folder, found, args.images)
        seen = {"large": [], "small": []}
        for _ in range(args.repeats):
            for kind, runs in seen.items():
                runs.append(train(binary, args, folder / kind, folder))
        rates = {}
        for kind, runs in seen.items():
            rates[kind], waited = (statistics.median(column) for column in zip(*runs))
            print(f"{kind:6} {rates[kind]:7.1f} images/s  waited {100 * waited:5.1f} % of the epoch  ({len(runs)} runs)")
        print(f"large / small: throughput {rates['large'] / rates['small']:.2f}")


if __name__ == "__main__":
    main()
