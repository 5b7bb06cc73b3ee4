#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hedgerow_fuzz_bodies::handshake_machine(data);
    hedgerow_fuzz_bodies::report_reached();
});
