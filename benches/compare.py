#!/usr/bin/env python3
# /// script
# requires-python = ">=3.9"
# dependencies = ["numpy", "onnx", "onnxruntime", "pillow"]   # and torch, for the training step only
# ///
"""Time and peak memory of layerprune beside a reference, in turns in one run. What cannot be run is left out.

    python3 benches/compare.py --resnet56 R56.onnx --resnet20 R20.onnx --images FOLDER [--torch-python PYTHON]
    python3 benches/compare.py --only step --resnet20 R20.onnx [--vgg16 VGG16.onnx] [--threads 1] --torch-python PYTHON

inspect  ResNet-56: layerprune inspect / onnx.load and onnx.shape_inference
score    imprinting ResNet-56 on 5,000 training images: layerprune score / ONNX Runtime with the same taps, Pillow and
         numpy; FOLDER holds train/<class>/*.jpg
hooks    imprinting ResNet-56 on 10,000 training images, tried on 1,000: layerprune score, by the embedded engine and, with
         --ort-lib, by ONNX Runtime / PyTorch with forward hooks on its blocks and a data loader of one worker; with
         --ort-lib also ONNX Runtime's forward passes of as many images, with the blocks' outputs given back and without,
         that read no images and do nothing with what they get / PyTorch as before: the least that scoring by it can take
step     training ResNet-20 at batch 64, and VGG16-BN at batch 32 (made by vgg.py where --vgg16 names no file):
         layerprune-train's bench / PyTorch with its usual layout and with channels last, in turns. Wall and processor time
         are those of a step, memory is that of the process; the ratios are to PyTorch's faster layout. On a machine that
         is not idle, --threads 1 and the processor time tell more: PyTorch's threads spin while they wait for each other.
"""
import argparse, json, os, pathlib, random, re, statistics, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).resolve()
ROOT = HERE.parent.parent
# Timed steps of a run, after one that is not.
STEPS = 5


def run(command):
    """Seconds, peak resident MB and output of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {output.strip().splitlines()[-1:]}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024, output


def compare(name, contestants, repeats):
    """Runs them in turns; the last is what the others are compared with. One that prints `own: N s` says its time itself."""
    results = {who: [] for who in contestants}
    for _ in range(repeats):
        for who, command in contestants.items():
            try:
                wall, peak, output = run(command)
                own = re.search(r"^own: ([\d.]+) s$", output, re.MULTILINE)
                results[who].append((float(own.group(1)) if own else wall, peak))
            except (RuntimeError, OSError) as error:
                print(f"{name}: {who} left out: {error}", file=sys.stderr)
    medians = {who: [statistics.median(column) for column in zip(*runs)] for who, runs in results.items() if runs}
    for who, (seconds, peak) in medians.items():
        print(f"{name:8} {who:11} {seconds:9.3f} s  {peak:7.0f} MB  ({len(results[who])} runs)")
    *others, reference = contestants
    for who in others:
        if {who, reference} <= medians.keys():
            ratios = [own / other for own, other in zip(medians[who], medians[reference])]
            print(f"{name:8} {who} / {reference}: time {ratios[0]:.2f}, peak memory {ratios[1]:.2f}")


def reference_inspect(model):
    import onnx
    onnx.shape_inference.infer_shapes(onnx.load(model))


def reference_score(model, images, threads):
    """Class means at every block's output over 5,000 images, then accuracies on a tenth of the training set."""
    import numpy as np, onnx, onnxruntime
    from PIL import Image
    graph = onnx.load(model)
    taps = block_outputs(graph.graph)
    graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in taps)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
    mean = np.array([.485, .456, .406], np.float32)[:, None, None]
    std = np.array([.229, .224, .225], np.float32)[:, None, None]
    classes = sorted(path for path in (pathlib.Path(images) / "train").iterdir())
    files = [(path, label) for label, folder in enumerate(classes) for path in sorted(folder.iterdir())]
    random.Random(0).shuffle(files)

    def embed(value):
        n, c, h, w = value.shape
        side = min(max(round((2048 / c) ** .5), 1), h)
        bounds = [(i * h // side, -(-(i + 1) * h // side)) for i in range(side)]
        rows = np.stack([value[:, :, a:b].mean(2) for a, b in bounds], 2)
        return np.stack([rows[..., a:b].mean(3) for a, b in bounds], 3).reshape(n, -1)

    def batches(part):
        for start in range(0, len(part), 64):
            chunk = part[start:start + 64]
            pixels = np.stack([np.asarray(Image.open(path)).transpose(2, 0, 1) for path, _ in chunk])
            inputs = (pixels.astype(np.float32) / 255 - mean) / std
            yield session.run(taps, {session.get_inputs()[0].name: inputs}), np.array([label for _, label in chunk])

    sums = [0] * len(taps)
    for values, labels in batches(files[:5000]):
        one_hot = np.eye(len(classes), dtype=np.float32)[labels]
        sums = [total + one_hot.T @ embed(value) for total, value in zip(sums, values)]
    weights = [total / np.linalg.norm(total, axis=1, keepdims=True) for total in sums]
    held_out = files[5000:5000 + len(files) // 10]
    right = np.zeros(len(taps))
    for values, labels in batches(held_out):
        right += [((embed(value) @ weight.T).argmax(1) == labels).sum() for value, weight in zip(values, weights)]
    print((right / len(held_out)).round(3))


def block_outputs(graph):
    adds = {node.output[0] for node in graph.node if node.op_type == "Add"}
    return [node.output[0] for node in graph.node if node.op_type == "Relu" and node.input[0] in adds]


def reference_forward(model, tapped, threads):
    """Nothing but ONNX Runtime's forward passes of the 11,000 images of the comparison with hooks, in batches of 64."""
    import numpy as np, onnx, onnxruntime
    graph = onnx.load(model)
    if tapped:
        graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in block_outputs(graph.graph))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
    images = np.random.default_rng(0).standard_normal((64, 3, 32, 32), np.float32)
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, images)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    session.run_with_iobinding(binding)
    start = time.perf_counter()
    for _ in range(11000 // 64):
        session.run_with_iobinding(binding)
    print(f"own: {(time.perf_counter() - start) * (11000 / 64) / (11000 // 64):.3f} s")


def residual_block(torch):
    """A basic block whose shortcut is subsampled and padded with channels of zeros, as in the ResNets for CIFAR."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, channels, width, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
            self.more, self.stride = width - channels, stride

        def forward(self, x):
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            x = x[:, :, ::self.stride, ::self.stride]
            return F.relu(y + F.pad(x, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2)))

    return Block


def reference_hooks(weights, images, threads):
    """The same as layerprune's imprinting, with PyTorch: features by forward hooks, pooled, summed by class."""
    import numpy as np, torch
    from PIL import Image
    from torch import nn
    from torch.nn import functional as F
    torch.set_num_threads(threads)

    Block = residual_block(torch)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
            stage = lambda before, width, stride: nn.Sequential(
                *(Block(before if i == 0 else width, width, stride if i == 0 else 1) for i in range(9)))
            self.layer1, self.layer2, self.layer3 = stage(16, 16, 1), stage(16, 32, 2), stage(32, 64, 2)
            self.linear = nn.Linear(64, 10)

        def forward(self, x):
            x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
            return self.linear(x.mean((2, 3)))

    net = Net().eval()
    stored = {name: torch.tensor(value) for name, value in np.load(weights).items()}
    missing = net.load_state_dict(stored, strict=False).missing_keys
    assert all(name.endswith("num_batches_tracked") for name in missing), missing
    mean, std = [torch.tensor(x)[:, None, None] for x in ([.485, .456, .406], [.229, .224, .225])]
    classes = sorted(path for path in (pathlib.Path(images) / "train").iterdir())
    files = [(path, label) for label, folder in enumerate(classes) for path in sorted(folder.iterdir())]
    random.Random(0).shuffle(files)

    class Files(torch.utils.data.Dataset):
        def __init__(self, part):
            self.part = part

        def __len__(self):
            return len(self.part)

        def __getitem__(self, place):
            path, label = self.part[place]
            pixels = torch.from_numpy(np.array(Image.open(path)).transpose(2, 0, 1))
            return (pixels.float() / 255 - mean) / std, label

    seen, right, outputs, labels = [], 0, [], None
    blocks = [block for stage in (net.layer1, net.layer2, net.layer3) for block in stage]
    for block in blocks:
        block.register_forward_hook(lambda module, inputs, output: outputs.append(output))

    def embeddings(part):
        nonlocal right
        for x, y in torch.utils.data.DataLoader(part, batch_size=64, num_workers=1):
            outputs.clear()
            right += int((net(x).argmax(1) == y).sum())
            pooled = []
            for output in outputs:
                side = min(max(round((2048 / output.shape[1]) ** .5), 1), output.shape[2])
                pooled.append(F.adaptive_avg_pool2d(output, side).flatten(1))
            yield pooled, y

    with torch.inference_mode():
        sums = None
        for pooled, y in embeddings(Files(files[:10000])):
            if sums is None:
                sums = [torch.zeros(len(classes), e.shape[1], dtype=torch.float64) for e in pooled]
            for total, e in zip(sums, pooled):
                total.index_add_(0, y, e.double())
        imprinted = [F.normalize(total, dim=1).float() for total in sums]
        correct = torch.zeros(len(blocks))
        held_out = files[10000:11000]
        for pooled, y in embeddings(Files(held_out)):
            correct += torch.tensor([(e @ w.T).argmax(1).eq(y).sum() for e, w in zip(pooled, imprinted)])
    print("net", round(right / 11000, 4), "blocks", [round(float(c) / len(held_out), 3) for c in correct])


def reference_step(name, threads, channels_last):
    import torch
    from torch import nn
    torch.set_num_threads(threads)

    Block = residual_block(torch)
    layers, channels = [], 3
    norm_relu = lambda width: [nn.BatchNorm2d(width), nn.ReLU()]
    if name == "resnet20":
        images, channels = 64, 16
        layers += [nn.Conv2d(3, 16, 3, 1, 1, bias=False), *norm_relu(16)]
        for width, stride in ((16, 1), (32, 2), (64, 2)):
            for block in range(3):
                layers.append(Block(channels, width, stride if block == 0 else 1))
                channels = width
    else:
        images = 32
        for width in [64, 64, None, 128, 128, None] + [256] * 3 + [None] + [512] * 3 + [None] + [512] * 3:
            if width is None:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(channels, width, 3, 1, 1, bias=False), *norm_relu(width)]
            channels = width
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))
    x, y = torch.randn(images, 3, 32, 32), torch.arange(images) % 10
    if channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(net.parameters(), lr=.01, momentum=.9, weight_decay=5e-4)
    times = []
    for step in range(STEPS + 1):
        if step == 1:
            processor = time.process_time()
        start = time.perf_counter()
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
        times.append((time.perf_counter() - start) * 1e3)
    processor = (time.process_time() - processor) / STEPS * 1e3
    print(f"PyTorch {torch.__version__}, channels last: {channels_last}")
    print(f"own: median {statistics.median(times[1:]):.1f} ms, processor {processor:.1f} ms a step")


def step(resnet20, vgg16, args, again):
    """Rounds of layerprune and of PyTorch's two layouts; medians over rounds of each run's median step."""
    build = ["cargo", "bench", "--quiet", "--workspace", "--bench", "step", "--no-run", "--message-format=json"]
    built = subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    bench = [found for found in map(json.loads, built.splitlines()) if found.get("executable")][-1]["executable"]
    for name, model, images in (("resnet20", resnet20, 64), ("vgg16", vgg16, 32)):
        if not model:
            continue
        theirs = [args.torch_python, *again, "--reference", "step", "--model", name]
        contestants = {
            "layerprune": ["env", f"RAYON_NUM_THREADS={args.threads}", bench, model, str(images), str(STEPS), "only", "own"],
            "torch": theirs,
            "torch-last": [*theirs, "--channels-last"],
        }
        seen = {who: [] for who in contestants}
        for _ in range(args.repeats):
            for who, command in contestants.items():
                _, peak, output = run(command)
                wall, processor = re.search(r"own: median ([\d.]+) ms.*processor ([\d.]+) ms", output).groups()
                seen[who].append((float(wall), float(processor), peak))
        medians = {who: [statistics.median(column) for column in zip(*runs)] for who, runs in seen.items()}
        for who, (wall, processor, peak) in medians.items():
            spread = [f"{edge(run[0] for run in seen[who]):.0f}" for edge in (min, max)]
            print(f"step {name:8} {who:11} {wall:7.1f} ms ({' to '.join(spread)}), {images / wall * 1e3:5.0f} images/s, "
                  f"processor {processor:7.1f} ms, {peak:5.0f} MB  ({args.repeats} runs, {args.threads} threads)")
        best = [min(medians["torch"][column], medians["torch-last"][column]) for column in range(3)]
        ratios = [own / other for own, other in zip(medians["layerprune"], best)]
        print(f"step {name:8} layerprune / PyTorch: time {ratios[0]:.2f}, processor time {ratios[1]:.2f}, "
              f"peak memory {ratios[2]:.2f}; load average {os.getloadavg()[0]:.1f}", flush=True)


def hooks(model, images, ours, again, args):
    import numpy as np, onnx
    with tempfile.TemporaryDirectory() as folder:
        weights = str(pathlib.Path(folder) / "weights.npz")
        stored = onnx.load(model).graph.initializer
        np.savez(weights, **{tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in stored})
        options = ["--data", f"imagefolder:{images}", "--normalize", "imagenet", "--samples", "10000", "--held-out", "0.02"]
        theirs = [args.torch_python, *again, "--weights", weights, "--images", images, "--reference", "hooks"]
        score = [*ours, "score", model, *options]
        contestants = {"layerprune": score}
        if args.ort_lib:
            forward = [sys.executable, *again, "--resnet56", model, "--reference"]
            contestants["layerprune --engine onnxruntime"] = [*score, "--engine", "onnxruntime", "--ort-lib", args.ort_lib]
            contestants["ONNX Runtime's forward passes, all blocks given back"] = [*forward, "forward-tapped"]
            contestants["ONNX Runtime's forward passes"] = [*forward, "forward"]
        compare("hooks", {**contestants, "PyTorch": theirs}, args.repeats)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resnet56")
    parser.add_argument("--resnet20")
    parser.add_argument("--images")
    parser.add_argument("--torch-python", default=sys.executable, help="the Python that has torch")
    parser.add_argument("--ort-lib", help="ONNX Runtime's shared library, to score by it as well")
    parser.add_argument("--vgg16", help="VGG16-BN of vgg.py, for the training step")
    parser.add_argument("--only", help="one of the comparisons")
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--channels-last", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--reference", choices=["inspect", "score", "hooks", "forward", "forward-tapped", "step"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.reference == "inspect":
        return reference_inspect(args.resnet56)
    if args.reference == "score":
        return reference_score(args.resnet56, args.images, args.threads)
    if args.reference == "hooks":
        return reference_hooks(args.weights, args.images, args.threads)
    if args.reference in ("forward", "forward-tapped"):
        return reference_forward(args.resnet56, args.reference == "forward-tapped", args.threads)
    if args.reference == "step":
        return reference_step(args.model, args.threads, args.channels_last)
    wanted = lambda name: args.only in (None, name)
    again = [str(HERE), "--threads", str(args.threads)]
    if args.resnet20 and wanted("step"):
        with tempfile.TemporaryDirectory() as folder:
            vgg16 = args.vgg16 or str(pathlib.Path(folder) / "vgg16.onnx")
            if not args.vgg16:
                subprocess.run([sys.executable, HERE.parent / "vgg.py", vgg16, "--vgg16"], check=True)
            step(str(pathlib.Path(args.resnet20).resolve()), str(pathlib.Path(vgg16).resolve()), args, again)
    if args.only == "step":
        return
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "layerprune-cli"], cwd=ROOT, check=True)
    ours = [str(ROOT / "target/release/layerprune"), "--quiet", "--threads", str(args.threads)]
    if args.resnet56:
        model = str(pathlib.Path(args.resnet56).resolve())
        theirs = [sys.executable, *again, "--resnet56", model, "--reference", "inspect"]
        if wanted("inspect"):
            compare("inspect", {"layerprune": [*ours, "inspect", model], "onnx": theirs}, 3 * args.repeats)
        if args.images and wanted("hooks"):
            hooks(model, str(pathlib.Path(args.images).resolve()), ours, again, args)
        if args.images and wanted("score"):
            images = str(pathlib.Path(args.images).resolve())
            options = ["--data", f"imagefolder:{images}", "--normalize", "imagenet", "--samples", "5000"]
            theirs = [sys.executable, *again, "--resnet56", model, "--images", images, "--reference", "score"]
            contestants = {"layerprune": [*ours, "score", model, *options], "ONNX Runtime and numpy": theirs}
            compare("score", contestants, args.repeats)


main()
