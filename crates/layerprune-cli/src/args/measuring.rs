//! Flags of what measures a model or compares two.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values::{positive, share};
use super::{DataArgs, LimitArgs, LossName, ShapeArgs};
use crate::engine::{EngineNames, EngineNamesParser};

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
