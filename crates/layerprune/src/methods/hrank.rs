use super::error::at;
use super::{Method, MethodError, Pruned, Removes, Sight, Task, Then, one_shot};
use crate::criteria::{HRANK, Scoring};
use crate::plan::Scope;

/// Filters go whose feature maps have the lowest rank, the same share in each layer.
pub(super) static HRANK_METHOD: Method = Method {
    name: "hrank",
    removes: Removes::Filters,
    about: "filters whose feature maps have the lowest rank as matrices, the same share of each layer",
    source: "Lin et al., \"HRank: Filter Pruning using High-Rank Feature Map\", CVPR 2020",
    needs: "images; about 500 are enough (`--samples 500`)",
    differs: "one share for all layers, the least that meets the budgets, instead of shares set by hand; all layers are cut at once \
              and trained together afterwards, instead of one after the other with 30 epochs each",
    reads: &[],
    then: Then::FineTuning,
    run,
};

fn run(task: &mut Task<'_>) -> Result<Pruned, MethodError> {
    let scores = task.ports.filter_scores(task.model, &Scoring::from(&HRANK), Sight::Whole).map_err(at("scoring"))?;
    one_shot::filters(task, task.model, &scores, Scope::Uniform)
}
