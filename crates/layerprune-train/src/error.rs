use std::fmt;

use layerprune::graph::GraphError;
use layerprune::graph::tensor::TensorError;

use crate::checkpoint::CheckpointError;

/// Why a batch could not be had.
pub type DataError = Box<dyn std::error::Error + Send + Sync>;

/// Why a model could not be trained, recalibrated or evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The graph contradicts itself.
    #[error("the graph is inconsistent")]
    Graph(#[from] GraphError),
    /// A stored tensor contradicts itself.
    #[error("a weight of the model is inconsistent")]
    Tensor(#[from] TensorError),
    /// Nodes that training has no rule for; all of them.
    #[error("training does not support {}", list(nodes))]
    Unsupported {
        /// The nodes, in the order of the graph.
        nodes: Vec<UnsupportedNode>,
    },
    /// The model does not read one batch of images.
    #[error("training needs a model with one input of N×C×H×W, this one has {found}")]
    Inputs {
        /// What it has instead.
        found: String,
    },
    /// The model does not give one matrix of class scores.
    #[error("training needs a model with one output of N×classes, this one has {found}")]
    Outputs {
        /// What it has instead.
        found: String,
    },
    /// The output has a wrong shape.
    #[error("output `{output}` has shape {found:?} for {images} images, [{images}, classes] is needed")]
    OutputShape {
        /// The graph output.
        output: String,
        /// Its shape.
        found: Vec<usize>,
        /// Images of the batch.
        images: usize,
    },
    /// A value that was asked for and is not there.
    #[error("`{value}` is no floating-point value on the way from the model's input to its output")]
    NotComputed {
        /// The value.
        value: String,
    },
    /// Whoever looked at the values of a model failed.
    #[error("cannot use what the model computes")]
    Visit(#[source] DataError),
    /// The images do not fit the model.
    #[error("input `{input}` is declared as {declared}, the images have shape {found:?}")]
    InputShape {
        /// The graph input.
        input: String,
        /// Its declaration.
        declared: String,
        /// The shape of the batch.
        found: [usize; 4],
    },
    /// A batch whose pixels or labels are too many or too few for its shape.
    #[error("a batch of shape {shape:?} has {pixels} pixels and {labels} labels")]
    BatchLength {
        /// The shape stated.
        shape: [usize; 4],
        /// Pixels found.
        pixels: usize,
        /// Labels found.
        labels: usize,
    },
    /// A label that the model has no score for.
    #[error("label {label} is out of range: the model has {classes} classes")]
    Label {
        /// The label.
        label: usize,
        /// Scores per image.
        classes: usize,
    },
    /// A loss that needs targets, of a batch without them.
    #[error(
        "the loss `{loss}` needs targets, {outputs} numbers for each image, and the data has labels alone: \
         give data with targets, or train with `cross-entropy`"
    )]
    NoTargets {
        /// The loss.
        loss: &'static str,
        /// Numbers for each image.
        outputs: usize,
    },
    /// Targets that are not those of the model's outputs.
    #[error("the data has {found} targets for each image, the model has {outputs} outputs")]
    TargetWidth {
        /// Targets of an image.
        found: usize,
        /// Outputs of the model.
        outputs: usize,
    },
    /// A target that is neither a share nor whether a label is there.
    #[error("the targets of `{loss}` are from 0 to 1, the data has {found}")]
    TargetRange {
        /// The loss.
        loss: &'static str,
        /// The first target out of the range.
        found: f32,
    },
    /// Shares of classes that are not all of an image.
    #[error(
        "the targets of image {image} of a batch sum to {sum}, `cross-entropy` needs shares that sum to 1: \
         where images have several labels, `binary-cross-entropy` is the loss"
    )]
    TargetSum {
        /// The first such image in its batch, from 0.
        image: usize,
        /// The sum of its targets.
        sum: f32,
    },
    /// A batch with too many or too few targets.
    #[error("a batch of {images} images has {values} targets, {width} for each image are needed")]
    TargetLength {
        /// Targets found.
        values: usize,
        /// Targets of an image.
        width: usize,
        /// Images of the batch.
        images: usize,
    },
    /// A node met values it cannot compute with.
    #[error("node `{node}` ({op_type}): {reason}")]
    Node {
        /// The node.
        node: String,
        /// Its op type.
        op_type: String,
        /// What is wrong.
        reason: String,
    },
    /// A device that cannot be had.
    #[error("cannot train on `{device}`: {reason}")]
    Device {
        /// The device.
        device: crate::Device,
        /// Why.
        reason: String,
    },
    /// Training diverged.
    #[error(
        "{what} is not finite at epoch {epoch}, step {step} (learning rate {learning_rate}): \
         a smaller learning rate, a warm-up or checking the input's normalisation helps"
    )]
    NonFinite {
        /// Of what: "the loss", "a gradient" or "a weight".
        what: &'static str,
        /// The epoch, from 0.
        epoch: usize,
        /// The step in the epoch, from 0.
        step: usize,
        /// The learning rate of the step.
        learning_rate: f64,
    },
    /// Nothing can be differentiated.
    #[error("the loss of the model is not finite on these images: are they normalised as the model wants them?")]
    LossNotFinite,
    /// A setting is out of its range.
    #[error("setting `{setting}` is {found}, {expected} is needed")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A teacher without settings for it, or settings without one.
    #[error("{}", if *given {
        "a teacher is given, and the settings do not say what to learn from it: set `distill`"
    } else {
        "the settings ask for distillation, and no teacher is given: give the unpruned model"
    })]
    Taught {
        /// Whether there is a teacher.
        given: bool,
    },
    /// The teacher cannot be run.
    #[error("the teacher cannot be used")]
    Teacher {
        /// Why.
        source: Box<TrainError>,
    },
    /// A teacher that says nothing.
    #[error("{what} of the teacher is not finite on these images: are they normalised as the teacher wants them?")]
    TeacherNotFinite {
        /// What: "an output", or the value of a block.
        what: String,
    },
    /// Outputs that cannot be compared.
    #[error(
        "the teacher gives {teacher} numbers for each image, the model {model}: it must be a teacher of the same task"
    )]
    TeacherWidth {
        /// Outputs of the teacher.
        teacher: usize,
        /// Outputs of the model.
        model: usize,
    },
    /// Values that cannot be compared.
    #[error(
        "`{value}` has shape {model:?} in the model and {teacher:?} in the teacher: leave it out of `distill.blocks`"
    )]
    BlockShapes {
        /// The value.
        value: String,
        /// Its shape in the model; empty where it is not computed.
        model: Vec<usize>,
        /// Its shape in the teacher.
        teacher: Vec<usize>,
    },
    /// No block output is in both models.
    #[error(
        "model and teacher have no end of a block in common, by name and shape: \
         set `distill.block-weight` to 0, or give the model that this one was cut from"
    )]
    NoBlockPairs,
    /// Input shapes do not fit a model.
    #[error("the shapes of a model's inputs contradict each other")]
    Shapes(#[from] layerprune::shapes::ShapeError),
    /// A pattern that names nothing.
    #[error("`{setting}` names `{pattern}`, which is no {what}; there are: {known}")]
    NoSuchTensor {
        /// The setting or regulariser.
        setting: &'static str,
        /// The pattern.
        pattern: String,
        /// What it should name.
        what: &'static str,
        /// The names there are.
        known: String,
    },
    /// A regulariser without anything to act on.
    #[error(
        "`{setting}` acts on every {what} and the model has none: put scales in, or name tensors; there are: {known}"
    )]
    NothingSparse {
        /// The regulariser.
        setting: &'static str,
        /// What it acts on.
        what: &'static str,
        /// What could be named.
        known: String,
    },
    /// Two regularisers for one tensor.
    #[error("`{tensor}` is named by two regularisers: leave it to one of them")]
    RegularizedTwice {
        /// The tensor.
        tensor: String,
    },
    /// Masks that begin as neither on nor off.
    #[error("`{tensor}` holds {found}, and a mask is 0 or 1: put scales of 1 in, or leave it out of `sparsity.on`")]
    NotAMask {
        /// The tensor.
        tensor: String,
        /// The first number that is neither.
        found: f32,
    },
    /// Nothing to recalibrate.
    #[error("the model has no batch norm to recalibrate (was it exported with batch norms folded into convolutions?)")]
    NoBatchNorm,
    /// Nothing to train.
    #[error("the model has no weights to train")]
    NoWeights,
    /// The data holds no images.
    #[error("the data holds no batches")]
    NoBatches,
    /// The data failed.
    #[error("cannot get the next batch")]
    Data(#[source] DataError),
    /// A checkpoint could not be used.
    #[error("cannot resume from the checkpoint")]
    Checkpoint(#[from] CheckpointError),
}

/// A node that training has no rule for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedNode {
    /// The node's name.
    pub node: String,
    /// Its op type, behind its domain where that is not ONNX's own.
    pub op_type: String,
    /// What is not supported.
    pub reason: String,
}

impl fmt::Display for UnsupportedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node `{}` ({}): {}", self.node, self.op_type, self.reason)
    }
}

fn list(nodes: &[UnsupportedNode]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
