//! What `train`, `finetune`, `sweep --finetune` and `[recover]` of a recipe are told about training.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use layerprune_train::Device;
use serde::{Deserialize, Serialize};

use super::DataArgs;
use super::values::{positive, share};
use crate::training::preset;

#[derive(Debug, Args)]
pub(crate) struct FinetuneArgs {
    /// ONNX file
    pub(crate) model: PathBuf,
    /// The trained model
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    #[command(flatten)]
    pub(crate) records: RecordArgs,
    #[command(flatten)]
    pub(crate) going_on: GoingOnArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) training: FinetuneArgs,
    #[command(flatten)]
    pub(crate) scratch: ScratchArgs,
}

/// What a pruned model is to be compared with: its own architecture, trained without the weights that pruning kept.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scratch control")]
pub(crate) struct ScratchArgs {
    /// Weights to begin with. A pruned model that is no better than the same architecture from random weights, at equal
    /// compute, gained nothing by what it kept of the original. Random weights tell no normalisation: without --normalize and
    /// --as-much-as, pixels are only scaled to 0..1
    #[arg(long, value_enum, default_value_t = Init::Random)]
    pub(crate) init: Init,
    /// Equal compute: --epochs are those of training this model, and MODEL gets as many more as it costs fewer MACs, rounded
    /// to the nearest whole epoch; what the schedule says in epochs is stretched alike (Scratch-B of Liu et al.,
    /// "Rethinking the Value of Network Pruning", ICLR 2019). Where --normalize is not given, random weights take the one
    /// under which this model is right most often, as they tell none themselves
    #[arg(long, value_name = "UNPRUNED.onnx")]
    pub(crate) as_much_as: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Init {
    /// Drawn by --seed
    Random,
    /// Those in the file
    Given,
}

/// What is written during training, beside the result.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Records of training")]
pub(crate) struct RecordArgs {
    /// One line of JSON for each epoch; `OUTPUT.epochs.jsonl` where not given
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) keeping: KeepingArgs,
}

/// The part of it that a sweep has for each of its points.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct KeepingArgs {
    /// Write event files for TensorBoard into this folder: loss, top-1 and learning rate of each step, and the held-out part
    /// of each epoch. `tensorboard --logdir FOLDER` shows them, also while training goes on
    #[arg(long, value_name = "FOLDER", help_heading = "Records of training")]
    pub(crate) tensorboard: Option<PathBuf>,
    /// Minutes between checkpoints within an epoch, besides the one after each epoch; may be a fraction, 0 is after every
    /// step. 5 where not given
    #[arg(long, value_name = "MINUTES", value_parser = share, help_heading = "Records of training")]
    pub(crate) checkpoint_every: Option<f64>,
}

/// A run that was broken off left `OUTPUT.checkpoint`, and the same command goes on from it, bit for bit.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Going on after an interruption")]
pub(crate) struct GoingOnArgs {
    /// Go on from `OUTPUT.checkpoint`, which a run that was broken off left, and fail where it is not there; with FOLDER from
    /// that checkpoint, where there is none beside the output. Without this flag the same command goes on where it can
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, require_equals = true, conflicts_with = "restart")]
    pub(crate) resume: Option<Option<PathBuf>>,
    /// Begin anew even where a run that was broken off could be continued; its checkpoint goes once the first step is done
    #[arg(long)]
    pub(crate) restart: bool,
}

/// How to train: flags of the command line, and under the same names keys of `[recover]` in a recipe. What is not given
/// comes from the preset, then from the command's defaults.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
#[command(next_help_heading = "Training")]
pub(crate) struct SettingArgs {
    /// Settings of a publication, which other flags override
    #[arg(long, value_enum)]
    pub(crate) preset: Option<Preset>,
    /// Passes over the training images; 10 where not given
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) epochs: Option<usize>,
    /// Images of a step; 64 where not given
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) batch_size: Option<usize>,
    /// What computes: `cpu`, `wgpu` for a graphics processor through Vulkan, Metal or Direct3D 12, `cuda`; `wgpu:1` is the second
    /// of its kind. `wgpu` and `cuda` are refused unless this program was built with `--features wgpu` or `cuda`. `cpu` where
    /// not given
    #[arg(long, value_name = "cpu|wgpu[:N]|cuda[:N]")]
    pub(crate) device: Option<Device>,
    /// Which epoch's model is written: `best` of the held-out part, never of the test set, or `last`. Where not given, `best`;
    /// `last` with training towards sparsity, whose early epochs are the least sparse, and with --without-labels
    #[arg(long, value_enum)]
    pub(crate) keep: Option<Keep>,
    /// Early stopping: end after N epochs in a row that were not better on the held-out part than the best before
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) patience: Option<usize>,

    /// `sgd`: stochastic gradient descent with momentum; `adam-w`: Adam with decoupled weight decay. `sgd` where not given
    #[arg(long, value_enum, help_heading = "Optimiser")]
    pub(crate) optimizer: Option<OptimizerName>,
    /// Learning rate that the schedule starts from, or the greatest of `one-cycle`; where not given, 0.01 for `finetune`, 0.1
    /// for `train`, and 0.001 for `adam-w`
    #[arg(long, value_name = "RATE", help_heading = "Optimiser")]
    pub(crate) learning_rate: Option<f64>,
    /// `sgd`: share of the last step that goes into the next; 0.9 where not given
    #[arg(long, value_name = "SHARE", help_heading = "Optimiser")]
    pub(crate) momentum: Option<f64>,
    /// `sgd`: look ahead along the momentum
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = "Optimiser")]
    pub(crate) nesterov: Option<bool>,
    /// `adam-w`: share of the mean gradient, and of the mean squared gradient, that stays from step to step; 0.9,0.999 where
    /// not given
    #[arg(long, value_name = "B1,B2", value_parser = pair, help_heading = "Optimiser")]
    pub(crate) betas: Option<[f64; 2]>,
    /// Pull of the weights towards zero; where not given 0.0005, and 0.01 for `adam-w`
    #[arg(long, value_name = "FACTOR", help_heading = "Optimiser")]
    pub(crate) weight_decay: Option<f64>,
    /// No weight decay on scales and shifts of batch norms, and on biases
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = "Optimiser")]
    pub(crate) spare_norms_and_biases: Option<bool>,
    /// Scale the gradients down where their Euclidean norm, all together, is greater
    #[arg(long, value_name = "NORM", help_heading = "Optimiser")]
    pub(crate) clip_norm: Option<f64>,
    /// Batches of a step, whose gradients are averaged: a step of N x --batch-size images in the memory of one batch
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Optimiser")]
    pub(crate) accumulate: Option<usize>,
    /// Keep a moving average of all weights, of which this share stays from step to step (0.999), and measure and write that
    #[arg(long, value_name = "SHARE", help_heading = "Optimiser")]
    pub(crate) ema: Option<f64>,

    /// How the learning rate changes: `cosine` (to 0), `constant`, `step:EVERY:FACTOR` (multiplied by FACTOR every so many
    /// epochs), `milestones:EPOCH,EPOCH,…:FACTOR` (at these epochs, counted from 0), `one-cycle` or `one-cycle:RISE` (up over
    /// this share of the run, 0.3, and down to almost 0). `cosine` where not given
    #[arg(long, value_name = "SCHEDULE", help_heading = "Learning-rate schedule")]
    pub(crate) schedule: Option<String>,
    /// Epochs over which the learning rate rises from 0 first; may be a fraction
    #[arg(long, value_name = "EPOCHS", help_heading = "Learning-rate schedule")]
    pub(crate) warm_up: Option<f64>,

    /// What is made small: `cross-entropy` for one class of each image, `binary-cross-entropy` for several labels of each
    /// image, `mean-squared` and `mean-absolute` for numbers. Told from the data where not given
    #[arg(long, value_enum, help_heading = "Loss")]
    pub(crate) loss: Option<LossName>,
    /// `cross-entropy`: share of each image's label that is spread over all classes
    #[arg(long, value_name = "SHARE", help_heading = "Loss")]
    pub(crate) label_smoothing: Option<f64>,

    /// Learn from this model too, mostly the unpruned one: knowledge distillation. It stays as it is
    #[arg(long, value_name = "MODEL.onnx", help_heading = "Learning from a teacher")]
    pub(crate) teacher: Option<PathBuf>,
    /// What both models' outputs are divided by before they are compared: the higher, the more the teacher's unlikely classes
    /// count; 4 where not given. Not for losses of numbers, `mean-squared` and `mean-absolute`
    #[arg(long, value_name = "T", help_heading = "Learning from a teacher")]
    pub(crate) distill_temperature: Option<f64>,
    /// How much the teacher counts, from 0 to 1; labels count as much less. 0.9 where not given
    #[arg(long, value_name = "SHARE", help_heading = "Learning from a teacher")]
    pub(crate) distill_weight: Option<f64>,
    /// Also learn what the blocks of the teacher give that are left in the model; 1 is a good start
    #[arg(long, value_name = "WEIGHT", help_heading = "Learning from a teacher")]
    pub(crate) distill_block_weight: Option<f64>,
    /// Only these blocks' values, by globs over their names; --distill-block-weight is then 1 where not given
    #[arg(long, value_delimiter = ',', value_name = "GLOB", help_heading = "Learning from a teacher")]
    pub(crate) distill_blocks: Option<Vec<String>>,
    /// Learn the mean of what the teacher says of each image and of its mirror image. The teacher takes twice as long. For
    /// images that mean the same mirrored, as with --flip
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = "Learning from a teacher")]
    pub(crate) distill_mirrored: Option<bool>,
    /// Learn from the teacher alone, never looking at labels. Nothing can be measured then, so that the last epoch is kept
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = "Learning from a teacher")]
    pub(crate) without_labels: Option<bool>,

    /// Network Slimming: draw the scales of batch norms to zero with this strength, so that `prune --criterion
    /// batch-norm-scale` tells filters by them; 0.0001 for VGG and 0.00001 for ResNet in the paper
    #[arg(long, value_name = "STRENGTH", value_parser = share, help_heading = "Training towards sparsity")]
    pub(crate) slimming: Option<f64>,
    /// Sparse Structure Selection: scale the branch of each block by a number that is drawn to exactly zero with this
    /// strength, such as 0.01. The blocks at zero are told at the end, and scales are folded into the weights
    #[arg(long, value_name = "STRENGTH", value_parser = share, help_heading = "Training towards sparsity")]
    pub(crate) sss: Option<f64>,
    /// Switch filters on and off by trainable masks, whose number counts with this strength, such as 0.0001. Those that end
    /// switched off are zeros in the result, and `prune --dead-channels` removes them
    #[arg(long, value_name = "STRENGTH", value_parser = share, help_heading = "Training towards sparsity")]
    pub(crate) masks: Option<f64>,
    /// ECC's proximal step: set input channels of each weight to zero until this share is left, such as 0.5
    #[arg(long, value_name = "SHARE", help_heading = "Training towards sparsity")]
    pub(crate) ecc: Option<f64>,

    /// Pad each image by N black pixels and crop at random; 0 is off
    #[arg(long, value_name = "N", help_heading = "Augmentation")]
    pub(crate) pad_crop: Option<usize>,
    /// Take a part of random shape whose area lies between these shares of the image's, and resize it: `0.08,1` is usual for
    /// photographs; instead of --pad-crop
    #[arg(long, value_name = "LEAST,GREATEST", help_heading = "Augmentation")]
    pub(crate) random_resized_crop: Option<String>,
    /// Mirror left and right at random
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = "Augmentation")]
    pub(crate) flip: Option<bool>,
    /// Mirror top and bottom at random
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = "Augmentation")]
    pub(crate) vertical_flip: Option<bool>,
    /// Turn by up to so many degrees either way
    #[arg(long, value_name = "DEGREES", help_heading = "Augmentation")]
    pub(crate) rotation: Option<String>,
    /// RandAugment: so many operations of 14, with a magnitude of 0 to 30, such as `2,9`
    #[arg(long, value_name = "OPS,MAGNITUDE", help_heading = "Augmentation")]
    pub(crate) rand_augment: Option<String>,
    /// Change brightness, contrast, saturation and hue by up to these shares, such as `0.4,0.4,0.4,0.1`
    #[arg(long, value_name = "B[,C[,S[,H]]]", help_heading = "Augmentation")]
    pub(crate) color_jitter: Option<String>,
    /// Overwrite a rectangle of the normalised image, with this probability
    #[arg(long, value_name = "PROBABILITY", help_heading = "Augmentation")]
    pub(crate) random_erasing: Option<String>,
    /// Mix each image with another of its batch, and their classes, in shares drawn from Beta(ALPHA, ALPHA); 0.2 is usual
    #[arg(long, value_name = "ALPHA", help_heading = "Augmentation")]
    pub(crate) mixup: Option<f64>,
    /// Put a rectangle of another image of the batch into each; 1 is usual. With --mixup, one of both is drawn for each batch
    #[arg(long, value_name = "ALPHA", help_heading = "Augmentation")]
    pub(crate) cutmix: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Keep {
    Best,
    Last,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OptimizerName {
    Sgd,
    AdamW,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LossName {
    CrossEntropy,
    BinaryCrossEntropy,
    MeanSquared,
    MeanAbsolute,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Preset {
    LayerpruneCifar,
    LayerpruneImagenet,
}

impl ValueEnum for Preset {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::LayerpruneCifar, Self::LayerpruneImagenet]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let flags = preset::as_flags(&preset::settings(*self));
        Some(PossibleValue::new(preset::name(*self)).help(format!("{}: {flags}", preset::source(*self))))
    }
}

/// Two numbers with a comma between.
fn pair(text: &str) -> Result<[f64; 2], String> {
    let numbers = text.split_once(',').and_then(|(a, b)| Some([a.trim().parse().ok()?, b.trim().parse().ok()?]));
    numbers.ok_or_else(|| format!("`{text}` is no pair of numbers such as `0.9,0.999`"))
}
