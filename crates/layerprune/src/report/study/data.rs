//! What the page's script draws: the record's numbers, and what is worked out from them, in a compact form.

use serde::Serialize;

use crate::record::format::threads;
use crate::record::{Handcrafted, LatencyComparison, Spread, Study, StudyRow, TimedBy};
use crate::stats;

#[derive(Debug, Serialize)]
pub(super) struct Data {
    /// Ways in which latency was measured, as text.
    pub(super) timed: Vec<String>,
    /// The whole model first, then all that was made, by method or by lot, then other networks.
    pub(super) models: Vec<Dot>,
    /// Names of layers; models name them by position.
    pub(super) layers: Vec<String>,
    /// For each way of timing the models that no other beats, by latency reduction.
    pub(super) fronts: Vec<Vec<usize>>,
    pub(super) lots: Vec<Lot>,
    pub(super) scores: Vec<Scores>,
    /// The model that is marked first.
    pub(super) chosen: Option<usize>,
}

/// What a model is drawn as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Origin {
    Whole,
    Method,
    Random,
    Handcrafted,
}

#[derive(Debug, Serialize)]
pub(super) struct Dot {
    pub(super) origin: Origin,
    pub(super) arm: String,
    pub(super) removes: String,
    pub(super) budget: String,
    pub(super) seed: Option<u64>,
    pub(super) file: String,
    /// In percent.
    pub(super) top1: Option<f64>,
    /// Whether the accuracy is what the recipe says, and was not measured.
    pub(super) stated: bool,
    /// Positions among the layers.
    pub(super) lost: Vec<usize>,
    pub(super) filters: usize,
    pub(super) parameters: u64,
    pub(super) macs: Option<u64>,
    /// One entry for each way of timing.
    pub(super) timed: Vec<Option<Timed>>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Timed {
    /// Percent of the whole model's latency.
    pub(super) reduction: f64,
    pub(super) interval: [f64; 2],
    /// Medians of this model and of the whole one beside it, in milliseconds; none of the whole model itself.
    pub(super) ms: Option<[f64; 2]>,
}

/// Models made by lot, of one kind.
#[derive(Debug, Serialize)]
pub(super) struct Lot {
    pub(super) removes: String,
    /// Positions among the models.
    pub(super) models: Vec<usize>,
    /// Latency reduction for each way of timing.
    pub(super) spread: Vec<Option<Quartiles>>,
    /// Of those that were trained, for each way of timing.
    pub(super) trained: Vec<Option<Trained>>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Quartiles {
    pub(super) count: usize,
    /// Lowest, lower quartile, median, upper quartile, highest.
    pub(super) five: [f64; 5],
    /// Mean and standard deviation.
    pub(super) mean: [Option<f64>; 2],
}

/// Mean and standard deviation, each.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Trained {
    pub(super) count: usize,
    pub(super) reduction: [Option<f64>; 2],
    pub(super) top1: [Option<f64>; 2],
}

#[derive(Debug, Serialize)]
pub(super) struct Scores {
    pub(super) criterion: String,
    pub(super) rows: Vec<Score>,
}

#[derive(Debug, Serialize)]
pub(super) struct Score {
    /// Position among the layers.
    pub(super) layer: usize,
    pub(super) score: f64,
    /// Percent, with its interval.
    pub(super) accuracy: Option<[f64; 3]>,
}

impl Data {
    pub(super) fn of(study: &Study) -> Self {
        let timed = study.timed();
        let mut layers: Vec<String> = study.layers.iter().map(|layer| layer.name.clone()).collect();
        let mut place = |name: &str| {
            layers.iter().position(|layer| layer == name).unwrap_or_else(|| {
                layers.push(name.to_owned());
                layers.len() - 1
            })
        };
        let mut models = vec![whole(study, timed.len())];
        for (origin, rows) in [(Origin::Method, &study.rows), (Origin::Random, &study.random)] {
            models.extend(rows.iter().map(|row| made(origin, row, &timed, &mut place)));
        }
        models.extend(study.handcrafted.iter().map(|one| handcrafted(one, &timed)));
        let scores = study.scores.iter().map(|table| Scores {
            criterion: table.criterion.clone(),
            rows: table
                .rows
                .iter()
                .map(|row| Score {
                    layer: place(&row.layer),
                    score: row.score,
                    accuracy: row.accuracy.as_ref().map(|of| [of.percent, of.interval[0], of.interval[1]]),
                })
                .collect(),
        });
        let scores = scores.collect();
        Self {
            fronts: (0..timed.len()).map(|by| front(&models, by)).collect(),
            lots: lots(&models, timed.len()),
            chosen: chosen(&models),
            timed: timed.iter().map(|by| told_in_full(by, &timed)).collect(),
            models,
            layers,
            scores,
        }
    }

    /// As JSON that can stand in a script element: nothing in it ends one or begins a comment.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("keys are strings").replace('<', "\\u003c")
    }
}

impl Dot {
    /// `layerprune, latency reduction 25 %, seed 0`.
    pub(super) fn title(&self) -> String {
        let seed = self.seed.map(|seed| format!("seed {seed}"));
        [Some(self.arm.clone()), Some(self.budget.clone()).filter(|budget| !budget.is_empty()), seed]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", ")
    }

    pub(super) fn reduction(&self, by: usize) -> Option<f64> {
        Some(self.timed.get(by)?.as_ref()?.reduction)
    }
}

/// `rten, batch 8`, and the threads where they differ.
pub(super) fn told_in_full(by: &TimedBy, all: &[TimedBy]) -> String {
    let mut text = format!("{}, batch {}", by.engine, by.batch);
    if all.iter().any(|other| other.threads != by.threads) {
        text.push_str(&format!(", {}", threads(by.threads)));
    }
    text
}

fn whole(study: &Study, ways: usize) -> Dot {
    Dot {
        origin: Origin::Whole,
        arm: "whole model".to_owned(),
        removes: String::new(),
        budget: String::new(),
        seed: None,
        file: study.model.path.clone(),
        top1: study.baseline.accuracy.as_ref().map(|accuracy| accuracy.top1.percent),
        stated: false,
        lost: Vec::new(),
        filters: 0,
        parameters: study.baseline.parameters,
        macs: study.baseline.macs,
        timed: vec![Some(Timed { reduction: 0.0, interval: [0.0; 2], ms: None }); ways],
    }
}

fn made(origin: Origin, row: &StudyRow, timed: &[TimedBy], place: &mut impl FnMut(&str) -> usize) -> Dot {
    Dot {
        origin,
        arm: row.arm.clone(),
        removes: row.removes.clone(),
        budget: row.budget.clone(),
        seed: Some(row.seed),
        file: row.file.clone(),
        top1: row.accuracy.as_ref().map(|accuracy| accuracy.top1.percent),
        stated: false,
        lost: row.layers.iter().map(|name| place(name)).collect(),
        filters: row.filters,
        parameters: row.parameters,
        macs: row.macs,
        timed: times(&row.latency, timed),
    }
}

fn handcrafted(one: &Handcrafted, timed: &[TimedBy]) -> Dot {
    let measured = one.accuracy.as_ref().map(|accuracy| accuracy.top1.percent);
    Dot {
        origin: Origin::Handcrafted,
        arm: one.name.clone(),
        removes: String::new(),
        budget: String::new(),
        seed: None,
        file: one.file.clone(),
        top1: measured.or(one.stated_top1),
        stated: measured.is_none() && one.stated_top1.is_some(),
        lost: Vec::new(),
        filters: 0,
        parameters: one.parameters,
        macs: one.macs,
        timed: times(&one.latency, timed),
    }
}

fn times(latency: &[LatencyComparison], timed: &[TimedBy]) -> Vec<Option<Timed>> {
    let of = |one: &LatencyComparison| Timed {
        reduction: one.latency_reduction_percent,
        interval: one.latency_reduction_interval,
        ms: Some([one.candidate.median_ms, one.baseline.median_ms]),
    };
    timed.iter().map(|by| by.find(latency).map(of)).collect()
}

/// Models of this network, the whole one among them, that no other of them beats in accuracy and latency both.
fn front(models: &[Dot], by: usize) -> Vec<usize> {
    let of_this = |dot: &Dot| matches!(dot.origin, Origin::Whole | Origin::Method);
    let known = models.iter().enumerate().filter(|(_, dot)| of_this(dot));
    let mut known: Vec<(usize, f64, f64)> =
        known.filter_map(|(at, dot)| Some((at, dot.reduction(by)?, dot.top1?))).collect();
    known.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.2.total_cmp(&a.2)));
    let mut best = f64::NEG_INFINITY;
    known.retain(|&(_, _, top1)| {
        let is_better = top1 > best;
        best = best.max(top1);
        is_better
    });
    known.reverse();
    known.into_iter().map(|(at, ..)| at).collect()
}

fn lots(models: &[Dot], ways: usize) -> Vec<Lot> {
    let mut lots: Vec<Lot> = Vec::new();
    for (at, dot) in models.iter().enumerate().filter(|(_, dot)| dot.origin == Origin::Random) {
        match lots.iter_mut().find(|lot| lot.removes == dot.removes) {
            Some(lot) => lot.models.push(at),
            None => lots.push(Lot {
                removes: dot.removes.clone(),
                models: vec![at],
                spread: Vec::new(),
                trained: Vec::new(),
            }),
        }
    }
    for lot in &mut lots {
        let of =
            |by| lot.models.iter().map(|&at| &models[at]).filter_map(move |dot: &Dot| Some((dot, dot.reduction(by)?)));
        lot.spread =
            (0..ways).map(|by| quartiles(&of(by).map(|(_, reduction)| reduction).collect::<Vec<_>>())).collect();
        lot.trained = (0..ways)
            .map(|by| trained(&of(by).filter_map(|(dot, reduction)| Some((reduction, dot.top1?))).collect::<Vec<_>>()))
            .collect();
    }
    lots
}

fn quartiles(numbers: &[f64]) -> Option<Quartiles> {
    let at = |q| stats::quantile(numbers, q);
    let five = [at(0.0)?, at(0.25)?, at(0.5)?, at(0.75)?, at(1.0)?];
    Some(Quartiles { count: numbers.len(), five, mean: mean(numbers) })
}

fn trained(pairs: &[(f64, f64)]) -> Option<Trained> {
    let (reductions, top1): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    (!pairs.is_empty()).then(|| Trained { count: pairs.len(), reduction: mean(&reductions), top1: mean(&top1) })
}

fn mean(numbers: &[f64]) -> [Option<f64>; 2] {
    Spread::of(numbers).map_or([None; 2], |spread| [Some(spread.mean), spread.deviation])
}

/// The most accurate model that lost layers, those by lot only where there is no other.
fn chosen(models: &[Dot]) -> Option<usize> {
    let lost = models.iter().enumerate().filter(|(_, dot)| !dot.lost.is_empty());
    let rank = |dot: &Dot| (dot.origin == Origin::Method, dot.top1.unwrap_or(f64::NEG_INFINITY));
    let best = lost.reduce(|best, other| {
        let (a, b) = (rank(best.1), rank(other.1));
        if b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)).is_gt() { other } else { best }
    });
    best.map(|(at, _)| at)
}
