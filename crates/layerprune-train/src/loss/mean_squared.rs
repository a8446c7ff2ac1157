use super::{Judgement, elementwise};

/// `(x - t)²` of each output `x` with target `t`, as PyTorch's `mse_loss`.
pub(crate) fn judge(outputs: &[f32], targets: &[f32], images: usize) -> Judgement {
    elementwise(outputs, targets, images, |x, t| ((x - t) * (x - t), 2.0 * (x - t)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_hand_arithmetic() {
        // Two images of two numbers: the means over each image are 2.5 and 4.5.
        let judged = judge(&[1.0, 2.0, 0.0, -3.0], &[0.0, 0.0, 0.0, 0.0], 2);
        assert_eq!((judged.sum, judged.answers), (7.0, None));
        assert_eq!(judged.gradient, [0.5, 1.0, 0.0, -1.5]);
    }
}
