use super::super::{OPS, Role, Sign};
use super::*;

#[test]
fn operators_are_sorted_and_named_once() {
    assert!(OPS.windows(2).all(|pair| pair[0].op_type < pair[1].op_type));
}

#[test]
fn attributes_of_an_operator_are_sorted_and_named_once() {
    for rule in OPS {
        assert!(rule.attributes.windows(2).all(|pair| pair[0] < pair[1]), "{}", rule.op_type);
    }
}

#[test]
fn only_weighted_operators_count_multiply_adds() {
    let weighted: Vec<_> = OPS.iter().filter(|rule| rule.role == Role::Weighted).map(|rule| rule.op_type).collect();
    assert_eq!(weighted, ["Conv", "ConvTranspose", "Gemm", "MatMul"]);
    assert_eq!(node("Relu").input(flows("1 3")).macs(), Some(0));
}

#[test]
fn what_the_table_does_not_know_is_refused() {
    check_shapes(&[
        (node("Frobnicate").input(flows("1")), "refused: operator `Frobnicate` is not known"),
        (
            node("Relu").opset(25).input(flows("1")),
            "refused: operator `Relu` of opset 25 is not known (opsets 1 to 24 are)",
        ),
        (
            node("Upsample").opset(10).input(flows("1")),
            "refused: operator `Upsample` of opset 10 is not known (opsets 7 to 9 are)",
        ),
        (node("Relu").int("beta", 1).input(flows("1")), "refused: attribute `beta` of operator `Relu` is not known"),
        (node("Relu"), "refused: input 0 is absent"),
        (
            node("Flatten").float("axis", 1.0).input(flows("1 2")),
            "refused: attribute `axis` is of type FLOAT, INT is needed",
        ),
    ]);
}

#[test]
fn another_domain_is_refused() {
    let mut foreign = node("Relu").input(flows("1"));
    foreign.proto.domain = Some("com.example".to_owned());
    assert_eq!(foreign.shapes(), "refused: operator `com.example.Relu` is of a domain that is not known");
}

#[test]
fn a_kept_sign_needs_every_input_that_is_no_setting_and_not_stored() {
    let never_negative = |node: &TestNode, known: &[u32]| {
        node.with(|call| {
            let rule = rule(call.graph, call.node).expect("the table has the operator");
            rule.never_negative(call, |value| known.contains(&value.0))
        })
    };
    let add = node("Add").input(flows("N 4")).input(flows("N 4"));
    assert!(never_negative(&add, &[0, 1]));
    assert!(!never_negative(&add, &[0]));
    assert!(never_negative(&node("Add").input(flows("N 4")).input(filled(&[4], 1.0)), &[0]));
    assert!(!never_negative(&node("Add").input(flows("N 4")).input(filled(&[4], -1.0)), &[0]));
    assert!(never_negative(&node("Reshape").input(flows("N 4")).input(computed("-1 2")), &[0]));
    assert!(never_negative(&node("Relu").input(flows("N 4")), &[]));
    assert!(!never_negative(&node("Neg").input(flows("N 4")), &[0]));
}

#[test]
fn every_operator_survives_hostile_attributes() {
    let extremes = [i64::MIN, i64::MIN + 1, -1, 0, 1, 64, 65, 4096, 1 << 31, 1 << 32, 1 << 62, i64::MAX];
    for rule in OPS {
        for extreme in extremes {
            for opset in [
                rule.opsets.0,
                6.clamp(rule.opsets.0, rule.opsets.1),
                13.clamp(rule.opsets.0, rule.opsets.1),
                rule.opsets.1,
            ] {
                for list in [false, true] {
                    let mut hostile = node(rule.op_type)
                        .opset(opset)
                        .outputs(2)
                        .input(flows(&format!("N 4 {} 8", i64::MAX)))
                        .input(integers(&[extreme, extreme]))
                        .input(integers(&[extreme, 1]))
                        .input(integers(&[0, 1]));
                    for name in rule.attributes {
                        hostile = if list { hostile.ints(name, &[extreme; 4]) } else { hostile.int(name, extreme) };
                    }
                    let _shapes_or_reason = hostile.shapes();
                    let _sign = hostile.sign();
                    let _macs = hostile.macs();
                }
            }
        }
    }
    assert_eq!(node("Relu").input(flows("1")).sign(), Sign::NonNegative);
}
