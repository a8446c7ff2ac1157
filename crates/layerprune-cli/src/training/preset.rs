//! Settings of publications, by name.

use serde_json::Value;

use crate::args::{Preset, SettingArgs};

/// Its name on the command line and in recipes.
pub(crate) fn name(preset: Preset) -> &'static str {
    match preset {
        Preset::LayerpruneCifar => "layerprune-cifar",
        Preset::LayerpruneImagenet => "layerprune-imagenet",
    }
}

/// Where the settings come from.
pub(crate) fn source(preset: Preset) -> &'static str {
    match preset {
        Preset::LayerpruneCifar => "LayerPrune on CIFAR, as in its published code",
        Preset::LayerpruneImagenet => {
            "as in the README of Taylor pruning, since LayerPrune's on ImageNet were not published"
        }
    }
}

/// What it sets. How images are normalised is a matter of the model, not of the preset.
pub(crate) fn settings(preset: Preset) -> SettingArgs {
    let common = SettingArgs {
        learning_rate: Some(1e-3),
        momentum: Some(0.9),
        nesterov: Some(false),
        schedule: Some("step:10:0.1".to_owned()),
        warm_up: Some(0.0),
        ..SettingArgs::default()
    };
    match preset {
        Preset::LayerpruneCifar => SettingArgs {
            epochs: Some(30),
            batch_size: Some(128),
            weight_decay: Some(5e-4),
            pad_crop: Some(4),
            flip: Some(true),
            ..common
        },
        Preset::LayerpruneImagenet => {
            SettingArgs { epochs: Some(25), batch_size: Some(256), weight_decay: Some(0.0), ..common }
        }
    }
}

/// `--epochs 30 --flip`: what is set and not off, as one would type it.
pub(crate) fn as_flags(settings: &SettingArgs) -> String {
    let Ok(Value::Object(keys)) = serde_json::to_value(settings) else { return String::new() };
    let flag = |(key, value): (String, Value)| match value {
        Value::Null | Value::Bool(false) => None,
        Value::Bool(true) => Some(format!("--{key}")),
        Value::Number(number) if number.as_f64() == Some(0.0) && key != "weight-decay" => None,
        Value::String(text) => Some(format!("--{key} {text}")),
        other => Some(format!("--{key} {other}")),
    };
    keys.into_iter().filter_map(flag).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_read_as_the_flags_that_give_the_same() {
        assert_eq!(
            as_flags(&settings(Preset::LayerpruneCifar)),
            "--batch-size 128 --epochs 30 --flip --learning-rate 0.001 --momentum 0.9 --pad-crop 4 --schedule step:10:0.1 \
             --weight-decay 0.0005"
        );
        assert_eq!(
            as_flags(&settings(Preset::LayerpruneImagenet)),
            "--batch-size 256 --epochs 25 --learning-rate 0.001 --momentum 0.9 --schedule step:10:0.1 --weight-decay 0.0"
        );
    }
}
