#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hedgerow_fuzz_bodies::tls_machine(data);
    hedgerow_fuzz_bodies::report_tls_reached();
});
