//! The same share of each layer's channels goes, chosen by what the next layer makes of them, and that layer is fitted anew.

use super::one_shot::{self, Growing};
use super::task::Parts;
use super::{MethodError, Pruned, Task};
use crate::analysis::ChannelGroup;
use crate::criteria::{FilterScores, Scoring, WEIGHT_NORM_L1};
use crate::evidence::Evidence;
use crate::fit;
use crate::onnx::Model;
use crate::pipeline::{
    Chooser, Cutting, LeftWhole, Proposal, Reconstruct, Reconstructed, SearchError, Trial, reconstruct,
};
use crate::plan::{self, Filters, Plan, Scope};
use crate::surgery;

/// Shares of the channels that are tried: percents.
const RUNGS: usize = 100;

/// Looks for the least share of channels that meets the budgets, takes as many out, and fits what reads them. How long a model
/// takes, and how large it is, depends on how many channels go and not on which: the search cuts by weight norms.
pub(super) fn run(task: &mut Task<'_>, method: &'static str, chooser: Chooser) -> Result<Pruned, MethodError> {
    let parts = task.parts(task.model)?;
    let mut constraints = task.filters.clone();
    loop {
        let Parts { units, channels } = &parts;
        let (model, penalty, limits) = (task.model, fit::DEFAULT_PENALTY, constraints.clone());
        let cutting = Reconstruct { model, units, channels, constraints: &limits, chooser, penalty };
        let whole = cutting.left_whole();
        if whole.len() == channels.groups.len() {
            let reason = whole.first().map_or_else(|| "it has no channel groups".to_owned(), text);
            return Err(MethodError::Nothing { method, reason });
        }
        constraints.protected.extend(whole.into_iter().map(|left| left.group));
        let trial = least_share(task, &parts, &constraints)?;
        let gone = |group: &ChannelGroup| trial.plan.channels.iter().find(|planned| planned.group == group.name);
        let stays =
            |group: &ChannelGroup| group.channels.len() - gone(group).map_or(0, |planned| planned.removed.len());
        let mut told = Vec::new();
        let mut step = |group: &Reconstructed| told.push(fitted(group));
        let done = reconstruct(&cutting, &stays, &mut *task.ports, &mut step)?;
        told.iter().for_each(|text| task.ports.tell(text));
        // What only showed while other channels went; others have to make up for it.
        let late: Vec<&LeftWhole> =
            done.whole.iter().filter(|left| !constraints.protected.contains(&left.group)).collect();
        if late.is_empty() {
            return Ok(Pruned { model: done.model, latency: trial.latency });
        }
        late.iter().for_each(|left| task.ports.tell(&text(left)));
        constraints.protected.extend(late.into_iter().map(|left| left.group.clone()));
    }
}

/// The least share of each group's channels that meets the budgets.
fn least_share(
    task: &mut Task<'_>,
    parts: &Parts,
    constraints: &plan::ChannelConstraints,
) -> Result<Trial, MethodError> {
    let Parts { units, channels } = parts;
    let (model, shapes, budgets) = (task.model, task.shapes, task.budgets);
    let by = Scoring::from(&WEIGHT_NORM_L1);
    let scores = FilterScores::of(&by, &model.graph, units, channels, &Evidence::default())?;
    let cut = |percent: usize| -> Result<Proposal, SearchError> {
        let stays = |group: &ChannelGroup| group.channels.len() - group.channels.len() * percent / 100;
        let score = |group: &ChannelGroup, channel: &_| scores.of_channel(group, channel);
        let plan = plan::by_count(&model.graph, units, channels, constraints, stays, score);
        let cut = surgery::apply(model, units, &plan)?;
        let plan = with_biases(Plan { target: budgets.to_string(), ..plan }, model, parts, &cut)?;
        Ok(Proposal { loss: plan.channel_count() as f64, plan, cut, predicted_percent: None })
    };
    let filters = Some(Filters { channels, scores: &scores, constraints, scope: Scope::Uniform });
    let criterion = scores.criterion.as_str();
    let cutting = Cutting { model, units, shapes, criterion, layers: Vec::new(), filters, profile: None };
    one_shot::trial(budgets, &mut *task.ports, &cutting, &mut Growing::new(RUNGS, cut))
}

/// The plan with the biases counted that the fit gives to layers which have none.
fn with_biases(mut plan: Plan, model: &Model, parts: &Parts, cut: &Model) -> Result<Plan, SearchError> {
    let axes = plan::cut_of(&model.graph, &parts.channels, &plan.channels)?;
    let (consumers, _) = surgery::consumers(&parts.units, &parts.channels, &axes, cut);
    let without = consumers.iter().filter(|consumer| cut.graph.node(consumer.of.node).input(2).is_none());
    plan.after.parameters += without.map(|consumer| consumer.of.kept.len() as u64).sum::<u64>();
    Ok(plan)
}

fn text(left: &LeftWhole) -> String {
    format!("`{}` stays whole: {}", left.group, left.reason)
}

/// `conv1: 12 of 32 channels gone; the fit explains 98.1 % of conv2 (93.0 % before)`.
fn fitted(group: &Reconstructed) -> String {
    let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
    let fits = group.fits.iter().map(|fit| {
        let best = if fit.taken { fit.r2 } else { fit.r2_before };
        format!("{} of {} ({} before)", percent(best), fit.node, percent(fit.r2_before))
    });
    let (gone, size) = (group.lost.removed.len(), group.lost.channels);
    let fits = fits.collect::<Vec<_>>().join(", ");
    format!("{}: {gone} of {size} channels gone; the fit explains {fits}", group.lost.group)
}
