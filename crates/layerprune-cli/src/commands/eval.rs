use anyhow::{Context, Result};
use layerprune::onnx::Model;
use layerprune::record::Accuracy;
use layerprune_data::Dataset;
use layerprune_infer::{InferError, Session, evaluate};

use crate::args::{EvalArgs, Global, LossName};
use crate::data::{self, Data};
use crate::{CannotBeDone, interrupt, model, output, progress, training};

/// Measures a model's accuracy and prints it.
pub(crate) fn run(args: &EvalArgs, global: &Global) -> Result<()> {
    let model = model::read(&args.model)?;
    let data = data::open(&args.data, &args.model, &model, true, global)?;
    let set = data.part(args.split)?;
    let loss = args.loss.unwrap_or_else(|| training::told_loss(&set));
    if loss != LossName::CrossEntropy {
        let judged = training::judged(&model, &data, &set, loss, global)?;
        return output::print(global, &judged, judged_text);
    }
    let accuracy = match args.training_library {
        false => accuracy(&model, &data, &set, "evaluating", global)?,
        true => training::accuracy(&model, &data, &set, global)?,
    };
    output::print(global, &accuracy, text)
}

/// Accuracy on `set` through the inference engine.
pub(crate) fn accuracy(model: &Model, data: &Data, set: &Dataset, what: &str, global: &Global) -> Result<Accuracy> {
    if !set.has_labels() {
        let text = format!("accuracy needs one class for each image, which `{}` does not give", data.source);
        return Err(CannotBeDone(text).into());
    }
    let session = Session::load(model, &data::session_options(global)).context("cannot run the model")?;
    let bar = progress::bar(global, what, set.len() as u64);
    let batches = data::batches_for(&session, set, &data.preprocess)?;
    if let Some(size) = session.fixed_batch().filter(|&size| !set.len().is_multiple_of(size)) {
        let left_out = set.len() % size;
        progress::note(
            global,
            &format!("the model is fixed to batches of {size}: the last {left_out} images are left out"),
        );
    }
    let found = evaluate(&session, batches, |at| {
        bar.set_position(at.images);
        interrupt::check()
    });
    bar.finish_and_clear();
    match found {
        Err(InferError::Interrupted) => Err(CannotBeDone("interrupted".to_owned()).into()),
        found => Ok(found?.accuracy),
    }
}

fn judged_text(judged: &training::Judged) -> String {
    let loss = format!("{}  {:.6}  ({} images)", judged.loss, judged.mean_loss, judged.images);
    match &judged.right_labels {
        Some(right) => format!(
            "labels right  {:.2} %  (95 % interval {:.2} to {:.2})\n{loss}",
            right.percent, right.interval[0], right.interval[1]
        ),
        None => loss,
    }
}

fn text(accuracy: &Accuracy) -> String {
    let mut text = format!(
        "top-1  {:.2} %  (95 % interval {:.2} to {:.2}, {} images)",
        accuracy.top1.percent, accuracy.top1.interval[0], accuracy.top1.interval[1], accuracy.images
    );
    if let Some(top5) = &accuracy.top5 {
        text.push_str(&format!(
            "\ntop-5  {:.2} %  (95 % interval {:.2} to {:.2})",
            top5.percent, top5.interval[0], top5.interval[1]
        ));
    }
    if let Some(loss) = accuracy.loss {
        text.push_str(&format!("\nloss   {loss:.4}"));
    }
    text
}
