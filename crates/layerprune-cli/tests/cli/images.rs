//! Images made on the fly: three classes that brightness tells apart.

use std::fs;
use std::path::Path;

use layerprune::stats::SplitMix;

/// Side of the images.
pub(crate) const SIDE: usize = 8;

/// Writes gray images of three classes into `folder` in MNIST's format, so many of each class.
pub(crate) fn write(folder: &Path, train: usize, test: usize) {
    write_part(folder, "train", train, 1);
    write_part(folder, "t10k", test, 2);
}

fn write_part(folder: &Path, prefix: &str, of_each: usize, seed: u64) {
    let labels: Vec<u8> = (0..3 * of_each).map(|image| (image % 3) as u8).collect();
    write_labelled(folder, prefix, &labels, seed);
}

/// Writes a training part of `images` images whose labels have nothing to do with what they show.
pub(crate) fn write_unrelated(folder: &Path, images: usize) {
    let shown: Vec<u8> = (0..images).map(|image| (image % 3) as u8).collect();
    write_labelled(folder, "train", &shown, 1);
    let mut file = header(&[images]);
    file.extend((0..images).map(|image| (3 * image / images) as u8));
    fs::write(folder.join("train-labels-idx1-ubyte"), file).unwrap();
}

/// Writes one part with these labels.
pub(crate) fn write_labelled(folder: &Path, prefix: &str, labels: &[u8], seed: u64) {
    let mut random = SplitMix::new(seed);
    let mut images = header(&[labels.len(), SIDE, SIDE]);
    for &label in labels {
        let light = 40.0 + 60.0 * f64::from(label);
        images.extend((0..SIDE * SIDE).map(|_| (light + 30.0 * random.uniform()) as u8));
    }
    let mut file = header(&[labels.len()]);
    file.extend(labels);
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(format!("{prefix}-images-idx3-ubyte")), images).unwrap();
    fs::write(folder.join(format!("{prefix}-labels-idx1-ubyte")), file).unwrap();
}

/// Writes one gray image as a PNG file.
pub(crate) fn write_png(path: &Path, pixels: &[u8]) {
    let side = SIDE as u32;
    image::GrayImage::from_raw(side, side, pixels.to_vec()).unwrap().save(path).unwrap();
}

/// Writes the images of `folder` as PNG files `train-0.png`, … and `t10k-0.png`, … into another one.
pub(crate) fn write_pngs(folder: &Path, into: &Path) {
    fs::create_dir_all(into).unwrap();
    for prefix in ["train", "t10k"] {
        let file = fs::read(folder.join(format!("{prefix}-images-idx3-ubyte"))).unwrap();
        for (number, pixels) in file[16..].chunks_exact(SIDE * SIDE).enumerate() {
            write_png(&into.join(format!("{prefix}-{number}.png")), pixels);
        }
    }
}

/// The labels of one part of the images in `folder`.
pub(crate) fn labels(folder: &Path, prefix: &str) -> Vec<u8> {
    fs::read(folder.join(format!("{prefix}-labels-idx1-ubyte"))).unwrap().split_off(8)
}

/// Two zeros, 8 for unsigned bytes, the number of axes, and each axis as 32 bits, the highest byte first.
fn header(axes: &[usize]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, axes.len() as u8];
    bytes.extend(axes.iter().flat_map(|&size| (size as u32).to_be_bytes()));
    bytes
}
