//! How far criteria agree on which layers matter.

use serde::{Deserialize, Serialize};

use super::ScoreTable;
use crate::stats;

/// Kendall's τ-b between each two criteria.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// The criteria's ids.
    pub criteria: Vec<String>,
    /// A row for each criterion, with its τ with each, over the layers that both score; `None` where that orders nothing.
    pub tau: Vec<Vec<Option<f64>>>,
}

impl Agreement {
    /// Compares all tables with each other; `None` of fewer than two.
    #[must_use]
    pub fn of(tables: &[ScoreTable]) -> Option<Self> {
        if tables.len() < 2 {
            return None;
        }
        let tau = |a: &ScoreTable, b: &ScoreTable| {
            let other = |name: &str| b.rows.iter().find(|row| row.layer == name).map(|row| row.score);
            let pairs = a.rows.iter().filter_map(|row| Some((row.score, other(&row.layer)?)));
            let (a, b): (Vec<f64>, Vec<f64>) = pairs.unzip();
            stats::kendall(&a, &b)
        };
        Some(Self {
            criteria: tables.iter().map(|table| table.criterion.clone()).collect(),
            tau: tables.iter().map(|a| tables.iter().map(|b| tau(a, b)).collect()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ScoreRow;

    #[test]
    fn only_layers_that_both_score_count() {
        let table = |criterion: &str, scores: &[(&str, f64)]| ScoreTable {
            criterion: criterion.to_owned(),
            rows: scores
                .iter()
                .map(|&(layer, score)| ScoreRow { layer: layer.to_owned(), score, ..ScoreRow::default() })
                .collect(),
            ..ScoreTable::default()
        };
        let a = table("a", &[("1", 1.0), ("2", 2.0), ("3", 3.0), ("4", 4.0)]);
        let b = table("b", &[("4", 9.0), ("2", 7.0), ("3", 6.0), ("x", 0.0)]);
        let constant = table("c", &[("1", 1.0), ("2", 1.0)]);
        let agreement = Agreement::of(&[a, b, constant]).unwrap();
        assert_eq!(agreement.tau[0][0], Some(1.0));
        assert!((agreement.tau[0][1].unwrap() - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(agreement.tau[1][0], agreement.tau[0][1]);
        assert_eq!(agreement.tau[0][2], None);
        assert_eq!(Agreement::of(&[]), None);
    }
}
