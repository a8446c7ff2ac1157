//! The progress bar of training.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use layerprune_train::{Answers, StepDone};

use crate::args::Global;
use crate::progress;

/// How much a step counts in the numbers shown, which are running means.
const SHARE: f64 = 0.1;

/// Loss, accuracy, speed and the time left.
pub(super) struct TrainingBar {
    bar: ProgressBar,
    epochs: usize,
    shown: Option<Shown>,
    last: Instant,
}

#[derive(Clone, Copy)]
struct Shown {
    loss: f64,
    right: Option<f64>,
    seconds_per_image: f64,
}

impl TrainingBar {
    /// A bar over `steps` steps of each of `epochs` epochs, of which `done` steps were done before.
    pub(super) fn new(global: &Global, stage: &str, epochs: usize, steps: usize, done: usize) -> Self {
        let bar = progress::bar(global, stage, (steps * epochs) as u64);
        let template = "{prefix:>14} [{bar:24}] {pos}/{len} {msg}";
        bar.set_style(
            ProgressStyle::with_template(template).expect("the template is a constant").progress_chars("=> "),
        );
        bar.set_position(done as u64);
        bar.reset_eta();
        Self { bar, epochs, shown: None, last: Instant::now() }
    }

    /// Leaves out the time since the last step, in which there was no training.
    pub(super) fn resume(&mut self) {
        self.last = Instant::now();
    }

    /// Leaves out some time in which there was no training.
    pub(super) fn leave_out(&mut self, time: Duration) {
        self.last += time;
    }

    pub(super) fn step(&mut self, step: &StepDone<'_>) {
        let images = step.images.max(1) as f64;
        let now = Shown {
            loss: step.loss,
            right: step.answers.map(Answers::percent),
            seconds_per_image: self.last.elapsed().as_secs_f64() / images,
        };
        self.last = Instant::now();
        let mix = |old: f64, new: f64| (1.0 - SHARE) * old + SHARE * new;
        let shown = self.shown.map_or(now, |old| Shown {
            loss: mix(old.loss, now.loss),
            right: old.right.zip(now.right).map(|(old, new)| mix(old, new)),
            seconds_per_image: mix(old.seconds_per_image, now.seconds_per_image),
        });
        self.shown = Some(shown);
        let done = step.epoch * step.steps + step.step + 1;
        let left = (self.epochs * step.steps).saturating_sub(done) as f64 * images * shown.seconds_per_image;
        self.bar.set_position(done as u64);
        let right = shown.right.map(|right| format!(" {right:.1} % right,")).unwrap_or_default();
        self.bar.set_message(format!(
            "epoch {}/{}, loss {:.3},{right} {:.0} images/s, {} left",
            step.epoch + 1,
            self.epochs,
            shown.loss,
            1.0 / shown.seconds_per_image.max(1e-9),
            humantime::format_duration(Duration::from_secs(left as u64))
        ));
    }

    /// Writes a line above the bar.
    pub(super) fn note(&self, global: &Global, text: &str) {
        self.bar.suspend(|| progress::note(global, text));
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
