use super::error::at;
use super::{Method, MethodError, Pruned, Removes, Setting, Sight, Sparse, Task, Then, one_shot};
use crate::criteria::{BATCH_NORM_SCALE, Scoring};
use crate::plan::Scope;

/// Scales of batch norms are drawn to zero by training; filters of the smallest ones go, by one threshold for all layers.
pub(super) static SLIMMING: Method = Method {
    name: "slimming",
    removes: Removes::Filters,
    about: "training with an L1 penalty on the scales of batch norms, then one threshold for all of them",
    source: "Liu et al., \"Learning Efficient Convolutional Networks through Network Slimming\", ICCV 2017",
    needs: "labels; batch norms that are not folded away",
    differs: "starts from trained weights instead of from scratch, for `epochs` (published: the whole training); channels of a \
              residual trunk go together by the mean of their scales instead of by a channel selection layer",
    reads: &[Setting::Epochs, Setting::LearningRate, Setting::Strength],
    then: Then::FineTuning,
    run,
};

/// Weight of the penalty, of the published ones that for VGG.
const STRENGTH: f64 = 1e-4;

fn run(task: &mut Task<'_>) -> Result<Pruned, MethodError> {
    let by = Scoring::from(&BATCH_NORM_SCALE);
    // A model that it cannot be done with is refused before hours of training.
    task.ports.filter_scores(task.model, &by, Sight::Whole).map_err(at("scoring"))?;
    let strength = task.settings.strength.unwrap_or(STRENGTH);
    let sparse = Sparse::BatchNormScales { strength };
    let sparse = task.train_towards("training with small scales", task.model, sparse, None)?;
    let scores = task.ports.filter_scores(&sparse, &by, Sight::Whole).map_err(at("scoring"))?;
    one_shot::filters(task, &sparse, &scores, Scope::Threshold)
}
