//! The recipe of a whole job: TOML in, and written back with every default filled in.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use layerprune::criteria::Normalize;
use layerprune::methods::Method;
use layerprune::onnx::Model;
use layerprune::pipeline::{Strategy, Target};
use layerprune::plan::{Budgets, LatencyBudget};
use layerprune::record::LatencyComparison;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::args::{CriterionArgs, DataArgs, Global, ImageArgs, KeepingArgs, LimitArgs, MethodSettingArgs, SettingArgs};
use crate::engine::EngineName;
use crate::latency::Timer;
use crate::{Usage, interrupt, methods, training};

/// A recipe to start from.
pub(crate) const EXAMPLE: &str = include_str!("recipe.example.toml");

/// Images to recalibrate on, and epochs of fine-tuning, where not given.
const RECALIBRATE: usize = 2000;
const EPOCHS: usize = 5;

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
    /// What can be set of a published method.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) method: MethodSettingArgs,
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
    /// A published method that meets the budgets, instead of the search by the first criterion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<String>,
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
    /// Methods that remove filters: share of a layer's that stays at least, in percent, and of what number it is a multiple.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) floor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) round_to: Option<usize>,
}

/// See [`Strategy`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Search {
    #[default]
    Greedy,
    Exact,
}

/// Written as one table: its own keys, and all of [`SettingArgs`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RecoverSection {
    /// Images to recalibrate on; 0 leaves it out.
    pub(crate) recalibrate: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tensorboard: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) checkpoint_every: Option<f64>,
    /// How to fine-tune; no epochs leave it out.
    #[serde(flatten)]
    pub(crate) settings: SettingArgs,
}

impl<'de> Deserialize<'de> for RecoverSection {
    /// By hand, since serde's `flatten` lets unknown keys pass.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RecoverKeys)
    }
}

struct RecoverKeys;

impl<'de> Visitor<'de> for RecoverKeys {
    type Value = RecoverSection;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings of recovery")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RecoverSection, A::Error> {
        let mut section = RecoverSection::default();
        let mut given = toml::Table::new();
        while let Some(RecoverKey(key)) = map.next_key()? {
            match key.as_str() {
                "recalibrate" => section.recalibrate = map.next_value()?,
                "tensorboard" => section.tensorboard = Some(map.next_value()?),
                "checkpoint-every" => section.checkpoint_every = Some(map.next_value()?),
                _ => {
                    given.insert(key, map.next_value()?);
                }
            }
        }
        section.settings = settings(given.try_into().map_err(A::Error::custom)?);
        Ok(section)
    }
}

/// Keys of the section that are no settings of training.
const OWN: [&str; 3] = ["recalibrate", "tensorboard", "checkpoint-every"];

/// A key of the section; an unknown one is refused where it stands.
struct RecoverKey(String);

impl<'de> Deserialize<'de> for RecoverKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = String::deserialize(deserializer)?;
        if OWN.contains(&key.as_str()) || training::keys().contains(&key) {
            return Ok(Self(key));
        }
        let text = format!(
            "unknown field `{key}`, expected `recalibrate`, `tensorboard`, `checkpoint-every`, or a setting of training, named like \
             the flags in `layerprune finetune --help`"
        );
        Err(D::Error::custom(text))
    }
}

/// Everything filled in that is not given.
fn settings(given: SettingArgs) -> SettingArgs {
    let epochs = given.epochs.or(given.preset.is_none().then_some(EPOCHS));
    training::filled(&SettingArgs { epochs, ..given }, training::FINETUNE)
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct LatencySection {
    /// What times the result; the command's engine where none is named. Budgets are met by the command's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) engines: Vec<String>,
    pub(crate) batch: Vec<usize>,
    pub(crate) threads: usize,
    pub(crate) samples: usize,
    /// What timing a result takes at most, at each engine and batch size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_seconds: Option<f64>,
}

fn is_default(settings: &MethodSettingArgs) -> bool {
    *settings == MethodSettingArgs::default()
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

impl DataSection {
    pub(crate) fn args(&self) -> DataArgs {
        let data = self.clone();
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
}

impl ScoreSection {
    pub(crate) fn args(&self) -> CriterionArgs {
        CriterionArgs {
            samples: self.samples,
            samples_per_class: self.samples_per_class,
            batches: self.batches,
            score_batch: self.batch,
            embedding: self.embedding,
            probe_epochs: self.probe_epochs,
            recalibrate_samples: self.recalibrate_samples,
            normalize_scores: self.normalize,
            pass: 0,
        }
    }
}

impl Default for RecoverSection {
    fn default() -> Self {
        Self {
            recalibrate: RECALIBRATE,
            tensorboard: None,
            checkpoint_every: None,
            settings: settings(SettingArgs::default()),
        }
    }
}

impl RecoverSection {
    pub(crate) fn keeping_args(&self) -> KeepingArgs {
        KeepingArgs { tensorboard: self.tensorboard.clone(), checkpoint_every: self.checkpoint_every }
    }
}

impl Default for LatencySection {
    fn default() -> Self {
        Self { engines: Vec::new(), batch: vec![1, 8], threads: 1, samples: 200, max_seconds: None }
    }
}

impl LatencySection {
    pub(crate) fn check(&self) -> Result<()> {
        if self.batch.is_empty() || self.batch.contains(&0) || self.threads == 0 || self.samples == 0 {
            return Err(Usage("`latency` needs batch sizes, threads and samples above 0".to_owned()).into());
        }
        if let Some(seconds) = self.max_seconds.filter(|seconds| !(*seconds > 0.0 && *seconds <= 3600.0)) {
            let text =
                format!("`latency.max-seconds` is {seconds}, a number of seconds above 0 and up to 3600 is needed");
            return Err(Usage(text).into());
        }
        self.engines.iter().try_for_each(|name| Ok(EngineName::named(name).map(|_| ())?))
    }

    pub(crate) fn timer(&self, batch: usize, global: &Global) -> Timer {
        Timer { threads: self.threads, ..Timer::new(global, batch, &Default::default()) }
    }

    /// What times a result: each engine at each batch size.
    pub(crate) fn timers(&self, global: &Global) -> Result<Vec<Timer>> {
        let mut engines: Vec<EngineName> =
            self.engines.iter().map(|name| EngineName::named(name)).collect::<Result<_, _>>()?;
        if engines.is_empty() {
            engines.push(global.engine.clone());
        }
        let mut timers = Vec::new();
        for engine in engines {
            let global = Global { engine, ..global.clone() };
            timers.extend(self.batch.iter().map(|&batch| {
                let mut timer = self.timer(batch, &global);
                timer.options.samples = self.samples;
                match self.max_seconds {
                    Some(seconds) => timer.within(Duration::from_secs_f64(seconds)),
                    None => timer,
                }
            }));
        }
        Ok(timers)
    }

    /// `result` against `baseline`, by each engine at each batch size.
    pub(crate) fn measure(&self, baseline: &Model, result: &Model, global: &Global) -> Result<Vec<LatencyComparison>> {
        let timed = |timer: &Timer| {
            if interrupt::asked() { Err(interrupt::ended()) } else { Ok(timer.against(baseline, result)?) }
        };
        self.timers(global)?.iter().map(timed).collect()
    }
}

impl Recipe {
    /// Reads a recipe; relative paths in it are meant from where the command runs.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let recipe: Self = toml::from_str(text).context("the recipe cannot be read")?;
        recipe.target()?;
        recipe.published()?;
        if recipe.score.criteria.is_empty() {
            return Err(Usage("`score.criteria` names no criterion".to_owned()).into());
        }
        let above_0 = [recipe.prune.batch, recipe.score.embedding, recipe.score.samples.unwrap_or(1)];
        if above_0.contains(&0) {
            let text = "`prune.batch`, `score.embedding` and `score.samples` are above 0";
            return Err(Usage(text.to_owned()).into());
        }
        if let Some(minutes) = recipe.recover.checkpoint_every.filter(|it| !(it.is_finite() && *it >= 0.0)) {
            let text = format!("`recover.checkpoint-every` is {minutes}, a number of minutes of at least 0 is needed");
            return Err(Usage(text).into());
        }
        recipe.latency.check()?;
        Ok(recipe)
    }

    /// The published method that the recipe asks for.
    pub(crate) fn published(&self) -> Result<Option<&'static Method>> {
        let prune = &self.prune;
        let Some(name) = &prune.method else {
            let unused =
                self.method != MethodSettingArgs::default() || prune.floor.is_some() || prune.round_to.is_some();
            let text =
                "`[method]`, `prune.floor` and `prune.round-to` are for a published method; `prune.method` names none";
            return if unused { Err(Usage(text.to_owned()).into()) } else { Ok(None) };
        };
        let method = methods::called(name, "prune.method")?;
        self.method.expect_readers(&[method], "method.")?;
        if self.budgets()?.needs() == 0 || prune.search == Search::Exact {
            let text = "`prune.method` goes with budgets, and without `search`: `latency-reduction`, `max-latency`, `speedup`, `macs`, \
                        `params`";
            return Err(Usage(text.to_owned()).into());
        }
        if prune.floor.is_some_and(|floor| !(0.0..=100.0).contains(&floor)) || prune.round_to == Some(0) {
            return Err(Usage("`prune.floor` is a percentage, and `prune.round-to` is above 0".to_owned()).into());
        }
        Ok(Some(method))
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

    pub(crate) fn budgets(&self) -> Result<Budgets> {
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
        self.data.args()
    }

    pub(crate) fn criterion_args(&self) -> CriterionArgs {
        self.score.args()
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
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

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
        let error = Recipe::parse(&EXAMPLE.replace("batch-size = 64", "bach-size = 64")).unwrap_err();
        assert!(format!("{error:#}").contains("unknown field `bach-size`"), "{error:#}");
    }

    #[test]
    fn the_example_shows_the_defaults() {
        let settings = Recipe::parse(EXAMPLE).unwrap().recover;
        assert_eq!(settings, RecoverSection::default());
    }

    #[test]
    fn timing_keeps_to_the_seconds_it_gets() {
        let global = Cli::try_parse_from(["layerprune", "demo"]).unwrap().global;
        let timing = |keys: &str| -> Result<Vec<Timer>> {
            Recipe::parse(&EXAMPLE.replace("samples = 200", keys))?.latency.timers(&global)
        };
        let [long, short] = ["samples = 70", "samples = 70\nmax-seconds = 1.5"].map(|keys| timing(keys).unwrap());
        let options = |timer: &Timer| timer.options;
        assert!(long.iter().map(options).all(|it| it.samples == 70 && it.max_time > Duration::from_secs(2)));
        let expected = [Duration::from_millis(150), Duration::ZERO, Duration::from_millis(1500)];
        assert!(
            short.iter().map(options).all(|it| [it.warm_up, it.min_time, it.max_time] == expected && it.samples == 70)
        );
        for wrong in ["0", "-1", "nan", "1e9"] {
            let error = timing(&format!("samples = 200\nmax-seconds = {wrong}")).unwrap_err().to_string();
            assert!(error.starts_with("`latency.max-seconds` is "), "{error}");
        }
    }

    #[test]
    fn a_preset_is_filled_in_and_the_keys_beside_it_count_more() {
        let (before, recover) = EXAMPLE.split_once("[recover]").unwrap();
        let latency = recover.split_once("[latency]").unwrap().1;
        let keys = "preset = \"layerprune-cifar\"\nepochs = 3";
        let recipe = Recipe::parse(&format!("{before}[recover]\n{keys}\n[latency]{latency}")).unwrap();
        let settings = &recipe.recover.settings;
        assert_eq!((settings.epochs, settings.batch_size, settings.flip), (Some(3), Some(128), Some(true)));
        assert_eq!(Recipe::parse(&toml::to_string(&recipe).unwrap()).unwrap(), recipe);
    }
}
