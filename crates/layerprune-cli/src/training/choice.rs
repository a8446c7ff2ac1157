//! Which epoch's model is kept, and when no better one is waited for.

use std::cmp::Ordering;

use layerprune::record::EpochRow;

/// Of the epochs that were measured on the held-out part, the place of the best: the highest top-1, of equals the lowest loss,
/// of equals the first. Where there is no top-1, the loss decides.
pub(crate) fn best(rows: &[EpochRow]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (place, row) in rows.iter().enumerate() {
        if is_measured(row) && best.is_none_or(|best| is_better(row, &rows[best])) {
            best = Some(place);
        }
    }
    best
}

/// Whether the last `patience` epochs brought nothing better than what was there before.
pub(crate) fn is_exhausted(rows: &[EpochRow], patience: Option<usize>) -> bool {
    let since_best = best(rows).map(|best| rows.len() - 1 - best);
    patience.zip(since_best).is_some_and(|(patience, since)| since >= patience)
}

fn is_measured(row: &EpochRow) -> bool {
    row.held_out_top1.or(row.held_out_loss).is_some_and(f64::is_finite)
}

fn is_better(row: &EpochRow, than: &EpochRow) -> bool {
    let by_top1 = compare(row.held_out_top1, than.held_out_top1);
    let by_loss = compare(than.held_out_loss, row.held_out_loss);
    by_top1.then(by_loss) == Ordering::Greater
}

fn compare(a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        _ => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(measured: &[(Option<f64>, f64)]) -> Vec<EpochRow> {
        let row = |&(held_out_top1, loss)| EpochRow { held_out_top1, held_out_loss: Some(loss), ..EpochRow::default() };
        measured.iter().map(row).collect()
    }

    #[test]
    fn top1_decides_then_the_loss_then_the_order() {
        assert_eq!(best(&rows(&[(Some(80.0), 1.0), (Some(82.0), 2.0), (Some(81.0), 0.5)])), Some(1));
        assert_eq!(best(&rows(&[(Some(80.0), 1.0), (Some(80.0), 0.5), (Some(80.0), 0.5)])), Some(1));
        assert_eq!(best(&rows(&[(None, 1.0), (None, 0.5), (None, 0.7)])), Some(1));
        assert_eq!(best(&rows(&[(None, f64::NAN), (None, 0.5)])), Some(1));
        assert_eq!(best(&[EpochRow::default()]), None);
    }

    #[test]
    fn patience_counts_epochs_since_the_best() {
        let rows = rows(&[(Some(80.0), 1.0), (Some(82.0), 1.0), (Some(81.0), 1.0), (Some(82.0), 1.0)]);
        assert!(!is_exhausted(&rows[..2], Some(1)));
        assert!(is_exhausted(&rows[..3], Some(1)));
        assert!(!is_exhausted(&rows[..3], Some(2)));
        assert!(is_exhausted(&rows, Some(2)));
        assert!(!is_exhausted(&rows, None));
        assert!(!is_exhausted(&[], Some(1)));
    }
}
