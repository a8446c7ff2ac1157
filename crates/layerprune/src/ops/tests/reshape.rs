use super::super::Sign;
use super::super::arrange::{block_size, depth_first, permutation};
use super::super::join::{Split, concat_axis};
use super::*;

fn reshape(x: &str, shape: &str) -> TestNode {
    node("Reshape").input(flows(x)).input(computed(shape))
}

#[test]
fn reshape_finds_all_that_follows_from_the_number_of_elements() {
    check_shapes(&[
        (reshape("N 64 1 1", "N -1"), "N 64"),
        (reshape("N 64 1 1", "0 -1"), "N 64"),
        (reshape("N 64 1 1", "-1 64"), "N 64"),
        (reshape("N 64 1 1", "1 64"), "1 64"),
        (reshape("N 64 1 1", "? 64"), "N 64"),
        (reshape("N 64 1 1", "N ?"), "N 64"),
        (reshape("N 64 1 1", "? ?"), "? ?"),
        (reshape("N 64 1 1", "-1 ?"), "? ?"),
        (reshape("? 64 1 1", "0 -1"), "? 64"),
        (reshape("? 64 1 1", "-1 64"), "? 64"),
        (reshape("N 16 4 4", "-1 256"), "N 256"),
        (reshape("N 16 4 4", "N 2 8 4 4"), "N 2 8 4 4"),
        (reshape("N 16 4 4", "0 2 -1 0 4"), "N 2 8 4 4"),
        (reshape("2 16 4 4", "-1 128"), "4 128"),
        (reshape("2 3", "-1"), "6"),
        (reshape("1 1", ""), ""),
        (reshape("N H 3", "N -1"), "N ?"),
        (node("Reshape").input(unranked()).input(computed("0 64 -1")), "? 64 ?"),
        (node("Reshape").input(flows("N 64 1 1")).input(flows("2")), "? ?"),
        (node("Reshape").input(flows("N 64 1 1")).input(flows("?")), "no rank"),
        (node("Reshape").opset(1).ints("shape", &[0, -1]).input(flows("N 4 2")), "N 8"),
        (node("Reshape").opset(14).int("allowzero", 1).input(flows("0 4")).input(integers(&[4, 0])), "4 0"),
    ]);
}

#[test]
fn reshape_to_another_number_of_elements_is_refused() {
    check_shapes(&[
        (reshape("2 3", "4 -1"), "refused: 2×3 does not divide into 4×?"),
        (reshape("2 3", "5"), "refused: 2×3 does not hold as many elements as 5"),
        (reshape("2 3", "-1 -1"), "refused: the shape holds -1 2 times"),
        (reshape("2 3", "-2"), "refused: the shape holds -2, below zero"),
        (reshape("2 3", "2 3 0"), "refused: the shape copies axis 2, the input has 2"),
        (reshape("N 3", "-9223372036854775808"), "refused: the shape holds -9223372036854775808, below zero"),
        (node("Reshape").opset(1).input(flows("2 3")), "refused: `shape` is absent"),
        (reshape("2 3", "6").ints("shape", &[6]), "refused: attribute `shape` is none of opset 13"),
        (node("Reshape").input(flows("2 3")), "refused: input 1 is absent"),
    ]);
}

#[test]
fn flatten_splits_the_axes_in_two() {
    check_shapes(&[
        (node("Flatten").input(flows("N 64 1 1")), "N 64"),
        (node("Flatten").input(flows("N 64 7 7")), "N 3136"),
        (node("Flatten").int("axis", 0).input(flows("2 3")), "1 6"),
        (node("Flatten").int("axis", 2).input(flows("2 3")), "6 1"),
        (node("Flatten").int("axis", -1).input(flows("2 3 4")), "6 4"),
        (node("Flatten").input(flows("N H 3")), "N ?"),
        (node("Flatten").input(unranked()), "? ?"),
        (node("Flatten").int("axis", 3).input(flows("2 3")), "refused: axis 3 is outside a tensor of 2 axes"),
    ]);
}

#[test]
fn squeeze_and_unsqueeze_read_axes_of_both_spellings() {
    check_shapes(&[
        (node("Squeeze").opset(11).ints("axes", &[2, -1]).input(flows("N 8 1 1")), "N 8"),
        (node("Squeeze").input(flows("N 8 1 1")).input(integers(&[2, 3])), "N 8"),
        (node("Squeeze").input(flows("2 1 3 1")), "2 3"),
        (node("Squeeze").input(flows("N 1")), "no rank"),
        (node("Squeeze").input(flows("N ? 1")).input(integers(&[1])), "N 1"),
        (node("Squeeze").input(flows("N 1")).input(flows("1")), "no rank"),
        (node("Squeeze").input(flows("N 8")).input(integers(&[1])), "refused: axis 1 has size 8, 1 is needed"),
        (node("Squeeze").input(flows("N 1")).input(integers(&[])), "refused: `axes` is empty"),
        (node("Squeeze").input(flows("N 1")).ints("axes", &[1]), "refused: attribute `axes` is none of opset 13"),
        (node("Unsqueeze").opset(11).ints("axes", &[0, 4]).input(flows("N 8 4")), "1 N 8 4 1"),
        (node("Unsqueeze").input(flows("N 8")).input(integers(&[-1, -2])), "N 8 1 1"),
        (node("Unsqueeze").input(flows("N 8")).input(flows("2")), "no rank"),
        (node("Unsqueeze").input(flows("N 8")), "refused: `axes` is absent"),
        (node("Unsqueeze").input(flows("N 8")).input(integers(&[0, 0])), "refused: axis 0 is named twice"),
        (node("Unsqueeze").input(flows("N 8")).input(integers(&[3])), "refused: axis 3 is outside a tensor of 3 axes"),
    ]);
}

#[test]
fn elements_survive_a_change_of_axes() {
    let is = |text: &str| Some(text.to_owned());
    let scalar = Fact::of_content(Vec::new(), vec![Element::Symbol("N".into())]);
    assert_eq!(node("Unsqueeze").input(scalar).input(integers(&[0])).content(), is("N"));
    assert_eq!(node("Reshape").input(computed("1 N")).input(integers(&[2, 1])).content(), is("1 N"));
    assert_eq!(node("Squeeze").input(computed("5")).input(integers(&[0])).content(), is("5"));
    assert_eq!(node("Transpose").input(computed("5 6")).content(), is("5 6"));
    assert_eq!(node("Concat").int("axis", 0).input(computed("N 3")).input(integers(&[-1])).content(), is("N 3 -1"));
    let unknown = Fact::new(Some(DataType::Int64), Some(dims("2")));
    assert_eq!(node("Concat").int("axis", 0).input(unknown).input(integers(&[4])).content(), is("? ? 4"));
}

#[test]
fn transpose_reverses_by_default() {
    check_shapes(&[
        (node("Transpose").input(flows("N 3 4")), "4 3 N"),
        (node("Transpose").ints("perm", &[0, 2, 1]).input(flows("N 3 4")), "N 4 3"),
        (node("Transpose").ints("perm", &[0, 2, 1]).input(unranked()), "? ? ?"),
        (node("Transpose").input(unranked()), "no rank"),
        (
            node("Transpose").ints("perm", &[0, 1]).input(flows("N 3 4")),
            "refused: `perm` is [0, 1], the input has 3 axes",
        ),
        (node("Transpose").ints("perm", &[0, 0]).input(flows("N 3")), "refused: axis 0 is named twice"),
        (
            node("Transpose").ints("perm", &[0, -1]).input(flows("N 3")),
            "refused: `perm` is [0, -1], the input has 2 axes",
        ),
    ]);
    assert_eq!(node("Transpose").with(|call| permutation(call, 3)), Ok(vec![2, 1, 0]));
}

#[test]
fn concat_adds_up_one_axis() {
    let concat = |axis: i64| node("Concat").int("axis", axis);
    check_shapes(&[
        (concat(1).input(flows("N 8 4 4")).input(flows("N 16 4 4")), "N 24 4 4"),
        (concat(-3).input(flows("N 8 4 4")).input(flows("? 16 4 H")), "N 24 4 4"),
        (concat(1).input(flows("N C 4")).input(flows("N 8 4")), "N ? 4"),
        (concat(1).input(flows("N C 4")), "N C 4"),
        (concat(1).input(flows("N 8 4")).input(unranked()), "N ? 4"),
        (concat(1).input(unranked()), "no rank"),
        (node("Concat").opset(1).input(flows("N 2")).input(flows("N 3")), "N 5"),
        (node("Concat").opset(4).input(flows("N 2")), "refused: `axis` is absent"),
        (
            concat(1).input(flows("2 8 4")).input(flows("3 8 4")),
            "refused: axis 0: sizes 2 and 3 differ where they must be equal",
        ),
        (concat(1).input(flows("2 8 4")).input(flows("2 8")), "refused: input 1 has 2 axes, others have 3"),
        (concat(2).input(flows("2 8")), "refused: axis 2 is outside a tensor of 2 axes"),
        (concat(0), "refused: there are no inputs"),
        (
            concat(0).input(flows(&i64::MAX.to_string())).input(flows(&i64::MAX.to_string())).input(flows("2")),
            "refused: the sizes add up to more than memory can address",
        ),
    ]);
    assert_eq!(concat(-1).with(|call| concat_axis(call, 4)), Ok(3));
    assert_eq!(concat(0).input(flows("1")).input(filled(&[1], -1.0)).sign(), Sign::Free);
    assert_eq!(concat(0).input(flows("1")).input(filled(&[1], 1.0)).sign(), Sign::Kept);
}

#[test]
fn split_reads_sizes_of_every_opset() {
    let split = |opset: i64, outputs: usize| node("Split").opset(opset).outputs(outputs).int("axis", 1);
    check_shapes(&[
        (split(2, 2).input(flows("N 8 4")), "N 4 4 | N 4 4"),
        (split(11, 2).ints("split", &[2, 6]).input(flows("N 8 4")), "N 2 4 | N 6 4"),
        (split(13, 2).input(flows("N 8 4")).input(integers(&[2, 6])), "N 2 4 | N 6 4"),
        (split(13, 2).input(flows("N ? 4")).input(integers(&[2, 6])), "N 2 4 | N 6 4"),
        (split(13, 2).input(flows("N 8 4")).input(flows("2")), "N ? 4 | N ? 4"),
        (split(13, 2).input(flows("N C 4")), "N ? 4 | N ? 4"),
        (split(18, 3).int("num_outputs", 3).input(flows("N 7")), "N 3 | N 3 | N 1"),
        (node("Split").outputs(2).input(flows("4 8")), "2 8 | 2 8"),
        (split(13, 2).input(unranked()), "no rank | no rank"),
        (split(13, 3).input(flows("N 8")), "refused: an axis of 8 does not split into 3 equal parts"),
        (
            split(13, 2).input(flows("N 8")).input(integers(&[2, 5])),
            "refused: the parts [2, 5] do not fill an axis of 8",
        ),
        (
            split(13, 3).input(flows("N 8")).input(integers(&[2, 6])),
            "refused: the parts are [2, 6], 3 sizes are needed",
        ),
        (
            split(13, 2).input(flows("N 8")).input(integers(&[-2, 10])),
            "refused: the parts are [-2, 10], 2 sizes are needed",
        ),
        (split(18, 2).input(flows("N 8")), "refused: `num_outputs` is 0, the node has 2"),
        (split(13, 2).ints("split", &[4, 4]).input(flows("N 8")), "refused: attribute `split` is none of opset 13"),
        (
            split(1, 2).input(flows("N 8")).input(integers(&[4, 4])),
            "refused: the sizes of the parts are an input in opset 1",
        ),
        (
            split(18, 5).int("num_outputs", 5).input(flows("N 6")),
            "refused: an axis of 6 does not split into 5 parts of 2",
        ),
    ]);
    let parts = split(13, 2).with(|call| Split::read(call, &dims("N 8")));
    assert_eq!(parts, Ok(Split { axis: 1, sizes: dims("4 4") }));
    assert_eq!(node("Split").outputs(2).input(computed("N 3 4 5")).content(), Some("N 3".to_owned()));
}

#[test]
fn blocks_move_between_channels_and_pixels() {
    let depth = |x: &str, block: i64| node("DepthToSpace").int("blocksize", block).input(flows(x));
    let space = |x: &str, block: i64| node("SpaceToDepth").int("blocksize", block).input(flows(x));
    check_shapes(&[
        (depth("N 8 2 3", 2), "N 2 4 6"),
        (depth("N 8 H W", 2), "N 2 ? ?"),
        (depth("N 8 H W", 1), "N 8 H W"),
        (space("N 2 4 6", 2), "N 8 2 3"),
        (node("SpaceToDepth").int("blocksize", 2).input(unranked()), "? ? ? ?"),
        (depth("N 6 2 3", 2), "refused: size 6 does not divide into blocks"),
        (space("N 2 5 6", 2), "refused: size 5 does not divide into blocks"),
        (space("N 2 4", 2), "refused: the input has 3 axes, 4 are needed"),
        (depth("N 8 2 3", 0), "refused: `blocksize` is 0, a size above 0 is needed"),
        (depth("N 8 2 3", 2).string("mode", "RDC"), "refused: `mode` is `RDC`, which ONNX does not define"),
    ]);
    assert_eq!(depth("N 8 2 3", 2).with(block_size), Ok(2));
    assert_eq!(depth("N 8 2 3", 2).with(depth_first), Ok(true));
    assert_eq!(depth("N 8 2 3", 2).string("mode", "CRD").with(depth_first), Ok(false));
}
