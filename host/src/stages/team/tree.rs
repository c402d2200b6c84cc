//! Sums in a fixed order: a binary tree over the parts of a batch, whoever computes which of them.
//!
//! The left half of a node has the largest power of two of its leaves that leaves something for the right half. So a process that has
//! consecutive leaves has few whole subtrees, and adds them leaf by leaf with no more than log2(leaves) + 1 sums in memory.

use std::ops::Range;

use anyhow::Result;

/// Where the right half of a node of two leaves or more begins.
fn middle(node: &Range<usize>) -> usize {
    node.start + node.len().next_power_of_two() / 2
}

/// The leaves of one of `size` processes, consecutive and as many as any other's, or one fewer.
pub fn leaves_of(leaves: usize, rank: usize, size: usize) -> Range<usize> {
    rank * leaves / size..(rank + 1) * leaves / size
}

/// The largest subtrees of all `leaves` that lie within some of them, from left to right.
pub fn subtrees(leaves: usize, own: &Range<usize>) -> Vec<Range<usize>> {
    fn visit(node: Range<usize>, own: &Range<usize>, found: &mut Vec<Range<usize>>) {
        if node.end <= own.start || own.end <= node.start {
            return;
        }
        if own.start <= node.start && node.end <= own.end {
            found.push(node);
            return;
        }
        let middle = middle(&node);
        visit(node.start..middle, own, found);
        visit(middle..node.end, own, found);
    }
    let mut found = Vec::new();
    if !own.is_empty() {
        visit(0..leaves, own, &mut found);
    }
    found
}

/// The sum of a node, whose parts `known` gives where it can: leaves in any case.
///
/// # Errors
/// Those of `known` and `add`.
pub fn sum<T>(
    node: Range<usize>,
    known: &mut dyn FnMut(&Range<usize>) -> Result<Option<T>>,
    add: &dyn Fn(T, T) -> Result<T>,
) -> Result<T> {
    if let Some(sum) = known(&node)? {
        return Ok(sum);
    }
    let middle = middle(&node);
    let left = sum(node.start..middle, known, add)?;
    let right = sum(middle..node.end, known, add)?;
    add(left, right)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a sum of so many leaves is written when so many processes make it.
    fn written(leaves: usize, size: usize) -> String {
        let add = |a: String, b: String| Ok(format!("({a} {b})"));
        let leaf = |node: &Range<usize>| Ok((node.len() == 1).then(|| node.start.to_string()));
        let mut of_ranks = Vec::new();
        let mut covered = 0;
        for rank in 0..size {
            let own = leaves_of(leaves, rank, size);
            assert_eq!(own.start, covered);
            covered = own.end;
            for node in subtrees(leaves, &own) {
                let text = sum(node.clone(), &mut |n| leaf(n), &add).unwrap();
                of_ranks.push((node, text));
            }
        }
        assert_eq!(covered, leaves);
        let mut known = |node: &Range<usize>| {
            let mut found = of_ranks.iter().filter(|(n, _)| n == node);
            Ok(found.next().map(|(_, text)| text.clone()))
        };
        sum(0..leaves, &mut known, &add).unwrap()
    }

    #[test]
    fn the_order_is_the_same_for_any_number_of_processes() {
        assert_eq!(written(4, 1), "((0 1) (2 3))");
        assert_eq!(written(7, 1), "(((0 1) (2 3)) ((4 5) 6))");
        for leaves in 1..20 {
            for size in 1..=leaves + 3 {
                assert_eq!(written(leaves, size), written(leaves, 1), "{leaves} {size}");
            }
        }
    }
}
