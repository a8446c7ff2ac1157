use layerprune::record::LatencyError;

use crate::engine::CommandError;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a model could not be run, evaluated, compared or timed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// The engine cannot run the model.
    #[error("{engine} cannot load the model{}", at(place))]
    Load {
        /// The engine's name.
        engine: &'static str,
        /// The node with its op type, where known.
        place: Option<String>,
        /// What the engine says.
        source: Source,
    },
    /// The engine gave up while running the model.
    #[error("{engine} cannot run the model{}", at(place))]
    Run {
        /// The engine's name.
        engine: &'static str,
        /// The node with its op type, where known.
        place: Option<String>,
        /// What the engine says.
        source: Source,
    },
    /// ONNX Runtime cannot be used.
    #[error("ONNX Runtime cannot be used: {reason}")]
    OnnxRuntime {
        /// Why not.
        reason: String,
    },
    /// Outputs were asked of an engine that gives none.
    #[error("the engine `{engine}` only times models, it gives no outputs")]
    TimesOnly {
        /// The engine's name.
        engine: &'static str,
    },
    /// A command cannot be used as an engine.
    #[error("`{line}` cannot time models: {reason}")]
    CommandLine {
        /// The command.
        line: String,
        /// Why not.
        reason: &'static str,
    },
    /// A command gave no latency, however often it was tried.
    #[error("`{line}` gave no latency in {attempts} {}", if *attempts == 1 { "attempt" } else { "attempts" })]
    Command {
        /// The command as it was run.
        line: String,
        /// How often it was run.
        attempts: usize,
        /// What was wrong with the last attempt.
        source: CommandError,
    },
    /// Whoever looks at the values inside the model does not go on.
    #[error("cannot use what the model computes")]
    Visit(#[source] Source),
    /// No threads were asked for.
    #[error("a model cannot run on 0 threads")]
    NoThreads,
    /// An input is of a type that cannot be fed.
    #[error("input `{input}` has elements of {found}, expected FLOAT or INT64")]
    InputElements {
        /// The input.
        input: String,
        /// Its declared element type.
        found: String,
    },
    /// The wrong number of inputs was fed.
    #[error("the model takes {expected} inputs ({names}), {found} were fed")]
    InputCount {
        /// How many it takes.
        expected: usize,
        /// Their names.
        names: String,
        /// How many were fed.
        found: usize,
    },
    /// Numbers of the wrong type were fed.
    #[error("input `{input}` takes elements of {expected}, {found} were fed")]
    InputType {
        /// The input.
        input: String,
        /// What it takes.
        expected: &'static str,
        /// What was fed.
        found: &'static str,
    },
    /// A shape was given that contradicts the declared one.
    #[error("input `{input}` is declared as {declared}, which {given:?} does not fit")]
    InputShape {
        /// The input.
        input: String,
        /// Its declared shape.
        declared: String,
        /// The given shape.
        given: Vec<usize>,
    },
    /// The data does not fill the shape.
    #[error("input `{input}`: {shape:?} holds {expected} elements, {found} were fed")]
    InputLength {
        /// The input.
        input: String,
        /// The given shape.
        shape: Vec<usize>,
        /// How many elements it holds.
        expected: usize,
        /// How many were fed.
        found: usize,
    },
    /// A shape was given for an input that is not there.
    #[error("the model has no input `{name}`; its inputs are {known}")]
    NoSuchInput {
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A size is open and nobody gave it.
    #[error(
        "input `{input}` has no fixed size on axis {axis} (`{dim}`): give the whole shape of `{input}` ({declared})"
    )]
    OpenDim {
        /// The input.
        input: String,
        /// The axis, from 0.
        axis: usize,
        /// The symbol, `?` where it has none.
        dim: String,
        /// The declared shape.
        declared: String,
    },
    /// Not even the rank of an input is known and nobody gave its shape.
    #[error("input `{input}` has no declared shape: give the whole shape of `{input}`")]
    OpenShape {
        /// The input.
        input: String,
    },
    /// Another batch size was asked for than the one that the model is fixed to.
    #[error("the model takes batches of {fixed} only (input `{input}`), {asked} was asked for")]
    FixedBatch {
        /// The first input.
        input: String,
        /// Its size on axis 0.
        fixed: usize,
        /// What was asked for.
        asked: usize,
    },
    /// An output is no tensor of numbers.
    #[error("output `{output}` is a {found}, expected a tensor of numbers")]
    OutputType {
        /// The output.
        output: String,
        /// What it is.
        found: String,
    },
    /// An output is not a row of class scores for each image.
    #[error(
        "output `{output}` has shape {shape:?}, expected {images} rows with a score for each of two or more classes"
    )]
    NotClassScores {
        /// The output.
        output: String,
        /// Its shape.
        shape: Vec<usize>,
        /// How many images were fed.
        images: usize,
    },
    /// A label is no class of the model.
    #[error("image {image} has label {label}, but the model knows {classes} classes, 0 to {}", classes - 1)]
    Label {
        /// The image's number in its pass over the data, from 0.
        image: u64,
        /// Its label.
        label: usize,
        /// How many classes the model scores.
        classes: usize,
    },
    /// A batch has not one label for each image.
    #[error("a batch holds {images} images and {labels} labels")]
    LabelCount {
        /// How many images.
        images: usize,
        /// How many labels.
        labels: usize,
    },
    /// The model computes infinities or NaN.
    #[error("output `{output}` holds {found} for image {image}: the model does not compute finite numbers")]
    NotFinite {
        /// The output.
        output: String,
        /// What was found.
        found: f32,
        /// The image's number in its pass over the data, from 0.
        image: u64,
    },
    /// There was nothing to evaluate on.
    #[error("the data holds no images")]
    NoImages,
    /// Two models give different outputs.
    #[error("the models have different outputs: {a} and {b}")]
    OutputNames {
        /// Those of the first model.
        a: String,
        /// Those of the second.
        b: String,
    },
    /// Two models give an output different shapes.
    #[error("output `{output}` has shape {a:?} in one model and {b:?} in the other")]
    OutputShapes {
        /// The output.
        output: String,
        /// Its shape in the first model.
        a: Vec<usize>,
        /// Its shape in the second.
        b: Vec<usize>,
    },
    /// There is nothing to time.
    #[error("no model was given to time")]
    NoModels,
    /// A session with taps was to be timed.
    #[error("a model with taps is slower than the model itself and isn't timed")]
    Tapped,
    /// Models to be compared were loaded by different engines or with different numbers of threads.
    #[error("models are timed against each other on one engine and equally many threads, not on {a} and {b}")]
    UnlikeSessions {
        /// Engine and threads of the first.
        a: String,
        /// Engine and threads of another.
        b: String,
    },
    /// The samples say nothing.
    #[error("the latencies cannot be summed up")]
    Latency(#[from] LatencyError),
    /// The data set failed.
    #[error("the data cannot be read")]
    Data(#[source] Source),
    /// The observer asked to stop.
    #[error("interrupted")]
    Interrupted,
}

fn at(place: &Option<String>) -> String {
    place.as_ref().map_or_else(String::new, |place| format!(": {place}"))
}
