//! Threads of one process that compute together, for tests.

use std::{
    sync::{Arc, Barrier, Mutex, PoisonError},
    thread,
};

use anyhow::Result;
use candle_core::Device;

use super::{Team, sum};
use crate::{
    engine::{Tensor, Value},
    ranks::Peers,
};

/// What each has told.
struct Told {
    bytes: Mutex<Vec<Vec<u8>>>,
    numbers: Mutex<Vec<Vec<f32>>>,
    all_are_here: Barrier,
}

/// One of the threads.
struct Member {
    rank: usize,
    size: usize,
    told: Arc<Told>,
}

impl Member {
    /// What all have left in a place, once each has left its own there.
    fn meet<T: Clone>(&self, place: &Mutex<Vec<T>>, own: T) -> Vec<T> {
        let open = || place.lock().unwrap_or_else(PoisonError::into_inner);
        open()[self.rank] = own;
        self.told.all_are_here.wait();
        let all = open().clone();
        self.told.all_are_here.wait();
        all
    }
}

impl Peers for Member {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn wait(&self) -> Result<()> {
        self.told.all_are_here.wait();
        Ok(())
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(self.meet(&self.told.bytes, own.to_vec()))
    }

    fn gather_numbers(&self, own: &[f32], counts: &[usize]) -> Result<Vec<f32>> {
        assert_eq!(own.len(), counts[self.rank]);
        Ok(self.meet(&self.told.numbers, own.to_vec()).concat())
    }

    fn exchange(&self, own: &[f32], counts: &[usize], theirs: &[usize]) -> Result<Vec<f32>> {
        assert_eq!(own.len(), counts.iter().sum::<usize>());
        // How many are for whom, and then the numbers.
        let head = counts.iter().map(|count| *count as f32);
        let told = head.chain(own.iter().copied()).collect();
        let all = self.meet(&self.told.numbers, told);
        let mut taken = Vec::new();
        for (from, told) in all.iter().enumerate() {
            let counts: Vec<usize> = told[..self.size].iter().map(|n| *n as usize).collect();
            let start = self.size + counts[..self.rank].iter().sum::<usize>();
            taken.extend_from_slice(&told[start..][..counts[self.rank]]);
            assert_eq!(counts[self.rank], theirs[from]);
        }
        Ok(taken)
    }
}

/// Does the same on so many threads that know each other; what each has made.
pub fn together<T: Send>(size: usize, work: impl Fn(Team<'_>) -> T + Sync) -> Vec<T> {
    let told = Arc::new(Told {
        bytes: Mutex::new(vec![Vec::new(); size]),
        numbers: Mutex::new(vec![Vec::new(); size]),
        all_are_here: Barrier::new(size),
    });
    thread::scope(|scope| {
        let begin = |rank| {
            let member = Member {
                rank,
                size,
                told: told.clone(),
            };
            let work = &work;
            scope.spawn(move || work(Team::of(&member, None)))
        };
        let threads: Vec<_> = (0..size).map(begin).collect();
        let made = threads.into_iter();
        made.map(|thread| thread.join().expect("a thread"))
            .collect()
    })
}

/// Numbers whose sum depends on the order.
fn vector(leaf: usize, length: usize) -> Value {
    let number = |i: usize| ((leaf * 37 + i * 11) as f32).sin() * 10f32.powi((leaf % 7) as i32);
    let numbers: Vec<f32> = (0..length).map(number).collect();
    Value::from_vec(numbers, length, &Device::Cpu).expect("a vector")
}

#[test]
fn sums_have_the_same_bits_for_any_number_of_processes() {
    let bits = |value: &Value| -> Vec<u32> {
        let numbers = value.to_vec1::<f32>().expect("numbers").into_iter();
        numbers.map(f32::to_bits).collect()
    };
    let add = |a: Value, b: Value| Ok(Tensor::constant(a).add(&Tensor::constant(b))?.into_value());
    for (leaves, length) in [(1, 5), (4, 1000), (7, 3), (8, 64)] {
        let subtree = |node| {
            let mut leaf = |node: &std::ops::Range<usize>| {
                Ok((node.len() == 1).then(|| vector(node.start, length)))
            };
            sum(node, &mut leaf, &add).expect("a sum")
        };
        let expected = bits(&subtree(0..leaves));
        for size in 1..=6 {
            let made = together(size, |team| {
                let own = super::subtrees(leaves, &team.own(leaves));
                let own = own.into_iter().map(subtree).collect();
                let sum = team.sum(leaves, own, length, &Device::Cpu);
                bits(&sum.expect("a sum"))
            });
            assert_eq!(made.len(), size);
            for sum in made {
                assert_eq!(sum, expected, "{leaves} leaves, {size} processes");
            }
        }
    }
}

#[test]
fn where_one_fails_all_do() {
    let made = together(3, |team| {
        let is_second = team.own(3).start == 1;
        let own = match is_second {
            true => Err(anyhow::anyhow!("broken")),
            false => Ok(()),
        };
        let failed = team.all_well(own).expect_err("one has failed").to_string();
        let place = std::path::Path::new("run");
        let other = team.same(&[u8::from(is_second)], place);
        let other = other.expect_err("one differs").to_string();
        assert!(team.all_well(Ok(7)).is_ok_and(|seven| seven == 7));
        assert!(team.same(b"alike", place).is_ok());
        (failed, other)
    });
    let told: Vec<&str> = made.iter().map(|(failed, _)| failed.as_str()).collect();
    assert_eq!(told, ["rank 1: broken", "broken", "rank 1: broken"]);
    let other = "rank 1 finds another state in run than rank 0";
    assert!(made.iter().all(|(_, told)| told.starts_with(other)));
}

#[test]
fn what_one_tells_all_know() {
    let made = together(3, |team| {
        let own = team.own(5);
        let lists: Vec<Vec<f64>> = own.clone().map(|i| vec![0.5; i]).collect();
        let all = team.gather_lists(&lists).expect("lists");
        assert_eq!(
            all.iter().map(Vec::len).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
        let is_last = own.end == 5;
        (
            team.any(is_last).expect("an answer"),
            team.first(is_last).expect("an answer"),
            team.is_first(),
        )
    });
    assert_eq!(
        made,
        [
            (true, false, true),
            (true, false, false),
            (true, false, false)
        ]
    );
}
