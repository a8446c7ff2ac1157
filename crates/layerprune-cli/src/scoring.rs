//! Scores of a model's units: evidence from the inference engine, rules from the library.

use anyhow::{Context, Result};
use layerprune::analysis::Units;
use layerprune::criteria::{self, Criterion, Scores};
use layerprune::evidence::{ClassSums, Evidence, EvidenceError, ImprintCounts};
use layerprune::onnx::Model;
use layerprune_data::Dataset;
use layerprune_infer::{Feature, InferError, Session, features};

use crate::args::{CriterionArgs, Global};
use crate::data::{self, Data};
use crate::{CannotBeDone, Usage, interrupt, progress};

/// The criteria called `ids`.
pub(crate) fn criteria(ids: &[String]) -> Result<Vec<&'static dyn Criterion>> {
    let find = |id: &String| {
        let known: Vec<_> = criteria::CRITERIA.iter().map(|criterion| criterion.id()).collect();
        let unknown = || Usage(format!("there is no criterion `{id}`; there are {}", known.join(", "))).into();
        criteria::named(id).ok_or_else(unknown)
    };
    ids.iter().map(find).collect()
}

/// Gathers what `criteria` need; the data is gone through once, and only where one of them needs it.
pub(crate) fn evidence(
    model: &Model,
    units: &Units,
    criteria: &[&'static dyn Criterion],
    data: Option<&Data>,
    options: &CriterionArgs,
    global: &Global,
) -> Result<Evidence> {
    let needed = criteria.iter().any(|criterion| criterion.needs_imprint());
    let imprint = match data {
        Some(data) if needed => Some(imprint(model, units, data, options, global)?),
        _ => None,
    };
    Ok(Evidence { imprint })
}

/// Scores all units by each of `criteria`.
pub(crate) fn score(
    model: &Model,
    units: &Units,
    criteria: &[&'static dyn Criterion],
    data: Option<&Data>,
    options: &CriterionArgs,
    global: &Global,
) -> Result<Vec<Scores>> {
    if !units.units.iter().any(|unit| unit.tapped) {
        return Err(CannotBeDone("the model has no layer that could be scored".to_owned()).into());
    }
    let evidence = evidence(model, units, criteria, data, options, global)?;
    criteria.iter().map(|criterion| Ok(Scores::of(*criterion, &model.graph, units, &evidence)?)).collect()
}

/// Imprints a classifier at every tap on training images, and counts what it gets right on held-out ones.
fn imprint(
    model: &Model,
    units: &Units,
    data: &Data,
    options: &CriterionArgs,
    global: &Global,
) -> Result<ImprintCounts> {
    let taps: Vec<_> = units.units.iter().filter(|unit| unit.tapped).map(|unit| unit.exit).collect();
    if taps.is_empty() {
        return Err(CannotBeDone("the model has no layer that could be scored".to_owned()).into());
    }
    let train = match options.samples {
        Some(samples) => data.sample(samples)?,
        None => data.train.clone(),
    };
    train.require_every_class()?;
    let session = Session::with_taps(model, &taps, &data::session_options(global)).context("cannot run the model")?;
    let mut sums = ClassSums::new(taps.len(), train.classes().len(), options.embedding);
    pass(&session, data, &train, "imprinting", global, &mut |feature| {
        if feature.tap == 0 {
            sums.add_labels(feature.labels)?;
        }
        sums.add(feature.tap, feature.data, feature.shape, feature.labels)
    })?;
    let mut imprinted = sums.imprint()?;
    pass(&session, data, &data.held_out, "held-out", global, &mut |feature| {
        imprinted.classify(feature.tap, feature.data, feature.shape, feature.labels)
    })?;
    Ok(imprinted.counts())
}

fn pass(
    session: &Session,
    data: &Data,
    set: &Dataset,
    what: &str,
    global: &Global,
    visit: &mut dyn FnMut(Feature<'_>) -> Result<(), EvidenceError>,
) -> Result<()> {
    let bar = progress::bar(global, what, set.len() as u64);
    let mut fault = None;
    let done = features(
        session,
        data::batches_for(session, set, &data.preprocess)?,
        |feature| {
            if fault.is_none() {
                fault = visit(feature).err();
            }
        },
        |progress| {
            bar.set_position(progress.images);
            interrupt::check()
        },
    );
    bar.finish_and_clear();
    match (fault, done) {
        (Some(fault), _) => Err(fault.into()),
        (None, Err(InferError::Interrupted)) => Err(CannotBeDone("interrupted; nothing was written".to_owned()).into()),
        (None, done) => done.map(|_| ()).context("cannot run the model on the data"),
    }
}
