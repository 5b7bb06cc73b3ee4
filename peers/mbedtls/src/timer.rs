//! The timer of a handshake, as Mbed TLS calls it.

use core::ffi::{c_int, c_void};
use std::time::{Duration, Instant};

/// An intermediate and a final delay, counted from when they were set; none once it is cancelled.
#[derive(Default)]
pub(crate) struct Timer(Option<(Instant, Duration, Duration)>);

/// `mbedtls_ssl_set_timer_t`
///
/// # Safety
///
/// `timer` is a [`Timer`] that nothing else refers to.
#[expect(
    clippy::disallowed_methods,
    reason = "a peer that nobody here wrote runs in real time"
)]
pub(crate) unsafe extern "C" fn set(timer: *mut c_void, intermediate: u32, last: u32) {
    // SAFETY: what the caller promises.
    let timer = unsafe { &mut *timer.cast::<Timer>() };
    let millis = |millis| Duration::from_millis(u64::from(millis));
    timer.0 = (last != 0).then(|| (Instant::now(), millis(intermediate), millis(last)));
}

/// `mbedtls_ssl_get_timer_t`: -1 without a timer, else how many of the two delays have passed.
///
/// # Safety
///
/// `timer` is a [`Timer`] that nothing writes to.
pub(crate) unsafe extern "C" fn get(timer: *mut c_void) -> c_int {
    // SAFETY: what the caller promises.
    let timer = unsafe { &*timer.cast::<Timer>() };
    timer.0.map_or(-1, |(set_at, intermediate, last)| {
        let elapsed = set_at.elapsed();
        c_int::from(elapsed >= intermediate) + c_int::from(elapsed >= last)
    })
}
