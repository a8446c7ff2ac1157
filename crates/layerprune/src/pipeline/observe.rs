//! The port through which recovery sees what models compute, and what can go wrong with it.

use super::PortError;
use crate::batch::Maps;
use crate::fit::FitError;
use crate::graph::ValueId;
use crate::onnx::Model;
use crate::proto::ValueInfoProto;
use crate::surgery::SurgeryError;

/// Which images a pair of maps is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Those that are fitted to.
    Fitted,
    /// Those that only tell how well it fits.
    HeldOut,
}

/// What [`Observe::pairs`] hands over: the maps of the first model and of the second, of the same images.
pub type Visit<'v> = dyn FnMut(Part, Maps<'_>, Maps<'_>) -> Result<(), FitError> + 'v;

/// Runs models on images without labels.
pub trait Observe {
    /// Runs both models, each of one output, on the same images, batch by batch, and hands over what they give: the
    /// images to fit to and the held-out ones, always the same.
    ///
    /// # Errors
    /// Whatever the engine or the data reports, or `visit` does.
    fn pairs(&mut self, first: &Model, second: &Model, visit: &mut Visit<'_>) -> Result<(), PortError>;
}

/// Why something could not be fitted to what the original model gives.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// The models could not be run.
    #[error("cannot fit {what}")]
    Observe {
        /// What was to be fitted.
        what: String,
        /// Why.
        source: PortError,
    },
    /// There is no fit.
    #[error("cannot fit {what}")]
    Fit {
        /// What was to be fitted.
        what: String,
        /// Why.
        source: FitError,
    },
    /// The numbers could not be stored.
    #[error(transparent)]
    Surgery(#[from] SurgeryError),
}

/// The part of `model` that `value` needs, its only output.
pub(super) fn up_to(model: &Model, value: ValueId) -> Model {
    let mut graph = model.graph.clone();
    let name = Some(graph.value_name(value).to_owned());
    graph.set_only_output(value, ValueInfoProto { name, ..Default::default() });
    let dead = graph.dead_nodes();
    graph.remove_nodes(&dead);
    let unread = graph.unread_initializers();
    graph.remove_initializers(&unread);
    model.with_graph(graph)
}
