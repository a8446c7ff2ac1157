//! The command line, declared. What a flag does is in `commands`.

mod data;
mod measuring;
mod method;
mod pruning;
mod scoring;
mod training;
mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use layerprune_infer::{ENGINES, TimeSource};

pub(crate) use self::data::{DataArgs, ImageArgs, OptionalData, ShapeArgs};
pub(crate) use self::measuring::{EvalArgs, LatencyArgs, Part, ProfileArgs, SelfcheckArgs, VerifyArgs};
pub(crate) use self::method::{MethodArgs, MethodSettingArgs, RemovesArg, unread};
pub(crate) use self::pruning::{
    By, ChoiceArgs, FilterArgs, LimitArgs, ProfileFileArgs, PruneArgs, RecoverArgs, RecoverStep, ScopeArg, SearchArg,
    SearchArgs, SweepArgs,
};
pub(crate) use self::scoring::{CriterionArgs, ScoreArgs};
pub(crate) use self::training::{
    FinetuneArgs, GoingOnArgs, Init, Keep, KeepingArgs, LossName, OptimizerName, Preset, SettingArgs, TrainArgs,
};
use self::values::{positive, seconds};
use crate::engine::{EngineName, EngineParser};

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
