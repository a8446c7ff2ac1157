//! Preprocessing as the files say that models are published with.
//!
//! Hugging Face's `preprocessor_config.json` is read as transformers' image processors do it, a `config.json` of timm as its
//! `create_transform` makes the transform for inference. Whatever would change pixels and isn't understood is an error.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::DataError;
use crate::geometry::{Crop, CropRounding, Geometry, Resize};
use crate::preprocess::Preprocess;
use crate::resize::Interpolation;

/// The names of the files that are looked for beside a model, in this order.
pub const CONFIG_FILES: [&str; 2] = ["preprocessor_config.json", "config.json"];

/// Image processors of transformers that are read.
const PROCESSORS: [&str; 13] = [
    "ViT",
    "DeiT",
    "Beit",
    "BeiT",
    "ConvNext",
    "ConvNeXT",
    "CLIP",
    "ChineseCLIP",
    "MobileNetV1",
    "MobileNetV2",
    "Bit",
    "EfficientNet",
    "Siglip",
];
/// Those of them that take a size of one number as that of the shorter side; the others take it as that of a square.
const SHORTER: [&str; 7] = ["ConvNext", "ConvNeXT", "CLIP", "ChineseCLIP", "MobileNetV1", "MobileNetV2", "Bit"];
/// Those that crop where their file does not say whether.
const CROPPED: [&str; 8] = ["DeiT", "Beit", "BeiT", "CLIP", "ChineseCLIP", "MobileNetV1", "MobileNetV2", "Bit"];
/// The one that may also shift pixels and divide twice by their standard deviation.
const EFFICIENT_NET: &str = "EfficientNet";

/// Keys that change no pixel of RGB images.
const WITHOUT_EFFECT: [&str; 11] = [
    "image_processor_type",
    "feature_extractor_type",
    "processor_class",
    "_processor_class",
    "_valid_processor_keys",
    "do_convert_rgb",
    "data_format",
    "input_data_format",
    "default_to_square",
    "do_reduce_labels",
    "reduce_labels",
];

/// What a model was published to be fed with.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The file that says so.
    pub path: PathBuf,
    /// How images are resized and cropped.
    pub geometry: Geometry,
    /// What is done to pixels.
    pub preprocess: Preprocess,
}

/// In words: `shorter side to 256 (bicubic), 224x224 from the middle; pixels / 255, mean 0.5, std 0.5`.
impl fmt::Display for ModelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.geometry, self.preprocess)
    }
}

impl ModelConfig {
    /// What the files in the model's folder say; none where there is none that speaks of images.
    pub fn beside(model: &Path) -> Result<Option<ModelConfig>, DataError> {
        let folder = model.parent().unwrap_or(Path::new(""));
        for name in CONFIG_FILES {
            let path = folder.join(name);
            if path.is_file()
                && let Some(config) = ModelConfig::read(&path)?
            {
                return Ok(Some(config));
            }
        }
        Ok(None)
    }

    /// What a file says; none for a configuration that does not speak of images.
    pub fn read(path: &Path) -> Result<Option<ModelConfig>, DataError> {
        let text = fs::read_to_string(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
        let value: Value = serde_json::from_str(&text)
            .map_err(|source| DataError::Json { file: path.display().to_string(), source })?;
        let Value::Object(fields) = value else {
            return Err(Fields { path, map: &Map::new() }.refuse("the text", &value, "a JSON object"));
        };
        let fields = Fields { path, map: &fields };
        let (geometry, preprocess) = match fields.map.get("pretrained_cfg") {
            Some(Value::Object(map)) => timm(&Fields { path, map })?,
            Some(other) => return Err(fields.refuse("pretrained_cfg", other, "an object")),
            None if fields.map.contains_key("architecture") && fields.map.contains_key("input_size") => timm(&fields)?,
            None if ["do_resize", "do_normalize", "image_mean"].iter().any(|key| fields.map.contains_key(*key)) => {
                transformers(&fields)?
            }
            None => return Ok(None),
        };
        geometry.check()?;
        preprocess.output_shape([if preprocess.mean.len().max(preprocess.std.len()) == 1 { 1 } else { 3 }, 1, 1])?;
        Ok(Some(ModelConfig { path: path.to_owned(), geometry, preprocess }))
    }
}

/// The keys of an object in a file.
struct Fields<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
}

impl Fields<'_> {
    fn refuse(&self, key: &str, found: &Value, expected: &str) -> DataError {
        DataError::ModelConfig {
            path: self.path.to_owned(),
            key: key.to_owned(),
            found: found.to_string(),
            expected: expected.to_owned(),
        }
    }

    /// The value of a key; none if it isn't there or null.
    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, DataError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.refuse(key, value, "true or false")),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f64>, DataError> {
        let number = |value: &Value| value.as_f64().ok_or_else(|| self.refuse(key, value, "a number"));
        self.get(key).map(number).transpose()
    }

    /// One number for all channels, or one for each.
    fn channels(&self, key: &str) -> Result<Option<Vec<f32>>, DataError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let numbers = match value {
            Value::Array(values) => values.iter().map(|value| Some(value.as_f64()? as f32)).collect(),
            value => value.as_f64().map(|value| vec![value as f32]),
        };
        let numbers: Option<Vec<f32>> = numbers;
        let right = numbers.filter(|numbers| [1, 3].contains(&numbers.len()));
        right.map(Some).ok_or_else(|| self.refuse(key, value, "a number, or one for each of 3 channels"))
    }

    fn required<T>(&self, key: &str, value: Option<T>, expected: &str) -> Result<T, DataError> {
        value.ok_or_else(|| self.refuse(key, &Value::Null, expected))
    }
}

fn pixels(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0)
}

/// The transform for inference of timm 1.0, `transforms_imagenet_eval`.
fn timm(fields: &Fields<'_>) -> Result<(Geometry, Preprocess), DataError> {
    /// `DEFAULT_CROP_PCT` of timm.
    const SHARE: f64 = 0.875;
    let sizes = fields.get("input_size").and_then(Value::as_array).map(|sizes| sizes.iter().map(pixels));
    let sizes = sizes.and_then(|sizes| sizes.collect::<Option<Vec<u32>>>());
    let Some(&[channels @ (1 | 3), height, width]) = sizes.as_deref() else {
        let found = fields.get("input_size").unwrap_or(&Value::Null);
        return Err(fields.refuse("input_size", found, "[1 or 3, height, width]"));
    };
    let interpolation = match fields.get("interpolation") {
        None => Interpolation::Bicubic,
        Some(value) => {
            let known = value.as_str().and_then(|name| name.parse().ok());
            known.ok_or_else(|| fields.refuse("interpolation", value, "the name of a filter of Pillow"))?
        }
    };
    let share = fields.number("crop_pct")?.unwrap_or(SHARE);
    if !(share > 0.0 && share.is_finite()) {
        return Err(fields.refuse("crop_pct", &share.into(), "a number above 0"));
    }
    let before = [height, width].map(|size| (f64::from(size) / share).floor() as u32);
    let resize = match (fields.get("crop_mode").map(|mode| (mode, mode.as_str())), height == width) {
        (Some((_, Some("squash"))), _) => Resize::Stretch(before),
        (None | Some((_, Some("center"))), true) => Resize::Shorter(before[0]),
        (None | Some((_, Some("center"))), false) => {
            let found = fields.get("input_size").unwrap_or(&Value::Null);
            return Err(fields.refuse("input_size", found, "a square, as `crop_mode` is `center`"));
        }
        (Some((mode, _)), _) => return Err(fields.refuse("crop_mode", mode, "`center` or `squash`")),
    };
    let crop = Some(Crop { size: [height, width], rounding: CropRounding::HalfEven });
    let imagenet: Preprocess = "imagenet".parse()?;
    let preprocess = Preprocess {
        mean: fields.channels("mean")?.unwrap_or(imagenet.mean),
        std: fields.channels("std")?.unwrap_or(imagenet.std),
        gray_to_rgb: channels == 3,
        ..Preprocess::default()
    };
    Ok((Geometry { resize, interpolation, crop }, preprocess))
}

/// What the image processors of transformers do.
fn transformers(fields: &Fields<'_>) -> Result<(Geometry, Preprocess), DataError> {
    let kind = match fields.get("image_processor_type").or(fields.get("feature_extractor_type")) {
        None => "",
        Some(value) => {
            let name = value.as_str().unwrap_or_default();
            let name = name.strip_suffix("Fast").unwrap_or(name);
            let kind = name.strip_suffix("ImageProcessor").or(name.strip_suffix("FeatureExtractor"));
            let known = kind.filter(|kind| PROCESSORS.contains(kind));
            known.ok_or_else(|| {
                let reason = if kind == Some("MobileViT") { "; that one swaps red and blue" } else { "" };
                fields.refuse("image_processor_type", value, &format!("one of {}{reason}", PROCESSORS.join(", ")))
            })?
        }
    };
    expect_understood(fields, kind)?;
    let preprocess = transformers_pixels(fields, kind)?;
    let mut geometry = Geometry::default();
    if fields.flag("do_resize", true)? {
        let number = fields.get("resample").unwrap_or(&Value::Null);
        let filter = number.as_u64().and_then(Interpolation::from_pillow);
        geometry.interpolation =
            filter.ok_or_else(|| fields.refuse("resample", number, "the number of a filter of Pillow, 0 to 5"))?;
        geometry.resize = size(fields, "size", SHORTER.contains(&kind))?;
    }
    if kind.eq_ignore_ascii_case("ConvNext") {
        // Below 384 pixels the shorter side becomes that much longer that the crop is this share of it.
        let share = fields.number("crop_pct")?.unwrap_or(224.0 / 256.0);
        if let Resize::Shorter(side) = geometry.resize {
            geometry.resize = if side < 384 {
                geometry.crop = Some(Crop { size: [side, side], rounding: CropRounding::Down });
                Resize::Shorter((f64::from(side) / share) as u32)
            } else {
                Resize::Stretch([side, side])
            };
        }
    } else if let Some(share) = fields.get("crop_pct") {
        return Err(fields.refuse("crop_pct", share, "none, as only ConvNext has it"));
    }
    if fields.flag("do_center_crop", CROPPED.contains(&kind))? {
        let Resize::Stretch(size) = size(fields, "crop_size", false)? else {
            return Err(fields.refuse(
                "crop_size",
                fields.get("crop_size").unwrap_or(&Value::Null),
                "a number, or `height` and `width`",
            ));
        };
        geometry.crop = Some(Crop { size, rounding: CropRounding::Down });
    } else if let (Some(size), None) = (fields.get("crop_size"), fields.get("do_center_crop")) {
        return Err(fields.refuse("crop_size", size, "a `do_center_crop` beside it"));
    }
    Ok((geometry, preprocess))
}

/// Refuses keys that may change pixels in a way that isn't known.
fn expect_understood(fields: &Fields<'_>, kind: &str) -> Result<(), DataError> {
    const READ: [&str; 12] = [
        "do_resize",
        "size",
        "resample",
        "do_center_crop",
        "crop_size",
        "crop_pct",
        "do_rescale",
        "rescale_factor",
        "do_normalize",
        "image_mean",
        "image_std",
        "pretrained_cfg",
    ];
    for (key, value) in fields.map {
        let efficient_net = kind == EFFICIENT_NET && ["include_top", "rescale_offset"].contains(&key.as_str());
        let known = efficient_net || READ.contains(&key.as_str()) || WITHOUT_EFFECT.contains(&key.as_str());
        if !known && !matches!(value, Value::Null | Value::Bool(false)) {
            return Err(fields.refuse(key, value, "nothing, as it is not known what this does to pixels"));
        }
    }
    Ok(())
}

fn transformers_pixels(fields: &Fields<'_>, kind: &str) -> Result<Preprocess, DataError> {
    let mut preprocess = Preprocess::default();
    if fields.flag("do_rescale", true)? {
        let factor = fields.number("rescale_factor")?;
        // The factor is written out as 0.00392156862745098.
        let is_255 = |factor: f64| (factor * 255.0 - 1.0).abs() < 1e-9;
        preprocess.scale = factor.filter(|factor| !is_255(*factor)).map_or(1.0 / 255.0, |factor| factor as f32);
    } else {
        preprocess.scale = 1.0;
    }
    if fields.flag("do_normalize", true)? {
        let expected = "numbers, as `do_normalize` is true";
        preprocess.mean = fields.required("image_mean", fields.channels("image_mean")?, expected)?;
        preprocess.std = fields.required("image_std", fields.channels("image_std")?, expected)?;
        preprocess.gray_to_rgb = preprocess.mean.len().max(preprocess.std.len()) == 3;
    }
    if kind == EFFICIENT_NET {
        if fields.flag("do_rescale", true)? && fields.flag("rescale_offset", false)? {
            // (pixel · scale − 1 − mean) / std
            preprocess.mean.iter_mut().for_each(|mean| *mean += 1.0);
        }
        if fields.flag("include_top", true)? {
            // ((pixel · scale − mean) / std − 0) / image_std, where std is that or, if `do_normalize` is false, 1.
            let expected = "numbers, as `include_top` divides by them";
            let again = fields.required("image_std", fields.channels("image_std")?, expected)?;
            let first = |channel: usize| preprocess.std[if preprocess.std.len() == 1 { 0 } else { channel }];
            preprocess.std = again.iter().enumerate().map(|(channel, std)| std * first(channel)).collect();
            preprocess.gray_to_rgb |= preprocess.std.len() == 3;
        }
    }
    Ok(preprocess)
}

/// A size as a number, as `height` and `width`, or as `shortest_edge`.
fn size(fields: &Fields<'_>, key: &str, shorter: bool) -> Result<Resize, DataError> {
    let value = fields.get(key).unwrap_or(&Value::Null);
    let side = |name: &str| value.get(name).and_then(pixels);
    let found = match value {
        Value::Object(sizes) if sizes.len() == 2 => {
            side("height").zip(side("width")).map(|(height, width)| Resize::Stretch([height, width]))
        }
        Value::Object(sizes) if sizes.len() == 1 => side("shortest_edge").map(Resize::Shorter),
        value if shorter => pixels(value).map(Resize::Shorter),
        value => pixels(value).map(|side| Resize::Stretch([side, side])),
    };
    found.ok_or_else(|| fields.refuse(key, value, "a number, `height` and `width`, or `shortest_edge`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Option<ModelConfig>, DataError> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), text).unwrap();
        ModelConfig::beside(&dir.path().join("model.onnx"))
    }

    fn told(text: &str) -> String {
        read("preprocessor_config.json", text).unwrap().unwrap().to_string()
    }

    fn refused(text: &str) -> String {
        let error = read("preprocessor_config.json", text).unwrap_err().to_string();
        error.split_once("json`: ").unwrap().1.to_owned()
    }

    #[test]
    fn a_vit_is_stretched() {
        let text = r#"{
            "do_normalize": true, "do_rescale": true, "do_resize": true,
            "image_mean": [0.5, 0.5, 0.5], "image_processor_type": "ViTImageProcessor", "image_std": [0.5, 0.5, 0.5],
            "resample": 2, "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 256}
        }"#;
        assert_eq!(
            told(text),
            "stretched to 224x256 (bilinear); pixels / 255, mean 0.5 0.5 0.5, std 0.5 0.5 0.5, gray as three equal channels"
        );
        let config = read("preprocessor_config.json", text).unwrap().unwrap();
        assert!(config.preprocess.gray_to_rgb);
        assert_eq!(config.preprocess.scale, 1.0 / 255.0);
        let older = r#"{"do_resize": true, "feature_extractor_type": "ViTFeatureExtractor", "size": 224, "resample": 2,
            "do_normalize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}"#;
        assert!(told(older).starts_with("stretched to 224x224 (bilinear)"));
    }

    #[test]
    fn a_mobilenet_is_resized_by_its_shorter_side_and_cropped() {
        let text = r#"{
            "crop_size": {"height": 224, "width": 224}, "do_center_crop": true, "do_normalize": true, "do_rescale": true,
            "do_resize": true, "image_mean": [0.5, 0.5, 0.5], "image_processor_type": "MobileNetV2ImageProcessor",
            "image_std": [0.5, 0.5, 0.5], "resample": 2, "rescale_factor": 0.00392156862745098,
            "size": {"shortest_edge": 256}
        }"#;
        assert!(
            told(text)
                .starts_with("shorter side to 256 (bilinear), 224x224 from the middle (rounded down); pixels / 255")
        );
        let config = read("preprocessor_config.json", text).unwrap().unwrap();
        assert_eq!(config.geometry.crop.unwrap().rounding, CropRounding::Down);
    }

    #[test]
    fn what_a_file_leaves_out_is_what_its_processor_does() {
        let of = |kind: &str| {
            format!(
                r#"{{"image_processor_type": "{kind}ImageProcessor", "size": 9, "resample": 3, "crop_size": 8,
                "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}}"#
            )
        };
        for (kind, expected) in [
            (
                "CLIP",
                "shorter side to 9 (bicubic), 8x8 from the middle (rounded down); pixels / 255, mean 0.5 0.5 0.5, std 0.5 0.5 0.5, gray as three equal channels",
            ),
            (
                "Bit",
                "shorter side to 9 (bicubic), 8x8 from the middle (rounded down); pixels / 255, mean 0.5 0.5 0.5, std 0.5 0.5 0.5, gray as three equal channels",
            ),
            (
                "DeiT",
                "stretched to 9x9 (bicubic), 8x8 from the middle (rounded down); pixels / 255, mean 0.5 0.5 0.5, std 0.5 0.5 0.5, gray as three equal channels",
            ),
        ] {
            assert_eq!(told(&of(kind)), expected);
        }
        let text = of("EfficientNet").replace(r#""crop_size": 8,"#, "");
        let expected = "stretched to 9x9 (bicubic); pixels / 255, mean 0.5 0.5 0.5, std 0.25 0.25 0.25, gray as three equal channels";
        assert_eq!(told(&text), expected);
        let error = refused(&of("MobileViT"));
        assert!(error.ends_with("Siglip; that one swaps red and blue"), "{error}");
        let error = refused(&of("CLIP").replace(r#""crop_size": 8,"#, ""));
        assert!(error.starts_with("`crop_size` is null, expected a number"), "{error}");
    }

    #[test]
    fn a_convnext_crops_by_its_share_below_384_pixels() {
        let text = |size: u32, share: &str| {
            format!(
                r#"{{"crop_pct": {share}, "do_normalize": true, "do_resize": true, "image_mean": [0, 0, 0],
                "feature_extractor_type": "ConvNextFeatureExtractor", "image_std": [1, 1, 1], "resample": 3, "size": {size}}}"#
            )
        };
        assert!(told(&text(224, "0.875")).starts_with("shorter side to 256 (bicubic), 224x224 from the middle"));
        assert!(told(&text(224, "null")).starts_with("shorter side to 256 (bicubic), 224x224 from the middle"));
        assert!(told(&text(384, "0.95")).starts_with("stretched to 384x384 (bicubic);"));
    }

    #[derive(serde::Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    #[derive(serde::Deserialize)]
    struct Case {
        config: Value,
        size: [usize; 2],
        pixels: Vec<u8>,
        shape: [usize; 3],
        step: usize,
        values: Vec<f32>,
    }

    #[test]
    fn values_are_those_of_transformers() {
        let golden: Golden =
            serde_json::from_str(include_str!("../../../fixtures/golden/image_processors.json")).unwrap();
        assert_eq!(golden.cases.len(), 10);
        for case in golden.cases {
            let config = read("preprocessor_config.json", &case.config.to_string()).unwrap().unwrap();
            let image = config.geometry.apply(case.pixels, [3, case.size[0], case.size[1]]);
            let size = config.geometry.output_size(case.size.map(|size| size as u32)).map(|size| size as usize);
            assert_eq!([3, size[0], size[1]], case.shape, "{config}");
            let normalizer = config.preprocess.compile(case.shape).unwrap();
            let plane = size[0] * size[1];
            let values = image.iter().enumerate().map(|(place, &pixel)| normalizer.byte(place / plane, pixel));
            let far = |(found, expected): &(f32, f32)| (found - expected).abs() > 2e-6;
            let found: Vec<f32> = values.step_by(case.step).collect();
            assert_eq!(found.len(), case.values.len());
            let wrong = found.into_iter().zip(case.values).find(far);
            assert_eq!(wrong, None, "{config}");
        }
    }

    #[test]
    fn what_is_not_done_is_left_out() {
        let text = r#"{"do_resize": false, "do_normalize": false, "do_rescale": false, "size": {"shortest_edge": 9}}"#;
        assert_eq!(told(text), "sizes as they are; pixels * 1, mean 0, std 1");
    }

    #[test]
    fn timm_crops_a_share() {
        let text = r#"{"architecture": "resnet50", "num_classes": 1000, "pretrained_cfg": {
            "tag": "a1_in1k", "input_size": [3, 224, 224], "test_input_size": [3, 288, 288], "interpolation": "bicubic",
            "crop_pct": 0.95, "crop_mode": "center", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
            "first_conv": "conv1"}}"#;
        let config = read("config.json", text).unwrap().unwrap();
        assert_eq!(
            config.to_string(),
            "shorter side to 235 (bicubic), 224x224 from the middle; pixels / 255, mean 0.485 0.456 0.406, std 0.229 0.224 0.225, gray as three equal channels"
        );
        assert_eq!(config.geometry.crop.unwrap().rounding, CropRounding::HalfEven);
        let squashed = text.replace("center", "squash");
        let config = read("config.json", &squashed).unwrap().unwrap();
        assert_eq!(config.geometry.resize, Resize::Stretch([235, 235]));
        let defaults = r#"{"pretrained_cfg": {"input_size": [3, 160, 160]}}"#;
        let config = read("config.json", defaults).unwrap().unwrap();
        assert!(
            config
                .to_string()
                .starts_with("shorter side to 182 (bicubic), 160x160 from the middle; pixels / 255, mean 0.485")
        );
    }

    #[test]
    fn a_configuration_without_images_says_nothing() {
        assert_eq!(read("config.json", r#"{"architectures": ["ResNetForImageClassification"]}"#).unwrap(), None);
        assert_eq!(read("other.json", "{}").unwrap(), None);
    }

    #[test]
    fn what_is_not_understood_is_named_if_it_changes_pixels() {
        let base = r#""do_resize": false, "do_normalize": false"#;
        let cases = [
            (
                r#""image_processor_type": "LevitImageProcessor""#,
                "`image_processor_type` is \"LevitImageProcessor\", expected one of ViT, DeiT",
            ),
            (r#""do_flip_channel_order": true"#, "`do_flip_channel_order` is true, expected nothing"),
            (r#""rescale_offset": true"#, "`rescale_offset` is true, expected nothing"),
            (r#""do_center_crop": true, "crop_size": {"shortest_edge": 3}"#, "`crop_size` is {\"shortest_edge\":3}"),
            (r#""crop_pct": 0.9"#, "`crop_pct` is 0.9, expected none"),
            (r#""rescale_factor": "big""#, "`rescale_factor` is \"big\", expected a number"),
        ];
        for (more, expected) in cases {
            let error = refused(&format!("{{{base}, {more}}}"));
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(told(&format!(r#"{{{base}, "do_pad": false, "pad_size": null}}"#)).starts_with("sizes as they are"));
        let error = refused(r#"{"do_resize": true, "resample": 9, "do_normalize": false}"#);
        assert_eq!(error, "`resample` is 9, expected the number of a filter of Pillow, 0 to 5");
        let error = refused(r#"{"do_resize": false, "do_normalize": true}"#);
        assert_eq!(error, "`image_mean` is null, expected numbers, as `do_normalize` is true");
        let border = r#"{"pretrained_cfg": {"input_size": [3, 8, 8], "crop_mode": "border"}}"#;
        assert_eq!(refused(border), "`crop_mode` is \"border\", expected `center` or `squash`");
        let error = read("preprocessor_config.json", "{").unwrap_err().to_string();
        assert!(error.ends_with("as JSON"), "{error}");
    }
}
