use super::super::Sign::{Free, Kept, NonNegative};
use super::super::activation::{Clip, softmax_axis};
use super::*;

#[test]
fn shape_and_type_stay() {
    for op in ["Relu", "Sigmoid", "Tanh", "Elu", "LeakyRelu", "HardSigmoid", "Selu", "Softplus", "Exp", "Neg"] {
        assert_eq!(node(op).input(flows("N 16 ? 8")).shapes(), "N 16 ? 8", "{op}");
        assert_eq!(node(op).input(unranked()).shapes(), "no rank", "{op}");
    }
    let half = Fact::new(Some(DataType::Float16), Some(dims("1 2")));
    assert_eq!(node("Relu").input(half).infer().unwrap()[0].data_type, Some(DataType::Float16));
}

#[test]
fn old_spelling_of_relu_is_read() {
    check_shapes(&[(node("Relu").opset(1).ints("consumed_inputs", &[0]).input(flows("1 2")), "1 2")]);
}

#[test]
fn clip_reads_bounds_from_attributes_and_from_inputs() {
    let read = |node: TestNode| node.with(Clip::read);
    let clip = |min, max| Ok(Clip { min, max });
    assert_eq!(read(node("Clip").opset(6).input(flows("1"))), clip(None, None));
    assert_eq!(
        read(node("Clip").opset(6).float("min", 0.0).float("max", 6.0).input(flows("1"))),
        clip(Some(0.0), Some(6.0))
    );
    assert_eq!(read(node("Clip").opset(11).input(flows("1"))), clip(None, None));
    let zero = || filled(&[], 0.0);
    assert_eq!(read(node("Clip").input(flows("1")).input(zero()).input(filled(&[], 6.0))), clip(Some(0.0), Some(6.0)));
    assert_eq!(read(node("Clip").input(flows("1")).no_input().input(zero())), clip(None, Some(0.0)));
    assert_eq!(
        read(node("Clip").input(flows("1")).input(flows(""))),
        Err("`min` is computed while the model runs".to_owned())
    );
    assert_eq!(
        read(node("Clip").input(flows("1")).input(filled(&[2], 0.0))),
        Err("`min` has 2 elements, 1 is needed".to_owned())
    );
}

#[test]
fn clip_refuses_the_spelling_of_another_opset() {
    check_shapes(&[
        (node("Clip").float("min", 0.0).input(flows("1")), "refused: attribute `min` is none of opset 13"),
        (
            node("Clip").opset(6).input(flows("1")).input(filled(&[], 0.0)),
            "refused: bounds are attributes in opset 6, not inputs",
        ),
    ]);
}

#[test]
fn clip_is_never_negative_from_a_bound_of_zero_on() {
    let clip = |min: f32, max: f32| node("Clip").opset(6).float("min", min).float("max", max).input(flows("1")).sign();
    assert_eq!(clip(0.0, 6.0), NonNegative);
    assert_eq!(clip(-1.0, 6.0), Kept);
    assert_eq!(clip(-1.0, -0.5), Free);
    assert_eq!(node("Clip").input(flows("1")).sign(), Kept);
    assert_eq!(node("Clip").input(flows("1")).input(filled(&[], 0.0)).sign(), NonNegative);
    assert_eq!(node("Clip").input(flows("1")).input(flows("")).sign(), Free);
}

#[test]
fn signs_are_those_of_the_functions() {
    let sign = |op: &str| node(op).opset(24).input(flows("1 2")).sign();
    for op in ["Relu", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Exp", "Sqrt", "Abs"] {
        assert_eq!(sign(op), NonNegative, "{op}");
    }
    for op in ["LeakyRelu", "PRelu", "Elu", "Celu", "Selu", "HardSwish", "Tanh", "Gelu", "Mish", "Erf", "Floor"] {
        assert_eq!(sign(op), Kept, "{op}");
    }
    for op in ["Neg", "Log", "LogSoftmax", "Reciprocal"] {
        assert_eq!(sign(op), Free, "{op}");
    }
    assert_eq!(node("Tanh").input(filled(&[1], -1.0)).sign(), Free);
    assert_eq!(node("Selu").float("gamma", -1.0).input(flows("1")).sign(), Free);
}

#[test]
fn softmax_axis_has_the_default_of_its_opset() {
    let axis = |node: TestNode| node.with(softmax_axis);
    assert_eq!(axis(node("Softmax").opset(11)), Ok(1));
    assert_eq!(axis(node("Softmax").opset(13)), Ok(-1));
    assert_eq!(axis(node("Softmax").opset(13).int("axis", 2)), Ok(2));
    check_shapes(&[
        (node("Softmax").input(flows("N 10")), "N 10"),
        (node("Softmax").opset(11).input(flows("4")), "4"),
        (node("Softmax").int("axis", 2).input(flows("N 10")), "refused: axis 2 is outside a tensor of 2 axes"),
        (
            node("Softmax").int("axis", i64::MIN).input(flows("N 10")),
            "refused: axis -9223372036854775808 is outside a tensor of 2 axes",
        ),
    ]);
}

#[test]
fn slope_of_p_relu_fits_the_channels() {
    check_shapes(&[
        (node("PRelu").input(flows("N 8 4 4")).input(filled(&[8, 1, 1], 0.1)), "N 8 4 4"),
        (node("PRelu").opset(6).input(flows("N 8 4 4")).input(filled(&[8], 0.1)), "N 8 4 4"),
        (
            node("PRelu").input(flows("N 8 4 4")).input(filled(&[8], 0.1)),
            "refused: shape 8 does not broadcast to N×8×4×4",
        ),
        (
            node("PRelu").opset(6).input(flows("N 8 4 4")).input(filled(&[4], 0.1)),
            "refused: sizes 4 and 8 differ where they must be equal",
        ),
    ]);
}

#[test]
fn gelu_knows_two_formulas() {
    check_shapes(&[
        (node("Gelu").opset(20).input(flows("1 2")), "1 2"),
        (node("Gelu").opset(20).string("approximate", "tanh").input(flows("1 2")), "1 2"),
        (
            node("Gelu").opset(20).string("approximate", "fast").input(flows("1 2")),
            "refused: `approximate` is `fast`, which ONNX does not define",
        ),
        (node("Gelu").input(flows("1")), "refused: operator `Gelu` of opset 13 is not known (opsets 20 to 24 are)"),
    ]);
}
