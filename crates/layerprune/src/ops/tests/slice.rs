use super::super::Sign;
use super::super::pad::{Pad, PadMode};
use super::super::slice::{Cut, cuts, gather_axis};
use super::*;

fn slice(x: &str, starts: &[i64], ends: &[i64]) -> TestNode {
    node("Slice").input(flows(x)).input(integers(starts)).input(integers(ends))
}

#[test]
fn slices_are_those_of_numpy() {
    let far = i64::MAX;
    let axis = |node: TestNode, axis: i64| node.input(integers(&[axis]));
    check_shapes(&[
        (slice("4 8", &[1], &[3]), "2 8"),
        (slice("4 8", &[1, 0], &[far, -1]), "3 7"),
        (axis(slice("N 8", &[2], &[far]), 1), "N 6"),
        (axis(slice("N 8", &[-3], &[far]), -1), "N 3"),
        (axis(slice("N 8", &[0], &[100]), 1), "N 8"),
        (axis(slice("N 8", &[5], &[2]), 1), "N 0"),
        (axis(slice("N 8", &[0], &[far]), 1).input(integers(&[3])), "N 3"),
        (axis(slice("N 8", &[-1], &[i64::MIN]), 1).input(integers(&[-1])), "N 8"),
        (axis(slice("N 8", &[far], &[2]), 1).input(integers(&[-2])), "N 3"),
        (axis(slice("N 8", &[0], &[far]), 1).input(integers(&[i64::MAX])), "N 1"),
        (axis(slice("N 8", &[7], &[i64::MIN]), 1).input(integers(&[i64::MIN])), "N 1"),
        (axis(slice("N 8", &[0], &[far]), 0), "N 8"),
        (axis(slice("N 8", &[1], &[far]), 0), "? 8"),
        (axis(slice("N 8", &[0], &[2]), 0), "? 8"),
        (slice("0 8", &[0], &[far]).input(integers(&[0])).input(integers(&[-1])), "0 8"),
        (node("Slice").opset(9).ints("starts", &[1]).ints("ends", &[3]).input(flows("4 8")), "2 8"),
        (node("Slice").opset(1).ints("axes", &[1]).ints("starts", &[1]).ints("ends", &[3]).input(flows("4 8")), "4 2"),
        (node("Slice").input(flows("4 8")).input(flows("1")).input(integers(&[3])).input(integers(&[1])), "4 ?"),
        (node("Slice").input(flows("4 8")).input(flows("1")).input(integers(&[3])).input(flows("1")), "? ?"),
        (node("Slice").input(flows("4 N")).input(integers(&[0])).input(computed("N")).input(integers(&[1])), "4 N"),
        (node("Slice").input(unranked()).input(integers(&[0])).input(integers(&[1])), "no rank"),
    ]);
}

#[test]
fn slices_that_do_not_fit_are_refused() {
    check_shapes(&[
        (slice("4", &[0], &[1]).input(integers(&[0])).input(integers(&[0])), "refused: a step is 0"),
        (slice("4 8", &[0, 0], &[1]), "refused: `ends` has 1 elements, 2 axes are cut"),
        (slice("4", &[0, 0], &[1, 1]), "refused: 2 axes are cut of a tensor of 1 axes"),
        (slice("4 8", &[0, 0], &[1, 1]).input(integers(&[1, -1])), "refused: axis 1 is named twice"),
        (slice("4 8", &[0], &[1]).input(integers(&[2])), "refused: axis 2 is outside a tensor of 2 axes"),
        (node("Slice").opset(9).ints("ends", &[3]).input(flows("4 8")), "refused: `starts` is absent"),
        (slice("4", &[0], &[1]).ints("starts", &[0]), "refused: attribute `starts` is none of opset 13"),
    ]);
}

#[test]
fn elements_are_picked() {
    let is = |text: &str| Some(text.to_owned());
    let elements = || computed("N 3 4 5");
    assert_eq!(node("Slice").input(elements()).input(integers(&[2])).input(integers(&[4])).content(), is("4 5"));
    let backwards = node("Slice").input(elements()).input(integers(&[-1])).input(integers(&[i64::MIN]));
    assert_eq!(backwards.input(integers(&[0])).input(integers(&[-2])).content(), is("5 3"));
    let scalar = |number: i64| stored(tensor::from_i64(&[], &[number]));
    let gather = |index: Fact| node("Gather").input(elements()).input(index);
    assert_eq!((gather(scalar(0)).content(), gather(scalar(0)).shapes()), (is("N"), String::new()));
    assert_eq!(gather(integers(&[-1, 1])).content(), is("5 3"));
    assert_eq!(gather(computed("1 ?")).content(), is("3 ?"));
}

#[test]
fn gather_replaces_an_axis_by_those_of_the_indices() {
    let gather = |axis: i64, index: Fact| node("Gather").int("axis", axis).input(flows("N 8 4")).input(index);
    check_shapes(&[
        (gather(1, integers(&[0, 1])), "N 2 4"),
        (gather(-1, flows("2 3")), "N 8 2 3"),
        (gather(0, flows("")), "8 4"),
        (gather(0, unranked()), "no rank"),
        (gather(1, integers(&[8])), "refused: index 8 is outside an axis of 8"),
        (gather(1, integers(&[i64::MIN])), "refused: index -9223372036854775808 is outside an axis of 8"),
        (gather(3, integers(&[0])), "refused: axis 3 is outside a tensor of 3 axes"),
    ]);
    assert_eq!(gather(-2, integers(&[0])).with(|call| gather_axis(call, 3)), Ok(1));
}

#[test]
fn cuts_tell_which_elements_stay() {
    let read = slice("N 8", &[2], &[7]).input(integers(&[1])).input(integers(&[2])).with(|call| cuts(call, 2));
    let [cut]: [Cut; 1] = read.unwrap().unwrap().try_into().unwrap();
    assert_eq!((cut.axis, cut.taken(8)), (1, Some((2, 2, 3))));
}

#[test]
fn pad_reads_every_spelling() {
    let pads = |pads: &[i64]| node("Pad").input(flows("N 8 4 H")).input(integers(pads));
    check_shapes(&[
        (pads(&[0, 0, 1, 0, 0, 0, 2, 0]), "N 8 7 H"),
        (pads(&[0, 0, -1, 0, 0, 0, 0, 0]), "N 8 3 H"),
        (pads(&[0, 0, 0, 1, 0, 0, 0, 1]), "N 8 4 ?"),
        (pads(&[0; 8]).string("mode", "reflect"), "N 8 4 H"),
        (pads(&[0; 8]).string("mode", "wrap").opset(19), "N 8 4 H"),
        (pads(&[1, 2]).opset(18).no_input().input(integers(&[-2])), "N 8 7 H"),
        (node("Pad").opset(2).ints("pads", &[0, 1, 0, 1]).float("value", 1.0).input(flows("N 8")), "N 10"),
        (node("Pad").opset(1).ints("paddings", &[0, 1, 0, 1]).input(flows("N 8")), "N 10"),
        (node("Pad").input(flows("N 8")).input(flows("4")), "? ?"),
        (node("Pad").input(flows("4 8")).input(computed("0 ? 0 0")), "4 ?"),
        (pads(&[0; 8]).string("mode", "wrap"), "refused: `mode` is `wrap`, which opset 13 does not define"),
        (pads(&[0; 6]), "refused: 6 sizes are given for 4 axes"),
        (pads(&[0, -9, 0, 0, 0, 0, 0, 0]), "refused: an axis of 8 with padding -9 and 0 has size -1"),
        (node("Pad").opset(2).input(flows("N 8")), "refused: `pads` is absent"),
        (pads(&[0; 8]).float("value", 1.0), "refused: attribute `value` is none of opset 13"),
        (pads(&[1, 2]).no_input().input(integers(&[2])), "refused: axes are no input of opset 13"),
    ]);
    let read = pads(&[0, 0, 1, 0, 0, 0, 2, 0]).with(|call| Pad::read(call, 4)).unwrap();
    assert_eq!((read.mode, &read.pads[2]), (PadMode::Constant, &(Element::Known(1), Element::Known(2))));
}

#[test]
fn padding_with_a_number_below_zero_has_any_sign() {
    let pad = || node("Pad").input(flows("8")).input(integers(&[1, 1]));
    assert_eq!(pad().sign(), Sign::Kept);
    assert_eq!(pad().input(filled(&[], 0.0)).sign(), Sign::Kept);
    assert_eq!(pad().input(filled(&[], -1.0)).sign(), Sign::Free);
    assert_eq!(pad().input(flows("")).sign(), Sign::Free);
    assert_eq!(pad().input(filled(&[], -1.0)).string("mode", "edge").sign(), Sign::Kept);
    assert_eq!(node("Pad").opset(2).ints("pads", &[1, 1]).float("value", -1.0).input(flows("8")).sign(), Sign::Free);
}
