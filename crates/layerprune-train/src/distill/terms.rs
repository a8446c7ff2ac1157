//! The terms of the loss, over plain numbers.

use crate::loss::{Answers, Judgement, Loss, elementwise, mean_absolute, mean_squared};

/// A term of the loss of a batch, with its gradient.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Term {
    pub(super) value: f64,
    pub(super) gradient: Vec<f32>,
}

impl From<Judgement> for Term {
    /// Of a judgement of one image, which is a mean over all numbers.
    fn from(judgement: Judgement) -> Self {
        Self { value: judgement.sum, gradient: judgement.gradient }
    }
}

/// How far outputs are from those of the teacher, in the way of `loss`.
pub(super) fn outputs(loss: &Loss, student: &[f32], teacher: &[f32], width: usize, temperature: f64) -> Term {
    match loss {
        Loss::CrossEntropy(_) => softened_classes(student, teacher, width, temperature),
        Loss::BinaryCrossEntropy => {
            let t2 = temperature * temperature;
            each(student, teacher, |s, t| {
                let (s, t) = (s / temperature, t / temperature);
                // t · ln(σ(t) / σ(s)) with ln σ(x) = -ln(1 + e⁻ˣ), for both sides of the label.
                let (p, log) = (sigmoid(t), |x: f64| -softplus(-x));
                let value = p * (log(t) - log(s)) + (1.0 - p) * (log(-t) - log(-s));
                (t2 * value, temperature * (sigmoid(s) - p))
            })
        }
        Loss::MeanSquared => mean_squared::judge(student, teacher, 1).into(),
        Loss::MeanAbsolute => mean_absolute::judge(student, teacher, 1).into(),
    }
}

/// `T² · KL(softmax(teacher / T) ‖ softmax(student / T))`, summed over classes, the mean over images.
fn softened_classes(student: &[f32], teacher: &[f32], classes: usize, temperature: f64) -> Term {
    let images = (student.len() / classes.max(1)) as f64;
    let mut term = Term { value: 0.0, gradient: Vec::with_capacity(student.len()) };
    for (student, teacher) in student.chunks_exact(classes).zip(teacher.chunks_exact(classes)) {
        let (student, teacher) = (log_softmax(student, temperature), log_softmax(teacher, temperature));
        for (&q, &p) in student.iter().zip(&teacher) {
            // A class that the teacher gives nothing asks for nothing.
            if p != f64::NEG_INFINITY {
                term.value += temperature * temperature * p.exp() * (p - q) / images;
            }
            term.gradient.push((temperature * (q.exp() - p.exp()) / images) as f32);
        }
    }
    term
}

fn log_softmax(row: &[f32], temperature: f64) -> Vec<f64> {
    let softened: Vec<f64> = row.iter().map(|&score| f64::from(score) / temperature).collect();
    let greatest = softened.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = softened.iter().map(|score| (score - greatest).exp()).sum();
    softened.into_iter().map(|score| score - greatest - total.ln()).collect()
}

/// The mean of a function of each pair, which also gives its slope.
fn each(student: &[f32], teacher: &[f32], of: impl Fn(f64, f64) -> (f64, f64)) -> Term {
    elementwise(student, teacher, 1, of).into()
}

/// The squared difference over the teacher's square, each a mean over all elements; the squared difference alone where the
/// teacher is nothing but zeros.
pub(super) fn relative_error(student: &[f32], teacher: &[f32]) -> Term {
    let square: f64 = teacher.iter().map(|&t| f64::from(t) * f64::from(t)).sum::<f64>() / teacher.len() as f64;
    let scale = if square > 0.0 { 1.0 / square } else { 1.0 };
    each(student, teacher, |s, t| (scale * (s - t) * (s - t), 2.0 * scale * (s - t)))
}

/// A judgement of no loss, in which answers are right where they are the teacher's.
pub(super) fn agreement(loss: &Loss, student: &[f32], teacher: &[f32], width: usize) -> Judgement {
    let same = |same: &dyn Fn(&[f32], &[f32]) -> usize| {
        student.chunks_exact(width).zip(teacher.chunks_exact(width)).map(|(s, t)| same(s, t)).sum::<usize>()
    };
    let answers = match loss {
        Loss::CrossEntropy(_) => Some(Answers {
            right: same(&|student, teacher| usize::from(first_greatest(student) == first_greatest(teacher))),
            of: student.len() / width.max(1),
        }),
        Loss::BinaryCrossEntropy => Some(Answers {
            right: same(&|student, teacher| {
                student.iter().zip(teacher).filter(|(s, t)| (**s > 0.0) == (**t > 0.0)).count()
            }),
            of: student.len(),
        }),
        Loss::MeanSquared | Loss::MeanAbsolute => None,
    };
    Judgement { sum: 0.0, answers, top5: None, gradient: vec![0.0; student.len()] }
}

fn first_greatest(row: &[f32]) -> Option<usize> {
    let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter().position(|&score| score == greatest)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: Loss = Loss::CrossEntropy(crate::loss::CrossEntropy { label_smoothing: 0.0 });

    #[test]
    fn the_divergence_agrees_with_hand_arithmetic() {
        // At T = 2 the teacher says 1/2, 1/2 and the student 1/4, 3/4: KL = ln(2) / 2 + ln(2/3) / 2 = ln(4/3) / 2.
        let student = [0.0, 2.0 * 3.0_f32.ln()];
        let term = outputs(&CLASSES, &student, &[1.0, 1.0], 2, 2.0);
        assert!((term.value - 4.0 * 0.5 * (4.0_f64 / 3.0).ln()).abs() < 1e-6, "{}", term.value);
        assert!(term.gradient.iter().zip([-0.5, 0.5]).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", term.gradient);
        let same = outputs(&CLASSES, &student, &student, 2, 2.0);
        assert_eq!((same.value, same.gradient), (0.0, vec![0.0, 0.0]));
    }

    #[test]
    fn what_is_no_number_reaches_the_loss_and_what_gets_nothing_does_not() {
        let term = outputs(&CLASSES, &[1.0, 2.0], &[f32::NAN, 1.0], 2, 2.0);
        assert!(term.value.is_nan());
        let term = outputs(&CLASSES, &[1.0, 1.0], &[f32::NEG_INFINITY, 1.0], 2, 1.0);
        assert!((term.value - 2.0_f64.ln()).abs() < 1e-6, "{}", term.value);
    }

    #[test]
    fn gradients_are_the_slopes_of_the_values() {
        let (student, teacher) = ([0.3_f32, -1.2, 2.0, 0.1, 0.4, -0.7], [1.0_f32, -0.2, 0.5, 0.3, -2.0, 0.9]);
        type Of<'a> = &'a dyn Fn(&[f32]) -> Term;
        let functions: [Of<'_>; 5] = [
            &|s| outputs(&CLASSES, s, &teacher, 3, 3.0),
            &|s| outputs(&Loss::BinaryCrossEntropy, s, &teacher, 3, 3.0),
            &|s| outputs(&Loss::MeanSquared, s, &teacher, 3, 3.0),
            &|s| outputs(&Loss::MeanAbsolute, s, &teacher, 3, 3.0),
            &|s| relative_error(s, &teacher),
        ];
        for (number, term) in functions.iter().enumerate() {
            let gradient = term(&student).gradient;
            for place in 0..student.len() {
                let moved = |by: f32| {
                    let mut student = student;
                    student[place] += by;
                    term(&student).value
                };
                let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                let found = f64::from(gradient[place]);
                assert!((found - slope).abs() < 1e-3, "term {number}[{place}]: {found} instead of {slope}");
            }
        }
    }

    #[test]
    fn block_outputs_are_measured_by_the_size_of_the_teachers() {
        let term = relative_error(&[3.0, 0.0], &[1.0, -7.0_f32.sqrt()]);
        // Squares 4 and 7, over a mean square of (1 + 7) / 2.
        assert!((term.value - 5.5 / 4.0).abs() < 1e-6);
        assert!((term.gradient[0] - 0.5).abs() < 1e-6);
        let larger = relative_error(&[300.0, 0.0], &[100.0, -700.0 / 7.0_f32.sqrt()]);
        assert!((larger.value - term.value).abs() < 1e-6);
        assert_eq!(relative_error(&[2.0], &[0.0]).value, 4.0);
    }

    #[test]
    fn without_labels_the_teacher_says_what_is_right() {
        let judgement = agreement(&CLASSES, &[1.0, 2.0, 3.0, 0.0], &[0.0, 9.0, 1.0, 2.0], 2);
        assert_eq!(judgement.answers, Some(Answers { right: 1, of: 2 }));
        let judgement = agreement(&Loss::BinaryCrossEntropy, &[1.0, 2.0, -3.0, 0.5], &[0.1, -9.0, -1.0, 2.0], 2);
        assert_eq!(judgement.answers, Some(Answers { right: 3, of: 4 }));
        assert_eq!(agreement(&Loss::MeanSquared, &[1.0], &[1.0], 1).answers, None);
    }
}
