use anyhow::Result;

use crate::args::{Global, RecalibrateArgs};
use crate::output::{expect_writable, print};
use crate::{CannotBeDone, data, model, training};

/// Estimates batch-norm statistics anew and writes the model.
pub(crate) fn run(args: &RecalibrateArgs, global: &Global) -> Result<()> {
    expect_writable(&args.output)?;
    let model = model::read(&args.model)?;
    let data = data::open_labelled_or_not(&args.data, &args.model, &model, global)?;
    data.expect_clear_normalisation()?;
    let Some(recalibrated) = training::recalibrate(&model, &data, args.samples, global)? else {
        return Err(CannotBeDone(
            "the model has no batch norms; they were probably folded when it was exported".to_owned(),
        )
        .into());
    };
    recalibrated.write(&args.output)?;
    print(global, &serde_json::json!({ "written": args.output }), |_| format!("written: {}", args.output.display()))
}
