//! Writes the seeds of the fuzz targets: `cargo run -p layerprune-testing --example seeds -- fuzz/seeds`.
//! Small nets of every kind that the tests know.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use layerprune::onnx::Model;
use layerprune_testing::{any_net, bottleneck_net, densenet, mobilenet_v1, mobilenet_v2, padded, resnet, vgg};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("name the folder")?);
    let mut nets: Vec<(String, Model)> = vec![
        ("resnet".to_owned(), resnet(0, [1, 4, 4], 1, &[2, 3], 1, 2)),
        ("bottleneck".to_owned(), bottleneck_net(0, 4, 2, 1)),
        ("vgg".to_owned(), vgg(0, 4, &[2, 0, 2], 2)),
        ("mobilenet1".to_owned(), mobilenet_v1(0, 4, &[(4, 1)])),
        ("mobilenet2".to_owned(), mobilenet_v2(0, 4, &[(8, 1)])),
        ("densenet".to_owned(), densenet(0, 4, 1, 1)),
    ];
    nets.push(("claims".to_owned(), padded(0, 999_998, 12)));
    nets.extend((0..24).map(|seed| (format!("net{seed}"), any_net(seed).0)));
    fs::create_dir_all(&folder)?;
    for (name, model) in &nets {
        fs::write(folder.join(format!("{name}.onnx")), model.to_bytes())?;
    }
    Ok(())
}
