//! What a method is given, and how it learns whether it may stop.

use std::collections::BTreeMap;

use super::error::at;
use super::{Length, Method, MethodError, MethodPorts, MethodSettings, Sparse, Stage};
use crate::analysis::{Channels, Units};
use crate::cost::{Cost, Costs};
use crate::onnx::Model;
use crate::plan::{Budgets, ChannelConstraints, Constraints, shares_left};
use crate::record::LatencyComparison;
use crate::shapes::{InputShapes, ShapeError};

/// Learning rates of training that is a part of a method, where none is set: between removals as published for Taylor.
const BETWEEN_REMOVALS: f64 = 0.001;
const TOWARDS_SPARSITY: f64 = 0.01;

/// A model, the budgets for it, and all that a method works with.
pub struct Task<'a> {
    /// The whole model.
    pub model: &'a Model,
    /// Shapes of inputs that it leaves open.
    pub shapes: &'a InputShapes,
    /// When it is enough.
    pub budgets: Budgets,
    /// Which layers may go, and how.
    pub constraints: Constraints,
    /// Which filters may go.
    pub filters: ChannelConstraints,
    /// What is set.
    pub settings: MethodSettings,
    /// Engines and data.
    pub ports: &'a mut dyn MethodPorts,
}

/// What a method leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Pruned {
    /// The model.
    pub model: Model,
    /// What was measured of it last, against the whole model, where latency is limited.
    pub latency: Option<LatencyComparison>,
}

/// A model with its units and channel groups.
pub(super) struct Parts {
    pub(super) units: Units,
    pub(super) channels: Channels,
}

impl Parts {
    pub(super) fn find(model: &Model, shapes: &InputShapes) -> Result<Self, ShapeError> {
        let units = Units::find(model, shapes)?;
        let channels = Channels::find(model, &units.model, &units.shapes);
        Ok(Self { units, channels })
    }
}

impl Task<'_> {
    /// Refuses what no method can work on.
    pub(super) fn check(&self, method: &Method) -> Result<(), MethodError> {
        let method = method.name;
        if self.budgets.max_drop.is_some() {
            let reason = "does not limit the accuracy that is lost; limit latency, MACs or parameters";
            return Err(MethodError::Budget { method, reason });
        }
        if self.budgets.needs() == 0 {
            return Err(MethodError::NoBudget { method });
        }
        if self.budgets.macs.is_some() && Costs::total_of(&self.model.graph, self.shapes)?.macs.is_none() {
            let reason = "cannot keep to a limit on MACs: they are not known. The shapes of inputs that the file leaves open can be given";
            return Err(MethodError::Budget { method, reason });
        }
        let MethodSettings { step, rounds, batches, epochs, learning_rate, strength, .. } = &self.settings;
        let refuse = |setting, found, expected| Err(MethodError::Setting { setting, found, expected });
        if !(*step > 0.0 && *step <= 100.0) {
            return refuse("step", step.to_string(), "a percentage above 0, at most 100,");
        }
        for (setting, number) in [("rounds", rounds), ("batches", batches), ("epochs", epochs)] {
            if *number == 0 {
                return refuse(setting, number.to_string(), "a number above 0");
            }
        }
        for (setting, number) in [("learning-rate", learning_rate), ("strength", strength)] {
            if let Some(number) = number.filter(|number| !(number.is_finite() && *number > 0.0)) {
                return refuse(setting, number.to_string(), "a number above 0");
            }
        }
        Ok(())
    }

    /// The parts of `model`, what is left of the whole one.
    pub(super) fn parts(&self, model: &Model) -> Result<Parts, MethodError> {
        Ok(Parts::find(model, self.shapes)?)
    }

    /// Which filters may go of a model that has lost some: the floor is one of what the whole model has.
    pub(super) fn limits(&self) -> Result<Limits, MethodError> {
        let Parts { channels, .. } = self.parts(self.model)?;
        let mut limits = Limits { whole: self.filters.clone(), protected: Vec::new(), least: BTreeMap::new() };
        for group in &channels.groups {
            let least = self.filters.staying(group, 0);
            limits.least.extend(group.source_names.iter().map(|name| (name.clone(), least)));
            if self.filters.protected.contains(&group.name) {
                limits.protected.extend(group.source_names.iter().cloned());
            }
        }
        Ok(limits)
    }

    /// `model`, trained on some batches before the removal of a round.
    pub(super) fn train_a_little(&mut self, model: &Model, round: usize) -> Result<Model, MethodError> {
        let length = Length::Batches { count: self.settings.batches, round };
        let learning_rate = self.settings.learning_rate.unwrap_or(BETWEEN_REMOVALS);
        let stage = Stage { what: "training between removals", length, learning_rate, sparsity: None, teacher: None };
        self.ports.train(model, &stage).map_err(at("training"))
    }

    /// `model`, trained for the epochs that are set while `sparse` goes to zero.
    pub(super) fn train_towards(
        &mut self,
        what: &'static str,
        model: &Model,
        sparse: Sparse,
        teacher: Option<&Model>,
    ) -> Result<Model, MethodError> {
        let length = Length::Epochs(self.settings.epochs);
        let learning_rate = self.settings.learning_rate.unwrap_or(TOWARDS_SPARSITY);
        let stage = Stage { what, length, learning_rate, sparsity: Some(sparse), teacher };
        self.ports.train(model, &stage).map_err(at("training"))
    }

    /// What `candidate` comes to.
    pub(super) fn reached(&mut self, candidate: &Model) -> Result<Reached, MethodError> {
        let mut reached = self.counted(candidate)?;
        if let Some(budget) = self.budgets.latency.filter(|_| reached.met) {
            let latency = self.ports.compare(self.model, candidate).map_err(at("timing"))?;
            reached.met = budget.margin_percent(&latency) >= 0.0;
            reached.latency = Some(latency);
        }
        Ok(reached)
    }

    /// What `candidate` comes to by the longer measurement that has the last word.
    pub(super) fn confirmed(&mut self, candidate: &Model) -> Result<Reached, MethodError> {
        let mut reached = self.counted(candidate)?;
        if let Some(budget) = self.budgets.latency {
            let latency = self.ports.confirm(self.model, candidate).map_err(at("timing"))?;
            reached.met &= budget.margin_percent(&latency) >= 0.0;
            reached.latency = Some(latency);
        }
        Ok(reached)
    }

    fn counted(&self, candidate: &Model) -> Result<Reached, MethodError> {
        let before = Costs::total_of(&self.model.graph, self.shapes)?;
        let after = Costs::total_of(&candidate.graph, self.shapes)?;
        Ok(Reached { met: self.budgets.cost_met(before, after), latency: None, before, after })
    }

    /// That all is gone that may go, and it is not enough.
    pub(super) fn out_of_reach(&self, reached: &Reached) -> MethodError {
        MethodError::OutOfReach { budgets: self.budgets.to_string(), reached: reached.text() }
    }
}

/// How far filters of what is left may be cut.
pub(super) struct Limits {
    whole: ChannelConstraints,
    protected: Vec<String>,
    least: BTreeMap<String, usize>,
}

impl Limits {
    /// The limits in terms of the groups that are left.
    pub(super) fn of(&self, channels: &Channels) -> ChannelConstraints {
        let protected = channels
            .groups
            .iter()
            .filter(|group| group.source_names.iter().any(|name| self.protected.contains(name)))
            .map(|group| group.name.clone());
        let whole = self.whole.clone();
        ChannelConstraints { protected: protected.collect(), floor: 0.0, least: self.least.clone(), ..whole }
    }
}

/// What a cut comes to.
#[derive(Debug, Clone)]
pub(super) struct Reached {
    pub(super) met: bool,
    pub(super) latency: Option<LatencyComparison>,
    pub(super) before: Cost,
    pub(super) after: Cost,
}

impl Reached {
    /// `12.3 % lower latency (11.0 at least), 80.1 % of the MACs left`.
    pub(super) fn text(&self) -> String {
        let latency = self.latency.as_ref().map(|latency| {
            let (found, low) = (latency.latency_reduction_percent, latency.latency_reduction_interval[0]);
            format!("{found:.1} % lower latency ({low:.1} at least)")
        });
        let [macs, parameters] = shares_left(self.before, self.after);
        let macs = macs.map(|share| format!("{share:.1} % of the MACs left"));
        let parameters = parameters.filter(|_| latency.is_none());
        let parameters = parameters.map(|share| format!("{share:.1} % of the parameters left"));
        [latency, macs, parameters].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}
