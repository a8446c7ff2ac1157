//! A graph made ready to run: its nodes in order, each with what it computes, and its weights.

use layerprune::graph::tensor;
use layerprune::graph::{Graph, NodeId, ValueId};
use layerprune::proto::tensor_proto::DataType;

use crate::error::{TrainError, UnsupportedNode};
use crate::lower::{self, Frame, Run};
use crate::session::Marks;
use crate::value::Value;
use crate::weights::{Role, Weights};

/// Where a step finds an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A stored tensor, by its place in the weights.
    Weight(usize),
    /// What an earlier step or the caller gave.
    Value { slot: usize, last_use: bool },
}

pub(crate) struct Step {
    node: String,
    op_type: String,
    inputs: Vec<Option<Source>>,
    outputs: Vec<Option<usize>>,
    op: lower::Op,
}

/// A graph made ready to run.
pub(crate) struct Program {
    steps: Vec<Step>,
    slots: usize,
    input: usize,
    output: usize,
    /// Name, and declared sizes; `None` where any size is fine.
    pub(crate) input_port: (String, Vec<Option<usize>>),
    pub(crate) output_name: String,
    /// The places of mean and variance of each batch norm, in the order of the graph.
    pub(crate) statistics: Vec<[usize; 2]>,
    /// The place of each stored tensor, by value.
    pub(crate) places: Vec<Option<usize>>,
    /// For each value, which of the gates it goes through.
    gates: Vec<Option<usize>>,
    /// For each value, which of those that are kept it is.
    taps: Vec<Option<usize>>,
}

impl Program {
    /// Makes `graph` ready, with its stored tensors, without its last operator where that is one of `left_out`.
    pub(crate) fn new(graph: &Graph, left_out: &[&str], marks: &Marks<'_>) -> Result<(Self, Weights), TrainError> {
        graph.validate()?;
        let mut compiler = Compiler::new(graph, left_out, marks)?;
        let nodes: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
        for id in nodes {
            compiler.node(id)?;
        }
        compiler.finish()
    }

    /// What the loss reads of a batch.
    pub(crate) fn run(&self, images: Value, run: &mut Run<'_>) -> Result<Value, TrainError> {
        let mut values: Vec<Option<Value>> = (0..self.slots).map(|_| None).collect();
        if let Some(tap) = self.taps[self.input] {
            run.tap(tap, &images);
        }
        values[self.input] = Some(images);
        for step in &self.steps {
            let inputs = step.inputs.iter().map(|source| match *source {
                None => None,
                Some(Source::Weight(weight)) => Some(run.weight(weight)),
                Some(Source::Value { slot, last_use: true }) => values[slot].take(),
                Some(Source::Value { slot, last_use: false }) => values[slot].clone(),
            });
            let inputs = inputs.collect();
            let mut frame = Frame { inputs, sources: &step.inputs, run };
            let at = |fault: lower::Fault| TrainError::Node {
                node: step.node.clone(),
                op_type: step.op_type.clone(),
                reason: fault.0,
            };
            let outputs = (step.op)(&mut frame).map_err(at)?;
            for (slot, value) in step.outputs.iter().zip(outputs) {
                if let Some(slot) = slot {
                    let value = match self.gates[*slot] {
                        Some(gate) => run.gate(gate, value).map_err(at)?,
                        None => value,
                    };
                    if let Some(tap) = self.taps[*slot] {
                        run.tap(tap, &value);
                    }
                    values[*slot] = Some(value);
                }
            }
        }
        Ok(values[self.output].take().expect("the output is produced by a step or fed, and never taken before the end"))
    }
}

struct Compiler<'a> {
    graph: &'a Graph,
    uses: layerprune::graph::Uses,
    dead: std::collections::BTreeSet<NodeId>,
    steps: Vec<Step>,
    weights: Weights,
    places: Vec<Option<usize>>,
    unsupported: Vec<UnsupportedNode>,
    statistics: Vec<[usize; 2]>,
    input: ValueId,
    /// The value that a left-out operator gives, and the one that is read in its place.
    skipped: Option<(ValueId, ValueId)>,
    /// What the loss reads: the graph output, or the input of a last operator that is left out.
    scores: ValueId,
    output: ValueId,
    /// Rectifications that the node before them does, with that node.
    fused: Vec<Option<NodeId>>,
    gates: Vec<Option<usize>>,
    taps: Vec<Option<usize>>,
}

impl<'a> Compiler<'a> {
    fn new(graph: &'a Graph, left_out: &[&str], marks: &Marks<'_>) -> Result<Self, TrainError> {
        let input = single_input(graph)?;
        let names: Vec<_> = graph.outputs().iter().map(|port| graph.value_name(port.value)).collect();
        let [port] = graph.outputs() else {
            let found =
                if names.is_empty() { "none".to_owned() } else { format!("{}: {}", names.len(), names.join(", ")) };
            return Err(TrainError::Outputs { found });
        };
        let uses = graph.uses();
        let last = last_of(graph, &uses, port.value, left_out);
        let mut dead = graph.dead_nodes();
        dead.extend(last.map(|(node, ..)| node));
        let skipped = last.map(|(_, input, output)| (output, input));
        let numbered = |values: &[ValueId]| {
            let mut numbers = vec![None; graph.value_capacity()];
            values.iter().enumerate().for_each(|(number, value)| numbers[value.index()] = Some(number));
            numbers
        };
        let (gates, taps) = (numbered(marks.gated), numbered(marks.tapped));
        Ok(Self {
            graph,
            dead,
            steps: Vec::new(),
            weights: Weights::default(),
            places: vec![None; graph.value_capacity()],
            unsupported: Vec::new(),
            statistics: Vec::new(),
            input,
            skipped,
            scores: skipped.filter(|&(output, _)| output == port.value).map_or(port.value, |(_, input)| input),
            output: port.value,
            fused: fusions(graph, &uses, &[marks.gated, marks.tapped].concat()),
            gates,
            taps,
            uses,
        })
    }

    fn node(&mut self, id: NodeId) -> Result<(), TrainError> {
        if self.dead.contains(&id) || self.fused[id.index()].is_some() {
            return Ok(());
        }
        let node = self.graph.node(id);
        let rectified = self.fused.iter().position(|by| *by == Some(id));
        let relu = self.graph.nodes().find(|(other, _)| Some(other.index()) == rectified).map(|(_, relu)| relu);
        let outputs = match relu {
            Some(relu) => relu.outputs(),
            None => node.outputs(),
        };
        let lowered = lower::lower(self.graph, &self.uses, id, relu.is_some());
        let (op, entry) = match lowered {
            Ok(lowered) => lowered,
            Err(fault) => {
                let op_type = match node.domain() {
                    "" => node.op_type().to_owned(),
                    domain => format!("{domain}.{}", node.op_type()),
                };
                self.unsupported.push(UnsupportedNode { node: self.graph.label(id), op_type, reason: fault.0 });
                return Ok(());
            }
        };
        let mut inputs = Vec::with_capacity(node.inputs().len());
        for (position, value) in node.inputs().iter().enumerate() {
            inputs.push(match value {
                None => None,
                Some(value) => {
                    let source = self.source(*value, entry.role(position, self.graph, &self.uses, node))?;
                    if let Source::Weight(place) = source {
                        self.weights.0[place].is_kernel |= entry.is_kernel(position);
                    }
                    Some(source)
                }
            });
        }
        if let [.., Some(Source::Weight(mean)), Some(Source::Weight(variance))] = inputs[..]
            && entry.has_statistics()
        {
            self.statistics.push([mean, variance]);
        }
        let outputs = outputs.iter().map(|value| value.map(ValueId::index)).collect();
        let (node_name, op_type) = (self.graph.label(id), node.op_type().to_owned());
        self.steps.push(Step { node: node_name, op_type, inputs, outputs, op });
        Ok(())
    }

    fn source(&mut self, value: ValueId, role: Role) -> Result<Source, TrainError> {
        let value = self.skipped.filter(|&(output, _)| output == value).map_or(value, |(_, input)| input);
        let Some(stored) = self.graph.initializer(value) else {
            return Ok(Source::Value { slot: value.index(), last_use: false });
        };
        let place = match self.places[value.index()] {
            Some(place) => place,
            None => {
                let dims = tensor::shape(stored)?;
                let name = self.graph.value_name(value);
                let integers = matches!(
                    DataType::try_from(stored.data_type()),
                    Ok(DataType::Int64 | DataType::Int32 | DataType::Bool)
                );
                let place = if integers {
                    self.weights.push_ints(value, name, dims, tensor::to_i64(stored)?)
                } else {
                    self.weights.push_floats(value, name, dims, &tensor::to_f32(stored)?)
                };
                self.places[value.index()] = Some(place);
                place
            }
        };
        self.weights.add_role(place, role);
        Ok(Source::Weight(place))
    }

    fn finish(mut self) -> Result<(Program, Weights), TrainError> {
        if !self.unsupported.is_empty() {
            return Err(TrainError::Unsupported { nodes: self.unsupported });
        }
        let mut seen = vec![false; self.graph.value_capacity()];
        seen[self.scores.index()] = true;
        for step in self.steps.iter_mut().rev() {
            for source in step.inputs.iter_mut().rev() {
                if let Some(Source::Value { slot, last_use }) = source {
                    *last_use = !std::mem::replace(&mut seen[*slot], true);
                }
            }
        }
        let made = self.steps.iter().any(|step| step.outputs.contains(&Some(self.scores.index())));
        let output_name = self.graph.value_name(self.output).to_owned();
        if !made && self.scores != self.input {
            return Err(TrainError::Outputs { found: format!("`{output_name}`, which no node computes") });
        }
        let program = Program {
            steps: self.steps,
            slots: self.graph.value_capacity(),
            input: self.input.index(),
            output: self.scores.index(),
            input_port: (self.graph.value_name(self.input).to_owned(), declared_sizes(self.graph, self.input)),
            output_name,
            statistics: self.statistics,
            places: self.places,
            gates: self.gates,
            taps: self.taps,
        };
        Ok((program, self.weights))
    }
}

fn single_input(graph: &Graph) -> Result<ValueId, TrainError> {
    let inputs: Vec<_> = graph.fed_inputs().collect();
    match inputs[..] {
        [] => Err(TrainError::Inputs { found: "none".to_owned() }),
        [port] => {
            let sizes = declared_sizes(graph, port.value);
            match sizes.len() {
                0 | 4 => Ok(port.value),
                rank => {
                    let found = format!("`{}` of rank {rank}", graph.value_name(port.value));
                    Err(TrainError::Inputs { found })
                }
            }
        }
        _ => {
            let names: Vec<_> = inputs.iter().map(|port| graph.value_name(port.value)).collect();
            Err(TrainError::Inputs { found: format!("{}: {}", inputs.len(), names.join(", ")) })
        }
    }
}

/// The node of one of `wanted` that computes the output `value`, changes of shape aside, with its input and its output.
fn last_of(
    graph: &Graph,
    uses: &layerprune::graph::Uses,
    mut value: ValueId,
    wanted: &[&str],
) -> Option<(NodeId, ValueId, ValueId)> {
    let mut reshaped = false;
    loop {
        let id = uses.producer(value)?;
        let node = graph.node(id);
        let input = node.input(0).filter(|_| node.domain().is_empty())?;
        match node.op_type() {
            // What a softmax before a change of shape normalises over is not known here.
            op if wanted.contains(&op) => return (!reshaped || op == "Sigmoid").then_some((id, input, value)),
            op @ ("Identity" | "Flatten" | "Reshape" | "Squeeze") if uses.consumers(input).len() == 1 => {
                reshaped |= op != "Identity";
                value = input;
            }
            _ => return None,
        }
    }
}

/// The sizes that the file declares for a graph input; empty where it declares no shape.
fn declared_sizes(graph: &Graph, input: ValueId) -> Vec<Option<usize>> {
    use layerprune::proto::tensor_shape_proto::dimension;
    use layerprune::proto::type_proto;
    let port = graph.inputs().iter().find(|port| port.value == input);
    let Some(type_proto::Value::TensorType(tensor)) =
        port.and_then(|port| port.info.r#type.as_ref()).and_then(|declared| declared.value.as_ref())
    else {
        return Vec::new();
    };
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
    dims.map(|dim| match dim.value {
        Some(dimension::Value::DimValue(size)) => usize::try_from(size).ok().filter(|&size| size > 0),
        _ => None,
    })
    .collect()
}

/// For each Relu that can be done by the node before it, that node: a batch norm or sum that nothing else reads and that is
/// not marked.
fn fusions(graph: &Graph, uses: &layerprune::graph::Uses, marked: &[ValueId]) -> Vec<Option<NodeId>> {
    let mut fused = vec![None; graph.node_capacity()];
    for (id, node) in graph.nodes() {
        if node.op_type() != "Relu" || !node.domain().is_empty() {
            continue;
        }
        let Some(value) = node.input(0) else { continue };
        let Some(before) = uses.producer(value) else { continue };
        let first = graph.node(before);
        let known = matches!(first.op_type(), "BatchNormalization" | "Add") && first.domain().is_empty();
        if known
            && first.output(0) == Some(value)
            && uses.consumers(value).len() == 1
            && !graph.is_output(value)
            && !marked.contains(&value)
        {
            fused[id.index()] = Some(before);
        }
    }
    fused
}
