//! The data of a command: splits and preprocessing.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use layerprune::onnx::Model;
use layerprune::proto::tensor_shape_proto::dimension;
use layerprune::proto::type_proto;
use layerprune::record::Proportion;
use layerprune::stats::SplitMix;
use layerprune_data::{
    Augment, BatchOptions, Batches, Crop, CropRounding, DataSpec, Dataset, Geometry, ModelConfig, OpenOptions,
    Preprocess, Resize, Split,
};
use layerprune_infer::{
    CommandEngine, CommandOptions, ENGINES, Engine, Session, SessionOptions, engine_named, evaluate,
};

use crate::args::{DataArgs, Global, ImageArgs, Part};
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
    /// How many numbers the model gives for an image, where that is known.
    scored: Option<usize>,
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

/// Opens the training part of a data set for `model`, which was read from `path`, and holds a share of it out. Where neither
/// flags nor a file beside the model give a normalisation, the one is taken under which the model is right most often, if it
/// is `trained`.
pub(crate) fn open(args: &DataArgs, path: &Path, model: &Model, trained: bool, global: &Global) -> Result<Data> {
    open_judged_by(args, path, model, trained.then_some(model), global)
}

/// The same, with a normalisation that suits `judge`, a trained model that takes the same images; none without one.
pub(crate) fn open_judged_by(
    args: &DataArgs,
    path: &Path,
    model: &Model,
    judge: Option<&Model>,
    global: &Global,
) -> Result<Data> {
    let opened = open_as(args, path, model, judge, true, global)?;
    if !opened.train.has_labels() && opened.train.target_kind().is_none() {
        return Err(
            CannotBeDone(format!("`{}` has images without labels, and labels are needed", opened.source)).into()
        );
    }
    Ok(opened)
}

/// The same of images that need no labels but are divided by them, where they have some, as for other commands.
pub(crate) fn open_labelled_or_not(args: &DataArgs, path: &Path, model: &Model, global: &Global) -> Result<Data> {
    open_as(args, path, model, Some(model), true, global)
}

/// Opens the training part of a data set for `model`, trained, for its images alone. Labels are only looked at where no
/// normalisation is given, to find it as [`open`] does; with one, folders need not be the model's classes.
pub(crate) fn open_images(args: &DataArgs, path: &Path, model: &Model, global: &Global) -> Result<Data> {
    open_images_judged_by(args, path, model, Some(model), global)
}

/// The same, with a normalisation as [`open_judged_by`] takes it.
pub(crate) fn open_images_judged_by(
    args: &DataArgs,
    path: &Path,
    model: &Model,
    judge: Option<&Model>,
    global: &Global,
) -> Result<Data> {
    open_as(args, path, model, judge, false, global)
}

fn open_as(
    args: &DataArgs,
    path: &Path,
    model: &Model,
    judge: Option<&Model>,
    labelled: bool,
    global: &Global,
) -> Result<Data> {
    let images = &args.images;
    let spec: DataSpec = args.data.parse().with_context(|| format!("cannot use `--data {}`", args.data))?;
    let given = Given::read(images, &spec, path, global)?;
    let options = OpenOptions { geometry: given.geometry };
    if !(images.held_out > 0.0 && images.held_out < 1.0) {
        return Err(Usage(format!("`--held-out {}` is no share between 0 and 1", images.held_out)).into());
    }
    let labelled = labelled || given.preprocess.is_none() && judge.is_some();
    let whole = split(&spec, Split::Train, &options)?;
    let (train, held_out) = match labelled {
        true => whole.hold_out(images.held_out, global.seed())?,
        false => divide(&whole, images.held_out, global.seed())?,
    };
    let gray_to_rgb = images.gray_to_rgb || given.preprocess.as_ref().is_some_and(|given| given.gray_to_rgb);
    expect_fit(model, &spec, train.image_shape(), gray_to_rgb)?;
    let scored = scored(model);
    if labelled {
        expect_classes(scored, &spec, &train, global)?;
    }
    let mut doubt = None;
    let preprocess = match (given.preprocess, judge) {
        (Some(preprocess), _) => preprocess,
        (None, None) => {
            let text = "normalisation: none, pixels are only scaled to 0..1, as no trained model tells one; `--normalize` sets it";
            progress::note(global, text);
            Preprocess::default()
        }
        (None, Some(judge)) => {
            let (chosen, unclear) = choose(judge, &train, gray_to_rgb, global)?;
            doubt = unclear;
            chosen
        }
    };
    let preprocess = Preprocess { gray_to_rgb, ..preprocess };
    preprocess.output_shape(train.image_shape()).with_context(|| {
        let name = images.normalize.as_deref().map(|text| format!("`--normalize {text}`"));
        Usage(format!("{} does not fit the images", name.unwrap_or_else(|| "the normalisation".to_owned())))
    })?;
    let (source, seed) = (spec.to_string(), global.seed());
    Ok(Data { source, train, held_out, preprocess, doubt, spec, options, scored, seed })
}

/// The preprocessing that flags and files give.
struct Given {
    geometry: Geometry,
    /// None where nothing gives a normalisation.
    preprocess: Option<Preprocess>,
}

impl Given {
    /// What flags say goes before what a file says; what is taken of a file is told.
    fn read(images: &ImageArgs, spec: &DataSpec, model: &Path, global: &Global) -> Result<Given> {
        let sizes =
            [("--resize", &images.resize), ("--crop", &images.crop), ("--interpolation", &images.interpolation)];
        if let Some((flag, _)) = sizes.iter().find(|(_, given)| given.is_some() && *spec == DataSpec::Demo) {
            let text = format!("`{flag}` does not go with `demo`, whose images have the size of the demo's model");
            return Err(Usage(text).into());
        }
        let config = config(images, spec, model)?;
        let normalize = match images.normalize.as_deref() {
            None => None,
            Some("none") => Some(Preprocess::default()),
            Some(text) => {
                Some(text.parse::<Preprocess>().with_context(|| Usage(format!("cannot use `--normalize {text}`")))?)
            }
        };
        let mut geometry = config.as_ref().map_or_else(Geometry::default, |config| config.geometry);
        if let Some(text) = &images.resize {
            geometry.resize = resize(text)?;
        }
        if let Some(text) = &images.crop {
            let size =
                size(text).ok_or_else(|| Usage(format!("`--crop {text}` is neither HEIGHTxWIDTH nor a number")))?;
            geometry.crop = Some(Crop { size, rounding: CropRounding::default() });
        }
        if let Some(text) = &images.interpolation {
            geometry.interpolation =
                text.parse().with_context(|| Usage(format!("cannot use `--interpolation {text}`")))?;
            if geometry.resize == Resize::Keep {
                let text = "`--interpolation` says how to resize, and nothing is resized; give `--resize`";
                return Err(Usage(text.to_owned()).into());
            }
        }
        if let Some(config) = &config {
            let flags = [
                ("--normalize", normalize.is_some()),
                ("--resize", images.resize.is_some()),
                ("--crop", images.crop.is_some()),
                ("--interpolation", images.interpolation.is_some()),
            ];
            let flags: Vec<&str> = flags.iter().filter(|(_, given)| *given).map(|(flag, _)| *flag).collect();
            let preprocess = normalize.clone().unwrap_or_else(|| config.preprocess.clone());
            let used = ModelConfig { path: config.path.clone(), geometry, preprocess };
            let before = match flags.as_slice() {
                [] => String::new(),
                flags => format!(" (before it goes: {})", flags.join(", ")),
            };
            progress::note(global, &format!("preprocessing: taken from `{}`{before}: {used}", config.path.display()));
        }
        let demo = || (*spec == DataSpec::Demo).then(demo::preprocess);
        let preprocess = normalize.or_else(|| config.map(|config| config.preprocess)).or_else(demo);
        Ok(Given { geometry, preprocess })
    }
}

/// What the file says that `--preprocess` names, or one that lies beside the model. The demo knows its own.
fn config(images: &ImageArgs, spec: &DataSpec, model: &Path) -> Result<Option<ModelConfig>> {
    let context = || "cannot take the preprocessing from the file; `--preprocess none` leaves it".to_owned();
    match images.preprocess.as_deref() {
        Some("none") => Ok(None),
        Some(file) => {
            let found =
                ModelConfig::read(Path::new(file)).with_context(|| format!("cannot use `--preprocess {file}`"))?;
            found.map(Some).ok_or_else(|| Usage(format!("`--preprocess {file}` says nothing of images")).into())
        }
        None if *spec == DataSpec::Demo => Ok(None),
        None => ModelConfig::beside(model).with_context(context),
    }
}

impl Data {
    /// Refuses to go on with a normalisation that was taken although no other is clearly worse than it.
    pub(crate) fn expect_clear_normalisation(&self) -> Result<()> {
        match &self.doubt {
            Some(doubt) => Err(CannotBeDone(doubt.clone()).into()),
            None => Ok(()),
        }
    }

    /// Refuses to mix images of classes that the model has no score for: their shares have nothing to be compared with.
    pub(crate) fn expect_mixable(&self, augment: &Augment) -> Result<()> {
        let mixed = augment.mixup.or(augment.cutmix).is_some() && self.train.has_labels();
        let classes = self.train.classes().len();
        match self.scored {
            Some(scored) if mixed && scored < classes => {
                let text = format!(
                    "mixup and cutmix need a score for every class: the model scores {scored} classes, `{}` has {classes}",
                    self.source
                );
                Err(CannotBeDone(text).into())
            }
            _ => Ok(()),
        }
    }

    /// All that is done to images before a model sees them, in words.
    pub(crate) fn preprocessing(&self) -> String {
        format!("{}; {}", self.options.geometry, self.preprocess)
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
            scores: self.scored,
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

    /// About `samples` training images, the same number of each class where images have one.
    pub(crate) fn sample(&self, samples: usize) -> Result<Dataset> {
        if !self.train.has_labels() {
            return self.unlabelled(&self.train, samples.max(1));
        }
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

/// How many numbers a model gives for an image, where its shapes say so.
fn scored(model: &Model) -> Option<usize> {
    let shapes = layerprune::shapes::infer(&model.graph, &Default::default()).ok()?;
    let output = model.graph.outputs().first()?;
    let dims = shapes.fact(output.value).shape.as_ref()?;
    dims.iter().skip(1).try_fold(1_usize, |product, dim| product.checked_mul(dim.known()?))
}

/// Refuses folders and names that are not the model's classes, whose labels would be shifted since they are counted in sorted
/// order, and rows of another width than its output.
fn expect_classes(scored: Option<usize>, spec: &DataSpec, train: &Dataset, global: &Global) -> Result<()> {
    if let (Some(scored), Some(width)) = (scored, train.target_width())
        && scored != width
    {
        let text = format!("the model gives {scored} numbers for an image, `{spec}` has {width} to be learned");
        return Err(CannotBeDone(text).into());
    }
    if !train.has_labels() {
        return Ok(());
    }
    let found = train.classes().len();
    let named = train.classes().iter().any(|class| class.parse::<usize>().is_err());
    match (scored, spec) {
        (Some(scored), DataSpec::ImageFolder(path)) if scored != found => Err(CannotBeDone(format!(
            "the model scores {scored} classes, `{}` has {found} folders: labels count the folders in sorted order, so \
             they would stand for other classes",
            path.display()
        ))
        .into()),
        (Some(scored), DataSpec::Csv(_) | DataSpec::WebDataset(_)) if named && scored != found => {
            let text = format!(
                "the model scores {scored} classes, `{spec}` names {found}: labels count the names in sorted order, so they \
                 would stand for other classes; give the classes' numbers instead of names"
            );
            Err(CannotBeDone(text).into())
        }
        (Some(scored), _) if scored > found => {
            progress::note(global, &format!("the model scores {scored} classes, the data has {found}"));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn resize(text: &str) -> Result<Resize> {
    let refuse = || Usage(format!("`--resize {text}` is not HEIGHTxWIDTH, a number or `shorter:` and a number"));
    match text.strip_prefix("shorter:") {
        Some(side) => Ok(Resize::Shorter(number(side).ok_or_else(refuse)?)),
        None => Ok(Resize::Stretch(size(text).ok_or_else(refuse)?)),
    }
}

/// `HEIGHTxWIDTH`, or the side of a square.
fn size(text: &str) -> Option<[u32; 2]> {
    let sizes = match text.split_once('x') {
        Some((height, width)) => number(height).zip(number(width)),
        None => number(text).zip(number(text)),
    };
    sizes.map(Into::into)
}

fn number(text: &str) -> Option<u32> {
    text.trim().parse::<u32>().ok().filter(|&size| size > 0)
}

/// Tries each named normalisation on some training images and takes the best.
fn choose(model: &Model, train: &Dataset, gray_to_rgb: bool, global: &Global) -> Result<(Preprocess, Option<String>)> {
    if !train.has_labels() {
        let text = "without one class for each image the right normalisation cannot be told; give `--normalize`";
        progress::note(global, &format!("normalisation: none, pixels are only scaled to 0..1; {text}"));
        return Ok((Preprocess::default(), Some(text.to_owned())));
    }
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
    batches_of(session.fixed_batch(), set, preprocess, BATCH)
}

/// The same, of `size` images where the model is not `fixed` to a number.
pub(crate) fn batches_of(fixed: Option<usize>, set: &Dataset, preprocess: &Preprocess, size: usize) -> Result<Batches> {
    Ok(set.batches(&BatchOptions {
        batch_size: fixed.unwrap_or(size),
        drop_last: fixed.is_some(),
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
