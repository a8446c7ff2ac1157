//! What removals do together: which of them others include, which contradict each other, what is left to pay.

use std::collections::BTreeSet;

use super::{PlanError, PlannedRemoval};
use crate::analysis::{Features, Next, Removal, Unit, Units, Way};
use crate::cost::{Cost, Resized};
use crate::graph::{NodeId, ValueId};

/// `removed` without what lies in another of its units and goes with it, and without repeats.
#[must_use]
pub fn outermost(units: &Units, removed: &[PlannedRemoval]) -> Vec<PlannedRemoval> {
    let unit = |planned: &PlannedRemoval| units.named(&planned.unit);
    let inside = |(place, planned): (usize, &PlannedRemoval)| {
        let Some(inner) = unit(planned) else { return false };
        removed.iter().enumerate().any(|(other, outer)| {
            let Some(outer) = unit(outer).filter(|_| other != place) else { return false };
            let (outer, inner_gone) = (outer.gone_by(removed[other].way), inner.gone_by(planned.way));
            let repeats = outer == inner_gone;
            inner.nodes.iter().all(|id| outer.contains(id)) && (!repeats || other < place)
        })
    };
    let kept = removed.iter().enumerate().filter(|&(place, planned)| !inside((place, planned)));
    kept.map(|(_, planned)| planned.clone()).collect()
}

/// Units and removals of a plan, those that go with others left out.
fn found<'u>(units: &'u Units, removed: &[PlannedRemoval]) -> Vec<(&'u Unit, Removal)> {
    let find = |planned: PlannedRemoval| {
        let unit = units.named(&planned.unit)?;
        Some((unit, unit.removal_by(planned.way)?))
    };
    outermost(units, removed).into_iter().filter_map(find).collect()
}

/// The first two removals that do not go together.
pub(crate) fn conflict(units: &Units, removed: &[PlannedRemoval]) -> Option<PlanError> {
    let found = found(units, removed);
    let error = |unit: &Unit, other: &Unit, reason: &str| {
        Some(PlanError::Together { name: unit.name.clone(), other: other.name.clone(), reason: reason.to_owned() })
    };
    for (place, (unit, removal)) in found.iter().enumerate() {
        let gone = unit.gone_by(removal.way);
        let shares = |(other, way): &&(&Unit, Removal)| !other.gone_by(way.way).is_disjoint(gone);
        if let Some((other, _)) = found[..place].iter().find(shares) {
            return error(other, unit, "they share nodes, and neither lies in the other");
        }
    }
    for (unit, removal) in found.iter().filter(|(_, removal)| removal.way == Way::ShrinkChain) {
        if let Err((other, reason)) = target(&found, unit, removal) {
            return error(unit, other, reason);
        }
    }
    for (unit, features) in dense(&found) {
        let loses = |value: ValueId| features.cut.axes().any(|(at, _)| at.value == value);
        let reads_on = |other: &Unit, removal: &Removal| target(&found, other, removal).ok().map(|next| next.weight);
        let meets = |(other, removal): &&(&Unit, Removal)| {
            let values = [Some(removal.from), Some(removal.to), reads_on(other, removal)];
            removal.way != Way::DropFeatures && values.into_iter().flatten().any(loses)
        };
        if let Some((other, _)) = found.iter().find(meets) {
            return error(unit, other, "the features of the one are among what the other reads or gives");
        }
    }
    let leads = |mut value: ValueId| {
        while let Some((_, removal)) = found.iter().find(|(_, removal)| removal.from == value) {
            value = removal.to;
        }
        value
    };
    let gone = |unit: &Unit| found.iter().any(|(other, _)| unit.nodes.iter().all(|id| other.gone.contains(id)));
    for block in units.all().filter(|unit| !gone(unit)) {
        let Some(branch) = block.branch.filter(|&branch| leads(branch) != branch) else { continue };
        if leads(branch) == leads(block.entry) {
            let mut parts = found.iter().filter(|(unit, _)| unit.nodes.iter().all(|id| block.nodes.contains(id)));
            let (Some((first, _)), Some((last, _))) = (parts.next(), parts.next_back()) else { continue };
            let reason = format!("they are the whole branch of `{}`, which can only go as one", block.name);
            return error(first, last, &reason);
        }
    }
    None
}

/// The weighted node that reads the entry of `unit` in the end: the next one that stays.
fn target<'u>(
    found: &[(&'u Unit, Removal)],
    unit: &'u Unit,
    removal: &Removal,
) -> Result<Next, (&'u Unit, &'static str)> {
    let shrink = unit.shrink.as_ref().filter(|_| removal.way == Way::ShrinkChain);
    let mut next = shrink.ok_or((unit, "it does not shrink"))?.next;
    let hands_on = |next: &Next| shrink.is_some_and(|shrink| shrink.windows.iter().any(|it| it.node == next.node));
    let strided = hands_on(&next);
    while let Some((over, _)) = found.iter().find(|(over, _)| over.gone.contains(&next.node)) {
        next = over.next.ok_or((*over, "the layer behind both cannot take other channels"))?;
    }
    if strided && !next.takes_stride {
        return Err((unit, "no layer behind both can take over the stride"));
    }
    Ok(next)
}

/// The dense layers among `found`.
fn dense<'u>(found: &[(&'u Unit, Removal)]) -> impl Iterator<Item = (&'u Unit, &'u Features)> {
    let dense = found.iter().filter(|(_, removal)| removal.way == Way::DropFeatures);
    dense.filter_map(|(unit, _)| Some((*unit, unit.features.as_ref()?)))
}

/// The predicted cost of the model without `removed`.
pub(super) fn cost(units: &Units, removed: &[PlannedRemoval]) -> Cost {
    let found = found(units, removed);
    let gone: BTreeSet<NodeId> =
        found.iter().flat_map(|(unit, removal)| unit.gone_by(removal.way).iter().copied()).collect();
    let mut shrunk: Vec<(&Unit, Next)> =
        found.iter().filter_map(|(unit, removal)| Some((*unit, target(&found, unit, removal).ok()?))).collect();
    shrunk.sort_by_key(|(unit, _)| unit.position);
    let mut resized: Vec<Resized> = Vec::new();
    for (unit, next) in shrunk {
        let Some(shrink) = &unit.shrink else { continue };
        let bias = if shrink.constant { next.filters } else { 0 };
        match resized.iter_mut().find(|it| it.node == next.node) {
            // The first of several reads what the last one hands on.
            Some(it) => it.bias = it.bias.max(bias),
            None => resized.push(Resized {
                node: next.node,
                weight: next.weight,
                before: next.channels,
                after: shrink.channels,
                bias,
                old_bias: next.bias,
            }),
        }
    }
    let left = units.costs.after(&gone, &resized);
    let bridges = found.iter().filter(|(_, removal)| removal.way.is_fitted());
    let new = bridges.filter_map(|(unit, removal)| Some(unit.bridge.as_ref().ok()?.cost(removal.way)));
    let left = new.fold(left, Cost::plus);
    let dense: Vec<&Features> = dense(&found).map(|(_, features)| features).collect();
    left.minus(Features::lost(&dense, &units.shapes, &units.costs, &gone))
}
