use serde::{Deserialize, Deserializer, Serialize};

use crate::device::Device;
use crate::distill::Distill;
use crate::error::TrainError;
use crate::loss::Loss;
use crate::optimizer::Optimizer;
use crate::regularize::Sparsity;
use crate::schedule::{Moment, Schedule};

/// How to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Passes over the data.
    pub epochs: usize,
    /// Images of a batch. A record of what the data was made with; the batches themselves decide.
    pub batch_size: usize,
    /// Batches of a step, whose gradients are averaged. Each batch is normalised by itself and moves the batch norms'
    /// statistics; the last step of an epoch takes the batches that are left.
    pub accumulate: usize,
    /// What is made small.
    pub loss: Loss,
    /// How weights follow their gradients.
    pub optimizer: Optimizer,
    /// The learning rate that the schedule starts from; the greatest one of one cycle.
    pub learning_rate: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Epochs over which the learning rate rises in equal steps, before the schedule takes over; may be a fraction. With `n`
    /// steps it is PyTorch's `LinearLR(start_factor=1/n, total_iters=n-1)`. Epochs of the schedule are those of the run;
    /// a cosine begins behind the warm-up.
    pub warm_up_epochs: f64,
    /// Pull of trained weights towards zero.
    pub weight_decay: f64,
    /// Whether weight decay also pulls what is not the weight of a convolution or linear layer: scales and shifts of batch
    /// norms, and biases.
    pub decay_norms_and_biases: bool,
    /// The greatest Euclidean norm of all gradients of the loss together; where it is greater they are scaled down to it.
    /// What weight decay and [`Settings::sparsity`] add is not part of it, and as strong as it is set.
    pub clip_norm: Option<f64>,
    /// Keep an exponential moving average of weights and statistics, of which this share stays from step to step. Models
    /// that training hands out are then the average.
    pub ema: Option<f64>,
    /// What goes to zero while the model trains.
    pub sparsity: Vec<Sparsity>,
    /// What is learnt from a teacher, which [`distill`](crate::distill()) is given.
    pub distill: Option<Distill>,
    /// Normalise with the stored mean and variance, and leave these as they are.
    pub freeze_batch_norm_stats: bool,
    /// Seed of dropout.
    pub seed: u64,
    /// What computes. Another device rounds otherwise, so that its results differ in the last digits.
    pub device: Device,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch_size: 64,
            accumulate: 1,
            loss: Loss::default(),
            optimizer: Optimizer::default(),
            learning_rate: 0.01,
            schedule: Schedule::Cosine,
            warm_up_epochs: 0.0,
            weight_decay: 5e-4,
            decay_norms_and_biases: true,
            clip_norm: None,
            ema: None,
            sparsity: Vec::new(),
            distill: None,
            freeze_batch_norm_stats: false,
            seed: 0,
            device: Device::Cpu,
        }
    }
}

impl Settings {
    /// The steps of an epoch of so many batches.
    #[must_use]
    pub fn steps_per_epoch(&self, batches_per_epoch: usize) -> usize {
        batches_per_epoch.div_ceil(self.accumulate.max(1))
    }

    /// The learning rate of a step, both counted from 0.
    #[must_use]
    pub fn learning_rate_at(&self, epoch: usize, step: usize, steps_per_epoch: usize) -> f64 {
        let steps = steps_per_epoch.max(1) as f64;
        let done = epoch as f64 * steps + step as f64;
        let warm_up = (self.warm_up_epochs * steps).round();
        if done < warm_up {
            return self.learning_rate * (done + 1.0) / warm_up;
        }
        let at = Moment { epoch, done: done - warm_up, all: self.epochs as f64 * steps - warm_up };
        self.learning_rate * self.schedule.factor(at)
    }

    /// Refuses settings that cannot train.
    ///
    /// # Errors
    /// [`TrainError::Setting`] for the first setting that is out of its range.
    pub fn check(&self) -> Result<(), TrainError> {
        let above_0 = |x: f64| x.is_finite() && x > 0.0;
        let at_least_0 = |x: f64| x.is_finite() && x >= 0.0;
        if self.accumulate == 0 {
            return refuse("accumulate", 0, "at least 1");
        }
        if !above_0(self.learning_rate) {
            return refuse("learning-rate", self.learning_rate, "a number above 0");
        }
        if !at_least_0(self.warm_up_epochs) {
            return refuse("warm-up-epochs", self.warm_up_epochs, "a number of at least 0");
        }
        if self.warm_up_epochs > 0.0 && matches!(self.schedule, Schedule::OneCycle(_)) {
            return refuse(
                "warm-up-epochs",
                self.warm_up_epochs,
                "0 with the one-cycle schedule, which has its own rise,",
            );
        }
        if self.epochs > 0 && self.warm_up_epochs >= self.epochs as f64 {
            return refuse("warm-up-epochs", self.warm_up_epochs, "a number below that of the epochs");
        }
        if !at_least_0(self.weight_decay) {
            return refuse("weight-decay", self.weight_decay, "a number of at least 0");
        }
        if let Some(norm) = self.clip_norm.filter(|&norm| !above_0(norm)) {
            return refuse("clip-norm", norm, "a number above 0");
        }
        if let Some(decay) = self.ema.filter(|decay| !(0.0..1.0).contains(decay)) {
            return refuse("ema", decay, "a number from 0 to below 1");
        }
        if let Some(decay) = self.ema.filter(|_| self.sparsity.iter().any(Sparsity::has_exact_zeros)) {
            return refuse("ema", decay, "none beside sss, masks and ecc, whose zeros an average loses,");
        }
        self.sparsity.iter().try_for_each(Sparsity::check)?;
        self.loss.check()?;
        self.distill.iter().try_for_each(|distill| distill.check(&self.loss))?;
        self.optimizer.rule().check()?;
        self.schedule.check()
    }
}

/// Reads a choice that has no settings of its own, and refuses any.
pub(crate) fn no_settings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    Nothing::deserialize(deserializer).map(|Nothing {}| ())
}

/// The error of a setting out of its range.
pub(crate) fn refuse<T>(setting: &'static str, found: impl ToString, expected: &'static str) -> Result<T, TrainError> {
    Err(TrainError::Setting { setting, found: found.to_string(), expected })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::CrossEntropy;
    use crate::optimizer::{AdamW, Sgd};
    use crate::schedule::OneCycle;

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
        assert!(json.contains(r#""optimizer":{"kind":"sgd","momentum":0.9,"nesterov":false}"#), "{json}");
        assert!(json.contains(r#""loss":{"kind":"cross-entropy","label-smoothing":0.0}"#), "{json}");
        assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings);
    }

    #[test]
    fn what_a_json_form_leaves_out_is_the_default_and_what_it_adds_is_refused() {
        let read = serde_json::from_str::<Settings>;
        let found = read(
            r#"{"optimizer": {"kind": "adam-w", "beta2": 0.99}, "loss": {"kind": "mean-squared"},
                "schedule": {"kind": "one-cycle"}, "ema": 0.999}"#,
        );
        let expected = Settings {
            optimizer: Optimizer::AdamW(AdamW { beta2: 0.99, ..AdamW::default() }),
            loss: Loss::MeanSquared,
            schedule: Schedule::OneCycle(OneCycle::default()),
            ema: Some(0.999),
            ..Settings::default()
        };
        assert_eq!(found.unwrap(), expected);
        for unknown in [
            r#"{"momentum": 0.9}"#,
            r#"{"optimizer": {"kind": "sgd", "beta1": 0.9}}"#,
            r#"{"loss": {"kind": "cross-entropy", "smoothing": 0.1}}"#,
            r#"{"schedule": {"kind": "one-cycle", "gamma": 0.1}}"#,
            r#"{"schedule": {"kind": "cosine", "gamma": 0.1}}"#,
            r#"{"schedule": {"kind": "constant", "every": 2}}"#,
            r#"{"schedule": {"kind": "step", "every": 2, "gamma": 0.1, "epochs": [1]}}"#,
            r#"{"loss": {"kind": "binary-cross-entropy", "label-smoothing": 0.1}}"#,
            r#"{"loss": {"kind": "mean-squared", "label-smoothing": 0.1}}"#,
            r#"{"loss": {"kind": "mean-absolute", "width": 3}}"#,
        ] {
            let error = read(unknown).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{unknown}: {error}");
        }
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let message = |settings: Settings| settings.check().unwrap_err().to_string();
        let good = Settings::default;
        let sgd = |momentum, nesterov| Optimizer::Sgd(Sgd { momentum, nesterov });
        let cycle = |change: fn(&mut OneCycle)| {
            let mut cycle = OneCycle::default();
            change(&mut cycle);
            Settings { schedule: Schedule::OneCycle(cycle), ..good() }
        };
        let adamw = |change: fn(&mut AdamW)| {
            let mut adamw = AdamW::default();
            change(&mut adamw);
            Settings { optimizer: Optimizer::AdamW(adamw), ..good() }
        };
        let smoothed = |label_smoothing| Loss::CrossEntropy(CrossEntropy { label_smoothing });
        let distilled = |change: fn(&mut Distill), loss| {
            let mut distill = Distill::default();
            change(&mut distill);
            Settings { distill: Some(distill), loss, ..good() }
        };
        let cases = [
            (Settings { accumulate: 0, ..good() }, "`accumulate` is 0, at least 1"),
            (Settings { learning_rate: f64::NAN, ..good() }, "`learning-rate` is NaN, a number above 0"),
            (Settings { weight_decay: -1.0, ..good() }, "`weight-decay` is -1, a number of at least 0"),
            (Settings { warm_up_epochs: -0.5, ..good() }, "`warm-up-epochs` is -0.5, a number of at least 0"),
            (
                Settings { warm_up_epochs: 1.0, ..cycle(|_| ()) },
                "`warm-up-epochs` is 1, 0 with the one-cycle schedule, which has its own rise,",
            ),
            (
                Settings { epochs: 2, warm_up_epochs: 2.0, ..good() },
                "`warm-up-epochs` is 2, a number below that of the epochs",
            ),
            (
                distilled(|distill| distill.blocks = vec!["a".to_owned(), "b*".to_owned()], Loss::default()),
                "`distill.blocks` is a, b*, none, or a `block-weight` above 0,",
            ),
            (
                distilled(|distill| distill.temperature = 2.0, Loss::MeanAbsolute),
                "`distill.temperature` is 2, 4, the default, beside a loss of numbers, which are not softened,",
            ),
            (
                distilled(|distill| distill.labels = false, smoothed(0.1)),
                "`loss.label-smoothing` is 0.1, 0 where no labels are looked at",
            ),
            (Settings { clip_norm: Some(0.0), ..good() }, "`clip-norm` is 0, a number above 0"),
            (Settings { ema: Some(1.0), ..good() }, "`ema` is 1, a number from 0 to below 1"),
            (Settings { loss: smoothed(1.0), ..good() }, "`loss.label-smoothing` is 1, a number from 0 to below 1"),
            (
                Settings { optimizer: sgd(1.0, false), ..good() },
                "`optimizer.momentum` is 1, a number from 0 to below 1",
            ),
            (
                Settings { optimizer: sgd(0.0, true), ..good() },
                "`optimizer.nesterov` is true, a momentum above 0, or false,",
            ),
            (adamw(|adamw| adamw.beta1 = -0.1), "`optimizer.beta1` is -0.1, a number from 0 to below 1"),
            (adamw(|adamw| adamw.beta2 = 1.0), "`optimizer.beta2` is 1, a number from 0 to below 1"),
            (adamw(|adamw| adamw.epsilon = 0.0), "`optimizer.epsilon` is 0, a number above 0"),
            (
                Settings { schedule: Schedule::Step { every: 0, gamma: 0.1 }, ..good() },
                "`schedule.every` is 0, at least 1",
            ),
            (
                Settings { schedule: Schedule::Milestones { epochs: vec![1], gamma: 0.0 }, ..good() },
                "`schedule.gamma` is 0, a number above 0",
            ),
            (cycle(|cycle| cycle.rise = 1.0), "`schedule.rise` is 1, a number from 0 to below 1"),
            (cycle(|cycle| cycle.start_divisor = 0.5), "`schedule.start-divisor` is 0.5, a number of at least 1"),
            (cycle(|cycle| cycle.end_divisor = 0.0), "`schedule.end-divisor` is 0, a number of at least 1"),
        ];
        for (settings, expected) in cases {
            assert_eq!(message(settings), format!("setting {expected} is needed"));
        }
        assert!(Settings { epochs: 0, warm_up_epochs: 1.0, ..good() }.check().is_ok());
        assert!(distilled(|distill| distill.temperature = 2.0, Loss::BinaryCrossEntropy).check().is_ok());
        assert!(distilled(|_| (), smoothed(0.1)).check().is_ok());
        assert!(good().check().is_ok() && adamw(|_| ()).check().is_ok() && cycle(|_| ()).check().is_ok());
    }
}
