//! Types and shapes of all values, and the barriers: nodes that no rule can follow.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::graph::{Graph, NodeId, Port, ValueId};
use crate::ops::{self, Call, Dim, Fact};
use crate::proto::tensor_proto::DataType;
use crate::proto::tensor_shape_proto::dimension;
use crate::proto::type_proto;

/// Shapes that the user gives for graph inputs, by input name. A size given for a symbol holds for all its places.
pub type InputShapes = BTreeMap<String, Vec<usize>>;

/// What is known of every value of a graph.
#[derive(Debug, Clone)]
pub struct Shapes {
    facts: Vec<Fact>,
    barriers: BTreeMap<NodeId, String>,
}

/// A given input shape that does not fit the model.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShapeError {
    /// No input of that name.
    #[error("the model has no input `{name}`; its inputs are {known}")]
    NoSuchInput {
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The given shape contradicts the declared one.
    #[error("input `{name}` is declared as {declared}, which {given:?} does not fit")]
    Contradiction {
        /// The input.
        name: String,
        /// The declared shape.
        declared: String,
        /// The given shape.
        given: Vec<usize>,
    },
}

impl Shapes {
    /// What is known of `value`.
    #[must_use]
    pub fn fact(&self, value: ValueId) -> &Fact {
        &self.facts[value.index()]
    }

    /// How many values there are facts of.
    pub(crate) fn len(&self) -> usize {
        self.facts.len()
    }

    /// Nodes that no rule can follow, with the reason.
    #[must_use]
    pub fn barriers(&self) -> &BTreeMap<NodeId, String> {
        &self.barriers
    }

    /// The same facts with other sizes (value, axis, size); what is known of elements stays as it is.
    pub(crate) fn with_sizes(&self, sizes: impl IntoIterator<Item = (ValueId, usize, usize)>) -> Self {
        let mut shapes = self.clone();
        for (value, axis, size) in sizes {
            if let Some(dim) = shapes.facts[value.index()].shape.as_mut().and_then(|dims| dims.get_mut(axis)) {
                *dim = Dim::Known(size);
            }
        }
        shapes
    }

    /// `node` with the facts of its inputs.
    #[must_use]
    pub fn call<'g>(&'g self, graph: &'g Graph, id: NodeId) -> Call<'g> {
        let node = graph.node(id);
        let inputs = node.inputs().iter().map(|input| input.map(|value| self.fact(value))).collect();
        Call { graph, id, node, inputs, opset: graph.opset() }
    }
}

/// Infers type and shape of every value, node by node in order.
///
/// A node that cannot be followed is a barrier; what the file declares for its outputs is taken as it is.
///
/// # Errors
/// Where `given` does not fit the model's inputs.
pub fn infer(graph: &Graph, given: &InputShapes) -> Result<Shapes, ShapeError> {
    let mut shapes = Shapes { facts: vec![Fact::default(); graph.value_capacity()], barriers: BTreeMap::new() };
    let sizes = give(graph, given)?;
    let declared = |port: &Port| bound(declared_fact(port), &sizes);
    let mut unnamed = Unnamed::default();
    for port in graph.inputs() {
        let fact = unnamed.name(declared(port));
        shapes.facts[port.value.index()] = match given.get(graph.value_name(port.value)) {
            Some(given) => Fact::new(fact.data_type, Some(given.iter().map(|&size| Dim::Known(size)).collect())),
            None => fact,
        };
    }
    let declared: BTreeMap<ValueId, Fact> =
        graph.declared().iter().chain(graph.outputs()).map(|port| (port.value, declared(port))).collect();
    for &value in graph.initializers() {
        if let Some(stored) = graph.initializer(value) {
            shapes.facts[value.index()] = Fact::of_stored(Arc::clone(stored));
        }
    }
    for (id, node) in graph.nodes() {
        let inferred = ops::rule(graph, node).and_then(|rule| (rule.infer)(&shapes.call(graph, id)));
        let facts = inferred.unwrap_or_else(|reason| {
            shapes.barriers.insert(id, reason);
            Vec::new()
        });
        let mut facts = facts.into_iter();
        for output in node.outputs() {
            let fact = facts.next();
            if let Some(value) = *output {
                let merged = merge(fact.unwrap_or_default(), declared.get(&value));
                shapes.facts[value.index()] = unnamed.name(merged);
            }
        }
    }
    Ok(shapes)
}

/// Gives every size that nothing is known of a symbol of its own, so that it is known to equal itself further on.
#[derive(Default)]
struct Unnamed {
    count: usize,
}

impl Unnamed {
    fn name(&mut self, mut fact: Fact) -> Fact {
        for dim in fact.shape.iter_mut().flatten().filter(|dim| **dim == Dim::Unknown) {
            self.count += 1;
            *dim = Dim::Symbol(format!("?{}", self.count).into());
        }
        fact
    }
}

/// Checks the given shapes against the declared ones; the sizes that they give to symbols.
fn give(graph: &Graph, given: &InputShapes) -> Result<BTreeMap<Arc<str>, usize>, ShapeError> {
    let mut named = BTreeMap::new();
    for (name, sizes) in given {
        let port = graph.inputs().iter().find(|port| graph.value_name(port.value) == name);
        let Some(port) = port else {
            let names: Vec<_> = graph.fed_inputs().map(|port| format!("`{}`", graph.value_name(port.value))).collect();
            return Err(ShapeError::NoSuchInput { name: name.clone(), known: names.join(", ") });
        };
        let Some(dims) = declared_fact(port).shape else { continue };
        let before = named.clone();
        let fits = dims.len() == sizes.len()
            && dims.iter().zip(sizes).all(|(dim, &size)| match dim {
                Dim::Known(known) => *known == size,
                Dim::Symbol(symbol) => *named.entry(symbol.clone()).or_insert(size) == size,
                Dim::Unknown => true,
            });
        if !fits {
            let declared = bound(declared_fact(port), &before).shape_text();
            return Err(ShapeError::Contradiction { name: name.clone(), declared, given: sizes.clone() });
        }
    }
    Ok(named)
}

/// `fact` with numbers for the symbols in `sizes`.
fn bound(mut fact: Fact, sizes: &BTreeMap<Arc<str>, usize>) -> Fact {
    for dim in fact.shape.iter_mut().flatten() {
        if let Dim::Symbol(symbol) = dim
            && let Some(&size) = sizes.get(symbol)
        {
            *dim = Dim::Known(size);
        }
    }
    fact
}

/// Fills what the rule left open with what the file declares.
fn merge(mut inferred: Fact, declared: Option<&Fact>) -> Fact {
    let Some(declared) = declared else { return inferred };
    inferred.data_type = inferred.data_type.or(declared.data_type);
    match (&mut inferred.shape, &declared.shape) {
        (shape @ None, known) => *shape = known.clone(),
        (Some(dims), Some(known)) if dims.len() == known.len() => {
            for (dim, known) in dims.iter_mut().zip(known) {
                if *dim == Dim::Unknown {
                    *dim = known.clone();
                }
            }
        }
        _ => {}
    }
    inferred
}

fn declared_fact(port: &Port) -> Fact {
    let Some(type_proto::Value::TensorType(tensor)) = port.info.r#type.as_ref().and_then(|kind| kind.value.as_ref())
    else {
        return Fact::default();
    };
    let dim = |dim: &crate::proto::tensor_shape_proto::Dimension| match &dim.value {
        Some(dimension::Value::DimValue(size)) => {
            usize::try_from(*size).ok().filter(|&size| size > 0).map_or(Dim::Unknown, Dim::Known)
        }
        // Some exporters write `?` for every size that they do not know; that names nothing.
        Some(dimension::Value::DimParam(name)) if !name.is_empty() && name != "?" => Dim::Symbol(name.as_str().into()),
        _ => Dim::Unknown,
    };
    let shape = tensor.shape.as_ref().map(|shape| shape.dim.iter().map(dim).collect());
    Fact::new(DataType::try_from(tensor.elem_type()).ok(), shape)
}

#[cfg(test)]
mod tests;
