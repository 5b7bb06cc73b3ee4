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
    let entries = key_file::end_to_end(&arguments.keys)?;
    let (entries, left_out): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .partition(|(_, entry)| matches!(entry, Entry::Psk { .. }));
    for (uri, _) in left_out {
        report::tell(&format!(
            "{uri}: left out: the facade asks devices with keys alone, and this entry has certificates"
        ));
    }
    let uris = entries.iter().map(|(uri, _)| uri.as_str());
    let names = device_names(&uris.collect::<Vec<_>>()).map_err(Failure::usage)?;
    let mut config = Config::default().with_http(arguments.listen);
    let mut listed = Vec::new();
    for (name, (uri, entry)) in names.into_iter().zip(entries) {
        let Entry::Psk { identity, psk, .. } = entry else {
            continue;
        };
        let security = Security::Psk {
            identity: identity.into_bytes(),
            key: psk,
            is_shared: false,
        };
        listed.push((name.clone(), uri.clone()));
        config.hc_devices.push(name.clone());
        config = config.with_device(Device::new(name, uri, security).with_methods(Methods::ALL));
    }
    if listed.is_empty() {
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
    for (name, uri) in listed {
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

/// Names devices by their hosts, and by host and port those whose host isn't theirs alone.
fn device_names(uris: &[&str]) -> Result<Vec<String>, String> {
    let mut places = Vec::new();
    for uri in uris {
        let parsed = CoapUri::parse(uri).map_err(|error| error.to_string())?;
        let host = parsed.host().to_string().replace(['[', ']', ':'], "-");
        places.push((host, parsed.port()));
    }
    let is_alone = |host: &String| places.iter().filter(|(other, _)| other == host).count() == 1;
    let names: Vec<_> = places
        .iter()
        .map(|(host, port)| match is_alone(host) {
            true => host.clone(),
            false => format!("{host}-{port}"),
        })
        .collect();
    for (index, (name, uri)) in names.iter().zip(uris).enumerate() {
        let before = names.get(..index).unwrap_or_default();
        if let Some(first) = before.iter().position(|other| other == name) {
            let first = uris.get(first).copied().unwrap_or_default();
            return Err(format!(
                "{first} and {uri} would both be called {name} here: ask one of them by its address, \
                 or in a facade of its own"
            ));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_one_host_are_told_apart_by_their_ports() {
        let names = |uris: &[&str]| device_names(uris);
        assert_eq!(
            names(&["coaps://lamp", "coaps://[::1]:4000", "coaps://192.0.2.1"]).unwrap(),
            ["lamp", "---1-", "192.0.2.1"]
        );
        assert_eq!(
            names(&["coaps://lamp", "coaps://meter", "coaps://lamp:4000"]).unwrap(),
            ["lamp-5684", "meter", "lamp-4000"]
        );
        let both = names(&["coaps://lamp", "coaps://lamp:1", "coaps://lamp-1"]).unwrap_err();
        assert!(both.contains("coaps://lamp:1") && both.contains("coaps://lamp-1 would both"));
    }
}
