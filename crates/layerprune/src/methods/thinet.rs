use super::{Method, Removes, Then, reconstruction};
use crate::pipeline::Chooser;

/// Layer by layer, those channels go that the next layer's outputs change least without.
pub(super) static THINET: Method = Method {
    name: "thinet",
    removes: Removes::Filters,
    about: "layer by layer, channels that the next layer's outputs change least without, one by one; that layer is fitted by least \
            squares to what it gave",
    source: "Luo, Wu and Lin, \"ThiNet: A Filter Level Pruning Method for Deep Neural Network Compression\", ICCV 2017",
    needs: "images without labels",
    differs: "nothing is trained between layers, where they take an epoch or two behind each; the fit finds all weights of the next \
              layer, not one scale a channel; all its outputs count at each sampled place, not one",
    reads: &[],
    then: Then::FineTuning,
    run: |task| reconstruction::run(task, THINET.name, Chooser::Greedy),
};
