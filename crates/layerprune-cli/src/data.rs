//! The data of a command: splits and preprocessing.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use layerprune::onnx::Model;
use layerprune::proto::tensor_shape_proto::dimension;
use layerprune::proto::type_proto;
use layerprune::record::Proportion;
use layerprune::stats::SplitMix;
use layerprune_data::{Augment, BatchOptions, Batches, DataSpec, Dataset, OpenOptions, Preprocess, Split};
use layerprune_infer::{
    CommandEngine, CommandOptions, ENGINES, Engine, Session, SessionOptions, engine_named, evaluate,
};

use crate::args::{DataArgs, Global, Part};
use crate::engine::EngineName;
use crate::{CannotBeDone, Usage, demo, interrupt, progress};

/// Images of a training step or an inference call, where nothing else is asked for.
pub(crate) const BATCH: usize = 64;
/// Images on which normalisations are tried.
const TRIAL: usize = 200;

/// An open data set, its training part divided.
pub(crate) struct Data {
    pub(crate) source: String,
    /// What is learned from.
    pub(crate) train: Dataset,
    /// What choices are made on.
    pub(crate) held_out: Dataset,
    pub(crate) preprocess: Preprocess,
    /// Why the normalisation that was taken cannot be relied on, where it cannot.
    doubt: Option<String>,
    spec: DataSpec,
    options: OpenOptions,
    seed: u64,
}

/// Images that a model does not take.
#[derive(Debug, thiserror::Error)]
#[error("the model takes images of {taken}, those of `{data}` are {found} (channels x height x width)")]
pub(crate) struct Misfit {
    taken: String,
    data: String,
    found: String,
}

/// Opens the training part of a data set for `model` and holds a share of it out. Where no normalisation is given, the
/// one is taken under which the model is right most often, if it is `trained`.
pub(crate) fn open(args: &DataArgs, model: &Model, trained: bool, global: &Global) -> Result<Data> {
    open_as(args, model, trained, true, global)
}

/// Opens the training part of a data set for `model`, trained, for its images alone. Labels are only looked at where no
/// normalisation is given, to find it as [`open`] does; with one, folders need not be the model's classes.
pub(crate) fn open_images(args: &DataArgs, model: &Model, global: &Global) -> Result<Data> {
    open_as(args, model, true, args.images.normalize.is_none(), global)
}

fn open_as(args: &DataArgs, model: &Model, trained: bool, labelled: bool, global: &Global) -> Result<Data> {
    let images = &args.images;
    let spec: DataSpec = args.data.parse().with_context(|| format!("cannot use `--data {}`", args.data))?;
    let options = OpenOptions { resize: images.resize.as_deref().map(size).transpose()? };
    if !(images.held_out > 0.0 && images.held_out < 1.0) {
        return Err(Usage(format!("`--held-out {}` is no share between 0 and 1", images.held_out)).into());
    }
    let whole = split(&spec, Split::Train, &options)?;
    let (train, held_out) = match labelled {
        true => whole.hold_out(images.held_out, global.seed())?,
        false => divide(&whole, images.held_out, global.seed())?,
    };
    expect_fit(model, &spec, train.image_shape(), images.gray_to_rgb)?;
    if labelled {
        expect_classes(model, &spec, &train, global)?;
    }
    let mut doubt = None;
    let preprocess = match (images.normalize.as_deref(), &spec, trained.then_some(model)) {
        (Some("none"), ..) => Preprocess::default(),
        (Some(text), ..) => {
            text.parse::<Preprocess>().with_context(|| Usage(format!("cannot use `--normalize {text}`")))?
        }
        (None, DataSpec::Demo, _) => demo::preprocess(),
        (None, _, None) => Preprocess::default(),
        (None, _, Some(model)) => {
            let (chosen, unclear) = choose(model, &train, images.gray_to_rgb, global)?;
            doubt = unclear;
            chosen
        }
    };
    let preprocess = Preprocess { gray_to_rgb: images.gray_to_rgb, ..preprocess };
    preprocess.output_shape(train.image_shape()).with_context(|| {
        Usage(format!("`--normalize {}` does not fit the images", images.normalize.as_deref().unwrap_or("none")))
    })?;
    Ok(Data { source: spec.to_string(), train, held_out, preprocess, doubt, spec, options, seed: global.seed() })
}

impl Data {
    /// Refuses to go on with a normalisation that was taken although no other is clearly worse than it.
    pub(crate) fn expect_clear_normalisation(&self) -> Result<()> {
        match &self.doubt {
            Some(doubt) => Err(CannotBeDone(doubt.clone()).into()),
            None => Ok(()),
        }
    }

    /// The test set, which no choice is made on.
    pub(crate) fn test(&self) -> Result<Dataset> {
        split(&self.spec, Split::Test, &self.options)
    }

    /// One part of the data.
    pub(crate) fn part(&self, part: Part) -> Result<Dataset> {
        match part {
            Part::Test => self.test(),
            Part::HeldOut => Ok(self.held_out.clone()),
            Part::Train => Ok(self.train.clone()),
        }
    }

    /// Batches in order, as they are.
    pub(crate) fn plain(&self, set: &Dataset, batch_size: usize) -> Result<Batches> {
        Ok(set.batches(&BatchOptions { batch_size, preprocess: self.preprocess.clone(), ..Default::default() })?)
    }

    /// Options of training batches: shuffled and augmented by the seed and the epoch.
    pub(crate) fn training(&self, batch_size: usize, augment: Augment) -> BatchOptions {
        let preprocess = self.preprocess.clone();
        BatchOptions {
            batch_size,
            preprocess,
            augment,
            shuffle: true,
            seed: self.seed,
            drop_last: true,
            ..BatchOptions::default()
        }
    }

    /// Up to `samples` images of `set`, drawn at random without a look at their labels.
    pub(crate) fn unlabelled(&self, set: &Dataset, samples: usize) -> Result<Dataset> {
        let mut drawn = shuffled(set.len(), self.seed);
        drawn.truncate(samples);
        drawn.sort_unstable();
        Ok(set.subset(&drawn)?)
    }

    /// `samples` training images of each class.
    pub(crate) fn sample_of_each(&self, samples: usize) -> Result<Dataset> {
        Ok(self.train.balanced(samples, self.seed)?)
    }

    /// One look at all images of `set` in an order that the seed and `epoch` decide.
    pub(crate) fn shuffled(&self, set: &Dataset, batch_size: usize, drop_last: bool, epoch: u64) -> Result<Batches> {
        let options = self.training(batch_size, Augment::default());
        Ok(set.batches(&BatchOptions { epoch, drop_last, ..options })?)
    }

    /// About `samples` training images, the same number of each class.
    pub(crate) fn sample(&self, samples: usize) -> Result<Dataset> {
        let classes = self.train.classes().len().max(1);
        let smallest = self.train.class_counts().into_iter().min().unwrap_or(0);
        Ok(self.train.balanced(samples.div_ceil(classes).min(smallest).max(1), self.seed)?)
    }
}

/// Divides images into those kept and a share held out, without a look at their labels; at least one on each side.
fn divide(whole: &Dataset, share: f64, seed: u64) -> Result<(Dataset, Dataset)> {
    if whole.len() < 2 {
        return Err(CannotBeDone(format!("of {} images none can be held out", whole.len())).into());
    }
    let mut held_out = shuffled(whole.len(), seed);
    let mut kept = held_out.split_off(((whole.len() as f64 * share).round() as usize).clamp(1, whole.len() - 1));
    held_out.sort_unstable();
    kept.sort_unstable();
    Ok((whole.subset(&kept)?, whole.subset(&held_out)?))
}

/// The numbers below `count` in an order that the seed decides.
fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut random = SplitMix::new(seed);
    let mut order: Vec<usize> = (0..count).collect();
    for place in (1..count).rev() {
        order.swap(place, random.below(place + 1));
    }
    order
}

fn split(spec: &DataSpec, split: Split, options: &OpenOptions) -> Result<Dataset> {
    match spec {
        DataSpec::Demo => demo::dataset(split),
        spec => layerprune_data::open(spec, split, options).with_context(|| format!("cannot use the data `{spec}`")),
    }
}

/// Refuses images of another shape than the only input of `model` declares.
fn expect_fit(model: &Model, spec: &DataSpec, [channels, height, width]: [usize; 3], gray_to_rgb: bool) -> Result<()> {
    let found = [if gray_to_rgb && channels == 1 { 3 } else { channels }, height, width];
    let mut inputs = model.graph.fed_inputs();
    let (Some(input), None) = (inputs.next(), inputs.next()) else { return Ok(()) };
    let Some(type_proto::Value::TensorType(tensor)) = input.info.r#type.as_ref().and_then(|found| found.value.as_ref())
    else {
        return Ok(());
    };
    let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let [_, image @ ..] = dims else { return Ok(()) };
    let taken = image.iter().map(|dim| match dim.value {
        Some(dimension::Value::DimValue(size)) => usize::try_from(size).ok().filter(|&size| size > 0),
        _ => None,
    });
    let taken: Vec<Option<usize>> = taken.collect();
    if taken.len() != 3 || taken.iter().zip(found).all(|(taken, found)| taken.is_none_or(|taken| taken == found)) {
        return Ok(());
    }
    let taken: Vec<String> = taken.iter().map(|size| size.map_or("?".to_owned(), |size| size.to_string())).collect();
    let found = found.map(|size| size.to_string()).join("x");
    Err(Misfit { taken: taken.join("x"), data: spec.to_string(), found }.into())
}

/// Refuses folders that are not the model's classes: labels count folders in sorted order, so they would be shifted.
fn expect_classes(model: &Model, spec: &DataSpec, train: &Dataset, global: &Global) -> Result<()> {
    let scored = layerprune::shapes::infer(&model.graph, &Default::default()).ok().and_then(|shapes| {
        let output = model.graph.outputs().first()?;
        let dims = shapes.fact(output.value).shape.as_ref()?;
        dims.iter().skip(1).try_fold(1_usize, |product, dim| product.checked_mul(dim.known()?))
    });
    let found = train.classes().len();
    match (scored, spec) {
        (Some(scored), DataSpec::ImageFolder(path)) if scored != found => Err(CannotBeDone(format!(
            "the model scores {scored} classes, `{}` has {found} folders: labels count the folders in sorted order, so \
             they would stand for other classes",
            path.display()
        ))
        .into()),
        (Some(scored), _) if scored > found => {
            progress::note(global, &format!("the model scores {scored} classes, the data has {found}"));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn size(text: &str) -> Result<[u32; 2]> {
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|&size| size > 0);
    let sizes = match text.split_once('x') {
        Some((height, width)) => number(height).zip(number(width)),
        None => number(text).zip(number(text)),
    };
    sizes.map(Into::into).ok_or_else(|| Usage(format!("`--resize {text}` is not HEIGHTxWIDTH")).into())
}

/// Tries each named normalisation on some training images and takes the best.
fn choose(model: &Model, train: &Dataset, gray_to_rgb: bool, global: &Global) -> Result<(Preprocess, Option<String>)> {
    let classes = train.classes().len().max(1);
    let smallest = train.class_counts().into_iter().min().unwrap_or(0);
    let images = train.balanced(TRIAL.div_ceil(classes).min(smallest).max(1), global.seed())?;
    let session = Session::load(model, &session_options(global))?;
    let mut tried: Vec<(&str, Preprocess, f64)> = Vec::new();
    for name in ["none"].into_iter().chain(Preprocess::presets()) {
        let preprocess = if name == "none" { Preprocess::default() } else { name.parse()? };
        let preprocess = Preprocess { gray_to_rgb, ..preprocess };
        if preprocess.output_shape(train.image_shape()).is_err() {
            continue;
        }
        let found = evaluate(&session, batches_for(&session, &images, &preprocess)?, |_| interrupt::check())?;
        tried.push((name, preprocess, found.accuracy.top1.percent));
    }
    let best = tried.iter().rev().max_by(|a, b| a.2.total_cmp(&b.2)).context("no normalisation fits the images")?;
    let all: Vec<String> = tried.iter().map(|(name, _, top1)| format!("{name} {top1:.1} %")).collect();
    let (all, count) = (all.join(", "), images.len() as u64);
    let seen = Proportion::of((best.2 * count as f64 / 100.0).round() as u64, count);
    let doubt = (seen.interval[0] <= 100.0 / classes as f64).then(|| {
        format!("the model is near chance under every normalisation ({all}), so the right one cannot be told; give `--normalize`")
    });
    let taken = format!(
        "normalisation: `{}`, under which the model is right most often on {count} training images ({all}); `--normalize` sets it",
        best.0
    );
    let unclear = if doubt.is_some() { "; the model is near chance under all of them" } else { "" };
    progress::note(global, &format!("{taken}{unclear}"));
    Ok((best.1.clone(), doubt))
}

/// Batches of `set` in order, of the size that the model takes. One that is fixed to a size cannot take a last batch of
/// fewer images, which is then left out.
pub(crate) fn batches_for(session: &Session, set: &Dataset, preprocess: &Preprocess) -> Result<Batches> {
    batches_of(session, set, preprocess, BATCH)
}

/// The same, of `size` images where the model takes any number.
pub(crate) fn batches_of(session: &Session, set: &Dataset, preprocess: &Preprocess, size: usize) -> Result<Batches> {
    Ok(set.batches(&BatchOptions {
        batch_size: session.fixed_batch().unwrap_or(size),
        drop_last: session.fixed_batch().is_some(),
        preprocess: preprocess.clone(),
        ..Default::default()
    })?)
}

/// What computes, with the threads asked for, else all cores.
pub(crate) fn session_options(global: &Global) -> SessionOptions<'static> {
    let default = SessionOptions::default();
    SessionOptions { threads: global.threads.map_or(default.threads, usize::from), engine: running_engine(global) }
}

/// What times models: the engine asked for.
pub(crate) fn engine(global: &Global) -> &'static dyn Engine {
    static COMMAND: OnceLock<CommandEngine> = OnceLock::new();
    match &global.engine {
        EngineName::Table(name) => engine_named(name).expect("the name is of the table"),
        EngineName::Command(line) => COMMAND.get_or_init(|| {
            let options = CommandOptions {
                line: line.clone(),
                retries: global.command_retries,
                timeout: Duration::from_secs_f64(global.command_timeout),
                time: global.command_time.clone(),
                stop: interrupt::asked,
            };
            CommandEngine::new(options).expect("the command was looked at when it was read")
        }),
    }
}

/// What computes: the engine asked for, or the embedded one where that is a command, which only times.
pub(crate) fn running_engine(global: &Global) -> &'static dyn Engine {
    match &global.engine {
        EngineName::Table(_) => engine(global),
        EngineName::Command(_) => ENGINES[0],
    }
}
