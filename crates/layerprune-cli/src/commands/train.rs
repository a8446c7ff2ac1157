use anyhow::Result;

use crate::args::{Global, TrainArgs};
use crate::output::{expect_writable, print};
use crate::training::{self, Run};
use crate::{data, model};

/// What training starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Fresh weights, by the seed.
    Initial,
    /// The weights in the file.
    Given,
}

/// Trains a model and writes it; goes on where an interrupted run left off.
pub(crate) fn run(args: &TrainArgs, global: &Global, start: Start) -> Result<()> {
    expect_writable(&args.output)?;
    let mut model = model::read(&args.model)?;
    let (rate, stage) = match start {
        Start::Initial => (0.1, "training"),
        Start::Given => (0.01, "fine-tuning"),
    };
    let data = data::open(&args.data, &args.model, &model, start == Start::Given, global)?;
    data.expect_clear_normalisation()?;
    if start == Start::Initial {
        model = layerprune_train::initialize(&model, global.seed())?;
    }
    let run = Run {
        data: &data,
        settings: training::settings(&args.settings, rate, global.seed())?,
        augment: training::augment(&args.settings),
        stage,
        checkpoint: training::checkpoint_beside(&args.output),
        global,
    };
    if args.restart {
        run.forget();
    }
    let (trained, rows) = run.train(&model)?;
    trained.write(&args.output)?;
    run.forget();
    print(global, &rows, |rows| {
        let last = rows.last().and_then(|row| row.held_out_top1);
        let held_out = last.map(|top1| format!(", held-out top-1 {top1:.2} %")).unwrap_or_default();
        format!(
            "{} epoch{}{held_out}; written: {}",
            rows.len(),
            if rows.len() == 1 { "" } else { "s" },
            args.output.display()
        )
    })
}
