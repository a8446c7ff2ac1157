use std::ffi::OsString;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use layerprune::cost::Costs;
use layerprune::record::{Handcrafted, STUDY_SCHEMA, Study, StudyRow, SweepBaseline};
use layerprune::report;

use crate::args::{Format, Global, StudyArgs};
use crate::output::{self, write_file};
use crate::study::{EXAMPLE, Goal, Job, Slurm, StudyRecipe, Submitted, Whole, Workshop};
use crate::{CannotBeDone, Usage, interrupt, job, model, progress};

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
    let (digest, engine) = (model.digest().to_string(), global.engine.identity());
    let keyed = |job: Job| Ok((recipe.key(&job, &digest, engine)?, job));
    let jobs: Vec<(String, Job)> = recipe.jobs()?.into_iter().map(keyed).collect::<Result<_>>()?;
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
        return if workshop.is_done(job, key) { Ok(()) } else { workshop.attempt(job, key) };
    }
    let left: Vec<&(String, Job)> = jobs.iter().filter(|(key, job)| !workshop.is_done(job, key)).collect();
    progress::note(global, &format!("{} jobs, {} of them done", jobs.len(), jobs.len() - left.len()));
    if args.slurm {
        return hand_over(&workshop, args, &left);
    }
    match args.jobs {
        _ if args.collect => {}
        None | Some(1) => one_by_one(&workshop, &left)?,
        Some(at_once) => side_by_side(&workshop, &left, at_once)?,
    }
    let study = collected(&workshop, &jobs)?;
    let at = |name: &str| recipe.output.join(name);
    write_file(&at("study.json"), &study.to_json())?;
    write_file(&at("study.html"), &report::study_html(&study))?;
    write_file(&at("study.md"), &report::study_markdown(&study))?;
    write_file(&at("study.csv"), &report::study_csv(&study))?;
    write_file(&at("recipe.toml"), &toml::to_string(&recipe)?)?;
    match global.format {
        Format::Json => output::print_text(&study.to_json()),
        Format::Text => {
            let page = at("study.html");
            output::print_text(&format!("{}\nwritten: {}", report::study_markdown(&study), page.display()))
        }
    }
}

/// `KEY  arm  budget  seed`, for whoever hands them out.
fn list(jobs: &[(String, Job)]) -> String {
    let line = |(key, job): &(String, Job)| format!("{key}\t{}\n", job.columns().join("\t").trim_end());
    jobs.iter().map(line).collect()
}

fn one_by_one(workshop: &Workshop<'_>, left: &[&(String, Job)]) -> Result<()> {
    for (place, (key, job)) in left.iter().enumerate() {
        progress::note(workshop.global, &format!("job {} of {}: {job}", place + 1, left.len()));
        if let Err(error) = workshop.attempt(job, key) {
            if interrupt::asked() {
                return Err(interrupted());
            }
            progress::note(workshop.global, &format!("{job}: {error:#}"));
        }
    }
    Ok(())
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
            command.args(own_arguments()).args(["--job", key]);
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

/// Submits all jobs that are left, and says how to go on.
fn hand_over(workshop: &Workshop<'_>, args: &StudyArgs, left: &[&(String, Job)]) -> Result<()> {
    let keys: Vec<&str> = left.iter().map(|(key, _)| key.as_str()).collect();
    let folder = workshop.recipe.output.join("slurm");
    let slurm = Slurm { arguments: own_arguments(), folder, at_once: args.jobs, options: &args.sbatch };
    let submitted = slurm.submit(&keys)?;
    output::print(workshop.global, &serde_json::json!({ "submitted": submitted }), |_| {
        let line = |it: &Submitted| format!("{} jobs are Slurm's {}\n", it.jobs, it.array);
        let lines: String = submitted.iter().map(line).collect();
        let next = match submitted.first() {
            Some(first) => format!(
                "`squeue -j {}` shows them; the same command with `--collect` in place of `--slurm` writes up what is done",
                first.array
            ),
            None => "all jobs are done; `--collect` in place of `--slurm` writes them up".to_owned(),
        };
        format!("{lines}{next}")
    })
}

/// What this program was called with, without what says how jobs are handed out.
fn own_arguments() -> Vec<OsString> {
    without_handing_out(std::env::args_os().skip(1))
}

fn without_handing_out(mut given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut own = Vec::new();
    while let Some(argument) = given.next() {
        match argument.to_string_lossy().as_ref() {
            "--jobs" | "--sbatch" => drop(given.next()),
            "--slurm" => {}
            text if text.starts_with("--jobs=") || text.starts_with("--sbatch=") => {}
            _ => own.push(argument),
        }
    }
    own
}

/// All that is done so far, in the order of the recipe.
fn collected(workshop: &Workshop<'_>, jobs: &[(String, Job)]) -> Result<Study> {
    let (mut whole, mut rows, mut random, mut handcrafted, mut failures) = (None, vec![], vec![], vec![], vec![]);
    for (key, job) in jobs {
        failures.extend(workshop.failure(key));
        match job {
            Job::Whole => whole = workshop.result::<Whole>(key),
            Job::Cut(cut) if matches!(cut.goal, Goal::Lot { .. }) => random.extend(workshop.result::<StudyRow>(key)),
            Job::Cut(_) => rows.extend(workshop.result::<StudyRow>(key)),
            Job::Handcrafted(_) => handcrafted.extend(workshop.result::<Handcrafted>(key)),
        }
    }
    if rows.is_empty() && random.is_empty() {
        let first = failures.first().map_or_else(String::new, |failure| format!(": {}", failure.reason));
        return Err(CannotBeDone(format!("no job of the study came to a model{first}")).into());
    }
    let Workshop { recipe, model, .. } = workshop;
    let cost = Costs::total_of(&model.graph, &Default::default())?;
    let counted = || SweepBaseline { accuracy: None, parameters: cost.parameters, macs: cost.macs };
    let (baseline, layers, scores, savings) = match whole {
        Some(Whole { baseline, layers, scores, savings }) => (baseline, layers, scores, savings),
        None => (counted(), vec![], vec![], None),
    };
    Ok(Study {
        schema: STUDY_SCHEMA,
        tool: job::tool(),
        machine: job::machine(),
        model: job::model_info(model, &recipe.model.display().to_string()),
        settings: serde_json::to_value(recipe)?,
        commands: vec![format!("layerprune study {}", recipe.output.join("recipe.toml").display())],
        baseline,
        layers,
        scores,
        savings,
        rows,
        random,
        handcrafted,
        failures,
    })
}

fn interrupted() -> anyhow::Error {
    CannotBeDone("interrupted; finished jobs are kept, and the same command goes on".to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_called_as_the_study_was_without_how_jobs_are_handed_out() {
        let given =
            "study a.toml --jobs 3 --sbatch --exclusive --engine rten --sbatch=--time=5 --slurm --jobs=2 --seed 1";
        let own = without_handing_out(given.split(' ').map(OsString::from));
        assert_eq!(own.join(" ".as_ref()), "study a.toml --engine rten --seed 1");
    }
}
