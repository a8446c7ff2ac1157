//! Energy-constrained compression, with latency in place of energy.

use std::collections::BTreeMap;

use super::task::{Parts, Reached};
use super::{Method, MethodError, Pruned, Removes, Setting, Sparse, Task, Then};
use crate::analysis::{Channel, ChannelGroup, Channels, ReadGroup, Units};
use crate::onnx::Model;
use crate::pipeline::{LATENCY_SAMPLES, LatencyFit, LatencyModel, MeasureLatency, fit_latency};
use crate::plan::{self, ChannelConstraints, WidthBudget};
use crate::surgery;

/// Training towards a latency that a bilinear model foretells from the widths of all layers.
pub(super) static ECC: Method = Method {
    name: "ecc",
    removes: Removes::Filters,
    about: "training that sets channels to zero until a bilinear model of latency, fitted to timed networks, says it is enough",
    source: "Yang et al., \"ECC: Platform-Independent Energy-Constrained Deep Neural Network Compression via a Bilinear Regression \
             Model\", CVPR 2019",
    needs: "labels; a limit on latency",
    differs: "latency instead of energy, of 64 random networks instead of 10,000; the budget of the training comes down in a straight \
              line over its first half; all layers that read a channel lose it together; duals begin at what a layer's weakest \
              channel is worth instead of at 0; where the clock does not agree with the bilinear model, its budget is lowered by \
              what is missing and the training goes on, at most three times",
    reads: &[Setting::Epochs, Setting::LearningRate],
    then: Then::Distillation,
    run,
};

/// The seed that draws the random networks.
const SEED: u64 = 0;
/// Trainings, the first among them.
const TRAININGS: usize = 4;
/// Percent of the whole model's latency that the budget is lowered by at least.
const LEAST_STEP: f64 = 1.0;

fn run(task: &mut Task<'_>) -> Result<Pruned, MethodError> {
    let Some(budget) = task.budgets.latency else {
        return Err(MethodError::Budget { method: ECC.name, reason: "trains towards a latency; limit that" });
    };
    let Parts { units, channels } = task.parts(task.model)?;
    let groups = open(task, &channels)?;
    let (latency, fit) = times(task, &units, &channels)?;
    let kept_whole = |group: &str| latency.whole(group);
    let mut widths = WidthBudget::new(groups, &fit.cost, kept_whole, 0.0);
    if widths.cost.groups().is_empty() {
        return Err(nothing("no time depends on the channels that may go".to_owned()));
    }
    let narrowest = cut(task, task.model, &widths)?;
    let reached = task.reached(&narrowest.model)?;
    if !reached.met {
        return Err(task.out_of_reach(&reached));
    }
    let whole_ms = fit.cost.at(kept_whole);
    let baseline_ms = latency.baseline_ms().unwrap_or(whole_ms);
    let mut limit = whole_ms * (1.0 - budget.reduction_percent(baseline_ms) / 100.0);
    let (mut model, mut last) = (task.model.clone(), reached);
    for _ in 0..TRAININGS {
        widths.limit = limit.max(widths.lowest());
        let sparse = Sparse::Channels { budget: widths.clone() };
        model = task.train_towards("training towards a latency", &model, sparse, Some(task.model))?;
        let Cut { model: cut, ms } = cut(task, &model, &widths)?;
        last = task.confirmed(&cut)?;
        task.ports.tell(&format!("{ms:.3} ms by the bilinear model of {:.3} allowed: {}", widths.limit, last.text()));
        if last.met {
            return Ok(Pruned { model: cut, latency: last.latency });
        }
        let margin = |reached: &Reached| reached.latency.as_ref().map_or(0.0, |found| budget.margin_percent(found));
        limit = ms.min(limit) - whole_ms * (-margin(&last)).max(LEAST_STEP) / 100.0;
    }
    Err(task.out_of_reach(&last))
}

/// The groups that may lose channels, each with how many stay at least.
fn open(task: &mut Task<'_>, channels: &Channels) -> Result<Vec<(ReadGroup, usize)>, MethodError> {
    let mut open = Vec::new();
    for group in channels.groups.iter().filter(|group| !task.filters.protected.contains(&group.name)) {
        let least = task.filters.staying(group, 0);
        if least == group.channels.len() {
            continue;
        }
        match channels.read(&task.model.graph, group) {
            Ok(read) if !read.readers.is_empty() => open.push((read, least)),
            Ok(_) => {}
            Err(reason) => task.ports.tell(&format!("channels of {} stay: {reason}", group.name)),
        }
    }
    match open.is_empty() {
        true => Err(nothing("no layer may lose channels".to_owned())),
        false => Ok(open),
    }
}

fn nothing(reason: String) -> MethodError {
    MethodError::Nothing { method: ECC.name, reason }
}

/// Times of random networks, and the bilinear model of them.
fn times(task: &mut Task<'_>, units: &Units, channels: &Channels) -> Result<(LatencyModel, LatencyFit), MethodError> {
    let mut latency = LatencyModel::new(channels, SEED);
    let timer: &mut dyn MeasureLatency = &mut *task.ports;
    fit_latency(task.model, units, channels, LATENCY_SAMPLES, &mut latency, timer, &mut |_| Ok(()))?;
    let fit = latency.fit.clone().ok_or_else(|| nothing("no network was timed".to_owned()))?;
    let (error, count) = (&fit.error, latency.shares.len());
    task.ports.tell(&format!(
        "a bilinear model of the latency of {count} networks is off by {:.1} % on those it was not fitted to (median), 95 % of \
         them by less than {:.1} %",
        error.median_percent, error.p95_percent
    ));
    Ok((latency, fit))
}

/// A model without channels, and milliseconds of it by the bilinear model.
struct Cut {
    model: Model,
    ms: f64,
}

/// Takes out what is read with zeros alone; where that is not enough by the bilinear model, what is read with the least weights
/// too.
fn cut(task: &mut Task<'_>, model: &Model, widths: &WidthBudget) -> Result<Cut, MethodError> {
    let Parts { units, channels } = task.parts(model)?;
    let squares = squares(model, widths)?;
    let zeros = remaining(widths, &squares);
    let kept = lowered(widths, &squares, &task.filters, zeros.clone());
    let more = widths.groups.iter().map(|group| zeros[&group.name].saturating_sub(kept[&group.name])).sum::<usize>();
    if more > 0 && widths.limit > 0.0 {
        task.ports.tell(&format!("{more} channels that are read with little go too: training left them"));
    }
    let stays = |group: &ChannelGroup| kept.get(&group.name).copied().unwrap_or(group.channels.len());
    let score = |group: &ChannelGroup, channel: &Channel| {
        let number = group.channels.iter().position(|other| other.index == channel.index);
        squares.get(&group.name).zip(number).map_or(0.0, |(squares, number)| squares[number])
    };
    let plan = plan::by_count(&model.graph, &units, &channels, &task.filters, stays, score);
    let cut = surgery::apply(model, &units, &plan)?;
    let ms = widths.cost.at(|name| {
        let planned = plan.channels.iter().find(|planned| planned.group == name);
        planned
            .map_or_else(|| channels.named(name).map_or(0, |it| it.channels.len()), |it| it.channels - it.removed.len())
            as f64
    });
    Ok(Cut { model: cut, ms })
}

/// For each group, the squared norm of all that reads each channel.
fn squares(model: &Model, widths: &WidthBudget) -> Result<BTreeMap<String, Vec<f64>>, MethodError> {
    let of = |group: &ReadGroup| {
        let squares = group.squares(&model.graph);
        let squares =
            squares.ok_or_else(|| nothing(format!("what reads the channels of {} is not stored", group.name)))?;
        Ok((group.name.clone(), squares))
    };
    widths.groups.iter().map(of).collect()
}

/// How many channels of each group are read with something else than zeros; not fewer than must stay.
fn remaining(widths: &WidthBudget, squares: &BTreeMap<String, Vec<f64>>) -> BTreeMap<String, usize> {
    let left = |(group, &least): (&ReadGroup, &usize)| {
        let left = squares[&group.name].iter().filter(|&&square| square > 0.0).count();
        (group.name.clone(), left.max(least))
    };
    widths.groups.iter().zip(&widths.least).map(left).collect()
}

/// `kept`, of which channels of the least squares were taken until the cost is within the limit, or none may go.
fn lowered(
    widths: &WidthBudget,
    squares: &BTreeMap<String, Vec<f64>>,
    constraints: &ChannelConstraints,
    mut kept: BTreeMap<String, usize>,
) -> BTreeMap<String, usize> {
    let step = constraints.round_to.max(1);
    let ranked: BTreeMap<&str, Vec<f64>> = squares
        .iter()
        .map(|(name, squares)| {
            let mut squares = squares.clone();
            squares.sort_by(|a, b| b.total_cmp(a));
            (name.as_str(), squares)
        })
        .collect();
    for (name, squares) in squares {
        let all = squares.len();
        kept.entry(name.clone()).and_modify(|kept| *kept = kept.next_multiple_of(step).min(all));
    }
    loop {
        if widths.cost.at(|name| kept.get(name).map_or(0.0, |&kept| kept as f64)) <= widths.limit {
            return kept;
        }
        let next = widths.groups.iter().zip(&widths.least).filter_map(|(group, &least)| {
            let now = kept[&group.name];
            let fewer = ((now - 1) / step * step).max(least);
            (fewer < now).then(|| (ranked[group.name.as_str()][fewer..now].iter().sum::<f64>(), &group.name, fewer))
        });
        let Some((_, name, fewer)) = next.min_by(|a, b| a.0.total_cmp(&b.0)) else { return kept };
        kept.insert(name.clone(), fewer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Bilinear;

    /// Groups of four channels each, `F = 1 + a + 2 b`.
    fn widths(limit: f64) -> WidthBudget {
        let group = |name: &str| ReadGroup { name: name.to_owned(), channels: 4, readers: Vec::new() };
        let linear = BTreeMap::from([("a".to_owned(), 1.0), ("b".to_owned(), 2.0)]);
        let cost = Bilinear { constant: 1.0, linear, products: Vec::new() };
        WidthBudget::new(vec![(group("a"), 1), (group("b"), 2)], &cost, |_| 4.0, limit)
    }

    fn squares() -> BTreeMap<String, Vec<f64>> {
        BTreeMap::from([("a".to_owned(), vec![0.0, 3.0, 0.5, 9.0]), ("b".to_owned(), vec![0.1, 0.0, 0.0, 0.0])])
    }

    fn kept(limit: f64, round_to: usize) -> [usize; 2] {
        let widths = widths(limit);
        let constraints = ChannelConstraints { round_to, ..ChannelConstraints::default() };
        let kept = lowered(&widths, &squares(), &constraints, remaining(&widths, &squares()));
        [kept["a"], kept["b"]]
    }

    #[test]
    fn channels_of_the_least_weights_go_until_it_is_enough() {
        assert_eq!(kept(100.0, 1), [3, 2], "zeros alone, and not below what stays at least");
        assert_eq!(kept(7.5, 1), [2, 2], "8 is too much, 0.5 the least");
        assert_eq!(kept(6.0, 1), [1, 2]);
        assert_eq!(kept(0.0, 1), [1, 2], "no more may go");
        assert_eq!(kept(100.0, 2), [4, 2]);
        assert_eq!(kept(8.0, 2), [2, 2]);
    }
}
