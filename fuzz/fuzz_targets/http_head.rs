#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conniver::ingress::fuzzing::http_head(bytes));
