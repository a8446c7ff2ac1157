use std::fmt;

use serde::{Deserialize, Serialize};

use crate::stats;

const RESAMPLES: usize = 2000;
const FEWEST_SAMPLES: usize = 30;
/// With fewer, the interval is narrower than the truth and nothing is concluded from it.
const FEWEST_FOR_VERDICT: usize = 5;
const LARGEST_MAD_PERCENT: f64 = 5.0;
const LARGEST_DRIFT_PERCENT: f64 = 5.0;
const LARGEST_OUTLIER_PERCENT: f64 = 5.0;
/// Modified z-score above which a sample is an outlier (Iglewicz and Hoaglin, 1993, suggest 3.5; a timing's long tail
/// is its nature, so only what is far out counts).
const OUTLIER_SCORE: f64 = 10.0;
const RESOLUTIONS_PER_SAMPLE: f64 = 100.0;

/// What ran the models.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineInfo {
    /// The engine's name, such as `rten`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Latencies of one model, summed up, in milliseconds per call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatencyStats {
    /// How many samples were taken after the warm-up.
    pub samples: usize,
    /// Middle sample.
    pub median_ms: f64,
    /// Mean of all samples.
    pub mean_ms: f64,
    /// Fastest sample.
    pub min_ms: f64,
    /// 90 % quantile.
    pub p90_ms: f64,
    /// 95 % quantile; absent from records that are older than it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// 99 % quantile.
    pub p99_ms: f64,
    /// Median absolute deviation from the median, unscaled.
    pub mad_ms: f64,
    /// Interquartile range: 75 % quantile less 25 % quantile; absent from records that are older than it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iqr_ms: Option<f64>,
    /// The samples themselves, in the order in which they were taken; empty where they were not kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples_ms: Vec<f64>,
}

/// Which of the two models of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The unpruned model.
    Baseline,
    /// The model compared with it.
    Candidate,
}

/// What the interval of a comparison allows to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The whole interval of the latency reduction is above zero.
    Faster,
    /// The whole interval of the latency reduction is below zero.
    Slower,
    /// The interval holds zero, or comes of fewer than five samples: no difference was shown.
    NotFaster,
}

/// A reason to trust latencies less, or to read them with care.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Warning {
    /// Too few samples for quantiles and interval.
    FewSamples {
        /// How many were taken.
        samples: usize,
        /// How many there should be.
        needed: usize,
    },
    /// The samples scatter.
    Spread {
        /// The model.
        side: Side,
        /// Median absolute deviation in percent of the median.
        mad_percent: f64,
    },
    /// Many samples lie far from the median.
    Outliers {
        /// The model.
        side: Side,
        /// Their share in percent.
        percent: f64,
    },
    /// The second half of the samples differs from the first.
    Drift {
        /// The model.
        side: Side,
        /// Median of the first half.
        first_half_ms: f64,
        /// Median of the second half.
        second_half_ms: f64,
    },
    /// A sample is too short for the clock.
    TimerResolution {
        /// The model.
        side: Side,
        /// Median time of a whole sample.
        sample_ms: f64,
        /// The smallest step of the clock.
        resolution_ms: f64,
    },
    /// Each sample is the mean over several calls, since one is too short; p90 and p99 are quantiles of such means.
    ManyCalls {
        /// Calls in a sample.
        calls: usize,
    },
    /// Processors change their frequency with the load.
    FrequencyScaling {
        /// The governor that is set, such as `powersave`.
        governor: String,
    },
    /// Other programs used processors while models were timed.
    OtherLoad {
        /// How many processors' time they used.
        busy_cores: f64,
        /// How many processors there are.
        cores: usize,
    },
    /// The engine failed before all samples were taken; those of complete rounds count.
    StoppedEarly {
        /// How many samples of each model there are.
        samples: usize,
        /// What the engine says.
        reason: String,
    },
}

/// Raw latencies of one model, of which the statistics are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing<'a> {
    /// Milliseconds per call, one entry for each sample, in the order in which they were taken.
    pub samples_ms: &'a [f64],
    /// How many calls each sample is the mean of.
    pub calls_per_sample: usize,
    /// The smallest step of the clock in milliseconds.
    pub resolution_ms: f64,
}

/// Under what circumstances models were timed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circumstances {
    /// What ran the models.
    pub engine: EngineInfo,
    /// How many threads the engine used.
    pub threads: usize,
    /// How many images each call took.
    pub batch: usize,
    /// Shape of the first input, the batch included.
    pub shape: Vec<usize>,
    /// Whether what ran was bound to as many processors as threads.
    pub pinned: bool,
}

/// A candidate timed against the baseline, both on the same machine in turns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatencyComparison {
    /// What ran both models.
    pub engine: EngineInfo,
    /// How many threads the engine used.
    pub threads: usize,
    /// How many images each call took.
    pub batch: usize,
    /// Shape of the first input, the batch included.
    pub shape: Vec<usize>,
    /// Whether what ran was bound to as many processors as threads.
    #[serde(default)]
    pub pinned: bool,
    /// The unpruned model.
    pub baseline: LatencyStats,
    /// The model compared with it.
    pub candidate: LatencyStats,
    /// `100·(1 − t/t₀)` of the medians; negative where the candidate is slower.
    pub latency_reduction_percent: f64,
    /// 95 % interval of the latency reduction, in percent.
    pub latency_reduction_interval: [f64; 2],
    /// `t₀/t` of the medians; above 1 where the candidate is faster.
    pub speedup: f64,
    /// 95 % interval of the speed-up.
    pub speedup_interval: [f64; 2],
    /// What the interval allows to say.
    pub verdict: Verdict,
    /// Reasons to trust the figures less.
    #[serde(default)]
    pub warnings: Vec<Warning>,
}

/// Why samples cannot be summed up.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum LatencyError {
    /// No sample was taken.
    #[error("no latency was sampled")]
    NoSamples,
    /// The models were not sampled in pairs.
    #[error("baseline and candidate were not sampled in turns: {baseline} and {candidate} samples")]
    Unpaired {
        /// Samples of the baseline.
        baseline: usize,
        /// Samples of the candidate.
        candidate: usize,
    },
    /// A sample is no time.
    #[error("a latency of {found} ms was sampled, expected a positive number")]
    NotPositive {
        /// The sample.
        found: f64,
    },
}

impl LatencyStats {
    /// Sums up samples in milliseconds per call.
    ///
    /// # Errors
    /// Where there are none, or one is no positive number.
    pub fn from_ms(samples: &[f64]) -> Result<Self, LatencyError> {
        if let Some(&found) = samples.iter().find(|sample| !(sample.is_finite() && **sample > 0.0)) {
            return Err(LatencyError::NotPositive { found });
        }
        let at = |q| stats::quantile(samples, q).ok_or(LatencyError::NoSamples);
        Ok(Self {
            samples: samples.len(),
            median_ms: at(0.5)?,
            mean_ms: stats::mean(samples).ok_or(LatencyError::NoSamples)?,
            min_ms: at(0.0)?,
            p90_ms: at(0.9)?,
            p95_ms: Some(at(0.95)?),
            p99_ms: at(0.99)?,
            mad_ms: stats::mad(samples).ok_or(LatencyError::NoSamples)?,
            iqr_ms: Some(at(0.75)? - at(0.25)?),
            samples_ms: samples.to_vec(),
        })
    }
}

impl LatencyComparison {
    /// Compares samples that were taken in turns: entry `i` of both timings belongs to round `i`.
    ///
    /// The intervals are bootstrap percentile intervals over rounds, the same for the same `seed`.
    ///
    /// # Errors
    /// Where there are no samples, unequal numbers of them, or one is no positive number.
    pub fn new(
        circumstances: Circumstances,
        baseline: &Timing<'_>,
        candidate: &Timing<'_>,
        seed: u64,
    ) -> Result<Self, LatencyError> {
        let (before, after) = (baseline.samples_ms, candidate.samples_ms);
        if before.len() != after.len() {
            return Err(LatencyError::Unpaired { baseline: before.len(), candidate: after.len() });
        }
        let (baseline_stats, candidate_stats) = (LatencyStats::from_ms(before)?, LatencyStats::from_ms(after)?);
        let [low, high] =
            stats::ratio_of_medians_interval(after, before, RESAMPLES, seed).ok_or(LatencyError::NoSamples)?;
        let ratio = candidate_stats.median_ms / baseline_stats.median_ms;
        let reduction = [reduction_percent(high), reduction_percent(low)];
        let samples = baseline_stats.samples.min(candidate_stats.samples);
        Ok(Self {
            engine: circumstances.engine,
            threads: circumstances.threads,
            batch: circumstances.batch,
            shape: circumstances.shape,
            pinned: circumstances.pinned,
            baseline: baseline_stats,
            candidate: candidate_stats,
            latency_reduction_percent: reduction_percent(ratio),
            latency_reduction_interval: reduction,
            speedup: ratio.recip(),
            speedup_interval: [high.recip(), low.recip()],
            verdict: Verdict::of(reduction, samples),
            warnings: Warning::of(&[(Side::Baseline, *baseline), (Side::Candidate, *candidate)]),
        })
    }
}

impl LatencyComparison {
    /// How both were timed.
    #[must_use]
    pub fn circumstances(&self) -> Circumstances {
        let Self { engine, threads, batch, shape, pinned, .. } = self;
        Circumstances {
            engine: engine.clone(),
            threads: *threads,
            batch: *batch,
            shape: shape.clone(),
            pinned: *pinned,
        }
    }
}

fn reduction_percent(ratio: f64) -> f64 {
    100.0 * (1.0 - ratio)
}

impl Verdict {
    fn of([low, high]: [f64; 2], samples: usize) -> Self {
        if samples < FEWEST_FOR_VERDICT {
            Self::NotFaster
        } else if low > 0.0 {
            Self::Faster
        } else if high < 0.0 {
            Self::Slower
        } else {
            Self::NotFaster
        }
    }
}

impl Warning {
    /// All there is to be said against these timings.
    #[must_use]
    pub fn of(timings: &[(Side, Timing<'_>)]) -> Vec<Self> {
        let mut warnings = Vec::new();
        let fewest = timings.iter().map(|(_, timing)| timing.samples_ms.len()).min().unwrap_or(0);
        if fewest < FEWEST_SAMPLES {
            warnings.push(Self::FewSamples { samples: fewest, needed: FEWEST_SAMPLES });
        }
        let calls = timings.iter().map(|(_, timing)| timing.calls_per_sample).max().unwrap_or(1);
        if calls > 1 {
            warnings.push(Self::ManyCalls { calls });
        }
        for (side, timing) in timings {
            warnings
                .extend([spread(*side, timing), outliers(*side, timing), drift(*side, timing)].into_iter().flatten());
            warnings.extend(too_short(*side, timing));
        }
        warnings
    }
}

fn spread(side: Side, timing: &Timing<'_>) -> Option<Warning> {
    let mad_percent = 100.0 * stats::mad(timing.samples_ms)? / stats::median(timing.samples_ms)?;
    (mad_percent > LARGEST_MAD_PERCENT).then_some(Warning::Spread { side, mad_percent })
}

fn outliers(side: Side, timing: &Timing<'_>) -> Option<Warning> {
    let (center, mad) = (stats::median(timing.samples_ms)?, stats::mad(timing.samples_ms)?);
    // 0.6745 makes the deviation of a normal distribution 1.
    let far = timing.samples_ms.iter().filter(|sample| 0.6745 * (*sample - center).abs() > OUTLIER_SCORE * mad).count();
    let percent = 100.0 * far as f64 / timing.samples_ms.len() as f64;
    (percent > LARGEST_OUTLIER_PERCENT).then_some(Warning::Outliers { side, percent })
}

fn drift(side: Side, timing: &Timing<'_>) -> Option<Warning> {
    let (first, second) = timing.samples_ms.split_at(timing.samples_ms.len() / 2);
    let (first_half_ms, second_half_ms) = (stats::median(first)?, stats::median(second)?);
    let drifted = 100.0 * (second_half_ms / first_half_ms - 1.0).abs() > LARGEST_DRIFT_PERCENT;
    drifted.then_some(Warning::Drift { side, first_half_ms, second_half_ms })
}

fn too_short(side: Side, timing: &Timing<'_>) -> Option<Warning> {
    let sample_ms = stats::median(timing.samples_ms)? * timing.calls_per_sample as f64;
    let resolution_ms = timing.resolution_ms;
    let short = sample_ms < RESOLUTIONS_PER_SAMPLE * resolution_ms;
    short.then_some(Warning::TimerResolution { side, sample_ms, resolution_ms })
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Baseline => "baseline",
            Self::Candidate => "candidate",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::NotFaster => "not faster",
        })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FewSamples { samples, needed } => write!(
                f,
                "only {samples} samples were taken, {needed} or more are needed for a sound interval: take more"
            ),
            Self::Spread { side, mad_percent } => write!(
                f,
                "the {side}'s samples scatter, their median absolute deviation is {mad_percent:.1} % of the median: stop \
                 what else is running, or take more samples"
            ),
            Self::Outliers { side, percent } => {
                write!(f, "{percent:.1} % of the {side}'s samples lie far from the median: is something else running?")
            }
            Self::Drift { side, first_half_ms, second_half_ms } => write!(
                f,
                "the {side} drifted while it was timed, from a median of {first_half_ms:.3} ms in the first half to \
                 {second_half_ms:.3} ms in the second: warm up for longer, or let the machine cool"
            ),
            Self::TimerResolution { side, sample_ms, resolution_ms } => write!(
                f,
                "a sample of the {side} takes {sample_ms:.6} ms, too short for a clock with steps of {resolution_ms:.6} ms: \
                 time larger batches"
            ),
            Self::ManyCalls { calls } => write!(
                f,
                "one call is too short to time, so each sample is the mean of {calls} calls and p90, p95 and p99 are of such \
                 means: time larger batches to see single calls"
            ),
            Self::FrequencyScaling { governor } => write!(
                f,
                "processors change their frequency (governor `{governor}`): set the governor `performance` while models are \
                 timed"
            ),
            Self::OtherLoad { busy_cores, cores } => write!(
                f,
                "other programs used {busy_cores:.1} of {cores} processors while models were timed: stop them and time again"
            ),
            Self::StoppedEarly { samples, reason } => {
                write!(f, "timing stopped after {samples} samples of each model, which count: {reason}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::SplitMix;

    fn noisy(center: f64, count: usize, seed: u64) -> Vec<f64> {
        let mut random = SplitMix::new(seed);
        (0..count).map(|_| center * (1.0 + 0.01 * random.normal())).collect()
    }

    fn timing(samples_ms: &[f64]) -> Timing<'_> {
        Timing { samples_ms, calls_per_sample: 1, resolution_ms: 1e-4 }
    }

    fn compare(baseline: &[f64], candidate: &[f64]) -> LatencyComparison {
        LatencyComparison::new(Circumstances::default(), &timing(baseline), &timing(candidate), 0).unwrap()
    }

    #[test]
    fn record_latency_stats_are_those_of_the_samples() {
        let stats = LatencyStats::from_ms(&[3.1, 0.2, 5.5, 9.0, 1.25, 7.75, 2.0]).unwrap();
        assert_eq!((stats.samples, stats.median_ms, stats.min_ms), (7, 3.1, 0.2));
        assert!((stats.mean_ms - 4.114_285_714).abs() < 1e-8);
        assert!((stats.p90_ms - 8.25).abs() < 1e-9);
        assert!((stats.p99_ms - 8.925).abs() < 1e-9);
        assert!((stats.mad_ms - 2.4).abs() < 1e-9);
        assert!((stats.p95_ms.unwrap() - 8.625).abs() < 1e-9);
        assert!((stats.iqr_ms.unwrap() - 5.0).abs() < 1e-9);
        assert_eq!(stats.samples_ms, [3.1, 0.2, 5.5, 9.0, 1.25, 7.75, 2.0]);
    }

    #[test]
    fn record_latency_reduction_and_speedup_follow_from_the_medians() {
        let baseline = noisy(4.0, 100, 1);
        let candidate: Vec<f64> = baseline.iter().map(|sample| sample * 0.75).collect();
        let comparison = compare(&baseline, &candidate);
        assert!((comparison.latency_reduction_percent - 25.0).abs() < 1e-9);
        assert!((comparison.speedup - 4.0 / 3.0).abs() < 1e-9);
        assert_eq!(comparison.verdict, Verdict::Faster);
        assert_eq!(comparison.warnings, []);
        assert_eq!(compare(&candidate, &baseline).verdict, Verdict::Slower);
    }

    #[test]
    fn record_latency_within_the_noise_is_not_faster() {
        let comparison = compare(&noisy(4.0, 100, 1), &noisy(4.0, 100, 2));
        assert_eq!(comparison.verdict, Verdict::NotFaster);
        let [low, high] = comparison.latency_reduction_interval;
        assert!(low < 0.0 && high > 0.0 && low > -2.0 && high < 2.0);
        let [slow, fast] = comparison.speedup_interval;
        assert!((100.0 * (1.0 - 1.0 / slow) - low).abs() < 1e-9 && (100.0 * (1.0 - 1.0 / fast) - high).abs() < 1e-9);
    }

    #[test]
    fn record_latency_verdict_needs_the_whole_interval() {
        assert_eq!(Verdict::of([0.1, 2.0], 5), Verdict::Faster);
        assert_eq!(Verdict::of([0.1, 2.0], 4), Verdict::NotFaster);
        assert_eq!(Verdict::of([0.0, 2.0], 5), Verdict::NotFaster);
        assert_eq!(Verdict::of([-2.0, -0.1], 5), Verdict::Slower);
        assert_eq!(Verdict::of([-2.0, 0.0], 5), Verdict::NotFaster);
    }

    #[test]
    fn record_latency_warnings_name_what_is_wrong() {
        let good = noisy(4.0, 100, 1);
        let few = Warning::of(&[(Side::Baseline, timing(&good[..10]))]);
        assert_eq!(few, [Warning::FewSamples { samples: 10, needed: 30 }]);

        let mut drifting = good.clone();
        drifting[50..].iter_mut().for_each(|sample| *sample *= 1.2);
        let warnings = Warning::of(&[(Side::Candidate, timing(&drifting))]);
        assert!(warnings.iter().any(|warning| matches!(warning, Warning::Drift { .. })), "{warnings:?}");
        assert!(warnings.iter().any(|warning| matches!(warning, Warning::Spread { .. })), "{warnings:?}");

        let mut spiky = good.clone();
        spiky.iter_mut().step_by(10).for_each(|sample| *sample *= 4.0);
        let warnings = Warning::of(&[(Side::Baseline, timing(&spiky))]);
        assert_eq!(warnings, [Warning::Outliers { side: Side::Baseline, percent: 10.0 }]);

        let coarse = Timing { resolution_ms: 0.1, ..timing(&good) };
        let warnings = Warning::of(&[(Side::Baseline, coarse)]);
        assert!(matches!(warnings[..], [Warning::TimerResolution { .. }]), "{warnings:?}");

        let many = Timing { calls_per_sample: 20, ..coarse };
        assert_eq!(Warning::of(&[(Side::Baseline, many)]), [Warning::ManyCalls { calls: 20 }]);
    }

    #[test]
    fn record_latency_refuses_what_is_no_time() {
        assert_eq!(LatencyStats::from_ms(&[]), Err(LatencyError::NoSamples));
        assert_eq!(LatencyStats::from_ms(&[1.0, 0.0]), Err(LatencyError::NotPositive { found: 0.0 }));
        let refused = LatencyComparison::new(Circumstances::default(), &timing(&[1.0]), &timing(&[1.0, 2.0]), 0);
        assert_eq!(refused, Err(LatencyError::Unpaired { baseline: 1, candidate: 2 }));
    }

    #[test]
    fn record_latency_survives_json() {
        let comparison = compare(&noisy(4.0, 10, 1), &noisy(2.0, 10, 2));
        let json = serde_json::to_string(&comparison).unwrap();
        assert!(json.contains(r#""verdict":"faster""#) && json.contains(r#"{"kind":"few-samples","#), "{json}");
        assert_eq!(serde_json::from_str::<LatencyComparison>(&json).unwrap(), comparison);
    }

    #[test]
    fn record_latency_of_an_older_record_lacks_what_was_not_kept() {
        let old = r#"{"samples":9,"median_ms":1.0,"mean_ms":1.0,"min_ms":0.5,"p90_ms":2.0,"p99_ms":3.0,"mad_ms":0.1}"#;
        let stats: LatencyStats = serde_json::from_str(old).unwrap();
        assert_eq!((stats.p95_ms, stats.iqr_ms, stats.samples_ms.len()), (None, None, 0));
        assert_eq!(serde_json::to_string(&stats).unwrap(), old);
    }

    #[test]
    fn record_latency_warnings_say_what_to_do() {
        let texts = [
            Warning::FrequencyScaling { governor: "powersave".to_owned() },
            Warning::OtherLoad { busy_cores: 0.52, cores: 2 },
            Warning::StoppedEarly { samples: 7, reason: "it crashed".to_owned() },
        ]
        .map(|warning| warning.to_string());
        let expected = [
            "processors change their frequency (governor `powersave`): set the governor `performance` while models are timed",
            "other programs used 0.5 of 2 processors while models were timed: stop them and time again",
            "timing stopped after 7 samples of each model, which count: it crashed",
        ];
        assert_eq!(texts, expected);
    }
}
