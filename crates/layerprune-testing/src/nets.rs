//! Small nets of the classes that layerprune prunes, with random weights.

use layerprune::graph::tensor;
use layerprune::onnx::Model;

use crate::Builder;
use crate::builder::{int, ints};

/// A residual net of basic blocks as in ResNet for CIFAR: stem, one stage for each of `widths` with `blocks` blocks,
/// global average pooling, classifier. The first block of each later stage halves the map, with a projection shortcut.
/// `input` is C, H, W; `stem_stride` the stride of the first convolution.
pub fn resnet(
    seed: u64,
    input: [usize; 3],
    stem_stride: usize,
    widths: &[usize],
    blocks: usize,
    classes: usize,
) -> Model {
    let mut net = Builder::new(seed);
    let mut x = net.input("input", &input);
    x = net.conv("/conv1", &x, [input[0], widths[0]], 3, stem_stride, 1);
    x = net.batch_norm("/bn1", &x, widths[0]);
    x = net.node("Relu", "/Relu", &[&x], vec![]);
    let mut channels = widths[0];
    for (stage, &width) in widths.iter().enumerate() {
        for block in 0..blocks {
            let module = format!("/layer{0}/layer{0}.{block}", stage + 1);
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let mut y = net.conv(&format!("{module}/conv1"), &x, [channels, width], 3, stride, 1);
            y = net.batch_norm(&format!("{module}/bn1"), &y, width);
            y = net.node("Relu", &format!("{module}/relu1"), &[&y], vec![]);
            y = net.conv(&format!("{module}/conv2"), &y, [width, width], 3, 1, 1);
            y = net.batch_norm(&format!("{module}/bn2"), &y, width);
            let mut shortcut = x.clone();
            if stride != 1 || channels != width {
                let path = format!("{module}/downsample");
                shortcut = net.conv(&format!("{path}/downsample.0"), &x, [channels, width], 1, stride, 1);
                shortcut = net.batch_norm(&format!("{path}/downsample.1"), &shortcut, width);
            }
            x = net.node("Add", &format!("{module}/Add"), &[&y, &shortcut], vec![]);
            x = net.node("Relu", &format!("{module}/relu2"), &[&x], vec![]);
            channels = width;
        }
    }
    classifier(net, &x, channels, classes)
}

/// Bottleneck blocks as in ResNet-50: 1x1, 3x3, 1x1; the first block of the only stage projects.
pub fn bottleneck_net(seed: u64, size: usize, width: usize, blocks: usize) -> Model {
    let mut net = Builder::new(seed);
    let mut x = net.input("input", &[3, size, size]);
    x = net.conv("/conv1", &x, [3, width], 3, 1, 1);
    x = net.node("Relu", "/relu", &[&x], vec![]);
    let mut channels = width;
    for block in 0..blocks {
        let module = format!("/layer1/layer1.{block}");
        let mut y = x.clone();
        for (number, (sizes, kernel)) in
            [([channels, width], 1), ([width, width], 3), ([width, 4 * width], 1)].into_iter().enumerate()
        {
            y = net.conv(&format!("{module}/conv{}", number + 1), &y, sizes, kernel, 1, 1);
            y = net.batch_norm(&format!("{module}/bn{}", number + 1), &y, sizes[1]);
            if number < 2 {
                y = net.node("Relu", &format!("{module}/relu{}", number + 1), &[&y], vec![]);
            }
        }
        let shortcut = if block == 0 {
            net.conv(&format!("{module}/downsample"), &x, [channels, 4 * width], 1, 1, 1)
        } else {
            x.clone()
        };
        x = net.node("Add", &format!("{module}/Add"), &[&shortcut, &y], vec![]);
        x = net.node("Relu", &format!("{module}/relu3"), &[&x], vec![]);
        channels = 4 * width;
    }
    classifier(net, &x, channels, 5)
}

/// Plain convolutions with batch norm and ReLU; a `0` in `widths` is a 2x2 max-pooling.
pub fn vgg(seed: u64, size: usize, widths: &[usize], classes: usize) -> Model {
    let mut net = Builder::new(seed);
    let mut x = net.input("input", &[3, size, size]);
    let mut channels = 3;
    for (place, &width) in widths.iter().enumerate() {
        let module = format!("/features/features.{place}");
        if width == 0 {
            let window = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
            x = net.node("MaxPool", &format!("{module}/MaxPool"), &[&x], window);
        } else {
            x = net.conv(&module, &x, [channels, width], 3, 1, 1);
            x = net.batch_norm(&format!("{module}.bn"), &x, width);
            x = net.node("Relu", &format!("{module}.relu/Relu"), &[&x], vec![]);
            channels = width;
        }
    }
    classifier(net, &x, channels, classes)
}

/// Depthwise-separable layers (channels, stride) behind a stem, as in MobileNet-v1.
pub fn mobilenet_v1(seed: u64, size: usize, layers: &[(usize, usize)]) -> Model {
    let mut net = Builder::new(seed);
    let mut x = net.input("input", &[3, size, size]);
    x = net.conv("/stem", &x, [3, 8], 3, 1, 1);
    x = net.node("Relu", "/stem/Relu", &[&x], vec![]);
    let mut channels = 8;
    for (place, &(width, stride)) in layers.iter().enumerate() {
        let module = format!("/model/model.{place}");
        x = net.conv(
            &format!("{module}/{module_name}.0", module_name = format_args!("model.{place}")),
            &x,
            [channels, channels],
            3,
            stride,
            channels,
        );
        x = net.batch_norm(&format!("{module}/model.{place}.1"), &x, channels);
        x = net.node("Relu", &format!("{module}/model.{place}.2/Relu"), &[&x], vec![]);
        x = net.conv(&format!("{module}/model.{place}.3"), &x, [channels, width], 1, 1, 1);
        x = net.batch_norm(&format!("{module}/model.{place}.4"), &x, width);
        x = net.node("Relu", &format!("{module}/model.{place}.5/Relu"), &[&x], vec![]);
        channels = width;
    }
    classifier(net, &x, channels, 5)
}

/// Inverted residuals (channels, stride) of expansion 2 with linear bottlenecks, as in MobileNet-v2.
pub fn mobilenet_v2(seed: u64, size: usize, layers: &[(usize, usize)]) -> Model {
    let mut net = Builder::new(seed);
    let mut x = net.input("input", &[3, size, size]);
    x = net.conv("/features/features.0", &x, [3, 8], 3, 1, 1);
    let six = |net: &mut Builder, name: &str, x: &str| {
        let bound = |net: &mut Builder, end: &str, value: f32| {
            net.tensor(&format!("{name}.{end}"), layerprune::graph::tensor::from_f32(&[], &[value]))
        };
        let (low, high) = (bound(net, "min", 0.0), bound(net, "max", 6.0));
        net.node("Clip", name, &[x, &low, &high], vec![])
    };
    x = six(&mut net, "/features/features.0/Clip", &x);
    let mut channels = 8;
    for (place, &(width, stride)) in layers.iter().enumerate() {
        let module = format!("/features/features.{}/conv", place + 1);
        let wide = 2 * channels;
        let mut y = net.conv(&format!("{module}/conv.0"), &x, [channels, wide], 1, 1, 1);
        y = net.batch_norm(&format!("{module}/conv.0.bn"), &y, wide);
        y = six(&mut net, &format!("{module}/conv.0/Clip"), &y);
        y = net.conv(&format!("{module}/conv.1"), &y, [wide, wide], 3, stride, wide);
        y = net.batch_norm(&format!("{module}/conv.1.bn"), &y, wide);
        y = six(&mut net, &format!("{module}/conv.1/Clip"), &y);
        y = net.conv(&format!("{module}/conv.2"), &y, [wide, width], 1, 1, 1);
        y = net.batch_norm(&format!("{module}/conv.2.bn"), &y, width);
        if stride == 1 && width == channels {
            y = net.node("Add", &format!("/features/features.{}/Add", place + 1), &[&x, &y], vec![]);
        }
        x = y;
        channels = width;
    }
    classifier(net, &x, channels, 5)
}

/// Dense blocks as in DenseNet, `layers` bottlenecked layers of `growth` new features each, with a transition between two
/// blocks. As exporters write it: each layer's Concat reads all features by themselves.
pub fn densenet(seed: u64, size: usize, growth: usize, layers: usize) -> Model {
    let mut net = Builder::new(seed);
    let mut x = net.input("input", &[3, size, size]);
    let mut channels = 2 * growth;
    x = net.conv("/features/conv0", &x, [3, channels], 3, 1, 1);
    for block in 1..=2 {
        let mut features = vec![x.clone()];
        for layer in 1..=layers {
            let module = format!("/features/denseblock{block}/denselayer{layer}");
            let all: Vec<&str> = features.iter().map(String::as_str).collect();
            let mut y = net.node("Concat", &format!("{module}/Concat"), &all, vec![int("axis", 1)]);
            for (number, (sizes, kernel)) in
                [([channels, 2 * growth], 1), ([2 * growth, growth], 3)].into_iter().enumerate()
            {
                y = net.batch_norm(&format!("{module}/norm{}", number + 1), &y, sizes[0]);
                y = net.node("Relu", &format!("{module}/relu{}/Relu", number + 1), &[&y], vec![]);
                y = net.conv(&format!("{module}/conv{}", number + 1), &y, sizes, kernel, 1, 1);
            }
            features.push(y);
            channels += growth;
        }
        let all: Vec<&str> = features.iter().map(String::as_str).collect();
        x = net.node("Concat", &format!("/features/denseblock{block}/Concat"), &all, vec![int("axis", 1)]);
        let module = format!("/features/transition{block}");
        x = net.batch_norm(&format!("{module}/norm"), &x, channels);
        x = net.node("Relu", &format!("{module}/relu/Relu"), &[&x], vec![]);
        if block == 1 {
            x = net.conv(&format!("{module}/conv"), &x, [channels, channels / 2], 1, 1, 1);
            let window = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
            x = net.node("AveragePool", &format!("{module}/pool/AveragePool"), &[&x], window);
            channels /= 2;
        }
    }
    classifier(net, &x, channels, 5)
}

/// Two channels behind a Pad of the channel axis and `relus` ReLUs: a file of a kilobyte that claims any number of channels.
pub fn padded(before: i64, behind: i64, relus: usize) -> Model {
    let mut net = Builder::new(0);
    let x = net.input("input", &[1, 2, 2]);
    let x = net.conv("/stem", &x, [1, 2], 1, 1, 1);
    let pads = net.tensor("pads", tensor::from_i64(&[8], &[0, before, 0, 0, 0, behind, 0, 0]));
    let mut x = net.node("Pad", "/pad/Pad", &[&x, &pads], vec![]);
    for layer in 0..relus {
        x = net.node("Relu", &format!("/relu{layer}/Relu"), &[&x], vec![]);
    }
    let x = net.node("GlobalAveragePool", "/pool/GlobalAveragePool", &[&x], vec![]);
    net.output(&x);
    net.build()
}

fn classifier(mut net: Builder, x: &str, channels: usize, classes: usize) -> Model {
    let pooled = net.node("GlobalAveragePool", "/avgpool/GlobalAveragePool", &[x], vec![]);
    let flat = net.node("Flatten", "/Flatten", &[&pooled], vec![]);
    let logits = net.gemm("/fc", &flat, channels, classes);
    net.output(&logits);
    net.build()
}
