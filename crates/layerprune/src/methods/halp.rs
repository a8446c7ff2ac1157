use super::error::at;
use super::one_shot;
use super::task::{Limits, Parts};
use super::{Method, MethodError, Pruned, Removes, Setting, Sight, Task, Then};
use crate::criteria::{Scoring, TAYLOR_BATCH_NORM};
use crate::onnx::Model;
use crate::pipeline::{Cutting, PROFILE_RUNS, Parts as Timed, Strategy, proposer};
use crate::plan::{self, Budgets, Filters, LatencyBudget, Scope};

/// A knapsack over layers and filters, by a table of latencies, in rounds that come closer to the budget.
pub(super) static HALP: Method = Method {
    name: "halp",
    removes: Removes::Both,
    about: "the least important filters and layers that a knapsack over a table of measured latencies lets go, in rounds",
    source: "Shen et al., \"Structural Pruning via Latency-Saliency Knapsack\" (HALP), NeurIPS 2022",
    needs: "labels; a limit on latency; batch norms that are not folded away",
    differs: "`rounds` rounds instead of 30, each with `batches` of training; the table is measured anew on what each round leaves; \
              a layer may also go as a whole where its filters could not",
    reads: &[Setting::Batches, Setting::LearningRate, Setting::Rounds],
    then: Then::FineTuning,
    run,
};

/// Numbers of channels of each group that are timed.
const COUNTS: usize = 4;
/// Rounds beyond those asked for, where the last measurement says that the budget is missed.
const MORE_ROUNDS: usize = 3;

fn run(task: &mut Task<'_>) -> Result<Pruned, MethodError> {
    let Some(budget) = task.budgets.latency else {
        return Err(MethodError::Budget { method: HALP.name, reason: "chooses by latency; limit that" });
    };
    let limits = task.limits()?;
    let rounds = task.settings.rounds;
    let mut model = task.model.clone();
    let mut last = None;
    for round in 0..rounds + MORE_ROUNDS {
        model = task.train_a_little(&model, round)?;
        let now = task.ports.compare(task.model, &model).map_err(at("timing"))?;
        let end = budget.reduction_percent(now.baseline.median_ms);
        let goal = goal_percent(end, (round + 1).min(rounds), rounds);
        // In hundredths, for whoever reads why it cannot be met.
        let step = (100.0 * relative_percent(goal, now.latency_reduction_percent)).ceil() / 100.0;
        model = self::round(task, &model, &limits, step)?;
        if round + 1 >= rounds {
            let reached = task.confirmed(&model)?;
            task.ports.tell(&format!("round {}: {}", round + 1, reached.text()));
            if reached.met {
                return Ok(Pruned { model, latency: reached.latency });
            }
            last = Some(reached);
        }
    }
    Err(match last {
        Some(reached) => task.out_of_reach(&reached),
        None => MethodError::Nothing { method: HALP.name, reason: "there were no rounds".to_owned() },
    })
}

/// One knapsack, by importance and times of `model`, that lowers its latency by so many percent. Other limits are ones on the
/// whole model; the last measurement looks at them.
fn round(task: &mut Task<'_>, model: &Model, limits: &Limits, percent: f64) -> Result<Model, MethodError> {
    let by = Scoring::from(&TAYLOR_BATCH_NORM);
    let scores = task.ports.filter_scores(model, &by, Sight::Whole).map_err(at("scoring"))?;
    let Parts { units, channels } = task.parts(model)?;
    let constraints = limits.of(&channels);
    let filters = Filters { channels: &channels, scores: &scores, constraints: &constraints, scope: Scope::Global };
    let layers = plan::droppable_by_filters(&units, &task.constraints, filters);
    let all: Vec<_> = layers.iter().map(|unit| unit.planned.clone()).collect();
    let timed = Timed { units: &all, channels: Some(&channels), counts: COUNTS, runs: PROFILE_RUNS };
    let profile = task.ports.profile(model, &units, timed).map_err(at("profiling"))?;
    let (shapes, criterion, filters) = (task.shapes, scores.criterion.as_str(), Some(filters));
    let cutting = Cutting { model, units: &units, shapes, criterion, layers, filters, profile: Some(&profile) };
    let budgets = Budgets { latency: Some(LatencyBudget::Reduction(percent)), ..Budgets::default() };
    let mut propose = proposer(&cutting, Strategy::Exact, &budgets)?;
    Ok(one_shot::found(budgets, &mut *task.ports, &cutting, &mut *propose)?.model)
}

/// The latency reduction in percent to be reached after `done` of `rounds` rounds on the way to `end`: what is left shrinks by the
/// same factor in each, `t_k = t_end^(k/K) · t_0^(1-k/K)`.
fn goal_percent(end: f64, done: usize, rounds: usize) -> f64 {
    100.0 * (1.0 - (1.0 - end / 100.0).powf(done as f64 / rounds as f64))
}

/// The latency reduction in percent from a model that has `now` of the whole model's gone, to where `goal` is gone.
fn relative_percent(goal: f64, now: f64) -> f64 {
    (100.0 * (1.0 - (100.0 - goal) / (100.0 - now))).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_shrink_what_is_left_by_the_same_factor() {
        let goals: Vec<f64> = (1..=3).map(|done| goal_percent(48.8, done, 3)).collect();
        let expected = [20.0, 36.0, 48.8];
        assert!(goals.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-9), "{goals:?}");
        // From 0.8 to 0.64 is a fifth of what is left.
        assert!((relative_percent(36.0, 20.0) - 20.0).abs() < 1e-9);
        assert_eq!(relative_percent(20.0, 36.0), 0.0);
    }
}
