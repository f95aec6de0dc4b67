//! A fuzz target: the check that is named like the program, fed by libFuzzer.
#![no_main]

mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::run(env!("CARGO_BIN_NAME"), input));
