//! What a study says of models that it does not make: the whole one, and those of other hands.

use anyhow::Result;
use layerprune::analysis::Units;
use layerprune::cost::Costs;
use layerprune::pipeline::{MeasureLatency, PROFILE_RUNS, Parts, layer_row, score_table};
use layerprune::plan::Constraints;
use layerprune::record::{Handcrafted, LayerRow, SavingRow, Savings, ScoreTable, SweepBaseline, UnitTime};
use serde::{Deserialize, Serialize};

use super::Workshop;
use super::recipe::HandcraftedSection;
use crate::args::ProfileFileArgs;
use crate::clock::Clock;
use crate::commands::{eval, profile};
use crate::scoring::{self, Gather};
use crate::{data, model};

/// The whole model, looked at once.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Whole {
    pub(crate) baseline: SweepBaseline,
    pub(crate) layers: Vec<LayerRow>,
    pub(crate) scores: Vec<ScoreTable>,
    pub(crate) savings: Option<Savings>,
}

impl Workshop<'_> {
    /// Judges the whole model, scores its layers by the recipe's criteria, and times it without each of them.
    pub(super) fn look_at_whole(&self, key: &str) -> Result<()> {
        let Self { recipe, model, global, .. } = self;
        let data = data::open(&recipe.data.args(), &recipe.model, model, true, global)?;
        let test = data.test()?;
        let units = model::units(model, &Default::default())?;
        let constraints = model::constraints(&recipe.limits.args(), &units)?;
        let cost = Costs::total_of(&model.graph, &Default::default())?;
        let accuracy = Some(eval::accuracy(model, &data, &test, "test images", global)?);
        let options = recipe.score.args();
        let by = scoring::parse(&recipe.score.criteria, &options)?;
        let gather = Gather { model, units: &units, data: Some(&data), options: &options, global };
        let scores = gather.score(&by)?;
        let whole = Whole {
            baseline: SweepBaseline { accuracy, parameters: cost.parameters, macs: cost.macs },
            layers: units.rows(&model.graph).units.iter().map(|row| layer_row(row, &constraints)).collect(),
            scores: by.iter().zip(&scores).map(|(by, scores)| score_table(&by.measures(), scores)).collect(),
            savings: self.savings(&units, &constraints)?,
        };
        self.write(key, &whole)
    }

    /// By the engine, threads and first batch size of the study.
    fn savings(&self, units: &Units, constraints: &Constraints) -> Result<Option<Savings>> {
        let removable = profile::removable(units, constraints, false);
        if removable.is_empty() {
            return Ok(None);
        }
        let timer = self.recipe.latency.timer(self.recipe.latency.batch[0], self.global);
        let mut clock = Clock::open(timer, self.model, &units.model, &ProfileFileArgs::default())?;
        let parts = Parts { units: &removable, channels: None, counts: 0, runs: PROFILE_RUNS };
        let timed = clock.profile(self.model, units, parts).map_err(anyhow::Error::from_boxed)?;
        let row = |unit: &UnitTime| SavingRow {
            layer: unit.unit.clone(),
            with_ms: unit.saving.with_ms,
            without_ms: unit.saving.without_ms,
            reduction_percent: unit.saving.reduction_percent,
            reduction_interval: unit.saving.reduction_interval,
        };
        let rows = removable.iter().filter_map(|planned| timed.unit(&planned.unit, planned.way)).map(row).collect();
        Ok(Some(Savings { circumstances: timed.conditions.circumstances, rows }))
    }

    /// Judges a network of another hand, where the recipe does not say how good it is, and times it.
    pub(super) fn judge(&self, one: &HandcraftedSection, key: &str) -> Result<()> {
        let Self { recipe, global, .. } = self;
        let model = model::read(&one.model)?;
        let known = self.result::<Handcrafted>(key);
        let accuracy = match one.top_1 {
            _ if known.is_some() => known.as_ref().and_then(|known| known.accuracy.clone()),
            Some(_) => None,
            None => {
                let data = data::open(&recipe.data.args(), &one.model, &model, true, global)?;
                Some(eval::accuracy(&model, &data, &data.test()?, "test images", global)?)
            }
        };
        let cost = Costs::total_of(&model.graph, &Default::default())?;
        let judged = Handcrafted {
            name: one.name.clone(),
            file: one.model.display().to_string(),
            accuracy,
            stated_top1: one.top_1,
            parameters: cost.parameters,
            macs: cost.macs,
            latency: self.latency(&model, known.map_or_else(Vec::new, |known| known.latency), global)?,
        };
        self.write(key, &judged)
    }
}
