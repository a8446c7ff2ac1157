//! The `layerprune` command.

mod args;
mod budget;
mod clock;
mod commands;
mod compare;
mod data;
mod demo;
mod engine;
mod features;
mod hint;
mod interrupt;
mod job;
mod latency;
mod methods;
mod model;
mod output;
mod progress;
mod recipe;
mod recovery;
mod scoring;
mod study;
mod training;
mod written;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

/// What ends a command that did not fail but whose answer is no.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CannotBeDone(pub(crate) String);

/// Wrong usage that only shows once the arguments are looked at together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

fn main() -> ExitCode {
    let cli = Cli::parse();
    interrupt::install();
    let global = &cli.global;
    if let Some(threads) = global.threads {
        // Fails only where a pool exists already, which nothing before this line makes.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads)).build_global();
    }
    if let Some(path) = &global.ort_lib {
        layerprune_infer::use_onnxruntime_library(path);
    }
    let done = match &cli.command {
        Command::Inspect(args) => commands::inspect::run(args, global),
        Command::Score(args) => commands::score::run(args, global),
        Command::Prune(args) => commands::prune::run(args, global),
        Command::Sweep(args) => commands::sweep::run(args, global),
        Command::Train(args) => commands::train::train(args, global),
        Command::Finetune(args) => commands::train::finetune(args, global),
        Command::Recalibrate(args) => commands::recalibrate::run(args, global),
        Command::Eval(args) => commands::eval::run(args, global),
        Command::Latency(args) => commands::latency::run(args, global),
        Command::Profile(args) => commands::profile::run(args, global),
        Command::Verify(args) => commands::verify::run(args, global),
        Command::Selfcheck(args) => commands::selfcheck::run(args, global),
        Command::Report(args) => commands::report::run(args, global),
        Command::Study(args) => commands::study::run(args, global),
        Command::Run(args) => commands::run::run(args, global),
        Command::Demo(args) => commands::demo::run(args, global),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            hint::print(&error);
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}
