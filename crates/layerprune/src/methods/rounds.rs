//! Filters go in rounds: some training, scores of what is left, a few of the least important out, until it is enough.

use std::collections::BTreeMap;

use super::error::at;
use super::task::{Limits, Parts};
use super::{MethodError, Pruned, Sight, Task};
use crate::analysis::{Channel, ChannelGroup, Channels};
use crate::criteria::{Criterion, FilterScores, Scoring};
use crate::onnx::Model;
use crate::plan::{self, Plan, PlannedChannels};
use crate::surgery;

/// What earlier rounds count for in the average of scores (Molchanov et al., CVPR 2019).
const MOMENTUM: f64 = 0.9;

/// Takes filters out in rounds, those of the lowest scores by `criterion` in the whole model first.
pub(super) fn filters(task: &mut Task<'_>, criterion: &'static Criterion) -> Result<Pruned, MethodError> {
    let by = Scoring::from(criterion);
    let limits = task.limits()?;
    let whole = task.parts(task.model)?;
    FilterScores::check(&by, &task.model.graph, &whole.units, &whole.channels)?;
    let each = per_round(task, &whole.channels, &limits);
    let (mut model, mut average) = (task.model.clone(), Average::default());
    for round in 0.. {
        model = task.train_a_little(&model, round)?;
        let sight = Sight::Batches { count: task.settings.batches, round };
        let scores = task.ports.filter_scores(&model, &by, sight).map_err(at("scoring"))?;
        let parts = task.parts(&model)?;
        let scores = average.with(scores);
        let removal = Removal { model: &model, parts: &parts, limits: &limits, scores: &scores };
        let (plan, count) = removal.round(each);
        let cut = surgery::apply(&model, &parts.units, &plan)?;
        let reached = task.reached(&cut)?;
        task.ports.tell(&format!("round {}, {}: {}", round + 1, plan.what_goes(), reached.text()));
        if reached.met
            && let Some(pruned) = removal.fewest(task, count)?
        {
            return Ok(pruned);
        }
        if plan.channels.is_empty() {
            return Err(task.out_of_reach(&reached));
        }
        average.forget(&parts.channels, &plan);
        model = cut;
    }
    unreachable!("every round takes something out or ends the loop")
}

/// How many channels go in a round.
fn per_round(task: &Task<'_>, channels: &Channels, limits: &Limits) -> usize {
    let protected = limits.of(channels).protected;
    let open = channels.groups.iter().filter(|group| !protected.contains(&group.name));
    let all: usize = open.map(|group| group.channels.len()).sum();
    ((task.settings.step / 100.0 * all as f64).round() as usize).max(1)
}

/// What may go in a round.
struct Removal<'a> {
    model: &'a Model,
    parts: &'a Parts,
    limits: &'a Limits,
    scores: &'a FilterScores,
}

impl Removal<'_> {
    /// The plan of a round and how many channels it was asked for: `each`, or as many as it takes for a whole multiple of some
    /// layer to go.
    fn round(&self, each: usize) -> (Plan, usize) {
        let all: usize = self.parts.channels.groups.iter().map(|group| group.channels.len()).sum();
        let mut count = each;
        loop {
            let plan = self.lowest(count);
            if !plan.channels.is_empty() || count >= all {
                return (plan, count);
            }
            count += each;
        }
    }

    /// The plan that takes the `count` channels of the lowest scores out; fewer where limits say so.
    fn lowest(&self, count: usize) -> Plan {
        let Parts { units, channels } = self.parts;
        let constraints = self.limits.of(channels);
        let open = channels.groups.iter().filter(|group| !constraints.protected.contains(&group.name));
        let score = |group: &ChannelGroup, channel: &Channel| self.scores.of_channel(group, channel);
        let mut all: Vec<(f64, &str)> = open
            .clone()
            .flat_map(|group| group.channels.iter().map(move |channel| (score(group, channel), group.name.as_str())))
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut kept: BTreeMap<&str, usize> = BTreeMap::new();
        let mut least: BTreeMap<&str, usize> = BTreeMap::new();
        for group in open {
            kept.insert(&group.name, group.channels.len());
            least.insert(&group.name, constraints.staying(group, 0));
        }
        let mut gone = 0;
        for (_, name) in all {
            if gone < count && kept[name] > least[name] {
                *kept.entry(name).or_default() -= 1;
                gone += 1;
            }
        }
        let graph = &self.model.graph;
        let stays = |group: &ChannelGroup| kept.get(group.name.as_str()).copied().unwrap_or(group.channels.len());
        plan::by_count(graph, units, channels, &constraints, stays, score)
    }

    /// The fewest of `most` channels that meet the budgets too; `None` where a longer measurement says that not even all do.
    fn fewest(&self, task: &mut Task<'_>, most: usize) -> Result<Option<Pruned>, MethodError> {
        let cut = |count| surgery::apply(self.model, &self.parts.units, &self.lowest(count));
        let (mut short, mut enough) = (0, most);
        while short < most {
            while enough - short > 1 {
                let middle = short.midpoint(enough);
                if task.reached(&cut(middle)?)?.met { enough = middle } else { short = middle }
            }
            let model = cut(enough)?;
            let reached = task.confirmed(&model)?;
            task.ports.tell(&format!("{enough} channels, measured again: {}", reached.text()));
            if reached.met {
                return Ok(Some(Pruned { model, latency: reached.latency }));
            }
            (short, enough) = (enough, most);
        }
        Ok(None)
    }
}

/// Scores averaged over rounds: `0.9 · earlier + 0.1 · now`.
#[derive(Default)]
struct Average {
    rows: BTreeMap<String, Vec<f64>>,
}

impl Average {
    fn with(&mut self, mut scores: FilterScores) -> FilterScores {
        for row in &mut scores.rows {
            if let Some(earlier) = self.rows.get(&row.layer).filter(|earlier| earlier.len() == row.scores.len()) {
                for (score, earlier) in row.scores.iter_mut().zip(earlier) {
                    *score = MOMENTUM * earlier + (1.0 - MOMENTUM) * *score;
                }
            }
            self.rows.insert(row.layer.clone(), row.scores.clone());
        }
        scores
    }

    /// Leaves out the filters that go.
    fn forget(&mut self, channels: &Channels, plan: &Plan) {
        for PlannedChannels { group, removed, .. } in &plan.channels {
            let Some(group) = channels.named(group) else { continue };
            for (place, layer) in group.source_names.iter().enumerate() {
                let Some(row) = self.rows.get_mut(layer) else { continue };
                let going = group.channels.iter().filter(|channel| removed.contains(&channel.index));
                let gone: Vec<usize> = going.flat_map(|channel| channel.filters[place].clone()).collect();
                let mut place = 0;
                row.retain(|_| (!gone.contains(&place), place += 1).0);
            }
        }
    }
}
