//! The models of these tests.

use std::fs;
use std::path::Path;

use layerprune::onnx::Model;
use layerprune::proto::tensor_proto::DataLocation;
use layerprune::proto::{ModelProto, StringStringEntryProto};
use layerprune_testing::{Builder, resnet, vgg};
use prost::Message;

/// A residual net for the gray images: `layer1.0`, `layer1.1` and `layer2.1` can go, `layer2.0` projects.
pub(crate) fn residual() -> Model {
    resnet(1, [1, 8, 8], 1, &[4, 8], 2, 3)
}

/// A residual net for the embedded images.
pub(crate) fn for_demo() -> Model {
    resnet(7, [1, 28, 28], 1, &[4, 8], 2, 10)
}

/// A residual net of which a timer sees that half of it is gone.
pub(crate) fn deep() -> Model {
    resnet(2, [1, 8, 8], 1, &[16], 6, 3)
}

/// A plain net for images of three channels.
pub(crate) fn chain() -> Model {
    vgg(3, 8, &[8, 8, 0, 16, 16], 3)
}

/// A residual net without batch norms, as exporters leave it that fold them.
pub(crate) fn folded() -> Model {
    let mut net = Builder::new(4);
    let mut x = net.input("input", &[1, 8, 8]);
    x = net.conv("/stem", &x, [1, 4], 3, 1, 1);
    x = net.node("Relu", "/stem/Relu", &[&x], vec![]);
    for block in 0..2 {
        let module = format!("/layer1/layer1.{block}");
        let mut y = net.conv(&format!("{module}/conv1"), &x, [4, 4], 3, 1, 1);
        y = net.node("Relu", &format!("{module}/relu1"), &[&y], vec![]);
        y = net.conv(&format!("{module}/conv2"), &y, [4, 4], 3, 1, 1);
        x = net.node("Add", &format!("{module}/Add"), &[&y, &x], vec![]);
        x = net.node("Relu", &format!("{module}/relu2"), &[&x], vec![]);
    }
    classified(net, &x, 4)
}

/// A net with a node in its middle that no rule knows.
pub(crate) fn mysterious() -> Model {
    let mut net = Builder::new(5);
    let mut x = net.input("input", &[1, 8, 8]);
    x = net.conv("/stem", &x, [1, 4], 3, 1, 1);
    x = net.node("Relu", "/stem/Relu", &[&x], vec![]);
    x = net.node("Mystery", "/middle/Mystery", &[&x], vec![]);
    x = net.conv("/last", &x, [4, 4], 3, 1, 1);
    classified(net, &x, 4)
}

/// A model that computes something, with no weights.
pub(crate) fn without_layers() -> Model {
    let mut net = Builder::new(6);
    let x = net.input("input", &[1, 8, 8]);
    let y = net.node("Relu", "/Relu", &[&x], vec![]);
    net.output(&y);
    net.build()
}

/// Writes `model` to `path`, its weights in a file of their own beside it.
pub(crate) fn write_in_two_files(model: &Model, path: &Path) {
    let mut model = ModelProto::decode(&model.to_bytes()[..]).unwrap();
    let name = format!("{}.data", path.file_name().unwrap().to_str().unwrap());
    let mut data = Vec::new();
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        let Some(bytes) = tensor.raw_data.take() else { continue };
        let (offset, length) = (data.len().to_string(), bytes.len().to_string());
        let entry = |(key, value): (&str, &str)| StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value.to_owned()),
        };
        tensor.data_location = Some(DataLocation::External as i32);
        tensor.external_data = [("location", &name[..]), ("offset", &offset), ("length", &length)].map(entry).into();
        data.extend_from_slice(&bytes);
    }
    assert!(!data.is_empty());
    fs::write(path.with_file_name(name), data).unwrap();
    fs::write(path, model.encode_to_vec()).unwrap();
}

/// `model` with its batch size, the symbol `N`, fixed to 1.
pub(crate) fn batch_of_one(model: &Model) -> Model {
    batch_of(model, 1)
}

/// `model` with its batch size, the symbol `N`, fixed to a number below 128.
pub(crate) fn batch_of(model: &Model, size: u8) -> Model {
    // A dimension of 3 bytes: field 2 (the symbol) of length 1, or field 1 (the size) as a number of 2 bytes.
    let (symbol, one) = ([0x0a, 3, 0x12, 1, b'N'], [0x0a, 3, 0x08, 0x80 | size, 0]);
    let mut bytes = model.to_bytes();
    let at = bytes.windows(5).position(|window| window == symbol).unwrap();
    bytes[at..at + 5].copy_from_slice(&one);
    Model::from_bytes(&bytes).unwrap()
}

fn classified(mut net: Builder, x: &str, channels: usize) -> Model {
    let pooled = net.node("GlobalAveragePool", "/avgpool/GlobalAveragePool", &[x], vec![]);
    let flat = net.node("Flatten", "/Flatten", &[&pooled], vec![]);
    let logits = net.gemm("/fc", &flat, channels, 3);
    net.output(&logits);
    net.build()
}
