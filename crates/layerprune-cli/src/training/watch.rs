//! What is done beside the steps of training: the bar, the records, checkpoints, and the choice of the epoch that counts.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::Result;
use layerprune::onnx::Model;
use layerprune::record::EpochRow;
use layerprune_train::{Answers, Checkpoint, EpochDone, Event, StepDone};

use super::bar::TrainingBar;
use super::choice;
use super::folder::{Folder, State};
use super::log::EpochLog;
use super::run::{Run, Trained};
use super::tensorboard::EventFile;
use crate::args::Keep;
use crate::output::brief;
use crate::{CannotBeDone, interrupt};

/// The share of an epoch, and the seconds, above which waiting for images is worth a word.
const STARVED: (f64, f64) = (0.1, 1.0);

/// What to say of an epoch of so many seconds that waited for images that long.
fn starved(waited: f64, seconds: f64) -> Option<String> {
    let share = waited / seconds;
    (share > STARVED.0 && waited > STARVED.1).then(|| {
        format!(
            "{:.0} % of the epoch's time went by in waiting for images: smaller files, cheaper augmentation or more cores \
             make training faster",
            100.0 * share
        )
    })
}

/// What right answers are called in event files.
struct Names {
    train: &'static str,
    held_out: &'static str,
}

const TOP1: Names = Names { train: "train/top-1", held_out: "held-out/top-1" };
const RIGHT_LABELS: Names = Names { train: "train/right-labels", held_out: "held-out/right-labels" };

/// The observer of a run.
pub(super) struct Watch<'a> {
    run: &'a Run<'a>,
    folder: Folder,
    state: State,
    log: EpochLog,
    events: Option<EventFile>,
    bar: TrainingBar,
    /// The model that training begins with.
    model: &'a Model,
    /// Whether anything happened yet.
    begun: bool,
    /// What is said once it is certain that the checkpoint can be used.
    going_on: Option<String>,
    /// Epochs done, and steps of the epoch under way.
    done: (usize, usize),
    /// Steps of an epoch.
    steps: usize,
    /// When the epoch began, or was taken up again.
    began: Instant,
    saved: Instant,
    /// What would be saved behind the last step of the epoch, if its end is interrupted.
    last_step: Option<Checkpoint>,
    /// What the epoch waited for images since it began, or was taken up again.
    waited: Duration,
    /// Seconds that it had waited before it was taken up again.
    waited_before: f64,
    names: Names,
    fault: Option<anyhow::Error>,
}

impl<'a> Watch<'a> {
    /// For a run of `model` of which `done` epochs, and steps of the next, were done before.
    pub(super) fn begin(
        run: &'a Run<'a>,
        model: &'a Model,
        folder: Folder,
        state: State,
        done: (usize, usize),
        steps: usize,
    ) -> Result<Self> {
        let settings = &run.chosen.settings;
        let epochs = settings.epochs;
        let before = done.0 * steps + done.1;
        let bar = TrainingBar::new(run.global, run.stage, epochs, steps, before);
        let going_on = (before > 0)
            .then(|| format!("going on after {}, from `{}`", progress(done, epochs, steps), run.checkpoint.display()));
        Ok(Self {
            waited_before: state.waited,
            log: EpochLog::begin(&run.log, &state.rows)?,
            events: run.tensorboard.as_deref().map(|folder| EventFile::begin(folder, before as u64)).transpose()?,
            run,
            folder,
            state,
            bar,
            model,
            begun: false,
            going_on,
            done,
            steps,
            began: Instant::now(),
            saved: Instant::now(),
            last_step: None,
            waited: Duration::ZERO,
            names: if run.chosen.is_classification() { TOP1 } else { RIGHT_LABELS },
            fault: None,
        })
    }

    /// Takes note of what happened, and says whether to go on. `waited` is what the epoch waited for images since it began, or
    /// was taken up again.
    pub(super) fn see(&mut self, event: Event<'_>, waited: Duration) -> ControlFlow<()> {
        self.waited = waited;
        self.say_going_on();
        let seen = self.first().and_then(|()| match event {
            Event::Step(step) => self.step(&step),
            Event::EpochEnd(done) => self.epoch_end(&done),
            _ => Ok(ControlFlow::Continue(())),
        });
        seen.unwrap_or_else(|fault| {
            self.fault = Some(fault);
            ControlFlow::Break(())
        })
    }

    /// Before anything is noted: by now model, settings, device and data are known to fit.
    fn first(&mut self) -> Result<()> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        let trying = Instant::now();
        let tried = self.run.try_held_out(self.model);
        // An interruption is seen to behind the step.
        if !interrupt::asked() {
            tried?;
        }
        self.began += trying.elapsed();
        self.bar.leave_out(trying.elapsed());
        if self.run.going_on.restart {
            self.folder.clear();
        }
        Ok(())
    }

    fn say_going_on(&mut self) {
        if let Some(text) = self.going_on.take() {
            self.bar.note(self.run.global, &text);
        }
    }

    fn step(&mut self, step: &StepDone<'_>) -> Result<ControlFlow<()>> {
        self.done = (step.epoch, step.step + 1);
        self.bar.step(step);
        if let Some(events) = &mut self.events {
            let answers = step.answers.map(Answers::percent);
            let known = [
                ("train/loss", Some(step.loss)),
                (self.names.train, answers),
                ("train/learning-rate", Some(step.learning_rate)),
                ("train/gradient-norm", step.gradient_norm),
            ];
            events.scalars((step.epoch * self.steps + step.step + 1) as u64, &known)?;
        }
        let asked = interrupt::asked();
        if step.step + 1 == self.steps {
            self.last_step = Some(step.checkpoint());
        } else if asked || self.saved.elapsed() >= self.run.checkpoint_every {
            self.save(&step.checkpoint(), self.done)?;
        }
        Ok(if asked && self.last_step.is_none() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn epoch_end(&mut self, done: &EpochDone<'_>) -> Result<ControlFlow<()>> {
        let before = self.state.clone();
        let last_step = self.last_step.take();
        if let Err(error) = self.measure(done) {
            self.state = before;
            // The epoch is taken up again behind its last step.
            let saved = last_step.map_or(Ok(()), |last_step| self.save(&last_step, (done.summary.epoch, self.steps)));
            return match interrupt::asked() {
                true => saved.map(|()| ControlFlow::Break(())),
                false => Err(error),
            };
        }
        self.done = (done.summary.epoch + 1, 0);
        self.save(&done.checkpoint(), self.done)?;
        self.bar.resume();
        Ok(if self.is_over() || interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// Measures an epoch that is done on the held-out part, and notes it.
    fn measure(&mut self, done: &EpochDone<'_>) -> Result<()> {
        let summary = &done.summary;
        let answers = summary.answers.map(Answers::percent);
        let by_class = self.run.chosen.is_classification();
        let mut row = EpochRow {
            stage: self.run.stage.to_owned(),
            epoch: summary.epoch + 1,
            loss: summary.loss,
            train_top1: answers.filter(|_| by_class),
            train_right_labels: answers.filter(|_| !by_class),
            learning_rate: Some(self.run.chosen.settings.learning_rate_at(summary.epoch, self.steps - 1, self.steps)),
            seconds: Some(self.seconds()),
            images: Some(summary.images),
            waited: Some(self.waited()),
            ..EpochRow::default()
        };
        if let Some(text) = starved(self.waited(), self.seconds()) {
            self.bar.note(self.run.global, &text);
        }
        let model = done.model()?;
        let held_out = self.run.held_out(&model)?;
        row.held_out_top1 = held_out.answers.filter(|_| by_class);
        row.held_out_right_labels = held_out.answers.filter(|_| !by_class);
        row.held_out_loss = held_out.loss;
        self.note(row, &model)
    }

    /// Notes an epoch that is done and measured.
    fn note(&mut self, row: EpochRow, model: &Model) -> Result<()> {
        self.bar.note(self.run.global, &line(&row));
        self.log.add(&row)?;
        if let Some(events) = &mut self.events {
            let answers = row.held_out_top1.or(row.held_out_right_labels);
            let held_out = [(self.names.held_out, answers), ("held-out/loss", row.held_out_loss)];
            events.scalars((row.epoch * self.steps) as u64, &held_out)?;
        }
        let epoch = row.epoch;
        self.state.rows.push(row);
        let is_result = match self.run.chosen.keep {
            Keep::Best => match choice::best(&self.state.rows) {
                Some(best) => best + 1 == self.state.rows.len(),
                // Nothing could be measured.
                None => self.is_over(),
            },
            Keep::Last => self.is_over(),
        };
        if is_result { self.folder.keep_result(&mut self.state, model, epoch) } else { Ok(()) }
    }

    /// Writes a checkpoint that was taken when `done` epochs, and steps of the next, were done.
    fn save(&mut self, checkpoint: &Checkpoint, done: (usize, usize)) -> Result<()> {
        if done.1 == 0 {
            (self.state.seconds, self.state.waited, self.waited_before) = (0.0, 0.0, 0.0);
        } else {
            (self.state.seconds, self.state.waited) = (self.seconds(), self.waited());
        }
        self.began = Instant::now();
        self.folder.save(&mut self.state, checkpoint, &format!("{}-{}", done.0, done.1))?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Seconds that the epoch under way took so far.
    fn seconds(&self) -> f64 {
        self.state.seconds + self.began.elapsed().as_secs_f64()
    }

    /// How many of them went by in waiting for images.
    fn waited(&self) -> f64 {
        self.waited_before + self.waited.as_secs_f64()
    }

    /// Whether there are no more epochs to do: all are done, or patience is at its end.
    pub(super) fn is_over(&self) -> bool {
        let chosen = &self.run.chosen;
        self.state.rows.len() >= chosen.settings.epochs || choice::is_exhausted(&self.state.rows, chosen.patience)
    }

    /// The error that ended the run from here, where there is one.
    pub(super) fn fault(&mut self) -> Result<()> {
        self.bar.finish();
        self.fault.take().map_or(Ok(()), Err)
    }

    /// The model that counts; `last` is that of the last epoch.
    pub(super) fn result(mut self, last: Option<Model>) -> Result<Trained> {
        self.say_going_on();
        self.bar.finish();
        let model = self.folder.result(&self.state)?.or(last).ok_or_else(|| {
            let folder = self.run.checkpoint.display();
            CannotBeDone(format!(
                "the checkpoint `{folder}` is of a run that is over, and lacks its result; `--restart` begins anew"
            ))
        })?;
        let epochs = self.run.chosen.settings.epochs;
        if self.state.rows.len() < epochs {
            let (rows, patience) = (self.state.rows.len(), self.run.chosen.patience.unwrap_or(0));
            let text = format!("stopped after {rows} of {epochs} epochs: the last {patience} were not better");
            self.bar.note(self.run.global, &text);
        }
        Ok(Trained::new(model, self.state.rows, self.run.chosen.keep))
    }

    /// What a run says that Ctrl-C ended.
    pub(super) fn interrupted(&self) -> CannotBeDone {
        CannotBeDone(format!(
            "interrupted after {}; the same command goes on from `{}`",
            progress(self.done, self.run.chosen.settings.epochs, self.steps),
            self.run.checkpoint.display()
        ))
    }
}

/// `3 of 10 epochs and 40 of 112 steps`.
fn progress((done, step): (usize, usize), epochs: usize, steps: usize) -> String {
    let within = if step > 0 { format!(" and {step} of {steps} steps") } else { String::new() };
    format!("{done} of {epochs} epochs{within}")
}

fn line(row: &EpochRow) -> String {
    let mut text = format!("{} epoch {}: loss {:.4}", row.stage, row.epoch, row.loss);
    let answers = [
        ("training top-1", row.train_top1),
        ("training labels right", row.train_right_labels),
        ("held-out top-1", row.held_out_top1),
        ("held-out labels right", row.held_out_right_labels),
    ];
    for (name, percent) in answers {
        if let Some(percent) = percent {
            text.push_str(&format!(", {name} {percent:.2} %"));
        }
    }
    if let Some(loss) = row.held_out_loss {
        text.push_str(&format!(", held-out loss {loss:.4}"));
    }
    if let Some(rate) = row.learning_rate {
        text.push_str(&format!(", learning rate {}", brief(rate)));
    }
    if let Some(seconds) = row.seconds {
        let speed = row.images.map(|images| format!(" ({:.0} images/s)", images as f64 / seconds.max(1e-9)));
        text.push_str(&format!(", {seconds:.1} s{}", speed.unwrap_or_default()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_images_is_told_where_it_is_more_than_a_tenth() {
        assert_eq!(starved(1.0, 10.0), None);
        assert_eq!(starved(0.9, 2.0), None);
        assert_eq!(starved(0.0, 0.0), None);
        assert!(starved(3.0, 10.0).unwrap().starts_with("30 % of the epoch's time"));
    }
}
