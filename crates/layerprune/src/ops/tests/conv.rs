use super::super::conv::{Conv, ConvTranspose, Padding};
use super::*;

fn conv(op: &str, x: &str, weight: &[usize]) -> TestNode {
    node(op).input(flows(x)).input(filled(weight, 0.5))
}

#[test]
fn conv_has_the_defaults_of_onnx() {
    let read = conv("Conv", "N 3 8 8", &[16, 3, 3, 3]).with(Conv::read).unwrap();
    assert_eq!((read.groups, read.filters, read.group_channels), (1, 16, 3));
    assert_eq!((read.window.kernel, read.window.strides, read.window.dilations), (vec![3, 3], vec![1, 1], vec![1, 1]));
    assert_eq!(read.window.padding, Padding::Explicit(vec![(0, 0), (0, 0)]));
}

#[test]
fn conv_sizes_are_those_of_onnx() {
    check_shapes(&[
        (conv("Conv", "N 3 32 32", &[16, 3, 3, 3]), "N 16 30 30"),
        (conv("Conv", "N 3 32 32", &[16, 3, 3, 3]).ints("pads", &[1; 4]), "N 16 32 32"),
        (conv("Conv", "N 3 32 32", &[16, 3, 3, 3]).ints("pads", &[1; 4]).ints("strides", &[2, 2]), "N 16 16 16"),
        (conv("Conv", "N 3 32 32", &[16, 3, 3, 3]).ints("dilations", &[2, 2]), "N 16 28 28"),
        (conv("Conv", "N 16 32 32", &[16, 1, 3, 3]).int("group", 16).ints("pads", &[1; 4]), "N 16 32 32"),
        (conv("Conv", "N 16 32 32", &[8, 16, 1, 1]).ints("strides", &[2, 2]), "N 8 16 16"),
        (conv("Conv", "N 3 9", &[4, 3, 3]), "N 4 7"),
        (conv("Conv", "N 3 7 7", &[4, 3, 2, 2]).string("auto_pad", "SAME_UPPER").ints("strides", &[2, 2]), "N 4 4 4"),
        (conv("Conv", "N ? H W", &[4, 3, 3, 3]).ints("pads", &[1; 4]), "N 4 H W"),
        (conv("Conv", "N ? H W", &[4, 3, 3, 3]), "N 4 ? ?"),
        (node("Conv").input(unranked()).input(filled(&[4, 3, 3, 3], 0.0)), "no rank"),
    ]);
}

#[test]
fn same_padding_puts_the_odd_one_where_its_name_says() {
    let pads = |mode: &str| {
        conv("Conv", "N 1 8 8", &[1, 1, 2, 2])
            .string("auto_pad", mode)
            .with(|call| Conv::read(call).map(|conv| conv.window.pads_for(0, 8)))
    };
    assert_eq!(pads("SAME_UPPER"), Ok((0, 1)));
    assert_eq!(pads("SAME_LOWER"), Ok((1, 0)));
    assert_eq!(pads("VALID"), Ok((0, 0)));
}

#[test]
fn conv_that_does_not_fit_is_refused() {
    let weight = &[16, 3, 3, 3];
    check_shapes(&[
        (conv("Conv", "N 4 8 8", weight), "refused: the input has 4 channels, the weight is for 3"),
        (conv("Conv", "N 3 8", weight), "refused: the input has 3 axes, the weight 4"),
        (conv("Conv", "N 3 8 8", weight).int("group", 0), "refused: `group` is not above 0"),
        (conv("Conv", "N 15 8 8", weight).int("group", 5), "refused: 16 filters are no multiple of 5 conv groups"),
        (
            conv("Conv", "N 3 8 8", weight).ints("kernel_shape", &[3, 5]),
            "refused: `kernel_shape` is [3, 5], the weight has [3, 3]",
        ),
        (
            conv("Conv", "N 3 8 8", weight).input(filled(&[8], 0.0)),
            "refused: the bias has 8 elements, the weight 16 filters",
        ),
        (conv("Conv", "N 3 8 8", weight).input(flows("16 1")), "refused: the bias has 2 axes, 1 is needed"),
        (
            node("Conv").input(flows("N 3 8 8")).input(flows("16 3 K K")),
            "refused: the weight has no fixed shape of 3 axes or more",
        ),
        (node("Conv").input(flows("N 3 8 8")).input(unranked()), "refused: the shape of the weight is not known"),
        (
            conv("Conv", "N 3 8 8", weight).ints("pads", &[-1, 0, 0, 0]),
            "refused: `pads` is [-1, 0, 0, 0], 4 sizes are needed",
        ),
        (
            conv("Conv", "N 3 8 8", weight).ints("dilations", &[i64::MAX, 1]),
            "refused: `dilations` is [9223372036854775807, 1], 2 numbers above 0 are needed",
        ),
    ]);
}

#[test]
fn multiply_adds_are_per_sample() {
    let plain = conv("Conv", "N 3 32 32", &[16, 3, 3, 3]).ints("pads", &[1; 4]);
    assert_eq!(plain.macs(), Some(16 * 32 * 32 * 27));
    let depthwise = conv("Conv", "1 16 8 8", &[16, 1, 3, 3]).int("group", 16).ints("pads", &[1; 4]);
    assert_eq!(depthwise.macs(), Some(16 * 8 * 8 * 9));
    assert_eq!(conv("Conv", "N 3 H W", &[16, 3, 3, 3]).macs(), None);
    assert_eq!(conv("ConvTranspose", "N 8 4 4", &[8, 2, 3, 3]).int("group", 2).macs(), Some(8 * 16 * 2 * 9));
}

#[test]
fn transposed_sizes_are_those_of_onnx() {
    let up = |x: &str, weight: &[usize]| conv("ConvTranspose", x, weight);
    check_shapes(&[
        (up("N 1 3 3", &[1, 2, 3, 3]), "N 2 5 5"),
        (up("N 1 3 3", &[1, 2, 3, 3]).ints("strides", &[3, 2]), "N 2 9 7"),
        (up("N 1 3 3", &[1, 2, 3, 3]).ints("strides", &[3, 2]).ints("output_padding", &[1, 1]), "N 2 10 8"),
        (up("N 1 3 3", &[1, 2, 3, 3]).ints("strides", &[3, 2]).ints("pads", &[1, 2, 1, 2]), "N 2 7 3"),
        (up("N 1 3 3", &[1, 1, 2, 2]).ints("dilations", &[2, 2]), "N 1 5 5"),
        (up("N 1 3 3", &[1, 2, 3, 3]).string("auto_pad", "SAME_UPPER").ints("strides", &[2, 2]), "N 2 6 6"),
        (up("N 8 3 3", &[8, 2, 2, 2]).int("group", 4), "N 8 4 4"),
        (up("N 8 H W", &[8, 2, 3, 3]).ints("pads", &[1; 4]), "N 2 H W"),
        (up("N 8 H W", &[8, 2, 2, 2]).ints("strides", &[2, 2]), "N 2 ? ?"),
        (up("N 8 3 3", &[8, 2, 2, 2]).ints("output_shape", &[6, 6]), "refused: `output_shape` is not followed"),
        (up("N 8 3 3", &[4, 2, 2, 2]), "refused: the input has 8 channels, the weight is for 4"),
        (up("N 8 3 3", &[8, 2, 2, 2]).int("group", 3), "refused: 8 input channels are no multiple of 3 conv groups"),
        (
            up("N 8 1 1", &[8, 2, 2, 2]).ints("pads", &[2, 2, 2, 2]),
            "refused: padding (2, 2) takes more than size 1 gives",
        ),
    ]);
    let read = up("N 8 3 3", &[8, 2, 2, 2]).int("group", 4).with(ConvTranspose::read).unwrap();
    assert_eq!((read.channels, read.filters, read.groups, read.output_padding), (8, 8, 4, vec![0, 0]));
}
