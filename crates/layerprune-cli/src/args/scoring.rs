//! Flags of scoring, for `score` and all that chooses by scores.

use std::path::PathBuf;

use clap::Args;
use layerprune::criteria::Normalize;
use serde::Serialize;

use super::values::{normalize, positive};
use super::{OptionalData, ShapeArgs};

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
