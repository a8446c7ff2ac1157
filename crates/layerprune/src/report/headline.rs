use crate::record::format::{circumstances, counted, plain, signed};
use crate::record::{Accuracy, Difference, LatencyComparison, Record, Verdict};

/// What was gained and what was lost, in a few plain sentences.
///
/// A latency is called lower only where its interval says so; what was not measured is said to be so.
#[must_use]
pub fn headline(record: &Record) -> String {
    let mut sentences = Vec::new();
    if !record.complete {
        sentences.push("The run did not finish; this is what it had found by then.".to_owned());
    }
    let join = if record.latency.len() > 1 { ";" } else { "," };
    let findings = format!("{}{join} {}.", latency(record), accuracy(record));
    match removed(record) {
        Some(removed) => sentences.push(format!("{removed}: {findings}")),
        None if record.pruned.is_some() || !record.latency.is_empty() => sentences.push(sentence(&findings)),
        None => sentences.push("Nothing was removed.".to_owned()),
    }
    if let Some(plan) = &record.plan
        && plan.met == Some(false)
    {
        match &plan.target {
            Some(target) => sentences.push(format!("The target was not met: {target}.")),
            None => sentences.push("The target was not met.".to_owned()),
        }
    }
    sentences.join(" ")
}

fn removed(record: &Record) -> Option<String> {
    let planned = record.plan.as_ref().map_or(0, |plan| plan.removed.len());
    let removed = match planned {
        0 => record.layers.iter().filter(|layer| layer.removed).count(),
        planned => planned,
    };
    let removable = record.layers.iter().filter(|layer| layer.way.is_some()).count();
    let layers = match (removed, removable) {
        (0, _) => None,
        (removed, removable) if removable >= removed => {
            Some(format!("{removed} of {}", counted(removable as u64, "removable layer", "removable layers")))
        }
        (removed, _) => Some(counted(removed as u64, "layer", "layers")),
    };
    let filters = record.plan.as_ref().and_then(|plan| plan.filters_removed);
    let filters = filters.map(|filters| counted(filters as u64, "filter", "filters"));
    let all: Vec<String> = layers.into_iter().chain(filters).collect();
    (!all.is_empty()).then(|| format!("{} removed", all.join(" and ")))
}

fn latency(record: &Record) -> String {
    match record.latency.as_slice() {
        [] => "latency was not measured".to_owned(),
        comparisons => comparisons.iter().map(|one| gain(one, comparisons)).collect::<Vec<_>>().join("; "),
    }
}

/// Whether and how much faster the candidate is.
pub(super) fn gain(one: &LatencyComparison, among: &[LatencyComparison]) -> String {
    let at = circumstances(one, among);
    let percent = one.latency_reduction_percent;
    let [low, high] = one.latency_reduction_interval;
    match one.verdict {
        Verdict::Faster => format!(
            "{} % lower latency at {at} (95 % interval {} to {})",
            plain(percent, 1),
            plain(low, 1),
            plain(high, 1)
        ),
        Verdict::Slower => format!(
            "slower, {} % higher latency at {at} (95 % interval {} to {})",
            plain(-percent, 1),
            plain(-high, 1),
            plain(-low, 1)
        ),
        Verdict::NotFaster => format!(
            "not faster at {at} (latency {} %, 95 % interval {} to {})",
            signed(-percent, 1),
            signed(-high, 1),
            signed(-low, 1)
        ),
    }
}

fn accuracy(record: &Record) -> String {
    let Some((stage, after)) = record.pruned.as_ref().and_then(|pruned| pruned.last()) else {
        return "accuracy was not measured".to_owned();
    };
    top1(record.baseline.as_ref().and_then(|baseline| baseline.accuracy.as_ref()), after, &format!(" {stage}"))
}

/// What became of the baseline's top-1; `when` says at which stage, where there are several.
pub(super) fn top1(before: Option<&Accuracy>, after: &Accuracy, when: &str) -> String {
    let Some(before) = before else {
        return format!("top-1 {} %{when}, that of the baseline was not measured", plain(after.top1.percent, 1));
    };
    let difference = Difference::between(&before.top1, &after.top1);
    let noise = match difference.is_noise() {
        true => format!(", within the uncertainty of {}", counted(after.images, "image", "images")),
        false => String::new(),
    };
    let change = match signed(difference.points, 1) {
        same if same == "0.0" => "unchanged".to_owned(),
        points => format!("{points} points"),
    };
    let (from, to) = (plain(before.top1.percent, 1), plain(after.top1.percent, 1));
    format!("top-1 {change}{when} ({from} % to {to} %{noise})")
}

/// The text with its first letter in upper case.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{LayerRow, PlanSummary, Pruned};
    use crate::report::samples;

    #[test]
    fn a_gain_and_a_loss_are_both_said() {
        assert_eq!(
            headline(&samples::small()),
            "1 of 2 removable layers removed: 37.5 % lower latency at batch 1 (95 % interval 36.1 to 38.9), \
             top-1 −3.0 points after fine-tuning (92.0 % to 89.0 %)."
        );
    }

    #[test]
    fn a_gain_within_the_noise_is_not_faster() {
        let mut record = samples::small();
        record.latency[0] = samples::comparison(1, Verdict::NotFaster, 0.4, [-0.7, 1.5]);
        assert!(
            headline(&record)
                .contains("removed: not faster at batch 1 (latency −0.4 %, 95 % interval −1.5 to +0.7), top-1"),
            "{}",
            headline(&record)
        );
    }

    #[test]
    fn a_slower_model_is_called_slower() {
        let mut record = samples::small();
        record.latency[0] = samples::comparison(1, Verdict::Slower, -3.0, [-4.5, -1.5]);
        assert!(
            headline(&record).contains("slower, 3.0 % higher latency at batch 1 (95 % interval 1.5 to 4.5)"),
            "{}",
            headline(&record)
        );
    }

    #[test]
    fn every_batch_is_named_not_only_the_best() {
        let mut record = samples::small();
        record.latency.push(samples::comparison(64, Verdict::NotFaster, -0.2, [-1.0, 0.6]));
        assert!(headline(&record).contains("; not faster at batch 64 (latency +0.2 %"), "{}", headline(&record));
    }

    #[test]
    fn an_accuracy_gained_within_the_uncertainty_is_said_to_be_so() {
        let mut record = samples::small();
        let pruned = record.pruned.as_mut().unwrap();
        pruned.after_finetune = Some(samples::accuracy(92.4));
        assert!(
            headline(&record).ends_with(
                "top-1 +0.4 points after fine-tuning (92.0 % to 92.4 %, within the uncertainty of 1000 images)."
            ),
            "{}",
            headline(&record)
        );
    }

    #[test]
    fn what_was_not_measured_is_said() {
        let layer = LayerRow { removed: true, ..LayerRow::default() };
        let record = Record { complete: true, layers: vec![layer], ..Record::default() };
        assert_eq!(headline(&record), "1 layer removed: latency was not measured, accuracy was not measured.");
        let record = Record { complete: true, pruned: Some(Pruned::default()), ..Record::default() };
        assert_eq!(headline(&record), "Latency was not measured, accuracy was not measured.");
    }

    #[test]
    fn an_interrupted_run_and_a_missed_target_are_said() {
        let plan = PlanSummary {
            target: Some("latency reduction 40 %".to_owned()),
            met: Some(false),
            ..PlanSummary::default()
        };
        let record = Record { plan: Some(plan), ..Record::default() };
        assert_eq!(
            headline(&record),
            "The run did not finish; this is what it had found by then. Nothing was removed. \
             The target was not met: latency reduction 40 %."
        );
    }
}
