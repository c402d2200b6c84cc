//! The graph: what it holds, and what it gives back.

use super::*;
use crate::{backward_free, grad};
use candle_core::{DType, Device};

fn leaf() -> Tensor {
    Tensor::leaf(Value::ones(3, DType::F64, &Device::Cpu).unwrap())
}

fn weak(t: &Tensor) -> std::sync::Weak<Node> {
    Arc::downgrade(&t.edge().as_ref().unwrap().0)
}

#[test]
fn a_graph_and_that_of_its_gradient_hold_no_cycle() {
    let x = leaf();
    let y = x.exp().unwrap();
    let loss = y.sqr().unwrap().sum_all().unwrap();
    let g = grad(&loss, &[&x], true).unwrap().remove(0).unwrap();
    let nodes = [weak(&y), weak(&loss), weak(&g)];
    assert!(nodes.iter().all(|node| node.upgrade().is_some()));
    drop((y, loss, g));
    assert!(nodes.iter().all(|node| node.upgrade().is_none()));
}

#[test]
fn backward_free_drops_what_nodes_kept() {
    let x = leaf();
    let y = x.exp().unwrap();
    let middle = weak(&y);
    let z = y.sqr().unwrap();
    let loss = z.sum_all().unwrap();
    drop(y);
    backward_free(loss, &[&x]).unwrap();
    assert!(
        middle.upgrade().is_none(),
        "z alone does not keep the node of y"
    );
    assert!(z.is_tracked());
}

#[test]
fn constants_record_nothing() {
    let constant = leaf().detach();
    assert!(!constant.exp().unwrap().add(&constant).unwrap().is_tracked());
}

#[test]
fn a_gradient_of_the_wrong_shape_is_told() {
    let x = leaf();
    let wrong = |_: &Context<'_>, g: &Tensor| Ok(vec![Some(g.clone())]);
    let value = Value::ones((), DType::F64, &Device::Cpu).unwrap();
    let y = record_one("wrong", &[&x], value, Save::default(), wrong);
    let text = grad(&y, &[&x], false).unwrap_err().to_string();
    assert!(text.contains("wrong: ") && text.contains("[3]"), "{text}");
}
