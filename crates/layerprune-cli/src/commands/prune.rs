use std::collections::BTreeSet;

use anyhow::Result;
use layerprune::analysis::{Channels, Units, Way};
use layerprune::criteria::{SCORES_SCHEMA, Scores, Scoring};
use layerprune::evidence::Evidence;
use layerprune::onnx::Model;
use layerprune::pipeline::{self, Calibrate, HeldOut, Iteration, PortError, Target};
use layerprune::plan::{self, Constraints, PLAN_SCHEMA, Plan, PlanError, PlannedChannels, Scope};
use layerprune::record::LatencyComparison;
use layerprune::shapes::InputShapes;
use layerprune::surgery;
use serde::Serialize;

use crate::args::{By, FilterArgs, Global, LimitArgs, PruneArgs, RecoverStep, ScopeArg, SearchArg, SearchArgs};
use crate::budget::{Drop, FilterLimits, Ground, Searched};
use crate::clock::{self, Clock};
use crate::data;
use crate::latency::Timer;
use crate::output::{self, Align, read_json, table};
use crate::recovery::{self, Recovery};
use crate::scoring::Gather;
use crate::{CannotBeDone, Usage, interrupt, methods, model, progress, scoring, written};

/// What `prune --format json` prints.
#[derive(Serialize)]
struct Outcome {
    plan: Plan,
    /// Whether what goes provably changes no output.
    lossless: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<LatencyComparison>,
    /// Latency reduction in percent that the profile given lets expect.
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search: Option<Searched>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery: Option<Recovery>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
}

const NO_BRIDGE: &str = "a bridge stands for a whole layer; where channels go, use `--recover compensate`";

const ONLY_RECALIBRATE: &str = "where layers and filters go together, `--recover recalibrate` is the only step: the others fit to \
                                layers that are all there";

const NO_COMPENSATION: &str =
    "`--recover compensate` is for what reads channels that are gone; in place of layers, use `--recover bridge`";

/// Plans what to remove, cuts it and writes the model.
pub(crate) fn run(args: &PruneArgs, global: &Global) -> Result<()> {
    for path in args.output.iter().chain(&args.save_plan) {
        output::expect_writable(path)?;
    }
    if let Some(method) = args.method.method() {
        return super::prune_by_method::run(args, method, global);
    }
    args.method.settings.expect_readers(&[], "--")?;
    if args.iterative && args.what.layers.is_none() {
        return Err(Usage("`--iterative` goes with `--layers K`".to_owned()).into());
    }
    let steps = recovery::steps(&args.choice.recover)?;
    let written = args.output.as_deref().filter(|_| !args.dry_run);
    if !steps.is_empty() && written.is_some() && args.data.data.is_none() {
        return Err(Usage("`--recover` needs images: give `--data KIND:PATH`".to_owned()).into());
    }
    let model = model::read(&args.model)?;
    let shapes = model::input_shapes(&args.choice.shapes, &model)?;
    let units = model::units(&model, &shapes)?;
    let budgets = args.budget.budgets();
    if budgets.is_empty() && (args.choice.search.by != By::Layers || args.choice.search.search != SearchArg::Greedy) {
        return Err(Usage("`--by` and `--search` say how budgets are met; none is given".to_owned()).into());
    }
    if let Some(path) = &args.choice.search.profile.profile {
        match path.exists() {
            true => drop(clock::read(path, &units.model)?),
            false => output::expect_writable(path)?,
        }
    }
    let ranked = args.what.layers.is_some() || !budgets.is_empty() || args.what.filters.is_some();
    let of_filters = args.what.filters.is_some() || args.choice.search.by != By::Layers;
    let by = scoring::chosen(&args.choice, of_filters)?;
    let labels = scoring::needs_data(std::slice::from_ref(&by)).filter(|_| ranked && args.choice.scores.is_none());
    let labels = if budgets.max_drop.is_some() { Some(true) } else { labels };
    let recovering = !steps.is_empty() && written.is_some();
    let data = match args.data.given() {
        Some(given) if labels == Some(true) => Some(data::open(&given, &args.model, &model, true, global)?),
        Some(given) if labels == Some(false) => Some(data::open_images(&given, &args.model, &model, global)?),
        Some(given) if recovering => Some(data::open_images(&given, &args.model, &model, global)?),
        _ => None,
    };
    let gather = Gather { model: &model, units: &units, data: data.as_ref(), options: &args.choice.options, global };
    let Chosen { mut plan, latency, search } = if !budgets.is_empty() {
        within_budgets(args, gather, &by, &shapes, &steps)?
    } else if args.what.filters.is_some() || args.what.dead_channels {
        plan_channels(args, gather, &by, &steps)?.into()
    } else {
        plan_layers(args, gather, &by, &shapes, &steps)?.into()
    };
    let (pruned, recovery) = match &data {
        Some(data) if recovering => {
            let done = recovery::cut_and_recover(&model, &units, &plan, &steps, &args.choice.recover, data, global)?;
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
    let predicted_percent = predicted(args, &model, &units, &plan, &pruned)?;
    // A large model should not lie in memory three times: what was read is not needed for the look at what was written.
    drop((units, model, data));
    if let Some(path) = written {
        pruned.write(path)?;
        let digest = pruned.digest();
        drop(pruned);
        written::expect_sound(path, &digest, &args.choice.shapes, global)?;
    }
    let lossless = args.what.dead_channels && !plan.channels.is_empty();
    let output = written.map(|path| path.display().to_string());
    let outcome = Outcome { plan, lossless, latency, predicted_percent, search, recovery, output };
    output::print(global, &outcome, |outcome| text(outcome, &exact))
}

/// What is to go, and what was measured to choose it.
struct Chosen {
    plan: Plan,
    latency: Option<LatencyComparison>,
    search: Option<Searched>,
}

impl From<Plan> for Chosen {
    fn from(plan: Plan) -> Self {
        Self { plan, latency: None, search: None }
    }
}

/// What the search finds.
fn within_budgets(
    args: &PruneArgs,
    gather: Gather<'_>,
    by: &Scoring,
    shapes: &InputShapes,
    steps: &[RecoverStep],
) -> Result<Chosen> {
    let Gather { model, units, global, .. } = gather;
    let constraints = search_constraints(&args.choice.limits, &args.choice.search, units, steps)?;
    let budgets = args.budget.budgets();
    let scores = args.choice.scores.as_deref().map(|path| read_json(path, "scores", SCORES_SCHEMA)).transpose()?;
    let limits = || filter_limits(&args.choice.limits, &args.choice.filter, gather);
    let ground = Ground::new(&args.choice.search, gather, by, scores, &constraints, limits, shapes)?;
    let clock =
        || Clock::open(Timer::new(global, args.choice.batch, shapes), model, &units.model, &args.choice.search.profile);
    let mut clock = (budgets.latency.is_some() || ground.is_by_times(&budgets)).then(clock).transpose()?;
    let drop = || Drop::new(gather, steps, &args.choice.recover);
    let mut drop = budgets.max_drop.is_some().then(drop).transpose()?;
    let held_out = drop.as_mut().map(|drop| drop as &mut dyn HeldOut);
    let found = ground.search(&budgets, clock.as_mut(), held_out)?;
    let search = Some(Searched::of(&found, &budgets, &args.choice.search));
    Ok(Chosen { plan: found.trial.plan, latency: found.trial.latency, search })
}

/// Which layers a search may remove, and how; refuses steps of recovery that do not go with what is searched for.
pub(crate) fn search_constraints(
    limits: &LimitArgs,
    search: &SearchArgs,
    units: &Units,
    steps: &[RecoverStep],
) -> Result<Constraints> {
    let constraints = layer_constraints(limits, units, steps)?;
    match search.by {
        By::Layers if steps.contains(&RecoverStep::Compensate) => return Err(Usage(NO_COMPENSATION.to_owned()).into()),
        By::Filters | By::Both if recovery::way(steps).is_some() => return Err(Usage(NO_BRIDGE.to_owned()).into()),
        By::Both if steps.contains(&RecoverStep::Compensate) || steps.contains(&RecoverStep::Bias) => {
            return Err(Usage(ONLY_RECALIBRATE.to_owned()).into());
        }
        By::Layers | By::Filters | By::Both => {}
    }
    Ok(constraints)
}

/// What a profile that was given says of any plan.
fn predicted(args: &PruneArgs, model: &Model, units: &Units, plan: &Plan, pruned: &Model) -> Result<Option<f64>> {
    let Some(path) = args.choice.search.profile.profile.as_deref().filter(|path| path.exists()) else {
        return Ok(None);
    };
    let profile = clock::read(path, &units.model)?;
    Ok(plan::predicted_percent(&profile, plan, &surgery::macs_saved(model, units, pruned)))
}

/// Which layers may go, and how.
fn layer_constraints(limits: &LimitArgs, units: &Units, steps: &[RecoverStep]) -> Result<Constraints> {
    let mut constraints = model::constraints(limits, units)?;
    if let Some(way) = recovery::way(steps) {
        if limits.drop_branches {
            let text = "`--drop-branches` and bridges are two ways of removing the same blocks; give one of them";
            return Err(Usage(text.to_owned()).into());
        }
        constraints.ways = BTreeSet::from([way]);
    }
    Ok(constraints)
}

/// What the command line says of layers.
fn plan_layers(
    args: &PruneArgs,
    gather: Gather<'_>,
    by: &Scoring,
    shapes: &InputShapes,
    steps: &[RecoverStep],
) -> Result<Plan> {
    let Gather { model, units, global, .. } = gather;
    let fitted = recovery::way(steps);
    let compensating = steps.contains(&RecoverStep::Compensate);
    if compensating && args.what.plan.is_none() {
        return Err(Usage(NO_COMPENSATION.to_owned()).into());
    }
    let constraints = layer_constraints(&args.choice.limits, units, steps)?;
    Ok(if let Some(path) = &args.what.plan {
        let mut plan: Plan = read_json(path, "plan", PLAN_SCHEMA)?;
        for planned in &plan.removed {
            let protection = units.named(&planned.unit).and_then(|unit| constraints.protection(units, unit));
            if let Some(reason) = protection {
                return Err(PlanError::Fixed { name: planned.unit.clone(), reason }.into());
            }
        }
        if !plan.channels.is_empty() {
            if fitted.is_some() {
                return Err(Usage(NO_BRIDGE.to_owned()).into());
            }
            if !plan.removed.is_empty() && (compensating || steps.contains(&RecoverStep::Bias)) {
                return Err(Usage(ONLY_RECALIBRATE.to_owned()).into());
            }
            return recount(model, units, plan, shapes);
        }
        if compensating {
            return Err(Usage(NO_COMPENSATION.to_owned()).into());
        }
        recovery::by_way(&mut plan, units, fitted)?;
        let counted = plan::of(units, plan.criterion.as_deref(), plan.target.clone(), plan.removed.clone());
        Plan { model: plan.model, ..counted }
    } else if !args.what.remove.is_empty() {
        let names = expand(units, &args.what.remove, &constraints)?;
        let plan = plan::named(units, &names, &constraints)?;
        for inner in names.iter().filter(|name| plan.removed.iter().all(|planned| planned.unit != **name)) {
            progress::note(global, &format!("`{inner}` goes with what holds it"));
        }
        plan
    } else if let (true, Some(count)) = (args.iterative, args.what.layers) {
        if fitted.is_some() {
            let text = "`--iterative` scores what each removal leaves, and a bridge is fitted only at the end; give one of them";
            return Err(Usage(text.to_owned()).into());
        }
        expect_possible(units, &Target::Layers(count), &constraints)?;
        iteratively(gather, by, &constraints, count, shapes)?
    } else {
        let count = args.what.layers.expect("the command line asks for one target");
        plan::lowest(units, &scores(args, gather, by)?, &constraints, count)?
    })
}

/// Which filters may go, and how far.
pub(crate) fn filter_limits(limits: &LimitArgs, filter: &FilterArgs, gather: Gather<'_>) -> Result<FilterLimits> {
    let Gather { model, units, .. } = gather;
    let channels = Channels::find(model, &units.model, &units.shapes);
    let constraints = methods::limits(limits, &channels, Some(filter.floor), Some(filter.round_to))?;
    let scope = match filter.scope {
        ScopeArg::Global => Scope::Global,
        ScopeArg::Threshold => Scope::Threshold,
        ScopeArg::Uniform => Scope::Uniform,
    };
    Ok(FilterLimits { channels, constraints, scope })
}

/// Chooses channels: a share of the filters, or those that do nothing.
fn plan_channels(args: &PruneArgs, gather: Gather<'_>, by: &Scoring, steps: &[RecoverStep]) -> Result<Plan> {
    let Gather { model, units, .. } = gather;
    if recovery::way(steps).is_some() {
        return Err(Usage(NO_BRIDGE.to_owned()).into());
    }
    let FilterLimits { channels, constraints, scope } =
        filter_limits(&args.choice.limits, &args.choice.filter, gather)?;
    let Some(percent) = args.what.filters else {
        return Ok(plan::dead_channels(&model.graph, units, &channels, &constraints.protected));
    };
    if args.choice.scores.is_some() {
        return Err(Usage("`--scores` holds scores of layers, `--filters` scores filters by itself".to_owned()).into());
    }
    let scores = gather.filter_scores(by, &channels)?;
    Ok(plan::lowest_filters(&model.graph, units, &channels, &scores, &constraints, scope, percent)?)
}

/// A plan from a file that removes channels, its cost counted anew.
fn recount(model: &Model, units: &Units, plan: Plan, shapes: &InputShapes) -> Result<Plan> {
    if plan.model != units.model {
        return Err(PlanError::OtherModel { found: plan.model, expected: units.model.clone() }.into());
    }
    let layers = plan::of(units, plan.criterion.as_deref(), plan.target.clone(), plan.removed.clone());
    if layers.removed.is_empty() {
        return Ok(Plan { model: layers.model.clone(), ..recounted(model, units, &plan)? });
    }
    let left = surgery::apply(model, units, &layers)?;
    Ok(layers.followed_by(recounted(&left, &model::units(&left, shapes)?, &plan)?))
}

fn recounted(model: &Model, units: &Units, plan: &Plan) -> Result<Plan> {
    let channels = Channels::find(model, &units.model, &units.shapes);
    plan::cut_of(&model.graph, &channels, &plan.channels)?;
    let (criterion, target) = (plan.criterion.as_deref(), plan.target.clone());
    Ok(plan::of_channels(&model.graph, units, &channels, criterion, target, plan.channels.clone()))
}

fn scores(args: &PruneArgs, gather: Gather<'_>, by: &Scoring) -> Result<Scores> {
    if let Some(path) = &args.choice.scores {
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
        Target::Budgets(..) => {}
    }
    Ok(())
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
        0 if !plan.channels.is_empty() => String::new(),
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
    if !plan.channels.is_empty() {
        text.push_str(&channels_text(&plan.channels));
    }
    text.push_str(&output::change("parameters", Some(plan.before.parameters), Some(plan.after.parameters)));
    text.push_str(&output::change("MACs", plan.before.macs, plan.after.macs));
    if let Some(latency) = &outcome.latency {
        text.push_str(&super::latency::line(latency));
    }
    match (&outcome.search, outcome.predicted_percent) {
        (Some(search), _) => text.push_str(&search.text()),
        (None, Some(predicted)) => text.push_str(&format!("predicted latency reduction: {predicted:.1} %\n")),
        (None, None) => {}
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
