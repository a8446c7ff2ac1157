use super::{Method, MethodError, Pruned, Removes, Setting, Task, Then, rounds};
use crate::criteria::BATCH_NORM_SCALE;

/// Filters with the smallest scales of batch norms go in rounds.
pub(super) static BN_SCALE: Method = Method {
    name: "bn-scale",
    removes: Removes::Filters,
    about: "filters of the smallest batch-norm scale in the whole model, a few at a time with training in between",
    source: "the batch-norm criterion in Elkerdawy et al., ACCV 2020, in the loop of Molchanov et al., CVPR 2019",
    needs: "labels, for the training in between; batch norms that are not folded away",
    differs: "`step` percent of the filters go in a round instead of a fixed number; momentum starts anew in each round",
    reads: &[Setting::Batches, Setting::LearningRate, Setting::Step],
    then: Then::FineTuning,
    run,
};

fn run(task: &mut Task<'_>) -> Result<Pruned, MethodError> {
    rounds::filters(task, &BATCH_NORM_SCALE)
}
