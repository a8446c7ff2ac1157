//! What a model must be fed.

use std::borrow::Cow;

use layerprune::graph::Graph;
use layerprune::graph::tensor::data_type_name;
use layerprune::ops::Dim;
use layerprune::proto::tensor_proto::DataType;
use layerprune::proto::{tensor_shape_proto::dimension, type_proto};
use layerprune::shapes::InputShapes;
use layerprune::stats::SplitMix;

use crate::error::InferError;

/// One input tensor, row-major; borrowed or owned.
#[derive(Debug, Clone, PartialEq)]
pub struct Input<'a> {
    /// Size of each axis.
    pub shape: Cow<'a, [usize]>,
    /// The elements.
    pub data: InputData<'a>,
}

/// The elements of an input tensor.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum InputData<'a> {
    /// For an input declared as `FLOAT`.
    F32(Cow<'a, [f32]>),
    /// For an input declared as `INT64`.
    I64(Cow<'a, [i64]>),
}

/// Element types that can be fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ElementType {
    /// `FLOAT`
    F32,
    /// `INT64`
    I64,
}

/// An input as the model declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSpec {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub element: ElementType,
    /// Its sizes; `None` where not even the rank is declared.
    pub dims: Option<Vec<Dim>>,
}

impl<'a> Input<'a> {
    /// A tensor of `f32`.
    pub fn f32(shape: impl Into<Cow<'a, [usize]>>, data: impl Into<Cow<'a, [f32]>>) -> Self {
        Self { shape: shape.into(), data: InputData::F32(data.into()) }
    }

    /// A tensor of `i64`.
    pub fn i64(shape: impl Into<Cow<'a, [usize]>>, data: impl Into<Cow<'a, [i64]>>) -> Self {
        Self { shape: shape.into(), data: InputData::I64(data.into()) }
    }

    /// The type of its elements.
    #[must_use]
    pub fn element(&self) -> ElementType {
        match self.data {
            InputData::F32(_) => ElementType::F32,
            InputData::I64(_) => ElementType::I64,
        }
    }

    fn len(&self) -> usize {
        match &self.data {
            InputData::F32(data) => data.len(),
            InputData::I64(data) => data.len(),
        }
    }
}

impl ElementType {
    /// ONNX's name of the type.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "FLOAT",
            Self::I64 => "INT64",
        }
    }
}

impl InputSpec {
    /// The declared shape as text: `N×3×32×32`, or `?`.
    #[must_use]
    pub fn shape_text(&self) -> String {
        layerprune::ops::Fact::new(None, self.dims.clone()).shape_text()
    }

    fn admits(&self, shape: &[usize]) -> bool {
        self.dims.as_ref().is_none_or(|dims| {
            dims.len() == shape.len()
                && dims.iter().zip(shape).all(|(dim, size)| dim.known().is_none_or(|known| known == *size))
        })
    }

    pub(crate) fn check(&self, input: &Input<'_>) -> Result<(), InferError> {
        if input.element() != self.element {
            return Err(InferError::InputType {
                input: self.name.clone(),
                expected: self.element.name(),
                found: input.element().name(),
            });
        }
        self.check_shape(&input.shape)?;
        let expected = input.shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
        if expected != Some(input.len()) {
            return Err(InferError::InputLength {
                input: self.name.clone(),
                shape: input.shape.to_vec(),
                expected: expected.unwrap_or(usize::MAX),
                found: input.len(),
            });
        }
        Ok(())
    }

    fn check_shape(&self, shape: &[usize]) -> Result<(), InferError> {
        if self.admits(shape) {
            return Ok(());
        }
        Err(InferError::InputShape { input: self.name.clone(), declared: self.shape_text(), given: shape.to_vec() })
    }
}

/// The inputs that a caller of `graph` must feed, in the model's order.
pub(crate) fn specs(graph: &Graph) -> Result<Vec<InputSpec>, InferError> {
    let spec = |port: &layerprune::graph::Port| {
        let name = graph.value_name(port.value).to_owned();
        let kind = port.info.r#type.as_ref().and_then(|kind| kind.value.as_ref());
        let Some(type_proto::Value::TensorType(tensor)) = kind else {
            return Err(InferError::InputElements { input: name, found: "no tensor type".to_owned() });
        };
        let element = match DataType::try_from(tensor.elem_type()) {
            Ok(DataType::Float) => ElementType::F32,
            Ok(DataType::Int64) => ElementType::I64,
            _ => return Err(InferError::InputElements { input: name, found: data_type_name(tensor.elem_type()) }),
        };
        let dims = tensor.shape.as_ref().map(|shape| shape.dim.iter().map(|dim| to_dim(dim.value.as_ref())).collect());
        Ok(InputSpec { name, element, dims })
    };
    graph.fed_inputs().map(spec).collect()
}

fn to_dim(declared: Option<&dimension::Value>) -> Dim {
    match declared {
        Some(dimension::Value::DimValue(size)) => {
            usize::try_from(*size).ok().filter(|&size| size > 0).map_or(Dim::Unknown, Dim::Known)
        }
        Some(dimension::Value::DimParam(name)) if !name.is_empty() => Dim::Symbol(name.as_str().into()),
        _ => Dim::Unknown,
    }
}

/// The shape to feed for each input, in the order of `specs`.
///
/// A shape in `given` is taken as it is. Else the first axis, where open, is `batch` (1 where that is `None`), and all
/// other axes must be declared with a number.
///
/// # Errors
/// Where `given` names no input or contradicts the model, another size is open, or the model is fixed to another batch.
pub fn bind_shapes(
    specs: &[InputSpec],
    given: &InputShapes,
    batch: Option<usize>,
) -> Result<Vec<Vec<usize>>, InferError> {
    if let Some(name) = given.keys().find(|name| specs.iter().all(|spec| spec.name != **name)) {
        return Err(InferError::NoSuchInput { name: name.clone(), known: names(specs) });
    }
    let shapes: Vec<Vec<usize>> = specs.iter().map(|spec| bind(spec, given, batch)).collect::<Result<_, _>>()?;
    match (specs.first(), shapes.first(), batch) {
        (Some(spec), Some(shape), Some(asked)) if !given.contains_key(&spec.name) => match shape.first() {
            Some(&fixed) if fixed != asked => Err(InferError::FixedBatch { input: spec.name.clone(), fixed, asked }),
            _ => Ok(shapes),
        },
        _ => Ok(shapes),
    }
}

fn bind(spec: &InputSpec, given: &InputShapes, batch: Option<usize>) -> Result<Vec<usize>, InferError> {
    if let Some(shape) = given.get(&spec.name) {
        spec.check_shape(shape)?;
        return Ok(shape.clone());
    }
    let dims = spec.dims.as_ref().ok_or_else(|| InferError::OpenShape { input: spec.name.clone() })?;
    let size = |(axis, dim): (usize, &Dim)| match (dim.known(), axis) {
        (Some(size), _) => Ok(size),
        (None, 0) => Ok(batch.unwrap_or(1)),
        (None, _) => Err(InferError::OpenDim {
            input: spec.name.clone(),
            axis,
            dim: dim.to_string(),
            declared: spec.shape_text(),
        }),
    };
    dims.iter().enumerate().map(size).collect()
}

pub(crate) fn names(specs: &[InputSpec]) -> String {
    specs.iter().map(|spec| format!("`{}`", spec.name)).collect::<Vec<_>>().join(", ")
}

/// Inputs of these shapes: floats from the standard normal distribution, as normalized images have, and integers zero.
///
/// The same seed gives the same numbers.
#[must_use]
pub fn random_inputs(specs: &[InputSpec], shapes: &[Vec<usize>], seed: u64) -> Vec<Input<'static>> {
    let mut random = SplitMix::new(seed);
    let mut input = |(spec, shape): (&InputSpec, &Vec<usize>)| {
        let count: usize = shape.iter().product();
        match spec.element {
            ElementType::F32 => {
                let data: Vec<f32> = (0..count).map(|_| random.normal() as f32).collect();
                Input::f32(shape.clone(), data)
            }
            ElementType::I64 => Input::i64(shape.clone(), vec![0; count]),
        }
    };
    specs.iter().zip(shapes).map(&mut input).collect()
}
