use super::{Method, MethodError, Pruned, Removes, Setting, Sparse, Task, Then, one_shot};
use crate::analysis::Way;
use crate::criteria::{SCORES_SCHEMA, ScoreRow, Scores};
use crate::surgery::{ScaleOf, find_scales, fold_scales, insert_scales, scale_sites};

/// Scales of blocks are drawn to exactly zero by training; blocks go by the size of their scale.
pub(super) static SSS: Method = Method {
    name: "sss",
    removes: Removes::Layers,
    about: "training with a scale on each block that is drawn to zero; blocks of the smallest scale go, projection shortcuts stay",
    source: "Huang and Wang, \"Data-Driven Sparse Structure Selection for Deep Neural Networks\", ECCV 2018",
    needs: "labels; residual blocks",
    differs: "starts from trained weights instead of from scratch, for `epochs`; blocks go by the size of their scale until the \
              budgets are met, those at zero first, instead of those at zero alone; what is left is fine-tuned as by every method here",
    reads: &[Setting::Epochs, Setting::LearningRate, Setting::Strength],
    then: Then::FineTuning,
    run,
};

const STRENGTH: f64 = 0.01;

fn run(task: &mut Task<'_>) -> Result<Pruned, MethodError> {
    let units = task.parts(task.model)?.units;
    let sites = scale_sites(task.model, &units, ScaleOf::Block);
    if !sites.iter().any(|site| site.place.is_ok()) {
        let reason = match sites.first().map(|site| &site.place) {
            Some(Err(reason)) => reason.to_string(),
            _ => "the model has no residual blocks".to_owned(),
        };
        return Err(MethodError::Nothing { method: SSS.name, reason });
    }
    let scaled = insert_scales(task.model, &units, &sites, 1.0)?;
    let strength = task.settings.strength.unwrap_or(STRENGTH);
    let sparse = Sparse::BlockScales { strength };
    let sparse = task.train_towards("training with small blocks", &scaled, sparse, None)?;
    let scales = find_scales(&sparse.graph);
    let (folded, _) = fold_scales(&sparse, task.shapes)?;
    let rows: Vec<ScoreRow> = scales
        .iter()
        .map(|scale| ScoreRow {
            unit: scale.name.clone(),
            score: scale.numbers.iter().map(|number| f64::from(number.abs())).fold(0.0, f64::max),
            interval: None,
            accuracy: None,
        })
        .collect();
    let zero = rows.iter().filter(|row| row.score == 0.0).count();
    let all: Vec<String> = rows.iter().map(|row| format!("{} {:.3}", row.unit, row.score)).collect();
    task.ports.tell(&format!("{zero} of {} scales are zero: {}", rows.len(), all.join(", ")));
    let model = task.parts(&folded)?.units.model;
    let (criterion, normalize) = ("sss".to_owned(), crate::criteria::Normalize::None);
    let scores = Scores { schema: SCORES_SCHEMA, model, criterion, normalize, rows, unscored: Vec::new() };
    one_shot::layers(task, &folded, &scores, &[Way::Bypass, Way::DropBranch])
}
