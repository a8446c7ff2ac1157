//! Values inside a model, by whichever library runs it sooner.

use std::ops::ControlFlow;

use anyhow::{Context, Result};
use layerprune::batch::{Batch, Maps};
use layerprune::graph::ValueId;
use layerprune::onnx::Model;
use layerprune::pipeline::PortError;
use layerprune_data::DataError;
use layerprune_infer::{ENGINES, Session, SessionOptions, features};
use layerprune_train::Features;

use crate::interrupt;

/// What runs a model for the values inside of it.
pub(crate) enum Source {
    /// The training library's forward pass.
    Training(Box<Features>),
    Engine(Session),
}

impl Source {
    /// The training library, which is quicker than the embedded engine, where it can run `model` on images of shape `image`
    /// (C, H, W) and no other engine is asked for; else the engine.
    pub(crate) fn open(
        model: &Model,
        taps: &[ValueId],
        image: [usize; 3],
        options: &SessionOptions<'_>,
    ) -> Result<Self> {
        if options.engine.name() == ENGINES[0].name()
            && let Ok(features) = Features::new(model, taps, image)
        {
            return Ok(Self::Training(Box::new(features)));
        }
        Self::engine(model, taps, options)
    }

    fn engine(model: &Model, taps: &[ValueId], options: &SessionOptions<'_>) -> Result<Self> {
        Ok(Self::Engine(Session::with_taps(model, taps, options).context("cannot run the model")?))
    }

    /// The number of images that the model is fixed to, where it is.
    pub(crate) fn fixed_batch(&self) -> Option<usize> {
        match self {
            Self::Training(features) => features.fixed_batch(),
            Self::Engine(session) => session.fixed_batch(),
        }
    }

    /// Runs the model once on every batch; `visit` gets its values and labels, `seen` how many images there were so far.
    pub(crate) fn pass(
        &self,
        batches: impl Iterator<Item = Result<Batch, DataError>>,
        mut visit: impl FnMut(&[Maps<'_>], &[usize]) -> Result<(), PortError>,
        mut seen: impl FnMut(u64),
    ) -> Result<()> {
        let done = match self {
            Self::Training(features) => {
                let mut images = 0;
                let mut batches = batches.map(|batch| batch.map_err(PortError::from));
                let mut visit = |maps: &[Maps<'_>], labels: &[usize]| {
                    visit(maps, labels)?;
                    images += labels.len() as u64;
                    seen(images);
                    Ok(interrupt::check())
                };
                features.visit(&mut batches, &mut visit).map(drop).map_err(anyhow::Error::from)
            }
            Self::Engine(session) => {
                let go_on = |progress: layerprune_infer::Progress| -> ControlFlow<()> {
                    seen(progress.images);
                    interrupt::check()
                };
                features(session, batches, visit, go_on).map(drop).map_err(anyhow::Error::from)
            }
        };
        if interrupt::asked() {
            return Err(interrupt::ended());
        }
        done.context("cannot run the model on the data")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use layerprune::analysis::Units;
    use layerprune::criteria::{self, Scoring};
    use layerprune::evidence::{Evidence, FeaturePass};
    use layerprune::stats::SplitMix;

    use super::*;

    const IMAGE: [usize; 3] = [3, 16, 16];
    const CRITERIA: [&str; 6] = ["imprint", "block-influence", "cka", "hrank", "apoz", "mean-activation"];

    /// Noise, more of it in the channel of the image's label; not as many images in each batch.
    fn batches() -> Vec<Batch> {
        let mut random = SplitMix::new(5);
        let [channels, height, width] = IMAGE;
        let mut image = |number: usize| -> Vec<f32> {
            let noise =
                (0..channels * height * width).map(|at| (random.uniform(), at / (height * width) == number % 3));
            noise.map(|(noise, more)| (2.0 * noise - 1.0) as f32 + if more { 0.5 } else { 0.0 }).collect()
        };
        [12, 7]
            .map(|count| {
                let images = (0..count).flat_map(&mut image).collect();
                Batch::new(images, [count, channels, height, width], (0..count).map(|number| number % 3).collect())
            })
            .to_vec()
    }

    fn scores(source: &Source, model: &Model, units: &Units, all: &[Scoring], mut pass: FeaturePass) -> Vec<Vec<f64>> {
        let mut images = Vec::new();
        let batches = batches().into_iter().map(Ok);
        source.pass(batches, |taps, labels| Ok(pass.add(taps, labels)?), |count| images.push(count)).unwrap();
        assert_eq!(images, [12, 19]);
        let mut evidence = Evidence::default();
        let mut classifiers = pass.finish(&mut evidence).unwrap();
        if !classifiers.is_empty() {
            let source = match source {
                Source::Training(_) => {
                    Source::Training(Box::new(Features::new(model, classifiers.taps(), IMAGE).unwrap()))
                }
                Source::Engine(_) => Source::engine(model, classifiers.taps(), &SessionOptions::default()).unwrap(),
            };
            let batches = self::batches().into_iter().map(Ok);
            source.pass(batches, |taps, labels| Ok(classifiers.classify(taps, labels)?), drop).unwrap();
            classifiers.finish(&mut evidence);
        }
        let of = |scoring: &Scoring| {
            let scores = scoring.score(&model.graph, units, &evidence).unwrap();
            scores.rows.iter().map(|row| row.score).collect()
        };
        all.iter().map(of).collect()
    }

    #[test]
    fn both_sources_give_the_same_scores_to_rounding() {
        let model = layerprune_testing::resnet(3, IMAGE, 2, &[8, 16], 2, 3);
        let units = Units::find(&model, &Default::default()).unwrap();
        let all = CRITERIA.map(|id| Scoring::parse(id, Default::default()).unwrap());
        let needs: BTreeSet<_> = all.iter().flat_map(Scoring::needs).collect();
        let sites = criteria::sites(&model.graph, &units);
        let pass = || FeaturePass::new(&units, &sites, &needs, 3, 64);
        let options = SessionOptions::default();
        let training = Source::open(&model, pass().taps(), IMAGE, &options).unwrap();
        assert!(matches!(training, Source::Training(_)));
        let engine = Source::engine(&model, pass().taps(), &options).unwrap();
        let training = scores(&training, &model, &units, &all, pass());
        let engine = scores(&engine, &model, &units, &all, pass());
        for ((id, training), engine) in CRITERIA.iter().zip(&training).zip(&engine) {
            assert!(training.iter().any(|score| *score != training[0]), "{id}: {training:?}");
            for (training, engine) in training.iter().zip(engine) {
                let off = (training - engine).abs();
                assert!(off <= 1e-4 * engine.abs().max(1e-2), "{id}: {training} and {engine}");
            }
        }
    }

    #[test]
    fn a_model_that_cannot_be_trained_is_run_by_the_engine() {
        let model = layerprune_testing::resnet(3, IMAGE, 2, &[8], 1, 3);
        let units = Units::find(&model, &Default::default()).unwrap();
        let taps = [units.units[0].exit];
        let options = SessionOptions::default();
        // What does not fit the training library shows before any batch; the engine then says what is wrong.
        assert!(matches!(Source::open(&model, &taps, [3, 16, 17], &options).unwrap(), Source::Engine(_)));
        assert!(matches!(Source::open(&model, &taps, IMAGE, &options).unwrap(), Source::Training(_)));
    }
}
