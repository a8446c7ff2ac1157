use std::time::Duration;

use anyhow::Result;
use layerprune::onnx::Model;
use layerprune::record::{LatencyComparison, LatencyStats, Verdict, Warning};
use layerprune_infer::InferError;
use serde::Serialize;

use crate::args::{Global, LatencyArgs};
use crate::latency::Timer;
use crate::output::{self, Align, table};
use crate::{CannotBeDone, Usage, model};

/// One batch size and thread count: every model, and each other one against the first.
#[derive(Serialize)]
struct Block {
    batch: usize,
    threads: usize,
    engine: String,
    models: Vec<Timed>,
    warnings: Vec<Warning>,
}

#[derive(Serialize)]
struct Timed {
    model: String,
    stats: LatencyStats,
    throughput_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    against_first: Option<LatencyComparison>,
}

/// Times models over the matrix of batch sizes and thread counts.
pub(crate) fn run(args: &LatencyArgs, global: &Global) -> Result<()> {
    if !(0.0..=3600.0).contains(&args.warm_up) {
        return Err(Usage(format!("`--warm-up {}` is no number of seconds up to 3600", args.warm_up)).into());
    }
    let paths: Vec<_> = [&args.model].into_iter().chain(&args.others).collect();
    let models: Vec<Model> = paths.iter().map(|path| model::read(path)).collect::<Result<_>>()?;
    let shapes = model::input_shapes(&args.shapes, &models[0])?;
    let mut threads = args.thread_counts.clone();
    if threads.is_empty() {
        threads.push(global.threads.map_or(1, usize::from));
    }
    let mut blocks = Vec::new();
    for &batch in &args.batch {
        for &threads in &threads {
            let mut timer = Timer::new(global, batch, &shapes);
            timer.threads = threads;
            if let Some(samples) = args.samples {
                timer.options.samples = samples;
                timer.options.min_time = Duration::ZERO;
            }
            timer.options.warm_up = Duration::from_secs_f64(args.warm_up);
            let measured = match timer.measure(&models.iter().collect::<Vec<_>>()) {
                Err(InferError::Interrupted) => return Err(CannotBeDone("interrupted".to_owned()).into()),
                measured => measured?,
            };
            let mut timed = Vec::new();
            for (place, path) in paths.iter().enumerate() {
                let stats = measured.stats(place)?;
                timed.push(Timed {
                    model: path.display().to_string(),
                    throughput_per_second: 1e3 * batch as f64 / stats.median_ms,
                    stats,
                    against_first: if place > 0 { Some(measured.comparison(place)?) } else { None },
                });
            }
            let engine = format!("{} {}", measured.circumstances.engine.name, measured.circumstances.engine.version);
            blocks.push(Block { batch, threads, engine, models: timed, warnings: measured.warnings() });
        }
    }
    output::print(global, &blocks, |blocks| blocks.iter().map(text).collect::<Vec<_>>().join("\n\n"))
}

fn text(block: &Block) -> String {
    let head = [
        ("model", Align::Left),
        ("median", Align::Right),
        ("p90", Align::Right),
        ("p99", Align::Right),
        ("spread (MAD)", Align::Right),
        ("samples", Align::Right),
        ("per second", Align::Right),
        ("latency reduction", Align::Left),
        ("speed-up", Align::Left),
    ];
    let rows: Vec<Vec<String>> = block
        .models
        .iter()
        .map(|timed| {
            let ms = |ms: f64| format!("{ms:.3} ms");
            let stats = &timed.stats;
            let mut cells = vec![timed.model.clone(), ms(stats.median_ms), ms(stats.p90_ms), ms(stats.p99_ms)];
            cells.extend([ms(stats.mad_ms), stats.samples.to_string(), format!("{:.0}", timed.throughput_per_second)]);
            match &timed.against_first {
                None => cells.extend([String::new(), String::new()]),
                Some(against) => cells.extend([reduction(against), speedup(against)]),
            }
            cells
        })
        .collect();
    let mut text =
        format!("{}, batch {}, {} thread(s)\n{}", block.engine, block.batch, block.threads, table(&head, &rows));
    let compared = block.models.iter().filter_map(|timed| timed.against_first.as_ref());
    let mut warnings: Vec<String> = compared.flat_map(|against| &against.warnings).map(ToString::to_string).collect();
    warnings.extend(block.warnings.iter().map(ToString::to_string));
    warnings.sort_unstable();
    warnings.dedup();
    for warning in warnings {
        text.push_str(&format!("\nnote: {warning}"));
    }
    text
}

fn reduction(against: &LatencyComparison) -> String {
    let [low, high] = against.latency_reduction_interval;
    let range = format!("{:.1} % ({low:.1} to {high:.1})", against.latency_reduction_percent);
    match against.verdict {
        Verdict::Faster => range,
        Verdict::Slower => format!("slower: {range}"),
        Verdict::NotFaster => format!("not faster: {range}"),
    }
}

fn speedup(against: &LatencyComparison) -> String {
    let [low, high] = against.speedup_interval;
    format!("{:.2}x ({low:.2} to {high:.2})", against.speedup)
}

/// A comparison in one line.
pub(crate) fn line(latency: &LatencyComparison) -> String {
    format!(
        "latency at batch {}, {} thread(s), {}: {:.3} → {:.3} ms, {}\n",
        latency.batch,
        latency.threads,
        latency.engine.name,
        latency.baseline.median_ms,
        latency.candidate.median_ms,
        reduction(latency)
    )
}
