//! Times randomly thinned networks, and fits a bilinear model to them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::job::at;
use super::profile::at_once;
use super::{JobError, MeasureLatency, PortError};
use crate::analysis::{ChannelGroup, Channels, Units};
use crate::fit::FitError;
use crate::onnx::{Model, ModelDigest};
use crate::plan::{self, Bilinear, ModelError, WidthSample};
use crate::record::Circumstances;
use crate::stats::{self, SplitMix};
use crate::surgery;

/// Networks that are timed unless asked for otherwise. The published model is fitted to 10,000, each run 1,000 times.
pub const LATENCY_SAMPLES: usize = 64;

/// Version of the JSON form of [`LatencyModel`].
pub const LATENCY_MODEL_SCHEMA: u32 = 1;

/// What a model takes as a function of the channels that it keeps, with the times that this was fitted to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LatencyModel {
    /// Version of this form.
    pub schema: u32,
    /// The model.
    pub model: ModelDigest,
    /// Seed of the random networks.
    pub seed: u64,
    /// How they were timed; absent before the first was.
    pub circumstances: Option<Circumstances>,
    /// Channels of each group in the whole model.
    pub whole: BTreeMap<String, usize>,
    /// Milliseconds of the whole model in each run in which others were timed against it.
    pub whole_ms: Vec<f64>,
    /// The networks, in the order of their numbers, with their time as a share of the whole model's in the same run.
    pub shares: Vec<Share>,
    /// The fit; absent until there are as many networks as were asked for.
    pub fit: Option<LatencyFit>,
}

/// A thinned network that was timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Share {
    /// Channels kept, for every group.
    pub kept: BTreeMap<String, usize>,
    /// Its time over that of the whole model, both timed in turns.
    pub of_whole: f64,
}

/// A latency that was fitted, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LatencyFit {
    /// Milliseconds of a call, by the channels kept.
    pub cost: Bilinear,
    /// By how far it is off.
    pub error: ModelError,
}

impl LatencyModel {
    /// Nothing timed yet.
    #[must_use]
    pub fn new(channels: &Channels, seed: u64) -> Self {
        let whole = channels.groups.iter().map(|group| (group.name.clone(), group.channels.len()));
        Self {
            schema: LATENCY_MODEL_SCHEMA,
            model: channels.model.clone(),
            seed,
            circumstances: None,
            whole: whole.collect(),
            whole_ms: Vec::new(),
            shares: Vec::new(),
            fit: None,
        }
    }

    /// Milliseconds of the whole model: the median over all runs.
    #[must_use]
    pub fn baseline_ms(&self) -> Option<f64> {
        stats::median(&self.whole_ms)
    }

    /// Channels of a group in the whole model.
    #[must_use]
    pub fn whole(&self, group: &str) -> f64 {
        self.whole.get(group).map_or(0.0, |&channels| channels as f64)
    }

    /// What the fit is made of: the networks in milliseconds, and the whole model among them. A share of the whole model's time
    /// in the same run is not moved by what slows a machine for minutes, so times are shares of the median of all runs.
    #[must_use]
    pub fn samples(&self) -> Vec<WidthSample> {
        let Some(baseline) = self.baseline_ms() else { return Vec::new() };
        let whole = WidthSample { kept: self.whole.clone(), ms: baseline };
        let thinned =
            self.shares.iter().map(|share| WidthSample { kept: share.kept.clone(), ms: baseline * share.of_whole });
        thinned.chain([whole]).collect()
    }

    fn fitted(&mut self, model: &Model, channels: &Channels) -> Result<(), FitError> {
        let terms = plan::cost_terms(&channels.node_widths(&model.graph), |group| self.whole(group));
        let (cost, error) = plan::fit_cost(&terms, &self.samples())?;
        self.fit = Some(LatencyFit { cost, error });
        Ok(())
    }
}

/// Times thinned networks until `latency` holds `wanted` of them, several in one interleaved run, and fits a bilinear model to
/// all that it holds. Every group of a network keeps a share of its channels that is drawn evenly from 0.1 to 1; network `n` is
/// the same whenever it is timed, so a model that was kept half-way is gone on with.
///
/// `keep` is given the model after each run.
///
/// # Errors
/// [`JobError::OtherLatencyModel`] where `latency` is of another model; [`JobError::Surgery`]; [`JobError::Fit`];
/// [`JobError::Port`] for what `timer` reports, and for whatever `keep` does.
pub fn fit_latency(
    model: &Model,
    units: &Units,
    channels: &Channels,
    wanted: usize,
    latency: &mut LatencyModel,
    timer: &mut dyn MeasureLatency,
    keep: &mut dyn FnMut(&LatencyModel) -> Result<(), PortError>,
) -> Result<(), JobError> {
    if latency.model != channels.model {
        return Err(JobError::OtherLatencyModel { found: latency.model.clone(), expected: channels.model.clone() });
    }
    let at_once = at_once(model);
    while latency.shares.len() < wanted {
        let first = latency.shares.len();
        let plans: Vec<plan::Plan> = (first..wanted.min(first + at_once))
            .map(|number| plan::random_widths(&model.graph, units, channels, &mut random(latency.seed, number)))
            .collect();
        let cut: Vec<Model> = plans.iter().map(|plan| surgery::apply(model, units, plan)).collect::<Result<_, _>>()?;
        let timed = timer.compare_all(model, &cut.iter().collect::<Vec<_>>()).map_err(at("timing thinned networks"))?;
        for (plan, timed) in plans.iter().zip(&timed) {
            latency.circumstances.get_or_insert_with(|| timed.circumstances());
            let of_whole = timed.candidate.median_ms / timed.baseline.median_ms;
            latency.shares.push(Share { kept: kept(channels, plan), of_whole });
        }
        latency.whole_ms.extend(timed.first().map(|timed| timed.baseline.median_ms));
        keep(latency).map_err(at("keeping the latency model"))?;
    }
    latency.fitted(model, channels)?;
    keep(latency).map_err(at("keeping the latency model"))
}

/// The random numbers of one network, which do not depend on those of the others.
fn random(seed: u64, number: usize) -> SplitMix {
    SplitMix::new(SplitMix::new(seed).next_u64() ^ SplitMix::new(number as u64).next_u64())
}

fn kept(channels: &Channels, plan: &plan::Plan) -> BTreeMap<String, usize> {
    let gone = |group: &ChannelGroup| {
        plan.channels.iter().find(|planned| planned.group == group.name).map_or(0, |planned| planned.removed.len())
    };
    channels.groups.iter().map(|group| (group.name.clone(), group.channels.len() - gone(group))).collect()
}
