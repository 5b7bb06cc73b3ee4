//! From which address an answer comes, and over which IP version.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code
)]

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hedgerow_net::{Node, NodeConfig, RequestFailure, ServerRequest, resolve};
use support::*;

/// Asks a server bound to `server`, at `ip`, from a client bound to `client`; returns where the
/// server saw the request come from.
async fn ask(server: &str, ip: &str, client: &str) -> IpAddr {
    let (sender, mut seen) = tokio::sync::mpsc::channel(1);
    let handler = move |request: ServerRequest| {
        let _ = sender.try_send(request.from);
        echo(request)
    };
    let server = Node::bind_server(address(server), hasty(), keys(), handler)
        .await
        .unwrap();
    let client = Node::bind_client(address(client), hasty()).await.unwrap();
    let asked = SocketAddr::new(ip.parse().unwrap(), server.local_addr().port());
    client.request(&target(asked, KEY), get("/")).await.unwrap();
    let from = seen.recv().await.unwrap();
    assert_eq!(from.port(), client.local_addr().port());
    from.ip()
}

fn has_ipv6() -> bool {
    let has_ipv6 = std::net::UdpSocket::bind("[::1]:0").is_ok();
    if !has_ipv6 {
        println!("skipped: this host has no IPv6");
    }
    has_ipv6
}

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// RFC 7252 §5.3.2: a client takes no response from elsewhere.
#[test]
fn answer_leaves_from_the_address_that_was_asked() {
    run(async {
        let from = ask("0.0.0.0:0", "127.0.0.2", "127.0.0.1:0").await;
        assert_eq!(from, LOCALHOST);
    });
}

#[test]
fn wildcard_of_ipv6_answers_ipv4_from_the_address_that_was_asked() {
    if has_ipv6() {
        run(async {
            let from = ask("[::]:0", "127.0.0.2", "127.0.0.1:0").await;
            assert_eq!(from, LOCALHOST);
        });
    }
}

#[test]
fn wildcard_clients_reach_both_ip_versions() {
    if has_ipv6() {
        run(async {
            ask("127.0.0.1:0", "127.0.0.1", "[::]:0").await;
            ask("[::1]:0", "::1", "[::]:0").await;
            ask("[::]:0", "::1", "[::1]:0").await;
            ask("127.0.0.2:0", "127.0.0.2", "0.0.0.0:0").await;
        });
    }
}

#[test]
fn peer_of_a_wildcard_server_keeps_to_its_association() {
    run(async {
        let server = Node::bind_server(address("0.0.0.0:0"), hasty(), keys(), echo)
            .await
            .unwrap();
        let client = client().await;
        let port = server.local_addr().port();
        for ip in ["127.0.0.2", "127.0.0.3"] {
            let target = target(SocketAddr::new(ip.parse().unwrap(), port), KEY);
            client.request(&target, get("/")).await.unwrap();
            client.request(&target, get("/")).await.unwrap();
        }
        // One client port, two addresses of the server: two associations at both ends.
        assert_eq!(client.statistics().established, 2);
        assert_eq!(server.statistics().associations, 2);
        // The server has no second name for a peer that called it.
        let refused = server
            .request(&target(client.local_addr(), KEY), get("/"))
            .await;
        let in_use = hedgerow_endpoint::Error::AddressInUse;
        assert_eq!(refused, Err(RequestFailure::Refused(in_use)));
    });
}

#[test]
fn addresses_that_no_single_peer_has_are_refused() {
    run(async {
        let client = Node::bind_client(address("127.0.0.1:0"), NodeConfig::default())
            .await
            .unwrap();
        for text in [
            "[::1]:5684",
            "0.0.0.0:5684",
            "224.0.1.187:5684",
            "127.0.0.1:0",
        ] {
            let address = address(text);
            let refused = client.request(&target(address, KEY), get("/")).await;
            assert_eq!(refused, Err(RequestFailure::UnusableAddress { address }));
        }
        assert_eq!(client.statistics().associations, 0);
    });
}

#[test]
fn literals_need_no_resolver() {
    run(async {
        for (host, expected) in [
            ("127.0.0.1", "127.0.0.1:5684"),
            ("::1", "[::1]:5684"),
            ("[::1]", "[::1]:5684"),
        ] {
            assert_eq!(resolve(host, 5_684).await.unwrap(), [address(expected)]);
        }
        let error = resolve("", 5_684).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    });
}
