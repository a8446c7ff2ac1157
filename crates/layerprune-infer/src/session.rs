//! A loaded model with its taps.

use std::fmt;
use std::time::Duration;

use layerprune::batch::Maps;
use layerprune::graph::ValueId;
use layerprune::onnx::Model;
use layerprune::proto::ValueInfoProto;
use layerprune::record::{Circumstances, EngineInfo};

use crate::clock::Clock;
use crate::engine::{ENGINES, Engine, Executable, LoadOptions};
use crate::error::InferError;
use crate::input::{self, Input, InputSpec};
use crate::pin;

/// How to load a model.
#[derive(Clone, Copy)]
pub struct SessionOptions<'e> {
    /// Threads that run the model, one or more.
    pub threads: usize,
    /// What runs it.
    pub engine: &'e dyn Engine,
}

/// A model that is ready to run.
pub struct Session {
    executable: Box<dyn Executable>,
    engine: EngineInfo,
    tells_times: bool,
    threads: usize,
    inputs: Vec<InputSpec>,
    outputs: Vec<String>,
    /// For each tap, its place among what the executable returns.
    taps: Vec<usize>,
}

/// A tensor of `f32`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Size of each axis.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Vec<f32>,
}

/// What one run computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    arrays: Vec<Array>,
    outputs: usize,
    taps: Vec<usize>,
}

impl Default for SessionOptions<'static> {
    /// The first of [`ENGINES`], on as many threads as the machine runs at once.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads, engine: ENGINES[0] }
    }
}

impl fmt::Debug for SessionOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = self.engine.name();
        f.debug_struct("SessionOptions").field("threads", &self.threads).field("engine", &engine).finish()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("engine", &self.engine)
            .field("threads", &self.threads)
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .field("taps", &self.taps.len())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Loads `model`.
    ///
    /// # Errors
    /// Where the engine cannot run it, or it takes inputs other than `FLOAT` and `INT64` tensors.
    pub fn load(model: &Model, options: &SessionOptions<'_>) -> Result<Self, InferError> {
        Self::with_taps(model, &[], options)
    }

    /// Loads a copy of `model` that also gives the values `taps` of its graph.
    ///
    /// A tap is an extra graph output, so the engine cannot fuse it away; [`measure`](crate::measure) therefore refuses a
    /// session with taps.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn with_taps(model: &Model, taps: &[ValueId], options: &SessionOptions<'_>) -> Result<Self, InferError> {
        if options.threads == 0 {
            return Err(InferError::NoThreads);
        }
        let outputs = model.graph.outputs().len();
        let mut graph = model.graph.clone();
        for &tap in taps {
            let name = Some(graph.value_name(tap).to_owned());
            graph.add_output(tap, ValueInfoProto { name, ..Default::default() });
        }
        let place = |tap: &ValueId| graph.outputs().iter().position(|port| port.value == *tap);
        let taps: Vec<usize> = taps.iter().map(|tap| place(tap).expect("every tap was made an output")).collect();
        let inputs = input::specs(&graph)?;
        let names = graph.outputs()[..outputs].iter().map(|port| graph.value_name(port.value).to_owned()).collect();
        let load = LoadOptions { threads: options.threads, tapped: !taps.is_empty() };
        let executable = options.engine.load(&model.with_graph(graph), load)?;
        Ok(Self {
            executable,
            engine: options.engine.info(),
            tells_times: options.engine.tells_times(),
            threads: options.threads,
            inputs,
            outputs: names,
            taps,
        })
    }

    /// What runs the model.
    #[must_use]
    pub fn engine(&self) -> &EngineInfo {
        &self.engine
    }

    /// How many threads run the model.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Under what circumstances it would be timed here and now, with a first input of `shape`.
    #[must_use]
    pub fn circumstances(&self, shape: Vec<usize>) -> Circumstances {
        Circumstances {
            engine: self.engine.clone(),
            threads: self.threads,
            batch: shape.first().copied().unwrap_or(1),
            shape,
            pinned: !self.tells_times() && pin::is_pinned(self.threads),
        }
    }

    /// The inputs to feed, in order.
    #[must_use]
    pub fn inputs(&self) -> &[InputSpec] {
        &self.inputs
    }

    /// The batch size that the model is fixed to, where its first input declares one.
    #[must_use]
    pub fn fixed_batch(&self) -> Option<usize> {
        self.inputs.first()?.dims.as_ref()?.first()?.known()
    }

    /// Names of the model's outputs, in order, without the taps.
    #[must_use]
    pub fn output_names(&self) -> &[String] {
        &self.outputs
    }

    /// Runs the model on images in N,C,H,W order; it must have one input.
    ///
    /// # Errors
    /// Where the images do not fit the model's input, or the engine fails.
    pub fn run(&self, images: &[f32], shape: [usize; 4]) -> Result<Outputs, InferError> {
        self.run_inputs(&[Input::f32(&shape[..], images)])
    }

    /// Runs the model on `inputs`, which stand in the order of [`Session::inputs`].
    ///
    /// # Errors
    /// Where the inputs do not fit what the model declares, or the engine fails.
    pub fn run_inputs(&self, inputs: &[Input<'_>]) -> Result<Outputs, InferError> {
        self.check(inputs)?;
        let arrays = self.executable.run(inputs)?;
        Ok(Outputs { arrays, outputs: self.outputs.len(), taps: self.taps.clone() })
    }

    /// Runs the model on images in N,C,H,W order and lends `read` the taps' values, in the order in which the taps were given.
    ///
    /// # Errors
    /// As [`Session::run`], or what `read` returns.
    pub(crate) fn lend_taps(
        &self,
        images: &[f32],
        shape: [usize; 4],
        mut read: impl FnMut(&[Maps<'_>]) -> Result<(), InferError>,
    ) -> Result<(), InferError> {
        let inputs = [Input::f32(&shape[..], images)];
        self.check(&inputs)?;
        self.executable.lend(&inputs, &mut |found| {
            let taps: Vec<Maps<'_>> = self.taps.iter().map(|&place| found[place]).collect();
            read(&taps)
        })
    }

    pub(crate) fn is_tapped(&self) -> bool {
        !self.taps.is_empty()
    }

    pub(crate) fn check(&self, inputs: &[Input<'_>]) -> Result<(), InferError> {
        if inputs.len() != self.inputs.len() {
            return Err(InferError::InputCount {
                expected: self.inputs.len(),
                names: input::names(&self.inputs),
                found: inputs.len(),
            });
        }
        self.inputs.iter().zip(inputs).try_for_each(|(spec, input)| spec.check(input))
    }

    pub(crate) fn tells_times(&self) -> bool {
        self.tells_times
    }

    /// How long `calls` of the engine's own call take, and nothing else. The inputs have passed [`Session::check`].
    pub(crate) fn time(&self, inputs: &[Input<'_>], calls: usize, clock: &dyn Clock) -> Result<Duration, InferError> {
        self.executable.time(inputs, calls, clock)
    }
}

impl Array {
    /// The same, as criteria and fits read it.
    #[must_use]
    pub fn maps(&self) -> Maps<'_> {
        Maps { data: &self.data, shape: &self.shape }
    }
}

impl Outputs {
    /// The model's outputs, in order, without the taps.
    #[must_use]
    pub fn outputs(&self) -> &[Array] {
        &self.arrays[..self.outputs]
    }

    /// Output `index`.
    ///
    /// # Panics
    /// Where the model has fewer outputs.
    #[must_use]
    pub fn output(&self, index: usize) -> &Array {
        &self.outputs()[index]
    }

    /// The taps' values, in the order in which the taps were given.
    pub fn taps(&self) -> impl ExactSizeIterator<Item = &Array> {
        self.taps.iter().map(|&place| &self.arrays[place])
    }

    /// The value of tap `index`.
    ///
    /// # Panics
    /// Where the session has fewer taps.
    #[must_use]
    pub fn tap(&self, index: usize) -> &Array {
        &self.arrays[self.taps[index]]
    }
}
