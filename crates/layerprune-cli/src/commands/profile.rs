use std::collections::BTreeSet;

use anyhow::Result;
use layerprune::analysis::{Channels, Units, Way};
use layerprune::pipeline::{MeasureLatency, PROFILE_RUNS, Parts};
use layerprune::plan::{Constraints, PlannedRemoval};
use layerprune::record::{LatencyProfile, Saving};

use crate::args::{Global, ProfileArgs, ProfileFileArgs};
use crate::clock::Clock;
use crate::latency::Timer;
use crate::output::{self, Align, table};
use crate::{CannotBeDone, interrupt, model};

/// Times the model without each of its parts.
pub(crate) fn run(args: &ProfileArgs, global: &Global) -> Result<()> {
    if let Some(path) = &args.output {
        output::expect_writable(path)?;
    }
    let model = model::read(&args.model)?;
    let shapes = model::input_shapes(&args.shapes, &model)?;
    let units = model::units(&model, &shapes)?;
    let constraints = model::constraints(&args.limits, &units)?;
    let removable = removable(&units, &constraints, args.tree);
    let channels = args.channels.then(|| Channels::find(&model, &units.model, &units.shapes));
    let groups = channels.as_ref().map_or(0, |channels| channels.groups.len());
    if removable.is_empty() && groups == 0 {
        return Err(CannotBeDone("the model has no part that could be taken out".to_owned()).into());
    }
    let files = ProfileFileArgs { profile: args.output.clone(), no_cache: args.no_cache };
    let mut clock = Clock::open(Timer::new(global, args.batch, &shapes), &model, &units.model, &files)?;
    if clock.is_foreign() {
        let text = "the file holds times of other conditions, named above; give another file, or run this where they were taken";
        return Err(CannotBeDone(text.to_owned()).into());
    }
    let parts = Parts { units: &removable, channels: channels.as_ref(), counts: args.counts, runs: PROFILE_RUNS };
    let profile = match clock.profile(&model, &units, parts) {
        Err(_) if interrupt::asked() => {
            let kept = if args.no_cache { "nothing was kept" } else { "what was timed so far is kept" };
            return Err(CannotBeDone(format!("interrupted; {kept}")).into());
        }
        done => done.map_err(anyhow::Error::from_boxed)?,
    };
    output::print(global, &profile, |profile| text(profile, &units, &constraints, &removable))
}

/// Units that may go, each in the way in which `prune` would remove it.
pub(crate) fn removable(units: &Units, constraints: &Constraints, tree: bool) -> Vec<PlannedRemoval> {
    let all: Vec<_> = if tree { units.all().collect() } else { units.units.iter().collect() };
    let goes = all.into_iter().filter(|unit| constraints.protection(units, unit).is_none());
    goes.filter_map(|unit| Some(PlannedRemoval { unit: unit.name.clone(), way: unit.removal(&constraints.ways)?.way }))
        .collect()
}

fn text(profile: &LatencyProfile, units: &Units, constraints: &Constraints, timed: &[PlannedRemoval]) -> String {
    let of = &profile.conditions.circumstances;
    let whole = profile.baseline_ms().map_or_else(String::new, |ms| format!(": {ms:.3} ms"));
    let mut text =
        format!("{} {}, batch {}, {} thread(s){whole}\n", of.engine.name, of.engine.version, of.batch, of.threads);
    text.push_str(&units_text(profile, units, constraints, timed));
    for group in &profile.groups {
        let rows: Vec<Vec<String>> =
            group.counts.iter().map(|count| row(count.kept.to_string(), &count.saving)).collect();
        let name = format!("of {} channels of {}", group.channels, group.group);
        text.push_str(&format!("\n\n{}", table(&head(&name, Align::Left), &rows)));
    }
    text
}

fn units_text(profile: &LatencyProfile, units: &Units, constraints: &Constraints, timed: &[PlannedRemoval]) -> String {
    let names: BTreeSet<&str> = timed.iter().map(|planned| planned.unit.as_str()).collect();
    let mut rows = Vec::new();
    for unit in units.all().filter(|unit| names.contains(unit.name.as_str()) || is_listed(units, &unit.name)) {
        let planned = timed.iter().find(|planned| planned.unit == unit.name);
        match planned.and_then(|planned| profile.unit(&planned.unit, planned.way)) {
            Some(timed) => rows.push(row(unit.name.clone(), &timed.saving)),
            None => {
                let reason = constraints.protection(units, unit).or_else(|| unit.reason.clone());
                let stays =
                    format!("stays: {}", reason.unwrap_or_else(|| "no way of removing it is allowed".to_owned()));
                rows.push(vec![unit.name.clone(), String::new(), String::new(), stays]);
            }
        }
    }
    let simple = |planned: &&PlannedRemoval| is_listed(units, &planned.unit) && planned.way != Way::ShrinkChain;
    let savings = timed.iter().filter(simple).filter_map(|planned| profile.unit(&planned.unit, planned.way));
    let sum: f64 = savings.map(|timed| timed.saving.reduction_percent).sum();
    format!("{}\nall of these together: {sum:.1} %, if they add up", table(&head("without", Align::Left), &rows))
}

/// Whether the unit is one of those that `inspect` lists without `--tree`, which do not hold one another.
fn is_listed(units: &Units, name: &str) -> bool {
    units.units.iter().any(|unit| unit.name == name)
}

fn head(name: &str, align: Align) -> [(&str, Align); 4] {
    [(name, align), ("with", Align::Right), ("without", Align::Right), ("latency reduction", Align::Left)]
}

fn row(name: String, saving: &Saving) -> Vec<String> {
    let [low, high] = saving.reduction_interval;
    vec![
        name,
        format!("{:.3} ms", saving.with_ms),
        format!("{:.3} ms", saving.without_ms),
        format!("{:.1} % ({low:.1} to {high:.1})", saving.reduction_percent),
    ]
}
