//! Typed reading of attributes with ONNX's defaults.

use super::{Call, Reason};
use crate::graph::Node;
use crate::proto::attribute_proto::AttributeType;
use crate::proto::{AttributeProto, TensorProto};

/// An integer attribute, or `default` where absent.
///
/// # Errors
/// Where the attribute is of another type.
pub fn int(node: &Node, name: &str, default: i64) -> Result<i64, Reason> {
    typed(node, name, AttributeType::Int).map(|found| found.map_or(default, AttributeProto::i))
}

/// A float attribute, or `default` where absent.
///
/// # Errors
/// Where the attribute is of another type.
pub fn float(node: &Node, name: &str, default: f32) -> Result<f32, Reason> {
    typed(node, name, AttributeType::Float).map(|found| found.map_or(default, AttributeProto::f))
}

/// A list of integers, where present.
///
/// # Errors
/// Where the attribute is of another type.
pub fn ints<'n>(node: &'n Node, name: &str) -> Result<Option<&'n [i64]>, Reason> {
    typed(node, name, AttributeType::Ints).map(|found| found.map(|attribute| attribute.ints.as_slice()))
}

/// A string attribute, or `default` where absent.
///
/// # Errors
/// Where the attribute is of another type or no UTF-8.
pub fn string<'n>(node: &'n Node, name: &str, default: &'n str) -> Result<&'n str, Reason> {
    match typed(node, name, AttributeType::String)? {
        None => Ok(default),
        Some(attribute) => {
            std::str::from_utf8(attribute.s()).map_err(|_| format!("attribute `{name}` is no UTF-8 text"))
        }
    }
}

/// A list of floats, where present.
///
/// # Errors
/// Where the attribute is of another type.
pub fn floats<'n>(node: &'n Node, name: &str) -> Result<Option<&'n [f32]>, Reason> {
    typed(node, name, AttributeType::Floats).map(|found| found.map(|attribute| attribute.floats.as_slice()))
}

/// A tensor, where present.
///
/// # Errors
/// Where the attribute is of another type.
pub fn tensor<'n>(node: &'n Node, name: &str) -> Result<Option<&'n TensorProto>, Reason> {
    typed(node, name, AttributeType::Tensor).map(|found| found.and_then(|attribute| attribute.t.as_deref()))
}

/// An integer attribute that means yes where it is not 0.
///
/// # Errors
/// Where the attribute is of another type.
pub fn flag(node: &Node, name: &str, default: bool) -> Result<bool, Reason> {
    int(node, name, i64::from(default)).map(|number| number != 0)
}

/// Refuses attributes that the node's operator set does not have, though another one does.
///
/// # Errors
/// The first of `names` that is there.
pub fn absent(call: &Call<'_>, names: &[&str]) -> Result<(), Reason> {
    match names.iter().find(|name| call.node.attribute(name).is_some()) {
        Some(name) => Err(format!("attribute `{name}` is none of opset {}", call.opset)),
        None => Ok(()),
    }
}

fn typed<'n>(node: &'n Node, name: &str, expected: AttributeType) -> Result<Option<&'n AttributeProto>, Reason> {
    match node.attribute(name) {
        None => Ok(None),
        // DIFFERENCE: files of IR version 0.0.1 leave the type out; their value field alone says what they hold.
        Some(found) if found.r#type() == expected || found.r#type() == AttributeType::Undefined => Ok(Some(found)),
        Some(found) => Err(format!(
            "attribute `{name}` is of type {}, {} is needed",
            found.r#type().as_str_name(),
            expected.as_str_name()
        )),
    }
}
