//! A study as a page, as a table for people, and as one for programs.

mod alike;
mod data;
mod html;
mod network;
mod summary;
mod tables;

#[cfg(test)]
mod browser;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use html::study_html;

use std::collections::BTreeMap;

use self::alike::Comparisons;
use self::data::{Data, Lot, Quartiles};
use super::csv::line;
use super::markdown::{Align, Left, Right, code, escaped, table};
use crate::record::format::{counted, threads};
use crate::record::{Accuracy, Arm, Handcrafted, Spread, Study, StudyRow, TimedBy};

/// The study as GitHub-flavoured Markdown: for each budget a table of its arms, the most accurate in bold, then what failed.
#[must_use]
pub fn study_markdown(study: &Study) -> String {
    let mut text = format!("# Study of {}\n", code(&study.model.path));
    text.push_str(&format!("\n{}\n", escaped(&study_headline(study))));
    if let Some(processors) = processors(study) {
        text.push_str(&format!("\n{}\n", escaped(&processors)));
    }
    let arms = study.arms();
    for budget in summary::budgets(&arms) {
        let of: Vec<&Arm<'_>> = arms.iter().filter(|arm| arm.budget == budget).collect();
        text.push_str(&format!("\n## {}\n\n{}", escaped(budget), arms_table(study, &of)));
    }
    if !study.random.is_empty() {
        text.push_str(&format!("\n## Models made by lot\n\n{}", lots_table(study)));
        text.push_str(&Comparisons::of(study).markdown());
    }
    if !study.handcrafted.is_empty() {
        text.push_str(&format!("\n## Other networks\n\n{}", others_table(study)));
    }
    if !study.failures.is_empty() {
        let rows = study.failures.iter().map(|failure| {
            [&failure.arm, &failure.budget, &failure.seed.to_string(), &failure.reason].map(|cell| escaped(cell))
        });
        let header = [("arm", Left), ("budget", Left), ("seed", Right), ("reason", Left)];
        text.push_str(&format!("\n## No model\n\n{}", table(header, rows)));
    }
    text
}

/// That models were timed on several processors, where they were.
fn processors(study: &Study) -> Option<String> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for cpu in study.rows.iter().chain(&study.random).filter_map(|row| row.cpu.as_deref()) {
        *counts.entry(cpu).or_default() += 1;
    }
    let told: Vec<String> =
        counts.iter().map(|(cpu, count)| format!("{} on {cpu}", counted(*count, "model", "models"))).collect();
    let text = format!("Latencies are of several processors, and differ for that too: {}.", told.join(", "));
    (counts.len() > 1).then_some(text)
}

/// What was found, in a sentence or two.
#[must_use]
pub fn study_headline(study: &Study) -> String {
    let whole = study.baseline.accuracy.as_ref().map_or_else(String::new, |accuracy| {
        format!("The whole model is right on {:.2} % of {} test images. ", accuracy.top1.percent, accuracy.images)
    });
    let arms = study.arms();
    let ranked = |removes: &'static str| {
        let of = arms.iter().filter(move |arm| arm.removes == removes);
        of.filter_map(|arm| Some((arm, arm.top1()?))).max_by(|a, b| a.1.mean.total_cmp(&b.1.mean))
    };
    let told = |best: (&Arm<'_>, Spread)| format!("{} with {}", best.0.arm, spread(Some(best.1), 2));
    let best = match (ranked("layers"), ranked("filters")) {
        (Some(layers), Some(filters)) => {
            let (layers, filters) = (told(layers), told(filters));
            format!("Of what removes layers, {layers} % is best; of what removes filters, {filters} %.")
        }
        _ => String::new(),
    };
    format!("{whole}{best}").trim().to_owned()
}

fn arms_table(study: &Study, arms: &[&Arm<'_>]) -> String {
    let timed = study.timed();
    let best = arms.iter().filter_map(|arm| arm.top1()).map(|top1| top1.mean).fold(f64::NEG_INFINITY, f64::max);
    let header = ["arm", "removes", "seeds", "top-1 %", "before training %", "latency reduction %", "MACs left %"];
    let align: [Align; 7] = [Left, Left, Right, Right, Right, Right, Right];
    let rows = arms.iter().map(|arm| {
        let top1 = arm.top1();
        let shown = spread(top1, 2);
        let is_best = top1.is_some_and(|top1| top1.mean >= best);
        let macs = arm.spread(|row| Some(100.0 * row.macs? as f64 / study.baseline.macs? as f64));
        let latency = timed.iter().map(|by| match timed.len() {
            1 => spread(arm.latency_reduction(by), 1),
            _ => format!("{} at {}", spread(arm.latency_reduction(by), 1), told(by, &timed)),
        });
        [
            escaped(arm.arm),
            escaped(arm.removes),
            arm.rows.len().to_string(),
            if is_best { format!("**{shown}**") } else { shown },
            spread(arm.after_cut(), 2),
            latency.collect::<Vec<_>>().join(", "),
            spread(macs, 1),
        ]
    });
    table(std::array::from_fn(|column| (header[column], align[column])), rows)
}

/// Both kinds of models by lot, for each way of timing.
fn lots_table(study: &Study) -> String {
    let data = Data::of(study);
    let header =
        ["removed", "timed by", "models", "latency reduction %", "lowest", "median", "highest", "trained", "top-1 %"];
    let align: [Align; 9] = [Left, Left, Right, Right, Right, Right, Right, Right, Right];
    let row = |lot: &Lot, by: usize| {
        let Quartiles { count, five, mean } = lot.spread[by].as_ref()?;
        let trained = lot.trained[by].as_ref();
        let [lowest, _, median, _, highest] = five.map(|number| format!("{number:.1}"));
        Some([
            escaped(&lot.removes),
            escaped(&data.timed[by]),
            count.to_string(),
            tables::mean(*mean, 1),
            lowest,
            median,
            highest,
            trained.map_or_else(String::new, |trained| trained.count.to_string()),
            trained.map_or_else(String::new, |trained| tables::mean(trained.top1, 2)),
        ])
    };
    let rows = (0..data.timed.len()).flat_map(|by| data.lots.iter().filter_map(move |lot| row(lot, by)));
    table(std::array::from_fn(|column| (header[column], align[column])), rows)
}

fn others_table(study: &Study) -> String {
    let timed = study.timed();
    let rows = study.handcrafted.iter().map(|one| {
        let measured = one.accuracy.as_ref().map(|accuracy| format!("{:.2}", accuracy.top1.percent));
        let stated = || one.stated_top1.map(|top1| format!("{top1} (stated)"));
        let latency = timed.iter().filter_map(|by| {
            Some(format!("{:.1} at {}", by.find(&one.latency)?.latency_reduction_percent, told(by, &timed)))
        });
        [
            escaped(&one.name),
            measured.or_else(stated).unwrap_or_default(),
            escaped(&latency.collect::<Vec<_>>().join(", ")),
            one.parameters.to_string(),
        ]
    });
    table([("network", Left), ("top-1 %", Right), ("latency reduction %", Right), ("parameters", Right)], rows)
}

/// `batch 8`, and the engine and threads where there are several.
fn told(by: &TimedBy, all: &[TimedBy]) -> String {
    let mut text = format!("batch {}", by.batch);
    if all.iter().any(|other| other.engine != by.engine) {
        text.push_str(&format!(", {}", by.engine));
    }
    if all.iter().any(|other| other.threads != by.threads) {
        text.push_str(&format!(", {}", threads(by.threads)));
    }
    text
}

/// `88.66 ± 0.12`, the mean and the standard deviation over seeds.
fn spread(of: Option<Spread>, places: usize) -> String {
    match of {
        None => String::new(),
        Some(Spread { mean, deviation: None }) => format!("{mean:.places$}"),
        Some(Spread { mean, deviation: Some(deviation) }) => format!("{mean:.places$} ± {deviation:.places$}"),
    }
}

/// One line for each model, as CSV after RFC 4180.
#[must_use]
pub fn study_csv(study: &Study) -> String {
    let timed = study.timed();
    let mut header = COLUMNS.map(str::to_owned).to_vec();
    header.extend(timed.iter().map(|by| format!("latency reduction percent at {}", told(by, &timed))));
    let mut text = line(&header);
    let made = study.rows.iter().chain(&study.random).map(|row| (fields(row), &row.latency));
    for (fields, latency) in made.chain(study.handcrafted.iter().map(|one| (other_fields(one), &one.latency))) {
        let reduction = |by: &TimedBy| Some(format!("{:.2}", by.find(latency)?.latency_reduction_percent));
        let reductions = timed.iter().map(|by| reduction(by).unwrap_or_default());
        text.push_str(&line(&fields.into_iter().chain(reductions).collect::<Vec<_>>()));
    }
    text
}

/// Before the latency reductions.
const COLUMNS: [&str; 13] = [
    "arm",
    "removes",
    "budget",
    "seed",
    "top1 percent",
    "top1 before training",
    "parameters",
    "macs",
    "layers removed",
    "filters removed",
    "epochs",
    "seconds of the method",
    "seconds of training",
];

fn fields(row: &StudyRow) -> [String; COLUMNS.len()] {
    [
        row.arm.clone(),
        row.removes.clone(),
        row.budget.clone(),
        row.seed.to_string(),
        percent(row.accuracy.as_ref()),
        percent(row.after_cut.as_ref()),
        row.parameters.to_string(),
        row.macs.map_or_else(String::new, |macs| macs.to_string()),
        row.layers.join(" "),
        row.filters.to_string(),
        row.epochs.to_string(),
        format!("{:.1}", row.seconds[0]),
        format!("{:.1}", row.seconds[1]),
    ]
}

/// The columns from the layers on are of models that are made here.
fn other_fields(one: &Handcrafted) -> [String; COLUMNS.len()] {
    let top1 = one.accuracy.as_ref().map(|accuracy| accuracy.top1.percent).or(one.stated_top1);
    let mut fields = [const { String::new() }; COLUMNS.len()];
    let known = [
        one.name.clone(),
        String::new(),
        "handcrafted".to_owned(),
        String::new(),
        top1.map_or_else(String::new, |top1| top1.to_string()),
        String::new(),
        one.parameters.to_string(),
        one.macs.map_or_else(String::new, |macs| macs.to_string()),
    ];
    fields[..known.len()].clone_from_slice(&known);
    fields
}

fn percent(accuracy: Option<&Accuracy>) -> String {
    accuracy.map_or_else(String::new, |accuracy| accuracy.top1.percent.to_string())
}
