//! A simulated device behind a socket.

use std::sync::{Mutex, PoisonError};

use hedgerow_core::Instant;
use hedgerow_net::{Handler, ResponseMessage, ServerRequest};

use super::Device;

/// Answers the requests that a node receives from one device, one after the other. The device's
/// clock starts when this is made.
#[derive(Debug)]
pub struct DeviceServer<D> {
    device: Mutex<D>,
    switched_on: tokio::time::Instant,
}

impl<D: Device> DeviceServer<D> {
    /// Switches `device` on.
    pub fn new(device: D) -> Self {
        Self {
            device: Mutex::new(device),
            switched_on: tokio::time::Instant::now(),
        }
    }
}

impl<D: Device + Send + 'static> Handler for DeviceServer<D> {
    async fn handle(&self, request: ServerRequest) -> ResponseMessage {
        let micros = self.switched_on.elapsed().as_micros();
        let now = Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        // A device keeps no promise between two requests that a panic could have broken.
        let mut device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        device.handle(now, &request.message)
    }
}
