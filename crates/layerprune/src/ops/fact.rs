use std::fmt;
use std::sync::Arc;

use crate::graph::tensor;
use crate::proto::TensorProto;
use crate::proto::tensor_proto::DataType;

/// Integer tensors up to this many elements are followed through shape arithmetic.
pub(crate) const LARGEST_CONTENT: usize = 4096;

/// The size of one axis, as far as the graph tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// A number.
    Known(usize),
    /// A name that the file gives, such as `batch`; equal names are equal sizes.
    Symbol(Arc<str>),
    /// Not known; equal to nothing, not even to itself in another place.
    Unknown,
}

impl Dim {
    /// The number, where known.
    #[must_use]
    pub fn known(&self) -> Option<usize> {
        match self {
            Self::Known(size) => Some(*size),
            _ => None,
        }
    }

    /// Whether both are certainly the same size.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        *self != Self::Unknown && self == other
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(size) => write!(f, "{size}"),
            Self::Symbol(name) => f.write_str(name),
            Self::Unknown => f.write_str("?"),
        }
    }
}

/// What is known of a value without running the model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fact {
    /// Element type; `None` where unknown.
    pub data_type: Option<DataType>,
    /// Sizes by axis; `None` where not even the rank is known.
    pub shape: Option<Vec<Dim>>,
    /// The elements in row-major order, for small integer tensors that the graph computes from constants and shapes.
    /// Elements may be negative, which [`Dim`] cannot hold, so they are kept as [`Element`].
    pub content: Option<Vec<Element>>,
    /// The stored tensor itself, for initializers and constants.
    pub stored: Option<Arc<TensorProto>>,
}

/// One element of an integer tensor of the shape arithmetic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// A number.
    Known(i64),
    /// The size that a symbolic dimension names.
    Symbol(Arc<str>),
    /// Not known.
    Unknown,
}

impl Element {
    /// The number, where known.
    #[must_use]
    pub fn known(&self) -> Option<i64> {
        match self {
            Self::Known(number) => Some(*number),
            _ => None,
        }
    }
}

impl From<&Dim> for Element {
    fn from(dim: &Dim) -> Self {
        match dim {
            Dim::Known(size) => Self::Known(*size as i64),
            Dim::Symbol(name) => Self::Symbol(name.clone()),
            Dim::Unknown => Self::Unknown,
        }
    }
}

impl From<&Element> for Dim {
    /// Negative numbers are no sizes and become unknown.
    fn from(element: &Element) -> Self {
        match element {
            Element::Known(number) => usize::try_from(*number).map_or(Self::Unknown, Self::Known),
            Element::Symbol(name) => Self::Symbol(name.clone()),
            Element::Unknown => Self::Unknown,
        }
    }
}

/// The elements of a tensor of sizes `output` that picks from one of sizes `dims`: `from` gives for an index of the one
/// that of the other. `None` where a size is not known or an index lies outside.
pub(crate) fn picked(
    content: Option<&[Element]>,
    dims: &[Dim],
    output: &[Dim],
    from: impl Fn(&[usize]) -> Option<Vec<usize>>,
) -> Option<Vec<Element>> {
    let sizes = |dims: &[Dim]| dims.iter().map(Dim::known).collect::<Option<Vec<usize>>>();
    let (content, dims, output) = (content?, sizes(dims)?, sizes(output)?);
    let count = output.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
    if count > LARGEST_CONTENT {
        return None;
    }
    let element = |mut place: usize| {
        let mut index = vec![0; output.len()];
        for (axis, &size) in output.iter().enumerate().rev() {
            index[axis] = place % size;
            place /= size;
        }
        let source = from(&index)?;
        let place =
            source.iter().zip(&dims).try_fold(0, |place, (&at, &size)| (at < size).then_some(place * size + at))?;
        content.get(place).cloned()
    };
    (0..count).map(element).collect()
}

impl Fact {
    /// A value of this type and shape, its elements unknown.
    #[must_use]
    pub fn new(data_type: Option<DataType>, shape: Option<Vec<Dim>>) -> Self {
        Self { data_type, shape, ..Self::default() }
    }

    /// All that a stored tensor tells.
    #[must_use]
    pub fn of_stored(stored: Arc<TensorProto>) -> Self {
        let shape = tensor::shape(&stored).ok();
        let elements: usize = shape.as_ref().map_or(0, |shape| shape.iter().product());
        let content = (elements <= LARGEST_CONTENT)
            .then(|| tensor::to_i64(&stored).ok())
            .flatten()
            .map(|numbers| numbers.into_iter().map(Element::Known).collect());
        Self {
            data_type: DataType::try_from(stored.data_type()).ok(),
            shape: shape.map(|shape| shape.into_iter().map(Dim::Known).collect()),
            content,
            stored: Some(stored),
        }
    }

    /// An `INT64` tensor with these elements; the content is dropped where it is too large to be followed.
    #[must_use]
    pub fn of_content(shape: Vec<Dim>, content: Vec<Element>) -> Self {
        let content = (content.len() <= LARGEST_CONTENT).then_some(content);
        Self { data_type: Some(DataType::Int64), shape: Some(shape), content, stored: None }
    }

    /// Number of axes, where known.
    #[must_use]
    pub fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(Vec::len)
    }

    /// Whether both are certainly of one type and shape.
    #[must_use]
    pub fn same_type_and_shape(&self, other: &Self) -> bool {
        let same_shape = match (&self.shape, &other.shape) {
            (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            _ => false,
        };
        same_shape && self.data_type.is_some() && self.data_type == other.data_type
    }

    /// The shape as text: `N×16×32×32`, or `?`.
    #[must_use]
    pub fn shape_text(&self) -> String {
        match &self.shape {
            None => "?".to_owned(),
            Some(dims) if dims.is_empty() => "scalar".to_owned(),
            Some(dims) => dims.iter().map(Dim::to_string).collect::<Vec<_>>().join("×"),
        }
    }
}
