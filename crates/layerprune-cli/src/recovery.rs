//! Recovery of a cut model from images alone: bridges in place of what went, batch-norm statistics.

use std::ops::ControlFlow;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use layerprune::analysis::{ChannelCut, Channels, Units, Way};
use layerprune::fit::DEFAULT_PENALTY;
use layerprune::onnx::Model;
use layerprune::pipeline::{self, BridgeFit, Compensation, Correction, Observe, Part, PortError, RecoveryError, Visit};
use layerprune::plan::{self, Plan, PlanError};
use layerprune::surgery::{self, Bridged};
use layerprune_data::Dataset;
use layerprune_infer::Session;
use serde::Serialize;

use crate::args::{Global, RecoverArgs, RecoverStep};
use crate::data::{self, Data};
use crate::output::count;
use crate::{Usage, interrupt, progress, training};

/// What recovery did.
#[derive(Debug, Serialize)]
pub(crate) struct Recovery {
    /// The steps, in the order in which they were done.
    steps: Vec<&'static str>,
    /// Images that were fitted to.
    images: usize,
    /// Images that the errors were measured on.
    held_out_images: usize,
    bridges: Vec<BridgeFit>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    compensated: Vec<Compensation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    corrected: Vec<Correction>,
    output_error: OutputError,
}

/// How far the first output is from the original model's: `‖a − b‖ / ‖a‖` over all held-out images.
#[derive(Debug, Default, Serialize)]
struct OutputError {
    /// After the cut alone. Where bridges are to be fitted, they pass on what they read, or give zeros.
    before: f64,
    /// After recovery.
    after: f64,
}

/// The steps asked for, in order.
pub(crate) fn steps(args: &RecoverArgs) -> Result<Vec<RecoverStep>> {
    let asked = &args.recover;
    let names = || asked.iter().map(|step| step.name()).collect::<Vec<_>>().join(",");
    let times = |step: RecoverStep| asked.iter().filter(|&&other| other == step).count();
    if asked.len() > 1 && times(RecoverStep::None) > 0 {
        return Err(Usage(format!("`--recover {}`: `none` stands alone", names())).into());
    }
    if times(RecoverStep::Bridge) + times(RecoverStep::ScaleShift) > 1 {
        return Err(Usage(format!("`--recover {}` would fit bridges twice", names())).into());
    }
    for step in [RecoverStep::Compensate, RecoverStep::Bias, RecoverStep::Recalibrate] {
        if times(step) > 1 {
            return Err(Usage(format!("`--recover {}` would do `{}` twice", names(), step.name())).into());
        }
    }
    Ok(asked.iter().copied().filter(|&step| step != RecoverStep::None).collect())
}

/// What stands in place of removed layers, where `steps` fit something there.
pub(crate) fn way(steps: &[RecoverStep]) -> Option<Way> {
    steps.iter().find_map(|step| match step {
        RecoverStep::Bridge => Some(Way::Bridge),
        RecoverStep::ScaleShift => Some(Way::ScaleShift),
        RecoverStep::None | RecoverStep::Compensate | RecoverStep::Bias | RecoverStep::Recalibrate => None,
    })
}

/// Makes every removal of a plan from a file one by `way`; without one, refuses what has to be fitted.
pub(crate) fn by_way(plan: &mut Plan, units: &Units, way: Option<Way>) -> Result<()> {
    for planned in &mut plan.removed {
        let Some(way) = way else {
            if planned.way.is_fitted() {
                let name = planned.unit.clone();
                let reason = "the plan puts what has to be fitted in its place: give `--recover bridge`".to_owned();
                return Err(PlanError::Fixed { name, reason }.into());
            }
            continue;
        };
        planned.way = way;
        if let Some(reason) = units.named(&planned.unit).and_then(|unit| unit.no_bridge(way)) {
            return Err(PlanError::Fixed { name: planned.unit.clone(), reason }.into());
        }
    }
    Ok(())
}

/// Cuts `model` as `plan` says and does `steps`.
pub(crate) fn cut_and_recover(
    model: &Model,
    units: &Units,
    plan: &Plan,
    steps: &[RecoverStep],
    args: &RecoverArgs,
    data: &Data,
    global: &Global,
) -> Result<(Model, Recovery)> {
    data.expect_clear_normalisation()?;
    let (cut, bridges) = surgery::apply_with_bridges(model, units, plan)?;
    let fitted = data.unlabelled(&data.train, args.recover_samples)?;
    let held_out = data.unlabelled(&data.held_out, args.recover_samples.div_ceil(5))?;
    let images = Images { data, fitted: &fitted, held_out: &held_out, global };
    let site = Site { model, units, plan, bridges: &bridges, images };
    let mut recovered = cut.clone();
    let mut done = Recovery {
        steps: steps.iter().map(|step| step.name()).collect(),
        images: fitted.len(),
        held_out_images: held_out.len(),
        bridges: Vec::new(),
        compensated: Vec::new(),
        corrected: Vec::new(),
        output_error: OutputError::default(),
    };
    for step in steps {
        match step {
            RecoverStep::Bridge | RecoverStep::ScaleShift => done.bridges = site.bridge(&mut recovered)?,
            RecoverStep::Compensate => done.compensated = site.compensate(&mut recovered)?,
            RecoverStep::Bias => done.corrected = site.correct(&mut recovered)?,
            RecoverStep::Recalibrate => {
                if let Some(model) = training::recalibrate_on(&recovered, data, &fitted, global)? {
                    recovered = model;
                } else {
                    progress::note(global, "no batch norm is left to recalibrate");
                }
            }
            RecoverStep::None => {}
        }
    }
    let (recovered, folded) = surgery::fold(&recovered, units, &bridges)?;
    for folded in folded {
        for fit in done.bridges.iter_mut().filter(|fit| fit.unit == folded.unit) {
            fit.folded_into = Some(folded.into.clone());
        }
    }
    done.output_error = output_error([model, &cut, &recovered], data, &held_out, global)?;
    Ok((recovered, done))
}

/// What the steps of recovery work on.
struct Site<'a> {
    model: &'a Model,
    units: &'a Units,
    plan: &'a Plan,
    bridges: &'a [Bridged],
    images: Images<'a>,
}

impl Site<'_> {
    fn bridge(&self, recovered: &mut Model) -> Result<Vec<BridgeFit>> {
        let (mut port, bar) = self.images.port("bridging", self.bridges.len());
        let done = pipeline::fit_bridges(self.model, recovered, self.bridges, DEFAULT_PENALTY, &mut port, &mut |_| {});
        finished(done, &bar)
    }

    fn compensate(&self, recovered: &mut Model) -> Result<Vec<Compensation>> {
        let (channels, cut) = self.channel_cut()?;
        let (consumers, others) = surgery::consumers(self.units, &channels, &cut, recovered);
        for other in others {
            let text = format!("`{}` is left as the cut left it: {}", other.name, other.reason);
            progress::note(self.images.global, &text);
        }
        let (mut port, bar) = self.images.port("compensating", consumers.len());
        let (model, step) = (self.model, &mut |_: &Compensation| {});
        let done = pipeline::compensate(model, recovered, &consumers, DEFAULT_PENALTY, &mut port, step);
        finished(done, &bar)
    }

    fn correct(&self, recovered: &mut Model) -> Result<Vec<Correction>> {
        let (_, cut) = self.channel_cut()?;
        let nodes = surgery::biased_nodes(self.model, self.units, &cut, recovered);
        let (mut port, bar) = self.images.port("correcting biases", nodes.len());
        finished(pipeline::correct_biases(self.model, recovered, &nodes, &mut port, &mut |_| {}), &bar)
    }

    /// Which channels are gone; none where layers are.
    fn channel_cut(&self) -> Result<(Channels, ChannelCut)> {
        let channels = Channels::find(self.model, &self.units.model, &self.units.shapes);
        let cut = plan::cut_of(&self.model.graph, &channels, &self.plan.channels)?;
        Ok((channels, cut))
    }
}

fn finished<T>(done: Result<Vec<T>, RecoveryError>, bar: &ProgressBar) -> Result<Vec<T>> {
    bar.finish_and_clear();
    done.map_err(|error| if interrupt::asked() { interrupt::ended() } else { error.into() })
}

/// The images of this command.
#[derive(Clone, Copy)]
pub(crate) struct Images<'a> {
    pub(crate) data: &'a Data,
    pub(crate) fitted: &'a Dataset,
    pub(crate) held_out: &'a Dataset,
    pub(crate) global: &'a Global,
}

impl<'a> Images<'a> {
    /// The library's port with a bar for that many passes.
    pub(crate) fn port(self, what: &'static str, passes: usize) -> (Engine<'a>, ProgressBar) {
        let bar = progress::bar(self.global, what, ((self.fitted.len() + self.held_out.len()) * passes) as u64);
        (Engine { images: self, bar: bar.clone() }, bar)
    }
}

/// The library's port: models run by the inference engine.
pub(crate) struct Engine<'a> {
    images: Images<'a>,
    bar: ProgressBar,
}

impl Observe for Engine<'_> {
    fn pairs(&mut self, first: &Model, second: &Model, visit: &mut Visit<'_>) -> Result<(), PortError> {
        let Images { data, fitted, held_out, global } = self.images;
        let options = data::session_options(global);
        let (first, second) = (Session::load(first, &options)?, Session::load(second, &options)?);
        for (part, set) in [(Part::Fitted, fitted), (Part::HeldOut, held_out)] {
            for batch in data::batches_for(&first, set, &data.preprocess)? {
                if interrupt::check() == ControlFlow::Break(()) {
                    return Err(interrupt::ended().into());
                }
                let batch = batch?;
                let (a, b) = (first.run(&batch.images, batch.shape)?, second.run(&batch.images, batch.shape)?);
                visit(part, a.output(0).maps(), b.output(0).maps())?;
                self.bar.inc(batch.shape[0] as u64);
            }
        }
        Ok(())
    }
}

fn output_error(models: [&Model; 3], data: &Data, images: &Dataset, global: &Global) -> Result<OutputError> {
    let options = data::session_options(global);
    let load = |model| Session::load(model, &options).context("cannot run the model");
    let [original, cut, recovered] = [load(models[0])?, load(models[1])?, load(models[2])?];
    let (mut before, mut after, mut whole) = (0.0, 0.0, 0.0);
    for batch in data::batches_for(&original, images, &data.preprocess)? {
        if interrupt::asked() {
            return Err(interrupt::ended());
        }
        let batch = batch?;
        let run =
            |session: &Session| Ok::<_, anyhow::Error>(session.run(&batch.images, batch.shape)?.output(0).data.clone());
        let reference = run(&original)?;
        let apart = |other: &[f32]| -> f64 {
            reference.iter().zip(other).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
        };
        before += apart(&run(&cut)?);
        after += apart(&run(&recovered)?);
        whole += reference.iter().map(|&a| f64::from(a).powi(2)).sum::<f64>();
    }
    Ok(OutputError { before: (before / whole).sqrt(), after: (after / whole).sqrt() })
}

/// What recovery did, for people.
pub(crate) fn text(recovery: &Recovery) -> String {
    let mut text = String::new();
    if !recovery.bridges.is_empty() {
        text.push_str(&format!("fitted to {} images, no labels used:\n", recovery.images));
    }
    for fit in &recovery.bridges {
        let share = |r2: Option<f64>| r2.map_or_else(|| "undefined".to_owned(), |r2| format!("{r2:.3}"));
        let cost = match (&fit.folded_into, fit.cost.macs) {
            (Some(node), _) => format!("folded into `{node}`"),
            (None, Some(macs)) => format!("{} parameters, {} MACs", count(fit.cost.parameters), count(macs)),
            (None, None) => format!("{} parameters", count(fit.cost.parameters)),
        };
        text.push_str(&format!("  {}: R² {}, {} held out; {cost}\n", fit.unit, share(fit.r2), share(fit.held_out_r2)));
    }
    text.push_str(&compensation_text(&recovery.compensated));
    if !recovery.corrected.is_empty() {
        let (nodes, images) = (recovery.corrected.len(), recovery.images);
        text.push_str(&format!(
            "corrected the biases of {nodes} nodes by their means over {images} images, no labels used\n"
        ));
    }
    let OutputError { before, after } = recovery.output_error;
    text.push_str(&format!(
        "relative error of the output on {} held-out images: {before:.3} → {after:.3}\n",
        recovery.held_out_images
    ));
    text
}

fn compensation_text(fits: &[Compensation]) -> String {
    let Some(first) = fits.first() else { return String::new() };
    let left = fits.iter().filter(|fit| !fit.taken).count();
    let worst = fits.iter().fold(first, |worst, fit| if fit.r2 < worst.r2 { fit } else { worst });
    let share = |r2: Option<f64>| r2.map_or_else(|| "undefined".to_owned(), |r2| format!("{r2:.3}"));
    let mut text = format!(
        "fitted the weights of {} nodes to what they gave, no labels used; lowest held-out R² {} → {} at `{}`\n",
        fits.len() - left,
        share(worst.r2_before),
        share(worst.r2),
        worst.node
    );
    if left > 0 {
        text.push_str(&format!("left {left} as they were: what was fitted explains less of the held-out images\n"));
    }
    text
}
