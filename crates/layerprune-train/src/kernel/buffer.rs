use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::ops::{elements, plain, primitive, untracked};
use crate::value::Value;

/// Numbers that tensors share, and that are changed in place once no tensor holds them.
#[derive(Debug, Clone)]
pub(crate) struct Buffer(FlexTensor);

impl Buffer {
    pub(crate) fn new(data: Vec<f32>) -> Self {
        let len = data.len();
        Self(primitive(data, &[len]))
    }

    /// The numbers of a tensor on the CPU, in row-major order; without a copy where they lie so.
    pub(crate) fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        Self(untracked(plain(tensor)))
    }

    pub(crate) fn elements(&self) -> &[f32] {
        elements(&self.0)
    }

    /// Copies first where a tensor still holds the numbers.
    pub(crate) fn elements_mut(&mut self) -> &mut [f32] {
        self.0.storage_mut()
    }

    /// A tensor of shape `dims` over the same numbers; `None` where the rank is too great.
    pub(crate) fn value(&self, dims: &[usize]) -> Option<Value> {
        Value::R1(Tensor::from_primitive::<Flex>(self.0.clone())).reshape(dims)
    }
}
