//! A model with its program and weights, and what one batch says of them.

use burn::tensor::Tensor;
use layerprune::batch::Batch;
use layerprune::graph::{Graph, NodeId, ValueId};
use layerprune::onnx::Model;

use crate::ema::Average;
use crate::error::TrainError;
use crate::kernel;
use crate::loss::{Judgement, Loss};
use crate::lower::{self, Mode, Run};
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

impl Session {
    /// The model without what `loss` does itself.
    pub(crate) fn new(model: &Model, loss: &Loss) -> Result<Self, TrainError> {
        Self::gated(model, loss, &[])
    }

    /// With a gate on each of `gated`.
    pub(crate) fn gated(model: &Model, loss: &Loss, gated: &[ValueId]) -> Result<Self, TrainError> {
        model.graph.validate()?;
        let graph = prepared(&model.graph);
        let (program, weights) = Program::new(&graph, loss.last_operators(), gated)?;
        let trained = weights.with_role(Role::Trained);
        Ok(Self { graph, program, weights, trained, reference: false })
    }

    /// The model with the weights as they now are, or with their average.
    pub(crate) fn model(&self, model: &Model, average: Option<&Average>) -> Result<Model, TrainError> {
        let mut graph = self.graph.clone();
        self.weights.write_to(&mut graph, average.map(|average| &average.values[..]))?;
        Ok(model.with_graph(graph))
    }

    /// The outputs for a batch, row by row, the length of a row, and what the batch norms saw.
    pub(crate) fn outputs(
        &self,
        batch: &Batch,
        mode: Mode,
    ) -> Result<(Vec<f32>, usize, Vec<lower::Batch>), TrainError> {
        let mut run = self.run(batch, mode)?;
        let images = Value::R4(kernel::from_vec(batch.images.clone(), batch.shape));
        let outputs = self.rows(batch, images, &mut run)?;
        let [_, width] = outputs.dims();
        Ok((kernel::to_vec(outputs), width, run.into_values().1))
    }

    /// The loss of a batch and its gradients.
    pub(crate) fn differentiate(
        &self,
        batch: &Batch,
        loss: &Loss,
        mut run: Run<'_>,
    ) -> Result<Differentiated, TrainError> {
        run.reference = self.reference;
        let images = Value::R4(kernel::from_vec(batch.images.clone(), batch.shape)).autodiff();
        let outputs = self.rows(batch, images, &mut run)?;
        let [_, width] = outputs.dims();
        let judgement = loss.judge(&kernel::to_vec(outputs.clone()), width, batch)?;
        let upstream = kernel::from_vec(judgement.gradient.clone(), outputs.dims()).autodiff();
        let mut gradients = (outputs * upstream).sum().backward();
        let gates = std::mem::take(&mut run.gates);
        let (values, statistics) = run.into_values();
        let mut gradient =
            |value: &Value| any_rank!(value, x => x.grad_remove(&mut gradients).map(kernel::to_vec), ints _ => None);
        let weights = self.trained.iter().map(|&place| gradient(values[place].as_ref()?)).collect();
        let gates = gates.iter().map(|gate| Some((gradient(gate.as_ref()?)?, gate.as_ref()?.dims()))).collect();
        Ok(Differentiated { judgement, weights, gates, statistics })
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
        Ok(Run::new(mode, &self.weights, batch.shape[0], declared.first().copied().flatten()))
    }

    /// The outputs as N×K; a list of N is N×1.
    fn rows(&self, batch: &Batch, images: Value, run: &mut Run<'_>) -> Result<Tensor<2>, TrainError> {
        let outputs = self.program.run(images, run)?;
        let found = outputs.dims();
        match outputs {
            Value::R2(outputs) if found[0] == batch.shape[0] => Ok(outputs),
            Value::R1(outputs) if found[0] == batch.shape[0] => Ok(outputs.reshape([found[0], 1])),
            _ => {
                Err(TrainError::OutputShape { output: self.program.output_name.clone(), found, images: batch.shape[0] })
            }
        }
    }

    /// Whether every weight and statistic is a number.
    pub(crate) fn is_finite(&self) -> bool {
        (0..self.weights.0.len()).all(|place| self.weights.floats(place).iter().all(|x| x.is_finite()))
    }
}
