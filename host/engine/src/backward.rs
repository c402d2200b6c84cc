//! Gradients: the walk through the graph from a scalar to the tensors asked for.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::autograd::{Context, Node};
use super::error::{Error, Result, ensure};
use super::profile;
use super::tensor::Tensor;

/// Gradients of a scalar with respect to `inputs`; none for an input that the scalar does not depend on.
///
/// With `create_graph` the gradients are part of a graph themselves and can be differentiated again; without it
/// nothing is recorded. The graph of `output` stays usable either way. Only nodes that lead to `inputs` are visited.
///
/// # Errors
/// If `output` has more than one entry, if an input is not tracked, or if an operation fails.
pub fn grad(
    output: &Tensor,
    inputs: &[&Tensor],
    create_graph: bool,
) -> Result<Vec<Option<Tensor>>> {
    Walk::new(output, inputs, create_graph)?.run(false)
}

/// First-order gradients as by [`grad`], which give each node's saved values back as soon as it has been passed.
///
/// The graph cannot be used again: a later gradient through one of its nodes is an error, and so is one through an operation beside it that
/// counted on a node to make its input again.
///
/// # Errors
/// As [`grad`].
pub fn backward_free(output: Tensor, inputs: &[&Tensor]) -> Result<Vec<Option<Tensor>>> {
    let walk = Walk::new(&output, inputs, false)?;
    drop(output);
    walk.run(true)
}

/// First-order gradients as by [`backward_free`], each handed to `take` with the index of its input as soon as it is complete; an input
/// that `output` does not depend on is not. So they need not all be in memory together.
///
/// The inputs are given up: by the time `take` is called for one, this function holds nothing of it.
///
/// # Errors
/// As [`grad`], and what `take` says.
pub fn backward_each(
    output: Tensor,
    inputs: Vec<Tensor>,
    mut take: impl FnMut(usize, Tensor) -> Result<()>,
) -> Result<()> {
    let walk = Walk::new(&output, &inputs.iter().collect::<Vec<_>>(), false)?;
    drop((output, inputs));
    walk.walk(true, &mut take)
}

/// One pass from the output to the inputs.
struct Walk {
    /// Nodes that lead to an input, by id: the walk takes them from the largest id down.
    leading: BTreeMap<u64, Arc<Node>>,
    /// Gradients of the outputs of nodes still to be passed.
    pending: BTreeMap<u64, Vec<Option<Tensor>>>,
    /// The (node, output) each input stands for.
    targets: Vec<(u64, usize)>,
    /// Nodes still to be passed that point to a leaf, for each leaf among the inputs.
    users: BTreeMap<u64, usize>,
    create_graph: bool,
}

impl Walk {
    fn new(output: &Tensor, inputs: &[&Tensor], create_graph: bool) -> Result<Self> {
        ensure!(
            output.elem_count() == 1,
            "grad",
            "expected a scalar to differentiate, got shape {:?} (reduce it with sum or mean first)",
            output.dims()
        );
        let mut targets = Vec::with_capacity(inputs.len());
        for (i, input) in inputs.iter().enumerate() {
            let Some((node, index)) = input.edge() else {
                let dims = input.dims();
                let message = format!(
                    "input {i} of shape {dims:?} is not tracked (make it with Tensor::leaf)"
                );
                return Err(Error::argument("grad", message));
            };
            targets.push((node.id(), *index));
        }
        let mut walk = Self {
            leading: BTreeMap::new(),
            pending: BTreeMap::new(),
            targets,
            users: BTreeMap::new(),
            create_graph,
        };
        if let Some((node, index)) = output.edge() {
            walk.discover(node)?;
            let ones = output.value().ones_like()?;
            let mut seeds = vec![None; node.output_dims().len()];
            seeds[*index] = Some(Tensor::constant(ones));
            walk.pending.insert(node.id(), seeds);
        }
        Ok(walk)
    }

    /// Finds the nodes below `root` that lead to a target. Ids only grow, so nothing older than the oldest target can.
    fn discover(&mut self, root: &Arc<Node>) -> Result<()> {
        let targets: BTreeSet<u64> = self.targets.iter().map(|(id, _)| *id).collect();
        let oldest = targets.first().copied().unwrap_or(0);
        let mut seen: BTreeMap<u64, Arc<Node>> = BTreeMap::new();
        let mut stack = vec![root.clone()];
        while let Some(node) = stack.pop() {
            if node.id() < oldest || seen.contains_key(&node.id()) {
                continue;
            }
            if let Some(operation) = node.operation()? {
                let below = operation.edges().iter().flatten();
                stack.extend(below.map(|(node, _)| node.clone()));
            }
            seen.insert(node.id(), node);
        }
        // In ascending order every node comes after those it points to.
        for (id, node) in seen {
            let leads = targets.contains(&id)
                || node.operation()?.is_some_and(|operation| {
                    let mut below = operation.edges().iter().flatten();
                    below.any(|(node, _)| self.leading.contains_key(&node.id()))
                });
            if leads {
                for leaf in self.leaves(&node)? {
                    *self.users.entry(leaf).or_default() += 1;
                }
                self.leading.insert(id, node);
            }
        }
        Ok(())
    }

    /// Leaves among the inputs that a node points to, each once.
    fn leaves(&self, node: &Node) -> Result<BTreeSet<u64>> {
        let Some(operation) = node.operation()? else {
            return Ok(BTreeSet::new());
        };
        let below = operation.edges().iter().flatten();
        let asked = |id: &u64| self.targets.iter().any(|(target, _)| target == id);
        let leaves = below
            .filter(|(node, _)| node.is_leaf())
            .map(|(node, _)| node.id());
        Ok(leaves.filter(asked).collect())
    }

    fn run(self, free: bool) -> Result<Vec<Option<Tensor>>> {
        let mut found: Vec<Option<Tensor>> = vec![None; self.targets.len()];
        self.walk(free, &mut |i, gradient| {
            found[i] = Some(gradient);
            Ok(())
        })?;
        Ok(found)
    }

    /// Passes all nodes, from the output down; `take` gets the gradients of the inputs.
    fn walk(mut self, free: bool, take: &mut dyn FnMut(usize, Tensor) -> Result<()>) -> Result<()> {
        while let Some((id, node)) = self.leading.pop_last() {
            let leaves = self.leaves(&node)?;
            if let Some(mut grads) = self.pending.remove(&id) {
                self.hand_out(id, &mut grads, take)?;
                self.pass(&node, grads)?;
            }
            if free {
                node.free();
            }
            drop(node);
            for leaf in leaves {
                let users = self.users.get_mut(&leaf).expect("counted when found");
                *users -= 1;
                if *users == 0 {
                    self.leading.remove(&leaf);
                    if let Some(mut grads) = self.pending.remove(&leaf) {
                        self.hand_out(leaf, &mut grads, take)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives the gradients of a node to the inputs that are its outputs; from then on others hold them.
    fn hand_out(
        &self,
        id: u64,
        grads: &mut [Option<Tensor>],
        take: &mut dyn FnMut(usize, Tensor) -> Result<()>,
    ) -> Result<()> {
        for (i, (target, output)) in self.targets.iter().enumerate() {
            if *target == id
                && let Some(gradient) = grads[*output].take()
            {
                // Made before others hold it; a clone is never written over.
                let whole = gradient.placed();
                grads[*output] = Some(whole.clone());
                take(i, whole.clone())?;
            }
        }
        Ok(())
    }

    /// The gradients of a node's outputs so far.
    fn slots(&mut self, node: &Node) -> &mut Vec<Option<Tensor>> {
        let nothing = || vec![None; node.output_dims().len()];
        self.pending.entry(node.id()).or_insert_with(nothing)
    }

    /// Takes the gradient of an output so far, if nobody else holds it.
    fn take_sole(&mut self, node: &Node, output: usize) -> Option<Tensor> {
        let gradient = self.pending.get_mut(&node.id())?.get_mut(output)?;
        gradient.take_if(|gradient| gradient.is_sole())
    }

    /// Calls the vjp of one node, which nobody else needs these gradients for, and hands its results to the nodes below.
    fn pass(&mut self, node: &Arc<Node>, grads: Vec<Option<Tensor>>) -> Result<()> {
        let Some(operation) = node.operation()? else {
            return Ok(());
        };
        let leads = |(node, _): &(Arc<Node>, usize)| self.leading.contains_key(&node.id());
        let edges = operation.edges().iter();
        let needs: Vec<bool> = edges.map(|edge| edge.as_ref().is_some_and(leads)).collect();
        if needs.iter().all(|need| !need) {
            return Ok(());
        }
        let wanted = operation.edges().iter().zip(&needs);
        let before = wanted.map(|(edge, need)| {
            let edge = edge.as_ref().filter(|_| *need && !self.create_graph);
            Cell::new(edge.and_then(|(below, index)| self.take_sole(below, *index)))
        });
        let before: Vec<Cell<Option<Tensor>>> = before.collect();
        let context = Context {
            node,
            operation: &operation,
            needs: &needs,
            create_graph: self.create_graph,
            before: &before,
        };
        let placed = |grad: Option<Tensor>| grad.map(Tensor::placed);
        let grads: Vec<_> = profile::backward("sum of gradients", || {
            grads.into_iter().map(placed).collect()
        });
        let results = operation.call(&context, &grads)?;
        drop(grads);
        for (edge, before) in operation.edges().iter().zip(before) {
            if let (Some((below, index)), Some(before)) = (edge, before.into_inner()) {
                self.slots(below)[*index] = Some(before);
            }
        }
        for ((edge, gradient), need) in operation.edges().iter().zip(results).zip(&needs) {
            let (Some((below, index)), Some(gradient), true) = (edge, gradient, *need) else {
                continue;
            };
            let expected = &below.output_dims()[*index];
            ensure!(
                gradient.dims() == expected,
                operation.name(),
                "its backward returned a gradient of shape {:?} for an input of shape {expected:?}",
                gradient.dims()
            );
            let create_graph = self.create_graph;
            let slots = self.slots(below);
            let sum = match slots[*index].take() {
                Some(before) => profile::backward("sum of gradients", || match create_graph {
                    true => before.add(&gradient),
                    false => before.plus(gradient),
                })?,
                None => gradient,
            };
            slots[*index] = Some(sum);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn leaf(numbers: &[f64]) -> Tensor {
        let value = Tensor::from_vec(numbers.to_vec(), &[numbers.len()], &Device::Cpu);
        Tensor::leaf(value.unwrap().into_value())
    }

    fn only(grads: Result<Vec<Option<Tensor>>>) -> Vec<f64> {
        let grads = grads.unwrap();
        grads[0].as_ref().unwrap().to_f64_vec().unwrap()
    }

    #[test]
    fn derivatives_of_a_cube_to_the_third_order() {
        let x = leaf(&[2.0]);
        let cube = x.sqr().unwrap().mul(&x).unwrap();
        let mut order = cube.sum_all().unwrap();
        for expected in [12.0, 12.0, 6.0] {
            let next = grad(&order, &[&x], true).unwrap().remove(0).unwrap();
            assert_eq!(next.to_f64_vec().unwrap(), [expected]);
            order = next.sum_all().unwrap();
        }
        let flat = grad(&order, &[&x], false).unwrap().remove(0);
        assert!(flat.is_none() || flat.unwrap().to_f64_vec().unwrap() == [0.0]);
    }

    #[test]
    fn without_create_graph_nothing_is_tracked() {
        let x = leaf(&[1.0, 2.0]);
        let loss = x.sqr().unwrap().sum_all().unwrap();
        let g = grad(&loss, &[&x], false).unwrap().remove(0).unwrap();
        assert!(!g.is_tracked());
        let g = grad(&loss, &[&x], true).unwrap().remove(0).unwrap();
        assert!(g.is_tracked());
    }

    #[test]
    fn an_input_that_is_not_reached_has_no_gradient() {
        let (x, other) = (leaf(&[1.0]), leaf(&[3.0]));
        let loss = x.sqr().unwrap().sum_all().unwrap();
        let grads = grad(&loss, &[&other, &x], false).unwrap();
        assert!(grads[0].is_none());
        assert_eq!(grads[1].as_ref().unwrap().to_f64_vec().unwrap(), [2.0]);
        let constant = Tensor::full(1.0, &[], DType::F64, &Device::Cpu).unwrap();
        assert!(grad(&constant, &[&x], false).unwrap()[0].is_none());
    }

    #[test]
    fn wrong_arguments_are_told() {
        let x = leaf(&[1.0, 2.0]);
        let squares = x.sqr().unwrap();
        let text = grad(&squares, &[&x], false).unwrap_err().to_string();
        assert!(
            text.contains("expected a scalar") && text.contains("[2]"),
            "{text}"
        );
        let loss = squares.sum_all().unwrap();
        let text = grad(&loss, &[&x.detach()], false).unwrap_err().to_string();
        assert!(
            text.contains("input 0") && text.contains("not tracked"),
            "{text}"
        );
    }

    #[test]
    fn gradients_of_intermediate_tensors_and_of_what_lies_below_them() {
        let x = leaf(&[3.0]);
        let y = x.sqr().unwrap();
        let loss = y.sqr().unwrap().sum_all().unwrap();
        let grads = grad(&loss, &[&y, &x], false).unwrap();
        assert_eq!(grads[0].as_ref().unwrap().to_f64_vec().unwrap(), [18.0]);
        assert_eq!(grads[1].as_ref().unwrap().to_f64_vec().unwrap(), [108.0]);
    }

    #[test]
    fn backward_free_gives_the_graph_back() {
        let x = leaf(&[2.0]);
        let y = x.exp().unwrap();
        let loss = y.sum_all().unwrap();
        assert_eq!(
            only(grad(&loss, &[&x], false)),
            only(backward_free(loss, &[&x]))
        );
        let again = y.sum_all().unwrap();
        let text = grad(&again, &[&x], false).unwrap_err().to_string();
        assert!(text.contains("backward_free"), "{text}");
    }

    #[test]
    fn a_graph_of_100_000_nodes_is_walked_and_dropped() {
        let x = leaf(&[1.0]);
        let mut y = x.clone();
        for _ in 0..100_000 {
            y = y.affine(1.0, 1e-3).unwrap();
        }
        assert_eq!(only(grad(&y.sum_all().unwrap(), &[&x], false)), [1.0]);
        drop(y);
    }

    #[test]
    fn fifty_unrolled_steps_of_second_order() {
        // x <- x - lr * d(x^2/2 * a)/dx = x (1 - lr a): the derivative by a is known.
        let a = leaf(&[0.5]);
        let mut x = Tensor::leaf(leaf(&[1.0]).into_value());
        for _ in 0..50 {
            let loss = x.sqr().unwrap().mul(&a).unwrap().affine(0.5, 0.0).unwrap();
            let g = grad(&loss.sum_all().unwrap(), &[&x], true)
                .unwrap()
                .remove(0)
                .unwrap();
            x = x.sub(&g.affine(0.1, 0.0).unwrap()).unwrap();
        }
        let got = only(grad(&x.sum_all().unwrap(), &[&a], false))[0];
        let expected = 50.0 * 0.95f64.powi(49) * -0.1;
        assert!((got - expected).abs() < 1e-14, "{got} {expected}");
    }
}
