//! What runs a model. A new engine is a file here and a line in [`ENGINES`].

mod command;
mod onnxruntime;
mod rten;

use std::time::Duration;

use layerprune::batch::Maps;
use layerprune::onnx::Model;
use layerprune::record::EngineInfo;

pub use command::{CommandEngine, CommandError, CommandOptions, TimeSource};
pub use onnxruntime::use_onnxruntime_library;

use crate::clock::Clock;
use crate::error::InferError;
use crate::input::Input;
use crate::session::Array;

/// All engines that go by a name alone, the default one first; a [`CommandEngine`] is made of a command.
pub const ENGINES: &[&dyn Engine] = &[&rten::Rten, &onnxruntime::OnnxRuntime];

/// The engine called `name`.
#[must_use]
pub fn engine_named(name: &str) -> Option<&'static dyn Engine> {
    ENGINES.iter().copied().find(|engine| engine.name() == name)
}

/// A way to run ONNX models.
pub trait Engine: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Name and version, as they stand beside every latency. An engine may have to be loaded to tell its version.
    fn info(&self) -> EngineInfo;

    /// Makes `model` ready to run.
    ///
    /// # Errors
    /// [`InferError::Load`] where the engine cannot run the model, with the node where known.
    fn load(&self, model: &Model, options: LoadOptions) -> Result<Box<dyn Executable>, InferError>;

    /// Whether the engine tells times instead of being timed: each sample is then one [`Executable::time`] of one call, may
    /// be of another machine, and costs far more than the call it is of.
    fn tells_times(&self) -> bool {
        false
    }
}

/// How an engine is to load a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadOptions {
    /// Threads to run on, one or more.
    pub threads: usize,
    /// Whether outputs were added for taps. Such a model is never timed, so the engine may leave out optimizations.
    pub tapped: bool,
}

/// A model that an engine has loaded.
pub trait Executable: Send + Sync {
    /// Computes all graph outputs, in the model's order. `inputs` are those the caller must feed
    /// ([`Graph::fed_inputs`](layerprune::graph::Graph::fed_inputs)), in the model's order, and fit their declarations.
    ///
    /// Elements that aren't `f32` are converted to it.
    ///
    /// # Errors
    /// [`InferError::Run`], with the node where known.
    fn run(&self, inputs: &[Input<'_>]) -> Result<Vec<Array>, InferError>;

    /// As [`Executable::run`], for outputs that are read once: an engine that keeps `f32` in memory of its own lends it.
    /// This is what latency is measured of, so an implementation does no work here that could be done in [`Engine::load`].
    ///
    /// # Errors
    /// As [`Executable::run`], or what `read` returns.
    fn lend(
        &self,
        inputs: &[Input<'_>],
        read: &mut dyn FnMut(&[Maps<'_>]) -> Result<(), InferError>,
    ) -> Result<(), InferError> {
        let arrays = self.run(inputs)?;
        let maps: Vec<Maps<'_>> = arrays.iter().map(Array::maps).collect();
        read(&maps)
    }

    /// How long `calls` runs on `inputs` take together. An engine that times by itself says it here.
    ///
    /// # Errors
    /// As [`Executable::run`], or where the engine cannot tell.
    fn time(&self, inputs: &[Input<'_>], calls: usize, clock: &dyn Clock) -> Result<Duration, InferError> {
        let start = clock.now();
        for _ in 0..calls {
            self.lend(inputs, &mut |_| Ok(()))?;
        }
        Ok(clock.now().saturating_sub(start))
    }
}
