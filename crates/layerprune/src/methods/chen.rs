use super::error::at;
use super::{Method, MethodError, Pruned, Removes, Task, Then, one_shot};
use crate::criteria::{LINEAR_PROBE, Scoring};

/// Layers go behind which a trained linear classifier is no better than before them.
pub(super) static CHEN: Method = Method {
    name: "chen",
    removes: Removes::Layers,
    about: "layers that add least to what a linear classifier trained on the features makes of them; distillation afterwards",
    source: "Chen and Zhao, \"Shallowing Deep Networks: Layer-wise Pruning Based on Feature Representations\", TPAMI 2019",
    needs: "labels",
    differs: "the threshold on the gain is whatever meets the budgets, and told; features are pooled as for imprinting before the \
              classifier reads them",
    reads: &[],
    then: Then::Distillation,
    run,
};

fn run(task: &mut Task<'_>) -> Result<Pruned, MethodError> {
    let units = task.parts(task.model)?.units;
    let by = Scoring::from(&LINEAR_PROBE);
    let scores = task.ports.layer_scores(task.model, &units, &by).map_err(at("probing"))?;
    let pruned = one_shot::layers(task, task.model, &scores, &[])?;
    let left = task.parts(&pruned.model)?.units;
    let gone = scores.rows.iter().filter(|row| left.named(&row.unit).is_none()).map(|row| row.score);
    if let Some(threshold) = gone.reduce(f64::max) {
        task.ports.tell(&format!("gains of up to {threshold:.2} points went"));
    }
    Ok(pruned)
}
