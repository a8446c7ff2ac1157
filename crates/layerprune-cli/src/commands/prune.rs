use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use layerprune::analysis::{Channels, Units, Way};
use layerprune::criteria::{FilterScores, SCORES_SCHEMA, Scores, Scoring};
use layerprune::evidence::Evidence;
use layerprune::onnx::Model;
use layerprune::pipeline::{self, BudgetError, Calibrate, Iteration, PortError, Target};
use layerprune::plan::{self, ChannelConstraints, Constraints, PLAN_SCHEMA, Plan, PlanError, PlannedChannels, Scope};
use layerprune::record::LatencyComparison;
use layerprune::shapes::InputShapes;
use layerprune::surgery;
use serde::Serialize;

use crate::args::{Global, PruneArgs, RecoverStep, ScopeArg};
use crate::data;
use crate::latency::Timer;
use crate::output::{self, Align, count, table};
use crate::recovery::{self, Recovery};
use crate::scoring::Gather;
use crate::{CannotBeDone, Usage, interrupt, model, progress, scoring, written};

/// What `prune --format json` prints.
#[derive(Serialize)]
struct Outcome {
    plan: Plan,
    /// Whether what goes provably changes no output.
    lossless: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<LatencyComparison>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery: Option<Recovery>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
}

const NO_BRIDGE: &str = "a bridge stands for a whole layer; where channels go, use `--recover compensate`";

const NO_COMPENSATION: &str =
    "`--recover compensate` is for what reads channels that are gone; in place of layers, use `--recover bridge`";

/// Plans what to remove, cuts it and writes the model.
pub(crate) fn run(args: &PruneArgs, global: &Global) -> Result<()> {
    for path in args.output.iter().chain(&args.save_plan) {
        output::expect_writable(path)?;
    }
    if args.iterative && args.what.layers.is_none() {
        return Err(Usage("`--iterative` goes with `--layers K`".to_owned()).into());
    }
    let steps = recovery::steps(&args.recover)?;
    let written = args.output.as_deref().filter(|_| !args.dry_run);
    if !steps.is_empty() && written.is_some() && args.data.data.is_none() {
        return Err(Usage("`--recover` needs images: give `--data KIND:PATH`".to_owned()).into());
    }
    let model = model::read(&args.model)?;
    let shapes = model::input_shapes(&args.shapes, &model)?;
    let units = model::units(&model, &shapes)?;
    let ranked = args.what.layers.is_some() || args.what.latency_reduction.is_some() || args.what.filters.is_some();
    let default = if args.what.filters.is_some() { "weight-norm" } else { "imprint" };
    let by = args.criterion.clone().unwrap_or_else(|| default.to_owned());
    let by = scoring::parse(&[by], &args.options)?.remove(0);
    let labels = scoring::needs_data(std::slice::from_ref(&by)).filter(|_| ranked && args.scores.is_none());
    let recovering = !steps.is_empty() && written.is_some();
    let data = match args.data.given() {
        Some(given) if labels == Some(true) => Some(data::open(&given, &model, true, global)?),
        Some(given) if labels == Some(false) => Some(data::open_images(&given, &model, global)?),
        Some(given) if recovering => Some(data::open_images(&given, &model, global)?),
        _ => None,
    };
    let gather = Gather { model: &model, units: &units, data: data.as_ref(), options: &args.options, global };
    let chosen = if args.what.filters.is_some() || args.what.dead_channels {
        (plan_channels(args, gather, &by, &steps)?, None)
    } else {
        plan_layers(args, gather, &by, &shapes, &steps)?
    };
    let (mut plan, latency) = chosen;
    let (pruned, recovery) = match &data {
        Some(data) if recovering => {
            let done = recovery::cut_and_recover(&model, &units, &plan, &steps, &args.recover, data, global)?;
            (done.0, Some(done.1))
        }
        _ => (surgery::apply(&model, &units, &plan)?, None),
    };
    if let Some(path) = &args.save_plan {
        output::write_file(path, &serde_json::to_string_pretty(&plan)?)?;
    }
    if recovery.is_some() {
        // What was folded away costs nothing.
        plan.after = model::units(&pruned, &shapes)?.costs.total();
    }
    let exact = exact(&plan, &units);
    // A large model should not lie in memory three times: what was read is not needed for the look at what was written.
    drop((units, model, data));
    if let Some(path) = written {
        pruned.write(path)?;
        let digest = pruned.digest();
        drop(pruned);
        written::expect_sound(path, &digest, &args.shapes, global)?;
    }
    let lossless = args.what.dead_channels && !plan.channels.is_empty();
    let outcome = Outcome { plan, lossless, latency, recovery, output: written.map(|path| path.display().to_string()) };
    output::print(global, &outcome, |outcome| text(outcome, &exact))
}

/// What the command line says of layers, with the last latency that was measured on the way.
fn plan_layers(
    args: &PruneArgs,
    gather: Gather<'_>,
    by: &Scoring,
    shapes: &InputShapes,
    steps: &[RecoverStep],
) -> Result<(Plan, Option<LatencyComparison>)> {
    let Gather { model, units, global, .. } = gather;
    let mut constraints = model::constraints(&args.limits, units)?;
    let fitted = recovery::way(steps);
    let compensating = steps.contains(&RecoverStep::Compensate);
    if compensating && args.what.plan.is_none() {
        return Err(Usage(NO_COMPENSATION.to_owned()).into());
    }
    if let Some(way) = fitted {
        if args.limits.drop_branches {
            let text = "`--drop-branches` and bridges are two ways of removing the same blocks; give one of them";
            return Err(Usage(text.to_owned()).into());
        }
        constraints.ways = BTreeSet::from([way]);
    }
    Ok(if let Some(path) = &args.what.plan {
        let mut plan: Plan = read_json(path, "plan", PLAN_SCHEMA)?;
        if !plan.channels.is_empty() {
            if fitted.is_some() {
                return Err(Usage(NO_BRIDGE.to_owned()).into());
            }
            return Ok((recount(model, units, plan)?, None));
        }
        if compensating {
            return Err(Usage(NO_COMPENSATION.to_owned()).into());
        }
        recovery::by_way(&mut plan, units, fitted)?;
        for planned in &plan.removed {
            let protection = units.named(&planned.unit).and_then(|unit| constraints.protection(units, unit));
            if let Some(reason) = protection {
                return Err(PlanError::Fixed { name: planned.unit.clone(), reason }.into());
            }
        }
        let counted = plan::of(units, plan.criterion.as_deref(), plan.target.clone(), plan.removed.clone());
        (Plan { model: plan.model, ..counted }, None)
    } else if !args.what.remove.is_empty() {
        let names = expand(units, &args.what.remove, &constraints)?;
        let plan = plan::named(units, &names, &constraints)?;
        for inner in names.iter().filter(|name| plan.removed.iter().all(|planned| planned.unit != **name)) {
            progress::note(global, &format!("`{inner}` goes with what holds it"));
        }
        (plan, None)
    } else if let (true, Some(count)) = (args.iterative, args.what.layers) {
        if fitted.is_some() {
            let text = "`--iterative` scores what each removal leaves, and a bridge is fitted only at the end; give one of them";
            return Err(Usage(text.to_owned()).into());
        }
        expect_possible(units, &Target::Layers(count), &constraints)?;
        (iteratively(gather, by, &constraints, count, shapes)?, None)
    } else {
        let scores = scores(args, gather, by)?;
        match (args.what.layers, args.what.latency_reduction) {
            (Some(count), _) => (plan::lowest(units, &scores, &constraints, count)?, None),
            (None, Some(percent)) => {
                let mut timer = Timer::new(global, args.batch, shapes).brief();
                let ranking = plan::ranking(units, &scores, &constraints)?;
                let found = pipeline::prune_to_latency(
                    model,
                    units,
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
    })
}

/// Chooses channels: a share of the filters, or those that do nothing.
fn plan_channels(args: &PruneArgs, gather: Gather<'_>, by: &Scoring, steps: &[RecoverStep]) -> Result<Plan> {
    let Gather { model, units, .. } = gather;
    if recovery::way(steps).is_some() {
        return Err(Usage(NO_BRIDGE.to_owned()).into());
    }
    let channels = Channels::find(model, &units.model, &units.shapes);
    let constraints = ChannelConstraints {
        protected: model::protected_groups(&args.limits, &channels)?,
        floor: args.filter.floor / 100.0,
        round_to: args.filter.round_to,
    };
    let Some(percent) = args.what.filters else {
        return Ok(plan::dead_channels(&model.graph, units, &channels, &constraints.protected));
    };
    if args.scores.is_some() {
        return Err(Usage("`--scores` holds scores of layers, `--filters` scores filters by itself".to_owned()).into());
    }
    FilterScores::check(by, &model.graph, units, &channels)?;
    let evidence = gather.evidence(&by.needs(), &FilterScores::sites(&model.graph, units, &channels))?;
    let scores = FilterScores::of(by, &model.graph, units, &channels, &evidence)?;
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

fn scores(args: &PruneArgs, gather: Gather<'_>, by: &Scoring) -> Result<Scores> {
    if let Some(path) = &args.scores {
        return read_json(path, "scores", SCORES_SCHEMA);
    }
    Ok(gather.score(std::slice::from_ref(by))?.remove(0))
}

/// One layer at a time, each time the least important of what is left.
fn iteratively(
    gather: Gather<'_>,
    by: &Scoring,
    constraints: &Constraints,
    count: usize,
    shapes: &InputShapes,
) -> Result<Plan> {
    let mut step = |iteration: &Iteration| {
        let row = iteration.scores.rows.iter().find(|row| row.unit == iteration.removed);
        let score = row.map(|row| format!(" (score {})", output::brief(row.score))).unwrap_or_default();
        progress::note(gather.global, &format!("next to go: `{}`{score}", iteration.removed));
    };
    let (model, units) = (gather.model, gather.units);
    let mut port = Anew { gather, by };
    let done = pipeline::prune_iteratively(model, units, by, constraints, count, shapes, &mut port, &mut step);
    done.map_err(|error| if interrupt::asked() { interrupt::ended() } else { error.into() })
}

/// Evidence of what is left after each removal.
struct Anew<'a> {
    gather: Gather<'a>,
    by: &'a Scoring,
}

impl Calibrate for Anew<'_> {
    fn evidence(&mut self, model: &Model, units: &Units) -> Result<Evidence, PortError> {
        Ok(Gather { model, units, ..self.gather }.for_layers(std::slice::from_ref(self.by))?)
    }
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
    if interrupt::asked() { interrupt::ended() } else { error.into() }
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path, what: &str, schema: u32) -> Result<T> {
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

/// Units of the plan whose removal changes nothing else.
fn exact(plan: &Plan, units: &Units) -> BTreeSet<String> {
    let exact = plan.removed.iter().filter(|planned| {
        let removal = units.named(&planned.unit).and_then(|unit| unit.removal_by(planned.way));
        removal.is_some_and(|removal| removal.exact)
    });
    exact.map(|planned| planned.unit.clone()).collect()
}

fn text(outcome: &Outcome, exact: &BTreeSet<String>) -> String {
    let plan = &outcome.plan;
    let mut text = match plan.removed.len() {
        0 if !plan.channels.is_empty() => channels_text(&plan.channels),
        0 => "nothing is removed\n".to_owned(),
        1 => "removed 1 layer:\n".to_owned(),
        count => format!("removed {count} layers:\n"),
    };
    for planned in &plan.removed {
        let note = match planned.way {
            Way::Bridge => " (a fitted 1x1 convolution in its place)",
            Way::ScaleShift => " (a fitted scale and shift of each channel in its place)",
            Way::ShrinkChain => " (shrunk: the next layer reads its input, by a weight composed of both)",
            Way::DropFeatures => " (with its features, wherever they were read)",
            _ if exact.contains(&planned.unit) => "",
            _ => " (plain layer: what follows sees inputs of another kind)",
        };
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
    if let Some(recovery) = &outcome.recovery {
        text.push_str(&recovery::text(recovery));
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
