//! Which classes have been seen after a step, and which images stand for them.

/// One step: the classes that arrive, and all that were seen by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// Counted from 1.
    pub step: usize,
    /// The classes that arrive.
    pub new: &'a [u32],
    /// These and those before them.
    pub seen: &'a [u32],
}

impl<'a> Arrival<'a> {
    /// The steps of an order, whose classes they divide.
    pub fn all(order: &'a [u32], steps: usize) -> impl Iterator<Item = Self> {
        let each = order.len() / steps.max(1);
        (1..=steps).map(move |step| Self {
            step,
            new: &order[each * (step - 1)..each * step],
            seen: &order[..each * step],
        })
    }
}

/// Places of the images of some classes, in their order: of each class the first `of_each`.
pub fn places(labels: &[u32], classes: &[u32], of_each: usize) -> Vec<usize> {
    let count = labels.iter().map(|label| *label as usize + 1).max();
    // How many images of each class may still be taken; none of those that are not asked for.
    let mut left = vec![0; count.unwrap_or(0)];
    for class in classes {
        if let Some(left) = left.get_mut(*class as usize) {
            *left = of_each;
        }
    }
    let mut places = Vec::new();
    for (place, label) in labels.iter().enumerate() {
        let left = &mut left[*label as usize];
        if *left > 0 {
            *left -= 1;
            places.push(place);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_arrive_in_their_order() {
        let order = [4, 0, 5, 2, 1, 3];
        let steps: Vec<Arrival<'_>> = Arrival::all(&order, 3).collect();
        let expected = [([4, 0], 2), ([5, 2], 4), ([1, 3], 6)];
        for (arrival, (new, seen)) in steps.iter().zip(expected) {
            assert_eq!((arrival.new, arrival.seen), (&new[..], &order[..seen]));
        }
        assert_eq!(steps.len(), 3);
    }

    #[test]
    fn a_memory_holds_the_first_images_of_each_class_seen() {
        // As recover makes them: image k of every class before image k + 1 of any.
        let labels = [0, 1, 2, 0, 1, 2, 0, 1, 2];
        assert_eq!(places(&labels, &[2, 0], usize::MAX), [0, 2, 3, 5, 6, 8]);
        assert_eq!(places(&labels, &[2, 0], 2), [0, 2, 3, 5]);
        assert_eq!(places(&labels, &[1], 0), [] as [usize; 0]);
        assert_eq!(places(&labels, &[7], 1), [] as [usize; 0]);
    }
}
