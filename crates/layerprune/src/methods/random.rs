use super::error::at;
use super::{Method, MethodError, Pruned, Removes, Setting, Sight, Task, Then, one_shot};
use crate::criteria::{self, Scoring};
use crate::plan::Scope;

/// The control: layers or filters by lot.
pub(super) static RANDOM: Method = Method {
    name: "random",
    removes: Removes::Either,
    about: "layers or filters by lot (`removes`): the control that a method has to beat",
    source: "the control of Elkerdawy et al., ACCV 2020",
    needs: "nothing",
    differs: "nothing that is known",
    reads: &[Setting::Removes],
    then: Then::FineTuning,
    run,
};

fn run(task: &mut Task<'_>) -> Result<Pruned, MethodError> {
    let by = Scoring::from(&criteria::RANDOM);
    match task.settings.removes {
        Removes::Filters => {
            let scores = task.ports.filter_scores(task.model, &by, Sight::Whole).map_err(at("scoring"))?;
            one_shot::filters(task, task.model, &scores, Scope::Global)
        }
        Removes::Layers | Removes::Either => {
            let units = task.parts(task.model)?.units;
            let scores = task.ports.layer_scores(task.model, &units, &by).map_err(at("scoring"))?;
            one_shot::layers(task, task.model, &scores, &[])
        }
        Removes::Both => {
            let (setting, found) = ("removes", "both".to_owned());
            Err(MethodError::Setting { setting, found, expected: "`layers` or `filters`" })
        }
    }
}
