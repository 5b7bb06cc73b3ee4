//! What the simulated devices answer.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use hedgerow::devices::{Device, Lamp, MAX_FIRMWARE_LEN, Meter, Thermometer};
use hedgerow_coap::{Code, ContentFormat, Links, OptionNumber};
use hedgerow_core::Instant;
use hedgerow_net::{RequestMessage, ResponseMessage};
use proptest::prelude::*;

const START: Instant = Instant::ZERO;

fn request(method: Code, path: &str) -> RequestMessage {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    RequestMessage {
        method,
        options: segments
            .map(|segment| (OptionNumber::URI_PATH, segment.as_bytes().to_vec()))
            .collect(),
        payload: Vec::new(),
        is_confirmable: true,
        answers_challenges: true,
    }
}

fn with(mut request: RequestMessage, number: OptionNumber, value: &[u8]) -> RequestMessage {
    request.options.push((number, value.to_vec()));
    request.options.sort_by_key(|(number, _)| *number);
    request
}

fn put(path: &str, format: Option<ContentFormat>, payload: &[u8]) -> RequestMessage {
    let mut put = request(Code::PUT, path);
    put.payload = payload.to_vec();
    match format {
        Some(format) => with(
            put,
            OptionNumber::CONTENT_FORMAT,
            format.encode().as_bytes(),
        ),
        None => put,
    }
}

fn get(device: &mut impl Device, path: &str) -> ResponseMessage {
    device.handle(START, &request(Code::GET, path))
}

fn get_as(device: &mut impl Device, path: &str, format: ContentFormat) -> ResponseMessage {
    let get = request(Code::GET, path);
    let accept = format.encode();
    device.handle(START, &with(get, OptionNumber::ACCEPT, accept.as_bytes()))
}

fn option(response: &ResponseMessage, number: OptionNumber) -> Option<Vec<u8>> {
    let mut options = response.options.iter();
    let (_, value) = options.find(|(found, _)| *found == number)?;
    Some(value.clone())
}

fn text(response: &ResponseMessage) -> &str {
    std::str::from_utf8(&response.payload).unwrap()
}

#[test]
fn thermometer_answers_in_the_format_that_accept_names() {
    let mut device = Thermometer;
    let plain = get(&mut device, "temperature");
    assert_eq!((plain.code, text(&plain)), (Code::CONTENT, "21.0"));
    assert_eq!(option(&plain, OptionNumber::CONTENT_FORMAT), Some(vec![]));
    let json = get_as(&mut device, "temperature", ContentFormat::JSON);
    assert_eq!(text(&json), r#"{"temperature":21.0,"unit":"Cel"}"#);
    assert_eq!(option(&json, OptionNumber::CONTENT_FORMAT), Some(vec![50]));
    let senml = get_as(&mut device, "temperature", ContentFormat::SENML_JSON);
    assert_eq!(text(&senml), r#"[{"n":"temperature","u":"Cel","v":21.0}]"#);
    let cbor = get_as(&mut device, "temperature", ContentFormat::CBOR);
    assert_eq!(cbor.code, Code::NOT_ACCEPTABLE);
}

#[test]
fn temperature_is_a_wave_between_18_and_24_degrees() {
    let at = |seconds: u64| Thermometer::tenths(Instant::from_micros(seconds * 1_000_000));
    assert_eq!(
        [at(0), at(300), at(600), at(900), at(1_200)],
        [210, 240, 210, 180, 210]
    );
    for second in 0..2_400 {
        assert!((180..=240).contains(&at(second)));
        assert!(at(second).abs_diff(at(second + 1)) <= 1);
    }
    assert!((180..=240).contains(&Thermometer::tenths(Instant::from_micros(u64::MAX))));
}

#[test]
fn requests_that_have_no_resource_or_method_get_their_codes() {
    let mut device = Thermometer;
    for path in ["", "temperatur", "temperature/now", ".well-known"] {
        assert_eq!(get(&mut device, path).code, Code::NOT_FOUND, "{path}");
    }
    let query = with(
        request(Code::GET, "temperature"),
        OptionNumber::URI_QUERY,
        b"unit=F",
    );
    assert_eq!(device.handle(START, &query).code, Code::NOT_FOUND);
    let slash = with(
        request(Code::GET, "temperature"),
        OptionNumber::URI_PATH,
        b"",
    );
    assert_eq!(device.handle(START, &slash).code, Code::NOT_FOUND);
    for method in [Code::PUT, Code::POST, Code::DELETE, Code::FETCH] {
        let code = device.handle(START, &request(method, "temperature")).code;
        assert_eq!(code, Code::METHOD_NOT_ALLOWED);
    }
}

#[test]
fn representation_that_the_client_has_is_confirmed_and_not_sent() {
    let mut device = Thermometer;
    let tag = option(&get(&mut device, "temperature"), OptionNumber::ETAG).unwrap();
    let again = with(request(Code::GET, "temperature"), OptionNumber::ETAG, &tag);
    let valid = device.handle(START, &again);
    assert_eq!((valid.code, text(&valid)), (Code::VALID, ""));
    assert_eq!(option(&valid, OptionNumber::ETAG), Some(tag));
    let later = device.handle(Instant::from_micros(60_000_000), &again);
    assert_eq!((later.code, text(&later)), (Code::CONTENT, "21.6"));
}

#[test]
fn lamp_is_switched_dimmed_and_toggled() {
    let mut lamp = Lamp::new();
    assert_eq!(text(&get(&mut lamp, "state")), "off");
    let json = Some(ContentFormat::JSON);
    for (put, path, now) in [
        (put("state", None, b"on"), "state", "on"),
        (put("state", json, br#"{"state":"off"}"#), "state", "off"),
        (put("brightness", None, b"40\n"), "brightness", "40"),
        (put("brightness", None, b"0"), "brightness", "0"),
        (
            put("brightness", json, br#"{"brightness":100}"#),
            "brightness",
            "100",
        ),
    ] {
        assert_eq!(lamp.handle(START, &put).code, Code::CHANGED);
        assert_eq!(text(&get(&mut lamp, path)), now);
    }
    let toggle = request(Code::POST, "toggle");
    for now in ["on", "off"] {
        let toggled = lamp.handle(START, &toggle);
        assert_eq!((toggled.code, text(&toggled)), (Code::CHANGED, now));
        assert_eq!(text(&get(&mut lamp, "state")), now);
    }
    assert_eq!(get(&mut lamp, "toggle").code, Code::METHOD_NOT_ALLOWED);
}

#[test]
fn nonsense_changes_nothing_and_is_told_what_was_expected() {
    let mut lamp = Lamp::new();
    let json = Some(ContentFormat::JSON);
    for nonsense in [
        put("state", None, b""),
        put("state", None, b"ON"),
        put("state", None, b"on\0"),
        put("state", None, &[0xff]),
        put("state", json, b"on"),
        put("state", json, br#"{"state":"on","and":1}"#),
        put("state", json, br#"{"state":true}"#),
        put("brightness", None, b"101"),
        put("brightness", None, b"-1"),
        put("brightness", None, b"+1"),
        put("brightness", None, b""),
        put("brightness", None, b"356"),
        put("brightness", json, br#"{"brightness":356}"#),
        put("brightness", json, br#"{"brightness":1.5}"#),
    ] {
        let answer = lamp.handle(START, &nonsense);
        assert_eq!(answer.code, Code::BAD_REQUEST);
        assert!(text(&answer).starts_with("expected "));
    }
    let mut toggle = request(Code::POST, "toggle");
    toggle.payload = b"on".to_vec();
    assert_eq!(lamp.handle(START, &toggle).code, Code::BAD_REQUEST);
    let cbor = put("state", Some(ContentFormat::CBOR), b"on");
    assert_eq!(
        lamp.handle(START, &cbor).code,
        Code::UNSUPPORTED_CONTENT_FORMAT
    );
    assert_eq!(text(&get(&mut lamp, "state")), "off");
    assert_eq!(text(&get(&mut lamp, "brightness")), "100");
}

#[test]
fn conditional_put_is_done_only_in_the_state_that_it_names() {
    // RFC 7252 §5.10.8.1 and §5.10.8.2.
    let mut lamp = Lamp::new();
    let off = option(&get(&mut lamp, "state"), OptionNumber::ETAG).unwrap();
    let if_off = with(put("state", None, b"on"), OptionNumber::IF_MATCH, &off);
    assert_eq!(lamp.handle(START, &if_off).code, Code::CHANGED);
    assert_eq!(lamp.handle(START, &if_off).code, Code::PRECONDITION_FAILED);
    let either = with(if_off, OptionNumber::IF_MATCH, b"");
    assert_eq!(lamp.handle(START, &either).code, Code::CHANGED);
    let if_none = with(put("state", None, b"off"), OptionNumber::IF_NONE_MATCH, b"");
    assert_eq!(lamp.handle(START, &if_none).code, Code::PRECONDITION_FAILED);
    assert_eq!(text(&get(&mut lamp, "state")), "on");
}

#[test]
fn meter_counts_and_its_history_is_30_kilobytes() {
    let mut meter = Meter::new();
    assert_eq!(text(&get(&mut meter, "reading")), "1234.567");
    let hour = Instant::from_micros(3_600_000_000);
    let later = meter.handle(hour, &request(Code::GET, "reading"));
    assert_eq!(text(&later), "1235.567");
    let csv = get(&mut meter, "history");
    assert!(
        (30_000..33_000).contains(&csv.payload.len()),
        "{}",
        csv.payload.len()
    );
    assert_eq!(text(&csv).lines().count(), 1_601);
    assert!(text(&csv).starts_with("seconds,energy_wh,power_w\n-96000,"));
    let later = meter.handle(hour, &request(Code::GET, "history"));
    assert_eq!(later, csv, "blocks of one body must fit together");
    let json = get_as(&mut meter, "history", ContentFormat::JSON);
    let rows: Vec<[i64; 3]> = serde_json::from_slice(&json.payload).unwrap();
    assert_eq!(rows.len(), 1_600);
    assert!(
        rows.windows(2)
            .all(|pair| pair[1][1] - pair[0][1] == pair[0][2] / 60
                || pair[1][1] - pair[0][1] == pair[1][2] / 60)
    );
    assert!(json.payload.len() <= MAX_FIRMWARE_LEN);
}

#[test]
fn meter_tells_length_and_digest_of_the_image_written() {
    let mut meter = Meter::new();
    assert_eq!(get(&mut meter, "firmware").code, Code::NOT_FOUND);
    // FIPS 180-2, B.1.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3";
    assert_eq!(
        meter.handle(START, &put("firmware", None, b"abc")).code,
        Code::CREATED
    );
    assert_eq!(text(&get(&mut meter, "firmware")), abc);
    let longest = vec![7; MAX_FIRMWARE_LEN];
    let octets = Some(ContentFormat::OCTET_STREAM);
    assert_eq!(
        meter.handle(START, &put("firmware", octets, &longest)).code,
        Code::CHANGED
    );
    assert!(text(&get(&mut meter, "firmware")).ends_with(" 131072"));
    let too_long = vec![7; MAX_FIRMWARE_LEN + 1];
    let refused = meter.handle(START, &put("firmware", octets, &too_long));
    assert_eq!(refused.code, Code::REQUEST_ENTITY_TOO_LARGE);
    assert_eq!(option(&refused, OptionNumber::SIZE1), Some(vec![2, 0, 0]));
    let json = put("firmware", Some(ContentFormat::JSON), b"{}");
    assert_eq!(
        meter.handle(START, &json).code,
        Code::UNSUPPORTED_CONTENT_FORMAT
    );
    assert_eq!(
        meter.handle(START, &put("firmware", None, b"")).code,
        Code::BAD_REQUEST
    );
    assert!(text(&get(&mut meter, "firmware")).ends_with(" 131072"));
    let delete = request(Code::DELETE, "firmware");
    assert_eq!(meter.handle(START, &delete).code, Code::DELETED);
    assert_eq!(get(&mut meter, "firmware").code, Code::NOT_FOUND);
    let create = with(
        put("firmware", None, b"abc"),
        OptionNumber::IF_NONE_MATCH,
        b"",
    );
    assert_eq!(meter.handle(START, &create).code, Code::CREATED);
    assert_eq!(meter.handle(START, &create).code, Code::PRECONDITION_FAILED);
}

#[test]
fn list_of_resources_names_them_all_and_is_filtered() {
    let mut meter = Meter::new();
    let all = get(&mut meter, ".well-known/core");
    assert_eq!(option(&all, OptionNumber::CONTENT_FORMAT), Some(vec![40]));
    let targets = |response: &ResponseMessage| -> Vec<String> {
        let links = Links::new(std::str::from_utf8(&response.payload).unwrap());
        links
            .map(|link| link.unwrap().target().to_owned())
            .collect()
    };
    assert_eq!(targets(&all), ["/reading", "/history", "/firmware"]);
    for (filter, found) in [
        ("rt=energy", vec!["/reading"]),
        ("rt=energy*", vec!["/reading", "/history"]),
        ("if=core.p", vec!["/firmware"]),
        ("ct=50", vec!["/reading", "/history", "/firmware"]),
        ("href=/h*", vec!["/history"]),
        ("rt=none", vec![]),
    ] {
        let core = request(Code::GET, ".well-known/core");
        let answer = meter.handle(
            START,
            &with(core, OptionNumber::URI_QUERY, filter.as_bytes()),
        );
        assert_eq!(
            (answer.code, targets(&answer)),
            (
                Code::CONTENT,
                found.iter().map(ToString::to_string).collect()
            )
        );
    }
    let core = || request(Code::GET, ".well-known/core");
    let odd = with(core(), OptionNumber::URI_QUERY, b"rt");
    assert_eq!(meter.handle(START, &odd).code, Code::BAD_REQUEST);
    let twice = with(
        with(core(), OptionNumber::URI_QUERY, b"rt=a"),
        OptionNumber::URI_QUERY,
        b"if=b",
    );
    assert_eq!(meter.handle(START, &twice).code, Code::BAD_REQUEST);
    let json = get_as(&mut meter, ".well-known/core", ContentFormat::JSON);
    assert_eq!(json.code, Code::NOT_ACCEPTABLE);
    let post = request(Code::POST, ".well-known/core");
    assert_eq!(meter.handle(START, &post).code, Code::METHOD_NOT_ALLOWED);
    let devices: [&mut dyn Device; 2] = [&mut Lamp::new(), &mut Thermometer];
    for device in devices {
        assert_eq!(device.handle(START, &core()).code, Code::CONTENT);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_request_gets_a_response_with_options_in_order(
        method in 1_u8..32,
        path in prop::sample::select(vec!["state", "brightness", "toggle", "firmware", "x"]),
        numbers in prop::collection::vec((0_u16..40, prop::collection::vec(any::<u8>(), 0..6)), 0..5),
        payload in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut asked = request(Code::from(method), path);
        asked.payload = payload;
        for (number, value) in numbers {
            asked = with(asked, OptionNumber(number), &value);
        }
        let devices: [&mut dyn Device; 2] = [&mut Lamp::new(), &mut Meter::new()];
        for device in devices {
            let answer = device.handle(START, &asked);
            prop_assert!(answer.code.is_response());
            prop_assert!(answer.options.is_sorted_by_key(|(number, _)| *number));
            for (number, value) in &answer.options {
                prop_assert!(number.definition().unwrap().allows_len(value.len()));
            }
        }
    }
}
