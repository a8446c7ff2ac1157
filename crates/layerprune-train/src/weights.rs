//! The stored tensors of a graph while it is trained.

use layerprune::graph::tensor;
use layerprune::graph::{Graph, ValueId};

use crate::checkpoint::{Kept, Section};
use crate::error::TrainError;
use crate::kernel::{Buffer, Lease};
use crate::value::{Ints, Value};

/// What a stored tensor is to training. Where nodes disagree, the greatest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Stays as it is.
    Fixed,
    /// Mean or variance of a batch norm.
    Statistic,
    /// Follows its gradient.
    Trained,
}

#[derive(Debug, Clone)]
enum Stored {
    Floats(Buffer),
    Ints(Vec<i64>),
}

/// A stored tensor.
#[derive(Debug, Clone)]
pub(crate) struct Weight {
    value: ValueId,
    pub(crate) name: String,
    pub(crate) dims: Vec<usize>,
    pub(crate) role: Role,
    /// Whether it is the weight of a convolution or linear layer, not a bias, scale or shift.
    pub(crate) is_kernel: bool,
    stored: Stored,
}

impl Weight {
    /// The initializer that it is of.
    pub(crate) fn value(&self) -> ValueId {
        self.value
    }

    fn floats_mut(&mut self) -> &mut [f32] {
        match &mut self.stored {
            Stored::Floats(buffer) => buffer.elements_mut(),
            Stored::Ints(_) => &mut [],
        }
    }
}

/// The stored tensors that a program reads, by place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Weights(
    pub(crate) Vec<Weight>,
    /// Whoever has weights runs them more than once.
    Lease,
);

impl Weights {
    pub(crate) fn push_floats(&mut self, value: ValueId, name: &str, dims: Vec<usize>, data: &[f32]) -> usize {
        self.push(value, name, dims, Stored::Floats(Buffer::new(data.to_vec())))
    }

    pub(crate) fn push_ints(&mut self, value: ValueId, name: &str, dims: Vec<usize>, data: Vec<i64>) -> usize {
        self.push(value, name, dims, Stored::Ints(data))
    }

    fn push(&mut self, value: ValueId, name: &str, dims: Vec<usize>, stored: Stored) -> usize {
        self.0.push(Weight { value, name: name.to_owned(), dims, role: Role::Fixed, is_kernel: false, stored });
        self.0.len() - 1
    }

    pub(crate) fn add_role(&mut self, place: usize, role: Role) {
        let weight = &mut self.0[place];
        if matches!(weight.stored, Stored::Floats(_)) {
            weight.role = weight.role.max(role);
        }
    }

    /// The places of weights with `role`, in the order of their first use.
    pub(crate) fn with_role(&self, role: Role) -> Vec<usize> {
        (0..self.0.len()).filter(|&place| self.0[place].role == role).collect()
    }

    /// The places of all that training changes: trained weights and statistics.
    pub(crate) fn kept(&self) -> Vec<usize> {
        (0..self.0.len()).filter(|&place| self.0[place].role != Role::Fixed).collect()
    }

    /// Trained weights and statistics, for a checkpoint.
    pub(crate) fn section(&self) -> Section<'_> {
        let tensors = self.kept().into_iter().map(|place| {
            let weight = &self.0[place];
            Kept { name: &weight.name, dims: &weight.dims, data: self.floats(place) }
        });
        Section { name: "weights", tensors: tensors.collect() }
    }

    /// The numbers behind [`Weights::section`], in its order.
    pub(crate) fn numbers_mut(&mut self) -> Vec<&mut [f32]> {
        let kept = self.0.iter_mut().filter(|weight| weight.role != Role::Fixed);
        kept.map(Weight::floats_mut).collect()
    }

    /// The elements of a floating-point weight; empty for others.
    pub(crate) fn floats(&self, place: usize) -> &[f32] {
        match &self.0[place].stored {
            Stored::Floats(buffer) => buffer.elements(),
            Stored::Ints(_) => &[],
        }
    }

    /// The elements of a floating-point weight, to change them; empty for others.
    pub(crate) fn floats_mut(&mut self, place: usize) -> &mut [f32] {
        self.0[place].floats_mut()
    }

    /// The weight as a value; `None` above the greatest rank.
    pub(crate) fn value(&self, place: usize) -> Option<Value> {
        let weight = &self.0[place];
        match &weight.stored {
            Stored::Ints(data) => Some(Value::Ints(Ints { dims: weight.dims.clone(), data: data.clone() })),
            Stored::Floats(buffer) => buffer.value(&weight.dims),
        }
    }

    /// Writes trained weights and statistics back into `graph`, from which these were taken; `instead` of their own numbers,
    /// those given, in the order of [`Weights::kept`].
    pub(crate) fn write_to(&self, graph: &mut Graph, instead: Option<&[Vec<f32>]>) -> Result<(), TrainError> {
        for (index, place) in self.kept().into_iter().enumerate() {
            let weight = &self.0[place];
            let Some(old) = graph.initializer(weight.value).cloned() else { continue };
            let numbers = instead.map_or(self.floats(place), |instead| &instead[index]);
            let new = tensor::with_f32(&old, &weight.dims, numbers)?;
            graph.set_initializer(weight.value, new);
        }
        Ok(())
    }
}
