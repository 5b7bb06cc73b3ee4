//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};
use hedgerow_coap::{Code, ContentFormat};

use crate::certificates::Files;
use crate::facade::FacadeArguments;
use crate::fetch::FetchArguments;
use crate::listen::ListenArguments;
use crate::via::ViaArguments;
use crate::{exit, fetch, listen, media};

/// Security for CoAP: a gateway from HTTP to CoAP devices over DTLS, and a client.
///
/// Without a command it starts three simulated devices and a gateway in front of them, and says
/// what to try.
#[derive(Debug, Parser)]
#[command(
    name = "hedgerow",
    version,
    after_help = exit::HELP,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Where the demonstration's gateway listens for HTTP; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,

    /// Say more on standard error; twice for what happens on the wire, three times for all
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Put a gateway in front of the devices that a configuration names
    Gateway(GatewayArguments),
    /// Serve HTTP on this machine for devices behind a gateway that can't read what is asked
    Facade(FacadeArguments),
    /// Be a device that asks an HTTPS server through a gateway that can't read it (experimental)
    #[command(after_help = fetch::HELP)]
    Fetch(FetchArguments),
    /// Be an Internet end that devices call through a gateway that can't read them (mode itls, experimental)
    #[command(after_help = listen::HELP)]
    Listen(ListenArguments),
    /// Read a resource
    #[command(after_help = CLIENT_HELP)]
    Get(RequestArguments),
    /// Write a resource
    #[command(after_help = CLIENT_HELP)]
    Put(PayloadRequestArguments),
    /// Give a resource something to work on
    #[command(after_help = CLIENT_HELP)]
    Post(PayloadRequestArguments),
    /// Delete a resource
    #[command(after_help = CLIENT_HELP)]
    Delete(RequestArguments),
}

#[derive(Debug, Args)]
pub(crate) struct GatewayArguments {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "hedgerow.toml")]
    pub(crate) config: PathBuf,

    /// Only read the configuration and report its mistakes; nothing listens
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RequestArguments {
    /// A coap://, coaps://, coap+tcp:// or coaps+tcp:// URI
    pub(crate) uri: String,

    /// The identity to show the server (coaps, coaps+tcp)
    #[arg(short, long, value_name = "IDENTITY", requires = "key")]
    pub(crate) user: Option<String>,

    /// The key that goes with it: text, hexadecimal digits behind 0x, or @FILE (coaps, coaps+tcp)
    ///
    /// Other users of this machine can read a running command's line, and its key with it. With
    /// @FILE the key is read from a file, which may end in a newline.
    #[arg(short, long, value_name = "KEY", requires = "user")]
    pub(crate) key: Option<String>,

    /// Others have the key too, so that any of them can play the server (SharedKey)
    #[arg(long, requires = "key")]
    pub(crate) shared_key: bool,

    /// A file with identities, keys and certificates by URI, such as the demonstration writes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "key"])]
    pub(crate) keys: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) certificates: CertificateArguments,

    #[command(flatten)]
    pub(crate) via: ViaArguments,

    /// The gateway hasn't got the key of -u and -k, nor the certificates' private keys
    ///
    /// In a file for --keys the line end_to_end = true says that.
    #[arg(long, requires = "via", conflicts_with = "shared_key")]
    pub(crate) end_to_end: bool,

    /// The format wanted: a number, a media type or a short name such as json
    #[arg(short = 'A', long, value_name = "TYPE", value_parser = media::parse)]
    pub(crate) accept: Option<ContentFormat>,

    /// Send without asking for an acknowledgement, and so without retransmission; over TCP there is
    /// none anyway
    #[arg(short = 'N', long)]
    pub(crate) non_confirmable: bool,

    /// Give up after this many seconds, whatever is under way
    #[arg(
        short = 'B',
        long,
        value_name = "SECONDS",
        default_value = "90",
        value_parser = clap::value_parser!(u32).range(1..=86_400)
    )]
    pub(crate) seconds: u32,

    /// Write the payload to a file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Print one JSON object on standard output, for a response and for a failure
    #[arg(long)]
    pub(crate) json: bool,

    /// Let the server name a connection ID, by which it knows this client wherever its address moves to
    /// (coaps)
    #[arg(long)]
    pub(crate) connection_id: bool,

    /// Write the connection's secret to a file, for Wireshark: whoever reads it reads the connection
    #[arg(long, value_name = "FILE")]
    pub(crate) key_log: Option<PathBuf>,
}

/// Certificate mode, with the letters of libcoap's client where it has the same.
#[derive(Debug, Args)]
pub(crate) struct CertificateArguments {
    /// Certificates to show the server, this end's own first, and its private key unless there is -j
    #[arg(short = 'c', long, value_name = "FILE", conflicts_with_all = ["user", "key", "keys"])]
    pub(crate) certificate: Option<PathBuf>,

    /// The private key that goes with -c
    #[arg(short = 'j', long, value_name = "FILE", requires = "certificate")]
    pub(crate) private_key: Option<PathBuf>,

    /// The certificate of the authority that vouches for the server
    #[arg(short = 'C', long, value_name = "FILE", conflicts_with_all = ["user", "key", "keys"])]
    pub(crate) authority: Option<PathBuf>,

    /// Certificates of further authorities to trust
    #[arg(short = 'R', long, value_name = "FILE", conflicts_with_all = ["user", "key", "keys"])]
    pub(crate) trusted: Option<PathBuf>,

    /// The private key whose raw public key is shown to the server in place of a certificate
    #[arg(short = 'M', long, value_name = "FILE", conflicts_with_all = ["certificate", "user", "key", "keys"])]
    pub(crate) raw_public_key: Option<PathBuf>,

    /// The server's raw public key, or a certificate that it stands in
    #[arg(long, value_name = "FILE", conflicts_with_all = ["authority", "trusted", "user", "key", "keys"])]
    pub(crate) server_key: Option<PathBuf>,

    /// The name in the server's certificate, if it isn't the URI's host
    #[arg(long, value_name = "NAME", conflicts_with_all = ["server_key", "user", "key", "keys"])]
    pub(crate) server_name: Option<String>,
}

impl CertificateArguments {
    pub(crate) fn files(&self) -> Files {
        Files {
            certificate: self.certificate.clone(),
            private_key: self
                .private_key
                .clone()
                .or_else(|| self.raw_public_key.clone()),
            authorities: self
                .authority
                .iter()
                .chain(&self.trusted)
                .cloned()
                .collect(),
            server_key: self.server_key.clone(),
            server_name: self.server_name.clone(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PayloadRequestArguments {
    #[command(flatten)]
    pub(crate) request: RequestArguments,

    /// The payload, as it stands
    #[arg(short = 'e', long, value_name = "TEXT", conflicts_with = "file")]
    pub(crate) payload: Option<String>,

    /// A file with the payload; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// The payload's format: a number, a media type or a short name such as json
    #[arg(short = 't', long = "type", value_name = "TYPE", value_parser = media::parse)]
    pub(crate) content_format: Option<ContentFormat>,
}

/// One request of the client, whatever its method.
#[derive(Debug)]
pub(crate) struct RequestLine {
    pub(crate) method: Code,
    pub(crate) common: RequestArguments,
    pub(crate) payload: Option<String>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) content_format: Option<ContentFormat>,
}

impl RequestLine {
    pub(crate) const fn bare(method: Code, common: RequestArguments) -> Self {
        Self {
            method,
            common,
            payload: None,
            file: None,
            content_format: None,
        }
    }

    pub(crate) fn with_payload(method: Code, arguments: PayloadRequestArguments) -> Self {
        Self {
            method,
            common: arguments.request,
            payload: arguments.payload,
            file: arguments.file,
            content_format: arguments.content_format,
        }
    }
}

impl RequestArguments {
    pub(crate) fn limit(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

const CLIENT_HELP: &str = "\
The payload of a response goes to standard output, everything else to standard error. A coaps or
coaps+tcp URI needs an identity and a key (-u, -k), or certificates (-c, -j, -C) or raw public
keys (-M, --server-key); there is no fallback to an unsecured channel.

Through a gateway that can't read it (--via, --mode) a device is asked with a key that the gateway
hasn't: one of --keys with end_to_end = true, or -u and -k with --end-to-end.

Formats by short name: text, link, xml, binary, exi, json, cbor, senml-json, senml-cbor.

Exit codes: 0 done, 1 local failure, 2 usage, 3 name, 4 timeout, 5 credentials refused or not
answered, 6 other failures of the channel, 7 denied by the gateway, 14 response 4.xx, 15 response 5.xx.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_of_the_libcoap_client_are_understood() {
        let line = [
            "hedgerow",
            "put",
            "-u",
            "me",
            "-k",
            "0x01",
            "-e",
            "on",
            "-t",
            "text",
            "-A",
            "50",
            "-N",
            "-B",
            "3",
            "-v",
            "-v",
            "coaps://[::1]/state",
        ];
        let arguments = Arguments::try_parse_from(line).unwrap();
        assert_eq!(arguments.verbose, 2);
        let Some(Command::Put(put)) = arguments.command else {
            panic!("put");
        };
        assert_eq!(put.payload.as_deref(), Some("on"));
        assert_eq!(put.content_format, Some(ContentFormat::TEXT_PLAIN));
        assert_eq!(put.request.accept, Some(ContentFormat::JSON));
        assert!(put.request.non_confirmable);
        assert_eq!(put.request.limit(), Duration::from_secs(3));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for line in [
            "get",
            "get coap://h -u me",
            "get coap://h -k secret",
            "get coap://h -u me -k secret --keys file",
            "get coap://h -e payload",
            "get coaps://h -c own -u me -k secret",
            "get coaps://h -C ca --keys file",
            "get coaps://h -j key",
            "get coaps://h -M key -c own",
            "get coaps://h --server-key key -C ca",
            "get coaps://h --shared-key",
            "get coaps://h --via https://g",
            "get coaps://h --mode tunnel",
            "get coaps://h --via https://g --mode terminate",
            "get coaps://h -u me -k secret --end-to-end",
            "get coaps://h --token-file file",
            "get coap://h -B 0",
            "get coap://h -A unheard/of",
            "put coap://h -e payload -f file",
            "--listen 8080",
            "--listen 127.0.0.1:1 get coap://h",
            "listen -u me -k secret --via https://g",
            "listen --via https://g --mode itls",
            "listen --via https://g --mode itls -u me",
            "fetch https://h/",
            "fetch https://h/ --via coaps://g --service s",
        ] {
            let line = ["hedgerow"].into_iter().chain(line.split(' '));
            let error = Arguments::try_parse_from(line.clone()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line:?}");
        }
    }
}
