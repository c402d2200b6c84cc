//! Processes that train a network together: each has some of the parts of a batch, and all end a step with the same bytes.

mod tree;

#[cfg(test)]
mod crowd;

use std::{collections::BTreeMap, fmt, ops::Range, path::Path};

use anyhow::{Result, bail, ensure};
use candle_core::{DType, Device};

use crate::{
    data::DecodeError,
    engine::{Tensor, Value, gpu::nccl::Nccl},
    ranks::Peers,
};

pub use tree::{leaves_of, subtrees, sum};

/// Connects the GPUs of processes; all come here together. None where they compute on processors.
///
/// # Errors
/// When NCCL is missing or fails.
pub fn connect(peers: &dyn Peers, device: &Device) -> Result<Option<Nccl>> {
    let is_gpu = [u8::from(device.is_cuda())];
    if peers.gather(&is_gpu)?.iter().any(|other| *other != is_gpu) {
        bail!(
            "some processes have a GPU and others have none; start one for each GPU, or use device = \"cpu\""
        );
    }
    let own = match peers.rank() {
        0 => Nccl::word(device)?,
        _ => Vec::new(),
    };
    let told = peers.gather(&own)?;
    let word = told.first().map_or(&[][..], Vec::as_slice);
    Ok(Nccl::join(word, peers.rank(), peers.size())?)
}

/// What another process has failed with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rank {rank}: {text}")]
pub struct Elsewhere {
    /// Which.
    pub rank: usize,
    /// Its error.
    pub text: String,
    /// Whether an image could not be decoded.
    pub is_unreadable: bool,
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

    /// What this one has done, once all have done it. Where one has failed, all do.
    ///
    /// # Errors
    /// The own one, or [`Elsewhere`].
    pub fn all_well<T>(self, own: Result<T>) -> Result<T> {
        let failed = own.as_ref().err().map(|error| {
            let is_unreadable = error.chain().any(|e| e.is::<DecodeError>());
            let mut told = vec![u8::from(is_unreadable)];
            told.extend(format!("{error:#}").into_bytes());
            told
        });
        let all = self.gather(&failed.unwrap_or_default())?;
        let own = own?;
        let failed = all.iter().enumerate();
        let first = failed.filter_map(|(rank, told)| Some((rank, told.split_first()?)));
        match first.min_by_key(|(rank, _)| *rank) {
            None => Ok(own),
            Some((rank, (is_unreadable, text))) => bail!(Elsewhere {
                rank,
                text: String::from_utf8_lossy(text).into_owned(),
                is_unreadable: *is_unreadable > 0,
            }),
        }
    }

    /// Refuses that the processes see different things.
    ///
    /// # Errors
    /// Where what one sees is not what the first sees; `place` says where they look.
    pub fn same(self, own: &[u8], place: &Path) -> Result<()> {
        let all = self.gather(own)?;
        if let Some((rank, _)) = all.iter().enumerate().find(|(_, told)| **told != all[0]) {
            bail!(
                "rank {rank} finds another state in {} than rank 0; expected a run folder that all processes share",
                place.display()
            );
        }
        Ok(())
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
