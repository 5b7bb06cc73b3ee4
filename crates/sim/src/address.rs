//! Where a datagram comes from and goes to.

use std::fmt;

/// A host and a port, in the six bytes that stand for a socket address in the simulated network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 6]);

impl Address {
    /// Makes the address of `port` at the host of that number.
    pub const fn new(host: u32, port: u16) -> Self {
        let [a, b, c, d] = host.to_be_bytes();
        let [e, f] = port.to_be_bytes();
        Self([a, b, c, d, e, f])
    }

    /// Returns the host's number.
    pub const fn host(self) -> u32 {
        let [a, b, c, d, _, _] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Returns the port.
    pub const fn port(self) -> u16 {
        let [_, _, _, _, e, f] = self.0;
        u16::from_be_bytes([e, f])
    }

    /// Lends the address as the opaque bytes that a cookie is bound to: 4 of host, 2 of port.
    pub const fn as_bytes(&self) -> &[u8; 6] {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host{}:{}", self.host(), self.port())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn host_and_port_come_back_and_print() {
        let address = Address::new(0x0102_0304, 5684);
        assert_eq!((address.host(), address.port()), (0x0102_0304, 5684));
        assert_eq!(address.as_bytes(), &[1, 2, 3, 4, 0x16, 0x34]);
        assert_eq!(Address::new(7, 80).to_string(), "host7:80");
    }
}
