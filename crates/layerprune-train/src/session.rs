//! A model with its program and weights, and what one batch says of them.

use burn::tensor::Tensor;
use layerprune::batch::Batch;
use layerprune::graph::{Graph, NodeId, ValueId};
use layerprune::onnx::Model;
use rayon::prelude::*;

use crate::device::Open;
use crate::ema::Average;
use crate::error::TrainError;
use crate::kernel;
use crate::loss::{Judgement, Loss};
use crate::lower::{self, Mode, Run};
use crate::optimizer::CHUNK;
use crate::prepare::prepared;
use crate::program::Program;
use crate::value::{Value, any_rank};
use crate::weights::{Role, Weights};

/// A model made ready.
pub(crate) struct Session {
    graph: Graph,
    pub(crate) program: Program,
    pub(crate) weights: Weights,
    /// Places of the trained weights.
    pub(crate) trained: Vec<usize>,
    /// Whether burn's own operations take the place of this crate's kernels.
    pub(crate) reference: bool,
    /// Where values are.
    pub(crate) device: Open,
}

/// What one batch says of the weights.
pub(crate) struct Differentiated {
    pub(crate) judgement: Judgement,
    /// The gradient of each trained weight, where the loss depends on it.
    pub(crate) weights: Vec<Option<Vec<f32>>>,
    /// That of each gate.
    pub(crate) gates: Vec<Option<Array>>,
    /// What the batch norms saw.
    pub(crate) statistics: Vec<lower::Batch>,
}

/// Elements and shape.
pub(crate) type Array = (Vec<f32>, Vec<usize>);

/// Values at which something is done besides running the model.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Marks<'a> {
    /// Go through a factor of ones while the model is trained.
    pub(crate) gated: &'a [ValueId],
    /// Are kept, for a loss that reads them.
    pub(crate) tapped: &'a [ValueId],
}

/// What a model says of a batch.
pub(crate) struct Said {
    /// Row by row.
    pub(crate) outputs: Vec<f32>,
    /// The length of a row.
    pub(crate) width: usize,
    /// The tapped values.
    pub(crate) taps: Vec<Option<Value>>,
    /// What the batch norms saw.
    pub(crate) statistics: Vec<lower::Batch>,
}

/// Judges outputs, the length of a row and tapped values; gives gradients at these values too.
pub(crate) type Judge<'a> =
    dyn Fn(&[f32], usize, &[Option<Value>]) -> Result<(Judgement, Vec<Vec<f32>>), TrainError> + 'a;

impl Session {
    /// The model without what `loss` does itself.
    pub(crate) fn new(model: &Model, loss: &Loss) -> Result<Self, TrainError> {
        Self::marked(model, loss, &Marks::default())
    }

    /// As [`Session::new`], with something done at some of its values.
    pub(crate) fn marked(model: &Model, loss: &Loss, marks: &Marks<'_>) -> Result<Self, TrainError> {
        Self::without(model, loss.last_operators(), marks)
    }

    /// The model to its end, with something done at some of its values.
    pub(crate) fn whole(model: &Model, marks: &Marks<'_>) -> Result<Self, TrainError> {
        Self::without(model, &[], marks)
    }

    fn without(model: &Model, left_out: &[&str], marks: &Marks<'_>) -> Result<Self, TrainError> {
        model.graph.validate()?;
        let graph = prepared(&model.graph);
        let (program, weights) = Program::new(&graph, left_out, marks)?;
        let trained = weights.with_role(Role::Trained);
        Ok(Self { graph, program, weights, trained, reference: false, device: Open::flex() })
    }

    /// The model with the weights as they now are, or with their average.
    pub(crate) fn model(&self, model: &Model, average: Option<&Average>) -> Result<Model, TrainError> {
        let mut graph = self.graph.clone();
        self.weights.write_to(&mut graph, average.map(|average| &average.values[..]))?;
        Ok(model.with_graph(graph))
    }

    /// What the model says of a batch.
    pub(crate) fn outputs(&self, batch: &Batch, mode: Mode) -> Result<Said, TrainError> {
        let mut run = self.run(batch, mode)?;
        let images = self.images(batch);
        let outputs = self.rows(batch, images, &mut run)?;
        let [_, width] = outputs.dims();
        let taps = std::mem::take(&mut run.taps);
        Ok(Said { outputs: kernel::to_vec(outputs), width, taps, statistics: run.into_values().1 })
    }

    /// The tapped values of a batch, as in inference.
    pub(crate) fn taps(&self, batch: &Batch) -> Result<Vec<Option<Value>>, TrainError> {
        let mut run = self.run(batch, Mode::Evaluate)?;
        self.program.run(self.images(batch), &mut run)?;
        Ok(run.taps)
    }

    fn images(&self, batch: &Batch) -> Value {
        Value::R4(kernel::from_vec(batch.images.clone(), batch.shape)).on(&self.device)
    }

    /// The loss of a batch and its gradients.
    pub(crate) fn differentiate(&self, batch: &Batch, loss: &Loss, run: Run<'_>) -> Result<Differentiated, TrainError> {
        self.differentiate_by(batch, run, &|outputs, width, _| Ok((loss.judge(outputs, width, batch)?, Vec::new())))
    }

    /// What `judge` says of a batch, and the gradients of that.
    pub(crate) fn differentiate_by(
        &self,
        batch: &Batch,
        mut run: Run<'_>,
        judge: &Judge<'_>,
    ) -> Result<Differentiated, TrainError> {
        run.reference = self.reference;
        let images = self.images(batch).autodiff();
        let outputs = self.rows(batch, images, &mut run)?;
        let [_, width] = outputs.dims();
        let taps = std::mem::take(&mut run.taps);
        let (judgement, at_taps) = judge(&kernel::to_vec(outputs.clone()), width, &taps)?;
        let upstream = kernel::from_vec(judgement.gradient.clone(), outputs.dims()).to_device(&self.device).autodiff();
        let mut whole = (outputs * upstream).sum();
        for (tap, gradient) in taps.into_iter().flatten().zip(at_taps) {
            let upstream = Value::from_vec(gradient, &tap.dims()).map(|upstream| upstream.on(&self.device).autodiff());
            if let Some(part) = upstream.and_then(|upstream| tap.dot(upstream)) {
                whole = whole + part;
            }
        }
        let mut gradients = whole.backward();
        let gates = std::mem::take(&mut run.gates);
        let (values, statistics) = run.into_values();
        let mut gradient =
            |value: &Value| any_rank!(value, x => x.grad_remove(&mut gradients).map(kernel::to_vec), ints _ => None);
        let weights = self.trained.iter().map(|&place| gradient(values[place].as_ref()?)).collect();
        let gates = gates.iter().map(|gate| Some((gradient(gate.as_ref()?)?, gate.as_ref()?.dims()))).collect();
        Ok(Differentiated { judgement, weights, gates, statistics })
    }

    /// The graph as it is run: what is trained stands in initializers.
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Trains these initializers too.
    pub(crate) fn train_also(&mut self, values: &[ValueId]) {
        for place in values.iter().filter_map(|value| self.program.places[value.index()]) {
            self.weights.add_role(place, Role::Trained);
        }
        self.trained = self.weights.with_role(Role::Trained);
    }

    /// The place among the trained weights of the tensor stored at an input of a node.
    pub(crate) fn trained_input(&self, id: NodeId, position: usize) -> Option<usize> {
        let place = self.program.places[self.graph.node(id).input(position)?.index()]?;
        self.trained.iter().position(|&trained| trained == place)
    }

    pub(crate) fn run(&self, batch: &Batch, mode: Mode) -> Result<Run<'_>, TrainError> {
        let declared = &self.program.input_port.1;
        if batch.images.len() != batch.shape.iter().product::<usize>() || batch.labels.len() != batch.shape[0] {
            let (pixels, labels) = (batch.images.len(), batch.labels.len());
            return Err(TrainError::BatchLength { shape: batch.shape, pixels, labels });
        }
        if batch.shape[0] == 0 {
            return Err(TrainError::NoBatches);
        }
        let fits = (1..4).all(|axis| match declared.get(axis) {
            Some(Some(size)) => *size == batch.shape[axis],
            _ => true,
        });
        if !fits {
            let sizes: Vec<_> =
                declared.iter().map(|size| size.map_or("?".to_owned(), |size| size.to_string())).collect();
            return Err(TrainError::InputShape {
                input: self.program.input_port.0.clone(),
                declared: sizes.join("×"),
                found: batch.shape,
            });
        }
        Ok(Run::new(mode, &self.device, &self.weights, batch.shape[0], declared.first().copied().flatten()))
    }

    /// The outputs as N×K; a list of N is N×1.
    fn rows(&self, batch: &Batch, images: Value, run: &mut Run<'_>) -> Result<Tensor<2>, TrainError> {
        let outputs = self.program.run(images, run)?;
        let found = outputs.dims();
        match outputs {
            Value::R2(outputs) if found[0] == batch.shape[0] && found[1] > 0 => Ok(outputs),
            Value::R1(outputs) if found[0] == batch.shape[0] => Ok(outputs.reshape([found[0], 1])),
            _ => {
                Err(TrainError::OutputShape { output: self.program.output_name.clone(), found, images: batch.shape[0] })
            }
        }
    }

    /// Whether every weight and statistic is a number.
    pub(crate) fn is_finite(&self) -> bool {
        let all = |numbers: &[f32]| numbers.par_chunks(CHUNK).all(|chunk| chunk.iter().all(|x| x.is_finite()));
        (0..self.weights.0.len()).all(|place| all(self.weights.floats(place)))
    }
}
