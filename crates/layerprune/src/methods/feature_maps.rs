use super::{Method, MethodError, Pruned, Removes, Setting, Task, Then, rounds};
use crate::criteria::FEATURE_MAPS;

/// Feature maps whose product with their gradient is smallest go in rounds, layers being normalised.
pub(super) static FEATURE_MAPS_METHOD: Method = Method {
    name: "feature-maps",
    removes: Removes::Filters,
    about: "feature maps whose product with their gradient is smallest, normalised by layer, a few at a time with training in between",
    source: "Molchanov et al., \"Pruning Convolutional Neural Networks for Resource Efficient Inference\", ICLR 2017",
    needs: "labels",
    differs: "`step` percent of the feature maps go in a round instead of one; no penalty by FLOPs",
    reads: &[Setting::Batches, Setting::LearningRate, Setting::Step],
    then: Then::FineTuning,
    run,
};

fn run(task: &mut Task<'_>) -> Result<Pruned, MethodError> {
    rounds::filters(task, &FEATURE_MAPS)
}
