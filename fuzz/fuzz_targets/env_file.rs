#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lerianctl::fuzzing::env_file(bytes));
