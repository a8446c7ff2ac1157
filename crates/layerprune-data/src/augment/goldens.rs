//! Every operation against what torchvision and Pillow make of the same image.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::color;
use super::picture::Picture;
use super::rand_augment::Op;
use super::resized_crop::Part;
use super::rotation::rotate;
use super::window::Window;
use crate::resize::Interpolation;

#[derive(Deserialize)]
struct Golden {
    images: BTreeMap<String, Stored>,
    cases: Vec<Case>,
    magnitudes: Vec<Magnitudes>,
}

#[derive(Deserialize)]
struct Stored {
    shape: [usize; 3],
    pixels: String,
}

#[derive(Deserialize)]
struct Case {
    image: String,
    #[serde(flatten)]
    change: Change,
    output: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
enum Change {
    Window { offset: [isize; 2], flipped: bool, upside_down: bool },
    ResizedCrop { part: [usize; 4], size: [usize; 2] },
    Rotate { degrees: f64, interpolation: Interpolation, fill: u8 },
    Brightness { factor: f64 },
    Contrast { factor: f64 },
    Saturation { factor: f64 },
    Sharpness { factor: f64 },
    Hue { factor: f64 },
    RandAugment { name: Op, factor: f64 },
}

#[derive(Deserialize)]
struct Magnitudes {
    op: Op,
    size: [usize; 2],
    values: Vec<f64>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../../fixtures/golden/augment.json")).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn picture(stored: &Stored) -> Picture {
    let mut picture = Picture::default();
    picture.reshape(stored.shape);
    picture.pixels.copy_from_slice(&bytes(&stored.pixels));
    picture
}

fn apply(change: &Change, picture: &mut Picture) {
    match *change {
        Change::Window { offset, flipped, upside_down } => {
            picture.turn(Window { offset, flipped, upside_down });
        }
        Change::ResizedCrop { part: [top, left, height, width], size } => {
            let mut resized = Picture::default();
            resized.reshape([picture.channels, size[0], size[1]]);
            let shape = [picture.channels, picture.height, picture.width];
            Part { top, left, height, width }.resized(&picture.pixels, shape, size, &mut resized.pixels);
            *picture = resized;
        }
        Change::Rotate { degrees, interpolation, fill } => rotate(picture, degrees, interpolation, fill),
        Change::Brightness { factor } => color::brightness(picture, factor),
        Change::Contrast { factor } => color::contrast(picture, factor),
        Change::Saturation { factor } => color::saturation(picture, factor),
        Change::Sharpness { factor } => color::sharpness(picture, factor),
        Change::Hue { factor } => color::hue(picture, factor),
        Change::RandAugment { name, factor } => name.apply(picture, factor),
    }
}

#[test]
fn every_operation_gives_the_bytes_of_torchvision() {
    let golden = golden();
    let mut faults = Vec::new();
    for case in &golden.cases {
        let mut picture = picture(&golden.images[&case.image]);
        apply(&case.change, &mut picture);
        let expected = bytes(&case.output);
        assert_eq!(picture.pixels.len(), expected.len());
        let wrong = picture.pixels.iter().zip(&expected).filter(|(found, expected)| found != expected).count();
        let most = picture.pixels.iter().zip(&expected).map(|(found, expected)| found.abs_diff(*expected)).max();
        if wrong > 0 {
            faults.push(format!("{} {:?}: {wrong} pixels differ, by at most {most:?}", case.image, case.change));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn magnitudes_of_rand_augment_are_those_of_torchvision() {
    for Magnitudes { op, size, values } in golden().magnitudes {
        for (magnitude, expected) in values.into_iter().enumerate() {
            let found = op.strength(magnitude as u32, size);
            assert!(
                (found - expected).abs() <= 1e-5 * expected.abs().max(1.0),
                "{op:?} {magnitude}: {found} {expected}"
            );
            if matches!(op, Op::TranslateX | Op::TranslateY | Op::Posterize) {
                assert_eq!(found.trunc(), expected.trunc(), "{op:?} {magnitude}");
            }
        }
    }
}
