//! Values inside a model, for criteria that need no gradient.

use std::ops::ControlFlow;

use layerprune::batch::{Batch, Maps};

use crate::error::InferError;
use crate::evaluate::check_batch;
use crate::progress::Progress;
use crate::session::Session;

/// Runs the model once on every batch and calls `visit` with the values of all taps, in order, and the label of each image.
/// Returns how many images there were.
///
/// # Errors
/// Where the data or the engine fails, the data holds no images, `visit` fails, or `observer` breaks.
pub fn features<E>(
    session: &Session,
    batches: impl IntoIterator<Item = Result<Batch, E>>,
    mut visit: impl FnMut(&[Maps<'_>], &[usize]) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
    mut observer: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<u64, InferError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut images = 0;
    for batch in batches {
        let batch = batch.map_err(|source| InferError::Data(source.into()))?;
        check_batch(&batch)?;
        session.lend_taps(&batch.images, batch.shape, |taps| visit(taps, &batch.labels).map_err(InferError::Visit))?;
        images += batch.labels.len() as u64;
        if observer(Progress { images }).is_break() {
            return Err(InferError::Interrupted);
        }
    }
    if images == 0 { Err(InferError::NoImages) } else { Ok(images) }
}
