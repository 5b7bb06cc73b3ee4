//! Seeds of CoAP's codecs.

use hedgerow_coap::{
    Abort, BlockValue, CoapUri, Code, ContentFormat, Csm, Header, MessageId, MessageType,
    MessageWriter, OptionNumber, Release, Signal, Token,
};

use crate::Seeds;

const NON: MessageType = MessageType::NonConfirmable;
const CON: MessageType = MessageType::Confirmable;
const ACK: MessageType = MessageType::Acknowledgement;

/// The first byte says where each message is cut.
pub(crate) fn coap_frame() -> Seeds {
    let csm = Signal::Csm(Csm {
        max_message_size: Some(8_192),
        block_wise_transfer: true,
    });
    let addresses = ["192.0.2.7:5684", "gateway.example"];
    let release = Release::new()
        .with_alternative_addresses(&addresses)
        .with_hold_off(600)
        .with_diagnostic("maintenance");
    let abort = Abort::new("no CSM").with_bad_csm_option(9);
    let signals = [
        ("csm", csm),
        ("ping", Signal::Ping { custody: false }),
        ("pong", Signal::Pong { custody: true }),
        ("release", Signal::Release(release)),
        ("abort", Signal::Abort(abort)),
    ];
    let mut seeds: Seeds = signals
        .iter()
        .map(|(name, signal)| ((*name).into(), prefixed(2, &signaled(*signal))))
        .collect();
    let dialogue: Vec<u8> = [
        signaled(csm),
        framed(Code::GET, b""),
        vec![0, 0],
        framed(Code::CONTENT, b"22.5 C"),
        framed(Code::CONTENT, &[7; 300]),
    ]
    .concat();
    seeds.push(("dialogue".into(), prefixed(3, &dialogue)));
    seeds.push((
        "two_byte_length".into(),
        prefixed(200, &framed(Code::PUT, &[1; 400])),
    ));
    seeds
}

fn signaled(signal: Signal<'_>) -> Vec<u8> {
    let mut out = [0; 128];
    let len = signal.encode(Token::from([0x42]), &mut out).unwrap();
    out[..len].to_vec()
}

fn framed(code: Code, payload: &[u8]) -> Vec<u8> {
    let mut out = [0; 600];
    let mut writer = MessageWriter::new_framed(&mut out, code, Token::from([0x71])).unwrap();
    if code.is_request() {
        writer
            .option(OptionNumber::URI_PATH, b"temperature")
            .unwrap();
    }
    let len = writer.payload(payload).unwrap();
    out[..len].to_vec()
}

fn prefixed(first: u8, bytes: &[u8]) -> Vec<u8> {
    [&[first], bytes].concat()
}

pub(crate) fn coap_message() -> Seeds {
    let token = Token::from([0x71, 0x72]);
    let long = [0x5a; 600];
    vec![
        (
            "ping".into(),
            Header::ping(MessageId(0x7d34)).encode().into(),
        ),
        (
            "reset".into(),
            Header::reset(MessageId(0x7d34)).encode().into(),
        ),
        (
            "get".into(),
            message(
                CON,
                Code::GET,
                token,
                |writer| {
                    let uri = CoapUri::parse("coap://example.net/sensors/temp?unit=K").unwrap();
                    uri.write_options(None, &[], writer).unwrap();
                },
                b"",
            ),
        ),
        (
            "content".into(),
            message(
                ACK,
                Code::CONTENT,
                Token::EMPTY,
                |writer| {
                    writer.option(OptionNumber::ETAG, b"\x01\x02").unwrap();
                    let format = ContentFormat::CBOR.encode();
                    writer
                        .option(OptionNumber::CONTENT_FORMAT, format.as_bytes())
                        .unwrap();
                    writer.option_uint(OptionNumber::MAX_AGE, 60).unwrap();
                },
                b"\xa1\x01\x02",
            ),
        ),
        (
            "block".into(),
            message(
                NON,
                Code::PUT,
                token,
                |writer| {
                    let block = BlockValue::new(1_000, true, 6).unwrap().encode();
                    writer
                        .option(OptionNumber::BLOCK1, block.as_bytes())
                        .unwrap();
                    writer.option_uint(OptionNumber::SIZE1, 100_000).unwrap();
                },
                &long[..64],
            ),
        ),
        (
            "extended_lengths".into(),
            message(
                CON,
                Code::POST,
                token,
                |writer| {
                    writer.option(OptionNumber::URI_PATH, &long[..13]).unwrap();
                    writer.option(OptionNumber::PROXY_URI, &long).unwrap();
                    writer.option(OptionNumber(65_000), &long[..269]).unwrap();
                },
                b"x",
            ),
        ),
        (
            "repeated_and_unknown".into(),
            message(
                CON,
                Code::GET,
                token,
                |writer| {
                    writer
                        .option(OptionNumber::URI_PORT, &[0x16, 0x33])
                        .unwrap();
                    writer
                        .option(OptionNumber::URI_PORT, &[0x16, 0x34])
                        .unwrap();
                    writer.option(OptionNumber(2_049), b"?").unwrap();
                },
                b"",
            ),
        ),
        (
            "longest_token".into(),
            message(ACK, Code::VALID, Token::new(&[9; 8]).unwrap(), |_| {}, b""),
        ),
    ]
}

fn message(
    kind: MessageType,
    code: Code,
    token: Token,
    options: impl FnOnce(&mut MessageWriter<'_>),
    payload: &[u8],
) -> Vec<u8> {
    let mut out = vec![0; 2_048];
    let mut writer = MessageWriter::new(&mut out, kind, code, MessageId(0x7d34), token).unwrap();
    options(&mut writer);
    let len = match payload {
        [] => writer.finish(),
        payload => writer.payload(payload).unwrap(),
    };
    out.truncate(len);
    out
}

pub(crate) fn coap_uri() -> Seeds {
    let texts = [
        ("name", "coap://example.net/.well-known/core"),
        ("ipv4_and_port", "coaps://192.0.2.1:61616/a//b/"),
        ("ipv6_with_zone", "coap://[fe80::1%25eth0]:5683"),
        ("ipv6_mapped", "coap://[::ffff:192.0.2.1]/"),
        ("tcp", "coaps+tcp://EXAMPLE.net?a&b=%26&"),
        (
            "percent",
            "coap://xn--18j4d.example/%E3%81%93%E3%82%93/%2F%25?%22//%22",
        ),
        ("dots", "coap://h/a/./b/../%2e%2e/c/."),
        ("encoded_host", "coap://%41b%2dc/"),
    ];
    let mut seeds: Seeds = texts
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()))
        .collect();
    seeds.extend(coap_message().into_iter().filter(|(name, _)| name == "get"));
    seeds.push((
        "request_with_port_and_slash".into(),
        message(
            CON,
            Code::GET,
            Token::EMPTY,
            |writer| {
                writer
                    .option(OptionNumber::URI_HOST, b"[2001:db8::1]")
                    .unwrap();
                writer.option_uint(OptionNumber::URI_PORT, 61_616).unwrap();
                writer.option(OptionNumber::URI_PATH, b"").unwrap();
                writer.option(OptionNumber::URI_PATH, b"a/b").unwrap();
                writer.option(OptionNumber::URI_QUERY, b"x&y=%").unwrap();
            },
            b"",
        ),
    ));
    seeds
}

pub(crate) fn coap_link_format() -> Seeds {
    let documents = [
        ("empty", "", ""),
        (
            "sensors",
            "rt=temperature-c",
            "</sensors>;ct=40;title=\"Sensor Index\",</sensors/temp>;rt=\"temperature-c\";if=\"sensor\"",
        ),
        (
            "lists",
            "rt=core*",
            "</sensors/light>;rt=\"light-lux core.sen-light\";if=\"sensor\",</firmware/v2.1>;rt=\"firmware\";sz=262144;obs",
        ),
        (
            "relations",
            "href=/t*",
            "<http://www.example.com/sensors/t123>;anchor=\"/sensors/temp\";rel=\"describedby\",\r\n</t>;anchor=\"/sensors/temp\";rel=alternate",
        ),
        (
            "escapes",
            "title=\"*",
            "</a>;title=\"say \\\"no\\\" and \\\\\";title*=UTF-8'en'no",
        ),
        ("malformed", "", "</a>;rt=\"open,</b>"),
    ];
    documents
        .into_iter()
        .map(|(name, filter, document)| {
            let mut input = vec![u8::try_from(filter.len()).unwrap()];
            input.extend(filter.bytes().chain(document.bytes()));
            (name.to_owned(), input)
        })
        .collect()
}
