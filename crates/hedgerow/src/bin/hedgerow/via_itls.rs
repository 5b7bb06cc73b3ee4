//! Mode `itls`: the way to a gateway over TLS, and what is said of it.

use hedgerow_core::WayRefusal;
use hedgerow_itls::Suite;
use hedgerow_net::{GatewayTls, GatewayUri, GatewayUser, ItlsConfig};

use crate::exit::{Class, Failure};
use crate::target::Security;

/// Makes of what the command line says how the gateway is asked.
pub(crate) fn config(
    gateway: GatewayUri,
    tls: GatewayTls,
    user: Option<GatewayUser>,
) -> Result<ItlsConfig, Failure> {
    if !gateway.is_https() {
        return Err(Failure::usage(format!(
            "--via: {gateway}: expected https://HOST:PORT for mode itls, which has no outer layer without TLS"
        )));
    }
    let mut config = ItlsConfig::new(gateway, tls);
    config.user = user;
    Ok(config)
}

/// Refuses what this mode has no use for.
pub(crate) fn check(security: &Security, has_connection_id: bool) -> Result<(), Failure> {
    if has_connection_id {
        return Err(Failure::usage(
            "--connection-id: in mode itls there are no DTLS records between here and the device",
        ));
    }
    match security {
        Security::Psk { .. } => Ok(()),
        Security::NoSec | Security::Certificate { .. } => Err(Failure::usage(
            "mode itls knows the device by a pre-shared key: expected -u and -k, or --keys",
        )),
    }
}

/// Says what a gateway means that gives no way to the device.
pub(crate) fn refused(gateway: &str, device: &str, reason: WayRefusal) -> Failure {
    match reason {
        WayRefusal::Refused => Failure::new(
            Class::Denied,
            format!(
                "{gateway}: it has no device called {device}, or not in mode itls: the name is the one in \
                 the gateway's configuration"
            ),
        ),
        other => Failure::new(Class::Protocol, format!("{gateway}: the gateway {other}")),
    }
}

/// Returns how a suite of inner sessions is called.
pub(crate) const fn suite_name(suite: Suite) -> &'static str {
    match suite {
        Suite::Aes128Ccm8 => "AES_128_CCM_8",
        Suite::Aes128Ccm => "AES_128_CCM",
    }
}
