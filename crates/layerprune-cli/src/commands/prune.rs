use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use layerprune::analysis::{Channels, Units};
use layerprune::criteria::{FilterScores, SCORES_SCHEMA, Scores};
use layerprune::onnx::Model;
use layerprune::pipeline::{self, BudgetError, Target};
use layerprune::plan::{self, ChannelConstraints, Constraints, PLAN_SCHEMA, Plan, PlanError, PlannedChannels, Scope};
use layerprune::surgery;
use serde::Serialize;

use crate::args::{Global, PruneArgs, ScopeArg};
use crate::latency::Timer;
use crate::output::{self, Align, count, table};
use crate::{CannotBeDone, Usage, data, interrupt, model, progress, scoring, written};

/// What `prune --format json` prints.
#[derive(Serialize)]
struct Outcome {
    plan: Plan,
    /// Whether what goes provably changes no output.
    lossless: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<layerprune::record::LatencyComparison>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
}

/// Plans what to remove, cuts it and writes the model.
pub(crate) fn run(args: &PruneArgs, global: &Global) -> Result<()> {
    for path in args.output.iter().chain(&args.save_plan) {
        output::expect_writable(path)?;
    }
    let model = model::read(&args.model)?;
    let shapes = model::input_shapes(&args.shapes, &model)?;
    let units = model::units(&model, &shapes)?;
    if args.what.filters.is_some() || args.what.dead_channels {
        let plan = plan_channels(args, &model, &units)?;
        return finish(args, global, &model, &units, plan, None);
    }
    let constraints = model::constraints(&args.limits, &units)?;
    let (plan, latency) = if let Some(path) = &args.what.plan {
        let plan: Plan = read_json(path, "plan", PLAN_SCHEMA)?;
        if !plan.channels.is_empty() {
            let plan = recount(&model, &units, plan)?;
            return finish(args, global, &model, &units, plan, None);
        }
        if let Some(planned) = plan.removed.iter().find(|planned| constraints.protected.contains(&planned.unit)) {
            let (name, reason) = (planned.unit.clone(), "it is protected".to_owned());
            return Err(PlanError::Fixed { name, reason }.into());
        }
        let counted = plan::of(&units, plan.criterion.as_deref(), plan.target.clone(), plan.removed.clone());
        (Plan { model: plan.model, ..counted }, None)
    } else if !args.what.remove.is_empty() {
        let names = expand(&units, &args.what.remove, &constraints)?;
        (plan::named(&units, &names, &constraints)?, None)
    } else {
        let scores = scores(args, &model, &units, global)?;
        match (args.what.layers, args.what.latency_reduction) {
            (Some(count), _) => (plan::lowest(&units, &scores, &constraints, count)?, None),
            (None, Some(percent)) => {
                let mut timer = Timer::new(global, args.batch, &shapes).brief();
                let ranking = plan::ranking(&units, &scores, &constraints)?;
                let found = pipeline::prune_to_latency(
                    &model,
                    &units,
                    &scores.criterion,
                    &ranking,
                    percent,
                    &mut timer,
                    &mut |step| {
                        let reduction = step.latency.latency_reduction_percent;
                        progress::note(
                            global,
                            &format!("without {}: {reduction:.1} % lower latency", step.removal.unit),
                        );
                    },
                );
                let (plan, steps) = found.map_err(budget_fault)?;
                (plan, steps.into_iter().next_back().map(|step| step.latency))
            }
            (None, None) => unreachable!("the command line asks for one target"),
        }
    };
    finish(args, global, &model, &units, plan, latency)
}

/// Cuts, writes, and looks at what was written.
fn finish(
    args: &PruneArgs,
    global: &Global,
    model: &Model,
    units: &Units,
    plan: Plan,
    latency: Option<layerprune::record::LatencyComparison>,
) -> Result<()> {
    let pruned = surgery::apply(model, units, &plan)?;
    if let Some(path) = &args.save_plan {
        output::write_file(path, &serde_json::to_string_pretty(&plan)?)?;
    }
    let written = args.output.as_deref().filter(|_| !args.dry_run);
    if let Some(path) = written {
        pruned.write(path)?;
        written::expect_sound(path, &pruned, &args.shapes, global)?;
    }
    let lossless = args.what.dead_channels && !plan.channels.is_empty();
    let outcome = Outcome { plan, lossless, latency, output: written.map(|path| path.display().to_string()) };
    output::print(global, &outcome, |outcome| text(outcome, units))
}

fn scores(args: &PruneArgs, model: &Model, units: &Units, global: &Global) -> Result<Scores> {
    if let Some(path) = &args.scores {
        return read_json(path, "scores", SCORES_SCHEMA);
    }
    let criteria = scoring::criteria(&[args.criterion.clone().unwrap_or_else(|| "imprint".to_owned())])?;
    let data = args.data.given().map(|given| data::open(&given, model, true, global)).transpose()?;
    let mut scores = scoring::score(model, units, &criteria, data.as_ref(), &args.options, global)?;
    Ok(scores.remove(0))
}

/// Chooses channels: a share of the filters, or those that do nothing.
fn plan_channels(args: &PruneArgs, model: &Model, units: &Units) -> Result<Plan> {
    let channels = Channels::find(model, &units.model, &units.shapes);
    let constraints = ChannelConstraints {
        protected: model::protected_groups(&args.limits, &channels)?,
        floor: args.filter.floor / 100.0,
        round_to: args.filter.round_to,
    };
    let Some(percent) = args.what.filters else {
        return Ok(plan::dead_channels(&model.graph, units, &channels, &constraints.protected));
    };
    let criterion = args.criterion.as_deref().unwrap_or("weight-norm").to_owned();
    let criterion = scoring::criteria(&[criterion])?.remove(0);
    if args.scores.is_some() {
        return Err(Usage("`--scores` holds scores of layers, `--filters` scores filters by itself".to_owned()).into());
    }
    let scores = FilterScores::of(criterion, &model.graph, &units.shapes, &channels)?;
    let scope = match args.filter.scope {
        ScopeArg::Global => Scope::Global,
        ScopeArg::Uniform => Scope::Uniform,
    };
    Ok(plan::lowest_filters(&model.graph, units, &channels, &scores, &constraints, scope, percent)?)
}

/// A plan from a file, its cost counted anew.
fn recount(model: &Model, units: &Units, plan: Plan) -> Result<Plan> {
    if plan.model != units.model {
        return Err(PlanError::OtherModel { found: plan.model, expected: units.model.clone() }.into());
    }
    let channels = Channels::find(model, &units.model, &units.shapes);
    plan::cut_of(&model.graph, &channels, &plan.channels)?;
    let criterion = plan.criterion.as_deref();
    Ok(plan::of_channels(&model.graph, units, &channels, criterion, plan.target, plan.channels))
}

/// The layers that `names` name or match; a glob takes what can go and leaves the rest.
pub(crate) fn expand(units: &Units, names: &[String], constraints: &Constraints) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for name in names {
        if units.named(name).is_some() || !name.contains(['*', '?', '[', '{']) {
            all.push(name.clone());
            continue;
        }
        let matching = model::matching(name, units)?;
        let removable = matching.iter().filter(|unit| unit.removal(&constraints.ways).is_some());
        let before = all.len();
        all.extend(removable.map(|unit| unit.name.clone()).filter(|name| !constraints.protected.contains(name)));
        if all.len() == before {
            return Err(CannotBeDone(format!("none of the layers that match `{name}` can be removed")).into());
        }
    }
    Ok(all)
}

/// Refuses a target that no scores could make possible.
pub(crate) fn expect_possible(units: &Units, target: &Target, constraints: &Constraints) -> Result<()> {
    match target {
        Target::Named(names) => plan::named(units, names, constraints).map(|_| ())?,
        Target::Layers(asked) => {
            let free = units.units.iter().filter(|unit| unit.tapped && !constraints.protected.contains(&unit.name));
            let available = free.filter(|unit| unit.removal(&constraints.ways).is_some()).count();
            if available < *asked {
                return Err(PlanError::TooFew { asked: *asked, available }.into());
            }
        }
        Target::LatencyReduction(_) => {}
    }
    Ok(())
}

fn budget_fault(error: BudgetError) -> anyhow::Error {
    if interrupt::asked() {
        return CannotBeDone("interrupted; nothing was written".to_owned()).into();
    }
    error.into()
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path, what: &str, schema: u32) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the {what} `{}`", path.display()))?;
    let context = || format!("`{}` holds no {what} that this program knows", path.display());
    let value: serde_json::Value = serde_json::from_str(&text).with_context(context)?;
    match value.get("schema") {
        Some(found) if *found != schema => {
            let text = format!("its schema is {found}, this version reads schema {schema}");
            Err(CannotBeDone(text)).with_context(context)
        }
        _ => serde_json::from_value(value).with_context(context),
    }
}

fn channels_text(planned: &[PlannedChannels]) -> String {
    let head = [("channels of", Align::Left), ("removed", Align::Right), ("stay", Align::Right)];
    let row = |planned: &PlannedChannels| {
        let removed = planned.removed.len();
        vec![planned.group.clone(), removed.to_string(), (planned.channels - removed).to_string()]
    };
    let total: usize = planned.iter().map(|planned| planned.removed.len()).sum();
    let noun = if total == 1 { "channel" } else { "channels" };
    let groups = if planned.len() == 1 { "group" } else { "groups" };
    let rows: Vec<Vec<String>> = planned.iter().map(row).collect();
    format!("{}\nremoved {total} {noun} of {} {groups}\n", table(&head, &rows), planned.len())
}

fn text(outcome: &Outcome, units: &Units) -> String {
    let plan = &outcome.plan;
    let mut text = match plan.removed.len() {
        0 if !plan.channels.is_empty() => channels_text(&plan.channels),
        0 => "nothing is removed\n".to_owned(),
        1 => "removed 1 layer:\n".to_owned(),
        count => format!("removed {count} layers:\n"),
    };
    for planned in &plan.removed {
        let exact = units
            .named(&planned.unit)
            .and_then(|unit| unit.removals.iter().find(|removal| removal.way == planned.way))
            .is_some_and(|removal| removal.exact);
        let note = if exact { "" } else { " (plain layer: what follows sees inputs of another kind)" };
        text.push_str(&format!("  {}{note}\n", planned.unit));
    }
    let percent = |before: u64, after: u64| -100.0 * (before as f64 - after as f64) / before.max(1) as f64;
    let (before, after) = (plan.before.parameters, plan.after.parameters);
    text.push_str(&format!("parameters: {} → {} ({:+.1} %)\n", count(before), count(after), percent(before, after)));
    if let (Some(before), Some(after)) = (plan.before.macs, plan.after.macs) {
        text.push_str(&format!("MACs: {} → {} ({:+.1} %)\n", count(before), count(after), percent(before, after)));
    }
    if let Some(latency) = &outcome.latency {
        text.push_str(&super::latency::line(latency));
    }
    match &outcome.output {
        Some(path) => {
            text.push_str(&format!("written: {path}\n"));
            if outcome.lossless {
                text.push_str("what was removed did nothing: the outputs are the same, as `verify` shows\n");
            } else if !plan.removed.is_empty() || !plan.channels.is_empty() {
                text.push_str("its accuracy has changed: `recalibrate` or `finetune` it, then `eval`\n");
            }
        }
        None => text.push_str("dry run: nothing was written\n"),
    }
    text
}
