use serde::{Deserialize, Serialize};

use crate::stats;

/// A share in percent with its 95 % interval (Wilson).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proportion {
    /// From 0 to 100.
    pub percent: f64,
    /// Lower and upper end, in percent.
    pub interval: [f64; 2],
}

impl Proportion {
    /// `successes` of `total`; of nothing it is 0 with the interval 0 to 100.
    #[must_use]
    pub fn of(successes: u64, total: u64) -> Self {
        let percent = if total == 0 { 0.0 } else { 100.0 * successes as f64 / total as f64 };
        Self { percent, interval: stats::wilson(successes, total).map(|end| 100.0 * end) }
    }
}

/// How well a classifier does on labelled images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// How many images were classified.
    pub images: u64,
    /// Share of images whose label scored highest.
    pub top1: Proportion,
    /// Share of images whose label was among the five best; absent where there are no more than five classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5: Option<Proportion>,
    /// Mean cross-entropy in nats, where it was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
}

impl Accuracy {
    /// From counts: `top1` and `top5` of `images` were right, and `loss` is their mean cross-entropy in nats.
    #[must_use]
    pub fn from_counts(images: u64, top1: u64, top5: Option<u64>, loss: Option<f64>) -> Self {
        Self { images, top1: Proportion::of(top1, images), top5: top5.map(|right| Proportion::of(right, images)), loss }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_accuracy_from_counts_has_wilson_intervals_in_percent() {
        let accuracy = Accuracy::from_counts(100, 80, Some(100), Some(0.5));
        assert_eq!(accuracy.top1.percent, 80.0);
        assert!((accuracy.top1.interval[0] - 71.117_083).abs() < 1e-5);
        assert!((accuracy.top1.interval[1] - 86.663_307).abs() < 1e-5);
        assert_eq!(accuracy.top5.unwrap().interval[1], 100.0);
    }

    #[test]
    fn record_accuracy_survives_json() {
        let accuracy = Accuracy::from_counts(10, 7, None, None);
        let json = serde_json::to_string(&accuracy).unwrap();
        assert!(!json.contains("top5"), "{json}");
        assert_eq!(serde_json::from_str::<Accuracy>(&json).unwrap(), accuracy);
    }
}
