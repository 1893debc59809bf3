//! The parsers that meet foreign bytes, over the committed corpora and mutations of them. The
//! mutations are the same in every run; `LERIANCTL_FUZZ_ROUNDS` asks for more of them.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use lerianctl::fuzzing::TARGETS;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// Mutations of every corpus unless asked for more.
const ROUNDS: u32 = 3000;

#[expect(
    clippy::disallowed_methods,
    reason = "who runs the tests may ask for more of them"
)]
fn rounds() -> u32 {
    std::env::var("LERIANCTL_FUZZ_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(ROUNDS)
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 3, "{name} has hardly anything to start from");
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Texts that parsers trip over.
const TOKENS: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"'",
    b"\"",
    b"\\",
    b"''",
    b"\n",
    b"=",
    b".",
    b"-",
    b"--",
    b"{",
    b"}",
    b"[",
    b"null",
    b"1e999",
    b"-0",
    b"\\u0000",
    b"\\ud800",
    b"\xe2\x80\xae",
    b"\xc3\xa9",
    b"=",
    b"$(",
    b"`",
    b"99999999999999999999",
    b"tenant:",
    b"eyJ",
    b" ",
    b"\r",
    b"\t",
];

fn mutate(random: &mut StdRng, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..7_u32) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.random()),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8_u32),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => {
                let token = TOKENS.choose(random).expect("there are some");
                drop(bytes.splice(at..at, token.iter().copied()));
            }
            5 => {
                let other = others.choose(random).expect("there are some");
                let from = random.random_range(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let piece = bytes[at..].to_vec();
                for _ in 0..random.random_range(0..8_u32) {
                    bytes.extend_from_slice(&piece);
                }
                bytes.truncate(20_000);
            }
        }
    }
}

#[test]
fn no_parser_fails_on_its_corpus_or_on_mutations_of_it() {
    let rounds = rounds();
    std::thread::scope(|scope| {
        for (name, target) in TARGETS {
            scope.spawn(move || {
                let seeds = corpus(name);
                let try_it = |bytes: &[u8]| {
                    let ended = catch_unwind(AssertUnwindSafe(|| target(bytes)));
                    assert!(
                        ended.is_ok(),
                        "{name} fails on {:?}",
                        String::from_utf8_lossy(bytes)
                    );
                };
                for seed in &seeds {
                    try_it(seed);
                }
                let mut random = StdRng::seed_from_u64(7);
                for _ in 0..rounds {
                    let mut bytes = seeds.choose(&mut random).expect("there are some").clone();
                    mutate(&mut random, &mut bytes, &seeds);
                    try_it(&bytes);
                }
            });
        }
    });
}

#[test]
fn every_target_has_a_program_for_cargo_fuzz_and_a_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let program = fs::read_to_string(root.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(
            program.contains(&format!("lerianctl::fuzzing::{name}(")),
            "{name}"
        );
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        corpus(name);
    }
    let count = |folder: &str| fs::read_dir(root.join(folder)).unwrap().count();
    assert_eq!(count("fuzz_targets"), TARGETS.len());
    assert_eq!(count("corpus"), TARGETS.len());
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
