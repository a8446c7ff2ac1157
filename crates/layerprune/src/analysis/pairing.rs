//! Which indices a [`Map`] pairs with each other.

use std::collections::BTreeSet;

use crate::ops::couple::Map;

/// Index pairs of a map between axes of these sizes.
pub(super) fn pairs(map: &Map, a_size: usize, b_size: usize) -> Box<dyn Iterator<Item = (usize, usize)> + '_> {
    match *map {
        Map::Run { a, b, count } => {
            let count = count.min(a_size.saturating_sub(a)).min(b_size.saturating_sub(b));
            Box::new((0..count).map(move |place| (a + place, b + place)))
        }
        Map::Part { inner, size } => {
            Box::new((0..b_size).map(move |j| (j / inner.max(1) % size.max(1), j)).filter(move |(i, _)| *i < a_size))
        }
        Map::Pairs(ref pairs) => Box::new(pairs.iter().copied().filter(move |&(i, j)| i < a_size && j < b_size)),
    }
}

/// Indices of the first axis that the map pairs with some index of the second, however long that is.
pub(super) fn named_of_a(map: &Map, a_size: usize) -> BTreeSet<usize> {
    match *map {
        Map::Run { a, count, .. } => (a..a.saturating_add(count).min(a_size)).collect(),
        Map::Part { size, .. } => (0..size.max(1).min(a_size)).collect(),
        Map::Pairs(ref pairs) => pairs.iter().map(|pair| pair.0).filter(|&i| i < a_size).collect(),
    }
}

/// Indices of the second axis that the map pairs with some index of the first, however long that is.
pub(super) fn named_of_b(map: &Map, b_size: usize) -> BTreeSet<usize> {
    match *map {
        Map::Run { b, count, .. } => (b..b.saturating_add(count).min(b_size)).collect(),
        Map::Part { .. } => (0..b_size).collect(),
        Map::Pairs(ref pairs) => pairs.iter().map(|pair| pair.1).filter(|&j| j < b_size).collect(),
    }
}

/// Indices of the second axis that are paired with index `i` of the first, which is one of its indices.
pub(super) fn paired_with_a(map: &Map, i: usize, b_size: usize) -> Vec<usize> {
    match *map {
        Map::Run { a, b, count } => {
            let place = i.checked_sub(a).filter(|&place| place < count).and_then(|place| b.checked_add(place));
            place.filter(|&j| j < b_size).into_iter().collect()
        }
        Map::Part { inner, size } => {
            let (inner, size) = (inner.max(1), size.max(1));
            let first = i.checked_mul(inner).filter(|_| i < size);
            let starts = first.into_iter().flat_map(|first| (first..b_size).step_by(inner.saturating_mul(size)));
            starts.flat_map(|start| start..start.saturating_add(inner).min(b_size)).collect()
        }
        Map::Pairs(ref pairs) => {
            pairs.iter().filter(|pair| pair.0 == i && pair.1 < b_size).map(|pair| pair.1).collect()
        }
    }
}

/// Indices of the first axis that are paired with index `j` of the second, which is one of its indices.
pub(super) fn paired_with_b(map: &Map, j: usize, a_size: usize) -> Vec<usize> {
    match *map {
        Map::Run { a, b, count } => {
            let place = j.checked_sub(b).filter(|&place| place < count).and_then(|place| a.checked_add(place));
            place.filter(|&i| i < a_size).into_iter().collect()
        }
        Map::Part { inner, size } => Some(j / inner.max(1) % size.max(1)).filter(|&i| i < a_size).into_iter().collect(),
        Map::Pairs(ref pairs) => {
            pairs.iter().filter(|pair| pair.1 == j && pair.0 < a_size).map(|pair| pair.0).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paired_with_one_index_is_what_all_pairs_say() {
        let runs = [(0, 0, 4), (1, 3, 5), (2, 0, 9)].map(|(a, b, count)| Map::Run { a, b, count });
        let parts =
            [(1, 3), (2, 3), (3, 2), (4, 1), (0, 0), (usize::MAX, 2)].map(|(inner, size)| Map::Part { inner, size });
        let listed = [Map::Pairs(vec![(0, 2), (3, 2), (3, 1), (9, 9)])];
        for map in runs.into_iter().chain(parts).chain(listed) {
            for (a_size, b_size) in [(4, 4), (3, 12), (2, 7), (6, 1)] {
                let all: Vec<_> = pairs(&map, a_size, b_size).collect();
                for i in 0..a_size {
                    let expected: Vec<usize> = all.iter().filter(|pair| pair.0 == i).map(|pair| pair.1).collect();
                    assert_eq!(paired_with_a(&map, i, b_size), expected, "{map:?}, {a_size}, {b_size}: {i}");
                }
                for j in 0..b_size {
                    let expected: Vec<usize> = all.iter().filter(|pair| pair.1 == j).map(|pair| pair.0).collect();
                    assert_eq!(paired_with_b(&map, j, a_size), expected, "{map:?}, {a_size}, {b_size}: {j}");
                }
            }
        }
    }
}
