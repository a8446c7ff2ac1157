//! Flags of published methods.

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use layerprune::methods::{METHODS, Method, MethodSettings, Removes, Setting, named};
use serde::{Deserialize, Serialize};

use super::values::{percent, positive};
use crate::Usage;

/// A published method, and what can be set of it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Published methods")]
pub(crate) struct MethodArgs {
    #[arg(
        long,
        value_name = "NAME",
        value_parser = PossibleValuesParser::new(METHODS.iter().map(|method| method.name)),
        hide_possible_values = true,
        requires = "budgets",
        conflicts_with_all = ["by", "search", "scope", "scores", "recover", "iterative", "profile", "dry_run", "save_plan", "max_drop"],
        help = short_help(),
        long_help = long_help(),
    )]
    pub(crate) method: Option<String>,
    #[command(flatten)]
    pub(crate) settings: MethodSettingArgs,
}

/// What can be set of methods, as flags and as keys of recipes.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[command(next_help_heading = "Published methods")]
pub(crate) struct MethodSettingArgs {
    /// `random`: what goes by lot, `layers` where not given
    #[arg(long, value_name = "WHAT", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) removes: Option<RemovesArg>,
    /// `slimming`, `sss`, `ecc`: epochs of training towards sparsity, 2 where not given
    #[arg(long, value_name = "N", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method_epochs: Option<usize>,
    /// Methods that go in rounds: batches of training before each removal, 30 where not given
    #[arg(long, value_name = "N", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method_batches: Option<usize>,
    /// `bn-scale`, `taylor`, `feature-maps`: share of the filters that goes in a round, 5% where not given
    #[arg(long, value_name = "P%", value_parser = percent)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method_step: Option<f64>,
    /// `halp`: rounds, 3 where not given
    #[arg(long, value_name = "N", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method_rounds: Option<usize>,
    /// `slimming`, `sss`: weight of the penalty, 1e-4 and 0.01 where not given
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method_strength: Option<f64>,
    /// Learning rate of training that is a part of the method; 0.001 between removals, 0.01 towards sparsity where not given
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method_learning_rate: Option<f64>,
    /// `weight-norm`: held-out images that the sensitivity sweep looks at, 1000 where not given
    #[arg(long, value_name = "N", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method_images: Option<usize>,
    /// Images of a batch of training that is a part of the method, 64 where not given
    #[arg(long, value_name = "N", value_parser = positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method_batch_size: Option<usize>,
    /// Training that is a part of the method: pad images by so many pixels and crop them at random, 0 where not given
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method_pad_crop: Option<usize>,
    /// Training that is a part of the method: mirror images at random
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method_flip: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RemovesArg {
    Layers,
    Filters,
}

impl MethodArgs {
    /// The method asked for.
    pub(crate) fn method(&self) -> Option<&'static Method> {
        self.method.as_deref().and_then(named)
    }
}

impl MethodSettingArgs {
    /// Refuses what is set and none of `methods` reads. `place` stands before the names: the dashes of flags, or the table of a
    /// recipe.
    pub(crate) fn expect_readers(&self, methods: &[&Method], place: &str) -> Result<()> {
        let read = |setting: Setting| methods.iter().any(|method| method.reads.contains(&setting));
        match self.given().into_iter().find(|(_, setting)| !read(*setting)) {
            Some((name, setting)) => Err(unread(&format!("{place}{name}"), setting)),
            None => Ok(()),
        }
    }

    /// What is set, by name, and what it is to methods.
    fn given(&self) -> Vec<(&'static str, Setting)> {
        let Self {
            removes,
            method_epochs,
            method_batches,
            method_step,
            method_rounds,
            method_strength,
            method_learning_rate,
            method_images,
            method_batch_size,
            method_pad_crop,
            method_flip,
        } = self;
        let all = [
            ("removes", Setting::Removes, removes.is_some()),
            ("method-epochs", Setting::Epochs, method_epochs.is_some()),
            ("method-batches", Setting::Batches, method_batches.is_some()),
            ("method-step", Setting::Step, method_step.is_some()),
            ("method-rounds", Setting::Rounds, method_rounds.is_some()),
            ("method-strength", Setting::Strength, method_strength.is_some()),
            ("method-learning-rate", Setting::LearningRate, method_learning_rate.is_some()),
            ("method-images", Setting::Images, method_images.is_some()),
            // How a method trains, if it does.
            ("method-batch-size", Setting::LearningRate, method_batch_size.is_some()),
            ("method-pad-crop", Setting::LearningRate, method_pad_crop.is_some()),
            ("method-flip", Setting::LearningRate, method_flip.is_some()),
        ];
        all.into_iter().filter(|(.., given)| *given).map(|(name, setting, _)| (name, setting)).collect()
    }

    /// The library's settings, with `criterion` where one is given.
    pub(crate) fn settings(&self, criterion: Option<&str>) -> MethodSettings {
        let default = MethodSettings::default();
        MethodSettings {
            criterion: criterion.map_or(default.criterion, str::to_owned),
            removes: match self.removes {
                None | Some(RemovesArg::Layers) => Removes::Layers,
                Some(RemovesArg::Filters) => Removes::Filters,
            },
            epochs: self.method_epochs.unwrap_or(default.epochs),
            batches: self.method_batches.unwrap_or(default.batches),
            step: self.method_step.unwrap_or(default.step),
            rounds: self.method_rounds.unwrap_or(default.rounds),
            strength: self.method_strength,
            learning_rate: self.method_learning_rate,
            images: self.method_images.unwrap_or(default.images),
        }
    }
}

/// That `what` does nothing, and with which methods it would do something.
pub(crate) fn unread(what: &str, setting: Setting) -> anyhow::Error {
    let readers: Vec<&str> =
        METHODS.iter().filter(|method| method.reads.contains(&setting)).map(|method| method.name).collect();
    Usage(format!("`{what}` would do nothing here; methods that read it: {}", readers.join(", "))).into()
}

fn short_help() -> String {
    let names = METHODS.iter().map(|method| method.name).collect::<Vec<_>>().join(", ");
    format!("Remove parts as a published method does, until the budgets are met: {names}")
}

fn long_help() -> String {
    let mut text = "Remove parts as a published method does, until the budgets are met. Some train: what is finished is kept beside the \
                    output, and the same command goes on after a kill. docs/METHODS.md has sources, needs and differences:\n"
        .to_owned();
    for method in METHODS {
        text.push_str(&format!("\n- {}: {}", method.name, method.about));
    }
    text
}
