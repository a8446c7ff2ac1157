//! Outputs and gradients of any graph for a dense upstream gradient: what tests compare with other implementations.

use std::collections::BTreeMap;

use layerprune::onnx::Model;

use crate::error::TrainError;
use crate::loss::Loss;
use crate::lower::{Mode, Run};
use crate::session::Session;
use crate::value::{Value, any_rank};

/// How a graph is run.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Probe {
    /// Batch norms use their stored statistics.
    pub frozen: bool,
    /// Burn's own operations take the place of this crate's kernels.
    pub reference: bool,
    /// The seed of dropout; without it nothing is dropped.
    pub dropout: Option<u64>,
}

/// What a graph computed.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Probed {
    /// The output, in row-major order.
    pub output: Vec<f32>,
    /// Its shape; `[1]` for a scalar.
    pub shape: Vec<usize>,
    /// By the names of the input and of every stored floating-point tensor, trained or not, that the output depends on.
    pub gradients: BTreeMap<String, Vec<f32>>,
}

impl Probe {
    /// The output for an input of any rank, and the gradients of the sum of output · `upstream`, which has an element for
    /// each of the output.
    ///
    /// # Errors
    /// Whatever of the model cannot be trained, and shapes that do not fit.
    #[doc(hidden)]
    pub fn run(self, model: &Model, input: (&[f32], &[usize]), upstream: &[f32]) -> Result<Probed, TrainError> {
        let session = Session::new(model, &Loss::MeanSquared)?;
        let (data, shape) = input;
        let too_deep = || TrainError::Inputs { found: format!("one of shape {shape:?}") };
        let input = Value::from_vec(data.to_vec(), shape).ok_or_else(too_deep)?.require_grad();
        let images = shape.first().copied().unwrap_or(1);
        let mut run = Run::new(Mode::Train { frozen: self.frozen }, &session.device, &session.weights, images, None);
        run.reference = self.reference;
        if let Some(seed) = self.dropout {
            run = run.with_dropout(seed, 0, 0);
        }
        run.track_all();
        let output = session.program.run(input.clone(), &mut run)?;
        let found = Probed { output: output.to_f32(), shape: output.dims(), gradients: BTreeMap::new() };
        let flat = |value: Value| value.reshape(&[upstream.len()]);
        let upstream = Value::from_vec(upstream.to_vec(), &[upstream.len()]).map(Value::autodiff);
        let (Some(Value::R1(output)), Some(Value::R1(upstream))) = (flat(output), upstream) else {
            return Err(TrainError::Outputs { found: "one of integers".to_owned() });
        };
        let mut gradients = (output * upstream).sum().backward();
        let mut gradient = |value: &Value| any_rank!(value, x => x.grad_remove(&mut gradients).map(crate::kernel::to_vec), ints _ => None);
        let (values, _) = run.into_values();
        let names = session.weights.0.iter().map(|weight| &weight.name).zip(values.iter().map(Option::as_ref));
        let all = names.chain([(&session.program.input_port.0, Some(&input))]);
        let gradients = all.filter_map(|(name, value)| Some((name.clone(), gradient(value?)?))).collect();
        Ok(Probed { gradients, ..found })
    }
}
