//! A model with its program and weights, and what is done with one batch.

use burn::tensor::Tensor;
use layerprune::batch::Batch;
use layerprune::graph::{Graph, NodeId, ValueId};
use layerprune::onnx::Model;
use rayon::prelude::*;

use crate::error::TrainError;
use crate::kernel;
use crate::loss::{Loss, check_labels, cross_entropy};
use crate::lower::{self, Mode, Run};
use crate::prepare::prepared;
use crate::program::Program;
use crate::settings::Settings;
use crate::value::{Value, any_rank};
use crate::weights::{Role, Weights};

/// A model made ready.
pub(crate) struct Session {
    graph: Graph,
    pub(crate) program: Program,
    pub(crate) weights: Weights,
    /// Places of the trained weights, and what moves each.
    pub(crate) trained: Vec<usize>,
    pub(crate) velocity: Vec<Vec<f32>>,
    /// Whether burn's own operations take the place of this crate's kernels.
    pub(crate) reference: bool,
}

/// What one batch says of the weights.
pub(crate) struct Differentiated {
    pub(crate) loss: Loss,
    /// The gradient of each trained weight, where the loss depends on it.
    pub(crate) weights: Vec<Option<Vec<f32>>>,
    /// That of each gate.
    pub(crate) gates: Vec<Option<Array>>,
    batches: Vec<lower::Batch>,
}

/// Elements and shape.
pub(crate) type Array = (Vec<f32>, Vec<usize>);

impl Session {
    pub(crate) fn new(model: &Model) -> Result<Self, TrainError> {
        Self::gated(model, &[])
    }

    /// With a gate on each of `gated`.
    pub(crate) fn gated(model: &Model, gated: &[ValueId]) -> Result<Self, TrainError> {
        model.graph.validate()?;
        let graph = prepared(&model.graph);
        let (program, weights) = Program::new(&graph, gated)?;
        let trained = weights.with_role(Role::Trained);
        let velocity = trained.iter().map(|&place| vec![0.0; weights.floats(place).len()]).collect();
        Ok(Self { graph, program, weights, trained, velocity, reference: false })
    }

    /// The model with the weights as they now are.
    pub(crate) fn model(&self, model: &Model) -> Result<Model, TrainError> {
        let mut graph = self.graph.clone();
        self.weights.write_to(&mut graph)?;
        Ok(model.with_graph(graph))
    }

    /// The class scores of a batch.
    pub(crate) fn scores(&self, batch: &Batch, mode: Mode) -> Result<(Vec<f32>, Vec<lower::Batch>), TrainError> {
        let mut run = self.run(batch, mode)?;
        let images = Value::R4(kernel::from_vec(batch.images.clone(), batch.shape));
        let scores = self.class_scores(batch, images, &mut run)?;
        Ok((kernel::to_vec(scores), run.into_values().1))
    }

    /// Moves the weights by one batch.
    pub(crate) fn step(
        &mut self,
        batch: &Batch,
        settings: &Settings,
        rate: f64,
        at: (usize, usize),
    ) -> Result<Loss, TrainError> {
        let mode = Mode::Train { frozen: settings.freeze_batch_norm_stats };
        let mut run = self.run(batch, mode)?.with_dropout(settings.seed, at.0, at.1);
        run.reference = self.reference;
        let Differentiated { loss, weights, batches, .. } = self.differentiate(batch, run)?;
        if !loss.sum.is_finite() {
            return Err(TrainError::NonFinite { epoch: at.0, step: at.1, learning_rate: rate });
        }
        for ((&place, velocity), gradient) in self.trained.iter().zip(&mut self.velocity).zip(&weights) {
            if let Some(gradient) = gradient {
                move_weight(self.weights.floats_mut(place), velocity, gradient, settings, rate);
            }
        }
        for batch in &batches {
            mix(self.weights.floats_mut(batch.places[0]), &batch.mean, batch.momentum);
            mix(self.weights.floats_mut(batch.places[1]), &batch.variance, batch.momentum);
        }
        Ok(loss)
    }

    /// The gradients of the mean loss over a batch.
    pub(crate) fn differentiate(&self, batch: &Batch, mut run: Run<'_>) -> Result<Differentiated, TrainError> {
        let images = Value::R4(kernel::from_vec(batch.images.clone(), batch.shape)).autodiff();
        let scores = self.class_scores(batch, images, &mut run)?;
        let loss = cross_entropy(&kernel::to_vec(scores.clone()), &batch.labels);
        let upstream = kernel::from_vec(loss.gradient.clone(), scores.dims()).autodiff();
        let mut gradients = (scores * upstream).sum().backward();
        let gates = std::mem::take(&mut run.gates);
        let (values, batches) = run.into_values();
        let mut gradient =
            |value: &Value| any_rank!(value, x => x.grad_remove(&mut gradients).map(kernel::to_vec), ints _ => None);
        let weights = self.trained.iter().map(|&place| gradient(values[place].as_ref()?)).collect();
        let gates = gates.iter().map(|gate| Some((gradient(gate.as_ref()?)?, gate.as_ref()?.dims()))).collect();
        Ok(Differentiated { loss, weights, gates, batches })
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

    fn class_scores(&self, batch: &Batch, images: Value, run: &mut Run<'_>) -> Result<Tensor<2>, TrainError> {
        let scores = self.program.run(images, run)?;
        let found = scores.dims();
        match scores {
            Value::R2(scores) if found[0] == batch.shape[0] => {
                check_labels(batch, found[1])?;
                Ok(scores)
            }
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

const CHUNK: usize = 1 << 14;

fn move_weight(weight: &mut [f32], velocity: &mut [f32], gradient: &[f32], settings: &Settings, rate: f64) {
    let (rate, decay, momentum) = (rate as f32, settings.weight_decay as f32, settings.momentum as f32);
    let chunks = weight.par_chunks_mut(CHUNK).zip(velocity.par_chunks_mut(CHUNK)).zip(gradient.par_chunks(CHUNK));
    chunks.for_each(|((weight, velocity), gradient)| {
        for ((w, v), g) in weight.iter_mut().zip(velocity).zip(gradient) {
            let g = g + decay * *w;
            *v = momentum * *v + g;
            *w -= rate * if settings.nesterov { g + momentum * *v } else { *v };
        }
    });
}

/// `stored = momentum · stored + (1 - momentum) · new`.
fn mix(stored: &mut [f32], new: &[f32], momentum: f32) {
    for (stored, new) in stored.iter_mut().zip(new) {
        *stored = momentum * *stored + (1.0 - momentum) * new;
    }
}
