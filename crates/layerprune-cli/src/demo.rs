//! What the demo works on, embedded: images of Fashion-MNIST (MIT licence) and a model trained on them by this program.

use std::path::Path;

use anyhow::{Context, Result};
use layerprune::onnx::Model;
use layerprune_data::{Dataset, Preprocess, Split, idx};

use crate::recipe::Recipe;

const TRAIN: [&[u8]; 2] =
    [include_bytes!("../demo/train-images-idx3-ubyte.gz"), include_bytes!("../demo/train-labels-idx1-ubyte.gz")];
const TEST: [&[u8]; 2] =
    [include_bytes!("../demo/t10k-images-idx3-ubyte.gz"), include_bytes!("../demo/t10k-labels-idx1-ubyte.gz")];
const MODEL: &[u8] = include_bytes!("../demo/model.onnx");
const CLASSES: [&str; 10] =
    ["T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];

/// The embedded model.
pub(crate) fn model() -> Result<Model> {
    Model::from_bytes(MODEL).context("the embedded model cannot be read")
}

/// The embedded images.
pub(crate) fn dataset(split: Split) -> Result<Dataset> {
    let [images, labels] = match split {
        Split::Train => TRAIN,
        Split::Test => TEST,
    };
    let images = idx::parse_images(images)?;
    let labels = idx::parse_labels(labels)?.into_iter().map(usize::from).collect();
    let classes = CLASSES.map(str::to_owned).to_vec();
    Ok(Dataset::from_u8(images.pixels, [images.height, images.width, 1], labels, classes)?)
}

/// How the embedded model was fed when it was trained.
pub(crate) fn preprocess() -> Preprocess {
    "fashion-mnist".parse().expect("the preset exists")
}

/// The demo's recipe, with results in `output`.
pub(crate) fn recipe(output: &Path, seed: u64) -> Result<Recipe> {
    let mut recipe = Recipe::parse(include_str!("../demo/recipe.toml"))?;
    recipe.output = output.to_owned();
    recipe.seed = seed;
    Ok(recipe)
}
