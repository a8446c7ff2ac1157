use super::super::Sign;
use super::super::conv::Padding;
use super::super::pool::Pool;
use super::*;

fn pool(op: &str, x: &str, kernel: &[i64]) -> TestNode {
    node(op).ints("kernel_shape", kernel).input(flows(x))
}

#[test]
fn pool_has_the_defaults_of_onnx() {
    let read = pool("AveragePool", "N 8 8 8", &[3, 2]).with(Pool::read).unwrap();
    assert_eq!((read.window.kernel, read.window.strides), (vec![3, 2], vec![1, 1]));
    assert_eq!((read.window.dilations, read.window.padding), (vec![1, 1], Padding::Explicit(vec![(0, 0); 2])));
    assert_eq!((read.ceil, read.count_padding), (false, false));
}

#[test]
fn pooled_sizes_are_those_of_onnx() {
    let max = |kernel: &[i64]| pool("MaxPool", "N 8 32 32", kernel);
    let both = |shape: &str| format!("{shape} | {shape}");
    let cases = [
        (max(&[2, 2]).ints("strides", &[2, 2]), "N 8 16 16"),
        (max(&[3, 3]), "N 8 30 30"),
        (max(&[3, 3]).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]), "N 8 16 16"),
        (max(&[3, 3]).ints("strides", &[2, 2]).ints("pads", &[0, 0, 1, 1]), "N 8 16 16"),
        (max(&[5, 5]).ints("pads", &[2, 2, 2, 2]), "N 8 32 32"),
        (max(&[3, 3]).ints("strides", &[2, 2]), "N 8 15 15"),
        (max(&[3, 3]).ints("strides", &[2, 2]).int("ceil_mode", 1), "N 8 16 16"),
        (max(&[2, 2]).ints("dilations", &[3, 3]), "N 8 29 29"),
        (max(&[3, 3]).ints("strides", &[3, 3]).string("auto_pad", "SAME_UPPER"), "N 8 11 11"),
        (max(&[3, 3]).ints("strides", &[3, 3]).string("auto_pad", "SAME_LOWER"), "N 8 11 11"),
        (max(&[3, 3]).ints("strides", &[3, 3]).string("auto_pad", "VALID"), "N 8 10 10"),
        (max(&[3, 3]).string("auto_pad", "NOTSET").ints("pads", &[1, 1, 1, 1]), "N 8 32 32"),
        (pool("AveragePool", "N 8 7 7", &[7, 7]).int("count_include_pad", 1), "N 8 1 1"),
        (pool("LpPool", "N 8 7", &[2]), "N 8 6"),
        (pool("MaxPool", "N 8 H W", &[3, 3]).ints("pads", &[1, 1, 1, 1]), "N 8 H W"),
        (pool("MaxPool", "N 8 H W", &[2, 2]).ints("strides", &[2, 2]), "N 8 ? ?"),
    ];
    for (node, shape) in cases {
        assert_eq!(node.shapes(), both(shape), "{:?}", node.proto.attribute);
    }
    assert_eq!(node("MaxPool").ints("kernel_shape", &[2, 2]).input(unranked()).shapes(), both("? ? ? ?"));
}

#[test]
fn a_last_window_that_starts_in_the_padding_is_left_out() {
    let ceil = pool("MaxPool", "1 1 2 2", &[1, 1]).ints("strides", &[2, 2]).int("ceil_mode", 1);
    assert_eq!(ceil.shapes(), "1 1 1 1 | 1 1 1 1");
    let padded = pool("AveragePool", "1 1 4 4", &[3, 3]).ints("strides", &[2, 2]).ints("pads", &[1; 4]);
    assert_eq!(padded.int("ceil_mode", 1).shapes(), "1 1 3 3 | 1 1 3 3");
}

#[test]
fn pools_that_do_not_fit_are_refused() {
    check_shapes(&[
        (node("MaxPool").input(flows("N 8 4 4")), "refused: `kernel_shape` is absent"),
        (pool("MaxPool", "N 8 4 4", &[2]), "refused: the input has 4 axes, the window is for 3"),
        (pool("MaxPool", "N 8 4 4", &[0, 2]), "refused: the kernel is [0, 2], sizes above 0 are needed"),
        (pool("MaxPool", "N 8 4 4", &[-1, 2]), "refused: `kernel_shape` is [-1, 2], sizes above 0 are needed"),
        (
            pool("MaxPool", "N 8 4 4", &[2, 2]).ints("strides", &[0, 1]),
            "refused: `strides` is [0, 1], 2 numbers above 0 are needed",
        ),
        (pool("MaxPool", "N 8 4 4", &[2, 2]).ints("pads", &[1, 1]), "refused: `pads` is [1, 1], 4 sizes are needed"),
        (
            pool("MaxPool", "N 8 4 4", &[2, 2]).string("auto_pad", "SAME"),
            "refused: `auto_pad` is `SAME`, which ONNX does not define",
        ),
        (pool("MaxPool", "N 8 4 4", &[5, 5]), "refused: a window of 5 does not fit into 4 with padding 0 and 0"),
    ]);
}

#[test]
fn global_pools_leave_one_element_per_channel() {
    check_shapes(&[
        (node("GlobalAveragePool").input(flows("N 8 H W")), "N 8 1 1"),
        (node("GlobalMaxPool").input(flows("N 8 4")), "N 8 1"),
        (node("GlobalLpPool").int("p", 2).input(flows("N 8 4 4 4")), "N 8 1 1 1"),
        (node("GlobalAveragePool").input(unranked()), "no rank"),
        (node("GlobalAveragePool").input(flows("N 8")), "refused: the input has 2 axes, 3 or more are needed"),
    ]);
}

#[test]
fn a_max_pool_keeps_the_sign_where_every_window_touches_the_input() {
    let padded = |pads: &[i64]| pool("MaxPool", "N 8 8 8", &[2, 2]).ints("pads", pads).sign();
    assert_eq!(padded(&[1, 1, 1, 1]), Sign::Kept);
    assert_eq!(padded(&[2, 0, 0, 0]), Sign::Free);
    assert_eq!(pool("MaxPool", "N 8 8 8", &[2, 2]).ints("dilations", &[2, 2]).sign(), Sign::Free);
    assert_eq!(pool("AveragePool", "N 8 8 8", &[2, 2]).sign(), Sign::Kept);
    assert_eq!(node("GlobalAveragePool").input(flows("N 8 4 4")).sign(), Sign::Kept);
}
