use std::path::{Path, PathBuf};

use anyhow::Result;
use layerprune::methods::{Method, MethodSettings, Removed, Setting, Then, removed};
use layerprune::record::LatencyComparison;
use serde::Serialize;

use super::prune::{filter_limits, search_constraints};
use crate::args::{Global, PruneArgs, unread};
use crate::data;
use crate::latency::Timer;
use crate::methods::Asked;
use crate::output;
use crate::scoring::Gather;
use crate::{Usage, model, written};

/// What `prune --method` prints as JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Outcome {
    method: &'static str,
    settings: MethodSettings,
    removed: Removed,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<LatencyComparison>,
    output: String,
}

/// Removes parts as `method` publishes it, and writes the model.
pub(crate) fn run(args: &PruneArgs, method: &'static Method, global: &Global) -> Result<()> {
    let Some(path) = &args.output else {
        return Err(Usage("`--method` writes a model: give `-o FILE`".to_owned()).into());
    };
    args.method.settings.expect_readers(&[method], "--")?;
    if args.choice.criterion.is_some() && !method.reads.contains(&Setting::Criterion) {
        return Err(unread("--criterion", Setting::Criterion));
    }
    let model = model::read(&args.model)?;
    let shapes = model::input_shapes(&args.choice.shapes, &model)?;
    let units = model::units(&model, &shapes)?;
    let data = args.data.given().map(|given| data::open(&given, &args.model, &model, true, global)).transpose()?;
    let gather = Gather { model: &model, units: &units, data: data.as_ref(), options: &args.choice.options, global };
    let settings = &args.method.settings;
    let asked = Asked {
        method,
        settings,
        criterion: args.choice.criterion.as_deref(),
        options: &args.choice.options,
        budgets: args.budget.budgets(),
        constraints: search_constraints(&args.choice.limits, &args.choice.search, &units, &[])?,
        filters: filter_limits(&args.choice.limits, &args.choice.filter, gather)?.constraints,
        shapes: &shapes,
        data: data.as_ref(),
        timer: Timer::new(global, args.choice.batch, &shapes),
        global,
    };
    let (pruned, journal) = asked.run(&model, &folder(path, method))?;
    pruned.model.write(path)?;
    written::expect_sound(path, &pruned.model.digest(), &args.choice.shapes, global)?;
    journal.forget();
    let outcome = Outcome {
        method: method.name,
        settings: settings.settings(args.choice.criterion.as_deref()),
        removed: removed(&model, &pruned.model, &shapes)?,
        latency: pruned.latency,
        output: path.display().to_string(),
    };
    output::print(global, &outcome, |outcome| text(outcome, method.then))
}

/// `pruned.onnx.taylor`.
fn folder(output: &Path, method: &Method) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", method.name));
    output.with_file_name(name)
}

fn text(outcome: &Outcome, then: Then) -> String {
    let Removed { layers, thinner, before, after } = &outcome.removed;
    let mut text = String::new();
    if !layers.is_empty() {
        text.push_str(&format!("removed layers: {}\n", layers.join(", ")));
    }
    if !thinner.is_empty() {
        let all = thinner.iter().map(|layer| format!("{} {} → {}", layer.layer, layer.before, layer.after));
        text.push_str(&format!(
            "removed filters: {}: {}\n",
            outcome.removed.filters(),
            all.collect::<Vec<_>>().join(", ")
        ));
    }
    text.push_str(&output::change("parameters", Some(before.parameters), Some(after.parameters)));
    text.push_str(&output::change("MACs", before.macs, after.macs));
    if let Some(latency) = &outcome.latency {
        text.push_str(&super::latency::line(latency));
    }
    text.push_str(&format!("written: {}\n", outcome.output));
    text.push_str(match then {
        Then::FineTuning => "its accuracy has changed: `finetune` it, then `eval`\n",
        Then::Distillation => "the method goes on by learning from the whole model: `finetune --teacher`\n",
        Then::Scratch => "its weights are random: `train --init given --as-much-as` the whole model\n",
    });
    text
}
