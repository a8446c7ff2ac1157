//! What is to be done for a study, each a job of its own.

use std::fmt;

use anyhow::Result;
use layerprune::criteria::{Normalize, Scoring};
use layerprune::methods::{Method, Removes, Setting};
use layerprune::plan::{Budgets, LatencyBudget};

use super::recipe::HandcraftedSection;
use crate::args::{RemovesArg, unread};
use crate::{Usage, methods, model};

/// Something to be done.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    /// Judging the whole model, scoring its layers and timing it without each of them.
    Whole,
    /// Making a smaller one.
    Cut(Cut),
    /// Judging another network.
    Handcrafted(HandcraftedSection),
}

/// A model to be made.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    pub(crate) arm: Arm,
    pub(crate) goal: Goal,
    pub(crate) seed: u64,
}

/// How much is taken out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    Within(Budgets),
    Layers(usize),
    /// As much as the lot says.
    Lot {
        trained: bool,
    },
}

impl Job {
    /// What its result depends on besides the model and the settings that all jobs share.
    pub(super) fn depends_on(&self) -> Result<String> {
        Ok(match self {
            Self::Whole => "the whole model".to_owned(),
            Self::Cut(Cut { arm, goal, seed }) => format!("{}\n{goal}\n{seed}", arm.name),
            Self::Handcrafted(one) => {
                let digest = model::read(&one.model)?.digest();
                format!("handcrafted\n{}\n{}\n{digest}\n{:?}", one.name, one.model.display(), one.top_1)
            }
        })
    }

    /// In columns: what makes it, how much goes, the seed.
    pub(crate) fn columns(&self) -> [String; 3] {
        match self {
            Self::Whole => [self.to_string(), String::new(), String::new()],
            Self::Cut(Cut { arm, goal, seed }) => [arm.name.clone(), goal.to_string(), format!("seed {seed}")],
            Self::Handcrafted(one) => [one.name.clone(), "handcrafted".to_owned(), String::new()],
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("the whole model"),
            Self::Cut(Cut { arm, goal, seed }) => write!(f, "{}, {goal}, seed {seed}", arm.name),
            Self::Handcrafted(one) => f.write_str(&one.name),
        }
    }
}

impl Goal {
    pub(super) fn reduction(percent: f64) -> Self {
        Self::Within(Budgets { latency: Some(LatencyBudget::Reduction(percent)), ..Budgets::default() })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Within(budgets) => budgets.fmt(f),
            Self::Layers(1) => f.write_str("1 layer"),
            Self::Layers(count) => write!(f, "{count} layers"),
            Self::Lot { trained: false } => f.write_str("by lot"),
            Self::Lot { trained: true } => f.write_str("by lot and trained"),
        }
    }
}

/// What makes models in a study: a method, and what is chosen of it.
#[derive(Debug, Clone)]
pub(crate) struct Arm {
    pub(crate) name: String,
    pub(crate) method: &'static Method,
    pub(crate) criterion: Option<String>,
    pub(crate) removes: Option<RemovesArg>,
}

impl Arm {
    pub(super) fn parse(name: &str) -> Result<Self> {
        let (method, variant) = name.split_once(':').map_or((name, None), |(method, variant)| (method, Some(variant)));
        let found = methods::called(method, "arms")?;
        let removes = match (found.removes, variant) {
            (Removes::Either, None | Some("layers")) => Some(RemovesArg::Layers),
            (Removes::Either, Some("filters")) => Some(RemovesArg::Filters),
            (Removes::Either, Some(other)) => {
                return Err(Usage(format!("`arms`: `{method}:{other}` is neither `:layers` nor `:filters`")).into());
            }
            _ => None,
        };
        let criterion = variant.filter(|_| removes.is_none());
        if let Some(criterion) = criterion {
            if !found.reads.contains(&Setting::Criterion) {
                return Err(unread(&format!(":{criterion}` of `{method}"), Setting::Criterion));
            }
            Scoring::parse(criterion, Normalize::None).map_err(|error| Usage(format!("`arms`: {error}")))?;
        }
        let criterion = criterion.map(str::to_owned);
        Ok(Self { name: name.to_owned(), method: found, criterion, removes })
    }

    /// What it takes out, in one word.
    pub(crate) fn removes(&self) -> &'static str {
        match (self.method.removes, self.removes) {
            (_, Some(RemovesArg::Filters)) | (Removes::Filters, _) => "filters",
            (Removes::Both, _) => "both",
            (Removes::Layers | Removes::Either, _) => "layers",
        }
    }

    /// Whether it is a way to get there: so many layers is a goal for what ranks layers once.
    pub(crate) fn can_meet(&self, goal: Goal) -> bool {
        let ranks_layers = self.method.name == "layerprune" || self.removes == Some(RemovesArg::Layers);
        !matches!(goal, Goal::Layers(_)) || ranks_layers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arms_name_methods_and_what_is_chosen_of_them() {
        let arm = Arm::parse("layerprune:weight-norm+imprint").unwrap();
        assert_eq!((arm.criterion.as_deref(), arm.removes()), (Some("weight-norm+imprint"), "layers"));
        assert_eq!(Arm::parse("random:filters").unwrap().removes(), "filters");
        assert_eq!(Arm::parse("random").unwrap().removes(), "layers");
        assert!(Arm::parse("random:channels").is_err());
        let error = Arm::parse("tailor").unwrap_err().to_string();
        assert!(error.starts_with("`arms`: there is no method `tailor`; known are layerprune, "), "{error}");
        let error = Arm::parse("layerprune:bn-scale").unwrap_err().to_string();
        assert!(error.starts_with("`arms`: there is no criterion `bn-scale`; there are "), "{error}");
        let error = Arm::parse("taylor:imprint").unwrap_err().to_string();
        let readers = "methods that read it: layerprune, layerprune-iterative, scratch";
        assert_eq!(error, format!("`:imprint` of `taylor` would do nothing here; {readers}"));
    }
}
