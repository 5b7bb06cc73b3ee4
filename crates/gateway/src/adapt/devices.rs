//! What TLS clients may take of devices that adapt to them: over all listeners, since a device has its places once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hedgerow_endpoint::Source;
use tokio::time::Instant;

use crate::rate::{Rate, SourceRates};

/// The shares of all devices.
pub(crate) struct DeviceShares {
    /// In the registry's order.
    devices: Vec<Arc<DeviceShare>>,
}

/// What all connections to one device have in common.
struct DeviceShare {
    taken: Mutex<Taken>,
    opens: Mutex<Opens>,
}

/// How often the device is asked.
struct Opens {
    in_all: Rate,
    for_source: SourceRates,
}

/// Places that are taken. There are no more sources than places.
#[derive(Default)]
struct Taken {
    all: usize,
    of_source: HashMap<Source, usize>,
}

/// A connection's place with a device, free again once it is dropped.
pub(super) struct Place {
    device: Arc<DeviceShare>,
    source: Source,
}

impl DeviceShares {
    /// Nothing is taken yet of so many devices.
    pub(crate) fn new(devices: usize) -> Self {
        let now = Instant::now();
        let share = || {
            let for_source = Rate::new(SOURCE_BURST, SOURCE_INTERVAL, now);
            Arc::new(DeviceShare {
                taken: Mutex::default(),
                opens: Mutex::new(Opens {
                    in_all: Rate::new(DEVICE_BURST, DEVICE_INTERVAL, now),
                    for_source: SourceRates::new(for_source),
                }),
            })
        };
        Self {
            devices: std::iter::repeat_with(share).take(devices).collect(),
        }
    }

    /// Takes one of `most` places with the device at `index` for a client from there, and one of the turns that the
    /// device has, and that client with it; `None` where there is none. A source has half of the places, so that one alone
    /// shuts nobody out.
    pub(super) fn enter(
        &self,
        index: usize,
        from: IpAddr,
        most: usize,
        now: Instant,
    ) -> Option<Place> {
        let device = self.devices.get(index)?;
        let place = DeviceShare::enter(device, Source::of(from), most)?;
        lock(&device.opens).take(from, now).then_some(place)
    }
}

impl Opens {
    /// Takes a turn. A source that is past its own rate takes nothing of the device's, which is for all.
    fn take(&mut self, from: IpAddr, now: Instant) -> bool {
        self.for_source.take(from, now) && self.in_all.take(now)
    }
}

impl DeviceShare {
    fn enter(device: &Arc<Self>, source: Source, most: usize) -> Option<Place> {
        let mut taken = lock(&device.taken);
        let of_source = taken.of_source.get(&source).copied().unwrap_or_default();
        if taken.all >= most || of_source >= most.div_ceil(2) {
            return None;
        }
        taken.all = taken.all.saturating_add(1);
        taken.of_source.insert(source, of_source.saturating_add(1));
        Some(Place {
            device: Arc::clone(device),
            source,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.device.taken);
        taken.all = taken.all.saturating_sub(1);
        match taken.of_source.get_mut(&self.source) {
            Some(of_source) if *of_source > 1 => *of_source = of_source.saturating_sub(1),
            _ => drop(taken.of_source.remove(&self.source)),
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Streams that are opened to a device at once, and how often one more after that: each costs it a handshake.
const DEVICE_BURST: u32 = 20;
const DEVICE_INTERVAL: Duration = Duration::from_millis(100);

/// The same for a source, with half of it.
const SOURCE_BURST: u32 = 10;
const SOURCE_INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_has_half_of_the_places_and_leaves_nothing_behind() {
        let devices = DeviceShares::new(2);
        let now = Instant::now();
        let enter =
            |index, from: &str, most| devices.enter(index, from.parse().unwrap(), most, now);
        let first = enter(0, "192.0.2.1", 4).unwrap();
        let second = enter(0, "192.0.2.1", 4).unwrap();
        assert!(enter(0, "192.0.2.1", 4).is_none());
        // The other device's are others, and a listener with fewer places counts those of all.
        assert!(enter(1, "192.0.2.1", 4).is_some());
        assert!(enter(0, "192.0.2.2", 2).is_none());
        let others = ["192.0.2.2", "192.0.2.3"].map(|from| enter(0, from, 4).unwrap());
        assert!(enter(0, "192.0.2.4", 4).is_none());
        drop(first);
        let last = enter(0, "192.0.2.4", 4).unwrap();
        drop((second, others, last));
        let taken = lock(&devices.devices[0].taken);
        assert!(taken.all == 0 && taken.of_source.is_empty());
        drop(taken);
        // Where there is one place it is whose comes first.
        assert!(enter(1, "192.0.2.1", 1).is_some());
    }

    #[test]
    fn source_that_has_used_its_turns_with_one_device_has_those_with_another() {
        let devices = DeviceShares::new(2);
        let now = Instant::now();
        let enter = |index, from: &str| devices.enter(index, from.parse().unwrap(), 4, now);
        for _ in 0..SOURCE_BURST {
            assert!(enter(0, "192.0.2.1").is_some());
        }
        assert!(enter(0, "192.0.2.1").is_none());
        assert!(enter(0, "192.0.2.2").is_some());
        assert!(enter(1, "192.0.2.1").is_some());
    }
}
