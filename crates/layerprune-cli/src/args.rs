//! The command line, declared. What a flag does is in `commands`.

mod method;
mod training;

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use layerprune::criteria::Normalize;
use layerprune::pipeline::Strategy;
use layerprune::plan::{Budgets, LatencyBudget};
use layerprune_infer::{ENGINES, TimeSource};
use serde::Serialize;

pub(crate) use self::method::{MethodArgs, MethodSettingArgs, RemovesArg, unread};
pub(crate) use self::training::{
    FinetuneArgs, GoingOnArgs, Init, Keep, KeepingArgs, LossName, OptimizerName, Preset, SettingArgs, TrainArgs,
};
use crate::engine::{EngineName, EngineNames, EngineNamesParser, EngineParser};

/// Make a trained CNN faster: remove whole layers, fine-tune, measure on your own hardware.
#[derive(Debug, Parser)]
#[command(name = "layerprune", version, propagate_version = true, max_term_width = 110)]
#[command(after_help = "Start here:
  layerprune demo                                            the whole job on embedded data, in a minute or so
  layerprune inspect model.onnx                              what can be removed, and why the rest cannot
  layerprune score model.onnx --data cifar10:DIR             which layers matter
  layerprune prune model.onnx --data cifar10:DIR --latency-reduction 30% -o pruned.onnx
  layerprune finetune pruned.onnx --data cifar10:DIR --epochs 5 -o tuned.onnx
  layerprune latency model.onnx tuned.onnx                   is it faster?

Exit status: 0 done, 1 cannot be done as asked, 2 wrong usage.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output and machine")]
pub(crate) struct Global {
    /// Form of the result on standard output.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// No progress and no notes on standard error; errors still show.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Seed of everything random: splits, order, augmentation, initial weights; 0, or what the recipe says, where not
    /// given
    #[arg(long, global = true)]
    pub(crate) seed: Option<u64>,
    /// Threads for running, training and timing; all cores where not given, one for timing.
    #[arg(long, global = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: Option<u16>,
    /// What runs and times models: the embedded engine, ONNX Runtime where it is installed, or `command:LINE`, any program, on
    /// this or another machine. A command only times; what has to be computed is computed by the embedded engine. LINE is for
    /// the shell: `{model}` stands in it for the ONNX file, `{batch}`, `{threads}`, `{input}` and `{shape}` for what they
    /// say; it prints `latency_ms: NUMBER`. docs/guide/engines.md has recipes
    #[arg(long, global = true, value_parser = EngineParser, default_value = ENGINES[0].name())]
    pub(crate) engine: EngineName,
    /// `command:`: where the latency is read. `reported`: lines `latency_ms: NUMBER` (or latency_s, latency_us, latency_ns) on
    /// standard output; `wall`: the time of the whole command; else a regular expression whose first group is
    /// milliseconds, tried on standard output. Of several, the median counts
    #[arg(long, global = true, value_name = "reported|wall|REGEX", default_value = "reported")]
    pub(crate) command_time: TimeSource,
    /// `command:`: after this a run counts as failed and is killed
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 120.0, value_parser = seconds)]
    pub(crate) command_timeout: f64,
    /// `command:`: how often a run that failed is tried again
    #[arg(long, global = true, value_name = "N", default_value_t = 2)]
    pub(crate) command_retries: usize,
    /// ONNX Runtime's shared library; where not given, that of the environment variable ORT_DYLIB_PATH, of an installed Python
    /// package `onnxruntime`, or of the system
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ort_lib: Option<PathBuf>,
}

impl Global {
    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// With `seed` where the command line gives none.
    pub(crate) fn or_seed(&self, seed: u64) -> Self {
        Self { seed: Some(self.seed.unwrap_or(seed)), ..self.clone() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List layers and blocks: cost, removable or not and why
    Inspect(InspectArgs),
    /// Rank layers by importance
    Score(Box<ScoreArgs>),
    /// Remove layers or filters
    Prune(Box<PruneArgs>),
    /// Prune to many latencies: the frontier of accuracy against latency
    Sweep(Box<SweepArgs>),
    /// Train from initial weights
    Train(Box<TrainArgs>),
    /// Train on from the model's weights
    Finetune(Box<FinetuneArgs>),
    /// Re-estimate batch-norm statistics, nothing else
    Recalibrate(RecalibrateArgs),
    /// Measure top-1, top-5 and loss
    Eval(EvalArgs),
    /// Time models against each other
    Latency(LatencyArgs),
    /// Time a model without each of its layers and filters
    Profile(ProfileArgs),
    /// Compare the outputs of two models
    Verify(VerifyArgs),
    /// Try on a model whether channels are removed rightly
    Selfcheck(SelfcheckArgs),
    /// Write a page about a run, a sweep or a study
    Report(ReportArgs),
    /// Compare methods on one model: the same budgets, training and seeds for all
    Study(StudyArgs),
    /// Do the whole job as a recipe says
    Run(RunArgs),
    /// Do the whole job on embedded data
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// ONNX file
    pub(crate) model: PathBuf,
    /// Also list what lies in these layers and blocks, and what holds several of them (`layer1`), each indented below what
    /// holds it; `prune --remove` takes all these names
    #[arg(long)]
    pub(crate) tree: bool,
    /// List channel groups instead: which filters can go, with which others, and why the rest cannot
    #[arg(long)]
    pub(crate) channels: bool,
    /// Print what keeps this layer, or its channels, from being removed: step by step, from a channel to what holds it
    #[arg(long, value_name = "NAME")]
    pub(crate) why: Option<String>,
    #[command(flatten)]
    pub(crate) shapes: ShapeArgs,
}

/// Shapes of inputs that the file leaves open.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub(crate) struct ShapeArgs {
    /// Shape of an input that the file leaves open: `1,3,224,224`, or `NAME=1,3,224,224` where there are several
    #[arg(long, value_name = "[NAME=]SIZES")]
    pub(crate) input_shape: Vec<String>,
}

/// Where images come from and what is done to them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataArgs {
    /// Labelled images: `idx:DIR`, `cifar10:DIR`, `cifar100:DIR`, `imagefolder:DIR`, `npz:FILE`, `csv:FILE` (a table of paths and
    /// labels), `parquet:FILE_OR_DIR` (from Hugging Face), `webdataset:FILES_OR_DIR` (tar files), `demo`; the kind may be left
    /// out where the path shows it
    #[arg(long, value_name = "KIND:PATH")]
    pub(crate) data: String,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
}

/// What is done to images, and which part of them is held out.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Data")]
pub(crate) struct ImageArgs {
    /// Normalisation of pixels scaled to 0..1: `none`, `imagenet`, `cifar10`, `mnist`, `fashion-mnist`, or `MEANS/STDS` such as
    /// `0.5,0.5,0.5/0.2,0.2,0.2`; where not given, that of the file of `--preprocess`, and without one the one of these
    /// under which the model is right most often on 200 training images; what was taken is named
    #[arg(long, value_name = "NAME|MEANS/STDS")]
    pub(crate) normalize: Option<String>,
    /// Resize every image with Pillow's antialiasing: stretch it to HEIGHTxWIDTH, or to a square of N; or with `shorter:N` its
    /// shorter side to N, keeping its shape
    #[arg(long, value_name = "HxW|N|shorter:N")]
    pub(crate) resize: Option<String>,
    /// Then cut HEIGHTxWIDTH, or a square of N, out of the middle; what lies outside of an image is black
    #[arg(long, value_name = "HxW|N")]
    pub(crate) crop: Option<String>,
    /// How to resize: `bilinear` where not given, `bicubic`, `lanczos`, `hamming`, `box`, or `nearest` without antialiasing
    #[arg(long, value_name = "NAME")]
    pub(crate) interpolation: Option<String>,
    /// Take normalisation, resizing and cropping from this file: `preprocessor_config.json` of Hugging Face or `config.json` of
    /// timm. One of these names that lies beside the model is taken by itself; `none` leaves it. --normalize, --resize,
    /// --crop and --interpolation each go before what the file says of the same; the rest is taken from it
    #[arg(long, value_name = "FILE|none")]
    pub(crate) preprocess: Option<String>,
    /// Feed images of one channel as three equal ones
    #[arg(long)]
    pub(crate) gray_to_rgb: bool,
    /// Share of the training set held out, by seed, for every choice that is made
    #[arg(long, default_value_t = 0.1, value_name = "SHARE")]
    pub(crate) held_out: f64,
}

/// How layers and filters are scored.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Scoring")]
pub(crate) struct CriterionArgs {
    /// Number of training images to look at, the same for each class where labels are used; all where not given
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with = "samples_per_class")]
    pub(crate) samples: Option<usize>,
    /// Number of training images to look at of each class; imprinting can do with few
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) samples_per_class: Option<usize>,
    /// Look at so many batches of training images at most
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) batches: Option<usize>,
    /// Images of a batch; scores by gradients are comparable only at equal sizes
    #[arg(long, default_value_t = Self::default().score_batch, value_name = "N", value_parser = positive)]
    pub(crate) score_batch: usize,
    /// `imprint` and `linear-probe`: length that a layer's pooled output aims at
    #[arg(long, default_value_t = Self::default().embedding, value_name = "N", value_parser = positive)]
    pub(crate) embedding: usize,
    /// `linear-probe`: passes over the training images
    #[arg(long, default_value_t = Self::default().probe_epochs, value_name = "N", value_parser = positive)]
    pub(crate) probe_epochs: usize,
    /// `leave-one-out`: number of training images that batch norms are recalibrated on
    #[arg(long, default_value_t = Self::default().recalibrate_samples, value_name = "N", value_parser = positive)]
    pub(crate) recalibrate_samples: usize,
    /// What is done to the scores of filters before their mean becomes that of a layer: `none` (as published), `per-param`
    /// (divided by the number of weights of the filter), `max` (divided by the greatest of the layer), `rank` (the rank among
    /// all filters of the model)
    #[arg(long, default_value = "none", value_name = "HOW", value_parser = normalize)]
    pub(crate) normalize_scores: Normalize,
    /// Which of the shuffled passes over the images is looked at.
    #[arg(skip)]
    #[serde(skip)]
    pub(crate) pass: u64,
}

impl Default for CriterionArgs {
    fn default() -> Self {
        Self {
            samples: None,
            samples_per_class: None,
            batches: None,
            score_batch: 64,
            embedding: layerprune::evidence::DEFAULT_EMBEDDING,
            probe_epochs: 5,
            recalibrate_samples: 500,
            normalize_scores: Normalize::None,
            pass: 0,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_long_help = CRITERIA_HELP)]
pub(crate) struct ScoreArgs {
    /// ONNX file
    pub(crate) model: PathBuf,
    /// What to score by; several with commas, and `A+B` for the sum of the ranks by A and B; `ensemble` is that of the five
    /// that the publication sums. `score --help` lists all. `imprint` where not given; with --compare, all of them
    #[arg(long, value_delimiter = ',')]
    pub(crate) criterion: Vec<String>,
    /// Put the criteria side by side, with Kendall's tau between each two; those that cannot be computed are named with the
    /// reason
    #[arg(long)]
    pub(crate) compare: bool,
    /// Scores of the same model that `score -o` wrote, to compare with as well; several with commas
    #[arg(long, value_delimiter = ',', value_name = "FILE", requires = "compare")]
    pub(crate) with: Vec<PathBuf>,
    /// Write tables and figures of the scores; the form by extension: `.html`, `.md`, `.csv`, or `.json` for a record that
    /// `report` reads
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Mark in the report the K layers that `prune --layers K` would remove by each criterion
    #[arg(long, value_name = "K", requires = "report")]
    pub(crate) layers: Option<usize>,
    #[command(flatten)]
    pub(crate) data: OptionalData,
    #[command(flatten)]
    pub(crate) options: CriterionArgs,
    #[command(flatten)]
    pub(crate) shapes: ShapeArgs,
    /// Write the scores as JSON, for `prune --scores` (one criterion only)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

const CRITERIA_HELP: &str = "\
Criteria of layers:
  imprint             accuracy of class means as classifier, gained over the layer before (labels)
  linear-probe        the same with a trained classifier (labels)
  block-influence     1 - cosine of input and output (images)
  cka                 1 - linear CKA of input and output (images)
  leave-one-out       accuracy lost without the layer, after recalibration: the expensive yardstick (labels)
  leave-one-out-loss  rise of the loss without it (labels)
Criteria of filters, and of layers by the mean over their filters:
  weight-norm, weight-norm-l1, weight-norm-l2, fpgm, lamp    of the weights alone
  batch-norm-scale                                           batch norms that are not folded
  taylor-weight, taylor-gate, taylor-batch-norm, feature-maps  gradients (labels)
  hrank, apoz, mean-activation                               images
  random                                                     the control, by --seed

docs/CRITERIA.md has the formulas.";

/// [`DataArgs`] for commands that can do without data.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct OptionalData {
    /// Labelled images, as for `eval`; criteria of the weights alone do without
    #[arg(long, value_name = "KIND:PATH")]
    pub(crate) data: Option<String>,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
}

impl OptionalData {
    pub(crate) fn given(&self) -> Option<DataArgs> {
        Some(DataArgs { data: self.data.clone()?, images: self.images.clone() })
    }
}

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

#[derive(Debug, Args)]
pub(crate) struct RecalibrateArgs {
    /// ONNX file
    pub(crate) model: PathBuf,
    /// The recalibrated model
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Number of training images
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = positive)]
    pub(crate) samples: usize,
}

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// ONNX file
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Which images: the test set, or the held-out part or the rest of the training set
    #[arg(long, value_enum, default_value_t = Part::Test)]
    pub(crate) split: Part,
    /// What is measured: `cross-entropy` goes with top-1 and top-5, `binary-cross-entropy` with the share of labels that are
    /// right, `mean-squared` and `mean-absolute` stand for themselves. Told from the data where not given
    #[arg(long, value_enum)]
    pub(crate) loss: Option<LossName>,
    /// Run the training library's forward pass in place of the engine
    #[arg(long)]
    pub(crate) training_library: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Test,
    HeldOut,
    Train,
}

#[derive(Debug, Args)]
pub(crate) struct LatencyArgs {
    /// ONNX file: the baseline
    pub(crate) model: PathBuf,
    /// Models to time against it, in the same interleaved run
    pub(crate) others: Vec<PathBuf>,
    /// Batch sizes; several with commas
    #[arg(long, value_delimiter = ',', default_value = "1", value_name = "N", value_parser = positive)]
    pub(crate) batch: Vec<usize>,
    /// Thread counts to go through, instead of --threads; several with commas
    #[arg(long, value_delimiter = ',', value_name = "N", value_parser = positive)]
    pub(crate) thread_counts: Vec<usize>,
    /// Engines to go through, instead of --engine; several with commas, `command:LINE` last, since LINE may hold commas
    #[arg(long, value_name = "NAME,...", value_parser = EngineNamesParser)]
    pub(crate) engines: Option<EngineNames>,
    /// Timed calls of each model; 200, and at least two seconds of them, where not given; 10 of a `command:`
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) samples: Option<usize>,
    /// Seconds of untimed calls before; half a second where not given, one call of a `command:`
    #[arg(long, value_name = "SECONDS")]
    pub(crate) warm_up: Option<f64>,
    #[command(flatten)]
    pub(crate) shapes: ShapeArgs,
}

/// Each layer is taken out of the whole model, and with --channels so are shares of the channels of each group; what is left is
/// timed against the whole model, in turns. `prune --search exact` chooses by these times.
#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// ONNX file
    pub(crate) model: PathBuf,
    /// Also time each channel group at several numbers of channels: the staircase that many engines have
    #[arg(long)]
    pub(crate) channels: bool,
    /// Numbers of channels to time of each group, at most
    #[arg(long, default_value_t = Self::COUNTS, value_name = "N", value_parser = positive)]
    pub(crate) counts: usize,
    /// Also time what lies inside of layers and blocks, and what holds several of them, as far as it can go
    #[arg(long)]
    pub(crate) tree: bool,
    /// Batch size
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = positive)]
    pub(crate) batch: usize,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) shapes: ShapeArgs,
    /// Keep the times in this file, and time only what it does not hold; the user's cache folder where not given
    #[arg(short, long, value_name = "FILE", conflicts_with = "no_cache")]
    pub(crate) output: Option<PathBuf>,
    /// Time everything anew, and keep nothing in the cache folder of the user
    #[arg(long)]
    pub(crate) no_cache: bool,
}

impl ProfileArgs {
    pub(crate) const COUNTS: usize = 7;
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// ONNX file
    pub(crate) a: PathBuf,
    /// ONNX file that is to give the same outputs
    pub(crate) b: PathBuf,
    /// Largest difference allowed, relative to the largest value of each output
    #[arg(long, default_value_t = 1e-4, value_name = "SHARE", value_parser = share)]
    pub(crate) tolerance: f64,
    /// Number of random inputs to compare on
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) samples: u64,
    #[command(flatten)]
    pub(crate) shapes: ShapeArgs,
}

/// Each round removes random channels from one copy of the model and masks the same ones in another: both must give the
/// same outputs on random inputs, and the costs that were predicted.
#[derive(Debug, Args)]
pub(crate) struct SelfcheckArgs {
    /// ONNX file
    pub(crate) model: PathBuf,
    /// How many random cuts to try
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = positive)]
    pub(crate) rounds: usize,
    /// Largest difference allowed, relative to the largest value of each output
    #[arg(long, default_value_t = 1e-3, value_name = "SHARE", value_parser = share)]
    pub(crate) tolerance: f64,
    #[command(flatten)]
    pub(crate) shapes: ShapeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The record of a run, a sweep or a study: `record.json`, `study.json`
    pub(crate) record: PathBuf,
    /// The page; its form by extension: `.html`, `.md`, `.csv`
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The recipe: a TOML file; `layerprune run --example` prints one
    #[arg(required_unless_present = "example")]
    pub(crate) recipe: Option<PathBuf>,
    /// Print a recipe to start from
    #[arg(long)]
    pub(crate) example: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StudyArgs {
    /// The recipe: a TOML file; `layerprune study --example` prints one
    #[arg(required_unless_present = "example")]
    pub(crate) recipe: Option<PathBuf>,
    /// Print a recipe to start from
    #[arg(long)]
    pub(crate) example: bool,
    /// So many jobs at once, one where not given. Several on one machine disturb each other's latency measurements; with
    /// --slurm, all that the cluster has room for where not given
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) jobs: Option<usize>,
    /// Only list the jobs: a key, and what each is, in columns with tabs between them
    #[arg(long, conflicts_with_all = ["job", "collect"])]
    pub(crate) list_jobs: bool,
    /// Hand the jobs that are not done yet to Slurm, as an array of jobs, and return at once; `--collect` writes up what is done.
    /// The recipe, the model, the data and the folder of results must lie where all nodes see them. Jobs that share a node
    /// disturb each other's latency measurements: `--sbatch=--exclusive`
    #[arg(long, conflicts_with_all = ["job", "collect", "list_jobs"])]
    pub(crate) slurm: bool,
    /// An option for sbatch, such as `--sbatch=--partition=short`; may be given several times
    #[arg(long, value_name = "OPTION", requires = "slurm", allow_hyphen_values = true)]
    pub(crate) sbatch: Vec<String>,
    /// Do only the job with this key, for a queue that hands them out
    #[arg(long, value_name = "KEY", conflicts_with = "collect")]
    pub(crate) job: Option<String>,
    /// Do nothing more: only write up what is done
    #[arg(long)]
    pub(crate) collect: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Folder for the results
    #[arg(short, long, default_value = "layerprune-demo", value_name = "FOLDER")]
    pub(crate) output: PathBuf,
}

/// `40%` or `40` as 40.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    match number.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 100.0 => Ok(value),
        _ => Err(format!("`{text}` is no percentage between 0 and 100")),
    }
}

/// `12ms`, `800us`, `1.5s` or `12` in milliseconds.
fn milliseconds(text: &str) -> Result<f64, String> {
    let number = text.trim();
    let (number, scale) = [("ms", 1.0), ("us", 1e-3), ("µs", 1e-3), ("s", 1e3)]
        .into_iter()
        .find_map(|(unit, scale)| Some((number.strip_suffix(unit)?, scale)))
        .unwrap_or((number, 1.0));
    above(number.trim_end(), 0.0).map(|number| number * scale).ok_or(format!("`{text}` is no time such as `12ms`"))
}

/// `1.5x` or `1.5`.
fn times(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches(['x', '×']).trim_end();
    above(number, 1.0).ok_or(format!("`{text}` is no factor above 1 such as `1.5x`"))
}

fn above(text: &str, least: f64) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > least)
}

/// A normalisation by its name in files.
fn normalize(text: &str) -> Result<Normalize, String> {
    serde_json::from_value(serde_json::json!(text)).map_err(|_| "it is none of none, per-param, max, rank".to_owned())
}

/// A whole number above 0.
fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it has to be above 0".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("it is no whole number above 0".to_owned()),
    }
}

/// A time of up to a day.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 86_400.0 => Ok(number),
        _ => Err("it is no number of seconds above 0, up to 86400".to_owned()),
    }
}

/// A finite number of at least 0.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("it is no number of at least 0".to_owned()),
    }
}
