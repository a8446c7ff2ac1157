//! What runs a model. A new engine is a file here and a line in [`ENGINES`].

mod onnxruntime;
mod rten;

use layerprune::onnx::Model;
use layerprune::record::EngineInfo;

pub use onnxruntime::use_onnxruntime_library;

use crate::error::InferError;
use crate::input::Input;
use crate::session::Array;

/// All engines, the default one first.
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
    /// Elements that aren't `f32` are converted to it. This is what latency is measured of, so an implementation does
    /// no work here that could be done in [`Engine::load`].
    ///
    /// # Errors
    /// [`InferError::Run`], with the node where known.
    fn run(&self, inputs: &[Input<'_>]) -> Result<Vec<Array>, InferError>;
}
