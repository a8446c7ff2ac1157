//! Every method that the paper compares with, each a file: what it does with a model until budgets are met. No engine here:
//! scoring, training and timing stand behind ports, as in [`pipeline`](crate::pipeline).

mod bn_scale;
mod channel_pruning;
mod chen;
mod difference;
mod ecc;
mod error;
mod feature_maps;
mod halp;
mod hrank;
mod layerprune;
mod one_shot;
mod random;
mod reconstruction;
mod rounds;
mod scratch;
mod settings;
mod slimming;
mod sss;
mod task;
mod taylor;
mod thinet;
mod weight_norm;

use crate::analysis::Units;
use crate::criteria::{FilterScores, Scores, Scoring};
use crate::onnx::Model;
use crate::pipeline::{MeasureLatency, Observe, PortError};
use crate::plan::WidthBudget;

pub use difference::{LayerLeft, Removed, removed};
pub use error::MethodError;
pub use settings::{MethodSettings, Removes, Setting};
pub use task::{Pruned, Task};

/// Every method, one line each, in the order of the paper's tables.
pub static METHODS: &[&Method] = &[
    &layerprune::LAYERPRUNE,
    &layerprune::LAYERPRUNE_ITERATIVE,
    &weight_norm::WEIGHT_NORM,
    &slimming::SLIMMING,
    &bn_scale::BN_SCALE,
    &taylor::TAYLOR,
    &feature_maps::FEATURE_MAPS_METHOD,
    &ecc::ECC,
    &hrank::HRANK_METHOD,
    &channel_pruning::CHANNEL_PRUNING,
    &thinet::THINET,
    &sss::SSS,
    &chen::CHEN,
    &halp::HALP,
    &random::RANDOM,
    &scratch::SCRATCH,
];

/// A published way of making a model smaller.
#[derive(Debug)]
pub struct Method {
    /// Its name on the command line and in files.
    pub name: &'static str,
    /// What goes.
    pub removes: Removes,
    /// What it does, in one line.
    pub about: &'static str,
    /// Who published it.
    pub source: &'static str,
    /// What a model and its data must have.
    pub needs: &'static str,
    /// Where this differs from what was published.
    pub differs: &'static str,
    /// Which settings it reads; others do nothing.
    pub reads: &'static [Setting],
    /// How what it leaves is trained.
    pub then: Then,
    run: fn(&mut Task<'_>) -> Result<Pruned, MethodError>,
}

/// How what a method leaves is trained to get its accuracy back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// By the labels.
    FineTuning,
    /// By the labels and by what the whole model says.
    Distillation,
    /// From random weights, at the compute that the whole model would take.
    Scratch,
}

impl Method {
    /// Takes parts out of the task's model until its budgets are met.
    ///
    /// # Errors
    /// See [`MethodError`].
    pub fn run(&self, task: &mut Task<'_>) -> Result<Pruned, MethodError> {
        task.check(self)?;
        (self.run)(task)
    }
}

/// The method called `name`.
#[must_use]
pub fn named(name: &str) -> Option<&'static Method> {
    METHODS.iter().copied().find(|method| method.name == name)
}

/// What methods reach engines and data through.
pub trait MethodPorts: MeasureLatency + Observe {
    /// Scores of the units of a model.
    ///
    /// # Errors
    /// Where the criterion cannot be computed, or whatever an engine or the data reports.
    fn layer_scores(&mut self, model: &Model, units: &Units, by: &Scoring) -> Result<Scores, PortError>;

    /// Scores of the filters of a model.
    ///
    /// # Errors
    /// Where the criterion cannot be computed, or whatever an engine or the data reports.
    fn filter_scores(&mut self, model: &Model, by: &Scoring, sight: Sight) -> Result<FilterScores, PortError>;

    /// The model, trained.
    ///
    /// # Errors
    /// Whatever the training library or the data reports.
    fn train(&mut self, model: &Model, stage: &Stage<'_>) -> Result<Model, PortError>;

    /// The model with random weights.
    ///
    /// # Errors
    /// Whatever the training library reports.
    fn fresh(&mut self, model: &Model) -> Result<Model, PortError>;

    /// Top-1 in percent on so many held-out images at most, always the same.
    ///
    /// # Errors
    /// Whatever an engine or the data reports.
    fn held_out(&mut self, model: &Model, images: usize) -> Result<f64, PortError>;

    /// Told what was just done, in words.
    fn tell(&mut self, text: &str);
}

/// How much of the data scores look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// As much as scoring is told to.
    Whole,
    /// So many batches, other ones in each round.
    Batches {
        /// How many.
        count: usize,
        /// The round, from 0.
        round: usize,
    },
}

/// Some training that is a part of a method.
#[derive(Debug, Clone)]
pub struct Stage<'a> {
    /// What it is, in words.
    pub what: &'static str,
    /// How long.
    pub length: Length,
    /// The learning rate that it starts from.
    pub learning_rate: f64,
    /// What goes to zero in it.
    pub sparsity: Option<Sparse>,
    /// The model to learn from.
    pub teacher: Option<&'a Model>,
}

/// How long a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Passes over the training images, with a learning rate that falls to zero.
    Epochs(usize),
    /// Batches at a constant learning rate, other ones in each round.
    Batches {
        /// How many.
        count: usize,
        /// The round, from 0.
        round: usize,
    },
}

/// What a stage draws to zero.
#[derive(Debug, Clone, PartialEq)]
pub enum Sparse {
    /// Scales of batch norms, by an L1 penalty.
    BatchNormScales {
        /// Its weight.
        strength: f64,
    },
    /// Channels, by all weights that read them, until the model costs no more than a budget.
    Channels {
        /// Which, and what they cost.
        budget: WidthBudget,
    },
    /// Scales of blocks that were put into the model, by an L1 penalty and proximal steps.
    BlockScales {
        /// Its weight.
        strength: f64,
    },
}
