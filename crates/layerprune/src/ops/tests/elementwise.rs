use super::super::Sign::{Free, Kept, NonNegative};
use super::super::elementwise::Alignment;
use super::*;

fn pair(op: &str, a: Fact, b: Fact) -> TestNode {
    node(op).input(a).input(b)
}

#[test]
fn shapes_broadcast_as_numpys_do() {
    let add = |a: &str, b: &str| pair("Add", flows(a), flows(b));
    check_shapes(&[
        (add("N 8 4 4", "N 8 4 4"), "N 8 4 4"),
        (add("N 8 4 4", "8 1 1"), "N 8 4 4"),
        (add("8 1 1", "N 8 4 4"), "N 8 4 4"),
        (add("N 8 4 4", ""), "N 8 4 4"),
        (add("N 1", "1 M"), "N M"),
        (add("N 4", "M 4"), "? 4"),
        (add("N 4", "? 4"), "? 4"),
        (add("N 4", "2 4"), "2 4"),
        (add("? 4", "1 4"), "? 4"),
        (add("3 4", "2 4"), "refused: sizes 3 and 2 do not broadcast"),
        (pair("Add", flows("3 4"), unranked()), "no rank"),
        (node("Add").input(flows("1")).no_input(), "refused: input 1 is absent"),
        (node("Sum").input(flows("N 4")), "N 4"),
        (node("Max").input(flows("N 1")).input(flows("4")).input(flows("1")), "N 4"),
        (node("Sum"), "refused: there are no inputs"),
        (node("Where").input(flows("4")).input(flows("N 1")).input(flows("")), "N 4"),
        (pair("Where", flows("4"), flows("4")), "refused: 2 inputs are given, 3 are needed"),
    ]);
}

#[test]
fn old_opsets_align_by_axis() {
    let add = |b: &str| pair("Add", flows("N 8 4 4"), flows(b)).opset(6);
    check_shapes(&[
        (add("N 8 4 4"), "N 8 4 4"),
        (add("? 8 ? 4"), "N 8 4 4"),
        (add("8").int("broadcast", 1).int("axis", 1), "N 8 4 4"),
        (add("4 4").int("broadcast", 1), "N 8 4 4"),
        (add("1").int("broadcast", 1), "N 8 4 4"),
        (add("").int("broadcast", 1).ints("consumed_inputs", &[0, 0]), "N 8 4 4"),
        (add("8"), "refused: inputs of 4 and 1 axes do not meet in opset 6"),
        (add("8").int("broadcast", 1), "refused: sizes 4 and 8 differ where they must be equal"),
        (
            add("4 4").int("broadcast", 1).int("axis", 3),
            "refused: an input of 2 axes does not fit into 4 from axis 3 on",
        ),
        (
            pair("Add", flows("8"), flows("N 8")).opset(6).int("broadcast", 1),
            "refused: an input of 2 axes does not fit into 1",
        ),
        (pair("Add", flows("8"), flows("8")).int("broadcast", 1), "refused: attribute `broadcast` is none of opset 13"),
        (pair("Max", flows("N 8"), flows("8")).opset(7), "refused: inputs of 2 and 1 axes do not meet in opset 7"),
        (pair("Max", flows("N 8"), flows("8")).opset(8), "N 8"),
    ]);
}

#[test]
fn alignment_says_which_output_axis_an_input_starts_at() {
    let offsets = |node: TestNode| node.with(Alignment::read).map(|found| found.map(|found| found.offsets));
    assert_eq!(offsets(pair("Mul", flows("N 8 4 4"), flows("8 1 1"))), Ok(Some(vec![0, 1])));
    assert_eq!(offsets(pair("Mul", flows("8 1 1"), flows("N 8 4 4"))), Ok(Some(vec![1, 0])));
    let old = pair("Mul", flows("N 8 4 4"), flows("8")).opset(6).int("broadcast", 1).int("axis", 1);
    assert_eq!(offsets(old), Ok(Some(vec![0, 1])));
    assert_eq!(offsets(pair("Mul", flows("8"), unranked())), Ok(None));
}

#[test]
fn integers_are_calculated() {
    let content = |op: &str, a: &str, b: &str| pair(op, computed(a), computed(b)).content();
    let is = |text: &str| Some(text.to_owned());
    assert_eq!(content("Add", "1 N ?", "2 0 1"), is("3 N ?"));
    assert_eq!(content("Sub", "1 N", "2 0"), is("-1 N"));
    assert_eq!(content("Sub", "0", "N"), is("?"));
    assert_eq!(content("Mul", "3 N 1", "2 1 N"), is("6 N N"));
    assert_eq!(content("Div", "-7 N 1", "2 1 0"), is("-3 N ?"));
    assert_eq!(content("Max", "3 N", "2 N"), is("3 N"));
    assert_eq!(content("Min", "3 N", "2 M"), is("2 ?"));
    assert_eq!(content("Mul", "9223372036854775807", "2"), is("?"));
    assert_eq!(content("Mul", "1 2 3", "2"), is("2 4 6"));
    assert_eq!(content("Equal", "1 N -1 N", "1 -1 2 5"), is("1 0 0 ?"));
    assert_eq!(content("Less", "1 2", "2 2"), is("1 0"));
    let chosen = node("Where").input(computed("1 0 ? ?")).input(computed("7 7 7 7")).input(computed("N N N 7"));
    assert_eq!(chosen.content(), is("7 N ? 7"));
    assert_eq!(pair("Add", flows("3"), flows("3")).content(), None);
}

#[test]
fn comparisons_give_booleans() {
    for op in ["Equal", "Greater", "Less", "And", "Or", "Xor"] {
        let facts = pair(op, flows("N 4"), flows("4")).infer().unwrap();
        assert_eq!((facts[0].data_type, shape_text(&facts[0])), (Some(DataType::Bool), "N 4".to_owned()), "{op}");
    }
    assert_eq!(pair("GreaterOrEqual", flows("1"), flows("1")).opset(16).shapes(), "1");
}

#[test]
fn a_stored_operand_decides_on_the_sign() {
    let with = |op: &str, element: f32| pair(op, flows("N 4"), filled(&[4], element)).sign();
    for op in ["Add", "Mul", "Min", "Sum", "Mean"] {
        assert_eq!((with(op, 1.0), with(op, -1.0)), (Kept, Free), "{op}");
    }
    assert_eq!((with("Max", 0.0), with("Max", -1.0)), (NonNegative, Kept));
    assert_eq!((with("Div", 2.0), with("Div", 0.0), with("Div", -2.0)), (Kept, Free, Free));
    assert_eq!((with("Pow", 2.0), with("Pow", 3.0), with("Pow", 0.5)), (NonNegative, Kept, Kept));
    assert_eq!((with("Sub", 1.0), with("Sub", -1.0)), (Free, Free));
    assert_eq!(pair("Add", flows("N 4"), flows("N 4")).sign(), Kept);
    assert_eq!(pair("Div", flows("N 4"), flows("N 4")).sign(), Free);
    assert_eq!(pair("Equal", flows("N 4"), flows("N 4")).sign(), NonNegative);
}

#[test]
fn a_square_is_never_negative() {
    let mut square = pair("Mul", flows("N 4"), flows("N 4"));
    square.inputs[0] = Some(flows("N 4"));
    assert_eq!(square.sign(), Kept);
    let sign = square.with(|call| {
        let mut node = call.node.clone();
        node.inputs[1] = node.inputs[0];
        (rule(call.graph, &node).unwrap().sign)(&Call { node: &node, ..call.clone() })
    });
    assert_eq!(sign, NonNegative);
}
