//! Every kept input of every fuzz target, and a few thousand random ones, in the ordinary test run.
//!
//! `corpus/TARGET/` holds a few seeds and, named by what they broke, the inputs of faults that are fixed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod checks;

use std::fs;
use std::path::Path;

/// xorshift64*.
struct Stir(u64);

impl Stir {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % bound
    }

    fn octet(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("rust/fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

#[test]
fn the_corpus_holds() {
    for (target, check) in checks::TARGETS {
        for (name, input) in corpus(target) {
            eprintln!("{name}");
            check(&input);
        }
    }
}

/// The seeds with a few octets changed: what a build without libFuzzer can do.
#[test]
fn neighbours_of_the_corpus_hold() {
    let mut stir = Stir(0x9E37_79B9_7F4A_7C15);
    for (target, check) in checks::TARGETS {
        let seeds = corpus(target);
        for _ in 0..1000 {
            let (name, mut input) = seeds[stir.below(seeds.len())].clone();
            for _ in 0..=stir.below(6) {
                let at = stir.below(input.len() + 1);
                match stir.below(4) {
                    0 => input.insert(at, stir.octet()),
                    1 => input.truncate(at.max(1)),
                    2 if at < input.len() => drop(input.remove(at)),
                    _ if at < input.len() => input[at] = stir.octet(),
                    _ => input.extend_from_slice(&seeds[stir.below(seeds.len())].1),
                }
            }
            eprintln!("{name}: {input:?}"); // shown when the check fails
            check(&input);
        }
    }
}
