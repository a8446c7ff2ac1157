//! What methods say of themselves, against what they do with ports that write down what they are asked.

use std::fmt::Write;

use layerprune::analysis::Units;
use layerprune::cost::Costs;
use layerprune::criteria::{FilterScores, Normalize, Scores, Scoring};
use layerprune::evidence::Evidence;
use layerprune::methods::{METHODS, Method, MethodPorts, MethodSettings, Removes, Setting, Sight, Stage, Task};
use layerprune::onnx::Model;
use layerprune::pipeline::{self, MeasureLatency, Observe, Parts, PortError, Visit};
use layerprune::plan::{Budgets, ChannelConstraints, Constraints, LatencyBudget};
use layerprune::record::{Circumstances, Conditions, LatencyComparison, LatencyProfile, Timing};
use layerprune::shapes::InputShapes;
use layerprune_testing::{found, resnet};

use crate::bridge::Images;

const OPEN: InputShapes = InputShapes::new();
const SHAPE: [usize; 3] = [3, 6, 6];

/// A clock that counts multiply-adds, scores by weights whatever is asked for, and training that changes nothing.
struct Noted {
    images: Images,
    asked: String,
}

impl Noted {
    fn note(&mut self, what: &str, model: &Model) {
        writeln!(self.asked, "{what} of {}", model.digest()).unwrap();
    }
}

impl MeasureLatency for Noted {
    fn compare(&mut self, baseline: &Model, candidate: &Model) -> Result<LatencyComparison, PortError> {
        self.note("latency", candidate);
        let ms = |model: &Model| 0.2 + 1e-5 * Costs::total_of(&model.graph, &OPEN).unwrap().macs.unwrap() as f64;
        let [before, after] = [baseline, candidate].map(|model| [ms(model); 5]);
        let timing = |samples_ms| Timing { samples_ms, calls_per_sample: 1, resolution_ms: 1e-6 };
        Ok(LatencyComparison::new(Circumstances::default(), &timing(&before), &timing(&after), 0)?)
    }

    fn profile(&mut self, model: &Model, units: &Units, parts: Parts<'_>) -> Result<LatencyProfile, PortError> {
        let mut profile = LatencyProfile::new(units.model.clone(), Conditions::default());
        let parts = Parts { runs: 1, ..parts };
        pipeline::profile(model, units, parts, &mut profile, self, &mut |_, _| Ok(()))?;
        Ok(profile)
    }
}

impl Observe for Noted {
    fn pairs(&mut self, first: &Model, second: &Model, visit: &mut Visit<'_>) -> Result<(), PortError> {
        self.images.pairs(first, second, visit)
    }
}

fn by_weights() -> Scoring {
    Scoring::parse("weight-norm", Normalize::None).unwrap()
}

impl MethodPorts for Noted {
    fn layer_scores(&mut self, model: &Model, units: &Units, by: &Scoring) -> Result<Scores, PortError> {
        self.note(&format!("layers by {}", by.id()), model);
        Ok(by_weights().score(&model.graph, units, &Evidence::default())?)
    }

    fn filter_scores(&mut self, model: &Model, by: &Scoring, sight: Sight) -> Result<FilterScores, PortError> {
        self.note(&format!("filters by {}, {sight:?}", by.id()), model);
        let (units, channels) = found(model);
        Ok(FilterScores::of(&by_weights(), &model.graph, &units, &channels, &Evidence::default())?)
    }

    fn train(&mut self, model: &Model, stage: &Stage<'_>) -> Result<Model, PortError> {
        let Stage { what, length, learning_rate, sparsity, teacher: _ } = stage;
        self.note(&format!("{what}, {length:?}, {learning_rate}, {sparsity:?}"), model);
        Ok(model.clone())
    }

    fn fresh(&mut self, model: &Model) -> Result<Model, PortError> {
        self.note("random weights", model);
        Ok(model.clone())
    }

    fn held_out(&mut self, model: &Model, images: usize) -> Result<f64, PortError> {
        self.note(&format!("accuracy on {images}"), model);
        Ok(90.0)
    }

    fn tell(&mut self, text: &str) {
        self.asked.push_str(text);
    }
}

/// All that `method` asks for, and how it ends.
fn asked(method: &Method, model: &Model, settings: MethodSettings) -> String {
    let mut ports = Noted { images: Images::new(SHAPE), asked: String::new() };
    let budgets = Budgets { latency: Some(LatencyBudget::Reduction(50.0)), ..Budgets::default() };
    let mut task = Task {
        model,
        shapes: &OPEN,
        budgets,
        constraints: Constraints::plain(),
        filters: ChannelConstraints::default(),
        settings,
        ports: &mut ports,
    };
    let end = match method.run(&mut task) {
        Ok(pruned) => pruned.model.digest().to_string(),
        Err(error) => format!("{error:?}"),
    };
    ports.asked + &end
}

/// The settings, with another value for one of them.
fn with_another(setting: Setting) -> MethodSettings {
    let mut settings = MethodSettings::default();
    match setting {
        Setting::Criterion => settings.criterion = "weight-norm".to_owned(),
        Setting::Removes => settings.removes = Removes::Filters,
        Setting::Epochs => settings.epochs += 1,
        Setting::Batches => settings.batches += 1,
        Setting::Step => settings.step *= 3.0,
        Setting::Rounds => settings.rounds += 1,
        Setting::Strength => settings.strength = Some(0.125),
        Setting::LearningRate => settings.learning_rate = Some(0.125),
        Setting::Images => settings.images += 1,
    }
    settings
}

#[test]
fn methods_read_the_settings_that_they_say_they_read_and_no_others() {
    use Setting::{Batches, Criterion, Epochs, Images, LearningRate, Removes, Rounds, Step, Strength};
    let all = [Criterion, Removes, Epochs, Batches, Step, Rounds, Strength, LearningRate, Images];
    let model = resnet(3, SHAPE, 1, &[4], 3, 3);
    for method in METHODS {
        let usual = asked(method, &model, MethodSettings::default());
        for setting in all {
            let reads = asked(method, &model, with_another(setting)) != usual;
            assert_eq!(reads, method.reads.contains(&setting), "{} and {setting:?}:\n{usual}", method.name);
        }
    }
}
