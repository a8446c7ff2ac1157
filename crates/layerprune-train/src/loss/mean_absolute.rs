use super::{Judgement, elementwise};

/// `|x - t|` of each output `x` with target `t`, as PyTorch's `l1_loss`.
pub(crate) fn judge(outputs: &[f32], targets: &[f32], images: usize) -> Judgement {
    let sign = |x: f64| if x == 0.0 { 0.0 } else { x.signum() };
    elementwise(outputs, targets, images, |x, t| ((x - t).abs(), sign(x - t)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_hand_arithmetic() {
        let judged = judge(&[1.0, 2.0, 0.0, -3.0], &[0.0; 4], 2);
        assert_eq!((judged.sum, judged.answers), (3.0, None));
        assert_eq!(judged.gradient, [0.25, 0.25, 0.0, -0.25]);
    }
}
