use std::ffi::OsString;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use layerprune::cost::Costs;
use layerprune::record::{STUDY_SCHEMA, Study, StudyFailure, StudyRow, SweepBaseline};
use layerprune::report;
use layerprune_data::Dataset;

use crate::args::{Format, Global, StudyArgs};
use crate::commands::eval;
use crate::output::{self, write_file};
use crate::study::{EXAMPLE, Job, StudyRecipe, Workshop};
use crate::{CannotBeDone, Usage, data, interrupt, job, model, progress};

/// How long to wait before a look at which jobs have ended.
const LOOK: Duration = Duration::from_millis(200);

/// Does all jobs of a recipe that are not done yet, or what of it is asked for, and writes what they came to.
pub(crate) fn run(args: &StudyArgs, global: &Global) -> Result<()> {
    let Some(path) = args.recipe.as_ref().filter(|_| !args.example) else {
        return output::print_text(EXAMPLE);
    };
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the recipe `{}`", path.display()))?;
    let recipe = StudyRecipe::parse(&text)?;
    let model = model::read(&recipe.model)?;
    let (digest, engine) = (model.digest().to_string(), global.engine.to_string());
    let jobs: Vec<(String, Job)> =
        recipe.jobs()?.into_iter().map(|job| (recipe.key(&job, &digest, &engine), job)).collect();
    if args.list_jobs {
        return output::print_text(&list(&jobs));
    }
    let folder = recipe.output.join("jobs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    let workshop = Workshop { recipe: &recipe, model: &model, folder, global };
    if let Some(key) = &args.job {
        let (_, job) = jobs.iter().find(|(known, _)| known == key).ok_or_else(|| {
            Usage(format!(
                "the recipe has no job `{key}`; `layerprune study {} --list-jobs` lists them",
                path.display()
            ))
        })?;
        if row(&workshop, key).is_none() {
            attempt(&workshop, job, key)?;
        }
        return Ok(());
    }
    if !args.collect {
        let left: Vec<&(String, Job)> = jobs.iter().filter(|(key, _)| row(&workshop, key).is_none()).collect();
        let done = jobs.len() - left.len();
        progress::note(global, &format!("{} jobs, {done} of them done", jobs.len()));
        match args.jobs {
            1 => one_by_one(&workshop, &left)?,
            at_once => side_by_side(&workshop, &left, at_once)?,
        }
    }
    let study = collected(&workshop, &jobs)?;
    let at = |name: &str| recipe.output.join(name);
    write_file(&at("study.json"), &study.to_json())?;
    write_file(&at("study.md"), &report::study_markdown(&study))?;
    write_file(&at("study.csv"), &report::study_csv(&study))?;
    write_file(&at("recipe.toml"), &toml::to_string(&recipe)?)?;
    match global.format {
        Format::Json => output::print_text(&study.to_json()),
        Format::Text => {
            let page = at("study.md");
            output::print_text(&format!("{}\nwritten: {}", report::study_markdown(&study), page.display()))
        }
    }
}

/// `KEY  arm  budget  seed`, for whoever hands them out.
fn list(jobs: &[(String, Job)]) -> String {
    let line = |(key, job): &(String, Job)| format!("{key}\t{}\t{}\tseed {}\n", job.arm.name, job.budgets, job.seed);
    jobs.iter().map(line).collect()
}

/// What a job came to, where it is done.
fn row(workshop: &Workshop<'_>, key: &str) -> Option<StudyRow> {
    serde_json::from_str(&fs::read_to_string(workshop.row_file(key)).ok()?).ok()
}

fn one_by_one(workshop: &Workshop<'_>, left: &[&(String, Job)]) -> Result<()> {
    for (place, (key, job)) in left.iter().enumerate() {
        let (of, name) = (left.len(), &job.arm.name);
        progress::note(
            workshop.global,
            &format!("job {} of {of}: {name}, {}, seed {}", place + 1, job.budgets, job.seed),
        );
        if let Err(error) = attempt(workshop, job, key) {
            if interrupt::asked() {
                return Err(interrupted());
            }
            progress::note(workshop.global, &format!("{name}: {error:#}"));
        }
    }
    Ok(())
}

/// Does a job; why it came to nothing is written down, except that it was interrupted.
fn attempt(workshop: &Workshop<'_>, job: &Job, key: &str) -> Result<()> {
    let Err(error) = workshop.make(job, key) else { return Ok(()) };
    if !interrupt::asked() {
        let (arm, budget, seed) = (job.arm.name.clone(), job.budgets.to_string(), job.seed);
        let failure = StudyFailure { arm, budget, seed, reason: format!("{error:#}") };
        write_file(&workshop.failure_file(key), &serde_json::to_string_pretty(&failure)?)?;
    }
    Err(error)
}

/// Each job as a process of its own, some at once.
fn side_by_side(workshop: &Workshop<'_>, left: &[&(String, Job)], at_once: usize) -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let bar = progress::bar(workshop.global, "jobs", left.len() as u64);
    let mut waiting = left.iter();
    let mut running: Vec<Child> = Vec::new();
    loop {
        while running.len() < at_once && !interrupt::asked() {
            let Some((key, _)) = waiting.next() else { break };
            let mut command = Command::new(&program);
            command.args(own_arguments()).args(["--job", key, "--quiet"]);
            // What it says of a failure stands in its file.
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            running.push(child.context("cannot start this program for a job")?);
        }
        if running.is_empty() {
            break;
        }
        std::thread::sleep(LOOK);
        let before = running.len();
        running.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        bar.inc((before - running.len()) as u64);
    }
    bar.finish_and_clear();
    if interrupt::asked() { Err(interrupted()) } else { Ok(()) }
}

/// What this program was called with, without how many jobs are done at once.
fn own_arguments() -> Vec<OsString> {
    let mut own = Vec::new();
    let mut given = std::env::args_os().skip(1);
    while let Some(argument) = given.next() {
        if argument == "--jobs" {
            given.next();
        } else if !argument.to_string_lossy().starts_with("--jobs=") {
            own.push(argument);
        }
    }
    own
}

/// All that is done so far, in the order of the recipe.
fn collected(workshop: &Workshop<'_>, jobs: &[(String, Job)]) -> Result<Study> {
    let failure = |key: &str| {
        let text = fs::read_to_string(workshop.failure_file(key)).ok()?;
        serde_json::from_str::<StudyFailure>(&text).ok()
    };
    let rows: Vec<StudyRow> = jobs.iter().filter_map(|(key, _)| row(workshop, key)).collect();
    let failures = jobs.iter().filter(|(key, _)| row(workshop, key).is_none()).filter_map(|(key, _)| failure(key));
    if rows.is_empty() {
        let first = failures.into_iter().next().map_or_else(String::new, |failure| format!(": {}", failure.reason));
        return Err(CannotBeDone(format!("no job of the study came to a model{first}")).into());
    }
    let recipe = workshop.recipe;
    Ok(Study {
        schema: STUDY_SCHEMA,
        tool: job::tool(),
        machine: job::machine(),
        model: job::model_info(workshop.model, &recipe.model.display().to_string()),
        settings: serde_json::to_value(recipe)?,
        commands: Vec::new(),
        baseline: baseline(workshop)?,
        layers: Vec::new(),
        scores: Vec::new(),
        savings: None,
        random: Vec::new(),
        handcrafted: Vec::new(),
        failures: failures.collect(),
        rows,
    })
}

/// The whole model on the test set, measured once.
fn baseline(workshop: &Workshop<'_>) -> Result<SweepBaseline> {
    let Workshop { recipe, model, global, .. } = workshop;
    let path = workshop.folder.join(format!("whole-{}.json", model.digest()));
    if let Some(known) = fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str(&text).ok()) {
        return Ok(known);
    }
    let data = data::open(&recipe.data.args(), &recipe.model, model, true, global)?;
    let test: Dataset = data.test()?;
    let cost = Costs::total_of(&model.graph, &Default::default())?;
    let accuracy = Some(eval::accuracy(model, &data, &test, "test images", global)?);
    let baseline = SweepBaseline { accuracy, parameters: cost.parameters, macs: cost.macs };
    write_file(&path, &serde_json::to_string_pretty(&baseline)?)?;
    Ok(baseline)
}

fn interrupted() -> anyhow::Error {
    CannotBeDone("interrupted; finished jobs are kept, and the same command goes on".to_owned()).into()
}
