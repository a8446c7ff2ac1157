use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use layerprune::analysis::Units;
use layerprune::cost::Cost;
use layerprune::criteria::{SCORES_SCHEMA, Scores};
use layerprune::onnx::Model;
use layerprune::pipeline::{MeasureLatency, SearchError};
use layerprune::plan::{Budgets, LatencyBudget};
use layerprune::record::{Conditions, Sweep, SweepBaseline, SweepFailure, SweepPoint};
use layerprune::report;
use serde_json::json;

use crate::args::{By, Global, RecoverStep, SweepArgs};
use crate::budget::{self, Ground};
use crate::clock::Clock;
use crate::commands::prune;
use crate::data::{self, Data};
use crate::latency::Timer;
use crate::output::{self, read_json, write_file};
use crate::scoring::{self, Gather};
use crate::training::{self, Chosen, Run};
use crate::{CannotBeDone, interrupt, job, model, progress, recovery};

const RECORD: &str = "sweep.json";
const SCORES: &str = "sweep.scores.json";

/// Prunes to one latency after the other, and writes the record after each.
pub(crate) fn run(args: &SweepArgs, global: &Global) -> Result<()> {
    let folder = args.output.as_path();
    let steps = recovery::steps(&args.choice.recover)?;
    let chosen = training::chosen(&args.settings, training::FINETUNE, global.seed())?;
    let model = model::read(&args.model)?;
    let shapes = model::input_shapes(&args.choice.shapes, &model)?;
    let units = model::units(&model, &shapes)?;
    let constraints = prune::search_constraints(&args.choice.limits, &args.choice.search, &units, &steps)?;
    let by = scoring::chosen(&args.choice, args.choice.search.by != By::Layers)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    let timer = Timer::new(global, args.choice.batch, &shapes);
    let clock = Clock::open(timer, &model, &units.model, &args.choice.search.profile)?;
    if clock.is_foreign() {
        let text = "a sweep is measured on this machine; the profile is of another one or of another engine";
        return Err(CannotBeDone(text.to_owned()).into());
    }
    let data = data::open(&args.data, &args.model, &model, true, global)?;
    let start = start_record(args, &model, units.costs.total(), (&by.id(), clock.conditions()), global)?;
    let mut sweep = found(folder, start, args.restart)?;
    keep(folder, &sweep)?;
    let gather = Gather { model: &model, units: &units, data: Some(&data), options: &args.choice.options, global };
    let limits = || prune::filter_limits(&args.choice.limits, &args.choice.filter, gather);
    let scores = match args.choice.search.by {
        By::Layers => Some(scores(args, gather, &by).map_err(interrupted)?),
        By::Filters | By::Both => None,
    };
    let ground =
        Ground::new(&args.choice.search, gather, &by, scores, &constraints, limits, &shapes).map_err(interrupted)?;
    if sweep.baseline.accuracy.is_none() {
        sweep.baseline.accuracy = Some(budget::held_out(&model, &data, global).map_err(interrupted)?);
        keep(folder, &sweep)?;
    }
    let mut way = Way { args, model: &model, units: &units, data: &data, steps: &steps, chosen, clock, ground, global };
    let mut reductions = args.latency_reductions.clone();
    reductions.sort_by(f64::total_cmp);
    reductions.dedup();
    let asked = |percent| Budgets { latency: Some(LatencyBudget::Reduction(percent)), ..Budgets::default() };
    for &percent in &reductions {
        let budgets = asked(percent);
        let name = budgets.to_string();
        let done = |point: &SweepPoint| point.budget == name && is_whole(&folder.join(&point.file), &point.digest);
        if sweep.points.iter().any(done) {
            // A run that was killed just before this left the checkpoint.
            way.run(&folder.join(file_of(percent))).forget();
            continue;
        }
        progress::note(global, &format!("{name}:"));
        // What could not be reached before may have been the machine's fault.
        sweep.failures.retain(|old| old.budget != name);
        sweep.points.retain(|old| old.budget != name);
        match way.point(percent, &budgets).map_err(interrupted)? {
            Ok(point) => {
                sweep.points.push(point);
                sweep.points.sort_by(|a, b| reduction_of(&a.budget).total_cmp(&reduction_of(&b.budget)));
            }
            Err(reason) => {
                progress::note(global, &reason);
                sweep.failures.push(SweepFailure { budget: name, reason });
            }
        }
        keep(folder, &sweep)?;
        way.run(&folder.join(file_of(percent))).forget();
    }
    output::print(global, &sweep, |sweep| text(sweep, folder))?;
    let has_point = |percent: &f64| sweep.points.iter().any(|point| point.budget == asked(*percent).to_string());
    if !reductions.iter().any(has_point) {
        return Err(CannotBeDone("none of the latency reductions can be met".to_owned()).into());
    }
    Ok(())
}

fn file_of(percent: f64) -> String {
    format!("reduction-{percent}.onnx")
}

/// Whether `name` is that of a point's file with `ending` behind it.
fn is_of_a_point(name: &str, ending: &str) -> bool {
    let percent = name.strip_prefix("reduction-").and_then(|rest| rest.strip_suffix(ending)?.strip_suffix(".onnx"));
    percent.and_then(|percent| percent.parse().ok()).is_some_and(|percent| name == file_of(percent) + ending)
}

/// Whether the file is the model that was written.
fn is_whole(path: &Path, digest: &str) -> bool {
    Model::read(path).is_ok_and(|model| model.digest().to_string() == digest)
}

/// All that every point needs.
struct Way<'a> {
    args: &'a SweepArgs,
    model: &'a Model,
    units: &'a Units,
    data: &'a Data,
    steps: &'a [RecoverStep],
    /// How each point is fine-tuned, where that is asked for.
    chosen: Chosen,
    clock: Clock,
    ground: Ground<'a>,
    global: &'a Global,
}

impl Way<'_> {
    /// The model for one budget, written and measured; or why there is none.
    fn point(&mut self, percent: f64, budgets: &Budgets) -> Result<Result<SweepPoint, String>> {
        let (args, global) = (self.args, self.global);
        let found = match self.ground.search(budgets, Some(&mut self.clock), None) {
            Ok(found) => found,
            Err(error) => {
                let out_of_reach =
                    matches!(error.downcast_ref(), Some(SearchError::OutOfReach { .. } | SearchError::Nothing));
                return if out_of_reach { Ok(Err(error.to_string())) } else { Err(error) };
            }
        };
        let plan = found.trial.plan;
        let file = file_of(percent);
        let path = args.output.join(&file);
        let mut result =
            budget::cut(self.model, self.units, &plan, self.steps, &args.choice.recover, self.data, global)?;
        if args.finetune {
            result = self.run(&path).train_or_restart(&result)?.model;
        }
        result.write(&path)?;
        let accuracy = budget::held_out(&result, self.data, global)?;
        let latency = self.clock.confirm(self.model, &result).map_err(anyhow::Error::from_boxed)?;
        let cost = model::units(&result, self.ground.shapes)?.costs.total();
        Ok(Ok(SweepPoint {
            budget: budgets.to_string(),
            file,
            digest: result.digest().to_string(),
            layers: plan.removed.iter().map(|planned| planned.unit.clone()).collect(),
            channels_removed: plan.channel_count(),
            accuracy: Some(accuracy),
            latency,
            parameters: cost.parameters,
            macs: cost.macs,
        }))
    }

    fn run(&self, path: &Path) -> Run<'_> {
        let mut keeping = self.args.keeping.clone();
        // Runs in one folder would count as one.
        keeping.tensorboard = keeping.tensorboard.zip(path.file_stem()).map(|(folder, name)| folder.join(name));
        Run::new(self.data, self.chosen.clone(), path, &keeping, self.global)
    }
}

/// The number in `latency reduction 40 %`.
fn reduction_of(budget: &str) -> f64 {
    budget.split(' ').find_map(|word| word.parse().ok()).unwrap_or(f64::INFINITY)
}

/// Scores from a file, or of an earlier run of the same sweep, or made now and kept.
fn scores(args: &SweepArgs, gather: Gather<'_>, by: &layerprune::criteria::Scoring) -> Result<Scores> {
    if let Some(path) = &args.choice.scores {
        return read_json(path, "scores", SCORES_SCHEMA);
    }
    let path = args.output.join(SCORES);
    if path.exists() {
        let found: Scores = read_json(&path, "scores", SCORES_SCHEMA)?;
        if found.model == gather.units.model && found.criterion == by.id() {
            return Ok(found);
        }
    }
    let scores = gather.score(std::slice::from_ref(by))?.remove(0);
    write_file(&path, &serde_json::to_string_pretty(&scores)?)?;
    Ok(scores)
}

fn start_record(
    args: &SweepArgs,
    model: &Model,
    whole: Cost,
    (by, conditions): (&str, &Conditions),
    global: &Global,
) -> Result<Sweep> {
    let scores = args.choice.scores.as_deref().map(fs::read_to_string).transpose().context("cannot read the scores")?;
    let settings = json!({
        "criterion": by,
        "scores": scores.map(|text| serde_json::from_str::<serde_json::Value>(&text)).transpose()?,
        "data": args.data.data,
        "images": args.data.images,
        "choice": args.choice,
        "conditions": conditions,
        "finetune": args.finetune.then(|| training::filled(&args.settings, training::FINETUNE)),
        "seed": global.seed(),
    });
    Ok(Sweep {
        tool: job::tool(),
        created: Some(humantime::format_rfc3339_seconds(SystemTime::now()).to_string()),
        machine: job::machine(),
        model: job::model_info(model, &args.model.display().to_string()),
        settings,
        evaluated_on: "held-out part of the training set".to_owned(),
        baseline: SweepBaseline { accuracy: None, parameters: whole.parameters, macs: whole.macs },
        ..Sweep::default()
    })
}

/// What an earlier run of the same sweep left in the folder, or `start`.
fn found(folder: &Path, start: Sweep, restart: bool) -> Result<Sweep> {
    let path = folder.join(RECORD);
    if restart || !path.exists() {
        // Scores and checkpoints are of the sweep beside them.
        for entry in fs::read_dir(folder)?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if is_of_a_point(&name, ".checkpoint") {
                training::remove_checkpoint(&entry.path())?;
            } else if name == SCORES || is_of_a_point(&name, ".epochs.jsonl") {
                let _ = fs::remove_file(entry.path());
            }
        }
        return Ok(start);
    }
    let context = || format!("cannot go on with the sweep `{}`", path.display());
    let earlier = Sweep::from_json(&fs::read_to_string(&path).with_context(context)?).with_context(context)?;
    let same = earlier.model.digest == start.model.digest && earlier.settings == start.settings;
    if !same {
        let text = "it was made of another model, with other settings, or timed by another engine or on another machine; give \
                    another folder, or `--restart`";
        return Err(CannotBeDone(text.to_owned())).with_context(context);
    }
    Ok(earlier)
}

/// Writes the record and its pages.
fn keep(folder: &Path, sweep: &Sweep) -> Result<()> {
    write_file(&folder.join(RECORD), &sweep.to_json())?;
    write_file(&folder.join("sweep.html"), &report::sweep_html(sweep))?;
    write_file(&folder.join("sweep.md"), &report::sweep_markdown(sweep))?;
    write_file(&folder.join("sweep.csv"), &report::sweep_csv(sweep))?;
    match report::sweep_svg(sweep) {
        Some(figure) => write_file(&folder.join("sweep.svg"), &figure),
        None => Ok(()),
    }
}

fn text(sweep: &Sweep, folder: &Path) -> String {
    let head = [
        ("asked for", output::Align::Left),
        ("latency reduction", output::Align::Left),
        ("median", output::Align::Right),
        ("top-1", output::Align::Right),
        ("MACs", output::Align::Right),
        ("frontier", output::Align::Left),
        ("file", output::Align::Left),
    ];
    let whole = sweep.baseline.accuracy.as_ref().map_or_else(String::new, |it| format!("{:.2} %", it.top1.percent));
    let macs = |macs: Option<u64>| macs.map(output::count).unwrap_or_default();
    let mut rows =
        vec![["whole model", "", "", &whole, &macs(sweep.baseline.macs), "", ""].map(str::to_owned).to_vec()];
    for (point, on) in sweep.points.iter().zip(sweep.frontier()) {
        let [low, high] = point.latency.latency_reduction_interval;
        rows.push(vec![
            point.budget.clone(),
            format!("{:.1} % ({low:.1} to {high:.1})", point.latency.latency_reduction_percent),
            format!("{:.3} ms", point.latency.candidate.median_ms),
            point.accuracy.as_ref().map_or_else(String::new, |it| format!("{:.2} %", it.top1.percent)),
            macs(point.macs),
            if on { "yes" } else { "no" }.to_owned(),
            folder.join(&point.file).display().to_string(),
        ]);
    }
    let mut text = output::table(&head, &rows);
    for failure in &sweep.failures {
        text.push_str(&format!("\n{}", failure.reason));
    }
    let page: PathBuf = folder.join("sweep.html");
    text.push_str(&format!("\n\n{}\nwritten: {}", report::sweep_headline(sweep), page.display()));
    text
}

/// An interruption loses no finished point.
fn interrupted(error: anyhow::Error) -> anyhow::Error {
    if interrupt::asked() {
        return CannotBeDone("interrupted; finished points are kept, and the same command goes on".to_owned()).into();
    }
    error
}
