#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lerianctl::fuzzing::config_file(bytes));
