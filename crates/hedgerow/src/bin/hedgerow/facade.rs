//! `hedgerow facade`: HTTP on the user's own machine, in front of devices behind a gateway that isn't
//! trusted.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use hedgerow_coap::CoapUri;
use hedgerow_gateway::{Config, Device, Gateway, Security};
use hedgerow_proxy::Methods;

use crate::exit::{Class, Failure};
use crate::key_file::{self, Entry};
use crate::shutdown::Shutdown;
use crate::via::{Via, ViaArguments};
use crate::{gateway, report};

#[derive(Debug, Args)]
pub(crate) struct FacadeArguments {
    #[command(flatten)]
    pub(crate) via: ViaArguments,

    /// The devices and their keys: every entry with end_to_end = true, a key and a coaps:// URI
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: PathBuf,

    /// Where to listen for HTTP; port 0 takes a free one. Whoever reaches it can ask the devices
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8081")]
    pub(crate) listen: SocketAddr,
}

/// Serves HTTP until it is asked to end.
pub(crate) async fn run(arguments: &FacadeArguments) -> Result<(), Failure> {
    let via = Via::for_all(&arguments.via)?;
    if !arguments.listen.ip().is_loopback() {
        return Err(Failure::usage(
            "--listen: plain HTTP beyond this host would end what is secured end to end: expected a \
             loopback address",
        ));
    }
    let mut config = Config::default().with_http(arguments.listen);
    let mut names = Vec::new();
    for (uri, entry) in key_file::end_to_end(&arguments.keys)? {
        let parsed = CoapUri::parse(&uri).map_err(|error| Failure::usage(error.to_string()))?;
        let Entry::Psk { identity, psk, .. } = entry else {
            continue;
        };
        let name = format!("{}", parsed.host()).replace(['[', ']', ':'], "-");
        let security = Security::Psk {
            identity: identity.into_bytes(),
            key: psk,
            is_shared: false,
        };
        names.push((name.clone(), uri.clone()));
        config.hc_devices.push(name.clone());
        config = config.with_device(Device::new(name, uri, security).with_methods(Methods::ALL));
    }
    if names.is_empty() {
        return Err(Failure::usage(format!(
            "{}: expected entries with end_to_end = true, a key and a coaps:// URI",
            arguments.keys.display()
        )));
    }
    config.via = Some(via);
    let mut shutdown =
        Shutdown::listen().map_err(|error| Failure::new(Class::Local, error.to_string()))?;
    let running = Gateway::start(config).await.map_err(gateway::explain)?;
    let http = running.http_addr().unwrap_or(arguments.listen);
    let mut text = String::new();
    for (name, uri) in names {
        text.push_str(&format!("http://{http}/devices/{name}/  {uri}\n"));
    }
    // Where standard output can't be written to, nobody reads it.
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    drop(stdout);
    shutdown.requested().await;
    report::tell("closing");
    running.shutdown().await;
    Ok(())
}
