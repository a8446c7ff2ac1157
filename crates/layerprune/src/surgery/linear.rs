//! The linear part of a layer, and a weight composed with it.

use crate::graph::{Graph, NodeId, ValueId, tensor};
use crate::ops::conv::Conv;
use crate::ops::linear::Gemm;
use crate::ops::norm::BatchNorm;
use crate::proto::TensorProto;
use crate::shapes::Shapes;

/// What a layer makes of an input that is the same all over its window: `matrix · x + constant`, its activation left out.
pub(super) struct Linear {
    /// Channels of the input.
    pub(super) inputs: usize,
    /// Row by row, one for each output channel; empty as long as it is the identity.
    pub(super) matrix: Vec<f64>,
    /// One number for each output channel.
    pub(super) constant: Vec<f64>,
}

impl Linear {
    /// That of `nodes`, one behind the other, for an input of `inputs` channels.
    ///
    /// # Errors
    /// Where a stored number that it needs cannot be read.
    pub(super) fn of(graph: &Graph, shapes: &Shapes, nodes: &[NodeId], inputs: usize) -> Result<Self, String> {
        let mut linear = Self { inputs, matrix: Vec::new(), constant: vec![0.0; inputs] };
        for &id in nodes {
            let (node, call) = (graph.node(id), shapes.call(graph, id));
            match node.op_type() {
                "Conv" => {
                    let conv = Conv::read(&call)?;
                    let weight = numbers(shapes, node.input(1))?;
                    let area = conv.window.kernel.iter().product();
                    let sums: Vec<f64> = weight.chunks_exact(area).map(|window| window.iter().sum()).collect();
                    let group_filters = conv.filters / conv.groups;
                    linear.multiply(&sums, conv.group_channels, |filter| filter / group_filters);
                    linear.shift(shapes, node.input(2), 1.0)?;
                }
                "Gemm" => {
                    let settings = Gemm::read(&call)?;
                    let features = linear.constant.len();
                    let weight = numbers(shapes, node.input(1))?;
                    let rows = if settings.trans_b { weight } else { transposed(&weight, features) };
                    let scaled: Vec<f64> = rows.iter().map(|x| x * f64::from(settings.alpha)).collect();
                    linear.multiply(&scaled, features, |_| 0);
                    linear.shift(shapes, node.input(2), f64::from(settings.beta))?;
                }
                "BatchNormalization" => {
                    let epsilon = f64::from(BatchNorm::read(&call)?.epsilon);
                    let stored = |position| numbers(shapes, node.input(position));
                    let [scale, shift, mean, variance] = [stored(1)?, stored(2)?, stored(3)?, stored(4)?];
                    for channel in 0..linear.constant.len() {
                        let factor = scale[channel] / (variance[channel] + epsilon).sqrt();
                        linear.matrix[channel * inputs..][..inputs].iter_mut().for_each(|x| *x *= factor);
                        linear.constant[channel] = factor * (linear.constant[channel] - mean[channel]) + shift[channel];
                    }
                }
                _ => {}
            }
        }
        Ok(linear)
    }

    /// Puts `weight · ` before it; each row of `weight` reads `width` channels, those of the conv group that `group` tells.
    fn multiply(&mut self, weight: &[f64], width: usize, group: impl Fn(usize) -> usize) {
        let mut matrix = Vec::with_capacity(weight.len() / width * self.inputs);
        let mut constant = Vec::with_capacity(weight.len() / width);
        for (filter, row) in weight.chunks_exact(width).enumerate() {
            let first = group(filter) * width;
            let mut sums = vec![0.0; self.inputs];
            if self.matrix.is_empty() {
                sums[first..first + width].copy_from_slice(row);
            } else {
                for (&factor, old) in row.iter().zip(self.matrix[first * self.inputs..].chunks_exact(self.inputs)) {
                    sums.iter_mut().zip(old).for_each(|(sum, x)| *sum += factor * x);
                }
            }
            matrix.extend(sums);
            constant.push(row.iter().zip(&self.constant[first..]).map(|(factor, x)| factor * x).sum());
        }
        (self.matrix, self.constant) = (matrix, constant);
    }

    fn shift(&mut self, shapes: &Shapes, bias: Option<ValueId>, factor: f64) -> Result<(), String> {
        if bias.is_some() {
            let bias = numbers(shapes, bias)?;
            self.constant.iter_mut().zip(bias.iter().cycle()).for_each(|(sum, x)| *sum += factor * x);
        }
        Ok(())
    }

    /// A weight that reads this layer's input instead of its output, and what the constant adds to each filter.
    ///
    /// `weight` holds, filter by filter, `area` numbers for each output channel of this layer.
    pub(super) fn compose(&self, weight: &[f64], area: usize) -> (Vec<f64>, Vec<f64>) {
        let mut composed = Vec::with_capacity(weight.len() / self.constant.len() * self.inputs);
        let mut added = Vec::new();
        for filter in weight.chunks_exact(self.constant.len() * area) {
            let mut sums = vec![0.0; self.inputs * area];
            let mut constant = 0.0;
            for ((window, row), shift) in
                filter.chunks_exact(area).zip(self.matrix.chunks_exact(self.inputs)).zip(&self.constant)
            {
                for (sums, factor) in sums.chunks_exact_mut(area).zip(row) {
                    sums.iter_mut().zip(window).for_each(|(sum, x)| *sum += factor * x);
                }
                constant += shift * window.iter().sum::<f64>();
            }
            composed.extend(sums);
            added.push(constant);
        }
        (composed, added)
    }
}

/// `matrix` of `rows` rows, turned around.
pub(super) fn transposed(matrix: &[f64], rows: usize) -> Vec<f64> {
    let columns = matrix.len() / rows.max(1);
    (0..columns).flat_map(|column| (0..rows).map(move |row| matrix[row * columns + column])).collect()
}

/// The numbers of a stored value.
pub(super) fn numbers(shapes: &Shapes, value: Option<ValueId>) -> Result<Vec<f64>, String> {
    let stored = value.and_then(|value| shapes.fact(value).stored.clone()).ok_or("a weight of it is not stored")?;
    of_tensor(&stored)
}

fn of_tensor(stored: &TensorProto) -> Result<Vec<f64>, String> {
    let numbers = tensor::to_f32(stored).map_err(|error| error.to_string())?;
    Ok(numbers.iter().map(|&x| f64::from(x)).collect())
}
