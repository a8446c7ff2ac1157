use super::super::Sign;
use super::super::norm::BatchNorm;
use super::*;

fn batch_norm(x: &str, channels: usize) -> TestNode {
    let node = node("BatchNormalization").input(flows(x));
    (0..4).fold(node, |node, _| node.input(filled(&[channels], 1.0)))
}

#[test]
fn batch_norm_has_the_defaults_of_onnx() {
    assert_eq!(batch_norm("N 8 4 4", 8).with(BatchNorm::read), Ok(BatchNorm { epsilon: 1e-5, momentum: 0.9 }));
    let given = batch_norm("N 8 4 4", 8).float("epsilon", 1e-3).float("momentum", 0.99);
    assert_eq!(given.with(BatchNorm::read), Ok(BatchNorm { epsilon: 1e-3, momentum: 0.99 }));
}

#[test]
fn batch_norm_of_every_opset_keeps_the_shape() {
    check_shapes(&[
        (batch_norm("N 8 4 4", 8), "N 8 4 4"),
        (batch_norm("N ? 4 4", 8), "N 8 4 4"),
        (batch_norm("N 8", 8), "N 8"),
        (batch_norm("N 8 4 4", 8).opset(1).int("is_test", 1).ints("consumed_inputs", &[0; 5]), "N 8 4 4"),
        (batch_norm("N 8 4 4", 8).opset(6).int("is_test", 1).int("spatial", 1), "N 8 4 4"),
        (batch_norm("N 8 4 4", 8).opset(7), "N 8 4 4"),
        (batch_norm("N 8 4 4", 8).opset(9), "N 8 4 4"),
        (batch_norm("N 8 4 4", 8).opset(15).int("training_mode", 0), "N 8 4 4"),
    ]);
}

#[test]
fn batch_norm_in_training_is_refused() {
    check_shapes(&[
        (
            batch_norm("N 8 4 4", 8).opset(14).int("training_mode", 1),
            "refused: `training_mode` is 1: the node normalises by the statistics of the batch",
        ),
        (
            batch_norm("N 8 4 4", 8).opset(6),
            "refused: `is_test` is 0: the node normalises by the statistics of the batch",
        ),
        (
            batch_norm("N 8 4 4", 8).opset(7).int("spatial", 0),
            "refused: `spatial` is 0: the node normalises each activation by itself",
        ),
        (
            batch_norm("N 8 4 4", 8).opset(9).outputs(5),
            "refused: the statistics of the batch are asked for, as in training",
        ),
    ]);
}

#[test]
fn batch_norm_of_other_channels_is_refused() {
    check_shapes(&[
        (batch_norm("N 8 4 4", 4), "refused: the input has 8 channels, input 1 is for 4"),
        (batch_norm("8", 8), "refused: the input has no channel axis"),
        (
            node("BatchNormalization").input(flows("N 8")).input(flows("8 1")),
            "refused: input 1 has 2 axes, 1 is needed",
        ),
        (node("BatchNormalization").input(flows("N 8")), "refused: input 1 is absent"),
    ]);
}

#[test]
fn other_norms_keep_the_shape() {
    let layer = |axis: i64| {
        node("LayerNormalization").opset(17).int("axis", axis).input(flows("N 4 6")).input(filled(&[6], 1.0))
    };
    let group = |opset: i64, groups: i64, scale: usize| {
        node("GroupNormalization")
            .opset(opset)
            .int("num_groups", groups)
            .input(flows("N 8 4 4"))
            .input(filled(&[scale], 1.0))
            .input(filled(&[scale], 0.0))
    };
    let one = |op: &str| node(op).input(flows("N 8 4 4"));
    check_shapes(&[
        (one("InstanceNormalization").input(flows("8")).input(flows("8")), "N 8 4 4"),
        (
            one("InstanceNormalization").input(flows("8")).input(flows("4")),
            "refused: the input has 8 channels, input 2 is for 4",
        ),
        (layer(-1), "N 4 6 | N 4 1 | N 4 1"),
        (layer(1), "N 4 6 | N 1 1 | N 1 1"),
        (layer(3), "refused: axis 3 is outside a tensor of 3 axes"),
        (group(18, 2, 2), "N 8 4 4"),
        (group(21, 2, 8), "N 8 4 4"),
        (group(21, 3, 8), "refused: 8 channels are no multiple of 3 groups"),
        (group(21, 2, 2), "refused: the input has 8 channels, input 1 is for 2"),
        (group(21, 0, 8), "refused: `num_groups` is not above 0"),
        (one("LRN").int("size", 5), "N 8 4 4"),
        (one("LRN"), "refused: `size` is not above 0"),
        (one("LpNormalization"), "N 8 4 4"),
        (one("LpNormalization").int("p", 3), "refused: `p` is 3, ONNX defines 1 and 2"),
        (one("LpNormalization").int("axis", 4), "refused: axis 4 is outside a tensor of 4 axes"),
    ]);
}

#[test]
fn only_divisions_by_an_energy_keep_the_sign() {
    assert_eq!(batch_norm("N 8 4 4", 8).sign(), Sign::Free);
    assert_eq!(node("LRN").int("size", 5).input(flows("N 8 4 4")).sign(), Sign::Kept);
    assert_eq!(node("LRN").int("size", 5).float("alpha", -1.0).input(flows("N 8 4 4")).sign(), Sign::Free);
}
