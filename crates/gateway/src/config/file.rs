//! Reading `hedgerow.toml`.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::{PeerId, Psk, SecurityMode, ServerName};
use hedgerow_endpoint::{ConnectionIdFormat, ConnectionIds};
use hedgerow_handshake::{ExtendedMasterSecret, Settings};
use hedgerow_net::{
    AcceptedServer, Authorities, Credentials, Identity, IdentityError, RawPublicKey,
};
use hedgerow_proxy::Methods;
use hedgerow_record::{CipherSuite, LegForm, StreamApplication};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::{Zeroize, Zeroizing};

use super::bounds::DURATIONS;
use super::device_address::DEVICE_ADDRESSES;
use super::files::{
    EXPOSED, MAX_FILE_LEN, has_mode, is_exposed, read, read_key, read_line, unreadable,
};
use super::mistake::{ConfigError, Mistake, Position};
use super::table::{Findings, Table, full_name};
use super::{
    Coap, CoapsOverHttp, Config, Device, Dtls, Http, Https, HttpsClient, HttpsPsk, Limits, Mode,
    PathPattern, Security, Timeouts, TlsListener, Translate, TunnelLimits, User,
};
use crate::key::parse_key;

impl Config {
    /// Reads and checks a configuration file. Files that it names are relative to its own folder.
    ///
    /// A file with a key in it, and every file that holds one, must be its owner's alone (Unix).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every mistake that one run can find: file, line, column, key, and what
    /// was expected.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let fail = |position, message| ConfigError {
            file: name.clone(),
            mistakes: vec![Mistake {
                position,
                key: String::new(),
                message,
            }],
        };
        let (bytes, metadata) =
            read(path, MAX_FILE_LEN).map_err(|error| fail(None, error.to_string()))?;
        let text = str::from_utf8(&bytes).map_err(|error| {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let before = str::from_utf8(valid).unwrap_or_default();
            let position = Position::of(before, before.len());
            fail(Some(position), "not UTF-8, which TOML has to be".to_owned())
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        read_config(text, &name, folder, is_exposed(&metadata))
    }

    /// Reads and checks a configuration that is a text already. `name` stands for the file in
    /// messages, and files that the text names are relative to `folder`.
    ///
    /// # Errors
    ///
    /// As [`Self::from_file`].
    pub fn from_toml(text: &str, name: &str, folder: &Path) -> Result<Self, ConfigError> {
        read_config(text, name, folder, false)
    }
}

fn read_config(
    text: &str,
    name: &str,
    folder: &Path,
    is_exposed: bool,
) -> Result<Config, ConfigError> {
    let fail = |findings: Findings<'_>| ConfigError {
        file: name.to_owned(),
        mistakes: findings.into_mistakes(),
    };
    let mut findings = Findings::new(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    let root = Parsed(root);
    if !errors.is_empty() {
        // What was recovered from a broken text would only raise mistakes that aren't there.
        for error in errors {
            // The error's own display would repeat the line, in which a key may stand.
            findings.add(&error.span().unwrap_or(0..0), "", error.message());
        }
        return Err(fail(findings));
    }
    let mut reader = Reader {
        findings: &mut findings,
        folder,
        is_exposed,
    };
    let config = reader.config(Table::root(&root.0));
    if findings.is_empty() {
        for (place, message) in config.faults(|device| findings.line(("device", device, "psk"))) {
            findings.add_at(place, message);
        }
    }
    if findings.is_empty() {
        Ok(config)
    } else {
        Err(fail(findings))
    }
}

/// What TOML made of a text, zeroed on drop. A text with escapes in it, and so a key, is a copy;
/// the copies that the parser makes while it undoes the escapes are out of reach.
struct Parsed<'t>(Spanned<DeTable<'t>>);

impl Drop for Parsed<'_> {
    fn drop(&mut self) {
        wipe_table(self.0.get_mut());
    }
}

fn wipe_table(table: &mut DeTable<'_>) {
    for (_, value) in table.iter_mut() {
        wipe(value.get_mut());
    }
}

fn wipe(value: &mut DeValue<'_>) {
    match value {
        DeValue::String(Cow::Owned(text)) => text.zeroize(),
        DeValue::Array(array) => array.iter_mut().for_each(|value| wipe(value.get_mut())),
        DeValue::Table(table) => wipe_table(table),
        _ => {}
    }
}

pub(super) struct Reader<'r, 't> {
    pub(super) findings: &'r mut Findings<'t>,
    folder: &'r Path,
    is_exposed: bool,
}

impl Reader<'_, '_> {
    fn config(&mut self, mut root: Table<'_>) -> Config {
        let mut config = Config::default();
        if let Some(table) = root.table(self.findings, "http") {
            config.http = self.http(table);
        }
        if let Some(table) = root.table(self.findings, "https") {
            config.https = self.https(table);
        }
        if let Some(table) = root.table(self.findings, "https_psk") {
            config.https_psk = self.https_psk(table);
        }
        if let Some(table) = root.table(self.findings, "limits") {
            self.limits(table, &mut config.limits);
        }
        if let Some(table) = root.table(self.findings, "timeouts") {
            self.timeouts(table, &mut config.timeouts);
        }
        if let Some(table) = root.table(self.findings, "dtls") {
            self.dtls(table, &mut config.dtls);
        }
        if let Some(table) = root.table(self.findings, "security") {
            self.least_mode(table, &mut config.minimum);
        }
        if let Some(table) = root.table(self.findings, "certificate") {
            config.certificate = self.certificate(table);
        }
        if let Some(table) = root.table(self.findings, "coap") {
            self.coap(table, &mut config.coap);
        }
        if let Some(table) = root.table(self.findings, "hc") {
            config.hc_devices = self.hc(table);
        }
        if let Some(table) = root.table(self.findings, "tunnel") {
            config.udp_carriers = self.tunnel(table, &mut config.tunnel);
        }
        if let Some(table) = root.table(self.findings, "leg") {
            config.leg = self.leg(table);
        }
        if let Some(table) = root.table(self.findings, "translate") {
            config.translate = self.translate(table);
        }
        if let Some(table) = root.table(self.findings, "itls") {
            config.itls = self.itls(table);
        }
        for table in root.tables(self.findings, "tls_listener") {
            config.tls_listeners.extend(self.tls_listener(table));
        }
        for table in root.tables(self.findings, "user") {
            config.users.extend(self.user(table));
        }
        for table in root.tables(self.findings, "device") {
            // One without what it can't do without was reported, and there is no configuration.
            config.devices.extend(self.device(table));
        }
        root.finish(self.findings);
        config
    }

    fn http(&mut self, mut table: Table<'_>) -> Option<Http> {
        let findings = &mut *self.findings;
        let mut http = Http::default();
        let is_enabled = table.boolean(findings, "enabled").unwrap_or(true);
        set(&mut http.listen, table.address(findings, "listen"));
        let coaps = [
            ("loopback", CoapsOverHttp::Loopback),
            ("always", CoapsOverHttp::Always),
            ("never", CoapsOverHttp::Never),
        ];
        set(&mut http.coaps, table.word(findings, "coaps", &coaps));
        let names = table.texts(findings, "host_names", "a list of host names");
        for name in names.unwrap_or_default() {
            http.host_names.push((*name.get_ref()).to_owned());
        }
        table.finish(findings);
        is_enabled.then_some(http)
    }

    fn https(&mut self, mut table: Table<'_>) -> Option<Https> {
        let listen = table.address(self.findings, "listen");
        if !table.is_present("listen") {
            table.missing(self.findings, "listen", "an address and a port");
        }
        let certificate = self.file(&mut table, "certificate", "a file with certificates", false);
        let private_key = self.file(&mut table, "private_key", "a file with a key", true);
        let mut https = None;
        if let (Some(listen), Some(certificate), Some(private_key)) =
            (listen, certificate, private_key)
        {
            match Https::from_pem(listen, &certificate, &private_key) {
                Ok(found) => https = Some(found),
                Err(error) => {
                    let key = match error {
                        super::HttpsError::Certificate => "certificate",
                        _ => "private_key",
                    };
                    table.wrong(self.findings, key, error.to_string());
                }
            }
        }
        table.finish(self.findings);
        https
    }

    fn https_psk(&mut self, mut table: Table<'_>) -> Option<HttpsPsk> {
        let listen = table.address(self.findings, "listen");
        if !table.is_present("listen") {
            table.missing(self.findings, "listen", "an address and a port");
        }
        let mut clients = Vec::new();
        let is_present = table.is_present("client");
        for client in table.tables(self.findings, "client") {
            clients.extend(self.https_client(client));
        }
        if !is_present {
            let expected = "one [[https_psk.client]] or more";
            table.missing(self.findings, "client", expected);
        }
        table.finish(self.findings);
        Some(HttpsPsk {
            listen: listen?,
            clients,
        })
    }

    fn https_client(&mut self, mut table: Table<'_>) -> Option<HttpsClient> {
        let identity = self.required(&mut table, "psk_identity", "the identity of a client");
        let texts = self.key_texts(&mut table);
        let key = self.key(&mut table, texts);
        table.finish(self.findings);
        Some(HttpsClient {
            psk_identity: identity?.into_bytes(),
            psk: key?,
        })
    }

    /// Reads a file that the configuration names and can't do without.
    pub(super) fn file(
        &mut self,
        table: &mut Table<'_>,
        name: &'static str,
        expected: &str,
        is_secret: bool,
    ) -> Option<Zeroizing<Vec<u8>>> {
        if !table.is_present(name) {
            table.missing(self.findings, name, expected);
        }
        let path = table.text(self.findings, name, expected)?;
        match read(&self.folder.join(path), MAX_FILE_LEN) {
            // Servers' keys are often kept for a group of servers, so its members may read them.
            Ok((_, metadata)) if is_secret && has_mode(&metadata, 0o027) => {
                let message = "others may read, or the group may write, the file that holds the \
                               key: expected chmod 600 or 640";
                table.wrong(self.findings, name, message.to_owned());
                None
            }
            Ok((bytes, _)) => Some(bytes),
            Err(error) => {
                table.wrong(self.findings, name, unreadable(error));
                None
            }
        }
    }

    fn limits(&mut self, mut table: Table<'_>, limits: &mut Limits) {
        let findings = &mut *self.findings;
        let bodies = 0..=1 << 30;
        let body = table.size(findings, "request_body", bodies.clone());
        set(&mut limits.request_body, body);
        let body = table.size(findings, "response_body", bodies);
        set(&mut limits.response_body, body);
        let counts = [
            ("requests", &mut limits.requests),
            ("requests_per_client", &mut limits.requests_per_client),
            ("requests_per_device", &mut limits.requests_per_device),
        ];
        table.counts(findings, counts);
        let (all, of_client) = (&mut limits.connections, &mut limits.connections_per_client);
        table.connections(findings, all, of_client);
        table.finish(findings);
    }

    fn timeouts(&mut self, mut table: Table<'_>, timeouts: &mut Timeouts) {
        let durations = [
            ("request", &mut timeouts.request),
            ("head", &mut timeouts.head),
            ("body", &mut timeouts.body),
            ("answer", &mut timeouts.answer),
            ("shutdown", &mut timeouts.shutdown),
        ];
        table.durations(self.findings, durations);
        table.finish(self.findings);
    }

    fn dtls(&mut self, mut table: Table<'_>, dtls: &mut Dtls) {
        let findings = &mut *self.findings;
        let suites = Settings::default();
        let suites: Vec<(&str, CipherSuite)> = suites
            .suites()
            .iter()
            .filter_map(|suite| Some((suite.name()?, *suite)))
            .collect();
        set(&mut dtls.suites, table.words(findings, "suites", &suites));
        let modes = [
            ("required", ExtendedMasterSecret::Required),
            ("accepted", ExtendedMasterSecret::Accepted),
        ];
        let mode = table.word(findings, "extended_master_secret", &modes);
        set(&mut dtls.extended_master_secret, mode);
        let durations = [
            ("initial_timeout", &mut dtls.timers.initial_timeout),
            ("max_timeout", &mut dtls.timers.max_timeout),
            ("deadline", &mut dtls.timers.deadline),
            ("idle_timeout", &mut dtls.idle_timeout),
        ];
        table.durations(findings, durations);
        set(&mut dtls.resumption, table.boolean(findings, "resumption"));
        dtls.ping_idle_after = table.duration(findings, "ping_idle_after", PING_INTERVALS);
        set(
            &mut dtls.connection_ids,
            connection_ids(findings, &mut table),
        );
        let count = table.integer(findings, "max_transmissions", 1..=20);
        let count = count.and_then(|count| u8::try_from(count).ok());
        set(&mut dtls.timers.max_transmissions, count);
        table.finish(findings);
    }

    fn least_mode(&mut self, mut table: Table<'_>, minimum: &mut SecurityMode) {
        set(
            minimum,
            table.word(self.findings, "minimum", &SECURITY_MODES),
        );
        table.finish(self.findings);
    }

    /// Reads what the gateway shows devices in certificate mode.
    fn certificate(&mut self, mut table: Table<'_>) -> Option<Arc<Identity>> {
        let private_key = self.file(&mut table, "private_key", "a file with a key", true);
        let expected = "a file with certificates, the gateway's own first";
        let chain = match table.is_present("chain") {
            true => Some(self.file(&mut table, "chain", expected, false)),
            // Without one, the raw public key is what devices know the gateway by.
            false => {
                let _ = table.text(self.findings, "chain", expected);
                None
            }
        };
        let identity = private_key.and_then(|private_key| {
            let read = Identity::new(&private_key);
            read.map_err(|error| table.wrong(self.findings, "private_key", error.to_string()))
                .ok()
        });
        let identity = match (identity, chain) {
            (Some(identity), Some(Some(chain))) => identity
                .with_certificates(&chain)
                .map_err(|error| table.wrong(self.findings, "chain", error.to_string()))
                .ok(),
            (identity, None) => identity,
            // The chain can't be read, which was said.
            (_, Some(_)) => None,
        };
        table.finish(self.findings);
        identity.map(Arc::new)
    }

    fn coap(&mut self, mut table: Table<'_>, coap: &mut Coap) {
        let findings = &mut *self.findings;
        let ack_timeout = table.duration(findings, "ack_timeout", DURATIONS);
        set(&mut coap.transmission.ack_timeout, ack_timeout);
        if let Some(factor) = table.float(findings, "ack_random_factor", 1.0..=10.0) {
            coap.transmission.ack_random_percent = hundredths(factor);
        }
        let small = |number: Option<u64>| number.and_then(|it| u8::try_from(it).ok());
        let count = small(table.integer(findings, "max_retransmit", 0..=20));
        set(&mut coap.transmission.max_retransmit, count);
        let count = small(table.integer(findings, "nstart", 1..=64));
        set(&mut coap.transmission.nstart, count);
        let len = table.integer(findings, "block_len", 16..=1_024);
        set(
            &mut coap.block_len,
            len.and_then(|it| u16::try_from(it).ok()),
        );
        table.finish(findings);
    }

    fn hc(&mut self, mut table: Table<'_>) -> Vec<String> {
        let findings = &mut *self.findings;
        let is_enabled = table.boolean(findings, "enabled").unwrap_or(false);
        let expected = "a list of names of devices";
        let names = table.texts(findings, "devices", expected);
        if is_enabled && !table.is_present("devices") {
            table.missing(findings, "devices", expected);
        }
        table.finish(findings);
        let names = names.filter(|_| is_enabled).unwrap_or_default();
        names
            .into_iter()
            .map(|name| (*name.get_ref()).to_owned())
            .collect()
    }

    fn device(&mut self, mut table: Table<'_>) -> Option<Device> {
        let name = self.required(&mut table, "name", "the name in /devices/NAME/");
        let uri = self.required(&mut table, "uri", "coap://HOST:PORT or coaps://HOST:PORT");
        let modes = self.modes(&mut table);
        let is_end_to_end = modes
            .as_ref()
            .is_some_and(|modes| !modes.is_empty() && !modes.iter().any(|mode| mode.has_hop()));
        let security = match is_end_to_end {
            true => self.end_to_end(&mut table),
            false => self.security(&mut table, uri.as_deref()),
        };
        let methods = [
            ("GET", Methods::GET),
            ("POST", Methods::POST),
            ("PUT", Methods::PUT),
            ("DELETE", Methods::DELETE),
        ];
        let methods = table.words(self.findings, "methods", &methods);
        let expected = "a list of paths";
        let paths = table.texts(self.findings, "paths", expected);
        if paths.as_ref().is_some_and(Vec::is_empty) {
            let message = "empty: expected one path or more, or no such line for every path";
            table.wrong(self.findings, "paths", message.to_owned());
        }
        let mut patterns = Vec::new();
        for path in paths.unwrap_or_default() {
            match PathPattern::parse(path.get_ref()) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => {
                    let key = full_name("device", "paths");
                    self.findings.add(&path.span(), &key, error.to_string());
                }
            }
        }
        let examples = table.texts(self.findings, "examples", expected);
        let calls = table.texts(self.findings, "calls", "a list of names of users");
        table.finish(self.findings);
        let mut device = Device::new(name?, uri?, security?);
        set(&mut device.modes, modes);
        if let Some(methods) = methods {
            device.methods = methods
                .into_iter()
                .fold(Methods::NONE, |all, one| all | one);
        }
        device.paths = patterns;
        for user in calls.unwrap_or_default() {
            device.calls.push((*user.get_ref()).to_owned());
        }
        for example in examples.unwrap_or_default() {
            device.examples.push((*example.get_ref()).to_owned());
        }
        Some(device)
    }

    /// Reads the modes: `modes`, or `mode` from when there was one. Without either the gateway
    /// terminates.
    fn modes(&mut self, table: &mut Table<'_>) -> Option<Vec<Mode>> {
        let terminate = [("terminate", Mode::Terminate)];
        let mode = table.word(self.findings, "mode", &terminate);
        let modes = table.words(self.findings, "modes", &Mode::NAMED);
        if table.is_present("mode") && table.is_present("modes") {
            let message = "not used beside mode: expected one or the other".to_owned();
            table.wrong(self.findings, "modes", message);
        }
        modes.or(mode.map(|mode| vec![mode]))
    }

    /// Reads a device that the gateway has no key for, and must not have one.
    fn end_to_end(&mut self, table: &mut Table<'_>) -> Option<Security> {
        let names = [
            &["security", "end_to_end"],
            &KEY_NAMES[..],
            &CERTIFICATE_NAMES,
        ]
        .concat();
        for name in names {
            table.know(self.findings, name);
            if table.is_present(name) {
                let message = "not used without mode \"terminate\": the key of an end-to-end mode is \
                               the device's and the client's, and never the gateway's";
                table.wrong(self.findings, name, message.to_owned());
            }
        }
        Some(Security::EndToEnd)
    }

    fn tunnel(&mut self, mut table: Table<'_>, limits: &mut TunnelLimits) -> Option<SocketAddr> {
        let findings = &mut *self.findings;
        let udp = table.address(findings, "udp");
        let counts = [
            ("tunnels", &mut limits.tunnels),
            ("tunnels_per_user", &mut limits.tunnels_per_user),
            ("queue_datagrams", &mut limits.queue_datagrams),
        ];
        table.counts(findings, counts);
        for (name, place) in [
            ("queue_bytes", &mut limits.queue_bytes),
            ("max_datagram", &mut limits.max_datagram),
        ] {
            set(place, table.size(findings, name, 1..=1 << 24));
        }
        let idle = table.duration(findings, "idle_timeout", DURATIONS);
        set(&mut limits.idle_timeout, idle);
        let address = table.word(findings, "device_address", DEVICE_ADDRESSES);
        set(&mut limits.device_address, address);
        table.finish(findings);
        udp
    }

    fn tls_listener(&mut self, mut table: Table<'_>) -> Option<TlsListener> {
        let application = table.word(self.findings, "application", APPLICATIONS);
        if !table.is_present("application") {
            table.missing(self.findings, "application", "\"coap\" or \"http\"");
        }
        let findings = &mut *self.findings;
        let listen = table.address(findings, "listen");
        if !table.is_present("listen") {
            table.missing(findings, "listen", "an address and a port");
        }
        let spoken = application.unwrap_or(StreamApplication::Coap);
        let mut listener = TlsListener::new(listen.unwrap_or(NOWHERE), spoken);
        set(&mut listener.form, table.word(findings, "form", FORMS));
        listener.device = table
            .text(findings, "device", "the name of a device")
            .map(str::to_owned);
        let expected = "a list of NAME=DEVICE";
        for text in table.texts(findings, "names", expected).unwrap_or_default() {
            match text.get_ref().split_once('=') {
                Some((name, device)) => {
                    listener.names.push((name.to_owned(), device.to_owned()));
                }
                None => table.wrong(findings, "names", format!("expected {expected}")),
            }
        }
        let (all, of_client) = (
            &mut listener.connections,
            &mut listener.connections_per_client,
        );
        table.connections(findings, all, of_client);
        let of_device = table.count(findings, "connections_per_device");
        set(&mut listener.connections_per_device, of_device);
        let durations = [
            ("hello_timeout", &mut listener.hello_timeout),
            ("idle_timeout", &mut listener.idle_timeout),
            ("closing_timeout", &mut listener.closing_timeout),
        ];
        table.durations(findings, durations);
        table.finish(findings);
        listen.and(application).map(|_| listener)
    }

    fn translate(&mut self, mut table: Table<'_>) -> Option<Translate> {
        let findings = &mut *self.findings;
        let listen = table.address(findings, "listen");
        if !table.is_present("listen") {
            table.missing(findings, "listen", "an address and a port");
        }
        // A placeholder where there is none, and then there is no configuration.
        let mut translate = Translate::new(listen.unwrap_or(NOWHERE));
        let (all, of_client) = (
            &mut translate.connections,
            &mut translate.connections_per_client,
        );
        table.connections(findings, all, of_client);
        let of_device = table.count(findings, "connections_per_device");
        set(&mut translate.connections_per_device, of_device);
        let durations = [
            ("preface_timeout", &mut translate.preface_timeout),
            ("establish_timeout", &mut translate.establish_timeout),
            ("idle_timeout", &mut translate.idle_timeout),
        ];
        table.durations(findings, durations);
        let longest = table.size(findings, "max_datagram", 64..=65_527);
        set(&mut translate.max_datagram, longest);
        table.finish(findings);
        listen.map(|_| translate)
    }

    fn user(&mut self, mut table: Table<'_>) -> Option<User> {
        let name = self.required(&mut table, "name", "the name of a user");
        let mut secrets = Vec::new();
        for (key, file) in [("password", "password_file"), ("token", "token_file")] {
            let inline = table.text(self.findings, key, "a text");
            let path = table.text(self.findings, file, "the path of a file with it alone");
            if inline.is_some() && self.is_exposed {
                let message = format!("{EXPOSED}; or {file} for it alone");
                table.wrong(self.findings, key, message);
            } else if let Some(text) = inline {
                secrets.push((key, Zeroizing::new(text.as_bytes().to_vec())));
            }
            match path.map(|path| read_line(&self.folder.join(path))) {
                Some(Ok(line)) => secrets.push((key, line)),
                Some(Err(message)) => table.wrong(self.findings, file, message),
                None => {}
            }
        }
        let identity = table.text(
            self.findings,
            "psk_identity",
            "the identity of a client of [https_psk]",
        );
        let keys = [
            "password",
            "password_file",
            "token",
            "token_file",
            "psk_identity",
        ];
        let mut present = keys.into_iter().filter(|key| table.is_present(key));
        match (present.next(), present.next()) {
            (None, _) => {
                let expected = "password, token, a file with one of them, or psk_identity";
                table.missing(self.findings, "password", expected);
            }
            (_, Some(second)) => {
                let message = "a second way to prove who it is: expected one".to_owned();
                table.wrong(self.findings, second, message);
            }
            _ => {}
        }
        table.finish(self.findings);
        if let Some(identity) = identity {
            return Some(User::with_psk_identity(name?, identity));
        }
        let (key, secret) = secrets.pop()?;
        Some(match key {
            "token" => User::with_token(name?, &secret),
            _ => User::with_password(name?, &secret),
        })
    }

    /// Reads what protects a device, which has to be said: the mode, or at least a key.
    fn security(&mut self, table: &mut Table<'_>, uri: Option<&str>) -> Option<Security> {
        let words = SECURITY_MODES.map(|(word, mode)| (word, Some(mode)));
        let words = [&words[..], &[("psk", None)]].concat();
        let word = table.word(self.findings, "security", &words);
        let has_key = table.is_present("psk") || table.is_present("psk_file");
        if !table.is_present("security") && !has_key {
            let expected = "\"multikey\", \"certificate\", \"sharedkey\", or \"none\" if the device is \
                            to be asked in clear";
            table.missing(self.findings, "security", expected);
        }
        let identity = table.text(self.findings, "psk_identity", "a text");
        let texts = self.key_texts(table);
        let is_shared = table.boolean(self.findings, "shared_key");
        let raw_public_key = table.text(self.findings, "raw_public_key", EXPECTED_PUBLIC_KEY);
        let authority = table.text(self.findings, "authority", EXPECTED_AUTHORITY);
        let name = table.text(self.findings, "certificate_name", EXPECTED_NAME);
        let is_read = word.is_some() || (has_key && !table.is_present("security"));
        // "psk" is the word from before the modes had theirs, and a key without any means the same.
        let by_key = match is_shared {
            Some(true) => SecurityMode::SharedKey,
            _ => SecurityMode::MultiKey,
        };
        let mode = word.flatten().unwrap_or(by_key);
        let unused: &[&'static str] = match mode {
            _ if !is_read => return None,
            SecurityMode::NoSec => &[&KEY_NAMES[..], &CERTIFICATE_NAMES].concat(),
            SecurityMode::Certificate => &KEY_NAMES,
            _ => &CERTIFICATE_NAMES,
        };
        for name in unused {
            if table.is_present(name) {
                let (word, _) = SECURITY_MODES.into_iter().find(|(_, it)| *it == mode)?;
                let message =
                    format!("not used with security = {word:?}: expected one or the other");
                table.wrong(self.findings, name, message);
            }
        }
        match mode {
            SecurityMode::NoSec => return Some(Security::None),
            SecurityMode::Certificate => {
                let device = self.accepted(table, raw_public_key, authority, name, uri?)?;
                return Some(Security::Certificate { device });
            }
            mode if is_shared.is_some() && mode != by_key => {
                let message = "another thing than `security` says: expected one or the other";
                table.wrong(self.findings, "shared_key", message.to_owned());
            }
            _ => {}
        }
        let is_shared = mode == SecurityMode::SharedKey;
        if !table.is_present("psk_identity") {
            table.missing(
                self.findings,
                "psk_identity",
                "the identity that the device knows",
            );
        }
        let key = self.key(table, texts)?;
        Some(Security::Psk {
            identity: identity?.as_bytes().to_vec(),
            key,
            is_shared,
        })
    }

    /// Reads how a device in certificate mode is known.
    fn accepted(
        &mut self,
        table: &mut Table<'_>,
        raw_public_key: Option<&str>,
        authority: Option<&str>,
        name: Option<&str>,
        uri: &str,
    ) -> Option<AcceptedServer> {
        let is_present = |name| table.is_present(name);
        match (is_present("raw_public_key"), is_present("authority")) {
            (false, false) => {
                let expected = "raw_public_key = FILE, or authority = FILE with certificates of \
                                authorities to trust";
                table.missing(self.findings, "authority", expected);
                return None;
            }
            (true, true) => {
                let message =
                    "a second way to know the device: expected raw_public_key or authority";
                table.wrong(self.findings, "raw_public_key", message.to_owned());
                return None;
            }
            (true, false) if is_present("certificate_name") => {
                let message = "not used with raw_public_key: expected one or the other";
                table.wrong(self.findings, "certificate_name", message.to_owned());
                return None;
            }
            _ => {}
        }
        let (key, path) = match (raw_public_key, authority) {
            (Some(path), _) => ("raw_public_key", path),
            (None, path) => ("authority", path?),
        };
        let bytes = match read(&self.folder.join(path), MAX_FILE_LEN) {
            Ok((bytes, _)) => bytes,
            Err(error) => {
                table.wrong(self.findings, key, unreadable(error));
                return None;
            }
        };
        let accepted = match key {
            "raw_public_key" => RawPublicKey::new(&bytes).map(AcceptedServer::RawPublicKey),
            _ => Authorities::new(&bytes).map(|authorities| AcceptedServer::Certificate {
                authorities,
                name: name.unwrap_or_else(|| authority_of(uri)).to_owned(),
            }),
        };
        let checked = accepted.and_then(|accepted| {
            // What can't be asked for shows now and not with the first request.
            Credentials::certificates(None, accepted.clone(), PeerId(0)).map(|_| accepted)
        });
        checked
            .map_err(|error| {
                let key = match error {
                    IdentityError::Name => "certificate_name",
                    _ => key,
                };
                table.wrong(self.findings, key, error.to_string());
            })
            .ok()
    }

    /// Reads where a key stands: in the table itself, or in a file.
    pub(super) fn key_texts<'a>(&mut self, table: &mut Table<'a>) -> KeyTexts<'a> {
        if table.boolean(self.findings, "end_to_end") == Some(true) {
            table.wrong(self.findings, "end_to_end", super::END_TO_END.to_owned());
        }
        KeyTexts {
            inline: table.text(self.findings, "psk", "a text: the key, or 0x and digits"),
            file: table.text(self.findings, "psk_file", "the path of a file with the key"),
        }
    }

    /// Reads a key that there has to be.
    pub(super) fn key(&mut self, table: &mut Table<'_>, texts: KeyTexts<'_>) -> Option<Psk> {
        let KeyTexts { inline, file } = texts;
        match (table.is_present("psk"), table.is_present("psk_file")) {
            (false, false) => table.missing(self.findings, "psk", "psk = KEY or psk_file = PATH"),
            (true, true) => {
                let message = "a second key: expected psk or psk_file".to_owned();
                table.wrong(self.findings, "psk_file", message);
            }
            _ => {}
        }
        let key = match (inline, file) {
            (Some(_), _) if self.is_exposed => {
                let message = format!("{EXPOSED}; or psk_file for the key alone");
                table.wrong(self.findings, "psk", message);
                return None;
            }
            (Some(text), _) => parse_key(text.as_bytes()).map_err(|error| error.to_string()),
            (None, Some(path)) => read_key(&self.folder.join(path)),
            (None, None) => return None,
        };
        match key {
            Ok(key) => Some(key),
            Err(message) => {
                let name = if inline.is_some() { "psk" } else { "psk_file" };
                table.wrong(self.findings, name, message);
                None
            }
        }
    }

    pub(super) fn required(
        &mut self,
        table: &mut Table<'_>,
        name: &'static str,
        expected: &str,
    ) -> Option<String> {
        if !table.is_present(name) {
            table.missing(self.findings, name, expected);
        }
        let text = table.text(self.findings, name, expected)?;
        Some(text.to_owned())
    }
}

/// Where a key stands.
#[derive(Clone, Copy)]
pub(super) struct KeyTexts<'a> {
    inline: Option<&'a str>,
    file: Option<&'a str>,
}

/// Returns what a certificate has to carry for a URI if nothing else is said: its host, or host and
/// port where the host is an address (RFC 7252 §9.1.3.3).
fn authority_of(uri: &str) -> &str {
    let (_, authority) = uri.split_once("://").unwrap_or(("", uri));
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    match ServerName::new(host) {
        Ok(_) => host,
        Err(_) => authority,
    }
}

/// The security modes by the words of the configuration.
const SECURITY_MODES: [(&str, SecurityMode); 4] = [
    ("none", SecurityMode::NoSec),
    ("sharedkey", SecurityMode::SharedKey),
    ("multikey", SecurityMode::MultiKey),
    ("certificate", SecurityMode::Certificate),
];

const KEY_NAMES: [&str; 4] = ["psk_identity", "psk", "psk_file", "shared_key"];

const CERTIFICATE_NAMES: [&str; 3] = ["raw_public_key", "authority", "certificate_name"];

const EXPECTED_PUBLIC_KEY: &str = "the path of a file with the device's public key";

const EXPECTED_AUTHORITY: &str = "the path of a file with certificates of authorities";

const EXPECTED_NAME: &str = "the DNS name, or HOST:PORT, that the device's certificate carries";

/// Reads what the records of both directions carry.
fn connection_ids(findings: &mut Findings<'_>, table: &mut Table<'_>) -> Option<ConnectionIds> {
    let format = ConnectionIdFormat::new(0);
    let words = [
        ("off", ConnectionIds::Off),
        ("send", ConnectionIds::SendOnly),
        ("receive", ConnectionIds::Both(format)),
    ];
    let chosen = table.word(findings, "connection_id", &words);
    let node = table.integer(findings, "connection_id_node", 0..=u64::from(u16::MAX));
    let len = table.integer(findings, "connection_id_length", 7..=32);
    let Some(ConnectionIds::Both(_)) = chosen else {
        for name in ["connection_id_node", "connection_id_length"] {
            if table.is_present(name) {
                let message = "has a meaning with connection_id = \"receive\" alone".to_owned();
                table.wrong(findings, name, message);
            }
        }
        return chosen;
    };
    let node = node.and_then(|node| u16::try_from(node).ok());
    let format = ConnectionIdFormat::new(node.unwrap_or_default());
    let len = len.and_then(|len| usize::try_from(len).ok());
    let format = len.map_or(format, |len| format.with_len(len));
    Some(ConnectionIds::Both(format))
}

pub(super) fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// Turns a factor of 1 to 10 into hundredths.
fn hundredths(factor: f64) -> u16 {
    (100_u16..=1_000)
        .find(|percent| f64::from(*percent) >= factor * 100.0 - 0.5)
        .unwrap_or(150)
}

pub(super) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

const APPLICATIONS: &[(&str, StreamApplication)] = &[
    ("coap", StreamApplication::Coap),
    ("http", StreamApplication::Http),
];

const FORMS: &[(&str, LegForm)] = &[("dtls", LegForm::Dtls), ("tls", LegForm::Tls)];

/// How often a device may be asked for signs of life: so that they cost next to nothing.
const PING_INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_toml_copied_of_a_key_is_wiped() {
        let text = "psk = \"\\u0041bc\"\n[[device]]\npsk = [\"\\u0041bc\"]\n";
        let (mut root, _) = DeTable::parse_recoverable(text);
        assert!(format!("{root:?}").contains("Abc"));
        wipe_table(root.get_mut());
        assert!(!format!("{root:?}").contains("Abc"));
    }
}
