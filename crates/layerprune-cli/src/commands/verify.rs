use anyhow::Result;
use layerprune_infer::{OutputDifference, Session, bind_shapes, compare, random_inputs};
use serde::Serialize;

use crate::args::{Global, VerifyArgs};
use crate::output::{self, Align, table};
use crate::{CannotBeDone, data, interrupt, model};

#[derive(Serialize)]
struct Verdict {
    same: bool,
    tolerance: f64,
    outputs: Vec<OutputDifference>,
}

/// Runs both models on random inputs and compares what they give.
pub(crate) fn run(args: &VerifyArgs, global: &Global) -> Result<()> {
    let (a, b) = (model::read(&args.a)?, model::read(&args.b)?);
    let shapes = model::input_shapes(&args.shapes, &a)?;
    let options = data::session_options(global);
    let sessions = [Session::load(&a, &options)?, Session::load(&b, &options)?];
    let bound = bind_shapes(sessions[0].inputs(), &shapes, None)?;
    let mut worst: Vec<OutputDifference> = Vec::new();
    for sample in 0..args.samples {
        if interrupt::asked() {
            return Err(CannotBeDone("interrupted".to_owned()).into());
        }
        let inputs = random_inputs(sessions[0].inputs(), &bound, global.seed().wrapping_add(sample));
        let found = compare(&sessions[0], &sessions[1], &inputs)?;
        if worst.is_empty() {
            worst = found;
            continue;
        }
        for (worst, found) in worst.iter_mut().zip(found) {
            if found.relative > worst.relative {
                *worst = found;
            }
        }
    }
    let same = worst.iter().all(|output| output.relative <= args.tolerance);
    let verdict = Verdict { same, tolerance: args.tolerance, outputs: worst };
    output::print(global, &verdict, text)?;
    if same { Ok(()) } else { Err(CannotBeDone("the models do not give the same outputs".to_owned()).into()) }
}

fn text(verdict: &Verdict) -> String {
    let head =
        [("output", Align::Left), ("largest difference", Align::Right), ("relative", Align::Right), ("", Align::Left)];
    let rows: Vec<Vec<String>> = verdict
        .outputs
        .iter()
        .map(|output| {
            let word = if output.relative <= verdict.tolerance { "same" } else { "differs" };
            vec![
                output.output.clone(),
                format!("{:.2e}", output.largest_difference),
                format!("{:.2e}", output.relative),
                word.to_owned(),
            ]
        })
        .collect();
    format!("{}\n(tolerance {:.0e}, relative to the largest value)", table(&head, &rows), verdict.tolerance)
}
