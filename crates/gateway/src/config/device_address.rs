//! What a device sees of a tunnel with two carriers.

/// Which addresses a tunnel with two carriers (mode `auto`) has towards its device (`docs/specs/auto.md`).
/// A tunnel with one carrier has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceAddress {
    /// One for the session, whatever carries it. The device sees no change of carrier.
    #[default]
    Session,
    /// One for each carrier, where the session has a connection ID towards the device: what comes by the UDP
    /// carrier has the second one, and the device follows (RFC 9146 §6). A session without has one.
    Carrier,
}

/// The words of a configuration file.
pub(super) const DEVICE_ADDRESSES: &[(&str, DeviceAddress)] = &[
    ("session", DeviceAddress::Session),
    ("carrier", DeviceAddress::Carrier),
];
