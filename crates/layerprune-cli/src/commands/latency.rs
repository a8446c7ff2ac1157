use std::time::Duration;

use anyhow::{Error, Result};
use layerprune::onnx::Model;
use layerprune::record::{EngineInfo, LatencyComparison, LatencyStats, Verdict, Warning};
use layerprune_infer::{InferError, Measurement};
use serde::Serialize;

use crate::args::{Global, LatencyArgs};
use crate::engine::EngineName;
use crate::latency::Timer;
use crate::output::{self, Align, table};
use crate::{CannotBeDone, Usage, hint, model};

/// One engine, batch size and thread count: every model, and each other one against the first.
#[derive(Serialize)]
struct Cell {
    batch: usize,
    threads: usize,
    engine: String,
    pinned: bool,
    models: Vec<Timed>,
    warnings: Vec<Warning>,
    #[serde(skip)]
    info: EngineInfo,
}

#[derive(Serialize)]
struct Timed {
    model: String,
    stats: LatencyStats,
    throughput_per_second: f64,
    /// Without the samples, which `stats` of both models has.
    #[serde(skip_serializing_if = "Option::is_none")]
    against_first: Option<LatencyComparison>,
}

/// Times models over the matrix of engines, batch sizes and thread counts. A cell that fails does not keep the others from
/// being timed and printed.
pub(crate) fn run(args: &LatencyArgs, global: &Global) -> Result<()> {
    if let Some(warm_up) = args.warm_up.filter(|warm_up| !(0.0..=3600.0).contains(warm_up)) {
        return Err(Usage(format!("`--warm-up {warm_up}` is no number of seconds up to 3600")).into());
    }
    let paths: Vec<_> = [&args.model].into_iter().chain(&args.others).collect();
    let models: Vec<Model> = paths.iter().map(|path| model::read(path)).collect::<Result<_>>()?;
    let models: Vec<&Model> = models.iter().collect();
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let shapes = model::input_shapes(&args.shapes, models[0])?;
    let (mut cells, mut faults) = (Vec::new(), Vec::new());
    for (engine, batch, threads) in matrix(args, global) {
        let global = Global { engine, ..global.clone() };
        let mut timer = Timer::new(&global, batch, &shapes);
        timer.threads = threads;
        if let Some(samples) = args.samples {
            timer.options.samples = samples;
            timer.options.min_time = Duration::ZERO;
            if matches!(global.engine, EngineName::Command(_)) {
                timer.options.max_time = Duration::MAX;
            }
        }
        if let Some(warm_up) = args.warm_up {
            timer.options.warm_up = Duration::from_secs_f64(warm_up);
        }
        match timer.measure(&models).and_then(|measured| cell(&measured, &names)) {
            Ok(cell) => cells.push(cell),
            Err(InferError::Interrupted) => {
                faults.push(CannotBeDone("interrupted".to_owned()).into());
                break;
            }
            Err(error) => {
                let place = format!("nothing was timed with {}, batch {batch}, {threads} thread(s)", global.engine);
                faults.push(Error::new(error).context(place));
            }
        }
    }
    if !cells.is_empty() {
        output::print(global, &cells, |cells| text(cells))?;
    }
    match faults.pop() {
        None => Ok(()),
        Some(last) => {
            faults.iter().for_each(hint::print);
            Err(last)
        }
    }
}

/// All cells, thread counts going round fastest.
fn matrix(args: &LatencyArgs, global: &Global) -> Vec<(EngineName, usize, usize)> {
    let engines = args.engines.as_ref().map_or_else(|| vec![global.engine.clone()], |engines| engines.0.clone());
    let threads = match &args.thread_counts[..] {
        [] => vec![global.threads.map_or(1, usize::from)],
        given => given.to_vec(),
    };
    let mut cells = Vec::new();
    for engine in engines {
        for &batch in &args.batch {
            cells.extend(threads.iter().map(|&threads| (engine.clone(), batch, threads)));
        }
    }
    cells
}

fn cell(measured: &Measurement, names: &[String]) -> Result<Cell, InferError> {
    let under = &measured.circumstances;
    let timed = |(place, name): (usize, &String)| {
        let stats = measured.stats(place)?;
        let mut against_first = if place > 0 { Some(measured.comparison(place)?) } else { None };
        for stats in against_first.iter_mut().flat_map(|against| [&mut against.baseline, &mut against.candidate]) {
            stats.samples_ms.clear();
        }
        let throughput_per_second = 1e3 * under.batch as f64 / stats.median_ms;
        Ok(Timed { model: name.clone(), throughput_per_second, stats, against_first })
    };
    Ok(Cell {
        batch: under.batch,
        threads: under.threads,
        engine: format!("{} {}", under.engine.name, under.engine.version),
        pinned: under.pinned,
        models: names.iter().enumerate().map(timed).collect::<Result<_, InferError>>()?,
        warnings: measured.warnings(),
        info: under.engine.clone(),
    })
}

impl Cell {
    /// A command is told below the table; it is too long for a column.
    fn engine(&self) -> &str {
        match self.info.name.as_str() {
            "command" => "command",
            _ => &self.engine,
        }
    }

    fn name(&self) -> String {
        format!("{}, batch {}, {} thread(s)", self.info.name, self.batch, self.threads)
    }

    /// All that is to be said against it, sorted, each once.
    fn notes(&self) -> Vec<String> {
        let compared = self.models.iter().filter_map(|timed| timed.against_first.as_ref());
        let mut notes: Vec<String> = compared.flat_map(|against| &against.warnings).map(ToString::to_string).collect();
        notes.extend(self.warnings.iter().map(ToString::to_string));
        notes.sort_unstable();
        notes.dedup();
        notes
    }
}

const HEAD: [(&str, Align); 13] = [
    ("model", Align::Left),
    ("engine", Align::Left),
    ("threads", Align::Right),
    ("batch", Align::Right),
    ("median", Align::Right),
    ("p90", Align::Right),
    ("p95", Align::Right),
    ("p99", Align::Right),
    ("spread (MAD)", Align::Right),
    ("samples", Align::Right),
    ("per second", Align::Right),
    ("latency reduction", Align::Left),
    ("speed-up", Align::Left),
];

fn text(cells: &[Cell]) -> String {
    let rows = cells.iter().flat_map(|cell| cell.models.iter().map(move |timed| row(cell, timed)));
    let mut text = table(&HEAD, &rows.collect::<Vec<_>>());
    if cells.len() > 1 {
        for candidate in 1..cells[0].models.len() {
            text.push_str(&format!("\n{}", range(cells, candidate)));
        }
    }
    if let Some(cell) = cells.iter().find(|cell| cell.engine() != cell.engine) {
        text.push_str(&format!("\ncommand: {}", cell.info.version));
    }
    for cell in cells {
        for note in cell.notes() {
            match cells {
                [_] => text.push_str(&format!("\nnote: {note}")),
                _ => text.push_str(&format!("\nnote: {}: {note}", cell.name())),
            }
        }
    }
    text
}

fn row(cell: &Cell, timed: &Timed) -> Vec<String> {
    let ms = |ms: f64| format!("{ms:.3} ms");
    let stats = &timed.stats;
    let mut row = vec![timed.model.clone(), cell.engine().to_owned(), cell.threads.to_string(), cell.batch.to_string()];
    row.extend([ms(stats.median_ms), ms(stats.p90_ms), stats.p95_ms.map_or_else(String::new, ms), ms(stats.p99_ms)]);
    row.extend([ms(stats.mad_ms), stats.samples.to_string(), format!("{:.0}", timed.throughput_per_second)]);
    match &timed.against_first {
        None => row.extend([String::new(), String::new()]),
        Some(against) => row.extend([reduction(against), speedup(against)]),
    }
    row
}

/// Where a candidate gains least and most.
fn range(cells: &[Cell], candidate: usize) -> String {
    let gain = |cell: &&Cell| {
        let against = cell.models[candidate].against_first.as_ref();
        against.map_or(f64::NAN, |against| against.latency_reduction_percent)
    };
    let by_gain = |a: &&Cell, b: &&Cell| gain(a).total_cmp(&gain(b));
    let model = &cells[0].models[candidate].model;
    let end =
        |cell: Option<&Cell>| cell.map_or_else(String::new, |cell| format!("{:.1} % ({})", gain(&cell), cell.name()));
    let (least, most) = (cells.iter().min_by(by_gain), cells.iter().max_by(by_gain));
    format!("{model}: latency reduction from {} to {}", end(least), end(most))
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
