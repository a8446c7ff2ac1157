use burn::tensor::Tensor;

use crate::device::Open;
use crate::kernel::{self, Buffer};

/// Integers of any rank: what shape arithmetic computes with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ints {
    pub(crate) dims: Vec<usize>,
    pub(crate) data: Vec<i64>,
}

impl Ints {
    pub(crate) fn list(data: Vec<i64>) -> Self {
        Self { dims: vec![data.len()], data }
    }
}

/// What flows between nodes. Floating-point scalars are of rank 1 with one element.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Ints(Ints),
    R1(Tensor<1>),
    R2(Tensor<2>),
    R3(Tensor<3>),
    R4(Tensor<4>),
    R5(Tensor<5>),
}

/// Applies an expression to a tensor of whatever rank, for a value of the same rank.
macro_rules! same_rank {
    ($value:expr, $tensor:ident => $body:expr, ints $ints:pat => $other:expr) => {
        match $value {
            $crate::value::Value::R1($tensor) => $crate::value::Value::R1($body),
            $crate::value::Value::R2($tensor) => $crate::value::Value::R2($body),
            $crate::value::Value::R3($tensor) => $crate::value::Value::R3($body),
            $crate::value::Value::R4($tensor) => $crate::value::Value::R4($body),
            $crate::value::Value::R5($tensor) => $crate::value::Value::R5($body),
            $crate::value::Value::Ints($ints) => $other,
        }
    };
}

/// Applies an expression to a tensor of whatever rank.
macro_rules! any_rank {
    ($value:expr, $tensor:ident => $body:expr, ints $ints:pat => $other:expr) => {
        match $value {
            $crate::value::Value::R1($tensor) => $body,
            $crate::value::Value::R2($tensor) => $body,
            $crate::value::Value::R3($tensor) => $body,
            $crate::value::Value::R4($tensor) => $body,
            $crate::value::Value::R5($tensor) => $body,
            $crate::value::Value::Ints($ints) => $other,
        }
    };
}

pub(crate) use {any_rank, same_rank};

/// The greatest rank of a tensor.
pub(crate) const MAX_RANK: usize = 5;

impl Value {
    /// A tensor of shape `dims`, which `data` fills; `None` above [`MAX_RANK`].
    pub(crate) fn from_vec(data: Vec<f32>, dims: &[usize]) -> Option<Self> {
        Some(match *dims {
            [] => Self::R1(kernel::from_vec(data, [1])),
            [a] => Self::R1(kernel::from_vec(data, [a])),
            [a, b] => Self::R2(kernel::from_vec(data, [a, b])),
            [a, b, c] => Self::R3(kernel::from_vec(data, [a, b, c])),
            [a, b, c, d] => Self::R4(kernel::from_vec(data, [a, b, c, d])),
            [a, b, c, d, e] => Self::R5(kernel::from_vec(data, [a, b, c, d, e])),
            _ => return None,
        })
    }

    pub(crate) fn dims(&self) -> Vec<usize> {
        any_rank!(self, tensor => tensor.dims().to_vec(), ints ints => ints.dims.clone())
    }

    /// The elements, in row-major order.
    pub(crate) fn to_f32(&self) -> Vec<f32> {
        any_rank!(
            self.clone(),
            tensor => kernel::to_vec(tensor),
            ints ints => ints.data.iter().map(|&x| x as f32).collect()
        )
    }

    /// The elements where they lie, in row-major order; `None` for integers.
    pub(crate) fn into_buffer(self) -> Option<Buffer> {
        any_rank!(self, tensor => Some(Buffer::of(tensor)), ints _ => None)
    }

    /// The same elements in another shape of as many; `None` above [`MAX_RANK`].
    pub(crate) fn reshape(self, dims: &[usize]) -> Option<Self> {
        Some(any_rank!(
            self,
            tensor => match *dims {
                [] => Self::R1(tensor.reshape([1])),
                [a] => Self::R1(tensor.reshape([a])),
                [a, b] => Self::R2(tensor.reshape([a, b])),
                [a, b, c] => Self::R3(tensor.reshape([a, b, c])),
                [a, b, c, d] => Self::R4(tensor.reshape([a, b, c, d])),
                [a, b, c, d, e] => Self::R5(tensor.reshape([a, b, c, d, e])),
                _ => return None,
            },
            ints ints => Self::Ints(Ints { dims: dims.to_vec(), data: ints.data })
        ))
    }

    /// The sum of all products with the elements of another value of the same shape; `None` for integers and other ranks.
    pub(crate) fn dot(self, other: Self) -> Option<Tensor<1>> {
        match (self, other) {
            (Self::R1(a), Self::R1(b)) => Some((a * b).sum()),
            (Self::R2(a), Self::R2(b)) => Some((a * b).sum()),
            (Self::R3(a), Self::R3(b)) => Some((a * b).sum()),
            (Self::R4(a), Self::R4(b)) => Some((a * b).sum()),
            (Self::R5(a), Self::R5(b)) => Some((a * b).sum()),
            _ => None,
        }
    }

    /// The tensor on `device`.
    pub(crate) fn on(self, device: &Open) -> Self {
        if *device == Open::flex() {
            return self;
        }
        same_rank!(self, tensor => tensor.to_device(device), ints ints => Self::Ints(ints))
    }

    /// The tensor as part of the differentiated computation.
    pub(crate) fn autodiff(self) -> Self {
        same_rank!(self, tensor => if tensor.is_autodiff() { tensor } else { tensor.autodiff() }, ints ints => Self::Ints(ints))
    }

    /// The tensor as one whose gradient is wanted.
    pub(crate) fn require_grad(self) -> Self {
        same_rank!(self.autodiff(), tensor => tensor.require_grad(), ints ints => Self::Ints(ints))
    }
}
