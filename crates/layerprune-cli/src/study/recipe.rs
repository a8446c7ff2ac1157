//! The recipe of a study: TOML in, and written back with every default filled in.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::work::{Arm, Cut, Goal, Job};
use crate::Usage;
use crate::args::{LimitArgs, MethodSettingArgs, SettingArgs};
use crate::recipe::{DataSection, LatencySection, ScoreSection};

/// A recipe to start from.
pub(crate) const EXAMPLE: &str = include_str!("../study.example.toml");

/// A study: every arm under every budget with every seed, models cut by lot, and networks to compare with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct StudyRecipe {
    /// ONNX file.
    pub(crate) model: PathBuf,
    /// Folder for the results.
    pub(crate) output: PathBuf,
    /// Names of methods, with `:CRITERION`, or `:filters` for `random`, where wanted.
    #[serde(default)]
    pub(crate) arms: Vec<String>,
    /// Latency reductions in percent.
    #[serde(default)]
    pub(crate) latency_reductions: Vec<f64>,
    /// Numbers of layers, for arms that rank layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) layers: Vec<usize>,
    #[serde(default = "one_seed")]
    pub(crate) seeds: Vec<u64>,
    /// Models that are cut by lot.
    #[serde(default, skip_serializing_if = "Random::is_none")]
    pub(crate) random: Random,
    /// Networks to compare with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) handcrafted: Vec<HandcraftedSection>,
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

/// How many models are cut by lot, of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Random {
    pub(crate) models: usize,
    /// How many of them are trained and judged; the others are only timed.
    pub(crate) trained: usize,
}

impl Random {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A network to compare with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct HandcraftedSection {
    pub(crate) name: String,
    pub(crate) model: PathBuf,
    /// In percent, where it cannot be measured on the study's data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_1: Option<f64>,
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

impl StudyRecipe {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let recipe: Self = toml::from_str(text).context("the recipe cannot be read")?;
        recipe.jobs()?;
        let refuse = |text: &str| Err(Usage(text.to_owned()).into());
        if recipe.layers.contains(&0) {
            return refuse("`layers` are numbers above 0");
        }
        if recipe.random.trained > recipe.random.models {
            return refuse("`random.trained` is at most `random.models`: they are the first of these");
        }
        if let Some(one) =
            recipe.handcrafted.iter().find(|one| one.top_1.is_some_and(|top1| !(0.0..=100.0).contains(&top1)))
        {
            return refuse(&format!("`top-1` of `{}` is a percentage", one.name));
        }
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
        let arms = recipe.arms()?;
        recipe.method.expect_readers(&arms.iter().map(|arm| arm.method).collect::<Vec<_>>(), "method.")?;
        Ok(recipe)
    }

    fn arms(&self) -> Result<Vec<Arm>> {
        self.arms.iter().map(|name| Arm::parse(name)).collect()
    }

    /// Everything that is to be done, in the order of the record.
    pub(crate) fn jobs(&self) -> Result<Vec<Job>> {
        let arms = self.arms()?;
        let mut goals: Vec<Goal> = self.latency_reductions.iter().map(|&percent| Goal::reduction(percent)).collect();
        goals.extend(self.layers.iter().map(|&count| Goal::Layers(count)));
        let mut cuts = Vec::new();
        for goal in goals {
            for arm in arms.iter().filter(|arm| arm.can_meet(goal)) {
                cuts.extend(self.seeds.iter().map(|&seed| Job::Cut(Cut { arm: arm.clone(), goal, seed })));
            }
        }
        for name in ["random:layers", "random:filters"].iter().filter(|_| self.random.models > 0) {
            let (arm, Random { models, trained }) = (Arm::parse(name)?, self.random);
            let lot = |number| Goal::Lot { trained: number < trained };
            let cut = |number| Cut { arm: arm.clone(), goal: lot(number), seed: number as u64 };
            cuts.extend((0..models).map(|number| Job::Cut(cut(number))));
        }
        if cuts.is_empty() {
            let text = "nothing is to be done: without `random`, it takes `arms`, `seeds`, and `latency-reductions` or, for arms that \
                        rank layers, `layers`";
            return Err(Usage(text.to_owned()).into());
        }
        let others = self.handcrafted.iter().cloned().map(Job::Handcrafted);
        Ok([Job::Whole].into_iter().chain(cuts).chain(others).collect())
    }

    /// A name for the results of `job` on the model of this digest by this engine: a digest of all that they depend on.
    pub(crate) fn key(&self, job: &Job, model: &str, engine: &str) -> Result<String> {
        let shared = Self {
            output: PathBuf::new(),
            model: PathBuf::new(),
            arms: Vec::new(),
            latency_reductions: Vec::new(),
            layers: Vec::new(),
            seeds: Vec::new(),
            random: Random::default(),
            handcrafted: Vec::new(),
            // Budgets are met at the first batch size; a model that is made can be timed in other ways at any time.
            latency: LatencySection {
                engines: Vec::new(),
                batch: self.latency.batch[..1].to_vec(),
                ..self.latency.clone()
            },
            ..self.clone()
        };
        let shared = serde_json::to_string(&shared)?;
        let whole = format!("{}\n{model}\n{engine}\n{shared}\n{}", env!("CARGO_PKG_VERSION"), job.depends_on()?);
        Ok(blake3::hash(whole.as_bytes()).to_hex()[..16].to_owned())
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
    fn arms_are_paired_with_the_goals_that_they_can_meet() {
        let recipe = StudyRecipe {
            arms: ["layerprune", "taylor", "random:layers", "random:filters"].map(str::to_owned).to_vec(),
            latency_reductions: vec![25.0],
            layers: vec![1, 2],
            seeds: vec![7],
            random: Random { models: 2, trained: 1 },
            ..StudyRecipe::parse(EXAMPLE).unwrap()
        };
        let told: Vec<String> = recipe.jobs().unwrap().iter().map(|job| job.to_string()).collect();
        let expected = [
            "the whole model",
            "layerprune, latency reduction 25 %, seed 7",
            "taylor, latency reduction 25 %, seed 7",
            "random:layers, latency reduction 25 %, seed 7",
            "random:filters, latency reduction 25 %, seed 7",
            "layerprune, 1 layer, seed 7",
            "random:layers, 1 layer, seed 7",
            "layerprune, 2 layers, seed 7",
            "random:layers, 2 layers, seed 7",
            "random:layers, by lot and trained, seed 0",
            "random:layers, by lot, seed 1",
            "random:filters, by lot and trained, seed 0",
            "random:filters, by lot, seed 1",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn keys_tell_jobs_apart_by_what_they_depend_on() {
        let recipe = StudyRecipe::parse(EXAMPLE).unwrap();
        let jobs = recipe.jobs().unwrap();
        let key = |recipe: &StudyRecipe, place: usize, model, engine| {
            recipe.key(&recipe.jobs().unwrap()[place], model, engine).unwrap()
        };
        let mut keys: Vec<String> = jobs.iter().map(|job| recipe.key(job, "model", "rten").unwrap()).collect();
        let fewer = StudyRecipe { seeds: vec![recipe.seeds[0]], output: "elsewhere".into(), ..recipe.clone() };
        assert_eq!(key(&fewer, 1, "model", "rten"), keys[1], "other jobs and folders do not matter");
        assert_ne!(key(&recipe, 1, "another model", "rten"), keys[1]);
        assert_ne!(key(&recipe, 1, "model", "onnxruntime"), keys[1]);
        let mut more = recipe.clone();
        more.latency.batch.push(8);
        more.latency.engines.push("onnxruntime".to_owned());
        assert_eq!(key(&more, 1, "model", "rten"), keys[1], "a model that is made can be timed in more ways");
        let mut longer = recipe.clone();
        longer.finetune.epochs = Some(77);
        assert_ne!(key(&longer, 1, "model", "rten"), keys[1]);
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), jobs.len());
    }
}
