//! What flags and recipe keys say of training, in the words of the libraries.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;
use layerprune_data::Augment;
use layerprune_train::{AdamW, CrossEntropy, Loss, OneCycle, Optimizer, Schedule, Settings, Sgd, TrainError};
use layerprune_train::{Distill, Ecc, Masks, Slimming, Sparsity, Sss};
use serde_json::Value;

use super::preset;
use crate::Usage;
use crate::args::{Keep, LossName, OptimizerName, SettingArgs};

/// How to train, and which epoch counts.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) settings: Settings,
    pub(crate) augment: Augment,
    pub(crate) keep: Keep,
    pub(crate) patience: Option<usize>,
    /// The file of the model to learn from.
    pub(crate) teacher: Option<PathBuf>,
}

/// Learning rates where none is given.
pub(crate) const FINETUNE: f64 = 0.01;
pub(crate) const TRAIN: f64 = 0.1;

const ADAM_W: f64 = 0.001;

/// `args` with everything filled in that the preset sets, then everything that has a default.
pub(crate) fn filled(args: &SettingArgs, learning_rate: f64) -> SettingArgs {
    let mut preset = args.preset.map(preset::settings).unwrap_or_default();
    let optimizer = args.optimizer.or(preset.optimizer).unwrap_or(OptimizerName::Sgd);
    let default = Settings::default();
    // Early epochs are the most accurate and the least sparse.
    let is_sparse = [args.slimming, args.sss, args.masks, args.ecc].iter().any(Option::is_some);
    let is_last = is_sparse || args.without_labels.unwrap_or_default();
    let (sgd, adam_w) = (Sgd::default(), AdamW::default());
    let defaults = SettingArgs {
        epochs: Some(default.epochs),
        batch_size: Some(default.batch_size),
        keep: Some(if is_last { Keep::Last } else { Keep::Best }),
        optimizer: Some(optimizer),
        schedule: Some("cosine".to_owned()),
        warm_up: Some(default.warm_up_epochs),
        loss: Some(LossName::CrossEntropy),
        pad_crop: Some(0),
        flip: Some(false),
        ..SettingArgs::default()
    };
    let defaults = match optimizer {
        OptimizerName::Sgd => SettingArgs {
            learning_rate: Some(learning_rate),
            momentum: Some(sgd.momentum),
            nesterov: Some(sgd.nesterov),
            weight_decay: Some(default.weight_decay),
            ..defaults
        },
        OptimizerName::AdamW => {
            // What a preset says of the other one.
            (preset.momentum, preset.nesterov) = (None, None);
            SettingArgs {
                learning_rate: Some(ADAM_W),
                betas: Some([adam_w.beta1, adam_w.beta2]),
                weight_decay: Some(0.01),
                ..defaults
            }
        }
    };
    over(args, &over(&preset, &defaults))
}

/// Names of all settings, as recipes have them.
pub(crate) fn keys() -> Vec<String> {
    let json = serde_json::to_value(SettingArgs::default()).unwrap_or_default();
    json.as_object().into_iter().flat_map(|keys| keys.keys().cloned()).collect()
}

/// What is given in `first`, else what is given in `second`.
pub(crate) fn over(first: &SettingArgs, second: &SettingArgs) -> SettingArgs {
    let json = |args| serde_json::to_value(args).expect("settings are plain numbers and texts");
    let (Value::Object(first), Value::Object(mut both)) = (json(first), json(second)) else {
        unreachable!("a struct is an object")
    };
    both.extend(first.into_iter().filter(|(_, value)| !value.is_null()));
    serde_json::from_value(Value::Object(both)).expect("both were settings")
}

/// How to train by `args`, where no learning rate is given at `learning_rate`.
pub(crate) fn chosen(args: &SettingArgs, learning_rate: f64, seed: u64) -> Result<Chosen> {
    let args = filled(args, learning_rate);
    let default = Settings::default();
    if args.batch_size == Some(0) {
        return Err(Usage("`--batch-size` is above 0".to_owned()).into());
    }
    if args.patience == Some(0) {
        return Err(Usage("`--patience` is above 0".to_owned()).into());
    }
    let device = args.device.unwrap_or_default();
    if !device.is_built_in() {
        let name = device.to_string();
        let kind = name.split(':').next().unwrap_or_default();
        let text = format!(
            "`--device {name}`: this program was built without it; `cargo install … --features {kind}` adds it, `cpu` is always there"
        );
        return Err(Usage(text).into());
    }
    let augment = augment(&args)?;
    let settings = Settings {
        epochs: args.epochs.unwrap_or(default.epochs),
        batch_size: args.batch_size.unwrap_or(default.batch_size),
        accumulate: args.accumulate.unwrap_or(default.accumulate),
        loss: loss(args.loss, args.label_smoothing.unwrap_or_default())?,
        optimizer: optimizer(&args)?,
        learning_rate: args.learning_rate.unwrap_or(learning_rate),
        weight_decay: args.weight_decay.unwrap_or(default.weight_decay),
        decay_norms_and_biases: !args.spare_norms_and_biases.unwrap_or_default(),
        clip_norm: args.clip_norm,
        ema: args.ema,
        sparsity: sparsity(&args),
        distill: distill(&args, augment)?,
        schedule: schedule(args.schedule.as_deref().unwrap_or("cosine"))?,
        warm_up_epochs: args.warm_up.unwrap_or(default.warm_up_epochs),
        seed,
        device,
        ..default
    };
    settings.check().map_err(with_flag)?;
    let keep = args.keep.unwrap_or(Keep::Best);
    Ok(Chosen { settings, augment, keep, patience: args.patience, teacher: args.teacher })
}

impl Chosen {
    /// Whether labels may be looked at.
    pub(crate) fn has_labels(&self) -> bool {
        self.settings.distill.as_ref().is_none_or(|distill| distill.labels)
    }

    /// Whether each image has one class, so that there is a top-1.
    pub(crate) fn is_classification(&self) -> bool {
        matches!(self.settings.loss, Loss::CrossEntropy(_))
    }
}

fn augment(args: &SettingArgs) -> Result<Augment> {
    let augment = Augment {
        pad_crop: args.pad_crop.filter(|&pixels| pixels > 0),
        random_resized_crop: read("random-resized-crop", args.random_resized_crop.as_deref())?,
        flip: args.flip.unwrap_or_default(),
        vertical_flip: args.vertical_flip.unwrap_or_default(),
        rotation: read("rotation", args.rotation.as_deref())?,
        rand_augment: read("rand-augment", args.rand_augment.as_deref())?,
        color_jitter: read("color-jitter", args.color_jitter.as_deref())?,
        random_erasing: read("random-erasing", args.random_erasing.as_deref())?,
        mixup: args.mixup,
        cutmix: args.cutmix,
    };
    augment.check().map_err(|error| Usage(format!("augmentation: {error}")))?;
    Ok(augment)
}

/// What a flag says in text.
fn read<T: FromStr>(flag: &str, text: Option<&str>) -> Result<Option<T>>
where
    T::Err: std::fmt::Display,
{
    let read = |text: &str| text.parse().map_err(|error| Usage(format!("`--{flag} {text}`: {error}")).into());
    text.map(read).transpose()
}

fn sparsity(args: &SettingArgs) -> Vec<Sparsity> {
    let slimming = args.slimming.map(|strength| Sparsity::Slimming(Slimming { strength, ..Slimming::default() }));
    let sss = args.sss.map(|strength| Sparsity::Sss(Sss { strength, ..Sss::default() }));
    let masks = args.masks.map(|strength| Sparsity::Masks(Masks { strength, ..Masks::default() }));
    let ecc = args.ecc.map(|keep| Sparsity::Ecc(Ecc { keep, ..Ecc::default() }));
    [slimming, sss, masks, ecc].into_iter().flatten().collect()
}

fn distill(args: &SettingArgs, augment: Augment) -> Result<Option<Distill>> {
    let without_labels = args.without_labels.unwrap_or_default();
    if args.teacher.is_none() {
        let of_a_teacher = [
            ("--distill-temperature", args.distill_temperature.is_some()),
            ("--distill-weight", args.distill_weight.is_some()),
            ("--distill-block-weight", args.distill_block_weight.is_some()),
            ("--distill-blocks", args.distill_blocks.is_some()),
            ("--distill-mirrored", args.distill_mirrored.unwrap_or_default()),
            ("--without-labels", without_labels),
        ];
        return match of_a_teacher.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(Usage(format!("`{flag}` needs `--teacher MODEL.onnx`")).into()),
            None => Ok(None),
        };
    }
    let refused = [
        ("--patience", args.patience.is_some()),
        ("--distill-weight", args.distill_weight.is_some()),
        ("--keep best", args.keep == Some(Keep::Best)),
        ("--label-smoothing", args.label_smoothing.is_some_and(|share| share != 0.0)),
    ];
    if let Some((flag, _)) = refused.into_iter().find(|(_, given)| without_labels && *given) {
        return Err(Usage(format!("`{flag}` says nothing together with `--without-labels`")).into());
    }
    if args.distill_blocks.is_some() && args.distill_block_weight == Some(0.0) {
        return Err(Usage("`--distill-blocks` says nothing together with `--distill-block-weight 0`".to_owned()).into());
    }
    if args.distill_temperature.is_some() && matches!(args.loss, Some(LossName::MeanSquared | LossName::MeanAbsolute)) {
        let text = "`--distill-temperature` is for scores of classes; numbers are compared as they are";
        return Err(Usage(text.to_owned()).into());
    }
    let default = Distill::default();
    let blocks = args.distill_blocks.clone().unwrap_or_default();
    let block_weight = if blocks.is_empty() { default.block_weight } else { 1.0 };
    Ok(Some(Distill {
        temperature: args.distill_temperature.unwrap_or(default.temperature),
        weight: args.distill_weight.unwrap_or(default.weight),
        block_weight: args.distill_block_weight.unwrap_or(block_weight),
        blocks,
        labels: !without_labels,
        mirrored: args.distill_mirrored.unwrap_or_default(),
        remember: augment.repeats_images(),
    }))
}

fn optimizer(args: &SettingArgs) -> Result<Optimizer> {
    match args.optimizer {
        None | Some(OptimizerName::Sgd) => {
            if args.betas.is_some() {
                return Err(Usage("`--betas` are of `--optimizer adam-w`".to_owned()).into());
            }
            let default = Sgd::default();
            Ok(Optimizer::Sgd(Sgd {
                momentum: args.momentum.unwrap_or(default.momentum),
                nesterov: args.nesterov.unwrap_or(default.nesterov),
            }))
        }
        Some(OptimizerName::AdamW) => {
            if args.momentum.is_some() || args.nesterov == Some(true) {
                let text = "`--momentum` and `--nesterov` are of `--optimizer sgd`; `adam-w` has `--betas`";
                return Err(Usage(text.to_owned()).into());
            }
            let default = AdamW::default();
            let [beta1, beta2] = args.betas.unwrap_or([default.beta1, default.beta2]);
            Ok(Optimizer::AdamW(AdamW { beta1, beta2, ..default }))
        }
    }
}

/// The loss of this name, with labels smoothed by so much.
pub(crate) fn loss(name: Option<LossName>, smoothing: f64) -> Result<Loss> {
    let other = match name {
        None | Some(LossName::CrossEntropy) => {
            return Ok(Loss::CrossEntropy(CrossEntropy { label_smoothing: smoothing }));
        }
        Some(LossName::BinaryCrossEntropy) => Loss::BinaryCrossEntropy,
        Some(LossName::MeanSquared) => Loss::MeanSquared,
        Some(LossName::MeanAbsolute) => Loss::MeanAbsolute,
    };
    if smoothing != 0.0 {
        return Err(Usage("`--label-smoothing` is of `--loss cross-entropy`".to_owned()).into());
    }
    Ok(other)
}

/// A setting out of its range, with the flag that gives it.
fn with_flag(error: TrainError) -> Usage {
    let TrainError::Setting { setting, .. } = &error else { return Usage(error.to_string()) };
    let flag = match *setting {
        "warm-up-epochs" => "warm-up",
        "optimizer.beta1" | "optimizer.beta2" => "betas",
        setting if setting.starts_with("schedule.") => "schedule",
        "distill.temperature" => "distill-temperature",
        "distill.weight" => "distill-weight",
        "distill.blocks" => "distill-blocks",
        "distill.block-weight" => "distill-block-weight",
        "sparsity.keep" => "ecc",
        setting if setting.starts_with("sparsity.") => return Usage(error.to_string()),
        setting => setting.rsplit('.').next().unwrap_or(setting),
    };
    Usage(format!("`--{flag}`: {error}"))
}

fn schedule(text: &str) -> Result<Schedule> {
    let parts: Vec<&str> = text.split(':').collect();
    let wrong = |form: &str| Err(Usage(format!("`--schedule {text}` is not {form}")).into());
    match parts.as_slice() {
        ["cosine"] => Ok(Schedule::Cosine),
        ["constant"] => Ok(Schedule::Constant),
        ["one-cycle"] => Ok(Schedule::OneCycle(OneCycle::default())),
        ["one-cycle", rise] => match rise.parse() {
            Ok(rise) => Ok(Schedule::OneCycle(OneCycle { rise, ..OneCycle::default() })),
            Err(_) => wrong("one-cycle:RISE"),
        },
        ["step", every, gamma] => match (every.parse(), gamma.parse()) {
            (Ok(every), Ok(gamma)) => Ok(Schedule::Step { every, gamma }),
            _ => wrong("step:EVERY:FACTOR"),
        },
        ["milestones", epochs, gamma] => match (epochs.split(',').map(str::parse).collect(), gamma.parse()) {
            (Ok(epochs), Ok(gamma)) => Ok(Schedule::Milestones { epochs, gamma }),
            _ => wrong("milestones:EPOCH,EPOCH,…:FACTOR"),
        },
        _ => Err(Usage(format!(
            "`--schedule {text}` is none of cosine, constant, step:EVERY:FACTOR, milestones:EPOCH,EPOCH,…:FACTOR, one-cycle"
        ))
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Preset;

    #[test]
    fn what_is_given_overrides_the_preset_and_the_preset_the_defaults() {
        let args = SettingArgs { preset: Some(Preset::LayerpruneCifar), epochs: Some(3), ..SettingArgs::default() };
        let settings = chosen(&args, FINETUNE, 7).unwrap().settings;
        assert_eq!((settings.epochs, settings.batch_size, settings.learning_rate), (3, 128, 1e-3));
        assert_eq!(settings.schedule, Schedule::Step { every: 10, gamma: 0.1 });
        assert_eq!(settings.seed, 7);
        let plain = chosen(&SettingArgs::default(), TRAIN, 0).unwrap();
        assert_eq!(plain.settings, Settings { learning_rate: TRAIN, ..Settings::default() });
        assert_eq!((plain.augment, plain.keep), (Augment::default(), Keep::Best));
    }

    #[test]
    fn what_a_preset_switches_on_can_be_switched_off() {
        let preset = SettingArgs { preset: Some(Preset::LayerpruneCifar), ..SettingArgs::default() };
        let on = chosen(&preset, FINETUNE, 0).unwrap().augment;
        assert_eq!(on, Augment { pad_crop: Some(4), flip: true, ..Augment::default() });
        let off = SettingArgs { pad_crop: Some(0), flip: Some(false), ..preset };
        assert_eq!(chosen(&off, FINETUNE, 0).unwrap().augment, Augment::default());
    }

    #[test]
    fn each_optimizer_has_its_own_settings_and_defaults() {
        let adam_w = SettingArgs {
            preset: Some(Preset::LayerpruneCifar),
            optimizer: Some(OptimizerName::AdamW),
            betas: Some([0.8, 0.99]),
            ..SettingArgs::default()
        };
        let expected = Optimizer::AdamW(AdamW { beta1: 0.8, beta2: 0.99, ..AdamW::default() });
        assert_eq!(chosen(&adam_w, FINETUNE, 0).unwrap().settings.optimizer, expected);
        let plain = SettingArgs { preset: None, betas: None, ..adam_w.clone() };
        let settings = chosen(&plain, FINETUNE, 0).unwrap().settings;
        assert_eq!((settings.learning_rate, settings.weight_decay), (0.001, 0.01));
        // Written into a recipe and read again, it is the same.
        assert_eq!(filled(&filled(&adam_w, FINETUNE), FINETUNE), filled(&adam_w, FINETUNE));
        let momentum = SettingArgs { momentum: Some(0.5), ..adam_w };
        assert!(chosen(&momentum, FINETUNE, 0).unwrap_err().to_string().contains("`--momentum`"));
    }

    #[test]
    fn a_setting_out_of_its_range_names_its_flag() {
        let error = |args| chosen(&args, FINETUNE, 0).unwrap_err().to_string();
        let args = || SettingArgs { optimizer: Some(OptimizerName::AdamW), ..SettingArgs::default() };
        assert!(error(SettingArgs { betas: Some([0.9, 1.0]), ..args() }).starts_with("`--betas`: "));
        assert!(error(SettingArgs { warm_up: Some(-1.0), ..args() }).starts_with("`--warm-up`: "));
        assert!(error(SettingArgs { label_smoothing: Some(1.5), ..args() }).starts_with("`--label-smoothing`: "));
        assert!(error(SettingArgs { schedule: Some("step:0:0.1".into()), ..args() }).starts_with("`--schedule`: "));
    }

    #[test]
    fn the_last_epoch_is_kept_where_the_best_one_is_not_what_is_asked_for() {
        let kept = |args: &SettingArgs| chosen(args, FINETUNE, 0).unwrap().keep;
        let sparse = SettingArgs { sss: Some(0.01), ..SettingArgs::default() };
        assert_eq!(kept(&sparse), Keep::Last);
        assert_eq!(kept(&SettingArgs { keep: Some(Keep::Best), ..sparse }), Keep::Best);
        let taught =
            SettingArgs { teacher: Some("t.onnx".into()), without_labels: Some(true), ..SettingArgs::default() };
        assert_eq!(kept(&taught), Keep::Last);
    }

    #[test]
    fn what_would_do_nothing_is_refused_by_name() {
        let taught = || SettingArgs { teacher: Some("t.onnx".into()), ..SettingArgs::default() };
        let error = |args| chosen(&args, FINETUNE, 0).unwrap_err().to_string();
        let keep = SettingArgs { without_labels: Some(true), keep: Some(Keep::Best), ..taught() };
        assert!(error(keep).starts_with("`--keep best` says nothing"));
        let smooth = SettingArgs { without_labels: Some(true), label_smoothing: Some(0.1), ..taught() };
        assert!(error(smooth).starts_with("`--label-smoothing` says nothing"));
        let blocks =
            SettingArgs { distill_blocks: Some(vec!["*".into()]), distill_block_weight: Some(0.0), ..taught() };
        assert!(error(blocks).starts_with("`--distill-blocks` says nothing"));
        for loss in [LossName::MeanSquared, LossName::MeanAbsolute] {
            let warm = SettingArgs { loss: Some(loss), distill_temperature: Some(2.0), ..taught() };
            assert!(error(warm).starts_with("`--distill-temperature` is for"));
        }
    }

    #[test]
    fn schedules_are_read() {
        let milestones = Schedule::Milestones { epochs: vec![81, 122], gamma: 0.1 };
        assert_eq!(schedule("milestones:81,122:0.1").unwrap(), milestones);
        assert_eq!(schedule("step:10:0.5").unwrap(), Schedule::Step { every: 10, gamma: 0.5 });
        let error = schedule("milestones:81;122:0.1").unwrap_err().to_string();
        assert_eq!(error, "`--schedule milestones:81;122:0.1` is not milestones:EPOCH,EPOCH,…:FACTOR");
    }
}
