#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| strongroom::vault::fuzzed::cache_file(bytes));
