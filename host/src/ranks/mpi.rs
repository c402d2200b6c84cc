//! What processes tell each other through MPI.

use anyhow::{Context, Result, ensure};

use super::{Peers, Ranks};

type Int = libc::c_int;

/// Lengths and places as MPI takes them.
struct Table {
    counts: Vec<Int>,
    places: Vec<Int>,
    whole: usize,
}

impl Table {
    fn of(counts: &[usize]) -> Result<Self> {
        let mut whole = 0;
        let places = counts.iter().map(|count| {
            let place = whole;
            whole += count;
            int(place)
        });
        let places = places.collect::<Result<_>>()?;
        int(whole)?;
        let counts = counts.iter().map(|count| int(*count));
        Ok(Self {
            counts: counts.collect::<Result<_>>()?,
            places,
            whole,
        })
    }
}

/// Where numbers lie. What is empty lies nowhere, and MPI takes some such addresses for words of its own (`MPI_IN_PLACE` is 1).
fn place<T>(numbers: &[T], elsewhere: &T) -> *const T {
    if numbers.is_empty() {
        elsewhere
    } else {
        numbers.as_ptr()
    }
}

fn int(count: usize) -> Result<Int> {
    Int::try_from(count).context("more numbers than MPI can move at once")
}

impl Ranks {
    /// What all ranks have, one after the other: `counts` of each.
    ///
    /// # Safety
    /// The function of this name gathers entries of this type.
    unsafe fn gathered<T: Copy + Default>(
        &self,
        name: &[u8],
        own: &[T],
        counts: &[usize],
    ) -> Result<Vec<T>> {
        type Gather<T> = unsafe extern "C" fn(*const T, Int, *mut T, *const Int, *const Int);
        ensure!(
            counts.len() == self.size() && counts[self.rank()] == own.len(),
            "numbers of other ranks"
        );
        let (table, count) = (Table::of(counts)?, int(own.len())?);
        let mut all = vec![T::default(); table.whole + 1];
        // SAFETY: the caller's promise; there is room for so many entries at these places.
        unsafe {
            let gather = self.library.get::<Gather<T>>(name)?;
            gather(
                place(own, &T::default()),
                count,
                all.as_mut_ptr(),
                table.counts.as_ptr(),
                table.places.as_ptr(),
            );
        }
        all.truncate(table.whole);
        Ok(all)
    }
}

impl Peers for Ranks {
    fn rank(&self) -> usize {
        self.rank as usize
    }

    fn size(&self) -> usize {
        self.size as usize
    }

    fn wait(&self) -> Result<()> {
        self.call("alambic_mpi_wait")
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        type Counts = unsafe extern "C" fn(Int, *mut Int);
        let mut counts = vec![0; self.size()];
        // SAFETY: the function of this name has this type.
        let ask = unsafe { self.library.get::<Counts>(b"alambic_mpi_counts")? };
        // SAFETY: MPI has begun, and there is room for a number of each rank.
        unsafe { ask(int(own.len())?, counts.as_mut_ptr()) };
        let counts: Vec<usize> = counts.into_iter().map(|count| count as usize).collect();
        // SAFETY: the function of this name gathers bytes.
        let all = unsafe { self.gathered::<u8>(b"alambic_mpi_gather", own, &counts)? };
        let mut left = all.as_slice();
        let cut = counts.into_iter().map(|count| {
            let (first, rest) = left.split_at(count);
            left = rest;
            first.to_vec()
        });
        Ok(cut.collect())
    }

    fn gather_numbers(&self, own: &[f32], counts: &[usize]) -> Result<Vec<f32>> {
        // SAFETY: the function of this name gathers f32.
        unsafe { self.gathered::<f32>(b"alambic_mpi_gather_numbers", own, counts) }
    }

    fn exchange(&self, own: &[f32], counts: &[usize], theirs: &[usize]) -> Result<Vec<f32>> {
        type Exchange = unsafe extern "C" fn(
            *const f32,
            *const Int,
            *const Int,
            *mut f32,
            *const Int,
            *const Int,
        );
        let (sent, taken) = (Table::of(counts)?, Table::of(theirs)?);
        ensure!(
            [counts.len(), theirs.len()] == [self.size(); 2] && sent.whole == own.len(),
            "numbers of other ranks"
        );
        let mut all = vec![0f32; taken.whole + 1];
        // SAFETY: the function of this name has this type.
        let exchange = unsafe { self.library.get::<Exchange>(b"alambic_mpi_exchange")? };
        // SAFETY: there are so many numbers at the places of either side.
        unsafe {
            exchange(
                place(own, &0.),
                sent.counts.as_ptr(),
                sent.places.as_ptr(),
                all.as_mut_ptr(),
                taken.counts.as_ptr(),
                taken.places.as_ptr(),
            );
        }
        all.truncate(taken.whole);
        Ok(all)
    }
}
