use super::{Method, MethodError, Pruned, Removes, Setting, Task, Then, rounds};
use crate::criteria::TAYLOR_GATE;

/// Filters whose gates change the loss least, to first order, go in rounds.
pub(super) static TAYLOR: Method = Method {
    name: "taylor",
    removes: Removes::Filters,
    about: "filters whose absence changes the loss least to first order, a few at a time with training in between",
    source: "Molchanov et al., \"Importance Estimation for Neural Network Pruning\", CVPR 2019",
    needs: "labels",
    differs: "`step` percent of the filters go in a round instead of 100; gradients are taken on the batches behind those that are \
              trained on, with the model frozen; the optimiser's momentum starts anew in each round",
    reads: &[Setting::Batches, Setting::LearningRate, Setting::Step],
    then: Then::FineTuning,
    run,
};

fn run(task: &mut Task<'_>) -> Result<Pruned, MethodError> {
    rounds::filters(task, &TAYLOR_GATE)
}
