use serde::{Deserialize, Serialize};

use crate::TrainError;

/// How to train: stochastic gradient descent with momentum on the mean cross-entropy of each batch.
///
/// For each weight `w` with gradient `g`: `g += weight-decay · w`, `v = momentum · v + g`, `w -= learning-rate · v`
/// (with `nesterov`: `w -= learning-rate · (g + momentum · v)`), as PyTorch's `SGD` does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Passes over the data.
    pub epochs: usize,
    /// Images of a batch. A record of what the data was made with; the batches themselves decide.
    pub batch_size: usize,
    /// The learning rate that the schedule starts from.
    pub learning_rate: f64,
    /// Share of the last step that goes into the next.
    pub momentum: f64,
    /// Whether the gradient looks ahead along the momentum.
    pub nesterov: bool,
    /// Pull of every trained weight towards zero.
    pub weight_decay: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Epochs over which the learning rate rises from 0, before the schedule takes over; may be a fraction.
    pub warm_up_epochs: f64,
    /// Normalise with the stored mean and variance, and leave these as they are.
    pub freeze_batch_norm_stats: bool,
    /// Seed of dropout.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch_size: 64,
            learning_rate: 0.01,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 5e-4,
            schedule: Schedule::Cosine,
            warm_up_epochs: 0.0,
            freeze_batch_norm_stats: false,
            seed: 0,
        }
    }
}

/// How the learning rate changes over training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Schedule {
    /// Not at all.
    Constant,
    /// Multiplied by `gamma` every `every` epochs.
    Step {
        /// Epochs between changes.
        every: usize,
        /// The factor.
        gamma: f64,
    },
    /// Multiplied by `gamma` at each of these epochs.
    Milestones {
        /// The epochs, counted from 0.
        epochs: Vec<usize>,
        /// The factor.
        gamma: f64,
    },
    /// Half a cosine from the learning rate to 0, step by step.
    Cosine,
}

impl Settings {
    /// The learning rate of a step, both counted from 0.
    #[must_use]
    pub fn learning_rate_at(&self, epoch: usize, step: usize, steps_per_epoch: usize) -> f64 {
        let steps = steps_per_epoch.max(1) as f64;
        let done = epoch as f64 * steps + step as f64;
        let warm_up = (self.warm_up_epochs * steps).round();
        if done < warm_up {
            return self.learning_rate * (done + 1.0) / warm_up;
        }
        let factor = match &self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Step { every, gamma } => gamma.powi((epoch / (*every).max(1)) as i32),
            Schedule::Milestones { epochs, gamma } => {
                gamma.powi(epochs.iter().filter(|&&at| at <= epoch).count() as i32)
            }
            Schedule::Cosine => {
                let share = (done - warm_up) / (self.epochs as f64 * steps - warm_up).max(1.0);
                0.5 * (1.0 + (std::f64::consts::PI * share.min(1.0)).cos())
            }
        };
        self.learning_rate * factor
    }

    /// Refuses settings that cannot train.
    ///
    /// # Errors
    /// [`TrainError::Setting`] for the first setting that is out of its range.
    pub fn check(&self) -> Result<(), TrainError> {
        let refuse = |setting, found: String, expected| Err(TrainError::Setting { setting, found, expected });
        let finite_positive = |x: f64| x.is_finite() && x >= 0.0;
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return refuse("learning-rate", self.learning_rate.to_string(), "a number above 0");
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return refuse("momentum", self.momentum.to_string(), "a number from 0 to below 1");
        }
        if self.nesterov && self.momentum == 0.0 {
            return refuse("nesterov", "true".to_owned(), "a momentum above 0, or false,");
        }
        if !finite_positive(self.weight_decay) {
            return refuse("weight-decay", self.weight_decay.to_string(), "a number of at least 0");
        }
        if !finite_positive(self.warm_up_epochs) {
            return refuse("warm-up-epochs", self.warm_up_epochs.to_string(), "a number of at least 0");
        }
        match &self.schedule {
            Schedule::Step { every: 0, .. } => refuse("schedule.every", "0".to_owned(), "at least 1"),
            Schedule::Step { gamma, .. } | Schedule::Milestones { gamma, .. }
                if !(gamma.is_finite() && *gamma > 0.0) =>
            {
                refuse("schedule.gamma", gamma.to_string(), "a number above 0")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_follow_their_formulas() {
        let with = |schedule| Settings { epochs: 4, learning_rate: 0.8, schedule, ..Settings::default() };
        let rates =
            |settings: &Settings| (0..4).map(|epoch| settings.learning_rate_at(epoch, 0, 2)).collect::<Vec<_>>();
        assert_eq!(rates(&with(Schedule::Constant)), [0.8; 4]);
        assert_eq!(rates(&with(Schedule::Step { every: 2, gamma: 0.5 })), [0.8, 0.8, 0.4, 0.4]);
        assert_eq!(rates(&with(Schedule::Milestones { epochs: vec![1, 3], gamma: 0.5 })), [0.8, 0.4, 0.4, 0.2]);
        let cosine = with(Schedule::Cosine);
        assert_eq!(cosine.learning_rate_at(0, 0, 2), 0.8);
        assert!((cosine.learning_rate_at(2, 0, 2) - 0.4).abs() < 1e-12);
        assert!(cosine.learning_rate_at(3, 1, 2) > 0.0);
        let warm = Settings { warm_up_epochs: 1.0, ..with(Schedule::Constant) };
        assert_eq!([warm.learning_rate_at(0, 0, 2), warm.learning_rate_at(0, 1, 2)], [0.4, 0.8]);
    }

    #[test]
    fn settings_have_a_json_form_with_kebab_case_keys() {
        let settings = Settings { schedule: Schedule::Step { every: 3, gamma: 0.1 }, ..Settings::default() };
        let json = serde_json::to_string(&settings).unwrap();
        assert!(json.contains(r#""schedule":{"kind":"step","every":3,"gamma":0.1},"warm-up-epochs":0.0"#), "{json}");
        assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings);
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let message = |settings: Settings| settings.check().unwrap_err().to_string();
        let good = Settings::default;
        assert_eq!(
            message(Settings { learning_rate: f64::NAN, ..good() }),
            "setting `learning-rate` is NaN, a number above 0 is needed"
        );
        assert_eq!(
            message(Settings { momentum: 1.0, ..good() }),
            "setting `momentum` is 1, a number from 0 to below 1 is needed"
        );
        assert_eq!(
            message(Settings { schedule: Schedule::Step { every: 0, gamma: 0.1 }, ..good() }),
            "setting `schedule.every` is 0, at least 1 is needed"
        );
    }
}
