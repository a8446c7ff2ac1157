//! Criteria side by side.

use std::collections::BTreeSet;

use anyhow::Result;
use layerprune::analysis::{FilterSite, Units};
use layerprune::criteria::{self, Scores, Scoring};
use layerprune::evidence::{Evidence, Need};
use layerprune::record::Agreement;
use serde::Serialize;

use crate::interrupt;
use crate::output::{Align, table};
use crate::scoring::Gather;

/// What `score --compare --format json` prints.
#[derive(Serialize)]
pub(crate) struct Outcome {
    pub(crate) scores: Vec<Scores>,
    pub(crate) agreement: Option<Agreement>,
    pub(crate) refused: Vec<Refused>,
}

/// A criterion that cannot be computed here.
#[derive(Serialize)]
pub(crate) struct Refused {
    pub(crate) criterion: String,
    pub(crate) reason: String,
}

/// What could be computed, and why the rest could not.
pub(crate) struct Compared {
    pub(crate) scores: Vec<Scores>,
    pub(crate) refused: Vec<Refused>,
}

/// Scores by all of `all` that can be computed; evidence is shared, and what one kind of it cannot be had for does not stop
/// the others. `no_labels` says why those that need labels cannot be computed, where they cannot.
pub(crate) fn compare(gather: Gather<'_>, all: &[Scoring], no_labels: Option<&str>) -> Result<Compared> {
    let graph = &gather.model.graph;
    let refusal = |scoring: &Scoring| match scoring.check(graph, gather.units) {
        Err(error) => Some(error.to_string()),
        Ok(()) => no_labels.filter(|_| scoring.needs().into_iter().any(Need::labels)).map(str::to_owned),
    };
    let mut refused: Vec<Option<String>> = all.iter().map(refusal).collect();
    let mut evidence = Evidence { seed: gather.global.seed(), ..Evidence::default() };
    let sites = criteria::sites(graph, gather.units);
    let kinds: [fn(&Need) -> bool; 3] = [
        |need| !matches!(need, Need::Removals) && !is_gradient(need),
        is_gradient,
        |need| matches!(need, Need::Removals),
    ];
    for kind in kinds {
        while let Err(error) = gathered(gather, all, &refused, kind, &sites, &mut evidence) {
            if interrupt::asked() {
                return Err(error);
            }
            let concerned = |scoring: &Scoring| scoring.needs().iter().any(kind);
            let labelled = |scoring: &Scoring| scoring.needs().iter().any(|need| kind(need) && need.labels());
            let open = || all.iter().zip(&refused).filter(|(scoring, refused)| refused.is_none() && concerned(scoring));
            // What goes wrong with labels need not go wrong without.
            let blamed: &dyn Fn(&Scoring) -> bool = match open().any(|(scoring, _)| labelled(scoring)) {
                true => &labelled,
                false => &concerned,
            };
            let blamed: Vec<bool> = all.iter().map(blamed).collect();
            for (refused, _) in refused.iter_mut().zip(blamed).filter(|(refused, blamed)| *blamed && refused.is_none())
            {
                *refused = Some(format!("{error:#}"));
            }
        }
    }
    let mut compared = Compared { scores: Vec::new(), refused: Vec::new() };
    for (scoring, refused) in all.iter().zip(refused) {
        let found = match refused {
            Some(reason) => Err(reason),
            None => scoring.score(graph, gather.units, &evidence).map_err(|error| error.to_string()),
        };
        match found {
            Ok(scores) => compared.scores.push(scores),
            Err(reason) => compared.refused.push(Refused { criterion: scoring.id(), reason }),
        }
    }
    Ok(compared)
}

/// Gathers what those of `all` that are not refused need of a kind.
fn gathered(
    gather: Gather<'_>,
    all: &[Scoring],
    refused: &[Option<String>],
    kind: fn(&Need) -> bool,
    sites: &[FilterSite],
    evidence: &mut Evidence,
) -> Result<()> {
    let open = all.iter().zip(refused).filter(|(_, refused)| refused.is_none());
    let needs: BTreeSet<Need> = open.flat_map(|(scoring, _)| scoring.needs()).filter(kind).collect();
    gather.add(&needs, sites, evidence)
}

fn is_gradient(need: &Need) -> bool {
    matches!(need, Need::Filters(statistic) if statistic.needs_gradients())
}

/// Ranks and agreement, for people.
pub(crate) fn text(outcome: &Outcome, units: &Units) -> String {
    let numbers: Vec<String> = (1..=outcome.scores.len()).map(|number| format!("[{number}]")).collect();
    let mut head = vec![("layer", Align::Left)];
    head.extend(numbers.iter().map(|number| (number.as_str(), Align::Right)));
    let ranked: Vec<_> = outcome.scores.iter().map(|scores| (scores, scores.ranks(), scores.ties())).collect();
    let rows = units.units.iter().filter_map(|unit| {
        let rank = |(scores, ranks, ties): &(&Scores, Vec<usize>, Vec<bool>)| {
            let place = scores.rows.iter().position(|row| row.unit == unit.name)?;
            let tie = if ties[place] { "≈" } else { "" };
            Some(format!("{tie}{}", ranks[place] + 1))
        };
        let ranks: Vec<Option<String>> = ranked.iter().map(rank).collect();
        ranks.iter().any(Option::is_some).then(|| {
            let cells = ranks.into_iter().map(|rank| rank.unwrap_or_else(|| "-".to_owned()));
            std::iter::once(unit.name.clone()).chain(cells).collect()
        })
    });
    let mut text = "criteria:\n".to_owned();
    for (number, scores) in numbers.iter().zip(&outcome.scores) {
        text.push_str(&format!("  {number:>4} {}\n", scores.criterion));
    }
    let rows: Vec<Vec<String>> = rows.collect();
    text.push_str("\nrank of each layer, 1 for the least important; ≈ cannot be told from the next higher\n\n");
    text.push_str(&table(&head, &rows));
    if let Some(agreement) = &outcome.agreement {
        let tau = |tau: &Option<f64>| tau.map_or_else(|| "-".to_owned(), |tau| format!("{tau:.2}"));
        let rows: Vec<Vec<String>> = agreement
            .tau
            .iter()
            .zip(numbers.iter().zip(&agreement.criteria))
            .map(|(row, (number, name))| {
                std::iter::once(format!("{number:>4} {name}")).chain(row.iter().map(tau)).collect()
            })
            .collect();
        let mut head = vec![("", Align::Left)];
        head.extend(numbers.iter().map(|number| (number.as_str(), Align::Right)));
        text.push_str("\n\nKendall's τ between each two, over the layers that both score\n\n");
        text.push_str(&table(&head, &rows));
    }
    for Refused { criterion, reason } in &outcome.refused {
        text.push_str(&format!("\n\nleft out: {criterion}\n  {reason}"));
    }
    text
}
