//! Where secrets go that a user wants to see: a log for Wireshark.

/// Takes in the secrets of connections, so that recordings can be read by whoever debugs them.
///
/// Whoever has the log reads every connection in it. There is none unless the application puts one
/// in, and it should say so loudly.
pub trait KeyLog {
    /// Takes in the secret called `label` of the connection whose ClientHello has `client_random`.
    ///
    /// The label of a TLS 1.2 or DTLS 1.2 master secret is `CLIENT_RANDOM`, as in the format of NSS
    /// that Wireshark reads: one line of label, random bytes and secret, both in hexadecimal.
    fn log(&self, label: &str, client_random: &[u8; 32], secret: &[u8]);
}
