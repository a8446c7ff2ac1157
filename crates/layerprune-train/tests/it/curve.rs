//! Two epochs of ResNet-20 on 2000 images of CIFAR-10, step by step against PyTorch's.
//!
//! Model and images are not part of this repository: `LAYERPRUNE_SHARED` names a folder with
//! `models/cifar10_resnet20_bn.onnx` and `data/cifar10_jpg.tar.xz`, in which the training images are
//! `train/<class>/<number>.jpg`. Decoders of JPEG differ by some levels, so PyTorch was given the pixels that this
//! crate's was. Steps are small, since training in single precision is chaotic: at a learning rate of 0.001 already,
//! PyTorch's losses in single precision leave its own in double precision by more than the tolerance.
//!
//! To make the golden anew, run the ignored test and give what it writes to `fixtures/generate/train_curve.py`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use layerprune::batch::Batch;
use layerprune::onnx::Model;
use layerprune::stats::SplitMix;
use layerprune_train::{Batches, DataError, Event, Optimizer, Schedule, Settings, Sgd, train};
use serde::Deserialize;

use crate::golden::golden;

const CLASSES: usize = 10;
const OF_A_CLASS: usize = 200;
const IMAGES: usize = CLASSES * OF_A_CLASS;
const BATCH: usize = 50;
const PIXELS: usize = 32 * 32 * 3;
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// Of the loss of a step.
const TOLERANCE: f64 = 1e-3;

#[derive(Deserialize)]
struct Golden {
    learning_rate: f64,
    pixels_fnv: String,
    order_begins: Vec<Vec<usize>>,
    losses: Vec<f64>,
}

/// The folder that `LAYERPRUNE_SHARED` names, where it has what is needed.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn shared() -> Option<PathBuf> {
    let folder = env::var_os("LAYERPRUNE_SHARED").map(PathBuf::from);
    let found = folder.filter(|folder| archive(folder).is_file() && model(folder).is_file());
    if found.is_none() {
        eprintln!("skipped: LAYERPRUNE_SHARED names no folder with CIFAR-10 and a ResNet-20");
    }
    found
}

fn archive(folder: &Path) -> PathBuf {
    folder.join("data/cifar10_jpg.tar.xz")
}

fn model(folder: &Path) -> PathBuf {
    folder.join("models/cifar10_resnet20_bn.onnx")
}

/// The first images of each class by file name, classes in alphabetical order: rows of RGB.
fn pixels(folder: &Path) -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    let mut unpack = Command::new("tar");
    unpack.arg("-xJf").arg(archive(folder)).arg("-C").arg(place.path()).args(["--wildcards", "train/*/0[01]*.jpg"]);
    assert!(unpack.status().expect("`tar` is needed to unpack the images").success());
    let mut pixels = Vec::with_capacity(IMAGES * PIXELS);
    let classes = sorted(&place.path().join("train"));
    assert_eq!(classes.len(), CLASSES);
    for class in classes {
        for file in &sorted(&class)[..OF_A_CLASS] {
            pixels.extend_from_slice(image::open(file).unwrap().to_rgb8().as_raw());
        }
    }
    assert_eq!(pixels.len(), IMAGES * PIXELS);
    pixels
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Fowler, Noll and Vo's hash, FNV-1a of 64 bits.
fn fnv(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

/// Fisher and Yates with SplitMix64 of the epoch's number.
fn order(epoch: usize) -> Vec<usize> {
    let mut random = SplitMix::new(epoch as u64);
    let mut places: Vec<_> = (0..IMAGES).collect();
    for last in (1..IMAGES).rev() {
        let other = (random.uniform() * (last + 1) as f64) as usize;
        places.swap(last, other);
    }
    places
}

struct Cifar(Vec<u8>);

impl Cifar {
    fn batch(&self, places: &[usize]) -> Batch {
        let mut images = Vec::with_capacity(places.len() * PIXELS);
        for place in places {
            let image = &self.0[place * PIXELS..][..PIXELS];
            for channel in 0..3 {
                let levels = image.iter().skip(channel).step_by(3);
                images.extend(levels.map(|&level| (f32::from(level) / 255.0 - MEAN[channel]) / DEVIATION[channel]));
            }
        }
        Batch::new(images, [places.len(), 3, 32, 32], places.iter().map(|place| place / OF_A_CLASS).collect())
    }
}

impl Batches for Cifar {
    fn epoch(&self, epoch: usize, first: usize) -> Box<dyn Iterator<Item = Result<Batch, DataError>> + '_> {
        let order = order(epoch);
        Box::new((first..IMAGES / BATCH).map(move |at| Ok(self.batch(&order[at * BATCH..][..BATCH]))))
    }

    fn batches_per_epoch(&self) -> usize {
        IMAGES / BATCH
    }
}

#[expect(clippy::print_stdout, reason = "how close it came is worth knowing")]
fn assert_same_curve(model: &Model, pixels: Vec<u8>, name: &str) {
    let golden: Golden = serde_json::from_slice(&fs::read(golden(name)).unwrap()).unwrap();
    assert_eq!(fnv(&pixels), golden.pixels_fnv, "the images, or what they are decoded to, are others than in {name}");
    for (epoch, begins) in golden.order_begins.iter().enumerate() {
        assert_eq!(order(epoch)[..begins.len()], begins[..]);
    }
    let settings = Settings {
        epochs: 2,
        batch_size: BATCH,
        learning_rate: golden.learning_rate,
        optimizer: Optimizer::Sgd(Sgd { momentum: 0.9, nesterov: false }),
        weight_decay: 5e-4,
        schedule: Schedule::Constant,
        ..Settings::default()
    };
    let mut losses = Vec::new();
    let outcome = train(model, &Cifar(pixels), &settings, None, &mut |event| {
        if let Event::Step(step) = event {
            losses.push(step.loss);
        }
        ControlFlow::Continue(())
    });
    assert!(outcome.unwrap().finished);
    assert_eq!(losses.len(), golden.losses.len());
    let differences: Vec<_> =
        losses.iter().zip(&golden.losses).map(|(found, expected)| (found - expected).abs()).collect();
    let worst = (0..losses.len()).max_by(|&a, &b| differences[a].total_cmp(&differences[b])).unwrap();
    println!("greatest difference of a loss: {:.1e} at step {worst}", differences[worst]);
    assert!(
        differences[worst] <= TOLERANCE,
        "step {worst}: a loss of {} instead of {}; differences {differences:?}",
        losses[worst],
        golden.losses[worst]
    );
}

#[test]
fn the_loss_curve_of_a_trained_resnet_20_is_pytorchs() {
    let Some(folder) = shared() else { return };
    assert_same_curve(&Model::read(model(&folder)).unwrap(), pixels(&folder), "train_curve.json");
}

#[test]
#[ignore = "writes what fixtures/generate/train_curve.py reads"]
fn write_pixels() {
    let Some(folder) = shared() else { return };
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cifar10_2000.bin");
    fs::write(&place, pixels(&folder)).unwrap();
    println!("written to {}", place.display());
}
