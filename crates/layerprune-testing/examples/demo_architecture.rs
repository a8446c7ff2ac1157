//! Writes the architecture of the demo's model: `demo_architecture OUT.onnx`. Its weights are random; `train` sets them.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: demo_architecture OUT.onnx")?;
    layerprune_testing::resnet(0, [1, 28, 28], 2, &[16, 32, 64], 4, 10).write(path)?;
    Ok(())
}
