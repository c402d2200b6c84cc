//! Gradients: from the youngest node to the oldest, each node's share handed to its parents.

use std::collections::{BTreeMap, BTreeSet};

use super::{Array, array::History};
use crate::{Result, ensure};

/// Gradients of the scalar `loss`; absent where it does not depend on a target.
///
/// With `create_graph` the derivatives are computed on the arrays with their history, so that they have one
/// themselves.
pub(super) fn grad(
    loss: &Array,
    targets: &[Array],
    create_graph: bool,
) -> Result<Vec<Option<Array>>> {
    ensure!(
        loss.len() == 1,
        "expected a scalar, got shape {:?}",
        loss.dims()
    );
    for (i, target) in targets.iter().enumerate() {
        ensure!(
            target.is_tracked(),
            "input {i} of shape {:?} is not tracked; make it a leaf first",
            target.dims()
        );
    }
    let wanted = targets.iter().map(Array::id).collect();
    let leading = nodes_leading_to(loss, &wanted);
    let mut found = BTreeMap::new();
    let mut waiting = BTreeMap::new();
    if leading.contains(&loss.id()) {
        waiting.insert(loss.id(), (loss.clone(), loss.full_like(1.)));
    }
    while let Some((id, (node, gradient))) = waiting.pop_last() {
        if wanted.contains(&id) {
            found.insert(id, gradient.clone());
        }
        let History::Made { parents, vjp } = node.history() else {
            continue;
        };
        let operands: Vec<Array> = if create_graph {
            parents.clone()
        } else {
            parents.iter().map(Array::detach).collect()
        };
        for (which, parent) in parents.iter().enumerate() {
            if leading.contains(&parent.id()) {
                let share = vjp(&operands, which, &gradient);
                let entry = waiting.remove(&parent.id());
                let total = entry.map_or(share.clone(), |(_, so_far)| so_far.add(&share));
                waiting.insert(parent.id(), (parent.clone(), total));
            }
        }
    }
    Ok(targets
        .iter()
        .map(|target| found.get(&target.id()).cloned())
        .collect())
}

/// The nodes on a way from `loss` to something wanted. Others need no gradient.
fn nodes_leading_to(loss: &Array, wanted: &BTreeSet<u64>) -> BTreeSet<u64> {
    let mut seen = BTreeMap::new();
    let mut waiting = vec![loss];
    while let Some(node) = waiting.pop() {
        if seen.insert(node.id(), node).is_none()
            && let History::Made { parents, .. } = node.history()
        {
            waiting.extend(parents);
        }
    }
    // Parents are older, so they are judged first.
    let mut leading = BTreeSet::new();
    for (id, node) in seen {
        let through_parent = match node.history() {
            History::Made { parents, .. } => parents.iter().any(|p| leading.contains(&p.id())),
            History::Constant | History::Leaf => false,
        };
        if through_parent || wanted.contains(&id) {
            leading.insert(id);
        }
    }
    leading
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    fn scalar(value: f64) -> Array {
        Array::constant(DType::F64, &[], vec![value])
    }

    #[test]
    fn shares_of_several_ways_add_up() {
        let x = scalar(3.).leaf();
        let y = x.mul(&x).add(&x).mul(&x); // x^3 + x^2
        let first = grad(&y, std::slice::from_ref(&x), true).unwrap()[0]
            .clone()
            .unwrap();
        assert_eq!(first.values(), [33.]);
        let second = grad(&first, std::slice::from_ref(&x), true).unwrap()[0]
            .clone()
            .unwrap();
        assert_eq!(second.values(), [20.]);
        let third = grad(&second, &[x], false).unwrap()[0].clone().unwrap();
        assert_eq!((third.values()[0], third.is_tracked()), (6., false));
    }

    #[test]
    fn what_is_not_reached_has_no_gradient() {
        let (x, other) = (scalar(3.).leaf(), scalar(1.).leaf());
        let y = x.mul(&x);
        let gradients = grad(&y, &[other, x.clone(), y.clone()], false).unwrap();
        assert!(gradients[0].is_none());
        assert_eq!(gradients[1].as_ref().unwrap().values(), [6.]);
        assert_eq!(gradients[2].as_ref().unwrap().values(), [1.]);
        assert!(grad(&y.detach(), &[x], false).unwrap()[0].is_none());
    }

    #[test]
    fn misuse_is_told() {
        let x = Array::constant(DType::F64, &[2], vec![1., 2.]);
        let text = |loss: &Array, target: &Array| {
            grad(loss, std::slice::from_ref(target), false)
                .err()
                .unwrap()
                .to_string()
        };
        assert_eq!(
            text(&x.leaf(), &x.leaf()),
            "expected a scalar, got shape [2]"
        );
        assert_eq!(
            text(&scalar(1.), &x),
            "input 0 of shape [2] is not tracked; make it a leaf first"
        );
    }
}
