use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use layerprune::analysis::{Units, Way};
use layerprune::criteria::{SCORES_SCHEMA, Scores};
use layerprune::onnx::Model;
use layerprune::pipeline::{self, BudgetError, Target};
use layerprune::plan::{self, Constraints, PLAN_SCHEMA, Plan, PlanError};
use layerprune::surgery;
use serde::Serialize;

use crate::args::{Global, PruneArgs};
use crate::latency::Timer;
use crate::output::{self, count};
use crate::{CannotBeDone, data, interrupt, model, progress, scoring};

/// What `prune --format json` prints.
#[derive(Serialize)]
struct Outcome {
    plan: Plan,
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
    let constraints = model::constraints(&args.limits, &units)?;
    let (plan, latency) = if let Some(path) = &args.what.plan {
        let plan: Plan = read_json(path, "plan", PLAN_SCHEMA)?;
        for planned in &plan.removed {
            let protection = units.named(&planned.unit).and_then(|unit| constraints.protection(&units, unit));
            if let Some(reason) = protection {
                return Err(PlanError::Fixed { name: planned.unit.clone(), reason }.into());
            }
        }
        let counted = plan::of(&units, plan.criterion.as_deref(), plan.target.clone(), plan.removed.clone());
        (Plan { model: plan.model, ..counted }, None)
    } else if !args.what.remove.is_empty() {
        let names = expand(&units, &args.what.remove, &constraints)?;
        let plan = plan::named(&units, &names, &constraints)?;
        for inner in names.iter().filter(|name| plan.removed.iter().all(|planned| planned.unit != **name)) {
            progress::note(global, &format!("`{inner}` goes with what holds it"));
        }
        (plan, None)
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
    let pruned = surgery::apply(&model, &units, &plan)?;
    if let Some(path) = &args.save_plan {
        output::write_file(path, &serde_json::to_string_pretty(&plan)?)?;
    }
    let written = args.output.as_deref().filter(|_| !args.dry_run);
    if let Some(path) = written {
        pruned.write(path)?;
    }
    let outcome = Outcome { plan, latency, output: written.map(|path| path.display().to_string()) };
    output::print(global, &outcome, |outcome| text(outcome, &units))
}

fn scores(args: &PruneArgs, model: &Model, units: &Units, global: &Global) -> Result<Scores> {
    if let Some(path) = &args.scores {
        return read_json(path, "scores", SCORES_SCHEMA);
    }
    let criteria = scoring::criteria(std::slice::from_ref(&args.criterion))?;
    let data = args.data.given().map(|given| data::open(&given, model, true, global)).transpose()?;
    let mut scores = scoring::score(model, units, &criteria, data.as_ref(), &args.options, global)?;
    Ok(scores.remove(0))
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

fn text(outcome: &Outcome, units: &Units) -> String {
    let plan = &outcome.plan;
    let mut text = match plan.removed.len() {
        0 => "nothing is removed\n".to_owned(),
        1 => "removed 1 layer:\n".to_owned(),
        count => format!("removed {count} layers:\n"),
    };
    for planned in &plan.removed {
        let exact = units
            .named(&planned.unit)
            .and_then(|unit| unit.removals.iter().find(|removal| removal.way == planned.way))
            .is_some_and(|removal| removal.exact);
        let note = match planned.way {
            Way::ShrinkChain => " (shrunk: the next layer reads its input, by a weight composed of both)",
            _ if exact => "",
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
    match &outcome.output {
        Some(path) => {
            text.push_str(&format!("written: {path}\n"));
            if !plan.removed.is_empty() {
                text.push_str("its accuracy has changed: `recalibrate` or `finetune` it, then `eval`\n");
            }
        }
        None => text.push_str("dry run: nothing was written\n"),
    }
    text
}
