//! Importance of single filters.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::scoring::of_filters;
use super::{CRITERIA, Criterion, CriterionError, FilterRule, Layers, Scoring};
use crate::analysis::{Channel, ChannelGroup, Channels, FilterSite, Units};
use crate::evidence::Evidence;
use crate::graph::Graph;
use crate::onnx::ModelDigest;

/// Version of the JSON form of [`FilterScores`].
const FILTER_SCORES_SCHEMA: u32 = 1;

/// The filters of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FilterRow {
    /// The weighted node's name.
    pub layer: String,
    /// One score for each filter, in order; higher = more important.
    pub scores: Vec<f64>,
}

/// Scores of all filters whose channels can go, by one criterion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FilterScores {
    /// Version of this form.
    pub schema: u32,
    /// The model.
    pub model: ModelDigest,
    /// The criterion's id.
    pub criterion: String,
    /// One row for each layer that has a score, in forward order.
    pub rows: Vec<FilterRow>,
}

impl FilterScores {
    /// Scores the filters of every layer that makes channels of a group.
    ///
    /// A layer that has no score by this criterion (no batch norm behind it, weights computed while the model runs) is left
    /// out as long as others of its groups have one.
    ///
    /// # Errors
    /// Where the criterion scores no filters, gives one that is not finite, or leaves a group without any score.
    pub fn of(
        scoring: &Scoring,
        graph: &Graph,
        units: &Units,
        channels: &Channels,
        evidence: &Evidence,
    ) -> Result<Self, CriterionError> {
        let (criterion, rule) = rule_of(scoring)?;
        let layers = Layers { graph, units, evidence };
        let sites = Self::sites(graph, units, channels);
        let name = |node| graph.label(node);
        let mut scored = of_filters(criterion, rule, &layers, &sites, None, scoring.normalize, name)?;
        let mut rows: Vec<FilterRow> = Vec::new();
        let mut unscored = Vec::new();
        for group in &channels.groups {
            for (source, name) in group.sources.iter().zip(&group.source_names) {
                if let Some(scores) = scored.remove(&source.node) {
                    rows.push(FilterRow { layer: name.clone(), scores });
                }
            }
            if !group.source_names.iter().any(|name| rows.iter().any(|row| row.layer == *name)) {
                unscored.push(group.name.clone());
            }
        }
        let schema = FILTER_SCORES_SCHEMA;
        let scores = Self { schema, model: channels.model.clone(), criterion: criterion.id.to_owned(), rows };
        match (unscored.is_empty(), scores.rows.is_empty()) {
            (true, _) => Ok(scores),
            (false, true) if criterion.batch_norm => Err(CriterionError::NoBatchNorm { criterion: criterion.id }),
            (false, _) => Err(CriterionError::Unscored { criterion: criterion.id, layers: unscored }),
        }
    }

    /// Refuses what scores no filters, and a model on which it cannot be computed whatever the data.
    ///
    /// # Errors
    /// [`CriterionError::NoFilters`], [`CriterionError::NoBatchNorm`].
    pub fn check(scoring: &Scoring, graph: &Graph, units: &Units, channels: &Channels) -> Result<(), CriterionError> {
        let (criterion, _) = rule_of(scoring)?;
        let sites = Self::sites(graph, units, channels);
        if criterion.batch_norm && sites.iter().all(|site| site.batch_norm.is_none()) {
            return Err(CriterionError::NoBatchNorm { criterion: criterion.id });
        }
        Ok(())
    }

    /// The score of one channel: the mean over all filters that make it.
    #[must_use]
    pub fn of_channel(&self, group: &ChannelGroup, channel: &Channel) -> f64 {
        let rows = group.source_names.iter().map(|name| self.rows.iter().find(|row| row.layer == *name));
        let scores: Vec<f64> = rows
            .zip(&channel.filters)
            .filter_map(|(row, filters)| Some((row?, filters)))
            .flat_map(|(row, filters)| filters.iter().filter_map(|&filter| row.scores.get(filter).copied()))
            .collect();
        super::mean(&scores)
    }

    /// The filters that such scores are given to, for what has to be gathered on data first.
    #[must_use]
    pub fn sites(graph: &Graph, units: &Units, channels: &Channels) -> Vec<FilterSite> {
        let uses = graph.uses();
        let mut seen = BTreeSet::new();
        let sources = channels.groups.iter().flat_map(|group| &group.sources).filter(|source| seen.insert(source.node));
        sources.filter_map(|&source| FilterSite::of_axis(graph, &units.shapes, &uses, source)).collect()
    }
}

/// The one criterion of `scoring`, with its rule of filters.
fn rule_of(scoring: &Scoring) -> Result<(&'static Criterion, FilterRule), CriterionError> {
    scoring.single().and_then(|criterion| Some((criterion, criterion.filters?))).ok_or_else(|| {
        let known = CRITERIA.iter().filter(|criterion| criterion.filters.is_some());
        let known = known.map(|criterion| format!("`{}`", criterion.id)).collect::<Vec<_>>().join(", ");
        CriterionError::NoFilters { criterion: scoring.id(), known }
    })
}
