use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Fault;
use super::elementwise::{Arithmetic, binary};
use crate::device::Open;
use crate::program::Source;
use crate::value::{Ints, Value, any_rank};
use crate::weights::{Role, Weights};
use burn::tensor::Tensor;

/// What a program is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Class scores.
    Evaluate,
    /// Class scores and the statistics of the batch at each batch norm.
    Recalibrate,
    /// Gradients; `frozen` where batch norms use their stored statistics.
    Train { frozen: bool },
}

/// What a batch norm saw of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    /// Places of mean and variance.
    pub(crate) places: [usize; 2],
    pub(crate) mean: Vec<f32>,
    /// Divided by one less than the number of elements, as PyTorch's running variance is.
    pub(crate) variance: Vec<f32>,
    /// The share of the stored statistics that stays.
    pub(crate) momentum: f32,
}

/// One pass over one batch.
pub(crate) struct Run<'a> {
    pub(crate) mode: Mode,
    /// Whether burn's own operations take the place of this crate's kernels.
    pub(crate) reference: bool,
    /// Where values are.
    pub(crate) device: &'a Open,
    pub(crate) weights: &'a Weights,
    /// The weights as values, made at their first use.
    values: Vec<Option<Value>>,
    /// What the batch norms saw.
    pub(crate) batches: Vec<Batch>,
    /// Factors of ones that values went through.
    pub(crate) gates: Vec<Option<Value>>,
    /// Values that a loss reads besides the outputs.
    pub(crate) taps: Vec<Option<Value>>,
    /// What dropout is drawn from; without it nothing is dropped.
    dropout: Option<ChaCha8Rng>,
    /// Images of this batch, and the fixed number that the file declares instead.
    pub(crate) images: usize,
    pub(crate) declared_images: Option<usize>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        mode: Mode,
        device: &'a Open,
        weights: &'a Weights,
        images: usize,
        declared_images: Option<usize>,
    ) -> Self {
        let values = (0..weights.0.len()).map(|_| None).collect();
        let (batches, gates, taps) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            mode,
            reference: false,
            device,
            weights,
            values,
            batches,
            gates,
            taps,
            dropout: None,
            images,
            declared_images,
        }
    }

    /// Draws dropout from `seed`, at a place that epoch and step alone decide.
    pub(crate) fn with_dropout(mut self, seed: u64, epoch: usize, step: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream((epoch as u64) << 32 | step as u64);
        self.dropout = Some(random);
        self
    }

    /// Whether dropout drops anything.
    pub(crate) fn drops(&self) -> bool {
        self.dropout.is_some()
    }

    pub(crate) fn is_training(&self) -> bool {
        matches!(self.mode, Mode::Train { .. })
    }

    /// The weight at `place`; an empty list where its rank is too great for any operation.
    pub(crate) fn weight(&mut self, place: usize) -> Value {
        if self.values[place].is_none() {
            let value = self.weights.value(place).unwrap_or(Value::Ints(Ints::list(Vec::new()))).on(self.device);
            let trained = self.weights.0[place].role == Role::Trained;
            self.values[place] = Some(match (self.is_training(), trained) {
                (false, _) => value,
                (true, true) => value.require_grad(),
                (true, false) => value.autodiff(),
            });
        }
        self.values[place].clone().expect("it was just set")
    }

    /// Asks for the gradient of every floating-point tensor that is stored, trained or not.
    pub(crate) fn track_all(&mut self) {
        for (place, value) in self.values.iter_mut().enumerate() {
            *value = self.weights.value(place).map(Value::require_grad);
        }
    }

    /// Multiplies `value` by ones: their gradient is that of each element times the element.
    pub(crate) fn gate(&mut self, gate: usize, value: Value) -> Result<Value, Fault> {
        if !self.is_training() || matches!(value, Value::Ints(_)) {
            return Ok(value);
        }
        let dims = value.dims();
        let ones = Value::from_vec(vec![1.0; dims.iter().product()], &dims).ok_or_else(|| too_deep(&dims))?;
        let ones = ones.on(self.device).require_grad();
        if self.gates.len() <= gate {
            self.gates.resize(gate + 1, None);
        }
        self.gates[gate] = Some(ones.clone());
        binary(Arithmetic::Mul, value, ones)
    }

    /// Keeps `value`.
    pub(crate) fn tap(&mut self, tap: usize, value: &Value) {
        if self.taps.len() <= tap {
            self.taps.resize(tap + 1, None);
        }
        self.taps[tap] = Some(value.clone());
    }

    /// The weights as they were used, to ask for their gradients.
    pub(crate) fn into_values(self) -> (Vec<Option<Value>>, Vec<Batch>) {
        (self.values, self.batches)
    }
}

/// A node's inputs while it runs.
pub(crate) struct Frame<'a, 'b> {
    pub(crate) inputs: Vec<Option<Value>>,
    pub(crate) sources: &'a [Option<Source>],
    pub(crate) run: &'a mut Run<'b>,
}

impl Frame<'_, '_> {
    /// Takes input `position`.
    pub(super) fn take(&mut self, position: usize) -> Result<Value, Fault> {
        self.optional(position).ok_or_else(|| Fault(format!("input {position} is missing")))
    }

    pub(super) fn optional(&mut self, position: usize) -> Option<Value> {
        self.inputs.get_mut(position).and_then(Option::take)
    }

    pub(super) fn rank4(&mut self, position: usize) -> Result<Tensor<4>, Fault> {
        match self.take(position)? {
            Value::R4(tensor) => Ok(tensor),
            other => Err(wrong_rank(position, &other, 4)),
        }
    }

    pub(super) fn rank2(&mut self, position: usize) -> Result<Tensor<2>, Fault> {
        match self.take(position)? {
            Value::R2(tensor) => Ok(tensor),
            other => Err(wrong_rank(position, &other, 2)),
        }
    }

    pub(super) fn rank1(&mut self, position: usize) -> Result<Tensor<1>, Fault> {
        match self.take(position)? {
            Value::R1(tensor) => Ok(tensor),
            other => Err(wrong_rank(position, &other, 1)),
        }
    }

    /// Integers, where the input is present.
    pub(super) fn ints(&mut self, position: usize) -> Result<Option<Ints>, Fault> {
        match self.optional(position) {
            None => Ok(None),
            Some(Value::Ints(ints)) => Ok(Some(ints)),
            Some(other) => {
                let dims = other.dims();
                Err(Fault(format!("input {position} must be integers, it is floating point of shape {dims:?}")))
            }
        }
    }

    /// One number, where the input is present.
    pub(super) fn scalar(&mut self, position: usize) -> Result<Option<f32>, Fault> {
        let Some(value) = self.optional(position) else { return Ok(None) };
        match value.to_f32()[..] {
            [number] => Ok(Some(number)),
            _ => Err(Fault(format!("input {position} must be one number, it has shape {:?}", value.dims()))),
        }
    }

    /// The place of the stored tensor at an input.
    pub(super) fn place(&self, position: usize) -> Result<usize, Fault> {
        match self.sources.get(position) {
            Some(Some(Source::Weight(place))) => Ok(*place),
            _ => Err(Fault(format!("input {position} must be an initializer"))),
        }
    }

    /// A constant as a value of this run.
    pub(super) fn constant(&self, data: Vec<f32>, dims: &[usize]) -> Result<Value, Fault> {
        let value = Value::from_vec(data, dims).ok_or_else(|| too_deep(dims))?.on(self.run.device);
        Ok(if self.run.is_training() { value.autodiff() } else { value })
    }

    /// Factors of dropout for a tensor of shape `dims`: 0 with probability `ratio`, else `1 / (1 - ratio)`.
    pub(super) fn dropout(&mut self, ratio: f32, dims: &[usize]) -> Result<Value, Fault> {
        let kept = 1.0 / (1.0 - ratio);
        let len: usize = dims.iter().product();
        let random = self.run.dropout.as_mut().ok_or_else(|| Fault("nothing is dropped in this run".to_owned()))?;
        let factors = (0..len).map(|_| if random.random::<f32>() < ratio { 0.0 } else { kept }).collect();
        self.constant(factors, dims)
    }
}

pub(super) fn too_deep(dims: &[usize]) -> Fault {
    Fault(format!("shape {dims:?} has more than {} axes", crate::value::MAX_RANK))
}

fn wrong_rank(position: usize, value: &Value, rank: usize) -> Fault {
    let kind = any_rank!(value, _tensor => "", ints _ => "integers of ");
    Fault(format!("input {position} has {kind}shape {:?}, rank {rank} is needed", value.dims()))
}
