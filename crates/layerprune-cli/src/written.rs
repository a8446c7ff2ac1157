//! A last look at a model that was written: it is read back, checked, and run.

use std::path::Path;

use anyhow::{Context, Result};
use layerprune::onnx::{Model, ModelDigest};
use layerprune_infer::{Session, bind_shapes, random_inputs};

use crate::args::{Global, ShapeArgs};
use crate::{CannotBeDone, data, model, progress};

/// Refuses a file that does not hold the model of this digest, or that the engine cannot run. An engine that does not know the model's
/// operators, or inputs whose shapes are open, only leave the run out, which is said.
pub(crate) fn expect_sound(path: &Path, written: &ModelDigest, shapes: &ShapeArgs, global: &Global) -> Result<()> {
    let found = Model::read(path).with_context(|| format!("cannot read back `{}`", path.display()))?;
    if found.digest() != *written {
        return Err(CannotBeDone(format!("`{}` does not hold what was written to it", path.display())).into());
    }
    let session = match Session::load(&found, &data::session_options(global)) {
        Ok(session) => session,
        Err(error) => return skipped(global, &error.into()),
    };
    let bound =
        match bind_shapes(session.inputs(), &model::input_shapes(shapes, &found)?, session.fixed_batch().or(Some(1))) {
            Ok(bound) => bound,
            Err(error) => return skipped(global, &error.into()),
        };
    let inputs = random_inputs(session.inputs(), &bound, global.seed());
    session.run_inputs(&inputs).map(|_| ()).with_context(|| format!("cannot run `{}`", path.display()))
}

fn skipped(global: &Global, why: &anyhow::Error) -> Result<()> {
    progress::note(global, &format!("the written model was read back but not run: {why:#}"));
    Ok(())
}
