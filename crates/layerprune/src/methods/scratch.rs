use super::error::at;
use super::{Method, MethodError, Pruned, Removes, Setting, Task, Then, layerprune};

/// The control: the architecture that `layerprune` leaves, from random weights.
pub(super) static SCRATCH: Method = Method {
    name: "scratch",
    removes: Removes::Layers,
    about: "the architecture that `layerprune` leaves, trained from random weights at equal compute: the control of the weights' worth",
    source: "Liu et al., \"Rethinking the Value of Network Pruning\", ICLR 2019, scratch-B",
    needs: "as `layerprune`",
    differs: "equal compute is that of the fine-tuning which the other methods get, unless more epochs are given",
    reads: &[Setting::Criterion],
    then: Then::Scratch,
    run,
};

fn run(task: &mut Task<'_>) -> Result<Pruned, MethodError> {
    let pruned = layerprune::once(task)?;
    let model = task.ports.fresh(&pruned.model).map_err(at("new weights"))?;
    Ok(Pruned { model, ..pruned })
}
