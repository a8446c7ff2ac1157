use super::{Answers, Judgement, elementwise};

/// `-t · ln σ(x) - (1 - t) · ln (1 - σ(x))` of each output `x` with target `t`, as PyTorch's
/// `binary_cross_entropy_with_logits`, computed in `f64` as `max(x, 0) - x · t + ln(1 + exp(-|x|))`.
pub(super) fn judge(outputs: &[f32], targets: &[f32], images: usize) -> Judgement {
    let judgement = elementwise(outputs, targets, images, |x, t| {
        let value = x.max(0.0) - x * t + (-x.abs()).exp().ln_1p();
        // `max` passes over NaN.
        let value = if x.is_nan() { x } else { value };
        (value, 1.0 / (1.0 + (-x).exp()) - t)
    });
    let right = |&(&x, &t): &(&f32, &f32)| !x.is_nan() && (x > 0.0) == (t > 0.5);
    let right = outputs.iter().zip(targets).filter(right).count();
    Judgement { answers: Some(Answers { right, of: outputs.len() }), ..judgement }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_hand_arithmetic() {
        // σ(0) = 1/2, σ(ln 3) = 3/4.
        let judged = judge(&[0.0, 3.0_f32.ln()], &[1.0, 0.0], 1);
        let expected = (2.0_f64.ln() + 4.0_f64.ln()) / 2.0;
        assert!((judged.sum - expected).abs() < 1e-6, "{} instead of {expected}", judged.sum);
        assert!((judged.gradient[0] + 0.25).abs() < 1e-6 && (judged.gradient[1] - 0.375).abs() < 1e-6);
        assert_eq!(judged.answers, Some(Answers { right: 0, of: 2 }));
    }

    #[test]
    fn great_scores_are_neither_infinite_nor_lost() {
        let judged = judge(&[1000.0, -1000.0, 1000.0], &[1.0, 0.0, 0.0], 3);
        assert_eq!(judged.sum, 1000.0);
        assert_eq!(judged.answers, Some(Answers { right: 2, of: 3 }));
        assert!(!judge(&[f32::NAN], &[1.0], 1).sum.is_finite());
        assert_eq!(judge(&[f32::NAN], &[0.0], 1).answers, Some(Answers { right: 0, of: 1 }));
    }
}
