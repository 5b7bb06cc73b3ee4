//! CoAP URIs of `hedgerow-coap`, both ways.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hedgerow_coap::{
    CoapUri, Code, Message, MessageId, MessageType, MessageWriter, OptionNumber, Scheme, Token,
    UriHost,
};

/// Takes the input for a URI's text and for a request: the one must survive the way through
/// options, the other the way through text.
pub fn coap_uri(input: &[u8]) {
    if let Some(uri) = std::str::from_utf8(input)
        .ok()
        .and_then(|text| CoapUri::parse(text).ok())
    {
        through_options(&uri);
    }
    if let Ok(request) = Message::decode(input) {
        through_text(&request);
    }
}

fn through_options(uri: &CoapUri<'_>) {
    let normal = uri.to_string();
    let again = CoapUri::parse(&normal).expect("the normal form is a URI");
    assert_eq!(
        again.to_string(),
        normal,
        "the normal form of a normal form"
    );

    let destination = SocketAddr::new(
        uri.host()
            .address()
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        uri.port(),
    );
    let options = options(uri, destination);
    assert_eq!(options, self::options(&again, destination));
    let request = Message::decode(&options).expect("our own encoding");
    let mut composed = String::new();
    request
        .compose_uri(uri.scheme(), destination, &mut composed)
        .expect("what was taken apart can be put together");
    // An IPv4-mapped address is composed as the IPv4 address that it means.
    let is_mapped =
        matches!(uri.host(), UriHost::Ipv6 { address, .. } if address.to_ipv4_mapped().is_some());
    if !is_mapped {
        assert_eq!(composed, normal);
    }
}

fn options(uri: &CoapUri<'_>, destination: SocketAddr) -> Vec<u8> {
    let mut out = vec![0; 1 << 16];
    let (kind, id) = (MessageType::Confirmable, MessageId(1));
    let mut writer = MessageWriter::new(&mut out, kind, Code::GET, id, Token::EMPTY)
        .expect("there is room for a header");
    uri.write_options(Some(destination), &[], &mut writer)
        .expect("there is room for what is no longer than the input");
    let len = writer.finish();
    out.truncate(len);
    out
}

fn through_text(request: &Message<'_>) {
    let destination = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5684);
    let mut text = String::new();
    if request
        .compose_uri(Scheme::Coaps, destination, &mut text)
        .is_err()
    {
        return;
    }
    let mut room = vec![0; text.len()];
    let len = request.compose_uri_into(Scheme::Coaps, destination, &mut room);
    assert_eq!(len, Ok(text.len()));
    assert_eq!(room, text.as_bytes());
    // A URI has bounds that options have not, so not every text is one. One that is names the same
    // resource.
    let Ok(uri) = CoapUri::parse(&text) else {
        return;
    };
    assert_eq!(uri.to_string(), text);
    let options = options(&uri, destination);
    let again = Message::decode(&options).expect("our own encoding");
    for number in [OptionNumber::URI_PATH, OptionNumber::URI_QUERY] {
        let values = |message: &Message<'_>| -> Vec<Vec<u8>> {
            message
                .options()
                .filter(|option| option.number() == number)
                .map(|option| option.value().to_vec())
                .collect()
        };
        let (before, after) = (values(request), values(&again));
        // RFC 7252 §6.4, step 8: the path "/" has no segment, so a single empty one is lost.
        if number != OptionNumber::URI_PATH || before != [Vec::<u8>::new()] {
            assert_eq!(before, after, "{text}");
        }
    }
}
