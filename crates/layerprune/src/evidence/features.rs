//! One pass over values inside the model, for all that is read of them.

use std::collections::{BTreeMap, BTreeSet};

use nalgebra::DMatrix;

use super::maps::{self, RANK_IMAGES};
use super::similarity::{cosine, gram, hsic};
use super::{ClassSums, Evidence, EvidenceError, Folds, Imprinted, Need, Probes, Statistic};
use crate::analysis::{FilterSite, Units};
use crate::batch::Maps;
use crate::graph::{NodeId, ValueId};

/// What is gathered of the values inside a model, in one pass over training images, and what is asked of held-out ones
/// after it.
///
/// Memory: that of its [`ClassSums`] and [`Probes`], 80 bytes for each filter and statistic, 320 for each unit.
#[derive(Debug)]
pub struct FeaturePass {
    taps: Vec<ValueId>,
    /// For each tapped unit, the place of its exit.
    exits: Vec<usize>,
    imprint: Option<ClassSums>,
    probes: Option<Probes>,
    statistics: BTreeMap<Statistic, BTreeMap<NodeId, Folds>>,
    sites: Vec<Site>,
    pairs: Vec<Pair>,
    cosines: Option<BTreeMap<String, Folds>>,
    kernels: Option<BTreeMap<String, Folds>>,
    ranked: usize,
}

#[derive(Debug)]
struct Site {
    node: NodeId,
    axis: usize,
    tap: usize,
}

/// A unit, with the places of what it reads and what it gives.
#[derive(Debug)]
struct Pair {
    unit: String,
    entry: usize,
    exit: usize,
}

/// The classifiers that a [`FeaturePass`] made, to be tried on held-out images.
#[derive(Debug)]
pub struct Classifiers {
    taps: Vec<ValueId>,
    imprinted: Option<Imprinted>,
    probes: Option<Probes>,
}

impl FeaturePass {
    /// For those of `needs` that are read of values inside the model; `sites` are the filters that statistics are taken of.
    #[must_use]
    pub fn new(units: &Units, sites: &[FilterSite], needs: &BTreeSet<Need>, classes: usize, embedding: usize) -> Self {
        let mut taps = Vec::new();
        let mut place = |value: ValueId| match taps.iter().position(|&tap| tap == value) {
            Some(place) => place,
            None => {
                taps.push(value);
                taps.len() - 1
            }
        };
        let needed = |need: Need| needs.contains(&need);
        let classified = needed(Need::Imprint) || needed(Need::Probes);
        let tapped = units.units.iter().filter(|unit| unit.tapped && classified);
        let exits: Vec<usize> = tapped.map(|unit| place(unit.exit)).collect();
        let maps = |need: &Need| match need {
            Need::Filters(statistic) if !statistic.needs_gradients() => Some((*statistic, BTreeMap::new())),
            _ => None,
        };
        let statistics: BTreeMap<_, _> = needs.iter().filter_map(maps).collect();
        let sites = sites.iter().filter(|_| !statistics.is_empty()).map(|site| Site {
            node: site.axis.node,
            axis: site.axis.output.axis,
            tap: place(site.activation),
        });
        let sites = sites.collect();
        let compared = needed(Need::Cosines) || needed(Need::Kernels);
        let pairs = units.units.iter().filter(|unit| compared && unit.is_scored());
        let pairs = pairs.map(|unit| {
            let (entry, exit) = (place(unit.entry), place(unit.exit));
            Pair { unit: unit.name.clone(), entry, exit }
        });
        let pairs = pairs.collect();
        let count = exits.len();
        Self {
            imprint: needed(Need::Imprint).then(|| ClassSums::new(count, classes, embedding)),
            probes: needed(Need::Probes).then(|| Probes::new(count, classes, embedding)),
            exits,
            statistics,
            sites,
            pairs,
            cosines: needed(Need::Cosines).then(BTreeMap::new),
            kernels: needed(Need::Kernels).then(BTreeMap::new),
            ranked: 0,
            taps,
        }
    }

    /// The values to look at, in the order in which [`FeaturePass::add`] wants them.
    #[must_use]
    pub fn taps(&self) -> &[ValueId] {
        &self.taps
    }

    /// Whether one look at each image is not enough: trained classifiers want several.
    #[must_use]
    pub fn is_trained(&self) -> bool {
        self.probes.is_some()
    }

    /// Adds what a batch gives at all taps.
    ///
    /// # Errors
    /// [`EvidenceError`]: labels out of range, taps that change their shape or give no numbers.
    pub fn add(&mut self, taps: &[Maps<'_>], labels: &[usize]) -> Result<(), EvidenceError> {
        if let Some(sums) = &mut self.imprint {
            let exits: Vec<Maps<'_>> = self.exits.iter().map(|&tap| taps[tap]).collect();
            sums.add(&exits, labels)?;
        }
        self.train(taps, labels)?;
        for (&statistic, sums) in &mut self.statistics {
            if statistic == Statistic::Rank && self.ranked >= RANK_IMAGES {
                continue;
            }
            for site in &self.sites {
                if let Some(means) = maps::statistic(statistic, taps[site.tap], site.axis) {
                    sums.entry(site.node).or_default().add(&means, labels.len() as f64);
                }
            }
        }
        self.ranked += labels.len();
        self.compare(taps);
        Ok(())
    }

    /// Another look at a batch, for the classifiers that are trained.
    ///
    /// # Errors
    /// As [`FeaturePass::add`].
    pub fn train(&mut self, taps: &[Maps<'_>], labels: &[usize]) -> Result<(), EvidenceError> {
        let Some(probes) = &mut self.probes else { return Ok(()) };
        let exits: Vec<Maps<'_>> = self.exits.iter().map(|&tap| taps[tap]).collect();
        probes.train(&exits, labels)
    }

    fn compare(&mut self, taps: &[Maps<'_>]) {
        if let Some(cosines) = &mut self.cosines {
            for pair in &self.pairs {
                let (entry, exit) = (taps[pair.entry], taps[pair.exit]);
                if let Some(mean) = cosine(entry, exit) {
                    cosines.entry(pair.unit.clone()).or_default().add(&[mean], entry.shape[0] as f64);
                }
            }
        }
        let Some(kernels) = &mut self.kernels else { return };
        let mut grams: BTreeMap<usize, DMatrix<f64>> = BTreeMap::new();
        for pair in &self.pairs {
            for tap in [pair.entry, pair.exit] {
                grams.entry(tap).or_insert_with(|| gram(taps[tap]));
            }
            let (k, l) = (&grams[&pair.entry], &grams[&pair.exit]);
            if let (Some(both), Some(entry), Some(exit)) = (hsic(k, l), hsic(k, k), hsic(l, l)) {
                kernels.entry(pair.unit.clone()).or_default().add(&[both, entry, exit], 1.0);
            }
        }
    }

    /// Puts what was gathered into `evidence`, and gives the classifiers that are to be tried on held-out images.
    ///
    /// # Errors
    /// [`EvidenceError::MissingClass`].
    pub fn finish(self, evidence: &mut Evidence) -> Result<Classifiers, EvidenceError> {
        evidence.filters.extend(self.statistics);
        evidence.cosines = self.cosines;
        evidence.kernels = self.kernels;
        let imprinted = self.imprint.map(ClassSums::imprint).transpose()?;
        let taps = self.exits.iter().map(|&place| self.taps[place]).collect();
        Ok(Classifiers { taps, imprinted, probes: self.probes })
    }
}

impl Classifiers {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.imprinted.is_none() && self.probes.is_none()
    }

    /// The values that they read, in the order in which [`Classifiers::classify`] wants them.
    #[must_use]
    pub fn taps(&self) -> &[ValueId] {
        &self.taps
    }

    /// Classifies a batch of held-out images by what they give at all taps.
    ///
    /// # Errors
    /// As [`FeaturePass::add`].
    pub fn classify(&mut self, taps: &[Maps<'_>], labels: &[usize]) -> Result<(), EvidenceError> {
        if let Some(imprinted) = &mut self.imprinted {
            imprinted.classify(taps, labels)?;
        }
        if let Some(probes) = &mut self.probes {
            probes.classify(taps, labels)?;
        }
        Ok(())
    }

    /// Puts what was counted into `evidence`.
    pub fn finish(self, evidence: &mut Evidence) {
        evidence.imprint = self.imprinted.map(Imprinted::counts);
        evidence.probes = self.probes.map(Probes::counts);
    }
}
