//! What each operator computes: one file per family, and the one table of them.

mod activation;
mod call;
mod conv;
mod elementwise;
mod linear;
mod norm;
mod pool;
pub(crate) mod run;
mod shape;
mod structure;

use layerprune::graph::{Graph, Node, NodeId, Uses};
use layerprune::surgery::SCALE_PREFIX;

pub(crate) use call::Call;
pub(crate) use run::{Batch, Frame, Mode, Run};

use crate::value::Value;
use crate::weights::Role;

/// Why a node cannot be lowered or run, in words that follow the node's name.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) String);

/// What a node computes.
pub(crate) type Op = Box<dyn Fn(&mut Frame<'_, '_>) -> Result<Vec<Value>, Fault> + Send + Sync>;

/// Reads a node's attributes and gives what it computes.
type Rule = fn(&mut Call<'_>) -> Result<Op, Fault>;

/// A line of the table.
pub(crate) struct Entry {
    op_type: &'static str,
    rule: Rule,
    /// Inputs that are trained where they are initializers.
    trained: &'static [usize],
    /// Inputs that hold statistics.
    statistics: &'static [usize],
}

const fn plain(op_type: &'static str, rule: Rule) -> Entry {
    Entry { op_type, rule, trained: &[], statistics: &[] }
}

const fn weighted(op_type: &'static str, rule: Rule, trained: &'static [usize]) -> Entry {
    Entry { op_type, rule, trained, statistics: &[] }
}

/// Every operator that training knows.
const TABLE: &[Entry] = &[
    plain("Add", elementwise::add),
    plain("AveragePool", pool::average),
    Entry { op_type: "BatchNormalization", rule: norm::batch_norm, trained: &[1, 2], statistics: &[3, 4] },
    plain("Cast", structure::cast),
    plain("Clip", activation::clip),
    plain("Concat", shape::concat),
    plain("Constant", structure::constant),
    plain("ConstantOfShape", structure::constant_of_shape),
    weighted("Conv", conv::conv, &[1, 2]),
    plain("Div", elementwise::div),
    plain("Dropout", activation::dropout),
    plain("Elu", activation::elu),
    plain("Flatten", shape::flatten),
    plain("Gather", structure::gather),
    weighted("Gemm", linear::gemm, &[0, 1, 2]),
    plain("GlobalAveragePool", pool::global_average),
    plain("GlobalMaxPool", pool::global_max),
    plain("HardSigmoid", activation::hard_sigmoid),
    plain("HardSwish", activation::hard_swish),
    plain("Identity", structure::identity),
    plain("LeakyRelu", activation::leaky_relu),
    weighted("MatMul", linear::mat_mul, &[0, 1]),
    plain("MaxPool", pool::max),
    plain("Mul", elementwise::mul),
    plain("Pad", shape::pad),
    plain("ReduceMean", pool::reduce_mean),
    plain("Relu", activation::relu),
    plain("Reshape", shape::reshape),
    plain("Shape", structure::shape),
    plain("Sigmoid", activation::sigmoid),
    plain("Slice", shape::slice),
    plain("Softmax", activation::softmax),
    plain("Split", shape::split),
    plain("Squeeze", shape::squeeze),
    plain("Sub", elementwise::sub),
    plain("Sum", elementwise::sum),
    plain("Tanh", activation::tanh),
    plain("Transpose", shape::transpose),
    plain("Unsqueeze", shape::unsqueeze),
];

/// The op types that training knows, in alphabetical order.
pub fn supported_ops() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|entry| entry.op_type)
}

/// The inputs of `node` that training wants stored, and whether no other node may share them.
pub(crate) fn stored_inputs(node: &Node) -> impl Iterator<Item = (usize, bool)> + use<> {
    let entry = TABLE.iter().find(|entry| entry.op_type == node.op_type() && node.domain().is_empty());
    let alone = entry.is_some_and(Entry::has_statistics);
    entry.into_iter().flat_map(|entry| entry.trained.iter().chain(entry.statistics)).map(move |&at| (at, alone))
}

impl Entry {
    /// What the initializer at input `position` is to training.
    ///
    /// An initializer of several elements that is added to what a weighted node computes is its bias, and trained, and so is
    /// a scale that was put in; all other operands of element-wise arithmetic are constants.
    pub(crate) fn role(&self, position: usize, graph: &Graph, uses: &Uses, node: &Node) -> Role {
        let weighted = |value| {
            let producer = uses.producer(value).map(|id| graph.node(id).op_type());
            matches!(producer, Some("MatMul" | "Gemm" | "Conv"))
        };
        let elements = |value| graph.initializer(value).map_or(0, |stored| stored.dims.iter().product::<i64>());
        let bias = self.op_type == "Add"
            && node.input(position).is_some_and(|value| elements(value) > 1)
            && node.input(1 - position.min(1)).is_some_and(weighted);
        let scale = self.op_type == "Mul"
            && node.input(position).is_some_and(|value| graph.value_name(value).starts_with(SCALE_PREFIX));
        if bias || scale || self.trained.contains(&position) {
            Role::Trained
        } else if self.statistics.contains(&position) {
            Role::Statistic
        } else {
            Role::Fixed
        }
    }

    /// Whether input `position` is the weight of a convolution or linear layer.
    pub(crate) fn is_kernel(&self, position: usize) -> bool {
        matches!(self.op_type, "Conv" | "Gemm" | "MatMul") && position < 2
    }

    pub(crate) fn has_statistics(&self) -> bool {
        !self.statistics.is_empty()
    }
}

/// Lowers a node; `relu` where the rectification behind it belongs to it.
pub(crate) fn lower(graph: &Graph, uses: &Uses, id: NodeId, relu: bool) -> Result<(Op, &'static Entry), Fault> {
    let node = graph.node(id);
    let entry = TABLE.iter().find(|entry| entry.op_type == node.op_type() && node.domain().is_empty());
    let entry = entry.ok_or_else(|| Fault("the operator is not supported".to_owned()))?;
    let read = |value| !uses.consumers(value).is_empty() || graph.is_output(value);
    if node.op_type() != "Split"
        && let Some(position) = node.outputs().iter().skip(1).position(|output| output.is_some_and(read))
    {
        return Err(Fault(format!("output {} is read, only the first is supported", position + 1)));
    }
    let mut call = Call::new(graph, node, relu);
    let op = (entry.rule)(&mut call)?;
    call.finish()?;
    Ok((op, entry))
}

/// An operation with one output.
fn one(op: impl Fn(&mut Frame<'_, '_>) -> Result<Value, Fault> + Send + Sync + 'static) -> Op {
    Box::new(move |frame| Ok(vec![op(frame)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_each_operator_once() {
        let names: Vec<_> = supported_ops().collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }
}
