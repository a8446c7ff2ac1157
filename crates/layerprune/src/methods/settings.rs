use serde::{Deserialize, Serialize};

/// What can be set of methods; each reads what its documentation names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MethodSettings {
    /// What `layerprune`, `layerprune-iterative` and `scratch` rank layers by.
    pub criterion: String,
    /// What `random` removes.
    pub removes: Removes,
    /// Epochs of training towards sparsity.
    pub epochs: usize,
    /// Batches of training, and of scoring, before each removal of a method that goes in rounds.
    pub batches: usize,
    /// Filters that go in each round, in percent of those that may go.
    pub step: f64,
    /// Rounds of `halp`.
    pub rounds: usize,
    /// Weight of the penalty that draws to zero; where not given, that of the method.
    pub strength: Option<f64>,
    /// Learning rate of training that is a part of the method; where not given, that of the method.
    pub learning_rate: Option<f64>,
    /// Held-out images that a sensitivity sweep looks at.
    pub images: usize,
}

/// One of [`MethodSettings`], by which a method says what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// [`MethodSettings::criterion`].
    Criterion,
    /// [`MethodSettings::removes`].
    Removes,
    /// [`MethodSettings::epochs`].
    Epochs,
    /// [`MethodSettings::batches`].
    Batches,
    /// [`MethodSettings::step`].
    Step,
    /// [`MethodSettings::rounds`].
    Rounds,
    /// [`MethodSettings::strength`].
    Strength,
    /// [`MethodSettings::learning_rate`]; a method that reads it trains.
    LearningRate,
    /// [`MethodSettings::images`].
    Images,
}

impl Default for MethodSettings {
    fn default() -> Self {
        Self {
            criterion: "imprint".to_owned(),
            removes: Removes::Layers,
            epochs: 2,
            batches: 30,
            step: 5.0,
            rounds: 3,
            strength: None,
            learning_rate: None,
            images: 1000,
        }
    }
}

/// What a method takes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Removes {
    /// Whole layers.
    Layers,
    /// Filters.
    Filters,
    /// Layers and filters together.
    Both,
    /// Either, as is set.
    Either,
}
