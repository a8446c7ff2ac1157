//! Chooses what to remove. Pure; knows nothing of how to cut.

mod bilinear;
mod budget;
mod channels;
mod knapsack;
mod parts;
mod predict;
mod together;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::analysis::{Unit, Units, Way};
use crate::cost::Cost;
use crate::criteria::Scores;
use crate::onnx::ModelDigest;
use crate::stats::SplitMix;

pub use bilinear::{Bilinear, ModelError, Product, Spent, Term, WidthBudget, WidthSample, cost_terms, fit_cost};
pub use budget::{Budgets, LatencyBudget, shares_left};
pub use channels::{
    ChannelConstraints, PlannedChannels, Scope, by_count, cut_of, dead_channels, lowest_filters, of_channels,
    random_channels, random_filters, random_widths,
};
pub use knapsack::{Choice, least_loss};
pub use parts::{Action, Droppable, Filters, Part, parts};
pub use predict::{macs_saved, predicted_percent};
pub(crate) use together::conflict;
pub use together::outermost;

/// Version of the JSON form of [`Plan`].
pub const PLAN_SCHEMA: u32 = 1;

/// What is to be removed from one model.
#[must_use]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this form.
    pub schema: u32,
    /// The model it was made for.
    pub model: ModelDigest,
    /// The criterion that chose, where one did.
    pub criterion: Option<String>,
    /// What was asked for, in words.
    pub target: String,
    /// What goes, in the order in which it was chosen.
    pub removed: Vec<PlannedRemoval>,
    /// Channels that go, by group. Where layers go too, the groups are those of what the layers leave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<PlannedChannels>,
    /// Cost of the model as it is.
    pub before: Cost,
    /// Cost predicted for the model without what goes.
    pub after: Cost,
}

/// A unit to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedRemoval {
    /// The unit's name.
    pub unit: String,
    /// How.
    pub way: Way,
}

/// Which units may be removed, and how.
#[derive(Debug, Clone, Default)]
pub struct Constraints {
    /// Ways that are allowed.
    pub ways: BTreeSet<Way>,
    /// Units that must stay.
    pub protected: BTreeSet<String>,
}

impl Constraints {
    /// Bypasses, and features of dense layers: what needs neither a fit nor other weights. Nothing is protected.
    #[must_use]
    pub fn plain() -> Self {
        Self { ways: BTreeSet::from([Way::Bypass, Way::DropFeatures]), protected: BTreeSet::new() }
    }

    /// Bypassing only, nothing protected: what is exact where it is offered for blocks.
    #[must_use]
    pub fn bypass_only() -> Self {
        Self { ways: BTreeSet::from([Way::Bypass]), protected: BTreeSet::new() }
    }

    /// Why the unit must stay, where it must: it is protected, or a part of it is, or what holds it.
    #[must_use]
    pub fn protection(&self, units: &Units, unit: &Unit) -> Option<String> {
        if self.protected.contains(&unit.name) {
            return Some("it is protected".to_owned());
        }
        let shares = |other: &&Unit| other.nodes.iter().any(|id| unit.nodes.contains(id));
        let protected = self.protected.iter().filter_map(|name| units.named(name));
        protected
            .into_iter()
            .find(shares)
            .map(|other| format!("`{}`, which it shares nodes with, is protected", other.name))
    }

    fn permits(&self, unit: &Unit) -> bool {
        unit.removal(&self.ways).is_some() && !self.protected.contains(&unit.name)
    }
}

/// Why a plan cannot be made.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum PlanError {
    /// No unit of that name.
    #[error("there is no layer `{name}`{}", nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    NoSuchUnit {
        /// The name given.
        name: String,
        /// The most similar name there is.
        nearest: Option<String>,
    },
    /// The unit cannot be removed.
    #[error("`{name}` cannot be removed: {reason}")]
    Fixed {
        /// The unit.
        name: String,
        /// Why not.
        reason: String,
    },
    /// Two removals that do not go together.
    #[error("`{name}` and `{other}` cannot go together: {reason}")]
    Together {
        /// A unit.
        name: String,
        /// Another one.
        other: String,
        /// Why not.
        reason: String,
    },
    /// More units were asked for than there are.
    #[error("{asked} layers are to be removed, only {available} can be")]
    TooFew {
        /// How many were asked for.
        asked: usize,
        /// How many can go.
        available: usize,
    },
    /// No channel may go.
    #[error("no filter may be removed: all channel groups are protected, or there are none")]
    NoChannels,
    /// The plan names channels that the model does not have.
    #[error("the plan removes channels of `{group}` that this model does not offer")]
    NoSuchChannel {
        /// The group.
        group: String,
    },
    /// Nothing would be left.
    #[error("the plan leaves no channel of `{value}`")]
    Emptied {
        /// A value without channels.
        value: String,
    },
    /// Scores and units are of different models.
    #[error("the scores are for another model (digest {found}, this one has {expected})")]
    OtherModel {
        /// Digest in the scores.
        found: ModelDigest,
        /// Digest of the model.
        expected: ModelDigest,
    },
}

/// Removable units, the least important first; equal scores in forward order. A unit that does not go together with
/// those before it is left out, so that every first part of the ranking is a plan.
///
/// # Errors
/// [`PlanError::OtherModel`].
pub fn ranking(units: &Units, scores: &Scores, constraints: &Constraints) -> Result<Vec<PlannedRemoval>, PlanError> {
    if scores.model != units.model {
        return Err(PlanError::OtherModel { found: scores.model.clone(), expected: units.model.clone() });
    }
    let rows = scores.rows.iter().map(|row| (row.score, row.unit.as_str())).collect();
    Ok(in_order(units, constraints, rows).into_iter().map(|(_, planned)| planned).collect())
}

/// The units of [`ranking`] with the importance that goes with each; a negative score counts as none, so that nothing goes
/// because its score is below zero.
///
/// # Errors
/// [`PlanError::OtherModel`].
pub fn droppable(units: &Units, scores: &Scores, constraints: &Constraints) -> Result<Vec<Droppable>, PlanError> {
    let score = |name: &str| scores.rows.iter().find(|row| row.unit == name).map_or(0.0, |row| row.score);
    let ranked = ranking(units, scores, constraints)?.into_iter();
    Ok(ranked.map(|planned| Droppable { loss: score(&planned.unit).max(0.0), planned }).collect())
}

/// Removable units with the importance of the filters that go with each, the least first; without those of which no filter has
/// a score.
#[must_use]
pub fn droppable_by_filters(units: &Units, constraints: &Constraints, filters: Filters<'_>) -> Vec<Droppable> {
    let rows = units.units.iter().filter_map(|unit| Some((filters.of_unit(unit)?, unit.name.as_str()))).collect();
    let ranked = in_order(units, constraints, rows).into_iter();
    ranked.map(|(loss, planned)| Droppable { planned, loss }).collect()
}

/// Units that may go, by rising number, without those that do not go together with the ones before.
fn in_order(units: &Units, constraints: &Constraints, mut rows: Vec<(f64, &str)>) -> Vec<(f64, PlannedRemoval)> {
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let removable = |name: &str| {
        let unit = units.named(name).filter(|unit| constraints.permits(unit))?;
        Some(PlannedRemoval { unit: name.to_owned(), way: unit.removal(&constraints.ways)?.way })
    };
    // Scores may come from a file: a unit that stands in it twice is still one unit.
    let mut seen = BTreeSet::new();
    let (mut ranked, mut removed) = (Vec::new(), Vec::new());
    for (number, name) in rows.into_iter().filter(|(_, name)| seen.insert(*name)) {
        let Some(planned) = removable(name) else { continue };
        if add_if_compatible(units, &mut removed, planned.clone()) {
            ranked.push((number, planned));
        }
    }
    ranked
}

/// The plan that removes the `count` least important units.
///
/// # Errors
/// [`PlanError::TooFew`], [`PlanError::OtherModel`].
pub fn lowest(units: &Units, scores: &Scores, constraints: &Constraints, count: usize) -> Result<Plan, PlanError> {
    let mut ranked = ranking(units, scores, constraints)?;
    if ranked.len() < count {
        return Err(PlanError::TooFew { asked: count, available: ranked.len() });
    }
    ranked.truncate(count);
    Ok(of(units, Some(&scores.criterion), format!("{count} layers"), ranked))
}

/// The plan that removes a number of units drawn evenly from one to all that may go together; the first ones by `scores`, which
/// are drawn too where the units are to be.
///
/// # Errors
/// [`PlanError::TooFew`] where none may go, [`PlanError::OtherModel`].
pub fn random_layers(
    units: &Units,
    scores: &Scores,
    constraints: &Constraints,
    random: &mut SplitMix,
) -> Result<Plan, PlanError> {
    let available = ranking(units, scores, constraints)?.len();
    lowest(units, scores, constraints, 1 + if available == 0 { 0 } else { random.below(available) })
}

/// The plan that removes the units called `names`; one that lies in another goes with it.
///
/// # Errors
/// [`PlanError::NoSuchUnit`], [`PlanError::Fixed`], [`PlanError::Together`].
pub fn named(units: &Units, names: &[String], constraints: &Constraints) -> Result<Plan, PlanError> {
    let mut removed: Vec<PlannedRemoval> = Vec::new();
    for name in names {
        let unit = units
            .named(name)
            .ok_or_else(|| PlanError::NoSuchUnit { name: name.clone(), nearest: nearest(units, name) })?;
        let fixed = |reason: String| PlanError::Fixed { name: name.clone(), reason };
        if let Some(reason) = constraints.protection(units, unit) {
            return Err(fixed(reason));
        }
        let removal = unit.removal(&constraints.ways).ok_or_else(|| {
            if let Some(way) = constraints.ways.iter().copied().find(|way| way.is_fitted()) {
                return fixed(unit.no_bridge(way).unwrap_or_else(|| "no way of removing it is allowed".to_owned()));
            }
            let way_out = match unit.removals.first().map(|removal| removal.way) {
                Some(Way::DropBranch) => " (its branch alone could be dropped)",
                Some(Way::ShrinkChain) => " (the next layer could be made to read its input)",
                _ => "",
            };
            fixed(format!("{}{way_out}", unit.reason.as_deref().unwrap_or("no way of removing it is allowed")))
        })?;
        if removed.iter().all(|planned| planned.unit != *name) {
            removed.push(PlannedRemoval { unit: name.clone(), way: removal.way });
        }
    }
    let removed = outermost(units, &removed);
    if let Some(error) = conflict(units, &removed) {
        return Err(error);
    }
    Ok(of(units, None, names.join(", "), removed))
}

/// A plan for `removed`, with its predicted cost.
pub fn of(units: &Units, criterion: Option<&str>, target: String, removed: Vec<PlannedRemoval>) -> Plan {
    let before = units.costs.total();
    let after = together::cost(units, &removed);
    Plan {
        schema: PLAN_SCHEMA,
        model: units.model.clone(),
        criterion: criterion.map(str::to_owned),
        target,
        removed,
        channels: Vec::new(),
        before,
        after,
    }
}

impl Plan {
    /// This plan of layers and then `next`, a plan of channels for the model that this one leaves.
    pub fn followed_by(self, next: Self) -> Self {
        Self { channels: next.channels, after: next.after, ..self }
    }

    /// How many channels go by their group.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.channels.iter().map(|planned| planned.removed.len()).sum()
    }

    /// Whether `other` removes the same, whatever it was made for.
    #[must_use]
    pub fn removes_the_same(&self, other: &Self) -> bool {
        self.removed == other.removed && self.channels == other.channels
    }

    /// What goes, in words: `6 layers and 120 channels gone`.
    #[must_use]
    pub fn what_goes(&self) -> String {
        let count = |number: usize, what: &str| match number {
            0 => None,
            1 => Some(format!("1 {what}")),
            more => Some(format!("{more} {what}s")),
        };
        let all = [count(self.removed.len(), "layer"), count(self.channel_count(), "channel")];
        let all: Vec<String> = all.into_iter().flatten().collect();
        if all.is_empty() { "nothing gone".to_owned() } else { format!("{} gone", all.join(" and ")) }
    }
}

/// Adds a removal to those that go already; not where it does not go together with them.
pub(crate) fn add_if_compatible(units: &Units, removed: &mut Vec<PlannedRemoval>, planned: PlannedRemoval) -> bool {
    removed.push(planned);
    let goes = conflict(units, removed).is_none();
    if !goes {
        removed.pop();
    }
    goes
}

/// The name that was probably meant: at most half of its letters differ.
fn nearest(units: &Units, name: &str) -> Option<String> {
    let known = units.all().map(|unit| (distance(&unit.name, name), &unit.name));
    known.min().filter(|(edits, known)| 2 * edits <= known.chars().count()).map(|(_, known)| known.clone())
}

/// Number of single-letter edits between two names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
