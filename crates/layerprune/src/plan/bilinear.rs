//! What a model takes as a bilinear function of the channels that its groups keep.
//!
//! Yang, Zhu and Liu, "ECC: Platform-Independent Energy-Constrained Deep Neural Network Compression via a Bilinear Regression
//! Model", CVPR 2019, section 4: `F(s) = a₀ + Σ aₗ · sₗ · sₗ₊₁`, with `sₗ` the input channels of layer `l`. There it is energy;
//! here whatever the samples measure, which is latency in milliseconds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::analysis::{NodeWidths, ReadGroup, Width};
use crate::fit::{FitError, non_negative};
use crate::graph::Graph;
use crate::stats;

/// Penalty on the coefficients for each sample: it only decides between nodes that no sample tells apart.
const PENALTY: f64 = 1e-6;
/// What a cost may be off by rounding, as a share of it.
const ROUNDING: f64 = 1e-9;
/// Parts that samples are put into to tell the error: each is predicted by a fit to the others.
const PARTS: usize = 5;

/// A cost as a function of the numbers of channels: `constant + Σ linear · s + Σ factor · sₐ · s_b`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Bilinear {
    /// What does not depend on channels.
    pub constant: f64,
    /// By the name of a group, the factor of its channels.
    pub linear: BTreeMap<String, f64>,
    /// Factors of products.
    pub products: Vec<Product>,
}

/// The factor of a product of the channels of two groups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Product {
    /// A group.
    pub a: String,
    /// Another one, or the same.
    pub b: String,
    /// The factor.
    pub factor: f64,
}

/// What some weighted nodes have in common: one function of channels that the work of each is proportional to.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// The nodes' names.
    pub nodes: Vec<String>,
    /// Their work; 1 for the whole model.
    pub work: Bilinear,
}

/// A thinned model that was timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WidthSample {
    /// Channels kept, for every group.
    pub kept: BTreeMap<String, usize>,
    /// Milliseconds a call.
    pub ms: f64,
}

/// By how far a fit is off on samples that it was not made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ModelError {
    /// Samples in all, each predicted by a fit to the four fifths that it is not in.
    pub samples: usize,
    /// Share of the samples' variance that the predictions explain; at most 1, and below 0 where the mean predicts better.
    /// Absent where all samples are the same.
    pub r2: Option<f64>,
    /// Median of `100 · |predicted − measured| / measured`.
    pub median_percent: f64,
    /// 95 % quantile of the same.
    pub p95_percent: f64,
}

/// A limit on what a model costs, on channels that training towards zeros can take away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WidthBudget {
    /// The groups that may lose channels.
    pub groups: Vec<ReadGroup>,
    /// For each of them, how many channels stay at least; not 0.
    pub least: Vec<usize>,
    /// What the model costs, as a function of their channels alone.
    pub cost: Bilinear,
    /// What it may cost, in the same unit.
    pub limit: f64,
}

/// What a model costs whose weights hold zeros.
#[derive(Debug, Clone, PartialEq)]
pub struct Spent {
    /// `F(φ(W))`, in the budget's unit.
    pub cost: f64,
    /// By group, how many channels are read with something else than zeros.
    pub left: BTreeMap<String, usize>,
    /// Whether the cost is within the limit.
    pub within: bool,
}

impl Bilinear {
    /// The cost where groups keep so many channels.
    pub fn at(&self, kept: impl Fn(&str) -> f64) -> f64 {
        let linear: f64 = self.linear.iter().map(|(group, factor)| factor * kept(group)).sum();
        let products = self.products.iter().map(|it| it.factor * kept(&it.a) * kept(&it.b));
        self.constant + linear + products.sum::<f64>()
    }

    /// The same cost as a function of some groups alone, where each other one keeps what `fixed` says.
    #[must_use]
    pub fn restricted(&self, free: &BTreeSet<String>, fixed: impl Fn(&str) -> f64) -> Self {
        let mut sums = Sums { constant: self.constant, ..Sums::default() };
        for (group, &factor) in &self.linear {
            match free.contains(group) {
                true => sums.linear(group, factor),
                false => sums.constant += factor * fixed(group),
            }
        }
        for Product { a, b, factor } in &self.products {
            match (free.contains(a), free.contains(b)) {
                (true, true) => sums.product(a, b, *factor),
                (true, false) => sums.linear(a, factor * fixed(b)),
                (false, true) => sums.linear(b, factor * fixed(a)),
                (false, false) => sums.constant += factor * fixed(a) * fixed(b),
            }
        }
        sums.into_bilinear()
    }

    /// The groups it is a function of.
    #[must_use]
    pub fn groups(&self) -> BTreeSet<&str> {
        let products = self.products.iter().flat_map(|product| [&product.a, &product.b]);
        self.linear.keys().chain(products).map(String::as_str).collect()
    }

    /// Whether no factor is below zero or not finite: more channels never cost less.
    #[must_use]
    pub fn is_rising(&self) -> bool {
        let factors = self.linear.values().copied().chain(self.products.iter().map(|product| product.factor));
        factors.chain([self.constant]).all(|factor| factor.is_finite() && factor >= 0.0)
    }

    fn is_constant(&self) -> bool {
        self.linear.is_empty() && self.products.is_empty()
    }

    fn product_of(a: &Width, b: &Width) -> Self {
        let mut sums = Sums { constant: a.constant * b.constant, ..Sums::default() };
        a.times.iter().for_each(|(group, times)| sums.linear(group, times * b.constant));
        b.times.iter().for_each(|(group, times)| sums.linear(group, times * a.constant));
        for (one, times) in &a.times {
            b.times.iter().for_each(|(other, more)| sums.product(one, other, times * more));
        }
        sums.into_bilinear()
    }

    /// The sum of costs, each by a factor.
    pub fn sum<'b>(parts: impl IntoIterator<Item = (f64, &'b Self)>) -> Self {
        let mut sums = Sums::default();
        for (factor, part) in parts {
            sums.constant += factor * part.constant;
            part.linear.iter().for_each(|(group, times)| sums.linear(group, factor * times));
            part.products.iter().for_each(|it| sums.product(&it.a, &it.b, factor * it.factor));
        }
        sums.into_bilinear()
    }
}

/// Factors that are being added up.
#[derive(Default)]
struct Sums {
    constant: f64,
    linear: BTreeMap<String, f64>,
    products: BTreeMap<(String, String), f64>,
}

impl Sums {
    fn linear(&mut self, group: &str, factor: f64) {
        *self.linear.entry(group.to_owned()).or_default() += factor;
    }

    fn product(&mut self, a: &str, b: &str, factor: f64) {
        *self.products.entry((a.min(b).to_owned(), a.max(b).to_owned())).or_default() += factor;
    }

    fn into_bilinear(self) -> Bilinear {
        let products = self.products.into_iter().filter(|(_, factor)| *factor != 0.0);
        Bilinear {
            constant: self.constant,
            linear: self.linear.into_iter().filter(|(_, factor)| *factor != 0.0).collect(),
            products: products.map(|((a, b), factor)| Product { a, b, factor }).collect(),
        }
    }
}

/// One term for each kind of work: `in · out` of a weighted node, and `out` of a depthwise one, both over what they are in the
/// whole model. Nodes whose work is the same function of the channels share a term, since no sample tells them apart; those
/// that no group changes are in none.
#[must_use]
pub fn cost_terms(widths: &[NodeWidths], whole: impl Fn(&str) -> f64) -> Vec<Term> {
    let mut terms: Vec<Term> = Vec::new();
    for NodeWidths { node, input, output } in widths {
        let work = Bilinear::product_of(input, output);
        let all = work.at(&whole);
        let work = Bilinear::sum([(1.0 / all, &work)]);
        if work.is_constant() || !all.is_finite() || all <= 0.0 {
            continue;
        }
        match terms.iter_mut().find(|term| term.work == work) {
            Some(term) => term.nodes.push(node.clone()),
            None => terms.push(Term { nodes: vec![node.clone()], work }),
        }
    }
    terms
}

/// The cost that explains the samples best: `a₀ + Σ a · work` over `terms`, by least squares with no coefficient below zero.
/// The error is that of samples which are left out of the fit in turns.
///
/// # Errors
/// [`FitError`] where there are no samples, or times that are not finite.
pub fn fit_cost(terms: &[Term], samples: &[WidthSample]) -> Result<(Bilinear, ModelError), FitError> {
    let all: Vec<usize> = (0..samples.len()).collect();
    let cost = fit_to(terms, samples, &all)?;
    let mut predicted = vec![0.0; samples.len()];
    for part in 0..PARTS.min(samples.len()) {
        let (own, others): (Vec<usize>, Vec<usize>) = all.iter().partition(|&&place| place % PARTS == part);
        let others = if others.is_empty() { &own } else { &others };
        let without = fit_to(terms, samples, others)?;
        own.iter().for_each(|&place| predicted[place] = without.at(|group| samples[place].channels(group)));
    }
    Ok((cost, ModelError::of(samples, &predicted)))
}

fn fit_to(terms: &[Term], samples: &[WidthSample], places: &[usize]) -> Result<Bilinear, FitError> {
    let row = |sample: &WidthSample| {
        let works = terms.iter().map(|term| term.work.at(|group| sample.channels(group)));
        [1.0].into_iter().chain(works).collect::<Vec<f64>>()
    };
    let rows: Vec<Vec<f64>> = places.iter().map(|&place| row(&samples[place])).collect();
    let times: Vec<f64> = places.iter().map(|&place| samples[place].ms).collect();
    let found = non_negative(&rows, &times, PENALTY * places.len() as f64)?;
    let one = Bilinear { constant: 1.0, ..Bilinear::default() };
    let works = terms.iter().map(|term| &term.work);
    Ok(Bilinear::sum(found.into_iter().zip([&one].into_iter().chain(works))))
}

impl WidthSample {
    fn channels(&self, group: &str) -> f64 {
        self.kept.get(group).map_or(0.0, |&kept| kept as f64)
    }
}

impl ModelError {
    fn of(samples: &[WidthSample], predicted: &[f64]) -> Self {
        let pairs = || samples.iter().map(|sample| sample.ms).zip(predicted);
        let times: Vec<f64> = samples.iter().map(|sample| sample.ms).collect();
        let mean = stats::mean(&times).unwrap_or_default();
        let spread: f64 = times.iter().map(|ms| (ms - mean).powi(2)).sum();
        let missed: f64 = pairs().map(|(ms, predicted)| (ms - predicted).powi(2)).sum();
        let percents: Vec<f64> = pairs().map(|(ms, predicted)| 100.0 * (predicted - ms).abs() / ms).collect();
        Self {
            samples: samples.len(),
            r2: (spread > 0.0).then(|| 1.0 - missed / spread),
            median_percent: stats::median(&percents).unwrap_or_default(),
            p95_percent: stats::quantile(&percents, 0.95).unwrap_or_default(),
        }
    }
}

impl WidthBudget {
    /// A limit on `cost` by the channels of `groups` alone, each with how many stay at least; the other groups keep what
    /// `whole` says.
    #[must_use]
    pub fn new(groups: Vec<(ReadGroup, usize)>, cost: &Bilinear, whole: impl Fn(&str) -> f64, limit: f64) -> Self {
        let free = groups.iter().map(|(group, _)| group.name.clone()).collect();
        let (groups, least) = groups.into_iter().map(|(group, least)| (group, least.max(1))).unzip();
        Self { groups, least, cost: cost.restricted(&free, whole), limit }
    }

    /// The lowest cost there is: every group keeps no more than it must.
    #[must_use]
    pub fn lowest(&self) -> f64 {
        let least: BTreeMap<&str, usize> =
            self.groups.iter().map(|group| group.name.as_str()).zip(self.least.iter().copied()).collect();
        self.cost.at(|group| least.get(group).map_or(0.0, |&least| least as f64))
    }

    /// What a model costs with the zeros that its weights hold; `None` where it does not have the weights.
    #[must_use]
    pub fn spent(&self, graph: &Graph) -> Option<Spent> {
        let count = |group: &ReadGroup| {
            let left = group.squares(graph)?.into_iter().filter(|&square| square > 0.0).count();
            Some((group.name.clone(), left))
        };
        let left: BTreeMap<String, usize> = self.groups.iter().map(count).collect::<Option<_>>()?;
        let cost = self.cost.at(|group| left.get(group).map_or(0.0, |&left| left as f64));
        Some(Spent { cost, left, within: cost <= self.limit * (1.0 + ROUNDING) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::SplitMix;

    fn width(constant: f64, times: &[(&str, f64)]) -> Width {
        Width { constant, times: times.iter().map(|(name, times)| ((*name).to_owned(), *times)).collect() }
    }

    fn node(name: &str, input: Width, output: Width) -> NodeWidths {
        NodeWidths { node: name.to_owned(), input, output }
    }

    /// A stem of `a` filters, a residual block of `b` channels inside, a depthwise layer, and a classifier of ten classes.
    fn widths() -> Vec<NodeWidths> {
        let (a, b) = (|| width(0.0, &[("a", 1.0)]), || width(0.0, &[("b", 1.0)]));
        vec![
            node("stem", width(3.0, &[]), a()),
            node("conv1", a(), b()),
            node("conv2", b(), a()),
            node("depthwise", width(1.0, &[]), a()),
            node("fc", width(0.0, &[("a", 4.0)]), width(10.0, &[])),
        ]
    }

    const WHOLE: [(&str, f64); 2] = [("a", 16.0), ("b", 8.0)];

    fn whole(group: &str) -> f64 {
        WHOLE.iter().find(|(name, _)| *name == group).map_or(0.0, |(_, channels)| *channels)
    }

    fn samples(count: usize, noise: f64, ms: impl Fn(f64, f64) -> f64) -> Vec<WidthSample> {
        let mut random = SplitMix::new(5);
        let sample = |_| {
            let kept: BTreeMap<String, usize> =
                WHOLE.iter().map(|(name, most)| ((*name).to_owned(), 1 + random.below(*most as usize))).collect();
            let ms = ms(kept["a"] as f64, kept["b"] as f64) * (1.0 + noise * random.normal());
            WidthSample { kept, ms }
        };
        (0..count).map(sample).collect()
    }

    #[test]
    fn nodes_that_no_sample_tells_apart_share_a_term() {
        let terms = cost_terms(&widths(), whole);
        let nodes: Vec<Vec<&str>> = terms.iter().map(|term| term.nodes.iter().map(String::as_str).collect()).collect();
        assert_eq!(nodes, [vec!["stem", "depthwise", "fc"], vec!["conv1", "conv2"]]);
        for term in &terms {
            assert!((term.work.at(whole) - 1.0).abs() < 1e-12);
        }
        let halves = terms[1].work.at(|group| whole(group) / 2.0);
        assert_eq!(halves, 0.25);
    }

    #[test]
    fn planted_coefficients_are_found() {
        let samples = samples(60, 0.0, |a, b| 0.5 + 0.02 * a + 0.003 * a * b);
        let (cost, error) = fit_cost(&cost_terms(&widths(), whole), &samples).unwrap();
        assert!((cost.constant - 0.5).abs() < 1e-3, "{cost:?}");
        assert!((cost.linear["a"] - 0.02).abs() < 1e-4, "{cost:?}");
        assert!((cost.products[0].factor - 0.003).abs() < 1e-5, "{cost:?}");
        assert!(error.median_percent < 0.1 && error.r2.unwrap() > 0.999_99, "{error:?}");
    }

    #[test]
    fn the_error_is_that_of_samples_left_out() {
        let terms = cost_terms(&widths(), whole);
        let (_, quiet) = fit_cost(&terms, &samples(100, 0.0, |a, b| 1.0 + 0.01 * a * b)).unwrap();
        let (cost, noisy) = fit_cost(&terms, &samples(100, 0.1, |a, b| 1.0 + 0.01 * a * b)).unwrap();
        assert!((3.0..15.0).contains(&noisy.median_percent), "noise of 10 % cannot be foretold: {noisy:?}");
        assert!(quiet.median_percent < 0.1 && noisy.p95_percent > noisy.median_percent);
        assert!(cost.is_rising());
        // Three samples for two coefficients and a constant: what is fitted to two of them says little of the third.
        let few = samples(3, 0.3, |a, b| 1.0 + 0.01 * a * b);
        let (_, few) = fit_cost(&terms, &few).unwrap();
        assert!(few.median_percent > 5.0, "{few:?}");
        assert_eq!(fit_cost(&terms, &[]).unwrap_err(), FitError::Empty);
    }

    #[test]
    fn a_cost_of_some_groups_holds_the_others_at_what_they_keep() {
        let cost = Bilinear::sum([(2.0, &cost_terms(&widths(), whole)[1].work)]);
        let only_b = cost.restricted(&BTreeSet::from(["b".to_owned()]), whole);
        assert_eq!(only_b.groups(), BTreeSet::from(["b"]));
        for channels in [1.0, 5.0, 8.0] {
            let together = cost.at(|group| if group == "b" { channels } else { whole(group) });
            assert!((only_b.at(|_| channels) - together).abs() < 1e-12);
        }
        assert!((cost.restricted(&BTreeSet::new(), whole).constant - 2.0).abs() < 1e-12);
    }

    #[test]
    fn the_json_form_keeps_the_numbers() {
        let (cost, error) =
            fit_cost(&cost_terms(&widths(), whole), &samples(20, 0.05, |a, b| 1.0 + 0.01 * a * b)).unwrap();
        let json = serde_json::to_string(&(&cost, &error)).unwrap();
        assert_eq!(serde_json::from_str::<(Bilinear, ModelError)>(&json).unwrap(), (cost, error));
    }
}
