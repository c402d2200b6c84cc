//! Processes that train a network together: each has some of the parts of a batch, and all end a step with the same bytes.

mod tree;

#[cfg(test)]
mod crowd;

use std::{collections::BTreeMap, fmt, ops::Range};

use anyhow::{Result, ensure};
use candle_core::{DType, Device};

use crate::{
    engine::{Tensor, Value, gpu::nccl::Nccl},
    ranks::Peers,
};

pub use tree::{leaves_of, subtrees, sum};

/// Connects the GPUs of processes; all come here together. None where they compute on processors.
///
/// # Errors
/// When NCCL is missing or fails.
pub fn connect(peers: &dyn Peers, device: &Device) -> Result<Option<Nccl>> {
    let own = match peers.rank() {
        0 => Nccl::word(device)?,
        _ => Vec::new(),
    };
    let told = peers.gather(&own)?;
    let word = told.first().map_or(&[][..], Vec::as_slice);
    Ok(Nccl::join(word, peers.rank(), peers.size())?)
}

/// The processes that train together, seen from one of them.
#[derive(Clone, Copy)]
pub struct Team<'a> {
    peers: &'a dyn Peers,
    /// What connects their GPUs, where they compute on some.
    nccl: Option<&'a Nccl>,
}

impl fmt::Debug for Team<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Team({} of {})", self.peers.rank(), self.peers.size())
    }
}

impl<'a> Team<'a> {
    /// Processes that something connects, and their GPUs, where they compute on some.
    pub fn of(peers: &'a dyn Peers, nccl: Option<&'a Nccl>) -> Self {
        Self { peers, nccl }
    }

    /// Whether this is the one that writes.
    pub fn is_first(self) -> bool {
        self.peers.rank() == 0
    }

    /// Which of so many equal pieces of work are done here.
    pub fn own(self, pieces: usize) -> Range<usize> {
        leaves_of(pieces, self.peers.rank(), self.peers.size())
    }

    /// Waits until all have come here.
    ///
    /// # Errors
    /// When what connects them fails.
    pub fn wait(self) -> Result<()> {
        self.peers.wait()
    }

    /// What each has told, in the order of their ranks.
    ///
    /// # Errors
    /// When what connects them fails.
    pub fn gather(self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.peers.gather(own)
    }

    /// Whether it is so for any of them.
    ///
    /// # Errors
    /// When what connects them fails.
    pub fn any(self, own: bool) -> Result<bool> {
        let all = self.gather(&[u8::from(own)])?;
        Ok(all.iter().any(|told| told == &[1]))
    }

    /// Whether it is so for the first of them, whose files count.
    ///
    /// # Errors
    /// When what connects them fails.
    pub fn first(self, own: bool) -> Result<bool> {
        let all = self.gather(&[u8::from(own)])?;
        Ok(all.first().is_some_and(|told| told == &[1]))
    }

    /// Lists of numbers of all pieces, in the order of the pieces, from those of the own ones.
    ///
    /// # Errors
    /// When what connects them fails.
    pub fn gather_lists(self, own: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
        let mut bytes = Vec::new();
        for list in own {
            bytes.extend((list.len() as u64).to_le_bytes());
            bytes.extend(list.iter().flat_map(|number| number.to_le_bytes()));
        }
        let mut lists = Vec::new();
        for told in self.gather(&bytes)? {
            let words = told.as_chunks::<8>().0;
            let mut left = words;
            while let Some((count, rest)) = left.split_first() {
                let count = u64::from_le_bytes(*count) as usize;
                ensure!(count <= rest.len(), "a list that ends too early");
                let (list, after) = rest.split_at(count);
                lists.push(list.iter().map(|word| f64::from_le_bytes(*word)).collect());
                left = after;
            }
        }
        Ok(lists)
    }

    /// The sum over all `leaves` of a tree of vectors, of which `own` are the sums of the subtrees that lie here, from left to right.
    ///
    /// Each process adds up a piece of the vectors: it gets that piece of every subtree, and then hands its sum to all.
    ///
    /// # Shapes
    /// All [length], f32, on the device.
    ///
    /// # Errors
    /// When what connects them fails, or there is no room.
    pub fn sum(
        self,
        leaves: usize,
        own: Vec<Value>,
        length: usize,
        device: &Device,
    ) -> Result<Value> {
        let (rank, size) = (self.peers.rank(), self.peers.size());
        let of_rank = |rank| subtrees(leaves, &leaves_of(leaves, rank, size));
        let nodes: Vec<Vec<Range<usize>>> = (0..size).map(of_rank).collect();
        ensure!(own.len() == nodes[rank].len(), "sums of other subtrees");
        let pieces: Vec<Range<usize>> = (0..size).map(|s| leaves_of(length, s, size)).collect();
        let (mut sent, mut ranges, mut end) = (Vec::new(), Vec::new(), 0);
        for piece in &pieces {
            let start = end;
            for vector in &own {
                sent.push(vector.narrow(0, piece.start, piece.len())?);
                end += piece.len();
            }
            ranges.push(start..end);
        }
        drop(own);
        let sent = match sent.is_empty() {
            true => Value::zeros(0, DType::F32, device)?,
            false => Value::cat(&sent, 0)?,
        };
        let length_here = pieces[rank].len();
        let taken: Vec<usize> = nodes.iter().map(|of| of.len() * length_here).collect();
        let taken = self.exchange(sent, &ranges, &taken, device)?;
        let mut known = BTreeMap::new();
        for (number, node) in nodes.into_iter().flatten().enumerate() {
            let vector = taken.narrow(0, number * length_here, length_here)?;
            known.insert((node.start, node.end), Tensor::constant(vector));
        }
        drop(taken);
        let mut known = |node: &Range<usize>| Ok(known.remove(&(node.start, node.end)));
        let whole = sum(0..leaves, &mut known, &|a, b| Ok(a.add(&b)?))?.into_value();
        let counts: Vec<usize> = pieces.iter().map(Range::len).collect();
        self.gather_pieces(whole, &counts, device)
    }

    /// Hands each process a range of a vector, and takes so many numbers of each, one after the other.
    fn exchange(
        self,
        own: Value,
        sent: &[Range<usize>],
        taken: &[usize],
        device: &Device,
    ) -> Result<Value> {
        if let Some(nccl) = self.nccl {
            return Ok(nccl.exchange(&own, sent, taken)?);
        }
        let counts: Vec<usize> = sent.iter().map(Range::len).collect();
        let numbers = own.to_vec1::<f32>()?;
        drop(own);
        let all = self.peers.exchange(&numbers, &counts, taken)?;
        vector(all, device)
    }

    /// The vectors of all, `counts` numbers of each, one after the other.
    fn gather_pieces(self, own: Value, counts: &[usize], device: &Device) -> Result<Value> {
        if let Some(nccl) = self.nccl {
            let to_all = vec![0..own.elem_count(); counts.len()];
            return Ok(nccl.exchange(&own, &to_all, counts)?);
        }
        let numbers = own.to_vec1::<f32>()?;
        vector(self.peers.gather_numbers(&numbers, counts)?, device)
    }
}

fn vector(numbers: Vec<f32>, device: &Device) -> Result<Value> {
    let count = numbers.len();
    Ok(Value::from_vec(numbers, count, device)?)
}
