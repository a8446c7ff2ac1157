use super::super::Sign;
use super::*;

fn resize(scales: &[f32]) -> TestNode {
    node("Resize").input(flows("N 8 5 5")).no_input().input(floats(scales))
}

#[test]
fn scaled_sizes_are_rounded_down() {
    check_shapes(&[
        (resize(&[1.0, 1.0, 2.0, 2.0]), "N 8 10 10"),
        (resize(&[1.0, 1.0, 0.5, 0.7]), "N 8 2 3"),
        (resize(&[1.0, 1.0, 2.0, 2.0]).string("mode", "cubic"), "N 8 10 10"),
        (resize(&[2.0, 0.5]).ints("axes", &[2, -1]).opset(18), "N 8 10 2"),
        (node("Resize").opset(10).input(flows("N 8 5 5")).input(floats(&[1.0, 1.0, 2.0, 2.0])), "N 8 10 10"),
        (node("Resize").input(flows("N 8 5 5")).no_input().input(flows("4")), "? ? ? ?"),
        (node("Resize").input(unranked()).no_input().input(floats(&[1.0])), "no rank"),
        (node("Upsample").opset(7).floats("scales", &[1.0, 1.0, 2.0, 3.0]).input(flows("N 8 5 5")), "N 8 10 15"),
        (node("Upsample").opset(9).input(flows("N 8 5 5")).input(floats(&[1.0, 1.0, 2.0, 3.0])), "N 8 10 15"),
    ]);
}

#[test]
fn sizes_are_taken_as_they_are() {
    let sizes = |sizes: Fact| node("Resize").input(flows("N 8 5 5")).no_input().no_input().input(sizes);
    check_shapes(&[
        (sizes(integers(&[1, 8, 7, 9])), "1 8 7 9"),
        (sizes(computed("N 8 ? 9")), "N 8 ? 9"),
        (
            node("Resize").input(flows("N 8 5 5")).no_input().input(floats(&[])).input(integers(&[1, 8, 7, 9])),
            "1 8 7 9",
        ),
        (sizes(integers(&[7, 9])).ints("axes", &[2, 3]).opset(18), "N 8 7 9"),
        (sizes(integers(&[7, 9])), "refused: 2 sizes are given for 4 axes"),
        (sizes(integers(&[1, 8, -7, 9])), "refused: the shape holds -7, below zero"),
    ]);
}

#[test]
fn resizes_that_can_not_be_followed_are_refused() {
    check_shapes(&[
        (resize(&[1.0, 1.0]), "refused: 2 scales are given for 4 axes"),
        (resize(&[1.0, 1.0, 0.0, 2.0]), "refused: the scale of axis 2 is 0, a number above 0 is needed"),
        (resize(&[1.0, 1.0, f32::NAN, 2.0]), "refused: the scale of axis 2 is NaN, a number above 0 is needed"),
        (resize(&[1.0, 1.0, 1e10, 2.0]), "refused: axis 2 would grow to 50000000000"),
        (resize(&[1.0; 4]).string("mode", "area"), "refused: `mode` is `area`, which opset 13 does not define"),
        (
            resize(&[1.0; 4]).string("coordinate_transformation_mode", "tf_crop_and_resize"),
            "refused: `coordinate_transformation_mode` is `tf_crop_and_resize`",
        ),
        (
            resize(&[1.0; 4]).opset(18).string("keep_aspect_ratio_policy", "not_larger"),
            "refused: `keep_aspect_ratio_policy` is `not_larger`, only `stretch` is followed",
        ),
        (resize(&[1.0; 4]).input(integers(&[1, 8, 7, 9])), "refused: both scales and sizes are given"),
        (node("Upsample").opset(7).input(flows("N 8 5 5")), "refused: `scales` is absent"),
    ]);
}

#[test]
fn cubic_weights_may_be_negative() {
    assert_eq!(resize(&[1.0; 4]).sign(), Sign::Kept);
    assert_eq!(resize(&[1.0; 4]).string("mode", "linear").sign(), Sign::Kept);
    assert_eq!(resize(&[1.0; 4]).string("mode", "cubic").sign(), Sign::Free);
}

#[test]
fn expand_and_tile_repeat() {
    let expand = |x: &str, shape: &str| node("Expand").input(flows(x)).input(computed(shape));
    let tile = |x: &str, repeats: &str| node("Tile").input(flows(x)).input(computed(repeats));
    check_shapes(&[
        (expand("3 1", "2 1 6"), "2 3 6"),
        (expand("N 1", "1 4"), "N 4"),
        (expand("1 4", "N 1"), "N 4"),
        (expand("3 1", "? 6"), "3 6"),
        (expand("3 1", "2 6"), "refused: sizes 3 and 2 do not broadcast"),
        (expand("3 1", "-1 6"), "refused: the shape holds -1, below zero"),
        (node("Expand").input(flows("3")).input(flows("?")), "no rank"),
        (tile("N 2 3", "1 2 3"), "N 4 9"),
        (tile("N 1", "2 M"), "? M"),
        (node("Tile").input(flows("N 2")).input(flows("?")), "? ?"),
        (tile("N 2", "2"), "refused: 1 repeats are given for 2 axes"),
        (tile("4 2", "1 -1"), "refused: an axis of 2 can't be repeated -1 times"),
        (tile("4 2", "1 9223372036854775807"), "4 18446744073709551614"),
        (tile("4 4", "1 9223372036854775807"), "refused: an axis of 4 can't be repeated 9223372036854775807 times"),
    ]);
    assert_eq!(node("Expand").input(computed("7")).input(integers(&[3])).content(), Some("7 7 7".to_owned()));
}
