//! What the demo works on, embedded: images of Fashion-MNIST (MIT licence, see `demo/LICENSE-fashion-mnist`) and a model
//! that this program trained on them.

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
    let labels = idx::parse_labels(labels)?;
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

#[cfg(test)]
mod tests {
    use layerprune::analysis::{Kind, Units};

    use super::*;

    #[test]
    fn the_embedded_images_are_8000_and_2000_of_ten_classes() {
        let (train, test) = (dataset(Split::Train).unwrap(), dataset(Split::Test).unwrap());
        assert_eq!((train.len(), test.len()), (8_000, 2_000));
        for part in [&train, &test] {
            assert_eq!(part.classes(), CLASSES);
            assert_eq!(part.image_shape(), [1, 28, 28]);
            assert!(part.class_counts().iter().all(|&count| count > 0), "{:?}", part.class_counts());
        }
        assert_eq!(preprocess().output_shape(train.image_shape()).unwrap(), [1, 28, 28]);
    }

    #[test]
    fn the_embedded_model_has_as_many_blocks_as_the_demo_says_and_most_can_go() {
        let units = Units::find(&model().unwrap(), &Default::default()).unwrap();
        let blocks: Vec<_> = units.units.iter().filter(|unit| unit.kind == Kind::Block).collect();
        assert_eq!(blocks.len(), 12);
        assert!(blocks.iter().filter(|block| !block.removals.is_empty()).count() >= 9);
    }

    #[test]
    fn the_recipe_of_the_demo_takes_the_folder_and_the_seed() {
        let recipe = recipe(Path::new("there"), 7).unwrap();
        assert_eq!((recipe.output.as_path(), recipe.seed), (Path::new("there"), 7));
    }
}
