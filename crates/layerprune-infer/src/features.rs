//! Values inside a model, for criteria that need no gradient.

use std::ops::ControlFlow;

use layerprune::batch::Batch;

use crate::error::InferError;
use crate::evaluate::run_batch;
use crate::progress::Progress;
use crate::session::Session;

/// The value of one tap for one batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Feature<'a> {
    /// The tap's place among those given to [`Session::with_taps`].
    pub tap: usize,
    /// The elements, row-major.
    pub data: &'a [f32],
    /// Size of each axis; axis 0 is the batch, as far as the model keeps it.
    pub shape: &'a [usize],
    /// The label of each image.
    pub labels: &'a [usize],
}

/// Runs the model once on every batch and calls `visit` for each tap, in order. Returns how many images there were.
///
/// # Errors
/// Where the data or the engine fails, the data holds no images, or `observer` breaks.
pub fn features<E>(
    session: &Session,
    batches: impl IntoIterator<Item = Result<Batch, E>>,
    mut visit: impl FnMut(Feature<'_>),
    mut observer: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<u64, InferError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut images = 0;
    for batch in batches {
        let batch = batch.map_err(|source| InferError::Data(source.into()))?;
        let outputs = run_batch(session, &batch)?;
        for (tap, array) in outputs.taps().enumerate() {
            visit(Feature { tap, data: &array.data, shape: &array.shape, labels: &batch.labels });
        }
        images += batch.labels.len() as u64;
        if observer(Progress { images }).is_break() {
            return Err(InferError::Interrupted);
        }
    }
    if images == 0 { Err(InferError::NoImages) } else { Ok(images) }
}
