//! Energy-constrained compression, with a number of channels for each weight or a budget for all of them.

mod budget;
mod limit;
mod share;

use layerprune::plan::WidthBudget;
use serde::{Deserialize, Serialize};

pub(super) use budget::Budgeted;
pub use limit::ChannelLimit;
pub(super) use share::State;

use crate::error::TrainError;
use crate::settings::refuse;

/// Input channels of convolutions and linear layers are held to a number: weights of the weakest are set to zero step by step.
///
/// By default each weight keeps `keep` of its input channels, at least one, and the dual rises while it has more: the proximal
/// step of ECC with the number of channels given; see [`ChannelLimit`].
///
/// With a `budget` the numbers are found while the model trains, by the alternating direction method of multipliers on
///
/// ```text
/// min L(W)   subject to   φ_g(W) ≤ s_g for each group g,   F(s) ≤ B
/// ```
///
/// with `φ_g` the channels of a group that its readers multiply by something else than zeros and `F` the budget's cost over what
/// it is for the whole model, so that `rho` means the same whatever the unit. After the optimiser's step on `W` each group takes
/// the proximal step. Then `s` goes down the gradient of the augmented Lagrangian
///
/// ```text
/// ρ_F/2 · max(F(s) - B, 0)² + z · (F(s) - B) + Σ_g ρ/2 · max(φ_g - s_g, 0)² + y_g · (φ_g - s_g)
/// ```
///
/// where no `s_g` rises or falls below the least that its group keeps, and `z` is at least what makes one `s_g` fall: the one
/// whose channels count least for what they cost. Last, `z` rises by `ρ_F · (F(s) - B)` and `y_g` by `ρ · (φ_g - ⌊s_g⌋)`, neither
/// below zero; `2 · rate · y_g` is at most the squared norm of the last channel that stays, as for [`ChannelLimit`].
///
/// Published is a step on `s` of 3.0 times the gradient, whose norm is clipped to 1, each batch until the budget is met, however
/// many that takes. Here the run has an end: `B` comes down in a straight line from the cost of the weights that training
/// starts with over the first `within` of all steps, and `s` follows it in moves of at most `longest` channels; training goes
/// on behind that. Published, `y` begins at 0, so that all groups fall at first, whatever their channels are worth; here it
/// begins at its bound. [`WidthBudget::spent`] says of the trained model whether its budget was met.
///
/// # Reference
/// Yang, Zhu and Liu, "ECC: Platform-Independent Energy-Constrained Deep Neural Network Compression via a Bilinear Regression
/// Model", CVPR 2019, algorithm 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Ecc {
    /// Patterns of names of weights, of convolutions without groups or of linear layers; those of all convolutions but the ones
    /// that read the images where there is none. None where there is a budget, which names its weights.
    pub on: Vec<String>,
    /// Share of the input channels that stay, above 0 and at most 1. Of no effect where there is a budget.
    pub keep: f64,
    /// Weight ρ of the penalty on channels above that.
    pub rho: f64,
    /// What all channels together may cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<WidthBudget>,
    /// Weight ρ_F of the penalty on what costs more than the budget.
    pub budget_rho: f64,
    /// Share of the steps over which the budget comes down, above 0 and at most 1.
    pub within: f64,
    /// How many channels, as the norm over all groups, `s` moves before its gradient is taken anew.
    pub longest: f64,
}

impl Default for Ecc {
    fn default() -> Self {
        Self { on: Vec::new(), keep: 0.5, rho: 10.0, budget: None, budget_rho: 10.0, within: 0.5, longest: 0.5 }
    }
}

impl Ecc {
    pub(super) fn check(&self) -> Result<(), TrainError> {
        let above_0 = |number: f64| number.is_finite() && number > 0.0;
        let share = |number: f64| number > 0.0 && number <= 1.0;
        if !share(self.keep) {
            return refuse("sparsity.keep", self.keep, "a number above 0, at most 1,");
        }
        for (setting, number) in
            [("sparsity.rho", self.rho), ("sparsity.budget-rho", self.budget_rho), ("sparsity.longest", self.longest)]
        {
            if !above_0(number) {
                return refuse(setting, number, "a number above 0");
            }
        }
        if !share(self.within) {
            return refuse("sparsity.within", self.within, "a number above 0, at most 1,");
        }
        match &self.budget {
            Some(_) if !self.on.is_empty() => {
                refuse("sparsity.on", self.on.join(", "), "none beside a budget, which names its weights,")
            }
            Some(budget) => budget::check(budget),
            None => Ok(()),
        }
    }
}
