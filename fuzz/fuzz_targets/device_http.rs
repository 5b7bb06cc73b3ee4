#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hedgerow_fuzz_bodies::device_http(data));
