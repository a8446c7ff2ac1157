//! Trains an ONNX graph, on the CPU or another [`Device`].
//!
//! The graph is interpreted node by node with automatic differentiation; what is trained are its own initializers, and
//! the result is the same model with other numbers in them.
//!
//! | function | does |
//! |---|---|
//! | [`train`] | moves weights along the gradients of a [`Loss`] by an [`Optimizer`], from given weights or from a [`Checkpoint`] |
//! | [`distill()`] | the same, learning from a teacher as [`Distill`] says |
//! | [`recalibrate`] | estimates batch-norm statistics anew |
//! | [`taylor`] | statistics of filters that are taken of gradients |
//! | [`evaluate`] | counts right answers and sums a [`Loss`] |
//! | [`Features`] | values inside a model, as in inference |
//! | [`scores`] | the class scores of one batch |
//! | [`initialize`] | fresh weights |
//!
//! A model has one input of N×C×H×W and one output of N×K; a `Softmax` or `Sigmoid` at its end is left to the loss.
//! [`supported_ops`] lists the operators; all nodes that cannot be trained are named in one error.
//!
//! # Example
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use layerprune::onnx::Model;
//! use layerprune_train::{Batches, Event, Settings, TrainError, train};
//!
//! # fn run(data: &dyn Batches) -> Result<(), Box<dyn std::error::Error>> {
//! let model = Model::read("pruned.onnx")?;
//! let settings = Settings { epochs: 2, learning_rate: 0.05, ..Settings::default() };
//! let outcome = train(&model, data, &settings, None, &mut |event| {
//!     if let Event::EpochEnd(done) = event {
//!         done.checkpoint().save("run.checkpoint").ok();
//!     }
//!     ControlFlow::Continue(())
//! })?;
//! outcome.model.write("tuned.onnx")?;
//! # Ok(())
//! # }
//! ```

mod checkpoint;
mod clip;
mod device;
mod distill;
mod ema;
mod error;
mod evaluate;
mod features;
mod gradients;
mod initialize;
mod kernel;
mod loss;
mod lower;
mod optimizer;
mod pattern;
mod prepare;
mod probe;
mod program;
mod recalibrate;
mod regularize;
mod schedule;
mod session;
mod settings;
mod train;
mod trainer;
mod value;
mod weights;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use device::Device;
pub use distill::{BlockPair, Distill, block_pairs};
pub use error::{DataError, TrainError, UnsupportedNode};
pub use evaluate::{Evaluation, evaluate, scores};
pub use features::{Features, Visit};
pub use gradients::taylor;
pub use initialize::initialize;
pub use loss::{Answers, CrossEntropy, Loss};
pub use lower::supported_ops;
pub use optimizer::{AdamW, Optimizer, Sgd};
#[doc(hidden)]
pub use probe::{Probe, Probed};
pub use recalibrate::recalibrate;
pub use regularize::{ChannelLimit, Ecc, Masks, Slimming, Sparsity, Sss};
pub use schedule::{OneCycle, Schedule};
pub use settings::Settings;
#[doc(hidden)]
pub use train::Stepper;
pub use train::{Batches, EpochDone, EpochSummary, Event, Outcome, StepDone, distill, train};
