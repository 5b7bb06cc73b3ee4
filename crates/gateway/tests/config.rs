//! Every mistake in a configuration has a line and says what was expected.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../../net/tests/support/authority.rs"]
mod authority;

use std::path::{Path, PathBuf};
use std::time::Duration;

use authority::{Authority, Purpose, Time};
use hedgerow_core::Psk;
use hedgerow_endpoint::{ConnectionIdFormat, ConnectionIds};
use hedgerow_gateway::{
    Config, ConfigError, Device, DeviceAddress, Https, Itls, Security, TlsListener, Translate,
};
use hedgerow_proxy::Methods;
use hedgerow_record::StreamApplication;
use proptest::prelude::*;

const SECRET: &str = "0x746f7020736563726574206b65792121";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::from_toml(text, "hedgerow.toml", Path::new(""))
}

/// A device with lines of its own in place of, or beside, what makes it valid.
fn device(lines: &[&str]) -> String {
    let mut text = "[[device]]\n".to_owned();
    let usual = [
        "name = \"lamp\"",
        "uri = \"coaps://[2001:db8::7]:5684\"",
        "mode = \"terminate\"",
        "security = \"psk\"",
        "psk_identity = \"gateway\"",
        "psk = \"0x746f7020736563726574206b65792121\"",
    ];
    let key = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let is_replaced = |line: &str| lines.iter().any(|other| key(other) == key(line));
    let rest = usual.iter().filter(|line| !is_replaced(line));
    for line in lines.iter().chain(rest) {
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[test]
fn connection_ids_and_pings_are_configured_under_dtls() {
    let dtls = |lines: &str| parse(&format!("[dtls]\n{lines}\n{}", device(&[]))).map(|it| it.dtls);
    let ids = |lines: &str| dtls(lines).unwrap().connection_ids;
    let format = ConnectionIdFormat::new(0);
    assert_eq!(ids(""), ConnectionIds::Off);
    assert_eq!(ids("connection_id = \"off\""), ConnectionIds::Off);
    assert_eq!(ids("connection_id = \"send\""), ConnectionIds::SendOnly);
    assert_eq!(
        ids("connection_id = \"receive\""),
        ConnectionIds::Both(format)
    );
    let all = "connection_id = \"receive\"\nconnection_id_node = 65535\nconnection_id_length = 32";
    let format = ConnectionIdFormat::new(65_535).with_len(32);
    assert_eq!(ids(all), ConnectionIds::Both(format));
    let pings = |lines: &str| dtls(lines).unwrap().ping_idle_after;
    assert_eq!(pings(""), None);
    let after = pings("ping_idle_after = \"5min\"");
    assert_eq!(after, Some(Duration::from_secs(300)));
    for (lines, key, message) in [
        (
            "connection_id = \"both\"",
            "dtls.connection_id",
            "expected \"off\"",
        ),
        (
            "connection_id_node = 1",
            "dtls.connection_id_node",
            "has a meaning with",
        ),
        (
            "connection_id = \"send\"\nconnection_id_length = 8",
            "dtls.connection_id_length",
            "has a meaning with",
        ),
        (
            "connection_id = \"receive\"\nconnection_id_node = 65536",
            "dtls.connection_id_node",
            "expected a whole number from 0 to 65535",
        ),
        (
            "connection_id = \"receive\"\nconnection_id_length = 6",
            "dtls.connection_id_length",
            "expected a whole number from 7 to 32",
        ),
        (
            "ping_idle_after = \"9s\"",
            "dtls.ping_idle_after",
            "expected 10s to",
        ),
    ] {
        let error = dtls(lines).unwrap_err();
        let [mistake] = error.mistakes() else {
            panic!("{lines}: {error}");
        };
        assert_eq!(mistake.key, key, "{lines}");
        assert!(mistake.message.contains(message), "{}", mistake.message);
    }
}

#[test]
fn example_is_valid_and_says_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hedgerow.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let config = parse(&text).unwrap();
    let default = Config::default();
    assert_eq!(config.http, default.http);
    assert_eq!(config.limits, default.limits);
    assert_eq!(config.timeouts, default.timeouts);
    assert_eq!(config.dtls, default.dtls);
    assert_eq!(config.coap, default.coap);
    assert_eq!(config.tunnel, default.tunnel);
    assert_eq!(config.hc_devices, ["thermometer"]);
    let names: Vec<_> = config.devices.iter().map(Device::name).collect();
    assert_eq!(names, ["thermometer", "lamp", "meter"]);
    assert_eq!(config.restart_bound(), Duration::from_secs(12));
}

#[test]
fn every_commented_line_of_the_example_is_valid_too() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hedgerow.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let folder = Folder::new("example");
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    folder.write("certificate.pem", &key.cert.pem(), 0o644);
    folder.write("private_key.pem", &key.signing_key.serialize_pem(), 0o640);
    folder.write("dashboard.key", "a browser's key!", 0o600);
    let site = Authority::new("site");
    let gateway = site.owner("gateway.example", Purpose::Client);
    folder.write("site.pem", &site.pem, 0o644);
    folder.write("gateway.pem", &gateway.certificate, 0o644);
    folder.write("gateway.key", &gateway.key, 0o600);
    let meter = site.owner("unused", Purpose::Server);
    folder.write("pump.pub", &meter.public_key, 0o644);
    folder.write("operator.token", "0123456789abcdef\n", 0o600);
    let lines: Vec<_> = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => setting,
            _ => line,
        })
        .collect();
    let text = lines.join("\n");
    let config = Config::from_toml(&text, "hedgerow.toml", &folder.0).unwrap();
    assert!(config.https.is_some() && config.https_psk.is_some());
    assert!(config.certificate.is_some());
    assert_eq!(config.users[0].name(), "operator");
    // What stands there of the modes is what counts without a line.
    let translate = config.translate.unwrap();
    assert_eq!(translate, Translate::new(translate.listen));
    let [listener] = &config.tls_listeners[..] else {
        panic!("{:?}", config.tls_listeners);
    };
    let mut default = TlsListener::new(listener.listen, StreamApplication::Coap);
    default.device.clone_from(&listener.device);
    default.names.clone_from(&listener.names);
    assert_eq!(*listener, default);
    let itls = config.itls.unwrap();
    let pem = [key.cert.pem(), key.signing_key.serialize_pem()];
    let default = Itls::from_pem(itls.listen, pem[0].as_bytes(), pem[1].as_bytes()).unwrap();
    let numbers = |itls: &Itls| {
        (
            (itls.connections, itls.connections_per_client),
            (itls.connections_per_user, itls.flows, itls.idle_timeout),
            (itls.flows_per_pair, itls.messages_per_second),
            itls.device_messages_per_second,
        )
    };
    assert_eq!(numbers(&itls), numbers(&default));
    assert_eq!(itls.callers.len(), 1);
    assert!(config.udp_carriers.is_some());

    // Where there are few connections, no client has all of them unless that is said.
    for (line, of_client) in [("", 3), ("connections_per_client = 5\n", 5)] {
        let few = text
            .replace("\nconnections = 1024 ", "\nconnections = 256 ")
            .replace("\nconnections_per_client = 128 ", "\n#")
            .replace("\nconnections_per_client = 16\n", "\n")
            .replace("\nconnections = 256 ", &format!("\n{line}connections = 5 "));
        let few = Config::from_toml(&few, "hedgerow.toml", &folder.0).unwrap();
        let itls = few.itls.unwrap();
        let (listener, translate) = (&few.tls_listeners[0], few.translate.unwrap());
        let pairs = [
            (few.limits.connections, few.limits.connections_per_client),
            (translate.connections, translate.connections_per_client),
            (listener.connections, listener.connections_per_client),
            (itls.connections, itls.connections_per_client),
        ];
        assert_eq!(pairs, [(5, of_client); 4]);
    }
}

#[test]
fn client_has_no_more_connections_than_there_are() {
    let file = |lines: &str| parse(&format!("[limits]\n{lines}"));
    let message = "6 found, more than connections = 5";
    let lines = "connections_per_client = 6\nconnections = 5\n";
    let text = format!("[limits]\n{lines}");
    expect_mistake(&text, 2, "limits.connections_per_client", message);
    // What is wrong with the other number is said once.
    let error = file("connections_per_client = 2000\nconnections = 0\n").unwrap_err();
    assert_eq!(error.mistakes().len(), 1, "{error}");
    let one = file("connections = 1\n").unwrap().limits;
    assert_eq!((one.connections, one.connections_per_client), (1, 1));
    let proxy = file("connections = 5\nconnections_per_client = 5\n").unwrap();
    assert_eq!(proxy.limits.connections_per_client, 5);
    let many = file("connections_per_client = 1024\n").unwrap();
    assert_eq!(many.limits.connections_per_client, 1_024);
}

/// What a table may have, by what the reader says of a key that it doesn't know.
fn keys_of(header: &str) -> Vec<String> {
    let error = parse(&format!("{header}\nzzzzzzzz = 1\n")).unwrap_err();
    let said = error.mistakes().iter().map(|mistake| &mistake.message);
    let mut lists = said.filter_map(|message| message.split_once("The keys here are "));
    let (_, keys) = lists.next().unwrap();
    keys.split(", ").map(str::to_owned).collect()
}

#[test]
fn example_names_every_table_every_key_and_every_mode() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hedgerow.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let is_name = |symbol: char| symbol.is_ascii_alphanumeric() || "_-.".contains(symbol);
    let words: Vec<_> = text.split(|symbol| !is_name(symbol)).collect();
    let mut missing = Vec::new();
    let mut tables = vec![(String::new(), String::new())];
    let mut read = 0;
    while let Some((name, header)) = tables.pop() {
        read += 1;
        for key in keys_of(&header) {
            let full = format!("{name}{key}");
            let headers = [format!("[[{full}]]"), format!("[{full}]")];
            let header = headers.iter().find(|header| text.contains(*header));
            match header {
                Some(header) => tables.push((format!("{full}."), header.clone())),
                None if words.contains(&key.as_str()) => {}
                // A key that a gateway must not have, and another way to say `security = "sharedkey"`.
                None if ["end_to_end", "shared_key"].contains(&key.as_str()) => {}
                None => missing.push(full),
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
    assert!(read > 15, "{read} tables were read");
    for mode in [
        "terminate",
        "tunnel",
        "translate",
        "translate-device",
        "itls",
    ] {
        assert!(text.contains(&format!("\"{mode}\"")), "{mode}");
    }
}

#[test]
fn each_mistake_has_its_line_its_key_and_what_was_expected() {
    let table: &[(&str, usize, &str, &str)] = &[
        // Not TOML.
        ("[http\n", 1, "", "unclosed table"),
        ("[http]\nlisten = \n", 2, "", "string"),
        ("[http]\n[http]\n", 2, "", "duplicate key"),
        // Unknown keys.
        (
            "\n[htpp]\n",
            2,
            "htpp",
            "did you mean http? The keys here are certificate, coap, device, dtls, hc,",
        ),
        ("[[devices]]\n", 1, "devices", "did you mean device?"),
        (
            "[http]\nlissten = 1\n",
            2,
            "http.lissten",
            "did you mean listen?",
        ),
        (
            "[limits]\ncolour = 1\n",
            2,
            "limits.colour",
            "unknown key. The keys here are",
        ),
        // Types and ranges.
        (
            "http = 1\n",
            1,
            "http",
            "a whole number found, expected a table, [http]",
        ),
        (
            "[device]\n",
            1,
            "device",
            "a table found, expected tables, [[device]]",
        ),
        (
            "[http]\nenabled = \"yes\"\n",
            2,
            "http.enabled",
            "a text found, expected true or false",
        ),
        (
            "[http]\nlisten = 8080\n",
            2,
            "http.listen",
            "expected an address and a port such as",
        ),
        (
            "[http]\nlisten = \"localhost\"\n",
            2,
            "http.listen",
            "another text found, expected an address",
        ),
        (
            "[http]\ncoaps = \"allways\"\n",
            2,
            "http.coaps",
            "did you mean \"always\"?",
        ),
        (
            "[http]\nenabled = false\n",
            2,
            "http.enabled",
            "nothing listens",
        ),
        (
            "[https]\n",
            1,
            "https.listen",
            "missing: expected an address and a port",
        ),
        (
            "[limits]\nrequests = 0\n",
            2,
            "limits.requests",
            "0 found, expected a whole number fro",
        ),
        (
            "[limits]\nrequests = -1\n",
            2,
            "limits.requests",
            "expected a whole number from 1 to ",
        ),
        (
            "[limits]\nrequest_body = \"1 MB\"\n",
            2,
            "limits.request_body",
            "or \"1 MiB\"",
        ),
        (
            "[limits]\nrequest_body = \"2048 MiB\"\n",
            2,
            "limits.request_body",
            "expected 0 to 107",
        ),
        (
            "[timeouts]\nhead = 5\n",
            2,
            "timeouts.head",
            "expected a duration such as \"250ms\"",
        ),
        (
            "[timeouts]\nhead = \"5 sec\"\n",
            2,
            "timeouts.head",
            "another text found, expected a durat",
        ),
        (
            "[timeouts]\nhead = \"1ms\"\n",
            2,
            "timeouts.head",
            "1ms found, expected 10ms to 86400s",
        ),
        (
            "[timeouts]\nrequest = \"9s\"\n",
            2,
            "timeouts.request",
            "expected more than 13s: a devi",
        ),
        (
            "[dtls]\nsuites = [\"TLS_PSK\"]\n",
            2,
            "dtls.suites",
            "\"TLS_PSK_WITH_AES_128_CCM_8\"",
        ),
        (
            "[dtls]\nsuites = []\n",
            2,
            "dtls.suites",
            "expected one suite or more",
        ),
        (
            "[dtls]\ndeadline = \"500ms\"\n",
            2,
            "dtls.deadline",
            "expected at least initial_timeou",
        ),
        (
            "[coap]\nack_random_factor = 0.5\n",
            2,
            "coap.ack_random_factor",
            "from 1.0 to 10.0",
        ),
        (
            "[coap]\nblock_len = 100\n",
            2,
            "coap.block_len",
            "expected 16, 32, 64, 128, 256, 512",
        ),
        (
            "[hc]\nenabled = true\n",
            1,
            "hc.devices",
            "missing: expected a list of names",
        ),
        (
            "[hc]\nenabled = true\ndevices = [\"x\"]",
            3,
            "hc.devices",
            "expected the name of a [[",
        ),
    ];
    for (text, line, key, message) in table {
        expect_mistake(text, *line, key, message);
    }
}

#[test]
fn each_mistake_in_a_device_has_its_line_its_key_and_what_was_expected() {
    let table: &[(&[&str], usize, &str, &str)] = &[
        (
            &["name = \"a b\""],
            2,
            "device.name",
            "device names are 1 to 63 letters",
        ),
        (
            &["uri = \"http://[::1]\""],
            2,
            "device.uri",
            "none of coap, coaps, coap+tcp and coaps+tcp; expected coap://",
        ),
        (
            &["uri = \"coaps://u:p@h\""],
            2,
            "device.uri",
            "expected coap://HOST:PORT",
        ),
        (
            &["uri = \"coaps://h/a\""],
            2,
            "device.uri",
            "a path or query found, expected coap://",
        ),
        (
            &["uri = \"coaps://[ff02::1]\""],
            2,
            "device.uri",
            "no multicast",
        ),
        (
            &["uri = \"coaps://127.1\""],
            2,
            "device.uri",
            "expected coap://HOST:PORT",
        ),
        (
            &["uri = \"coap://h\""],
            5,
            "device.security",
            "a key for coap://, which has no securi",
        ),
        (
            &["uri = \"coap+tcp://h\""],
            5,
            "device.security",
            "a key for coap+tcp://, which has no security: expected coaps+tcp://, or security",
        ),
        (
            &["uri = \"coaps+ws://h\""],
            2,
            "device.uri",
            "or with +tcp behind the scheme for TCP",
        ),
        (
            &["mode = \"tunnel\""],
            2,
            "device.mode",
            "another word found, expected \"terminate\"",
        ),
        (
            &["mode = \"terminat\""],
            2,
            "device.mode",
            "did you mean \"terminate\"?",
        ),
        (
            &["security = \"dtls\""],
            2,
            "device.security",
            "expected \"none\", \"sharedkey\", \"multikey\", \"certificate\" or \"psk\"",
        ),
        (
            &["security = \"none\""],
            7,
            "device.psk",
            "not used with security = \"none\"",
        ),
        (
            &["psk = \"0x123\""],
            2,
            "device.psk",
            "not an even number of 0-9 and a-f",
        ),
        (&["psk = \"\""], 2, "device.psk", "the key is empty"),
        (
            &["psk = 5"],
            2,
            "device.psk",
            "a whole number found, expected a text",
        ),
        (
            &["psk_file = \"missing.key\""],
            2,
            "device.psk_file",
            "a second key",
        ),
        (
            &["psk_identity = \"\""],
            2,
            "device.psk_identity",
            "0 bytes found, expected 1 to 128",
        ),
        (
            &["methods = [\"GETT\"]"],
            2,
            "device.methods",
            "did you mean \"GET\"?",
        ),
        (
            &["methods = []"],
            2,
            "device.methods",
            "no method: expected one or more",
        ),
        (
            &["paths = [\"a\"]"],
            2,
            "device.paths",
            "expected a path such as",
        ),
        (
            &["paths = []"],
            2,
            "device.paths",
            "empty: expected one path or more",
        ),
        (
            &["examples = [\"a\"]"],
            2,
            "device.examples",
            "begin with a slash",
        ),
        (
            &["psk-identity = \"x\""],
            2,
            "device.psk-identity",
            "did you mean psk_identity?",
        ),
    ];
    for (lines, line, key, message) in table {
        expect_mistake(&device(lines), *line, key, message);
    }
}

#[test]
fn what_a_device_can_not_do_without_is_missed() {
    for (key, message) in [
        ("name", "missing: expected the name in /devices/NAME/"),
        (
            "uri",
            "missing: expected coap://HOST:PORT or coaps://HOST:PORT",
        ),
        (
            "psk_identity",
            "missing: expected the identity that the device knows",
        ),
        ("psk", "missing: expected psk = KEY or psk_file = PATH"),
    ] {
        let text = device(&[]);
        let is_it = |line: &&str| line.split(' ').next() != Some(key);
        let text: Vec<_> = text.lines().filter(is_it).collect();
        expect_mistake(&text.join("\n"), 1, &format!("device.{key}"), message);
    }
}

#[test]
fn key_without_a_word_on_security_is_one_device_s_alone() {
    let text = device(&[]).replace("security = \"psk\"\n", "");
    assert!(parse(&text).is_ok());
    let bare: String = text
        .lines()
        .filter(|line| !line.starts_with("psk"))
        .map(|line| format!("{line}\n"))
        .collect();
    let expected = "missing: expected \"multikey\", \"certificate\", \"sharedkey\", or \"none\" if";
    expect_mistake(&bare, 1, "device.security", expected);
    for word in ["sharedkey", "multikey"] {
        assert!(parse(&device(&[&format!("security = {word:?}")])).is_ok());
    }
    let both = device(&["security = \"multikey\"", "shared_key = true"]);
    let expected = "another thing than `security` says";
    expect_mistake(&both, 3, "device.shared_key", expected);
}

const USER: &str = "[[user]]\nname = \"robot\"\ntoken = \"0123456789abcdef\"\n";

#[test]
fn tunnels_need_a_user_a_secured_device_and_no_key() {
    let lamp =
        "[[device]]\nname = \"lamp\"\nuri = \"coaps://[2001:db8::7]\"\nmodes = [\"tunnel\"]\n";
    let config = parse(&format!("{USER}{lamp}")).unwrap();
    assert_eq!(config.users[0].name(), "robot");
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
    let both =
        device(&["modes = [\"terminate\", \"tunnel\"]"]).replace("mode = \"terminate\"\n", "");
    parse(&format!("{USER}{both}")).unwrap();
    parse(&device(&[]).replace("mode = \"terminate\"\n", "")).unwrap();
    let limits = "[tunnel]\ntunnels = 2\ntunnels_per_user = 1\nidle_timeout = \"2min\"\n\
                  queue_datagrams = 3\nqueue_bytes = \"2 KiB\"\nmax_datagram = 1200\n";
    let limits = parse(limits).unwrap().tunnel;
    assert_eq!((limits.tunnels, limits.tunnels_per_user), (2, 1));
    assert_eq!((limits.queue_datagrams, limits.queue_bytes), (3, 2_048));
    assert_eq!(
        (limits.idle_timeout, limits.max_datagram),
        (Duration::from_secs(120), 1_200)
    );
    assert_eq!(parse("[tunnel]\n").unwrap().udp_carriers, None);
    let udp = parse("[tunnel]\nudp = \"[::]:5685\"\n")
        .unwrap()
        .udp_carriers;
    assert_eq!(udp, Some("[::]:5685".parse().unwrap()));
    for (word, address) in [
        ("session", DeviceAddress::Session),
        ("carrier", DeviceAddress::Carrier),
    ] {
        let text = format!("[tunnel]\nudp = \"[::]:5685\"\ndevice_address = \"{word}\"\n");
        assert_eq!(parse(&text).unwrap().tunnel.device_address, address);
    }
    assert_eq!(limits.device_address, DeviceAddress::Session);

    for (text, line, key, message) in [
        (
            lamp.to_owned(),
            4,
            "device.modes",
            "nobody may open a tunnel",
        ),
        (
            format!("{USER}{lamp}psk_identity = \"a\"\n"),
            8,
            "device.psk_identity",
            "the key of an end-to-end mode is the device's and the client's",
        ),
        (
            format!("{USER}{lamp}security = \"none\"\n"),
            8,
            "device.security",
            "not used without mode \"terminate\"",
        ),
        (
            format!("{USER}{lamp}mode = \"terminate\"\n"),
            7,
            "device.modes",
            "not used beside mode",
        ),
        (
            format!("{USER}{}", lamp.replace("coaps", "coap")),
            7,
            "device.modes",
            "a tunnel without DTLS inside",
        ),
        (
            format!("{USER}{}", lamp.replace("coaps", "coaps+tcp")),
            7,
            "device.modes",
            "a tunnel without DTLS inside",
        ),
        (
            format!(
                "{USER}{}",
                lamp.replace("\"tunnel\"", "\"tunnel\", \"tunnel\"")
            ),
            7,
            "device.modes",
            "each once",
        ),
        (
            format!("{USER}{}", lamp.replace("\"tunnel\"", "\"tunel\"")),
            7,
            "device.modes",
            "did you mean \"tunnel\"?",
        ),
        (
            device(&["modes = []"]).replace("mode = \"terminate\"\n", ""),
            2,
            "device.modes",
            "each once",
        ),
        (format!("{USER}{USER}"), 5, "user.name", "stands here twice"),
        (
            format!("{USER}{USER}").replacen("robot", "other", 1),
            6,
            "user.token",
            "another user has this token",
        ),
        (
            USER.replace("robot", "ro:bot"),
            2,
            "user.name",
            "visible ASCII",
        ),
        (
            USER.replace("abcdef", "abcde"),
            3,
            "user.token",
            "expected 16 to 256",
        ),
        (
            USER.replace("abcdef", "abcd f"),
            3,
            "user.token",
            "expected 16 to 256",
        ),
        (
            USER.replace("token", "password")
                .replace("0123456789abcdef", "1234567"),
            3,
            "user.password",
            "expected 8 to 256 bytes",
        ),
        (
            format!("{USER}password = \"12345678\"\n"),
            3,
            "user.token",
            "a second way to prove",
        ),
        (
            "[[user]]\nname = \"robot\"\n".to_owned(),
            1,
            "user.password",
            "missing: expected password, token",
        ),
        (
            "[[user]]\ntoken_file = \"no-such-file\"\nname = \"a\"\n".to_owned(),
            2,
            "user.token_file",
            "can't be read",
        ),
        (
            "[[user]]\nname = \"a\"\npsk_identity = \"b\"\n".to_owned(),
            3,
            "user.psk_identity",
            "no such client",
        ),
        (
            "[tunnel]\nudp = \"5685\"\n".to_owned(),
            2,
            "tunnel.udp",
            "an address and a port",
        ),
        (
            "[tunnel]\ndevice_address = \"carrier\"\n".to_owned(),
            2,
            "tunnel.device_address",
            "there is one carrier alone",
        ),
        (
            "[tunnel]\nudp = \"[::]:5685\"\ndevice_address = \"both\"\n".to_owned(),
            3,
            "tunnel.device_address",
            "\"session\" or \"carrier\"",
        ),
        (
            "[tunnel]\ntunnels = 0\n".to_owned(),
            2,
            "tunnel.tunnels",
            "from 1 to 65536",
        ),
        (
            "[tunnel]\nmax_datagram = 65528\n".to_owned(),
            2,
            "tunnel.max_datagram",
            "expected 64 to 65527",
        ),
        (
            "[tunnel]\nqueue_bytes = 1\n".to_owned(),
            2,
            "tunnel.queue_bytes",
            "expected 1 KiB to 16 MiB",
        ),
        (
            "[tunnel]\nidle_timeout = \"1ms\"\n".to_owned(),
            2,
            "tunnel.idle_timeout",
            "expected 10ms",
        ),
    ] {
        expect_mistake(&text, line, key, message);
        let shown = parse(&text).unwrap_err().to_string();
        assert!(!shown.contains("0123456789abcde"), "{shown}");
    }
}

/// Whatever the device, and of HTTPS clients too.
#[test]
fn end_to_end_key_is_refused_with_the_reason() {
    let end_to_end = "end_to_end = true";
    let reason = "the gateway must not have, since it could play either end";
    let in_clear = "[[device]]\nname = \"lamp\"\nuri = \"coap://h\"\nmode = \"terminate\"\n\
                    security = \"none\"\nend_to_end = true\n";
    let client = format!(
        "[https_psk]\nlisten = \"127.0.0.1:0\"\n[[https_psk.client]]\npsk_identity = \"me\"\n\
         psk = \"0x00112233445566778899aabbccddeeff\"\n{end_to_end}\n"
    );
    for (text, line, key) in [
        (device(&[end_to_end]), 2, "device.end_to_end"),
        (in_clear.to_owned(), 6, "device.end_to_end"),
        (client, 6, "client.end_to_end"),
    ] {
        expect_mistake(&text, line, key, reason);
        assert_eq!(parse(&text).unwrap_err().mistakes().len(), 1);
    }
    assert!(parse(&device(&["end_to_end = false"])).is_ok());

    let key = Psk::new(b"sixteen byte key").unwrap();
    let security = Security::Psk {
        identity: b"gateway".to_vec(),
        key: key.into_end_to_end().unwrap(),
        is_shared: false,
    };
    let config = Config::default().with_device(Device::new("lamp", "coaps://[::1]:1", security));
    let shown = config.check().unwrap_err().to_string();
    assert!(
        shown.contains("device.psk") && shown.contains(reason),
        "{shown}"
    );
}

#[test]
fn device_below_the_minimum_is_a_mistake() {
    let shared = "security = \"sharedkey\"";
    let in_clear = "[[device]]\nname = \"lamp\"\nuri = \"coap://h\"\nmode = \"terminate\"\n\
                    security = \"none\"\n";
    for (text, mode) in [
        (in_clear.to_owned(), 0),
        (device(&[shared]), 1),
        (device(&[]), 2),
    ] {
        for (least, word) in ["none", "sharedkey", "multikey", "certificate"]
            .iter()
            .enumerate()
        {
            let text = format!("{text}[security]\nminimum = {word:?}\n");
            if mode >= least {
                assert!(parse(&text).is_ok(), "{text}");
                continue;
            }
            let error = parse(&text).unwrap_err();
            let mistake = &error.mistakes()[0];
            assert_eq!(mistake.key, "device.security", "{error}");
            assert!(
                mistake.message.contains("as [security] minimum says"),
                "{error}"
            );
        }
    }
    expect_mistake(
        "[security]\nminimum = \"psk\"\n",
        2,
        "security.minimum",
        "expected \"none\", \"sharedkey\", \"multikey\" or \"certificate\"",
    );
}

/// An authority, the gateway's certificate and a device's key in files.
fn certificate_folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    let site = Authority::new("site");
    let gateway = site.owner("gateway.example", Purpose::Client);
    let lamp = site.owner("lamp.example", Purpose::Server);
    let old = site.owner_in("gateway.example", Purpose::Client, Time::Over);
    folder.write("site.pem", &site.pem, 0o644);
    for (name, owner) in [("gateway", &gateway), ("lamp", &lamp), ("old", &old)] {
        folder.write(&format!("{name}.key"), &owner.key, 0o600);
        folder.write(&format!("{name}.pem"), &owner.certificate, 0o644);
        folder.write(&format!("{name}.pub"), &owner.public_key, 0o644);
    }
    folder.write("open.key", &gateway.key, 0o644);
    folder.write("text", "a text", 0o600);
    folder
}

fn in_certificate_mode(own: &str, device: &[&str]) -> String {
    let head = "[[device]]\nname = \"lamp\"\nuri = \"coaps://lamp.example\"\n\
                mode = \"terminate\"\nsecurity = \"certificate\"";
    format!("{own}\n{head}\n{}\n", device.join("\n"))
}

const OWN: &str = "[certificate]\nprivate_key = \"gateway.key\"\nchain = \"gateway.pem\"";

#[test]
fn devices_in_certificate_mode_are_known_by_key_or_by_name() {
    let folder = certificate_folder("certificates");
    let parse = |text: &str| Config::from_toml(text, "hedgerow.toml", &folder.0);
    let raw = "[certificate]\nprivate_key = \"gateway.key\"";
    for (own, device, name) in [
        (OWN, &["authority = \"site.pem\""][..], "certificate"),
        (
            OWN,
            &["authority = \"site.pem\"", "certificate_name = \"lamp\""],
            "certificate",
        ),
        (raw, &["raw_public_key = \"lamp.pub\""], "raw public key"),
        // A certificate counts as the key in it.
        (raw, &["raw_public_key = \"lamp.pem\""], "raw public key"),
    ] {
        let config = parse(&in_certificate_mode(own, device)).unwrap();
        let shown = format!("{:?}", config.devices[0]);
        assert!(
            shown.contains(&format!("security_name: \"{name}\"")),
            "{shown}"
        );
        assert!(!format!("{config:?}").contains("PRIVATE"));
    }
}

#[test]
fn each_mistake_about_certificates_has_its_line_and_what_was_expected() {
    let folder = certificate_folder("certificate-mistakes");
    let authority = "authority = \"site.pem\"";
    let raw = "raw_public_key = \"lamp.pub\"";
    let own = |private_key: &str, chain: &str| {
        format!("[certificate]\nprivate_key = {private_key:?}\nchain = {chain:?}")
    };
    let table: &[(String, &str, usize, &str, &str)] = &[
        (
            String::new(),
            authority,
            6,
            "device.security",
            "expected [certificate] with private_key",
        ),
        (
            own("nowhere", "gateway.pem"),
            authority,
            2,
            "certificate.private_key",
            "can't be read",
        ),
        (
            own("text", "gateway.pem"),
            authority,
            2,
            "certificate.private_key",
            "no private key for ECDSA",
        ),
        (
            own("open.key", "gateway.pem"),
            authority,
            2,
            "certificate.private_key",
            "chmod 600 or 640",
        ),
        (
            own("gateway.key", "nowhere"),
            authority,
            3,
            "certificate.chain",
            "can't be read",
        ),
        (
            own("gateway.key", "text"),
            authority,
            3,
            "certificate.chain",
            "no X.509 certificate",
        ),
        (
            own("gateway.key", "lamp.pem"),
            authority,
            3,
            "certificate.chain",
            "not for this private key",
        ),
        (
            own("old.key", "old.pem"),
            authority,
            3,
            "certificate.chain",
            "not valid at this time: expected one that counts today",
        ),
        (
            own("lamp.key", "lamp.pem"),
            authority,
            3,
            "certificate.chain",
            "isn't for TLS clients",
        ),
        (
            OWN.to_owned(),
            "",
            4,
            "device.authority",
            "missing: expected raw_public_key = FILE, or",
        ),
        (
            OWN.to_owned(),
            "authority = \"nowhere\"",
            9,
            "device.authority",
            "can't be read",
        ),
        (
            OWN.to_owned(),
            "authority = \"text\"",
            9,
            "device.authority",
            "no X.509 certificate",
        ),
        (
            OWN.to_owned(),
            "raw_public_key = \"text\"",
            9,
            "device.raw_public_key",
            "no public key on P-256",
        ),
        (
            OWN.to_owned(),
            "raw_public_key = \"lamp.pub\"\nauthority = \"site.pem\"",
            9,
            "device.raw_public_key",
            "a second way",
        ),
        (
            OWN.to_owned(),
            "raw_public_key = \"lamp.pub\"\ncertificate_name = \"x\"",
            10,
            "device.certificate_name",
            "not used with raw_public_key",
        ),
        (
            OWN.to_owned(),
            "authority = \"site.pem\"\ncertificate_name = \"a b\"",
            10,
            "device.certificate_name",
            "neither a DNS name",
        ),
        (
            OWN.to_owned(),
            "authority = \"site.pem\"\npsk = \"key\"",
            10,
            "device.psk",
            "not used with security = \"certificate\"",
        ),
    ];
    for (own, device, line, key, message) in table {
        let text = in_certificate_mode(own, &[device]);
        let error = Config::from_toml(&text, "hedgerow.toml", &folder.0).expect_err(&text);
        let mut mistakes = error.mistakes().iter();
        let mistake = mistakes.find(|mistake| mistake.key == *key);
        let mistake = mistake.unwrap_or_else(|| panic!("no mistake at {key:?}: {error}"));
        assert_eq!(mistake.position.unwrap().line, *line, "{text}: {error}");
        assert!(mistake.message.contains(message), "{text}: {error}");
    }
    // Certificates for a device with a key, and two devices that one could play.
    let text = device(&[authority]);
    let error = Config::from_toml(&text, "hedgerow.toml", &folder.0).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("not used with security = \"multikey\"")
    );
    let second = in_certificate_mode("", &[raw])
        .replace("\"lamp\"", "\"other\"")
        .replace("lamp.example", "other.example");
    let text = in_certificate_mode(OWN, &[raw]) + &second;
    let error = Config::from_toml(&text, "hedgerow.toml", &folder.0).unwrap_err();
    let expected = "device.raw_public_key: device \"lamp\" is known by the same";
    assert!(error.to_string().contains(expected), "{error}");
    // A device needs a suite.
    let suites = "[dtls]\nsuites = [\"TLS_PSK_WITH_AES_128_CCM_8\"]\n";
    let text = in_certificate_mode(OWN, &[raw]) + suites;
    let error = Config::from_toml(&text, "hedgerow.toml", &folder.0).unwrap_err();
    let expected = "dtls.suites: no suite with ECDHE_ECDSA, which a device needs";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn one_run_reports_every_mistake_in_the_order_of_lines() {
    let text = "[http]\nlisten = 1\nxyz = 2\n[timeouts]\nhead = \"\"\n[[device]]\nname = \"a\"\nmode = \"b\"\n";
    let error = parse(text).unwrap_err();
    let found: Vec<_> = error
        .mistakes()
        .iter()
        .map(|mistake| (mistake.position.unwrap().line, mistake.key.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (2, "http.listen"),
            (3, "http.xyz"),
            (5, "timeouts.head"),
            (6, "device.uri"),
            (6, "device.security"),
            (8, "device.mode"),
        ]
    );
    let shown = error.to_string();
    let first = "hedgerow.toml:2:10: http.listen: a whole number found, expected an address";
    assert!(shown.starts_with(first), "{shown}");
    assert_eq!(shown.lines().count(), 6);
}

#[test]
fn devices_share_no_name_no_destination_and_no_key() {
    let with = |second: &[&str]| format!("{}{}", device(&[]), device(second));
    let own_key = "psk = \"another key\"";
    let own_name = "name = \"two\"";
    let own_uri = "uri = \"coaps://[2001:db8::8]\"";
    let cases = [
        (
            [own_key, own_uri],
            "device.name",
            "another device has the same name",
        ),
        (
            [own_key, own_name],
            "device.uri",
            "device \"lamp\" has the same destination",
        ),
        (
            [own_uri, own_name],
            "device.psk",
            "the same key in the devices \"lamp\" (line 7), \"two\" (line 14), so",
        ),
    ];
    for (lines, key, message) in cases {
        let error = parse(&with(&lines)).unwrap_err();
        let [mistake] = error.mistakes() else {
            panic!("{error}")
        };
        assert_eq!(mistake.key, key);
        assert!(mistake.message.contains(message), "{error}");
        assert!(mistake.position.unwrap().line >= 8, "{error}");
    }
    // The same address in another spelling is the same destination.
    let spelling = "uri = \"coaps://[2001:DB8:0:0::7]\"";
    let error = parse(&with(&[own_key, own_name, spelling])).unwrap_err();
    assert_eq!(error.mistakes()[0].key, "device.uri");
    // SharedKey has to be said by both.
    let shared = "shared_key = true";
    assert!(parse(&with(&[own_uri, own_name, shared])).is_err());
    let both = format!(
        "{}{}",
        device(&[shared]),
        device(&[own_uri, own_name, shared])
    );
    assert!(parse(&both).is_ok());
}

#[test]
fn shared_key_is_reported_once_with_all_who_have_it() {
    let folder = Folder::new("shared");
    folder.write("third.key", SECRET, 0o600);
    let named = |index: usize, rest: &[&str]| {
        let (name, uri) = (
            format!("name = \"lamp-{index}\""),
            format!("uri = \"coaps://[2001:db8::7]:{index}\""),
        );
        device(&[&[name.as_str(), uri.as_str()], rest].concat())
    };
    let mut text = String::new();
    for index in 1..=16 {
        // Three have another key in common.
        let other = "psk = \"another key\"";
        let rest = match index {
            2 | 5 => &[other][..],
            7 => &[other, "shared_key = true"],
            _ => &[],
        };
        text.push_str(&named(index, rest));
    }
    let from_file =
        named(17, &[]).replace(&format!("psk = \"{SECRET}\""), "psk_file = \"third.key\"");
    text.push_str(&from_file);
    let error = Config::from_toml(&text, "hedgerow.toml", &folder.0).unwrap_err();
    let [common, other] = error.mistakes() else {
        panic!("{error}")
    };
    // A device has 7 lines, and one more says that it shares its key.
    assert_eq!(common.position.unwrap().line, 2 * 7 + 7, "{error}");
    assert!(
        common
            .message
            .contains("\"lamp-1\" (line 7), \"lamp-3\" (line 21), "),
        "{error}"
    );
    assert!(
        common.message.contains(", \"lamp-17\" (line 120), so"),
        "{error}"
    );
    assert_eq!(common.message.matches("lamp-").count(), 14);
    assert_eq!(other.position.unwrap().line, 4 * 7 + 4, "{error}");
    let others = "\"lamp-2\" (line 11), \"lamp-5\" (line 32), \"lamp-7\" (line 46), so";
    assert!(other.message.contains(others), "{error}");
}

#[test]
fn no_message_repeats_a_key() {
    let text = device(&[]);
    for broken in [
        text.replace("security = \"psk\"", &format!("security = \"{SECRET}\"")),
        text.replace("mode = \"terminate\"", &format!("mode = \"{SECRET}\"")),
        text.replace(SECRET, &format!("{SECRET}0")),
        text.replace(SECRET, &format!("{SECRET}zz")),
        text.replace(SECRET, &SECRET.repeat(9)),
        text.replace(&format!("\"{SECRET}\""), SECRET),
        text.replace(&format!("\"{SECRET}\""), &format!("\"{SECRET}")),
        text.replace(&format!("\"{SECRET}\""), &format!("[\"{SECRET}\"]")),
        text.replace(SECRET, &format!("{SECRET}\\q")),
        format!("{text}psk = \"{SECRET}\"\n"),
        text.replace("lamp", SECRET).replace("uri", "url"),
        text.replace("psk = ", ""),
        text.replace(&format!("psk = \"{SECRET}\""), &format!("{SECRET} = 1")),
    ] {
        let error = parse(&broken).unwrap_err();
        let (shown, debug) = (error.to_string(), format!("{error:?}"));
        for part in ["746f70", "6b657921"] {
            assert!(!shown.contains(part) && !debug.contains(part), "{shown}");
        }
    }
    let config = parse(&text).unwrap();
    assert!(!format!("{config:?}").contains("746f70"));
    assert!(!format!("{config:?}").contains("top secret"));
}

#[test]
fn no_message_repeats_a_key_that_slipped_into_another_line() {
    let secret = format!("\"{SECRET}\"");
    let list = format!("[{secret}, {secret}]");
    let mut texts = Vec::new();
    for (table, names) in [
        ("http", "enabled listen coaps host_names"),
        ("https", "listen certificate private_key"),
        ("limits", "request_body requests connections"),
        ("timeouts", "request head body answer shutdown"),
        (
            "dtls",
            "suites extended_master_secret initial_timeout deadline resumption",
        ),
        ("coap", "ack_timeout ack_random_factor block_len"),
        ("hc", "enabled devices"),
    ] {
        for name in names.split(' ') {
            for value in [&secret, &list] {
                texts.push(format!("[{table}]\n{name} = {value}\n"));
                texts.push(format!("[{table}]\nenabled = true\n{name} = {value}\n"));
            }
        }
    }
    let names = "name uri mode security psk_identity psk_file shared_key methods paths examples";
    for name in names.split(' ') {
        for value in [&secret, &list] {
            let line = format!("{name} = {value}");
            texts.push(device(&[&line]));
            texts.push(device(&[&line, "security = \"none\""]));
            // Without a key of its own, and with a mistake elsewhere.
            let own = format!("psk = {secret}\n");
            texts.push(device(&[&line, "colour = 1"]).replace(&own, ""));
        }
    }
    for text in texts {
        // Some of these are no mistake: any text can be a host's name or an identity.
        if let Err(error) = parse(&text) {
            let (shown, debug) = (error.to_string(), format!("{error:?}"));
            for part in ["746f70", "6b657921"] {
                assert!(
                    !shown.contains(part) && !debug.contains(part),
                    "{text}{shown}"
                );
            }
        }
    }
}

#[test]
fn https_key_is_in_no_debug_output() {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let listen = "[::1]:0".parse().unwrap();
    let https = Https::from_pem(listen, certificate.as_bytes(), key.as_bytes()).unwrap();
    assert_eq!(format!("{https:?}"), "Https { listen: [::1]:0, .. }");
}

#[test]
fn key_files_are_read_from_the_folder_of_the_configuration() {
    let folder = Folder::new("keys");
    folder.write("good.key", &format!("{SECRET}\n"), 0o600);
    folder.write("text.key", "top secret key", 0o400);
    folder.write("open.key", SECRET, 0o640);
    folder.write("lines.key", "a\nb\n", 0o600);
    folder.write("long.key", &"a".repeat(5_000), 0o600);
    folder.write("empty.key", "\n", 0o600);
    let read = |file: &str| {
        let text = device(&[&format!("psk_file = \"{file}\"")]);
        let text: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with("psk = "))
            .collect();
        Config::from_toml(&text.join("\n"), "hedgerow.toml", &folder.0)
    };
    assert!(read("good.key").is_ok());
    assert!(read("text.key").is_ok());
    for (file, message) in [
        ("open.key", "expected chmod 600"),
        ("lines.key", "more than one line"),
        ("long.key", "too long"),
        ("empty.key", "the key is empty"),
        ("none.key", "can't be read"),
        (".", "not a file"),
    ] {
        let error = read(file).unwrap_err();
        assert_eq!(error.mistakes()[0].key, "device.psk_file");
        assert!(error.to_string().contains(message), "{error}");
        assert!(!error.to_string().contains("746f70"));
    }
}

#[test]
fn file_with_a_key_belongs_to_its_owner_alone() {
    let folder = Folder::new("file");
    let path = folder.write("hedgerow.toml", &device(&[]), 0o644);
    let error = Config::from_file(&path).unwrap_err();
    assert_eq!(error.mistakes()[0].key, "device.psk");
    assert!(error.to_string().contains("chmod 600"), "{error}");
    assert!(
        error.to_string().contains("hedgerow.toml:7:7: device.psk"),
        "{error}"
    );
    let path = folder.write("private.toml", &device(&[]), 0o600);
    assert!(Config::from_file(&path).is_ok());
    let path = folder.write("empty.toml", "", 0o644);
    assert!(Config::from_file(&path).is_ok());
    let error = Config::from_file(&folder.0.join("none.toml")).unwrap_err();
    assert_eq!(error.mistakes()[0].position, None);
    let path = folder.write("latin.toml", "", 0o600);
    std::fs::write(&path, [device(&[]).as_bytes(), b"# caf\xe9"].concat()).unwrap();
    let error = Config::from_file(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("latin.toml:8:6: not UTF-8, which TOML has to be"),
        "{error}"
    );
}

#[test]
fn files_of_https_have_to_fit() {
    let folder = Folder::new("https");
    let first = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    folder.write("certificate.pem", &first.cert.pem(), 0o644);
    folder.write("private.pem", &first.signing_key.serialize_pem(), 0o600);
    folder.write("other.pem", &other.signing_key.serialize_pem(), 0o600);
    folder.write("open.pem", &first.signing_key.serialize_pem(), 0o644);
    let read = |certificate: &str, key: &str| {
        let text = format!(
            "[https]\nlisten = \"[::1]:0\"\ncertificate = \"{certificate}\"\nprivate_key = \"{key}\"\n"
        );
        Config::from_toml(&text, "hedgerow.toml", &folder.0)
    };
    assert!(
        read("certificate.pem", "private.pem")
            .unwrap()
            .https
            .is_some()
    );
    for (certificate, key, line, message) in [
        ("none.pem", "private.pem", 3, "can't be read"),
        (
            "private.pem",
            "private.pem",
            3,
            "no certificate in PEM form",
        ),
        ("certificate.pem", "certificate.pem", 4, "others may read"),
        ("certificate.pem", "open.pem", 4, "others may read"),
        ("certificate.pem", "other.pem", 4, "can't be used together"),
    ] {
        let error = read(certificate, key).unwrap_err();
        assert_eq!(error.mistakes()[0].position.unwrap().line, line, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn configuration_made_in_code_is_checked_alike() {
    let security = || Security::psk("gateway", b"sixteen byte key").unwrap();
    let lamp = Device::new("lamp", "coaps://[::1]:1", security()).with_methods(Methods::ALL);
    let config = Config::default().with_device(lamp);
    assert_eq!(config.check(), Ok(()));
    let config = config.with_device(Device::new("two", "coap://[::1]:2", security()));
    let error = config.check().unwrap_err();
    let shown = error.to_string();
    assert!(
        shown.contains("configuration: device.security: device \"two\": a key for"),
        "{shown}"
    );
    assert!(
        shown.contains("device.psk: device \"two\": the same key"),
        "{shown}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\PC|\n){0,200}") {
        let _ = parse(&text).map_err(|error| error.to_string());
    }

    #[test]
    fn no_damage_makes_the_reader_panic(
        at in 0_usize..4_000, len in 0_usize..40, new in "[\\PC\n\"\\[\\]=#]{0,9}"
    ) {
        let example = include_str!("../../../examples/hedgerow.toml");
        let mut text: Vec<char> = example.chars().collect();
        let at = at.min(text.len());
        let end = (at + len).min(text.len());
        text.splice(at..end, new.chars());
        let text: String = text.into_iter().collect();
        if let Err(error) = parse(&text) {
            prop_assert!(!error.mistakes().is_empty());
            prop_assert!(error.mistakes().iter().all(|mistake| mistake.position.is_some()));
            let shown = format!("{error} {error:?}");
            for part in ["8f2b0d4f", "1c6a97e3", "5b1fd0c2", "a94e7786"] {
                prop_assert!(!shown.contains(part), "{shown}");
            }
        }
    }
}

fn expect_mistake(text: &str, line: usize, key: &str, message: &str) {
    let error = parse(text).expect_err(text);
    let mistake = error
        .mistakes()
        .iter()
        .find(|mistake| mistake.key == key)
        .unwrap_or_else(|| panic!("no mistake at {key:?}: {error}"));
    assert_eq!(mistake.position.unwrap().line, line, "{text}: {error}");
    assert!(mistake.message.contains(message), "{text}: {error}");
}

/// A folder of a test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("config-{name}"));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}
