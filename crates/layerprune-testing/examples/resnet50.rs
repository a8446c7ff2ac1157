//! Writes a ResNet-50 of full size with random weights (about 100 MB), for measuring time and memory.

use layerprune_testing::Builder;
use layerprune_testing::ints;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: resnet50 FILE")?;
    let mut net = Builder::new(0);
    let x = net.input("input", &[3, 224, 224]);
    let mut x = net.conv("/conv1", &x, [3, 64], 7, 2, 1);
    x = net.batch_norm("/bn1", &x, 64);
    x = net.node("Relu", "/relu/Relu", &[&x], vec![]);
    let window = vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1; 4]), ints("strides", &[2, 2])];
    x = net.node("MaxPool", "/maxpool/MaxPool", &[&x], window);
    let mut channels = 64;
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let width = 64 << stage;
        for block in 0..blocks {
            let module = format!("/layer{0}/layer{0}.{block}", stage + 1);
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            let mut y = x.clone();
            let steps = [(channels, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1)];
            for (number, (from, to, kernel, stride)) in steps.into_iter().enumerate() {
                y = net.conv(&format!("{module}/conv{}", number + 1), &y, [from, to], kernel, stride, 1);
                y = net.batch_norm(&format!("{module}/bn{}", number + 1), &y, to);
                if number < 2 {
                    y = net.node("Relu", &format!("{module}/relu{}", number + 1), &[&y], vec![]);
                }
            }
            if block == 0 {
                x = net.conv(&format!("{module}/downsample"), &x, [channels, 4 * width], 1, stride, 1);
                x = net.batch_norm(&format!("{module}/downsample.1"), &x, 4 * width);
            }
            x = net.node("Add", &format!("{module}/Add"), &[&y, &x], vec![]);
            x = net.node("Relu", &format!("{module}/relu3"), &[&x], vec![]);
            channels = 4 * width;
        }
    }
    let pooled = net.node("GlobalAveragePool", "/avgpool/GlobalAveragePool", &[&x], vec![]);
    let flat = net.node("Flatten", "/Flatten", &[&pooled], vec![]);
    let logits = net.gemm("/fc", &flat, channels, 1000);
    net.output(&logits);
    net.build().write(path)?;
    Ok(())
}
