//! All channels together held to a budget.

use layerprune::plan::WidthBudget;

use super::{ChannelLimit, Ecc};
use crate::checkpoint::{Kept, Section};
use crate::error::TrainError;
use crate::regularize::Regularizer;
use crate::session::Session;
use crate::settings::refuse;
use crate::weights::Weights;

/// How far below zero the steepest slope of `s` is made, so that something moves (published).
const LEAST_SLOPE: f64 = 1e-3;
/// What a cost may be off by rounding, as a share of it.
const ROUNDING: f64 = 1e-12;
/// Halvings by which a move is cut short where the budget ends.
const HALVINGS: usize = 50;

pub(super) fn check(budget: &WidthBudget) -> Result<(), TrainError> {
    let names: Vec<&str> = budget.groups.iter().map(|group| group.name.as_str()).collect();
    if names.is_empty() {
        return refuse("sparsity.budget.groups", "empty", "at least one group");
    }
    if let Some(twice) = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name)) {
        return refuse("sparsity.budget.groups", twice.1, "each group once");
    }
    let fits = |(group, least): (&layerprune::analysis::ReadGroup, &usize)| {
        let all = group.readers.iter().all(|reader| reader.indices.len() == group.channels);
        !group.readers.is_empty() && all && (1..=group.channels).contains(least)
    };
    if budget.least.len() != names.len() || !budget.groups.iter().zip(&budget.least).all(fits) {
        return refuse(
            "sparsity.budget.least",
            format!("{:?}", budget.least),
            "for each group a number from 1 to its channels, and indices for each channel of its readers,",
        );
    }
    if let Some(other) = budget.cost.groups().into_iter().find(|group| !names.contains(group)) {
        return refuse("sparsity.budget.cost", other, "a cost of the named groups alone");
    }
    if !budget.cost.is_rising() || budget.cost.groups().is_empty() {
        return refuse("sparsity.budget.cost", format!("{:?}", budget.cost), "a cost that rises with the channels");
    }
    if !(budget.limit.is_finite() && budget.limit >= budget.lowest()) {
        let expected = "at least what the fewest channels cost that may be left";
        return refuse("sparsity.budget.limit", budget.limit, expected);
    }
    Ok(())
}

/// A polynomial of the numbers of channels, by the places of groups.
#[derive(Debug, Clone)]
struct Cost {
    constant: f64,
    linear: Vec<(usize, f64)>,
    products: Vec<(usize, usize, f64)>,
}

impl Cost {
    /// The budget's cost over that of the whole model, which is then 1.
    fn of(budget: &WidthBudget) -> Self {
        let place = |name: &str| budget.groups.iter().position(|group| group.name == name);
        let place = |name: &str| place(name).expect("a budget is checked before it is used");
        let cost = &budget.cost;
        let whole = cost.at(|name| budget.groups[place(name)].channels as f64);
        let products = cost.products.iter().map(|it| (place(&it.a), place(&it.b), it.factor / whole));
        Self {
            constant: cost.constant / whole,
            linear: cost.linear.iter().map(|(name, factor)| (place(name), factor / whole)).collect(),
            products: products.collect(),
        }
    }

    fn at(&self, s: &[f64]) -> f64 {
        let linear: f64 = self.linear.iter().map(|&(group, factor)| factor * s[group]).sum();
        let products: f64 = self.products.iter().map(|&(a, b, factor)| factor * s[a] * s[b]).sum();
        self.constant + linear + products
    }

    fn gradient(&self, s: &[f64]) -> Vec<f64> {
        let mut gradient = vec![0.0; s.len()];
        self.linear.iter().for_each(|&(group, factor)| gradient[group] += factor);
        for &(a, b, factor) in &self.products {
            gradient[a] += factor * s[b];
            gradient[b] += factor * s[a];
        }
        gradient
    }
}

/// The variables that the budget adds to the weights, and how they move.
#[derive(Debug, Clone)]
struct Variables {
    /// `s` and `y` of each group.
    limits: Vec<ChannelLimit>,
    /// `z`.
    price: f64,
    least: Vec<f64>,
    cost: Cost,
    rho: f64,
    longest: f64,
}

impl Variables {
    fn s(&self) -> Vec<f64> {
        self.limits.iter().map(|limit| limit.limit).collect()
    }

    /// Moves `s` down the gradient of the augmented Lagrangian until `F(s)` is at most `allowed`, where groups have `left`
    /// channels.
    fn lower(&mut self, left: &[usize], allowed: f64) {
        loop {
            let s = self.s();
            if self.cost.at(&s) <= allowed * (1.0 + ROUNDING) {
                return;
            }
            let Some(slope) = self.slope(&s, left, allowed) else { return };
            let norm = slope.iter().map(|slope| slope * slope).sum::<f64>().sqrt();
            let moved = |share: f64| {
                let to =
                    |((s, slope), least): ((&f64, f64), &f64)| (s - share * self.longest * slope / norm).max(*least);
                s.iter().zip(slope.iter().copied()).zip(&self.least).map(to).collect::<Vec<f64>>()
            };
            let mut share = 1.0;
            if self.cost.at(&moved(1.0)) < allowed {
                let (mut short, mut enough) = (0.0, 1.0);
                for _ in 0..HALVINGS {
                    let middle = f64::midpoint(short, enough);
                    if self.cost.at(&moved(middle)) <= allowed { enough = middle } else { short = middle }
                }
                share = enough;
            }
            let moved = moved(share);
            if moved == s {
                return;
            }
            self.limits.iter_mut().zip(moved).for_each(|(limit, s)| limit.limit = s);
        }
    }

    /// The gradient at `s`, zero where it would make an `s` rise or fall too far; raises `z` so far that one of them falls.
    /// `None` where none can.
    fn slope(&mut self, s: &[f64], left: &[usize], allowed: f64) -> Option<Vec<f64>> {
        let above = (self.cost.at(s) - allowed).max(0.0);
        let of_cost = self.cost.gradient(s);
        let rest: Vec<f64> = (0..s.len())
            .map(|g| {
                let ChannelLimit { dual, rho, .. } = self.limits[g];
                self.rho * above * of_cost[g] - rho * (left[g] as f64 - s[g]).max(0.0) - dual
            })
            .collect();
        let open: Vec<usize> = (0..s.len()).filter(|&g| s[g] > self.least[g] && of_cost[g] > 0.0).collect();
        let needed = open.iter().map(|&g| (LEAST_SLOPE - rest[g].min(0.0)) / of_cost[g]).min_by(f64::total_cmp)?;
        self.price = self.price.max(needed);
        let mut slope = vec![0.0; s.len()];
        open.into_iter().for_each(|g| slope[g] = (rest[g] + self.price * of_cost[g]).max(0.0));
        Some(slope)
    }

    /// Dual ascent.
    fn raise(&mut self, left: &[usize], allowed: f64) {
        self.price = (self.price + self.rho * (self.cost.at(&self.s()) - allowed)).max(0.0);
        for (limit, &left) in self.limits.iter_mut().zip(left) {
            let mut whole = ChannelLimit { limit: limit.limit.floor(), ..*limit };
            whole.raise(left);
            limit.dual = whole.dual;
        }
    }
}

/// A weight that reads a group.
struct Part {
    place: usize,
    inner: usize,
    /// Which channel each index of its axis reads.
    channel_of: Vec<Option<usize>>,
}

impl Part {
    fn channel(&self, place: usize) -> Option<usize> {
        self.channel_of[place / self.inner % self.channel_of.len()]
    }
}

/// The budget in training.
pub(in crate::regularize) struct Budgeted {
    names: Vec<String>,
    channels: Vec<usize>,
    /// The readers of each group.
    parts: Vec<Vec<Part>>,
    variables: Variables,
    /// `F` before the first step, what it may be in the end, and the step at which it has to be that.
    start: f64,
    end: f64,
    steps: f64,
    /// `s` and `y` of each group, as a checkpoint holds them.
    kept: Vec<[f32; 2]>,
    /// `z` and the steps that were done, as a checkpoint holds them.
    shared: [f32; 2],
}

impl Budgeted {
    /// `all_steps` is how many the whole run has.
    pub(in crate::regularize) fn new(
        settings: &Ecc,
        budget: &WidthBudget,
        session: &Session,
        all_steps: usize,
    ) -> Result<Self, TrainError> {
        let parts: Vec<Vec<Part>> = budget
            .groups
            .iter()
            .map(|group| group.readers.iter().map(|reader| part(reader, session)).collect())
            .collect::<Result<_, _>>()?;
        let channels: Vec<usize> = budget.groups.iter().map(|group| group.channels).collect();
        let least: Vec<f64> = budget.least.iter().map(|&least| least as f64).collect();
        let count = |(parts, &channels): (&Vec<Part>, &usize)| left(&squares(parts, channels, &session.weights));
        let counts: Vec<usize> = parts.iter().zip(&channels).map(count).collect();
        let limit = |(&left, &least): (&usize, &f64)| ChannelLimit {
            limit: (left as f64).max(least),
            dual: 0.0,
            rho: settings.rho,
        };
        let limits: Vec<ChannelLimit> = counts.iter().zip(&least).map(limit).collect();
        let cost = Cost::of(budget);
        let whole: Vec<f64> = channels.iter().map(|&channels| channels as f64).collect();
        let end = budget.limit
            / budget.cost.at(|name| {
                let group = budget.groups.iter().position(|group| group.name == name);
                group.map_or(0.0, |group| whole[group])
            });
        let (rho, longest) = (settings.budget_rho, settings.longest);
        let variables = Variables { limits, price: 0.0, least, cost, rho, longest };
        Ok(Self {
            names: budget.groups.iter().map(|group| group.name.clone()).collect(),
            channels,
            parts,
            start: variables.cost.at(&variables.s()),
            end,
            steps: (settings.within * all_steps as f64).round().max(1.0),
            kept: variables.limits.iter().map(|limit| [limit.limit as f32, 0.0]).collect(),
            shared: [0.0, 0.0],
            variables,
        })
    }

    /// What `F(s)` may be behind so many steps.
    fn allowed(&self, done: f64) -> f64 {
        let share = (1.0 - done / self.steps).max(0.0);
        self.end + share * (self.start - self.end).max(0.0)
    }

    /// Begins each `y` at its bound, which is what the weakest channel is worth: `s` first falls where that is least for what
    /// it costs, not everywhere at once.
    fn begin(&mut self, weights: &Weights, rate: f64) {
        for ((limit, parts), &channels) in self.variables.limits.iter_mut().zip(&self.parts).zip(&self.channels) {
            limit.dual = f64::MAX;
            limit.bound(&squares(parts, channels, weights), rate);
        }
    }

    /// The proximal step of one group; gives how many channels it has left.
    fn prune(&mut self, group: usize, weights: &mut Weights, rate: f64) -> usize {
        let squares = squares(&self.parts[group], self.channels[group], weights);
        let limit = &mut self.variables.limits[group];
        limit.bound(&squares, rate);
        let zero = limit.going(&squares, rate);
        for part in &self.parts[group] {
            for (place, number) in weights.floats_mut(part.place).iter_mut().enumerate() {
                if part.channel(place).is_some_and(|channel| zero[channel]) {
                    *number = 0.0;
                }
            }
        }
        (0..zero.len()).filter(|&channel| !zero[channel] && squares[channel] > 0.0).count()
    }

    fn load(&mut self) {
        self.variables.price = f64::from(self.shared[0]);
        for (limit, &[s, y]) in self.variables.limits.iter_mut().zip(&self.kept) {
            (limit.limit, limit.dual) = (f64::from(s), f64::from(y));
        }
    }

    fn store(&mut self) {
        self.shared[0] = self.variables.price as f32;
        for (limit, kept) in self.variables.limits.iter().zip(&mut self.kept) {
            *kept = [at_most(limit.limit), limit.dual as f32];
        }
    }
}

impl Regularizer for Budgeted {
    fn after(&mut self, weights: &mut Weights, rate: f32) {
        self.load();
        if self.shared[1] == 0.0 {
            self.begin(weights, f64::from(rate));
        }
        let left: Vec<usize> = (0..self.parts.len()).map(|group| self.prune(group, weights, f64::from(rate))).collect();
        self.shared[1] += 1.0;
        let allowed = self.allowed(f64::from(self.shared[1]));
        self.variables.lower(&left, allowed);
        self.variables.raise(&left, allowed);
        self.store();
    }

    fn section(&self) -> Option<Section<'_>> {
        let groups = self.names.iter().zip(&self.kept);
        let groups = groups.map(|(name, kept)| Kept { name, dims: &[2], data: kept });
        let shared = Kept { name: "price and steps", dims: &[2], data: &self.shared };
        Some(Section { name: "ecc-budget", tensors: groups.chain([shared]).collect() })
    }

    fn numbers_mut(&mut self) -> Vec<&mut [f32]> {
        let groups = self.kept.iter_mut().map(|kept| &mut kept[..]);
        groups.chain([&mut self.shared[..]]).collect()
    }
}

/// The nearest number that is not greater: what is kept of `s` must not allow a channel more.
fn at_most(number: f64) -> f32 {
    let nearest = number as f32;
    if f64::from(nearest) > number { nearest.next_down() } else { nearest }
}

fn squares(parts: &[Part], channels: usize, weights: &Weights) -> Vec<f64> {
    let mut squares = vec![0.0; channels];
    for part in parts {
        for (place, &number) in weights.floats(part.place).iter().enumerate() {
            if let Some(channel) = part.channel(place) {
                squares[channel] += f64::from(number) * f64::from(number);
            }
        }
    }
    squares
}

fn left(squares: &[f64]) -> usize {
    squares.iter().filter(|&&square| square > 0.0).count()
}

/// The trained weight that `reader` names.
fn part(reader: &layerprune::analysis::Reader, session: &Session) -> Result<Part, TrainError> {
    let weights = &session.weights.0;
    let Some(&place) = session.trained.iter().find(|&&place| weights[place].name == reader.weight) else {
        let known = session.trained.iter().map(|&place| format!("`{}`", weights[place].name));
        return Err(TrainError::NoSuchTensor {
            setting: "ecc",
            pattern: reader.weight.clone(),
            what: "trained weight",
            known: known.collect::<Vec<_>>().join(", "),
        });
    };
    let dims = &weights[place].dims;
    let channel_of = dims.get(reader.axis).and_then(|&size| reader.channel_of(size));
    match channel_of {
        Some(channel_of) if !channel_of.is_empty() => {
            Ok(Part { place, inner: dims[reader.axis + 1..].iter().product::<usize>().max(1), channel_of })
        }
        _ => refuse("sparsity.budget.groups", &reader.weight, "a weight with the axis and indices that are named"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `F = (4 + s₀ + s₁) / 12`, or a product of both, over groups of four channels.
    fn variables(products: bool) -> Variables {
        let cost = match products {
            false => {
                Cost { constant: 4.0 / 12.0, linear: vec![(0, 1.0 / 12.0), (1, 1.0 / 12.0)], products: Vec::new() }
            }
            true => Cost { constant: 0.0, linear: Vec::new(), products: vec![(0, 1, 1.0 / 16.0)] },
        };
        let limit = ChannelLimit { limit: 4.0, dual: 0.0, rho: 10.0 };
        Variables { limits: vec![limit; 2], price: 0.0, least: vec![1.0; 2], cost, rho: 10.0, longest: 0.5 }
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-9, "{found:?} instead of {expected:?}");
        }
    }

    #[test]
    fn gradients_of_the_cost_are_those_of_hand_arithmetic() {
        let cost = variables(true).cost;
        assert_eq!(cost.at(&[4.0, 2.0]), 0.5);
        assert_eq!(cost.gradient(&[4.0, 2.0]), [2.0 / 16.0, 4.0 / 16.0]);
        let square = Cost { constant: 1.0, linear: Vec::new(), products: vec![(0, 0, 3.0)] };
        assert_eq!((square.at(&[2.0]), square.gradient(&[2.0])), (13.0, vec![12.0]));
    }

    #[test]
    fn one_step_is_that_of_hand_arithmetic() {
        let mut variables = variables(false);
        // y of 6 and 0.5, φ of 4 and 4, s of 3.5 and 4; F = 11.5/12, allowed are 11/12.
        variables.limits[0].limit = 3.5;
        (variables.limits[0].dual, variables.limits[1].dual) = (6.0, 0.5);
        let allowed = 11.0 / 12.0;
        let slope = variables.slope(&[3.5, 4.0], &[4, 4], allowed).unwrap();
        // The rest is 10 · (0.5/12)/12 - 10 · 0.5 - 6 and the same - 0.5.
        let penalty = 10.0 * 0.5 / 144.0;
        let price = (1e-3 - (penalty - 0.5)) * 12.0;
        close(&[variables.price], &[price]);
        close(&slope, &[0.0, 1e-3]);
        // The one that falls goes down by half a channel, which is what the budget asks for.
        variables.lower(&[4, 4], allowed);
        close(&variables.s(), &[3.5, 3.5]);
        // y = y + 10 · (φ - ⌊s⌋), and z stays where F is what is allowed.
        variables.raise(&[4, 4], allowed);
        close(&[variables.limits[0].dual, variables.limits[1].dual], &[16.0, 10.5]);
        assert!((variables.price - price).abs() < 1e-6, "{}", variables.price);
    }

    #[test]
    fn moves_end_where_the_budget_is_met_and_at_the_least() {
        let mut even = variables(true);
        even.lower(&[4, 4], 0.25);
        close(&even.s(), &[2.0, 2.0]);
        let mut uneven = variables(true);
        uneven.limits[0].dual = 1e6;
        uneven.lower(&[4, 4], 0.25);
        close(&uneven.s(), &[4.0, 1.0]);
        uneven.lower(&[4, 4], 0.125);
        close(&uneven.s(), &[2.0, 1.0]);
        uneven.lower(&[4, 4], 0.0);
        close(&uneven.s(), &[1.0, 1.0]);
    }

    #[test]
    fn what_is_kept_of_a_limit_allows_no_channel_more() {
        assert_eq!(at_most(3.0 - 1e-12), 3.0_f32.next_down());
        assert_eq!(at_most(3.0), 3.0);
        assert_eq!(at_most(1.0 + 1e-12), 1.0);
    }
}
