//! The recipe of a study: TOML in, and written back with every default filled in.

use std::path::PathBuf;

use anyhow::{Context, Result};
use layerprune::methods::{Method, Removes};
use layerprune::plan::{Budgets, LatencyBudget};
use serde::{Deserialize, Serialize};

use crate::args::{LimitArgs, MethodSettingArgs, RemovesArg, SettingArgs};
use crate::recipe::{DataSection, LatencySection, ScoreSection};
use crate::{Usage, methods};

/// A recipe to start from.
pub(crate) const EXAMPLE: &str = include_str!("../study.example.toml");

/// A study: every arm under every budget with every seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct StudyRecipe {
    /// ONNX file.
    pub(crate) model: PathBuf,
    /// Folder for the results.
    pub(crate) output: PathBuf,
    /// Names of methods, with `:CRITERION`, or `:filters` for `random`, where wanted.
    pub(crate) arms: Vec<String>,
    /// Latency reductions in percent.
    pub(crate) latency_reductions: Vec<f64>,
    #[serde(default = "one_seed")]
    pub(crate) seeds: Vec<u64>,
    pub(crate) data: DataSection,
    #[serde(default)]
    pub(crate) score: ScoreSection,
    #[serde(default)]
    pub(crate) limits: Limits,
    #[serde(default)]
    pub(crate) method: MethodSettingArgs,
    /// How every arm is trained behind its cut.
    #[serde(default)]
    pub(crate) finetune: SettingArgs,
    /// What `scratch` does otherwise.
    #[serde(default)]
    pub(crate) scratch: SettingArgs,
    #[serde(default)]
    pub(crate) latency: LatencySection,
}

/// What may go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Limits {
    pub(crate) protect: Vec<String>,
    pub(crate) only: Vec<String>,
    pub(crate) drop_branches: bool,
    pub(crate) shrink_chains: bool,
    /// Share of a layer's filters that stays at least, in percent.
    pub(crate) floor: f64,
    pub(crate) round_to: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            protect: Vec::new(),
            only: Vec::new(),
            drop_branches: false,
            shrink_chains: false,
            floor: 10.0,
            round_to: 1,
        }
    }
}

impl Limits {
    pub(crate) fn args(&self) -> LimitArgs {
        let Self { protect, only, drop_branches, shrink_chains, .. } = self.clone();
        LimitArgs { protect, only, drop_branches, shrink_chains }
    }
}

/// What makes models in a study: a method, and what is chosen of it.
#[derive(Debug, Clone)]
pub(crate) struct Arm {
    pub(crate) name: String,
    pub(crate) method: &'static Method,
    pub(crate) criterion: Option<String>,
    pub(crate) removes: Option<RemovesArg>,
}

impl Arm {
    fn parse(name: &str) -> Result<Self> {
        let (method, variant) = name.split_once(':').map_or((name, None), |(method, variant)| (method, Some(variant)));
        let found = methods::called(method, "arms")?;
        let removes = match (found.removes, variant) {
            (Removes::Either, None | Some("layers")) => Some(RemovesArg::Layers),
            (Removes::Either, Some("filters")) => Some(RemovesArg::Filters),
            (Removes::Either, Some(other)) => {
                return Err(Usage(format!("`arms`: `{method}:{other}` is neither `:layers` nor `:filters`")).into());
            }
            _ => None,
        };
        let criterion = variant.filter(|_| removes.is_none()).map(str::to_owned);
        Ok(Self { name: name.to_owned(), method: found, criterion, removes })
    }

    /// What it takes out, in one word.
    pub(crate) fn removes(&self) -> &'static str {
        match (self.method.removes, self.removes) {
            (_, Some(RemovesArg::Filters)) | (Removes::Filters, _) => "filters",
            (Removes::Both, _) => "both",
            (Removes::Layers | Removes::Either, _) => "layers",
        }
    }
}

/// One model to be made.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) arm: Arm,
    pub(crate) budgets: Budgets,
    pub(crate) seed: u64,
}

impl StudyRecipe {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let recipe: Self = toml::from_str(text).context("the recipe cannot be read")?;
        recipe.jobs()?;
        let refuse = |text: &str| Err(Usage(text.to_owned()).into());
        if recipe.latency_reductions.iter().any(|percent| !(*percent > 0.0 && *percent < 100.0)) {
            return refuse("`latency-reductions` are percentages between 0 and 100");
        }
        if !(0.0..=100.0).contains(&recipe.limits.floor) || recipe.limits.round_to == 0 {
            return refuse("`limits.floor` is a percentage, and `limits.round-to` is above 0");
        }
        recipe.latency.check()?;
        if recipe.method.removes.is_some() {
            return refuse("what `random` removes is a part of its name: `random:layers`, `random:filters`");
        }
        Ok(recipe)
    }

    /// All models to be made, in the order of the record.
    pub(crate) fn jobs(&self) -> Result<Vec<Job>> {
        let arms: Vec<Arm> = self.arms.iter().map(|name| Arm::parse(name)).collect::<Result<_>>()?;
        let mut jobs = Vec::new();
        for &percent in &self.latency_reductions {
            let budgets = Budgets { latency: Some(LatencyBudget::Reduction(percent)), ..Budgets::default() };
            for arm in &arms {
                jobs.extend(self.seeds.iter().map(|&seed| Job { arm: arm.clone(), budgets, seed }));
            }
        }
        if jobs.is_empty() {
            let text = "nothing is to be done: `arms`, `latency-reductions` or `seeds` is empty";
            return Err(Usage(text.to_owned()).into());
        }
        Ok(jobs)
    }

    /// A name for the results of `job` on the model of this digest by this engine: a digest of all that they depend on.
    pub(crate) fn key(&self, job: &Job, model: &str, engine: &str) -> String {
        let shared = Self {
            output: PathBuf::new(),
            model: PathBuf::new(),
            arms: Vec::new(),
            latency_reductions: Vec::new(),
            seeds: Vec::new(),
            ..self.clone()
        };
        let shared = serde_json::to_string(&shared).unwrap_or_default();
        let (arm, budgets, seed) = (&job.arm.name, job.budgets, job.seed);
        let whole = format!("{}\n{model}\n{engine}\n{shared}\n{arm}\n{budgets}\n{seed}", env!("CARGO_PKG_VERSION"));
        blake3::hash(whole.as_bytes()).to_hex()[..16].to_owned()
    }
}

fn one_seed() -> Vec<u64> {
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_recipe_and_survives_being_written_back() {
        let recipe = StudyRecipe::parse(EXAMPLE).unwrap();
        let written = toml::to_string(&recipe).unwrap();
        assert_eq!(StudyRecipe::parse(&written).unwrap(), recipe);
    }

    #[test]
    fn keys_tell_jobs_apart_by_what_they_depend_on() {
        let recipe = StudyRecipe::parse(EXAMPLE).unwrap();
        let jobs = recipe.jobs().unwrap();
        let mut keys: Vec<String> = jobs.iter().map(|job| recipe.key(job, "model", "rten")).collect();
        let fewer = StudyRecipe { seeds: vec![recipe.seeds[0]], output: "elsewhere".into(), ..recipe.clone() };
        assert_eq!(
            fewer.key(&fewer.jobs().unwrap()[0], "model", "rten"),
            keys[0],
            "other jobs and folders do not matter"
        );
        assert_ne!(recipe.key(&jobs[0], "another model", "rten"), keys[0]);
        assert_ne!(recipe.key(&jobs[0], "model", "onnxruntime"), keys[0]);
        let mut longer = recipe.clone();
        longer.finetune.epochs = Some(77);
        assert_ne!(longer.key(&jobs[0], "model", "rten"), keys[0]);
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), jobs.len());
    }

    #[test]
    fn arms_name_methods_and_what_is_chosen_of_them() {
        let arm = Arm::parse("layerprune:weight-norm+imprint").unwrap();
        assert_eq!((arm.criterion.as_deref(), arm.removes()), (Some("weight-norm+imprint"), "layers"));
        assert_eq!(Arm::parse("random:filters").unwrap().removes(), "filters");
        assert_eq!(Arm::parse("random").unwrap().removes(), "layers");
        assert!(Arm::parse("random:channels").is_err());
        let error = Arm::parse("tailor").unwrap_err().to_string();
        assert!(error.starts_with("`arms`: there is no method `tailor`; known are layerprune, "), "{error}");
    }
}
