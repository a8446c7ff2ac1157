use super::error::at;
use super::task::Parts;
use super::{Method, MethodError, Pruned, Removes, Setting, Task, Then, one_shot};
use crate::criteria::{Normalize, Scoring};
use crate::plan;
use crate::surgery;

/// All layers are scored once; the least important go together.
pub(super) static LAYERPRUNE: Method = Method {
    name: "layerprune",
    removes: Removes::Layers,
    about: "whole layers, the least important first, in one step",
    source: "Elkerdawy et al., \"To Filter Prune, or to Layer Prune, That Is The Question\", ACCV 2020",
    needs: "labels for most criteria (`criterion`, imprinting where not given)",
    differs: "imprinting is judged on held-out training images instead of the test set; the model is frozen while it is scored",
    reads: &[Setting::Criterion],
    then: Then::FineTuning,
    run: once,
};

/// One layer at a time goes, and what is left is trained a little and scored anew.
pub(super) static LAYERPRUNE_ITERATIVE: Method = Method {
    name: "layerprune-iterative",
    removes: Removes::Layers,
    about: "one layer at a time, with some training and new scores in between",
    source: "Elkerdawy et al., ACCV 2020, the iterative variant",
    needs: "labels",
    differs: "`batches` of training between two removals instead of 30 epochs",
    reads: &[Setting::Criterion, Setting::Batches, Setting::LearningRate],
    then: Then::FineTuning,
    run: iteratively,
};

pub(super) fn once(task: &mut Task<'_>) -> Result<Pruned, MethodError> {
    let by = Scoring::parse(&task.settings.criterion, Normalize::None)?;
    let units = task.parts(task.model)?.units;
    let scores = task.ports.layer_scores(task.model, &units, &by).map_err(at("scoring"))?;
    one_shot::layers(task, task.model, &scores, &[])
}

fn iteratively(task: &mut Task<'_>) -> Result<Pruned, MethodError> {
    let by = Scoring::parse(&task.settings.criterion, Normalize::None)?;
    let mut model = task.model.clone();
    let mut last = None;
    for round in 0.. {
        let Parts { units, .. } = task.parts(&model)?;
        let scores = task.ports.layer_scores(&model, &units, &by).map_err(at("scoring"))?;
        let first = plan::ranking(&units, &scores, &task.constraints)?.into_iter().next();
        let Some(first) = first else {
            return Err(match last {
                Some(reached) => task.out_of_reach(&reached),
                None => MethodError::Nothing {
                    method: LAYERPRUNE_ITERATIVE.name,
                    reason: "no layer may be removed".to_owned(),
                },
            });
        };
        let removed = first.unit.clone();
        let plan = plan::of(&units, Some(&scores.criterion), "one layer".to_owned(), vec![first]);
        let cut = surgery::apply(&model, &units, &plan)?;
        let mut reached = task.reached(&cut)?;
        task.ports.tell(&format!("without {removed}: {}", reached.text()));
        if reached.met {
            reached = task.confirmed(&cut)?;
            task.ports.tell(&format!("measured again: {}", reached.text()));
        }
        if reached.met {
            return Ok(Pruned { model: cut, latency: reached.latency });
        }
        last = Some(reached);
        model = task.train_a_little(&cut, round)?;
    }
    unreachable!("every round takes a layer out or ends the loop")
}
