//! What is known of each operator: attributes with ONNX's defaults, output shapes, multiply-adds, sign.
//!
//! One file per op family and one line per operator in [`OPS`]. Nothing is guessed: an operator that is not in the
//! table, a version outside the range a rule was written for, an attribute the rule does not read or one it cannot
//! follow makes the node a barrier with a reason.

pub mod activation;
pub mod arrange;
pub mod attribute;
pub mod axes;
pub mod broadcast;
pub mod constant;
pub mod conv;
pub mod couple;
pub mod elementwise;
pub mod expand;
mod fact;
pub mod join;
pub mod level;
pub mod linear;
pub mod norm;
pub mod pad;
pub mod pool;
pub mod quantize;
pub mod reduce;
pub mod reshape;
pub mod resize;
mod sign;
pub mod slice;
#[cfg(test)]
mod tests;

use crate::graph::{Graph, Node, NodeId, ValueId};
use couple::{Adjustment, Coupler, Cut};
use level::Level;

pub use fact::{Dim, Element, Fact};

/// Why an operator's rule cannot follow a node; the node becomes a barrier.
pub type Reason = String;

/// What part an operator plays in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Holds the weights of a layer: convolution, matrix product.
    Weighted,
    /// Normalises per channel and belongs to the layer before it.
    Norm,
    /// Acts element by element on one value and belongs to the layer before it.
    Activation,
    /// Adds two values; where branches meet.
    Add,
    /// Pools windows or whole maps.
    Pool,
    /// Everything else.
    Other,
}

/// What an operator does to the sign of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Outputs are never negative.
    NonNegative,
    /// Outputs are never negative where no input is, settings aside; see [`OpRule::never_negative`].
    Kept,
    /// Nothing is known.
    Free,
}

/// A node with what is known of its inputs.
#[derive(Debug, Clone)]
pub struct Call<'g> {
    /// The graph.
    pub graph: &'g Graph,
    /// The node's id.
    pub id: NodeId,
    /// The node.
    pub node: &'g Node,
    /// Facts by input position; `None` for absent inputs.
    pub inputs: Vec<Option<&'g Fact>>,
    /// The version of ONNX's operator set.
    pub opset: i64,
}

impl<'g> Call<'g> {
    /// The fact of the input at `position`.
    ///
    /// # Errors
    /// Where the input is absent.
    pub fn input(&self, position: usize) -> Result<&'g Fact, Reason> {
        self.optional(position).ok_or_else(|| format!("input {position} is absent"))
    }

    /// The fact of an input that may be absent.
    #[must_use]
    pub fn optional(&self, position: usize) -> Option<&'g Fact> {
        self.inputs.get(position).copied().flatten()
    }

    /// The shape of the input at `position`; `Ok(None)` where not even its rank is known.
    ///
    /// # Errors
    /// Where the input is absent.
    pub fn shape(&self, position: usize) -> Result<Option<&'g [Dim]>, Reason> {
        Ok(self.input(position)?.shape.as_deref())
    }
}

/// All that the library knows of one operator.
pub struct OpRule {
    /// ONNX's name, of the default domain.
    pub op_type: &'static str,
    /// First and last operator-set version that the rule was written for.
    pub opsets: (i64, i64),
    /// Attributes that the rule reads or that cannot matter to it.
    pub attributes: &'static [&'static str],
    /// Its part in a layer.
    pub role: Role,
    /// What it does to the sign of its values. Where [`Sign::Kept`], stored inputs are already known to be good.
    pub sign: fn(&Call<'_>) -> Sign,
    /// Input positions that hold settings or running statistics, not parameters.
    pub not_parameters: &'static [usize],
    /// Facts of the outputs, one for each output position of the operator that the rule knows.
    pub infer: fn(&Call<'_>) -> Result<Vec<Fact>, Reason>,
    /// Multiply-adds for these outputs at the inferred shapes, an unknown first axis counting as 1; `None` where unknown.
    pub macs: fn(&Call<'_>, &[Fact]) -> Option<u64>,
    /// Which positions of its inputs and outputs are one thing; an `Err` holds all of them fast.
    pub couple: fn(&mut Coupler<'_, '_>) -> Result<(), Reason>,
    /// Which of its settings must follow a cut of its axes.
    pub adjust: fn(&Call<'_>, &Cut) -> Result<Vec<Adjustment>, Reason>,
    /// The one number that a channel of the output has everywhere, given the same for each input; `None` where it varies.
    pub level: fn(&Call<'_>, &[Level]) -> level::Number,
}

impl OpRule {
    /// Whether no output of `call` is ever negative, where `known` tells it of the node's inputs.
    ///
    /// Settings do not matter, and stored inputs were looked at; all others must be known, also those that are computed
    /// from constants.
    pub fn never_negative(&self, call: &Call<'_>, known: impl Fn(ValueId) -> bool) -> bool {
        let inputs = || call.node.inputs().iter().enumerate();
        match (self.sign)(call) {
            Sign::NonNegative => true,
            Sign::Free => false,
            Sign::Kept => inputs()
                .filter(|(position, _)| !self.not_parameters.contains(position))
                .filter(|(position, _)| call.optional(*position).is_none_or(|fact| fact.stored.is_none()))
                .all(|(_, input)| input.is_none_or(&known)),
        }
    }
}

/// The newest operator set that the rules were checked against.
pub const NEWEST_OPSET: i64 = 24;

/// Every operator the library knows, one line each, sorted by name.
pub static OPS: &[&OpRule] = &[
    &activation::ABS,
    &elementwise::ADD,
    &elementwise::AND,
    &reduce::ARG_MAX,
    &reduce::ARG_MIN,
    &pool::AVERAGE_POOL,
    &norm::BATCH_NORMALIZATION,
    &constant::CAST,
    &constant::CAST_LIKE,
    &activation::CEIL,
    &activation::CELU,
    &activation::CLIP,
    &join::CONCAT,
    &constant::CONSTANT,
    &constant::CONSTANT_OF_SHAPE,
    &conv::CONV,
    &conv::CONV_TRANSPOSE,
    &arrange::DEPTH_TO_SPACE,
    &quantize::DEQUANTIZE_LINEAR,
    &elementwise::DIV,
    &constant::DROPOUT,
    &activation::ELU,
    &elementwise::EQUAL,
    &activation::ERF,
    &activation::EXP,
    &expand::EXPAND,
    &reshape::FLATTEN,
    &activation::FLOOR,
    &slice::GATHER,
    &activation::GELU,
    &linear::GEMM,
    &pool::GLOBAL_AVERAGE_POOL,
    &pool::GLOBAL_LP_POOL,
    &pool::GLOBAL_MAX_POOL,
    &elementwise::GREATER,
    &elementwise::GREATER_OR_EQUAL,
    &norm::GROUP_NORMALIZATION,
    &activation::HARD_SIGMOID,
    &activation::HARD_SWISH,
    &constant::IDENTITY,
    &norm::INSTANCE_NORMALIZATION,
    &norm::LRN,
    &norm::LAYER_NORMALIZATION,
    &activation::LEAKY_RELU,
    &elementwise::LESS,
    &elementwise::LESS_OR_EQUAL,
    &activation::LOG,
    &activation::LOG_SOFTMAX,
    &norm::LP_NORMALIZATION,
    &pool::LP_POOL,
    &linear::MAT_MUL,
    &elementwise::MAX,
    &pool::MAX_POOL,
    &elementwise::MEAN,
    &elementwise::MIN,
    &activation::MISH,
    &elementwise::MOD,
    &elementwise::MUL,
    &activation::NEG,
    &elementwise::NOT,
    &elementwise::OR,
    &activation::P_RELU,
    &pad::PAD,
    &elementwise::POW,
    &quantize::QUANTIZE_LINEAR,
    &constant::RANGE,
    &activation::RECIPROCAL,
    &reduce::REDUCE_L1,
    &reduce::REDUCE_L2,
    &reduce::REDUCE_LOG_SUM,
    &reduce::REDUCE_LOG_SUM_EXP,
    &reduce::REDUCE_MAX,
    &reduce::REDUCE_MEAN,
    &reduce::REDUCE_MIN,
    &reduce::REDUCE_PROD,
    &reduce::REDUCE_SUM,
    &reduce::REDUCE_SUM_SQUARE,
    &activation::RELU,
    &reshape::RESHAPE,
    &resize::RESIZE,
    &activation::ROUND,
    &activation::SELU,
    &constant::SHAPE,
    &activation::SIGMOID,
    &activation::SIGN,
    &constant::SIZE,
    &slice::SLICE,
    &activation::SOFTMAX,
    &activation::SOFTPLUS,
    &activation::SOFTSIGN,
    &arrange::SPACE_TO_DEPTH,
    &join::SPLIT,
    &activation::SQRT,
    &reshape::SQUEEZE,
    &elementwise::SUB,
    &elementwise::SUM,
    &activation::TANH,
    &activation::THRESHOLDED_RELU,
    &expand::TILE,
    &reduce::TOP_K,
    &arrange::TRANSPOSE,
    &reshape::UNSQUEEZE,
    &resize::UPSAMPLE,
    &elementwise::WHERE,
    &elementwise::XOR,
];

/// The rule for `node`.
///
/// # Errors
/// Why there is none: unknown operator or domain, untested version, an attribute the rule does not read, subgraphs.
pub fn rule(graph: &Graph, node: &Node) -> Result<&'static OpRule, Reason> {
    if !node.domain().is_empty() {
        return Err(format!("operator `{}.{}` is of a domain that is not known", node.domain(), node.op_type()));
    }
    if node.has_subgraph() {
        return Err(format!("operator `{}` holds subgraphs", node.op_type()));
    }
    let found = OPS.binary_search_by(|rule| rule.op_type.cmp(node.op_type()));
    let Ok(place) = found else {
        return Err(format!("operator `{}` is not known", node.op_type()));
    };
    let rule = OPS[place];
    let (first, last) = rule.opsets;
    if !(first..=last).contains(&graph.opset()) {
        return Err(format!(
            "operator `{}` of opset {} is not known (opsets {first} to {last} are)",
            rule.op_type,
            graph.opset()
        ));
    }
    match node.attributes().iter().find(|attribute| !rule.attributes.contains(&attribute.name())) {
        Some(attribute) => Err(format!("attribute `{}` of operator `{}` is not known", attribute.name(), rule.op_type)),
        None => Ok(rule),
    }
}

/// The `macs` of operators without multiply-adds worth counting.
pub(crate) fn no_macs(_: &Call<'_>, _: &[Fact]) -> Option<u64> {
    Some(0)
}

/// Number of elements of `shape`, an unknown first axis counting as 1; `None` where another axis is unknown.
pub(crate) fn elements_per_sample(shape: &[Dim]) -> Option<u64> {
    shape.iter().enumerate().try_fold(1_u64, |product, (axis, dim)| match dim {
        Dim::Known(size) => product.checked_mul(*size as u64),
        _ if axis == 0 => Some(product),
        _ => None,
    })
}
