//! Flags of `prune` and `sweep`: what goes, how it is chosen, and what is done afterwards.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use layerprune::pipeline::Strategy;
use layerprune::plan::{Budgets, LatencyBudget};
use serde::Serialize;

use super::values::{milliseconds, percent, positive, share, times};
use super::{CriterionArgs, DataArgs, KeepingArgs, MethodArgs, OptionalData, SettingArgs, ShapeArgs};

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("goal").required(true).multiple(true).args([
    "layers", "filters", "dead_channels", "remove", "plan",
    "latency_reduction", "max_latency", "speedup", "macs", "params", "max_drop",
])))]
pub(crate) struct PruneArgs {
    /// ONNX file
    pub(crate) model: PathBuf,
    /// The pruned model
    #[arg(short, long, value_name = "FILE", required_unless_present = "dry_run")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) what: TargetArgs,
    #[command(flatten)]
    pub(crate) budget: BudgetArgs,
    #[command(flatten)]
    pub(crate) method: MethodArgs,
    #[command(flatten)]
    pub(crate) choice: ChoiceArgs,
    /// With --layers: remove one layer at a time and score what is left anew after each
    #[arg(long, conflicts_with = "scores")]
    pub(crate) iterative: bool,
    /// Only print what would go
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Write the plan as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) save_plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: OptionalData,
}

/// By what is chosen among what may go, and what is done afterwards.
#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct ChoiceArgs {
    #[command(flatten)]
    pub(crate) search: SearchArgs,
    /// Criterion that ranks, see `score --help`; `imprint` for layers and `weight-norm` for filters where not given
    #[arg(long)]
    pub(crate) criterion: Option<String>,
    /// Scores of layers that `score -o` wrote, instead of scoring now
    #[arg(long, value_name = "FILE")]
    pub(crate) scores: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) options: CriterionArgs,
    #[command(flatten)]
    pub(crate) shapes: ShapeArgs,
    /// Batch size at which latency is measured
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = positive)]
    pub(crate) batch: usize,
    #[command(flatten)]
    pub(crate) recover: RecoverArgs,
}

/// Prunes the model to each of many latency reductions, measures accuracy on held-out images and latency on this machine, and
/// writes each result with a table and a figure of them all. The same command again goes on where one was broken off, and a
/// longer list of reductions adds to what is there.
#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// ONNX file
    pub(crate) model: PathBuf,
    /// Folder for the models, `sweep.json`, and `sweep.html`, `.md`, `.csv`, `.svg`
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) output: PathBuf,
    /// Latency reductions to prune to
    #[arg(long, value_delimiter = ',', value_name = "P%", value_parser = percent, default_values = ["10", "20", "30", "40", "50", "60", "70"])]
    pub(crate) latency_reductions: Vec<f64>,
    #[command(flatten)]
    pub(crate) choice: ChoiceArgs,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Fine-tune every result, as `finetune` does with the settings below
    #[arg(long)]
    pub(crate) finetune: bool,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    #[command(flatten)]
    pub(crate) keeping: KeepingArgs,
    /// Begin anew even where the folder holds an earlier sweep
    #[arg(long)]
    pub(crate) restart: bool,
}

/// How to bring back, from images without labels, what the cut costs.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Recovery from images of --data, labels are not used")]
pub(crate) struct RecoverArgs {
    /// What is done after the cut; several with commas, in this order. `bridge` and `scale-shift` also allow layers that
    /// change channels or resolution to go. Labels are looked at only where --normalize is not given, to find it
    #[arg(long, value_enum, value_delimiter = ',', default_value = "none", value_name = "STEP")]
    pub(crate) recover: Vec<RecoverStep>,
    /// Number of training images to fit to
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = positive)]
    pub(crate) recover_samples: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RecoverStep {
    /// Nothing
    None,
    /// A 1x1 convolution in place of each removed layer, fitted to what the layer gave
    Bridge,
    /// A scale and shift of each channel in place of each removed layer, fitted to what the layer gave
    ScaleShift,
    /// The weights of all that reads channels which are gone, fitted to what they gave; for --filters
    Compensate,
    /// The bias of each channel behind the cut, so that its mean is what it was; for models without batch norms
    Bias,
    /// Batch-norm statistics estimated anew
    Recalibrate,
}

impl RecoverStep {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bridge => "bridge",
            Self::ScaleShift => "scale-shift",
            Self::Compensate => "compensate",
            Self::Bias => "bias",
            Self::Recalibrate => "recalibrate",
        }
    }
}

/// What is to go: one of these, or budgets.
#[derive(Debug, Clone, Args)]
#[group(id = "target", multiple = false, conflicts_with = "budgets")]
#[command(next_help_heading = "What to remove (one of these, or budgets)")]
pub(crate) struct TargetArgs {
    /// The K least important layers
    #[arg(long, value_name = "K")]
    pub(crate) layers: Option<usize>,
    /// This share of the filters, the least important first, with all channels that must go along
    #[arg(long, value_name = "P%", value_parser = percent)]
    pub(crate) filters: Option<f64>,
    /// All channels that provably do nothing (zero filter, bias and shift, or read by nobody): changes no output
    #[arg(long)]
    pub(crate) dead_channels: bool,
    /// These layers, by any name of `inspect --tree`, or by a glob over those of `inspect`; several with commas or by
    /// repeating. What lies in another one goes with it
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) remove: Vec<String>,
    /// What a plan says that `prune --save-plan` wrote for this model
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
}

/// What the result may cost: any of these together.
#[derive(Debug, Clone, Args)]
#[group(id = "budgets", multiple = true)]
#[command(next_help_heading = "Budgets (several hold at once)")]
pub(crate) struct BudgetArgs {
    /// The measured latency is to be this much lower
    #[arg(long, value_name = "P%", value_parser = percent, conflicts_with_all = ["max_latency", "speedup"])]
    pub(crate) latency_reduction: Option<f64>,
    /// A call is to take no longer than this: `12ms`, `800us`, `1.5s`
    #[arg(long, value_name = "TIME", value_parser = milliseconds, conflicts_with = "speedup")]
    pub(crate) max_latency: Option<f64>,
    /// The result is to be this many times as fast: `1.5x`
    #[arg(long, value_name = "Nx", value_parser = times)]
    pub(crate) speedup: Option<f64>,
    /// No more than this share of the multiply-adds is to be left
    #[arg(long, value_name = "P%", value_parser = percent)]
    pub(crate) macs: Option<f64>,
    /// No more than this share of the parameters is to be left
    #[arg(long, value_name = "P%", value_parser = percent)]
    pub(crate) params: Option<f64>,
    /// No more than so many points of top-1 accuracy on held-out images are to be lost, after the steps of --recover. Given
    /// alone, as much goes as that allows
    #[arg(long, value_name = "POINTS", value_parser = share)]
    pub(crate) max_drop: Option<f64>,
}

impl BudgetArgs {
    pub(crate) fn budgets(&self) -> Budgets {
        let reduction = self.latency_reduction.map(LatencyBudget::Reduction);
        let other = self.max_latency.map(LatencyBudget::AtMost).or(self.speedup.map(LatencyBudget::Speedup));
        Budgets { latency: reduction.or(other), macs: self.macs, parameters: self.params, max_drop: self.max_drop }
    }
}

/// How budgets are met.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Search for budgets")]
pub(crate) struct SearchArgs {
    /// What goes: layers, filters, or both, chosen together by the criterion of filters
    #[arg(long, value_enum, default_value_t = By::Layers, value_name = "WHAT")]
    pub(crate) by: By,
    /// How it is chosen: the least important first until it is enough, as published; or the cut of least importance that is
    /// enough, by a knapsack over all parts, each of which is timed first. `both` is always exact
    #[arg(long, value_enum, default_value_t = SearchArg::Greedy, value_name = "HOW")]
    pub(crate) search: SearchArg,
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) profile: ProfileFileArgs,
}

impl SearchArgs {
    pub(crate) fn strategy(&self) -> Strategy {
        match (self.search, self.by) {
            (SearchArg::Greedy, By::Layers | By::Filters) => Strategy::Greedy,
            (SearchArg::Exact, _) | (_, By::Both) => Strategy::Exact,
        }
    }
}

/// Where times of parts are kept.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ProfileFileArgs {
    /// Times of the model without each part, as `profile -o` writes them; what is missing is timed and added. One of another
    /// processor or engine is taken as it is, and decides in place of the clock
    #[arg(long, value_name = "FILE", help_heading = "Search for budgets")]
    pub(crate) profile: Option<PathBuf>,
    /// Time everything anew, and keep nothing in the cache folder of the user
    #[arg(long, conflicts_with = "profile", help_heading = "Search for budgets")]
    pub(crate) no_cache: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum By {
    Layers,
    Filters,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SearchArg {
    Greedy,
    Exact,
}

/// How filters are chosen.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterArgs {
    /// Over what `--filters` takes its share: `global`, all layers ranked together by scores divided by their layer's mean;
    /// `threshold`, all together by scores as they are, as Network Slimming publishes it; `uniform`, each layer by itself
    #[arg(long, value_enum, default_value_t = ScopeArg::Global)]
    pub(crate) scope: ScopeArg,
    /// Share of a layer's filters that stays at least; one always does
    #[arg(long, value_name = "P%", value_parser = percent, default_value = "10%")]
    pub(crate) floor: f64,
    /// Keep a multiple of N filters in each layer, which most hardware runs faster
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    pub(crate) round_to: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ScopeArg {
    Global,
    Threshold,
    Uniform,
}

/// What may go.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[command(next_help_heading = "What may go")]
pub(crate) struct LimitArgs {
    /// Layers that must stay (with `--filters` and `--dead-channels`: stay whole), as globs: `layer4.*`
    #[arg(long, value_delimiter = ',', value_name = "GLOB")]
    pub(crate) protect: Vec<String>,
    /// Remove nothing but these, as globs
    #[arg(long, value_delimiter = ',', value_name = "GLOB")]
    pub(crate) only: Vec<String>,
    /// Also drop the branch of blocks whose shortcut must stay (down-sampling blocks)
    #[arg(long)]
    pub(crate) drop_branches: bool,
    /// Also remove chain layers that change channels or resolution: the next layer then reads their input by a weight
    /// composed of both, and a pool or that layer takes over the stride
    #[arg(long)]
    pub(crate) shrink_chains: bool,
}
