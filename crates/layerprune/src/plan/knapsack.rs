//! The choice of least loss that saves enough: a knapsack turned round, with one choice of each class.

/// One thing that can be done with a part of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Importance that it costs, 0 or more.
    pub loss: f64,
    /// What it saves, 0 or more, one number for each need.
    pub saves: Vec<f64>,
}

/// Into how many steps each need is divided, by the number of needs: savings are rounded to whole steps.
const STEPS: [usize; 3] = [1 << 14, 1 << 8, 1 << 6];

/// One choice of each class, as its place in the class, such that all needs are saved at the least sum of losses. `None`
/// where even all the greatest savings are not enough. Among equal losses the choices that stand first in their classes
/// win, so that nothing goes without need.
///
/// Dynamic programming over what is still to be saved, exact but for the rounding of savings to a 16384th of the need (a
/// 256th of each of two, a 64th of each of three), as for the multiple-choice knapsack in H. Kellerer, U. Pferschy, D.
/// Pisinger, "Knapsack Problems", 2004, chapter 11. Time and memory grow with the number of choices, not exponentially.
///
/// # Panics
/// Where a class is empty, there are more than three needs above 0, or a choice saves other than one number for each need.
///
/// ```
/// use layerprune::plan::{Choice, least_loss};
///
/// let layer = |loss, saves| vec![Choice { loss: 0.0, saves: vec![0.0] }, Choice { loss, saves: vec![saves] }];
/// let classes = [layer(1.0, 10.0), layer(3.0, 20.0), layer(2.5, 10.0)];
/// assert_eq!(least_loss(&classes, &[20.0]), Some(vec![0, 1, 0]));
/// assert_eq!(least_loss(&classes, &[50.0]), None);
/// ```
#[must_use]
pub fn least_loss<C: AsRef<[Choice]>>(classes: &[C], needs: &[f64]) -> Option<Vec<usize>> {
    let grid = Grid::of(needs);
    let mut least = vec![f64::INFINITY; grid.cells()];
    least[0] = 0.0;
    let mut taken: Vec<Vec<u16>> = Vec::with_capacity(classes.len());
    for class in classes.iter().map(AsRef::as_ref).rev() {
        let steps: Vec<Vec<usize>> = class.iter().map(|choice| grid.steps(&choice.saves)).collect();
        let mut better = vec![f64::INFINITY; grid.cells()];
        let mut chosen = vec![0_u16; grid.cells()];
        for (cell, (better, chosen)) in better.iter_mut().zip(&mut chosen).enumerate() {
            for (place, (choice, steps)) in class.iter().zip(&steps).enumerate() {
                let loss = choice.loss + least[grid.after(cell, steps)];
                if loss < *better {
                    (*better, *chosen) = (loss, u16::try_from(place).unwrap_or(u16::MAX));
                }
            }
        }
        least = better;
        taken.push(chosen);
    }
    let mut cell = grid.cells() - 1;
    if !least[cell].is_finite() {
        return None;
    }
    let pick = |(class, taken): (&C, Vec<u16>)| {
        let class = class.as_ref();
        let place = usize::from(taken[cell]);
        cell = grid.after(cell, &grid.steps(&class[place].saves));
        place
    };
    Some(classes.iter().zip(taken.into_iter().rev()).map(pick).collect())
}

/// What is still to be saved of every need, in whole steps; the last cell is all of it.
struct Grid {
    /// Each need above 0 with its place among the savings.
    needs: Vec<(usize, f64)>,
    steps: usize,
}

impl Grid {
    fn of(needs: &[f64]) -> Self {
        let needs: Vec<(usize, f64)> = needs.iter().copied().enumerate().filter(|(_, need)| *need > 0.0).collect();
        assert!(needs.len() <= STEPS.len(), "at most {} needs at once", STEPS.len());
        Self { steps: STEPS[needs.len().saturating_sub(1)], needs }
    }

    fn cells(&self) -> usize {
        (self.steps + 1).pow(self.needs.len() as u32)
    }

    /// What is saved of each need, in steps.
    fn steps(&self, saves: &[f64]) -> Vec<usize> {
        let steps = |(place, need): &(usize, f64)| {
            let share = (saves[*place] / need).clamp(0.0, 1.0);
            (share * self.steps as f64).round() as usize
        };
        self.needs.iter().map(steps).collect()
    }

    /// The cell of what is left of `cell` once `steps` are saved.
    fn after(&self, cell: usize, steps: &[usize]) -> usize {
        let base = self.steps + 1;
        let (mut rest, mut place, mut left) = (cell, 1, 0);
        for saved in steps {
            left += (rest % base).saturating_sub(*saved) * place;
            rest /= base;
            place *= base;
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Classes whose first choice does nothing; savings are whole numbers, which the steps hold exactly where the need is a
    /// power of two.
    fn classes(needs: usize) -> impl Strategy<Value = Vec<Vec<Choice>>> {
        let choice = (0_u32..50, prop::collection::vec(0_u32..16, needs));
        let choice = choice.prop_map(|(loss, saves)| Choice {
            loss: f64::from(loss),
            saves: saves.into_iter().map(f64::from).collect(),
        });
        let class = prop::collection::vec(choice, 1..4).prop_map(move |mut choices| {
            choices.insert(0, Choice { loss: 0.0, saves: vec![0.0; needs] });
            choices
        });
        prop::collection::vec(class, 1..6)
    }

    /// The least loss of all combinations.
    fn tried_out(classes: &[Vec<Choice>], left: &[f64]) -> f64 {
        let Some((class, rest)) = classes.split_first() else {
            return if left.iter().all(|left| *left <= 0.0) { 0.0 } else { f64::INFINITY };
        };
        let with = |choice: &Choice| {
            let left: Vec<f64> = left.iter().zip(&choice.saves).map(|(left, saves)| left - saves).collect();
            choice.loss + tried_out(rest, &left)
        };
        class.iter().map(with).fold(f64::INFINITY, f64::min)
    }

    fn check(classes: &[Vec<Choice>], needs: &[f64]) {
        let least = tried_out(classes, needs);
        let Some(picked) = least_loss(classes, needs) else {
            assert!(least.is_infinite(), "{least} is possible");
            return;
        };
        let chosen: Vec<&Choice> = classes.iter().zip(&picked).map(|(class, &place)| &class[place]).collect();
        assert_eq!(chosen.iter().map(|choice| choice.loss).sum::<f64>(), least);
        for (place, need) in needs.iter().enumerate() {
            assert!(chosen.iter().map(|choice| choice.saves[place]).sum::<f64>() >= *need);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn one_need_is_met_at_the_least_loss_of_all_combinations(classes in classes(1), need in 0_u32..7) {
            check(&classes, &[f64::from(1 << need)]);
        }

        #[test]
        fn several_needs_are(classes in classes(3), needs in prop::array::uniform3(0_u32..6)) {
            check(&classes, &needs.map(|need| f64::from(1 << need)));
        }
    }

    #[test]
    fn nothing_goes_without_need() {
        let free = vec![Choice { loss: 0.0, saves: vec![0.0] }, Choice { loss: 0.0, saves: vec![5.0] }];
        assert_eq!(least_loss(&[free.clone(), free.clone()], &[0.0]), Some(vec![0, 0]));
        let one = least_loss(&[free.clone(), free], &[4.0]).unwrap();
        assert_eq!(one.iter().sum::<usize>(), 1);
        let none: [Vec<Choice>; 0] = [];
        assert_eq!(least_loss(&none, &[0.0]), Some(Vec::new()));
        assert_eq!(least_loss(&none, &[1.0]), None);
    }
}
