use super::super::Sign;
use super::super::linear::Gemm;
use super::*;

fn gemm(a: &str, b: &[usize]) -> TestNode {
    node("Gemm").input(flows(a)).input(filled(b, 0.5))
}

#[test]
fn gemm_has_the_defaults_of_onnx() {
    let plain = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
    assert_eq!(gemm("N 4", &[4, 2]).with(Gemm::read), Ok(plain));
    let given = gemm("N 4", &[2, 4]).float("alpha", 0.5).float("beta", 2.0).int("transA", 0).int("transB", 1);
    assert_eq!(given.with(Gemm::read), Ok(Gemm { alpha: 0.5, beta: 2.0, trans_a: false, trans_b: true }));
}

#[test]
fn gemm_multiplies_matrices() {
    check_shapes(&[
        (gemm("N 4", &[4, 2]), "N 2"),
        (gemm("N 4", &[2, 4]).int("transB", 1), "N 2"),
        (gemm("4 N", &[4, 2]).int("transA", 1), "N 2"),
        (gemm("N 4", &[4, 2]).input(filled(&[2], 0.0)), "N 2"),
        (gemm("N 4", &[4, 2]).input(filled(&[], 0.0)), "N 2"),
        (gemm("N 4", &[4, 2]).no_input(), "N 2"),
        (gemm("N 4", &[4, 2]).opset(6).int("broadcast", 1).input(filled(&[2], 0.0)), "N 2"),
        (gemm("3 4", &[4, 2]).opset(6).input(filled(&[3, 2], 0.0)), "3 2"),
        (node("Gemm").input(unranked()).input(filled(&[4, 2], 0.0)), "? 2"),
    ]);
}

#[test]
fn gemm_that_does_not_fit_is_refused() {
    check_shapes(&[
        (gemm("N 4", &[2, 4]), "refused: the first matrix has 4 columns, the second 2 rows"),
        (gemm("N 4 1", &[4, 2]), "refused: input 0 has 3 axes, 2 are needed"),
        (gemm("N 4", &[4, 2]).input(filled(&[3], 0.0)), "refused: shape 3 does not broadcast to N×2"),
        (
            gemm("N 4", &[4, 2]).opset(6).input(filled(&[2], 0.0)),
            "refused: `broadcast` is 0 and input 2 has not the output's shape in opset 6",
        ),
        (gemm("N 4", &[4, 2]).int("broadcast", 1), "refused: attribute `broadcast` is none of opset 13"),
    ]);
}

#[test]
fn mat_mul_is_that_of_numpy() {
    let product = |a: &str, b: &str| node("MatMul").input(flows(a)).input(flows(b));
    check_shapes(&[
        (product("N 4", "4 2"), "N 2"),
        (product("N T 4", "4 2"), "N T 2"),
        (product("N 1 3 4", "5 4 2"), "N 5 3 2"),
        (product("4", "4 2"), "2"),
        (product("3 4", "4"), "3"),
        (product("4", "4"), ""),
        (product("2 3 4", "3 4 5"), "refused: sizes 2 and 3 do not broadcast"),
        (product("N 4", "3 2"), "refused: the first matrix has 4 columns, the second 3 rows"),
        (product("", "3 2"), "refused: the first input is a scalar"),
        (product("3 2", ""), "refused: the second input is a scalar"),
        (node("MatMul").input(flows("N 4")).input(unranked()), "no rank"),
    ]);
}

#[test]
fn multiply_adds_count_the_inner_axis() {
    assert_eq!(gemm("N 64", &[64, 10]).macs(), Some(640));
    assert_eq!(gemm("N 64", &[10, 64]).int("transB", 1).macs(), Some(640));
    assert_eq!(node("MatMul").input(flows("N 7 64")).input(filled(&[64, 10], 0.0)).macs(), Some(7 * 640));
    assert_eq!(node("MatMul").input(flows("N T 64")).input(filled(&[64, 10], 0.0)).macs(), None);
    assert_eq!(node("Gemm").input(flows("N ?")).input(filled(&[64, 10], 0.0)).macs(), Some(640));
}

#[test]
fn a_product_with_weights_below_zero_has_any_sign() {
    let weights = |element: f32| node("MatMul").input(flows("N 4")).input(filled(&[4, 2], element)).sign();
    assert_eq!(weights(1.0), Sign::Kept);
    assert_eq!(weights(-1.0), Sign::Free);
}
