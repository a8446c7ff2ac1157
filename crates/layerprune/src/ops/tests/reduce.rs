use super::super::Sign;
use super::super::reduce::Reduce;
use super::*;

fn reduce(op: &str, opset: i64) -> TestNode {
    node(op).opset(opset).input(flows("N 8 4 4"))
}

#[test]
fn axes_are_read_of_both_spellings() {
    check_shapes(&[
        (reduce("ReduceMean", 13), "1 1 1 1"),
        (reduce("ReduceMean", 13).int("keepdims", 0), ""),
        (reduce("ReduceMean", 13).ints("axes", &[2, 3]), "N 8 1 1"),
        (reduce("ReduceMean", 1).ints("axes", &[-1, -2]).int("keepdims", 0), "N 8"),
        (reduce("ReduceMean", 18).input(integers(&[2, 3])), "N 8 1 1"),
        (reduce("ReduceMean", 18).input(integers(&[])), "1 1 1 1"),
        (reduce("ReduceMean", 18).int("noop_with_empty_axes", 1), "N 8 4 4"),
        (reduce("ReduceMean", 18).input(flows("2")), "? ? ? ?"),
        (reduce("ReduceMean", 18).input(flows("2")).int("keepdims", 0), "no rank"),
        (reduce("ReduceSum", 13).input(integers(&[1])), "N 1 4 4"),
        (reduce("ReduceSum", 11).ints("axes", &[1]), "N 1 4 4"),
        (node("ReduceMax").input(unranked()), "no rank"),
        (reduce("ReduceMean", 13).ints("axes", &[4]), "refused: axis 4 is outside a tensor of 4 axes"),
        (reduce("ReduceMean", 13).ints("axes", &[1, -3]), "refused: axis 1 is named twice"),
        (reduce("ReduceMean", 13).ints("axes", &[0; 5]), "refused: 5 axes are named of a tensor of 4 axes"),
        (reduce("ReduceMean", 18).ints("axes", &[2]), "refused: attribute `axes` is none of opset 18"),
        (reduce("ReduceSum", 13).ints("axes", &[2]), "refused: attribute `axes` is none of opset 13"),
        (
            reduce("ReduceMean", 13).int("noop_with_empty_axes", 1),
            "refused: attribute `noop_with_empty_axes` is none of opset 13",
        ),
    ]);
    let read = reduce("ReduceMean", 13).ints("axes", &[-1]).with(|call| Reduce::read(call, 4));
    assert_eq!(read, Ok(Reduce { axes: Some(vec![3]), keep: true }));
}

#[test]
fn arguments_lose_their_axis() {
    check_shapes(&[
        (reduce("ArgMax", 13), "1 8 4 4"),
        (reduce("ArgMax", 13).int("axis", 1).int("keepdims", 0), "N 4 4"),
        (reduce("ArgMin", 13).int("axis", -1), "N 8 4 1"),
        (reduce("ArgMin", 13).int("axis", 4), "refused: axis 4 is outside a tensor of 4 axes"),
    ]);
    assert_eq!(reduce("ArgMax", 13).infer().unwrap()[0].data_type, Some(DataType::Int64));
}

#[test]
fn top_k_shortens_an_axis() {
    let top = |opset: i64| node("TopK").opset(opset).outputs(2).input(flows("N 10"));
    check_shapes(&[
        (top(1).int("k", 3), "N 3 | N 3"),
        (top(11).input(integers(&[3])), "N 3 | N 3"),
        (top(11).input(flows("1")), "N ? | N ?"),
        (top(11).int("axis", 0).input(integers(&[3])), "3 10 | 3 10"),
        (top(11).input(integers(&[11])), "refused: `k` is 11, the axis has 10"),
        (top(1), "refused: `k` is -1, below zero"),
        (top(11).int("k", 3).input(integers(&[3])), "refused: attribute `k` is none of opset 11"),
    ]);
}

#[test]
fn norms_are_never_negative_and_means_keep_the_sign() {
    for op in ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"] {
        assert_eq!(reduce(op, 13).sign(), Sign::Kept, "{op}");
    }
    for op in ["ReduceL1", "ReduceL2", "ReduceSumSquare"] {
        assert_eq!(reduce(op, 13).sign(), Sign::NonNegative, "{op}");
    }
    assert_eq!(reduce("ReduceLogSum", 13).sign(), Sign::Free);
}
