//! Scores of a model's units: evidence from the engines, rules from the library.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use anyhow::{Context, Result};
use layerprune::analysis::{Channels, FilterSite, Units};
use layerprune::batch::{Batch, Maps};
use layerprune::criteria::{self, FilterScores, Scores, Scoring};
use layerprune::evidence::{Evidence, FeaturePass, Folds, Judged, Need, Removals, Statistic};
use layerprune::graph::{NodeId, ValueId};
use layerprune::onnx::Model;
use layerprune::ops::Dim;
use layerprune::pipeline::{self, Judge, PortError};
use layerprune::shapes::{self, InputShapes, Shapes};
use layerprune_data::{Batches, Dataset};
use layerprune_infer::{Progress, Session, judge};
use layerprune_train::{DataError, taylor};

use crate::args::{ChoiceArgs, CriterionArgs, Global};
use crate::data::{self, Data};
use crate::features::Source;
use crate::{CannotBeDone, Usage, interrupt, progress, training};

/// Numbers that all taps of a batch may hold together: 256 MiB.
const TAPPED: usize = 1 << 26;
/// However large the model's values, kernels are compared between so many images.
const FEWEST_IMAGES: usize = 4;

/// What `choice` ranks by: as given, or else what suits filters or layers.
pub(crate) fn chosen(choice: &ChoiceArgs, of_filters: bool) -> Result<Scoring> {
    let default = if of_filters { "weight-norm" } else { "imprint" };
    let id = choice.criterion.clone().unwrap_or_else(|| default.to_owned());
    Ok(parse(&[id], &choice.options)?.remove(0))
}

/// What is called `ids`.
pub(crate) fn parse(ids: &[String], options: &CriterionArgs) -> Result<Vec<Scoring>> {
    let normalize = options.normalize_scores;
    let parse = |id: &String| Scoring::parse(id, normalize).map_err(|error| Usage(error.to_string()).into());
    let all: Vec<Scoring> = ids.iter().map(parse).collect::<Result<_>>()?;
    if !normalize.is_none() && !all.iter().any(Scoring::reads_filters) {
        let text =
            "`--normalize-scores` is for criteria of filters; none of those given scores layers by their filters";
        return Err(Usage(text.to_owned()).into());
    }
    Ok(all)
}

/// Whether one of `all` needs images, and whether it needs their labels.
pub(crate) fn needs_data(all: &[Scoring]) -> Option<bool> {
    let needs: BTreeSet<Need> = all.iter().flat_map(Scoring::needs).collect();
    (!needs.is_empty()).then(|| needs.into_iter().any(Need::labels))
}

/// A model, and the images to gather evidence on.
#[derive(Clone, Copy)]
pub(crate) struct Gather<'a> {
    pub(crate) model: &'a Model,
    pub(crate) units: &'a Units,
    pub(crate) data: Option<&'a Data>,
    pub(crate) options: &'a CriterionArgs,
    pub(crate) global: &'a Global,
}

impl Gather<'_> {
    /// Scores all units by each of `all`.
    pub(crate) fn score(self, all: &[Scoring]) -> Result<Vec<Scores>> {
        if !self.units.units.iter().any(|unit| unit.tapped) {
            return Err(CannotBeDone("the model has no layer that could be scored".to_owned()).into());
        }
        let evidence = self.for_layers(all)?;
        let score = |scoring: &Scoring| Ok(scoring.score(&self.model.graph, self.units, &evidence)?);
        all.iter().map(score).collect()
    }

    /// What `all` need to score layers. A model on which one cannot be computed is refused before any pass.
    pub(crate) fn for_layers(self, all: &[Scoring]) -> Result<Evidence> {
        for scoring in all {
            scoring.check(&self.model.graph, self.units)?;
        }
        let needs: BTreeSet<Need> = all.iter().flat_map(Scoring::needs).collect();
        self.evidence(&needs, &criteria::sites(&self.model.graph, self.units))
    }

    /// Scores of the filters of `channels` by `by`. A model on which it cannot be computed is refused before any pass.
    pub(crate) fn filter_scores(self, by: &Scoring, channels: &Channels) -> Result<FilterScores> {
        let graph = &self.model.graph;
        FilterScores::check(by, graph, self.units, channels)?;
        let evidence = self.evidence(&by.needs(), &FilterScores::sites(graph, self.units, channels))?;
        Ok(FilterScores::of(by, graph, self.units, channels, &evidence)?)
    }

    /// What `needs` ask for, `sites` being the filters that statistics are taken of. Without data, nothing.
    pub(crate) fn evidence(self, needs: &BTreeSet<Need>, sites: &[FilterSite]) -> Result<Evidence> {
        let mut evidence = Evidence { seed: self.global.seed(), ..Evidence::default() };
        self.add(needs, sites, &mut evidence)?;
        Ok(evidence)
    }

    /// Adds `needs` to what is there: one pass for all that is read of values inside the model, one for all that is read of
    /// gradients, and one for each layer that is left out.
    pub(crate) fn add(self, needs: &BTreeSet<Need>, sites: &[FilterSite], evidence: &mut Evidence) -> Result<()> {
        let Some(data) = self.data.filter(|_| !needs.is_empty()) else { return Ok(()) };
        let train = match (self.options.samples_per_class, self.options.samples) {
            (Some(samples), _) => data.sample_of_each(samples)?,
            (None, Some(samples)) if needs.iter().any(|need| need.labels()) => data.sample(samples)?,
            (None, Some(samples)) => data.unlabelled(&data.train, samples)?,
            (None, None) => data.train.clone(),
        };
        self.features(data, &train, needs, sites, evidence)?;
        let statistics: BTreeSet<Statistic> = needs.iter().filter_map(gradient_statistic).collect();
        if !statistics.is_empty() {
            evidence.filters.extend(self.gradients(data, &train, &statistics, sites)?);
        }
        if needs.contains(&Need::Removals) {
            evidence.removals = Some(self.removals(data, &train)?);
        }
        Ok(())
    }

    fn features(
        self,
        data: &Data,
        train: &Dataset,
        needs: &BTreeSet<Need>,
        sites: &[FilterSite],
        evidence: &mut Evidence,
    ) -> Result<()> {
        let classes = train.classes().len();
        let mut pass = FeaturePass::new(self.units, sites, needs, classes, self.options.embedding);
        if pass.taps().is_empty() {
            return Ok(());
        }
        if needs.contains(&Need::Imprint) || needs.contains(&Need::Probes) {
            train.require_every_class()?;
        }
        let shapes = self.shapes(data)?;
        let options = data::session_options(self.global);
        let image = data.preprocess.output_shape(train.image_shape())?;
        let source = Source::open(self.model, pass.taps(), image, &options)?;
        let size = source.fixed_batch().unwrap_or_else(|| self.batch_size(pass.taps(), &shapes));
        let batches =
            |set: &Dataset, epoch| data.shuffled(set, size, source.fixed_batch().is_some(), self.options.pass + epoch);
        self.look(&source, batches(train, 0)?, train.len(), "scoring", |taps, labels| Ok(pass.add(taps, labels)?))?;
        for epoch in 1..self.options.probe_epochs * usize::from(pass.is_trained()) {
            let train_on = |taps: &[Maps<'_>], labels: &[usize]| Ok(pass.train(taps, labels)?);
            self.look(&source, batches(train, epoch as u64)?, train.len(), "probing", train_on)?;
        }
        drop(source);
        let mut classifiers = pass.finish(evidence)?;
        if classifiers.is_empty() {
            return Ok(());
        }
        let source = Source::open(self.model, classifiers.taps(), image, &options)?;
        let held_out = data::batches_of(source.fixed_batch(), &data.held_out, &data.preprocess, size)?;
        let classify = |taps: &[Maps<'_>], labels: &[usize]| Ok(classifiers.classify(taps, labels)?);
        self.pass(&source, held_out, data.held_out.len(), "held-out", classify)?;
        classifiers.finish(evidence);
        Ok(())
    }

    /// Shapes of all values for one image of the data.
    fn shapes(self, data: &Data) -> Result<Shapes> {
        let mut given = InputShapes::new();
        let graph = &self.model.graph;
        let image = data.preprocess.output_shape(data.train.image_shape())?;
        if let Some(input) = graph.fed_inputs().next() {
            let known = self.units.shapes.fact(input.value).shape.as_ref().and_then(|shape| shape.first()?.known());
            let sizes = [known.unwrap_or(1), image[0], image[1], image[2]];
            given.insert(graph.value_name(input.value).to_owned(), sizes.to_vec());
        }
        // Images that do not fit are told of where the model is run.
        Ok(shapes::infer(graph, &given).unwrap_or_else(|_| self.units.shapes.clone()))
    }

    /// As many images as are asked for, fewer where all that is looked at of them would take more than [`TAPPED`] numbers.
    fn batch_size(self, taps: &[ValueId], shapes: &Shapes) -> usize {
        let numbers = |&tap: &ValueId| {
            let sizes = shapes.fact(tap).shape.as_ref()?;
            sizes.iter().skip(1).try_fold(1_usize, |product, size| product.checked_mul(size.known()?))
        };
        let of_an_image: usize = taps.iter().filter_map(numbers).fold(1, usize::saturating_add);
        self.options.score_batch.min((TAPPED / of_an_image).max(FEWEST_IMAGES))
    }

    /// A pass that `--batches` may end early.
    fn look(
        self,
        source: &Source,
        batches: Batches,
        images: usize,
        what: &str,
        visit: impl FnMut(&[Maps<'_>], &[usize]) -> Result<(), PortError>,
    ) -> Result<()> {
        let most = self.options.batches.unwrap_or(usize::MAX);
        self.pass(source, batches.take(most), images, what, visit)
    }

    fn pass(
        self,
        source: &Source,
        batches: impl Iterator<Item = Result<Batch, layerprune_data::DataError>>,
        images: usize,
        what: &str,
        visit: impl FnMut(&[Maps<'_>], &[usize]) -> Result<(), PortError>,
    ) -> Result<()> {
        let bar = progress::bar(self.global, what, images as u64);
        let done = source.pass(batches, visit, |images| bar.set_position(images));
        bar.finish_and_clear();
        done
    }

    fn gradients(
        self,
        data: &Data,
        train: &Dataset,
        statistics: &BTreeSet<Statistic>,
        sites: &[FilterSite],
    ) -> Result<BTreeMap<Statistic, BTreeMap<NodeId, Folds>>> {
        let size = self.options.score_batch.min(train.len().max(1));
        let size = fixed_batch(self.model).unwrap_or(size);
        let most = self.options.batches.unwrap_or(usize::MAX);
        let mut batches = data
            .shuffled(train, size, true, self.options.pass)?
            .take(most)
            .map(|batch| batch.map_err(|error| -> DataError { error.into() }));
        let bar = progress::bar(self.global, "gradients", (train.len() / size).min(most) as u64);
        let mut step = || {
            bar.inc(1);
            interrupt::check()
        };
        let done = taylor(self.model, &self.units.shapes, sites, statistics, &mut batches, &mut step);
        bar.finish_and_clear();
        if interrupt::asked() {
            return Err(interrupt::ended());
        }
        done.context("cannot differentiate the model")
    }

    fn removals(self, data: &Data, train: &Dataset) -> Result<Removals> {
        let samples = self.options.recalibrate_samples.min(train.len());
        let train = data.unlabelled(train, samples)?;
        let tried = self.units.units.iter().filter(|unit| !unit.removals.is_empty()).count();
        let bar = progress::bar(self.global, "leaving out", tried as u64);
        let mut port = Trial { gather: self, data, train };
        let mut step = |name: &str| {
            bar.set_message(name.to_owned());
            bar.inc(1);
        };
        let done = pipeline::leave_one_out(self.model, self.units, &mut port, &mut step);
        bar.finish_and_clear();
        if interrupt::asked() {
            return Err(interrupt::ended());
        }
        Ok(done?)
    }
}

fn gradient_statistic(need: &Need) -> Option<Statistic> {
    match need {
        Need::Filters(statistic) if statistic.needs_gradients() => Some(*statistic),
        _ => None,
    }
}

/// The batch size that the only input of a model declares.
fn fixed_batch(model: &Model) -> Option<usize> {
    let shapes = shapes::infer(&model.graph, &Default::default()).ok()?;
    let input = model.graph.fed_inputs().next()?;
    shapes.fact(input.value).shape.as_ref()?.first().and_then(Dim::known)
}

/// Models tried on the same images.
struct Trial<'a> {
    gather: Gather<'a>,
    data: &'a Data,
    train: Dataset,
}

impl Judge for Trial<'_> {
    fn recalibrate(&mut self, model: &Model) -> Result<Option<Model>, PortError> {
        // One bar is enough.
        let quiet = Global { quiet: true, ..self.gather.global.clone() };
        Ok(training::recalibrate_on(model, self.data, &self.train, &quiet)?)
    }

    fn judge(&mut self, model: &Model) -> Result<Judged, PortError> {
        let session = Session::load(model, &data::session_options(self.gather.global))?;
        let batches = data::batches_for(&session, &self.data.held_out, &self.data.preprocess)?;
        let go_on = |_: Progress| -> ControlFlow<()> { interrupt::check() };
        Ok(judge(&session, batches, go_on)?)
    }
}
