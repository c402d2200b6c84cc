//! Every input of the corpus is read without a panic: the seeds, and what a fuzzer has found.

use std::{fs, path::Path};

use alambic_fuzz::{Bench, TARGETS};

#[test]
fn every_input_of_the_corpus_is_read_or_refused() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in &TARGETS {
        let bench = Bench::new(target).expect("a temporary folder");
        let entries = fs::read_dir(corpus.join(target.name));
        let mut inputs: Vec<_> = entries
            .unwrap_or_else(|error| panic!("corpus/{}: {error}", target.name))
            .map(|entry| entry.expect("an entry").path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "corpus/{} has no seed", target.name);
        for input in inputs {
            // The name of the one at fault stands above the panic.
            println!("{}", input.display());
            bench.feed(&fs::read(&input).expect("an input"));
        }
    }
}

#[test]
fn damaged_seeds_are_read_or_refused() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in &TARGETS {
        let bench = Bench::new(target).expect("a temporary folder");
        for entry in fs::read_dir(corpus.join(target.name)).expect("seeds") {
            let path = entry.expect("an entry").path();
            let seed = fs::read(&path).expect("a seed");
            for part in 0..24 {
                let at = seed.len() * part / 24;
                println!("{} at {at}", path.display());
                bench.feed(&seed[..at]);
                let mut changed = seed.clone();
                if let Some(byte) = changed.get_mut(at) {
                    *byte ^= 1 << (part % 8);
                    bench.feed(&changed);
                }
            }
        }
    }
}
