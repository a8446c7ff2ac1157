use super::super::Sign::{Free, Kept, NonNegative};
use super::*;

#[test]
fn constants_of_every_spelling_are_stored() {
    let plain = |node: TestNode| {
        let fact = node.infer().unwrap().remove(0);
        (fact.data_type, shape_text(&fact), fact.stored.is_some())
    };
    let is = |kind, shape: &str| (Some(kind), shape.to_owned(), true);
    assert_eq!(plain(node("Constant").tensor("value", tensor::from_f32(&[2], &[1.0, 2.0]))), is(DataType::Float, "2"));
    assert_eq!(plain(node("Constant").int("value_int", 7)), is(DataType::Int64, ""));
    assert_eq!(plain(node("Constant").ints("value_ints", &[7, 8])), is(DataType::Int64, "2"));
    assert_eq!(plain(node("Constant").float("value_float", 0.5)), is(DataType::Float, ""));
    assert_eq!(plain(node("Constant").floats("value_floats", &[0.5; 3])), is(DataType::Float, "3"));
    assert_eq!(node("Constant").ints("value_ints", &[7, -8]).content(), Some("7 -8".to_owned()));
    check_shapes(&[
        (node("Constant"), "refused: the constant has no value"),
        (
            node("Constant").string("value_string", "x"),
            "refused: attribute `value_string` of operator `Constant` is not known",
        ),
    ]);
}

#[test]
fn the_sign_of_a_constant_is_that_of_its_elements() {
    assert_eq!(node("Constant").floats("value_floats", &[0.0, 1.0]).sign(), NonNegative);
    assert_eq!(node("Constant").floats("value_floats", &[0.0, -1.0]).sign(), Free);
    assert_eq!(node("ConstantOfShape").input(integers(&[2])).sign(), NonNegative);
    let below = node("ConstantOfShape").tensor("value", tensor::from_f32(&[1], &[-1.0])).input(integers(&[2]));
    assert_eq!(below.sign(), Free);
}

#[test]
fn constant_of_shape_fills_a_computed_shape() {
    let ones = |sizes: Fact| node("ConstantOfShape").tensor("value", tensor::from_i64(&[1], &[1])).input(sizes);
    check_shapes(&[
        (node("ConstantOfShape").input(integers(&[2, 3])), "2 3"),
        (node("ConstantOfShape").input(computed("N 3 ?")), "N 3 ?"),
        (node("ConstantOfShape").input(computed("")), ""),
        (node("ConstantOfShape").input(flows("3")), "? ? ?"),
        (node("ConstantOfShape").input(flows("?")), "no rank"),
        (ones(integers(&[-1])), "refused: the shape holds -1, below zero"),
        (ones(flows("65")), "refused: a shape of 65 axes is too large"),
        (ones(flows("1 2")), "refused: the shape is given by a tensor of 2 axes, 1 is needed"),
        (
            node("ConstantOfShape").tensor("value", tensor::from_i64(&[2], &[1, 1])).input(integers(&[2])),
            "refused: `value` has 2 elements, 1 is needed",
        ),
    ]);
    assert_eq!(ones(integers(&[3])).content(), Some("1 1 1".to_owned()));
    assert_eq!(ones(integers(&[1 << 40, 1 << 20])).content(), None);
    assert_eq!(node("ConstantOfShape").input(integers(&[2])).infer().unwrap()[0].data_type, Some(DataType::Float));
}

#[test]
fn a_copy_keeps_all_that_is_known() {
    let fact = integers(&[3, 4]);
    assert_eq!(node("Identity").input(fact.clone()).infer(), Ok(vec![fact]));
    assert_eq!(node("Identity").input(flows("1")).sign(), Kept);
}

#[test]
fn cast_keeps_integers_that_fit() {
    let cast = |to: DataType| node("Cast").int("to", i64::from(to as i32)).input(computed("3 N 300 -1"));
    let is = |text: &str| Some(text.to_owned());
    assert_eq!(cast(DataType::Int64).content(), is("3 N 300 -1"));
    assert_eq!(cast(DataType::Int32).content(), is("3 N 300 -1"));
    assert_eq!(cast(DataType::Uint8).content(), is("3 ? ? ?"));
    assert_eq!(cast(DataType::Bool).content(), is("1 ? 1 1"));
    assert_eq!(cast(DataType::Float).content(), None);
    assert_eq!(cast(DataType::Float).infer().unwrap()[0].data_type, Some(DataType::Float));
    let named = node("Cast").opset(1).string("to", "float").input(flows("1"));
    assert_eq!(named.infer().unwrap()[0].data_type, Some(DataType::Float));
    let like = node("CastLike").opset(15).input(computed("3")).input(flows("1"));
    assert_eq!(like.infer().unwrap()[0].data_type, Some(DataType::Float));
    check_shapes(&[
        (node("Cast").input(flows("1")), "refused: `to` is 0, which is no type"),
        (node("Cast").int("to", 1 << 40).input(flows("1")), "refused: `to` is 1099511627776, which is no type"),
        (node("Cast").opset(1).string("to", "real").input(flows("1")), "refused: `to` is `real`, which is no type"),
    ]);
}

#[test]
fn dropout_is_a_copy_outside_training() {
    let yes_or_no = |training: i64| {
        let training = TensorProto {
            data_type: Some(DataType::Bool as i32),
            int32_data: vec![training as i32],
            ..Default::default()
        };
        node("Dropout").input(flows("N 4")).input(filled(&[], 0.5)).input(stored(training))
    };
    check_shapes(&[
        (node("Dropout").input(flows("N 4")), "N 4 | N 4"),
        (node("Dropout").opset(10).float("ratio", 0.5).outputs(2).input(flows("N 4")), "N 4 | N 4"),
        (node("Dropout").opset(6).int("is_test", 1).input(flows("N 4")), "N 4 | N 4"),
        (node("Dropout").opset(6).input(flows("N 4")), "refused: `is_test` is 0: the node drops elements at random"),
        (yes_or_no(0), "N 4 | N 4"),
        (yes_or_no(1), "refused: `training_mode` is true: the node drops elements at random"),
        (
            node("Dropout").input(flows("N 4")).no_input().input(flows("")),
            "refused: `training_mode` is computed while the model runs",
        ),
    ]);
    let mask = |opset: i64| node("Dropout").opset(opset).input(flows("1")).infer().unwrap()[1].data_type;
    assert_eq!((mask(7), mask(10)), (Some(DataType::Float), Some(DataType::Bool)));
}

#[test]
fn shape_and_size_are_followed() {
    let shape = |opset: i64| node("Shape").opset(opset).input(flows("N 3 ? 8"));
    let is = |text: &str| Some(text.to_owned());
    assert_eq!(shape(13).content(), is("N 3 ? 8"));
    assert_eq!(shape(15).int("start", 1).content(), is("3 ? 8"));
    assert_eq!(shape(15).int("start", -2).int("end", -1).content(), is("?"));
    assert_eq!(shape(15).int("start", 3).int("end", 1).content(), is(""));
    assert_eq!(shape(15).int("start", i64::MIN).int("end", i64::MAX).content(), is("N 3 ? 8"));
    assert_eq!(shape(13).int("start", 1).shapes(), "refused: attribute `start` is none of opset 13");
    assert_eq!(node("Shape").input(unranked()).shapes(), "?");
    assert_eq!(node("Size").input(flows("2 3 4")).content(), is("24"));
    assert_eq!(node("Size").input(flows("N 3")).content(), is("?"));
}

#[test]
fn a_range_counts_its_elements() {
    let scalar = |number: i64| stored(tensor::from_i64(&[], &[number]));
    let range = |a: i64, b: i64, c: i64| node("Range").input(scalar(a)).input(scalar(b)).input(scalar(c));
    assert_eq!(range(3, 10, 3).content(), Some("3 6 9".to_owned()));
    assert_eq!(range(10, 3, -3).content(), Some("10 7 4".to_owned()));
    assert_eq!(range(3, 3, 1).content(), Some(String::new()));
    assert_eq!(range(0, 3, 0).shapes(), "refused: the step of the range is 0");
    assert_eq!(range(i64::MIN, i64::MAX, 1).shapes(), "18446744073709551615");
    assert_eq!(node("Range").input(scalar(0)).input(flows("")).input(scalar(1)).shapes(), "?");
}
