//! Scores of layers: by their own rule, by the mean over their filters, or by the sum of ranks.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    CRITERIA, Criterion, CriterionError, FilterRule, Layers, Normalize, ScoreRow, Scores, Stored, Unscored, mean,
    named, scored_units,
};
use crate::analysis::{FilterSite, Unit, Units};
use crate::evidence::{Evidence, Need};
use crate::graph::{Graph, NodeId};

/// The criteria whose ranks the publication sums, under the name `ensemble`.
pub const ENSEMBLE: [&str; 5] = ["taylor-weight", "weight-norm", "feature-maps", "taylor-gate", "batch-norm-scale"];

/// What layers are scored by: one criterion, or the sum of the ranks that several give.
///
/// The rank ensemble of Elkerdawy et al., ACCV 2020: `S(l) = Σ_m rank_m(l)`, the rank being the place from 0 in ascending
/// order, equal scores in forward order.
#[derive(Debug, Clone)]
pub struct Scoring {
    members: Vec<&'static Criterion>,
    /// What is done to the scores of filters before their mean is taken.
    pub normalize: Normalize,
}

impl From<&'static Criterion> for Scoring {
    fn from(criterion: &'static Criterion) -> Self {
        Self { members: vec![criterion], normalize: Normalize::None }
    }
}

impl Scoring {
    /// Reads `A`, `A+B+…` or `ensemble`.
    ///
    /// # Errors
    /// [`CriterionError::Unknown`].
    pub fn parse(text: &str, normalize: Normalize) -> Result<Self, CriterionError> {
        let names: Vec<&str> = match text.trim() {
            "ensemble" => ENSEMBLE.to_vec(),
            text => text.split('+').map(str::trim).collect(),
        };
        let find = |name: &&str| {
            let known = || CRITERIA.iter().map(|criterion| criterion.id).collect::<Vec<_>>().join(", ");
            named(name).ok_or_else(|| CriterionError::Unknown { name: (*name).to_owned(), known: known() })
        };
        Ok(Self { members: names.iter().map(find).collect::<Result<_, _>>()?, normalize })
    }

    /// The name: that of the criterion, several joined by `+`.
    #[must_use]
    pub fn id(&self) -> String {
        self.members.iter().map(|criterion| criterion.id).collect::<Vec<_>>().join("+")
    }

    /// What a score says, in one line.
    #[must_use]
    pub fn measures(&self) -> String {
        let measures = match self.members[..] {
            [only] => only.measures.to_owned(),
            _ => "sum of the ranks by each criterion, 0 for its least important layer".to_owned(),
        };
        let changed = match self.normalize {
            Normalize::None => return measures,
            Normalize::PerParam => "divided by the number of its weights",
            Normalize::Max => "divided by the greatest of its layer",
            Normalize::Rank => "as a rank among all filters",
        };
        if self.reads_filters() { format!("{measures}, each filter's score {changed}") } else { measures }
    }

    /// Whether layers are scored by their filters, so that normalising says something.
    #[must_use]
    pub fn reads_filters(&self) -> bool {
        self.members.iter().any(|criterion| criterion.layers.is_none())
    }

    /// The criterion, where it is one.
    #[must_use]
    pub fn single(&self) -> Option<&'static Criterion> {
        match self.members[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// What has to be gathered on data.
    #[must_use]
    pub fn needs(&self) -> BTreeSet<Need> {
        self.members.iter().filter_map(|criterion| criterion.need()).collect()
    }

    /// Refuses a model on which it cannot be computed whatever the data.
    ///
    /// # Errors
    /// [`CriterionError::NoBatchNorm`].
    pub fn check(&self, graph: &Graph, units: &Units) -> Result<(), CriterionError> {
        let Some(reads) = self.members.iter().find(|criterion| criterion.batch_norm) else { return Ok(()) };
        if sites(graph, units).iter().any(|site| site.batch_norm.is_some()) {
            return Ok(());
        }
        Err(CriterionError::NoBatchNorm { criterion: reads.id })
    }

    /// Scores all units.
    ///
    /// # Errors
    /// Why a criterion cannot be computed on this model.
    pub fn score(&self, graph: &Graph, units: &Units, evidence: &Evidence) -> Result<Scores, CriterionError> {
        self.check(graph, units)?;
        let layers = Layers { graph, units, evidence };
        let of = |criterion: &&'static Criterion| match (&criterion.layers, criterion.filters) {
            (Some(rule), _) => (rule.score)(&layers),
            (None, Some(rule)) => mean_over_filters(criterion, rule, &layers, self.normalize),
            (None, None) => unreachable!("every criterion of the table scores layers or filters"),
        };
        let mut all = self.members.iter().map(of).collect::<Result<Vec<_>, _>>()?;
        if let [_] = all[..] {
            return Ok(all.remove(0));
        }
        Ok(self.ensemble(&all, units))
    }

    fn ensemble(&self, all: &[Scores], units: &Units) -> Scores {
        let common = |name: &str| all.iter().all(|scores| scores.rows.iter().any(|row| row.unit == name));
        let ranks: Vec<BTreeMap<&str, usize>> = all.iter().map(|scores| scores.ranks_among(common)).collect();
        let (mut rows, mut unscored) = (Vec::new(), Vec::new());
        for unit in scored_units(units) {
            let found: Vec<usize> = ranks.iter().filter_map(|ranks| ranks.get(unit.name.as_str()).copied()).collect();
            match found.len() == all.len() {
                true => rows.push(ScoreRow::plain(unit, found.iter().sum::<usize>() as f64)),
                false => {
                    let without = all.iter().find(|scores| scores.rows.iter().all(|row| row.unit != unit.name));
                    let name = without.map_or("", |scores| scores.criterion.as_str());
                    unscored.push(Unscored { unit: unit.name.clone(), reason: format!("`{name}` gives it no score") });
                }
            }
        }
        let first = &all[0];
        let (schema, model, normalize) = (first.schema, first.model.clone(), self.normalize);
        Scores { schema, model, criterion: self.id(), normalize, rows, unscored }
    }
}

/// The filters by which the units of a model are scored.
#[must_use]
pub fn sites(graph: &Graph, units: &Units) -> Vec<FilterSite> {
    let uses = graph.uses();
    let nodes: BTreeSet<NodeId> = scored_units(units).flat_map(|unit| unit.scored.iter().copied()).collect();
    nodes.into_iter().filter_map(|id| FilterSite::of_node(graph, &units.shapes, &uses, id)).collect()
}

/// `score(l) = (1/|F_l|) Σ_{f∈F_l} s_f`; of a unit that is scored by several nodes, the mean of theirs.
fn mean_over_filters(
    criterion: &'static Criterion,
    rule: FilterRule,
    layers: &Layers<'_>,
    normalize: Normalize,
) -> Result<Scores, CriterionError> {
    let units = layers.units;
    let sites = sites(layers.graph, units);
    let name = |node: NodeId| {
        let unit = scored_units(units).find(|unit| unit.scored.contains(&node));
        unit.map_or_else(String::new, |unit| unit.name.clone())
    };
    let of_part = |part| of_filters(criterion, rule, layers, &sites, part, normalize, name);
    let whole = of_part(None)?;
    let parts = match rule {
        FilterRule::Stored(_) => 0,
        FilterRule::Statistic(statistic) => {
            layers.evidence.filters[&statistic].values().map(|folds| folds.len()).min().unwrap_or(0)
        }
    };
    let parts = (0..parts).map(|part| of_part(Some(part))).collect::<Result<Vec<_>, _>>()?;
    let rows = scored_units(units).map(|unit| {
        let of = |part: Option<usize>| unit_mean(unit, part.map_or(&whole, |part| &parts[part]));
        let row = ScoreRow::of_parts(unit, parts.len(), of);
        (unit, row.ok_or_else(|| missing(criterion).to_owned()))
    });
    let scores = Scores::collect(&units.model, criterion.id, rows)?;
    Ok(Scores { normalize, ..scores })
}

/// The scores of the filters at `sites`, by all batches or by one part of them, by node; nodes whose filters have none are
/// left out. `name` is what a node is called where its filters have scores that are no numbers.
pub(super) fn of_filters(
    criterion: &'static Criterion,
    rule: FilterRule,
    layers: &Layers<'_>,
    sites: &[FilterSite],
    part: Option<usize>,
    normalize: Normalize,
    name: impl Fn(NodeId) -> String,
) -> Result<BTreeMap<NodeId, Vec<f64>>, CriterionError> {
    let Layers { graph, units, evidence } = *layers;
    let gathered = match rule {
        FilterRule::Stored(_) => None,
        FilterRule::Statistic(statistic) => {
            let labels = Need::Filters(statistic).labels();
            let missing = CriterionError::NoEvidence { criterion: criterion.id, labels };
            Some(evidence.filters.get(&statistic).ok_or(missing)?)
        }
    };
    let mut scored = BTreeMap::new();
    for site in sites {
        let node = site.axis.node;
        let scores = match (rule, gathered) {
            (FilterRule::Stored(of), _) => of(&Stored { graph, shapes: &units.shapes, site, seed: evidence.seed }),
            (FilterRule::Statistic(_), nodes) => nodes.and_then(|nodes| nodes.get(&node)?.means(part)),
        };
        let Some(scores) = scores else { continue };
        if scores.iter().any(|score: &f64| !score.is_finite()) {
            return Err(CriterionError::NotFinite { criterion: criterion.id, unit: name(node) });
        }
        scored.insert(node, scores);
    }
    normalize.apply(&mut scored, |node| {
        let site = sites.iter().find(|site| site.axis.node == node);
        site.and_then(|site| site.layout(graph, &units.shapes)).map_or(1, |layout| layout.size())
    });
    Ok(scored)
}

fn unit_mean(unit: &Unit, scores: &BTreeMap<NodeId, Vec<f64>>) -> Option<f64> {
    let of: Option<Vec<f64>> = unit.scored.iter().map(|node| scores.get(node).map(|scores| mean(scores))).collect();
    of.filter(|of| !of.is_empty()).map(|of| mean(&of))
}

fn missing(criterion: &Criterion) -> &'static str {
    match criterion.filters {
        _ if criterion.batch_norm => "there is no batch norm behind its weights",
        Some(FilterRule::Statistic(_)) => "nothing could be seen of its filters",
        _ => "its weights are computed while the model runs",
    }
}
