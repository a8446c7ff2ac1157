//! Errors on standard error, with what to do next where that is known.

use layerprune::criteria::CriterionError;
use layerprune::methods::MethodError;
use layerprune::pipeline::{JobError, SearchError};
use layerprune::plan::PlanError;
use layerprune_data::DataError;
use layerprune_infer::InferError;
use layerprune_train::CheckpointError;

use crate::data::Misfit;
use crate::progress;

/// Prints the chain of causes and a hint.
pub(crate) fn print(error: &anyhow::Error) {
    let mut text = format!("error: {error}");
    let mut last = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if cause != last {
            text.push_str(&format!("\n  because: {cause}"));
        }
        last = cause;
    }
    progress::error_line(&text);
    if let Some(hint) = error.chain().find_map(hint_for) {
        progress::error_line(&format!("hint: {hint}"));
    }
}

fn hint_for(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<PlanError>() {
        return match error {
            PlanError::NoSuchUnit { .. } => Some("`layerprune inspect MODEL` lists the layers by name"),
            PlanError::Fixed { .. } | PlanError::TooFew { .. } => Some(
                "`layerprune inspect MODEL` says of every layer why it cannot go; `--drop-branches`, `--shrink-chains` and \
                 `--recover bridge` allow more",
            ),
            PlanError::Together { .. } => Some("leave one of them out"),
            PlanError::OtherModel { .. } => Some("score or plan anew for this model"),
            _ => None,
        };
    }
    if let Some(error) = error.downcast_ref::<SearchError>() {
        return search_hint(error);
    }
    match error.downcast_ref::<MethodError>() {
        Some(MethodError::Search(error)) => return search_hint(error),
        Some(MethodError::Plan(error)) => return hint_for(error),
        Some(MethodError::Criterion(error)) => return hint_for(error),
        _ => {}
    }
    match error.downcast_ref::<JobError>() {
        Some(JobError::Search(error)) => return search_hint(error),
        Some(JobError::Plan(error)) => return hint_for(error),
        Some(JobError::Criterion(error)) => return hint_for(error),
        _ => {}
    }
    if let Some(CriterionError::NoBatchNorm { .. }) = error.downcast_ref() {
        return Some("use `--criterion imprint` or `weight-norm`, or export the model with its batch norms kept");
    }
    if let Some(CriterionError::NoEvidence { .. }) = error.downcast_ref() {
        return Some("give labelled images with `--data KIND:PATH`, or use `--criterion weight-norm`");
    }
    if let Some(CriterionError::NoFilters { .. }) = error.downcast_ref() {
        return Some("`layerprune score --help` lists the criteria of filters");
    }
    if let Some(InferError::OnnxRuntime { .. }) = error.downcast_ref() {
        return Some("name its shared library with `--ort-lib FILE`, or install the Python package `onnxruntime`");
    }
    if let Some(CheckpointError::Write { .. }) = error.downcast_ref() {
        return None;
    }
    if error.is::<CheckpointError>() {
        return Some(
            "an interrupted run left the checkpoint: give its settings to go on, or `--restart` to begin anew \
             (with `run`, delete it)",
        );
    }
    if let Some(InferError::OpenDim { .. } | InferError::OpenShape { .. }) = error.downcast_ref() {
        return Some("give the shape with `--input-shape 1,3,224,224`");
    }
    if error.is::<Misfit>() {
        return Some("`--resize HxW` changes the size of images, `--gray-to-rgb` makes three channels of one");
    }
    if let Some(DataError::Normalization { .. }) = error.downcast_ref() {
        return Some("means and standard deviations are of pixels scaled to 0..1");
    }
    None
}

fn search_hint(error: &SearchError) -> Option<&'static str> {
    Some(match error {
        SearchError::OutOfReach { filters: true, layers: false, latency: true, .. } => {
            "fewer filters need not be faster: keep multiples of 8 with `--round-to 8`, or let whole layers go with `--by layers` \
             or `--by both`; `--floor` says how many filters of a layer stay"
        }
        SearchError::OutOfReach { filters: true, layers: false, .. } => {
            "`--floor` says how many filters of a layer stay; `--by both` lets whole layers go too"
        }
        SearchError::OutOfReach { filters: true, .. } => {
            "`layerprune inspect MODEL` says of every layer why it cannot go; `--floor` says how many filters of a layer stay"
        }
        SearchError::OutOfReach { .. } | SearchError::Nothing => {
            "`layerprune inspect MODEL` says of every layer why it cannot go; `--drop-branches`, `--shrink-chains`, `--recover \
             bridge` and `--by both` allow more"
        }
        SearchError::TooCostly { .. } => {
            "`--recover bridge,recalibrate` brings accuracy back before it is measured; fine-tuning, which `sweep --finetune` and \
             `run` do, brings more"
        }
        _ => return None,
    })
}
