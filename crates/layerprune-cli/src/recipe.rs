//! The recipe of a whole job: TOML in, and written back with every default filled in.

use std::path::PathBuf;

use anyhow::{Context, Result};
use layerprune::criteria::Normalize;
use layerprune::pipeline::{Strategy, Target};
use layerprune::plan::{Budgets, LatencyBudget};
use serde::{Deserialize, Serialize};

use crate::Usage;
use crate::args::{CriterionArgs, DataArgs, ImageArgs, LimitArgs, SettingArgs};

/// A recipe to start from.
pub(crate) const EXAMPLE: &str = include_str!("recipe.example.toml");

/// A whole job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Recipe {
    /// ONNX file.
    pub(crate) model: PathBuf,
    /// Folder for the results.
    pub(crate) output: PathBuf,
    #[serde(default)]
    pub(crate) seed: u64,
    pub(crate) data: DataSection,
    #[serde(default)]
    pub(crate) score: ScoreSection,
    pub(crate) prune: PruneSection,
    #[serde(default)]
    pub(crate) recover: RecoverSection,
    #[serde(default)]
    pub(crate) latency: LatencySection,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct DataSection {
    pub(crate) source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) normalize: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resize: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) crop: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interpolation: Option<String>,
    /// The file to take preprocessing from, or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) preprocess: Option<String>,
    #[serde(default)]
    pub(crate) gray_to_rgb: bool,
    #[serde(default = "tenth")]
    pub(crate) held_out: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct ScoreSection {
    /// The first one chooses.
    pub(crate) criteria: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) samples: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) samples_per_class: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) batches: Option<usize>,
    pub(crate) batch: usize,
    pub(crate) embedding: usize,
    pub(crate) probe_epochs: usize,
    pub(crate) recalibrate_samples: usize,
    pub(crate) normalize: Normalize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct PruneSection {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency_reduction: Option<f64>,
    /// In milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_latency: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) speedup: Option<f64>,
    /// Share of the multiply-adds that may be left, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) macs: Option<f64>,
    /// Share of the parameters that may be left, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) params: Option<f64>,
    /// How budgets are met.
    #[serde(default)]
    pub(crate) search: Search,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) layers: Option<usize>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) remove: Vec<String>,
    /// Batch size at which the latency target is measured.
    #[serde(default = "one")]
    pub(crate) batch: usize,
    #[serde(default)]
    pub(crate) protect: Vec<String>,
    #[serde(default)]
    pub(crate) only: Vec<String>,
    #[serde(default)]
    pub(crate) drop_branches: bool,
    #[serde(default)]
    pub(crate) shrink_chains: bool,
}

/// See [`Strategy`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Search {
    #[default]
    Greedy,
    Exact,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct RecoverSection {
    /// Images to recalibrate on; 0 leaves it out.
    pub(crate) recalibrate: usize,
    /// Epochs of fine-tuning; 0 leaves it out.
    pub(crate) epochs: usize,
    pub(crate) batch_size: usize,
    pub(crate) learning_rate: f64,
    pub(crate) momentum: f64,
    pub(crate) weight_decay: f64,
    pub(crate) schedule: String,
    pub(crate) warm_up: f64,
    pub(crate) nesterov: bool,
    pub(crate) pad_crop: usize,
    pub(crate) flip: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct LatencySection {
    pub(crate) batch: Vec<usize>,
    pub(crate) threads: usize,
    pub(crate) samples: usize,
}

fn tenth() -> f64 {
    0.1
}

fn one() -> usize {
    1
}

impl Default for ScoreSection {
    fn default() -> Self {
        let options = CriterionArgs::default();
        Self {
            criteria: vec!["imprint".to_owned()],
            samples: options.samples,
            samples_per_class: options.samples_per_class,
            batches: options.batches,
            batch: options.score_batch,
            embedding: options.embedding,
            probe_epochs: options.probe_epochs,
            recalibrate_samples: options.recalibrate_samples,
            normalize: options.normalize_scores,
        }
    }
}

impl Default for RecoverSection {
    fn default() -> Self {
        Self {
            recalibrate: 2000,
            epochs: 5,
            batch_size: 64,
            learning_rate: 0.01,
            momentum: 0.9,
            weight_decay: 5e-4,
            schedule: "cosine".to_owned(),
            warm_up: 0.0,
            nesterov: false,
            pad_crop: 0,
            flip: false,
        }
    }
}

impl Default for LatencySection {
    fn default() -> Self {
        Self { batch: vec![1, 8], threads: 1, samples: 200 }
    }
}

impl Recipe {
    /// Reads a recipe; relative paths in it are meant from where the command runs.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let recipe: Self = toml::from_str(text).context("the recipe cannot be read")?;
        recipe.target()?;
        if recipe.score.criteria.is_empty() {
            return Err(Usage("`score.criteria` names no criterion".to_owned()).into());
        }
        let above_0 = [recipe.prune.batch, recipe.score.embedding, recipe.score.samples.unwrap_or(1)];
        if above_0.contains(&0) {
            let text = "`prune.batch`, `score.embedding` and `score.samples` are above 0";
            return Err(Usage(text.to_owned()).into());
        }
        let latency = &recipe.latency;
        if latency.batch.is_empty() || latency.batch.contains(&0) || latency.threads == 0 || latency.samples == 0 {
            return Err(Usage("`latency` needs batch sizes, threads and samples above 0".to_owned()).into());
        }
        Ok(recipe)
    }

    /// The one target that the recipe gives.
    pub(crate) fn target(&self) -> Result<Target> {
        let prune = &self.prune;
        let budgets = self.budgets()?;
        if budgets.is_empty() && prune.search == Search::Exact {
            return Err(Usage("`prune.search` says how budgets are met; none is given".to_owned()).into());
        }
        match (budgets.is_empty(), prune.layers, prune.remove.as_slice()) {
            (false, None, []) => {
                let strategy = match prune.search {
                    Search::Greedy => Strategy::Greedy,
                    Search::Exact => Strategy::Exact,
                };
                Ok(Target::Budgets(budgets, strategy))
            }
            (true, Some(count), []) => Ok(Target::Layers(count)),
            (true, None, names) if !names.is_empty() => Ok(Target::Named(names.to_vec())),
            _ => {
                let text = "`prune` needs one of `layers`, `remove` and budgets: `latency-reduction`, `max-latency`, `speedup`, \
                            `macs`, `params`";
                Err(Usage(text.to_owned()).into())
            }
        }
    }

    fn budgets(&self) -> Result<Budgets> {
        let prune = &self.prune;
        let percents = [("latency-reduction", prune.latency_reduction), ("macs", prune.macs), ("params", prune.params)];
        for (name, percent) in percents {
            if let Some(percent) = percent.filter(|percent| !(*percent > 0.0 && *percent < 100.0)) {
                return Err(
                    Usage(format!("`prune.{name}` is {percent}, a percentage between 0 and 100 is needed")).into()
                );
            }
        }
        let latency = match (prune.latency_reduction, prune.max_latency, prune.speedup) {
            (None, None, None) => None,
            (Some(percent), None, None) => Some(LatencyBudget::Reduction(percent)),
            (None, Some(ms), None) if ms > 0.0 => Some(LatencyBudget::AtMost(ms)),
            (None, None, Some(times)) if times > 1.0 => Some(LatencyBudget::Speedup(times)),
            _ => {
                let text = "`prune` takes one of `latency-reduction`, `max-latency` (milliseconds above 0) and `speedup` (above 1)";
                return Err(Usage(text.to_owned()).into());
            }
        };
        Ok(Budgets { latency, macs: prune.macs, parameters: prune.params, max_drop: None })
    }

    pub(crate) fn data_args(&self) -> DataArgs {
        let data = self.data.clone();
        DataArgs {
            data: data.source,
            images: ImageArgs {
                normalize: data.normalize,
                resize: data.resize,
                crop: data.crop,
                interpolation: data.interpolation,
                preprocess: data.preprocess,
                gray_to_rgb: data.gray_to_rgb,
                held_out: data.held_out,
            },
        }
    }

    pub(crate) fn criterion_args(&self) -> CriterionArgs {
        let score = &self.score;
        CriterionArgs {
            samples: score.samples,
            samples_per_class: score.samples_per_class,
            batches: score.batches,
            score_batch: score.batch,
            embedding: score.embedding,
            probe_epochs: score.probe_epochs,
            recalibrate_samples: score.recalibrate_samples,
            normalize_scores: score.normalize,
        }
    }

    pub(crate) fn limit_args(&self) -> LimitArgs {
        let prune = self.prune.clone();
        LimitArgs {
            protect: prune.protect,
            only: prune.only,
            drop_branches: prune.drop_branches,
            shrink_chains: prune.shrink_chains,
        }
    }

    pub(crate) fn setting_args(&self) -> SettingArgs {
        let recover = self.recover.clone();
        SettingArgs {
            epochs: recover.epochs,
            batch_size: recover.batch_size,
            learning_rate: Some(recover.learning_rate),
            momentum: recover.momentum,
            weight_decay: recover.weight_decay,
            schedule: recover.schedule,
            warm_up: recover.warm_up,
            nesterov: recover.nesterov,
            pad_crop: recover.pad_crop,
            flip: recover.flip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_recipe_and_survives_being_written_back() {
        let recipe = Recipe::parse(EXAMPLE).unwrap();
        let budgets = Budgets { latency: Some(LatencyBudget::Reduction(40.0)), ..Budgets::default() };
        assert_eq!(recipe.target().unwrap(), Target::Budgets(budgets, Strategy::Greedy));
        let written = toml::to_string(&recipe).unwrap();
        assert_eq!(Recipe::parse(&written).unwrap(), recipe);
    }

    #[test]
    fn two_targets_are_refused() {
        let text = EXAMPLE.replace("latency-reduction = 40", "latency-reduction = 40\nlayers = 2");
        let error = Recipe::parse(&text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`prune` needs one of `layers`, `remove` and budgets: `latency-reduction`, `max-latency`, `speedup`, `macs`, `params`"
        );
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = Recipe::parse(&EXAMPLE.replace("seed = 0", "sede = 0")).unwrap_err();
        assert!(format!("{error:#}").contains("unknown field `sede`"), "{error:#}");
    }
}
