//! The whole job of `run` and `demo`: the library's pipeline with engines behind its ports.

use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};
use layerprune::analysis::{Channels, Units};
use layerprune::criteria::Scoring;
use layerprune::evidence::Evidence;
use layerprune::methods::{Method, Then, removed};
use layerprune::onnx::Model;
use layerprune::pipeline::{self, Calibrate, Job, Keep, Measure, MeasureLatency, Parts, PortError, Recover, Target};
use layerprune::plan::LatencyBudget;
use layerprune::record::{
    Accuracy, DataInfo, EpochRow, InputInfo, LatencyComparison, LatencyProfile, Machine, ModelInfo, PlanSummary,
    Record, Tool,
};
use layerprune::report;
use layerprune_data::Dataset;

use crate::args::{Global, ProfileFileArgs, SettingArgs};
use crate::clock::Clock;
use crate::commands::{eval, prune};
use crate::data::Data;
use crate::methods::{self, Asked, Journal};
use crate::output::{Align, table, write_file};
use crate::recipe::Recipe;
use crate::scoring::Gather;
use crate::training::{self, Chosen, Run};
use crate::{CannotBeDone, data, interrupt, model, progress, scoring};

/// What a job has done so far; the results of an earlier job stay until this one is finished.
const PARTIAL: [&str; 2] = ["pruned.partial.onnx", "record.partial.json"];

/// What a job left behind.
pub(crate) struct Finished {
    pub(crate) record: Record,
    pub(crate) folder: PathBuf,
}

/// Does what `recipe` says with `model`, which came from `name`.
pub(crate) fn run(recipe: &Recipe, model: &Model, name: &str, global: &Global) -> Result<Finished> {
    let method = recipe.published()?;
    let chosen = training::chosen(&settings_behind(recipe, method), training::FINETUNE, global.seed())?;
    let folder = recipe.output.clone();
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    let data = data::open(&recipe.data_args(), &recipe.model, model, true, global)?;
    let test = data.test()?;
    let units = model::units(model, &Default::default())?;
    let constraints = model::constraints(&recipe.limit_args(), &units)?;
    let target = match recipe.target()? {
        Target::Named(names) => Target::Named(prune::expand(&units, &names, &constraints)?),
        target => target,
    };
    prune::expect_possible(&units, &target, &constraints)?;
    let criteria = scoring::parse(&recipe.score.criteria, &recipe.criterion_args())?;
    let job = Job { criteria, target, constraints, shapes: Default::default() };
    let mut record = start_record(recipe, model, name, &data, &test);
    let criteria = job.criteria.clone();
    let mut ports =
        Ports { recipe, whole: model, method, data: &data, test, criteria, chosen, folder, global, clock: None };
    let (result, journal) = match method {
        None => (pipeline::run(model, &job, &mut ports, &mut record).map_err(unwrap_interrupt)?, None),
        Some(method) => {
            by_method(method, &job, &mut ports, &mut record).map(|(model, journal)| (model, Some(journal)))?
        }
    };
    let folder = ports.folder.clone();
    result.write(folder.join("pruned.onnx"))?;
    write_file(&folder.join("record.json"), &record.to_json())?;
    write_file(&folder.join("recipe.toml"), &toml::to_string(recipe)?)?;
    write_file(&folder.join("report.html"), &report::html(&record))?;
    write_file(&folder.join("report.md"), &report::markdown(&record))?;
    ports.finetuning().forget();
    journal.into_iter().for_each(Journal::forget);
    for name in PARTIAL {
        let _ = std::fs::remove_file(folder.join(name));
    }
    Ok(Finished { record, folder })
}

/// How what is left is trained: a method may learn from the whole model.
fn settings_behind(recipe: &Recipe, method: Option<&Method>) -> SettingArgs {
    let settings = recipe.recover.settings.clone();
    match method.map(|method| method.then) {
        Some(Then::Distillation) => SettingArgs { teacher: Some(recipe.model.clone()), ..settings },
        _ => settings,
    }
}

/// The job with a published method in place of scoring and choosing; with what the method keeps until the result is written.
fn by_method(
    method: &'static Method,
    job: &Job,
    ports: &mut Ports<'_>,
    record: &mut Record,
) -> Result<(Model, Journal)> {
    let (recipe, model, global) = (ports.recipe, ports.whole, ports.global);
    let units = pipeline::begin(model, &job.constraints, &job.shapes, ports, record).map_err(unwrap_interrupt)?;
    let channels = Channels::find(model, &units.model, &units.shapes);
    let (budgets, options) = (recipe.budgets()?, recipe.criterion_args());
    let asked = Asked {
        method,
        settings: &recipe.method,
        criterion: recipe.score.criteria.first().map(String::as_str),
        options: &options,
        budgets,
        constraints: job.constraints.clone(),
        filters: methods::limits(&recipe.limit_args(), &channels, recipe.prune.floor, recipe.prune.round_to)?,
        shapes: &job.shapes,
        data: Some(ports.data),
        timer: recipe.latency.timer(recipe.prune.batch, global),
        global,
    };
    let (pruned, journal) = asked.run(model, &ports.folder.join("method"))?;
    let gone = removed(model, &pruned.model, &job.shapes)?;
    record.plan = Some(PlanSummary {
        criterion: method.name.to_owned(),
        target: Some(budgets.to_string()),
        met: Some(true),
        target_reduction_percent: match budgets.latency {
            Some(LatencyBudget::Reduction(percent)) => Some(percent),
            _ => None,
        },
        target_batch: pruned.latency.as_ref().map(|latency| latency.batch),
        filters_removed: Some(gone.filters()).filter(|&filters| filters > 0),
        removed: gone.layers,
        ..PlanSummary::default()
    });
    let cut = pruned.model;
    let result = pipeline::finish(model, cut, &budgets, &job.shapes, ports, record).map_err(unwrap_interrupt)?;
    Ok((result, journal))
}

/// The small table that ends a run, and where its files are.
pub(crate) fn text(finished: &Finished) -> String {
    let head = [("", Align::Left), ("baseline", Align::Right), ("pruned", Align::Right), ("change", Align::Left)];
    let rows: Vec<Vec<String>> = finished
        .record
        .summary_table()
        .into_iter()
        .map(|row| {
            let cell = |cell: Option<String>| cell.unwrap_or_default();
            vec![row.quantity, cell(row.baseline), cell(row.pruned), cell(row.change)]
        })
        .collect();
    let gone = finished.record.plan.as_ref().map(|plan| {
        let filters = plan.filters_removed.map(|filters| format!("{filters} filters"));
        plan.removed.iter().cloned().chain(filters).collect::<Vec<_>>().join(", ")
    });
    let removed = gone.unwrap_or_default();
    let files = ["pruned.onnx", "record.json", "report.html", "report.md", "recipe.toml"];
    format!(
        "{}\n\nremoved: {removed}\n{}\n\nin {}: {}",
        table(&head, &rows),
        report::headline(&finished.record),
        finished.folder.display(),
        files.join(", ")
    )
}

struct Ports<'a> {
    recipe: &'a Recipe,
    whole: &'a Model,
    /// What takes the place of scoring and choosing.
    method: Option<&'static Method>,
    data: &'a Data,
    test: Dataset,
    criteria: Vec<Scoring>,
    chosen: Chosen,
    folder: PathBuf,
    global: &'a Global,
    /// Made when something is to be timed for a budget.
    clock: Option<Clock>,
}

impl Ports<'_> {
    fn clock(&mut self, model: &Model) -> Result<&mut Clock> {
        if self.clock.is_none() {
            let timer = self.recipe.latency.timer(self.recipe.prune.batch, self.global);
            self.clock = Some(Clock::open(timer, model, &model.digest(), &ProfileFileArgs::default())?);
        }
        Ok(self.clock.as_mut().expect("it was just made"))
    }

    fn finetuning(&self) -> Run<'_> {
        let (output, keeping) = (self.folder.join("pruned.onnx"), self.recipe.recover.keeping_args());
        Run::new(self.data, self.chosen.clone(), &output, &keeping, self.global)
    }
}

impl Calibrate for Ports<'_> {
    fn evidence(&mut self, model: &Model, units: &Units) -> Result<Evidence, PortError> {
        let options = self.recipe.criterion_args();
        let (data, options, global) = (Some(self.data), &options, self.global);
        Ok(Gather { model, units, data, options, global }.for_layers(&self.criteria)?)
    }
}

impl MeasureLatency for Ports<'_> {
    fn compare(&mut self, baseline: &Model, candidate: &Model) -> Result<LatencyComparison, PortError> {
        let found = self.clock(baseline)?.compare(baseline, candidate)?;
        let reduction = found.latency_reduction_percent;
        progress::note(self.global, &format!("a cut was timed: {reduction:.1} % lower latency"));
        Ok(found)
    }

    fn confirm(&mut self, baseline: &Model, candidate: &Model) -> Result<LatencyComparison, PortError> {
        self.clock(baseline)?.confirm(baseline, candidate)
    }

    fn profile(&mut self, model: &Model, units: &Units, parts: Parts<'_>) -> Result<LatencyProfile, PortError> {
        self.clock(model)?.profile(model, units, parts)
    }
}

impl Recover for Ports<'_> {
    fn recalibrate(&mut self, model: &Model) -> Result<Option<Model>, PortError> {
        match self.recipe.recover.recalibrate {
            0 => Ok(None),
            samples => Ok(training::recalibrate(model, self.data, samples, self.global)?),
        }
    }

    fn finetune(&mut self, model: &Model) -> Result<Option<(Model, Vec<EpochRow>)>, PortError> {
        if self.chosen.settings.epochs == 0 {
            return Ok(None);
        }
        let mut run = self.finetuning();
        if self.method.is_some_and(|method| method.then == Then::Scratch) {
            run = run.at_equal_compute((model, &self.folder), (self.whole, &self.recipe.model))?;
        }
        let trained = run.train_or_restart(model)?;
        Ok(Some((trained.model, trained.rows)))
    }
}

impl Measure for Ports<'_> {
    fn accuracy(&mut self, model: &Model) -> Result<Accuracy, PortError> {
        Ok(eval::accuracy(model, self.data, &self.test, "test images", self.global)?)
    }

    fn latency(&mut self, baseline: &Model, result: &Model) -> Result<Vec<LatencyComparison>, PortError> {
        Ok(self.recipe.latency.measure(baseline, result, self.global)?)
    }
}

impl Keep for Ports<'_> {
    fn keep(&mut self, record: &Record, model: Option<&Model>) -> Result<(), PortError> {
        if let Some(model) = model {
            model.write(self.folder.join(PARTIAL[0]))?;
        }
        write_file(&self.folder.join(PARTIAL[1]), &record.to_json())?;
        if interrupt::asked() { Err(interrupted().into()) } else { Ok(()) }
    }
}

fn start_record(recipe: &Recipe, model: &Model, name: &str, data: &Data, test: &Dataset) -> Record {
    Record {
        tool: tool(),
        created: Some(humantime::format_rfc3339_seconds(SystemTime::now()).to_string()),
        machine: machine(),
        model: model_info(model, name),
        data: Some(DataInfo {
            source: data.source.clone(),
            preprocessing: Some(data.preprocessing()),
            train: Some(data.train.len()),
            held_out: Some(data.held_out.len()),
            test: Some(test.len()),
            evaluated_on: Some("test set".to_owned()),
            classes: test.classes().to_vec(),
            seed: Some(recipe.seed),
        }),
        settings: serde_json::to_value(recipe).unwrap_or_default(),
        ..Record::default()
    }
}

/// This program, as a record names it.
pub(crate) fn tool() -> Tool {
    Tool { name: "layerprune".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// A model that came from `name`, as a record names it.
pub(crate) fn model_info(model: &Model, name: &str) -> ModelInfo {
    let graph = &model.graph;
    let shapes = layerprune::shapes::infer(graph, &Default::default()).ok();
    let input = |port: &layerprune::graph::Port| InputInfo {
        name: graph.value_name(port.value).to_owned(),
        shape: shapes.as_ref().map(|shapes| shapes.fact(port.value).shape_text()).unwrap_or_default(),
    };
    ModelInfo {
        path: name.to_owned(),
        digest: Some(model.digest().to_string()),
        opset: Some(graph.opset()),
        producer: model.metadata().producer_name.clone().filter(|name| !name.is_empty()),
        inputs: graph.fed_inputs().map(input).collect(),
    }
}

/// The processor's name, or that of the board.
fn cpu() -> Option<String> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").ok();
    let model = cpuinfo.as_deref().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.to_owned())
    });
    let board = || std::fs::read_to_string("/proc/device-tree/model").ok();
    let sysctl = || {
        let done = Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output().ok()?;
        String::from_utf8(done.stdout).ok().filter(|_| cfg!(target_os = "macos"))
    };
    let named = model.or_else(board).or_else(sysctl).or_else(|| std::env::var("PROCESSOR_IDENTIFIER").ok());
    named.map(|name| name.trim_matches(|it: char| it.is_whitespace() || it == '\0').to_owned())
}

/// This computer.
pub(crate) fn machine() -> Machine {
    let os = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    Machine { cpu: cpu(), os: Some(os), cores: std::thread::available_parallelism().ok().map(usize::from) }
}

fn interrupted() -> CannotBeDone {
    CannotBeDone("interrupted; what was done so far is in the folder, and fine-tuning goes on where it was".to_owned())
}

/// An interruption is told as such, not as a failure of the stage it met.
fn unwrap_interrupt(error: pipeline::JobError) -> anyhow::Error {
    if interrupt::asked() { interrupted().into() } else { error.into() }
}
