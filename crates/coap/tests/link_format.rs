//! Link format against RFC 6690's examples, at its edges, and by properties.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use hedgerow_coap::{Link, LinkError, LinkFilter, LinkWriter, Links};
use proptest::prelude::*;

/// RFC 6690 §5, with its line breaks.
const EXAMPLE: &str = "</sensors>;ct=40;title=\"Sensor Index\",
</sensors/temp>;rt=\"temperature-c\";if=\"sensor\",
</sensors/light>;rt=\"light-lux core.sen-light\";if=\"sensor\",
<http://www.example.com/sensors/t123>;anchor=\"/sensors/temp\"
;rel=\"describedby\",
</t>;anchor=\"/sensors/temp\";rel=\"alternate\",
</firmware/v2.1>;rt=\"firmware\";sz=262144;obs";

fn links(text: &str) -> Vec<Link<'_>> {
    Links::new(text).map(Result::unwrap).collect()
}

/// Returns the targets that a filter selects from the example.
fn selected(filter: &str) -> Vec<&'static str> {
    let filter = LinkFilter::decode(filter.as_bytes()).unwrap();
    let links = links(EXAMPLE)
        .into_iter()
        .filter(|link| filter.matches(link));
    links.map(|link| link.target()).collect()
}

#[test]
fn section_5_examples_parse() {
    let links = links(EXAMPLE);
    let targets: Vec<_> = links.iter().map(Link::target).collect();
    let outside = "http://www.example.com/sensors/t123";
    assert_eq!(
        targets,
        [
            "/sensors",
            "/sensors/temp",
            "/sensors/light",
            outside,
            "/t",
            "/firmware/v2.1"
        ]
    );
    assert_eq!(links[0].attribute("ct").unwrap().as_number(), Some(40));
    assert_eq!(
        links[0].attribute("title").unwrap().as_str(),
        Some("Sensor Index")
    );
    assert_eq!(links[0].attribute("rt"), None);
    assert!(links[2].lists("rt", "light-lux"));
    assert!(links[2].lists("rt", "core.sen-light"));
    assert!(!links[2].lists("rt", "core.sen"));
    assert_eq!(links[5].attribute("sz").unwrap().as_number(), Some(262_144));
    let names: Vec<_> = links[5]
        .attributes()
        .map(|attribute| attribute.name())
        .collect();
    assert_eq!(names, ["rt", "sz", "obs"]);
    let flag = links[5].attributes().last().unwrap();
    assert!(!flag.has_value());
    assert_eq!(
        links[4].as_str(),
        "</t>;anchor=\"/sensors/temp\";rel=\"alternate\""
    );
}

#[test]
fn filters_select_as_section_4_1_says() {
    assert_eq!(selected("rt=light-lux"), ["/sensors/light"]);
    assert_eq!(selected("rt=core.sen-light"), ["/sensors/light"]);
    assert_eq!(selected("rt=light"), [""; 0]);
    assert_eq!(selected("rt=light*"), ["/sensors/light"]);
    assert_eq!(selected("rt=core*"), ["/sensors/light"]);
    assert_eq!(
        selected("rt=*"),
        ["/sensors/temp", "/sensors/light", "/firmware/v2.1"]
    );
    assert_eq!(selected("href=/sensors"), ["/sensors"]);
    assert_eq!(
        selected("href=/sensors*"),
        ["/sensors", "/sensors/temp", "/sensors/light"]
    );
    assert_eq!(
        selected("anchor=/sensors/temp"),
        ["http://www.example.com/sensors/t123", "/t"]
    );
    assert_eq!(selected("title=Sensor Index"), ["/sensors"]);
    assert_eq!(selected("title=Sensor*"), ["/sensors"]);
    assert_eq!(selected("title=Index"), [""; 0]);
    assert_eq!(selected("obs=*"), ["/firmware/v2.1"]);
    assert_eq!(selected("nothing=*"), [""; 0]);
}

#[test]
fn query_arguments_without_equals_sign_are_no_filters() {
    assert_eq!(LinkFilter::decode(b"rt"), None);
    assert_eq!(LinkFilter::decode(b""), None);
    assert_eq!(LinkFilter::decode(b"rt=\xff"), None);
}

#[test]
fn commas_and_semicolons_in_quotes_and_targets_end_nothing() {
    let links = links("</a,b;c>;title=\"x,</y>;z\",</d>");
    assert_eq!(links.len(), 2);
    assert_eq!(links[0].target(), "/a,b;c");
    assert_eq!(links[0].attribute("title").unwrap(), *"x,</y>;z");
}

#[test]
fn backslashes_are_undone_for_comparison_and_display() {
    let text = r#"</a>;title="say \"hi\" \\o"#.to_owned() + "\"";
    let links = links(&text);
    let title = links[0].attribute("title").unwrap();
    assert_eq!(title, *r#"say "hi" \o"#);
    assert_eq!(title.to_string(), r#"say "hi" \o"#);
    assert_eq!(title.as_str(), None);
    let filter = LinkFilter::decode(br#"title=say "hi*"#).unwrap();
    assert!(filter.matches(&links[0]));
}

#[test]
fn values_without_quotes_and_extended_names_parse() {
    let links = links("</a>;rt=temp;title*=UTF-8''%e2%82%ac;x=<=>");
    assert!(links[0].lists("rt", "temp"));
    assert_eq!(links[0].attribute("title*").unwrap(), *"UTF-8''%e2%82%ac");
    assert_eq!(links[0].attribute("x").unwrap(), *"<=>");
}

#[test]
fn empty_document_has_no_links() {
    assert_eq!(Links::new("").count(), 0);
    assert_eq!(Links::new(" \r\n").count(), 0);
}

#[test]
fn malformed_documents_end_with_an_error_that_says_where() {
    for (text, at) in [
        ("x", 0),
        ("</a", 0),
        ("</a>x", 0),
        ("</a>;", 0),
        ("</a>;=x", 0),
        ("</a>;rt=", 0),
        ("</a>;rt=\"x", 0),
        ("</a>;rt=\"x\\\"", 0),
        ("</a>;rt=\"\u{1}\"", 0),
        ("</a>,", 0),
        ("</a>,,</b>", 5),
        ("</a>,</b>;", 5),
        ("</a b>", 0),
        ("<<>", 0),
        ("</a> </b>", 0),
    ] {
        let mut links = Links::new(text).skip_while(Result::is_ok);
        assert_eq!(
            links.next(),
            Some(Err(LinkError::Malformed { at })),
            "{text}"
        );
        assert_eq!(links.next(), None);
    }
    let error = Links::decode(b"</a>\xff").unwrap_err();
    assert_eq!(error, LinkError::NotUtf8 { at: 4 });
}

#[test]
fn written_links_are_those_of_section_5() {
    let mut out = [0; 256];
    let mut writer = LinkWriter::new(&mut out);
    writer.link("/sensors").unwrap();
    writer.number("ct", 40).unwrap();
    writer.quoted("title", "Sensor Index").unwrap();
    writer.link("/sensors/temp").unwrap();
    writer.quoted("rt", "temperature-c").unwrap();
    writer.token("if", "sensor").unwrap();
    writer.flag("obs").unwrap();
    let len = writer.finish();
    let expected = "</sensors>;ct=40;title=\"Sensor Index\",\
                    </sensors/temp>;rt=\"temperature-c\";if=sensor;obs";
    assert_eq!(&out[..len], expected.as_bytes());
}

#[test]
fn filtered_document_is_copied_link_by_link() {
    let filter = LinkFilter::decode(b"if=sensor").unwrap();
    let mut out = [0; 256];
    let mut writer = LinkWriter::new(&mut out);
    for link in links(EXAMPLE).iter().filter(|link| filter.matches(link)) {
        writer.copy_link(link).unwrap();
    }
    let len = writer.finish();
    let expected = "</sensors/temp>;rt=\"temperature-c\";if=\"sensor\",\
                    </sensors/light>;rt=\"light-lux core.sen-light\";if=\"sensor\"";
    assert_eq!(&out[..len], expected.as_bytes());
}

#[test]
fn what_would_break_the_format_is_not_written() {
    let mut out = [0; 16];
    let mut writer = LinkWriter::new(&mut out);
    assert_eq!(writer.flag("obs"), Err(LinkError::NoLink));
    let refused = Err(LinkError::InvalidCharacter);
    assert_eq!(writer.link("/a>;rt=x"), refused);
    assert_eq!(writer.link("/a b"), refused);
    writer.link("/a").unwrap();
    assert_eq!(writer.quoted("r t", "x"), refused);
    assert_eq!(writer.quoted("", "x"), refused);
    assert_eq!(writer.quoted("*", "x"), refused);
    assert_eq!(writer.quoted("rt", "x\n"), refused);
    assert_eq!(writer.token("rt", "x,</b>"), refused);
    assert_eq!(writer.token("rt", ""), refused);
    let full = writer.quoted("title", "too long");
    assert_eq!(full, Err(LinkError::BufferTooSmall { available: 12 }));
    assert_eq!(writer.finish(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn written_links_read_back(
        written in prop::collection::vec(
            (
                "[a-z0-9/:?=&%,;~-]{0,10}",
                prop::collection::vec(("[a-z]{1,4}\\*?", "[ -~ü]{0,8}"), 0..4),
            ),
            0..4,
        ),
    ) {
        let mut out = [0; 1024];
        let mut writer = LinkWriter::new(&mut out);
        for (target, attributes) in &written {
            writer.link(target).unwrap();
            for (name, value) in attributes {
                writer.quoted(name, value).unwrap();
            }
        }
        let len = writer.finish();
        let read: Vec<(String, Vec<(String, String)>)> = Links::decode(&out[..len])
            .unwrap()
            .map(|link| {
                let link = link.unwrap();
                let attributes = link.attributes();
                let attributes = attributes.map(|a| (a.name().into(), a.value().to_string()));
                (link.target().into(), attributes.collect())
            })
            .collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn any_text_reads_or_fails_and_what_reads_is_the_same_when_copied(
        text in "(<[/a-z]{0,3}>|;|rt|=|\"|\\\\|,|[ -~]){0,24}",
    ) {
        let mut out = [0; 1024];
        let mut writer = LinkWriter::new(&mut out);
        let read: Vec<_> = Links::new(&text).filter_map(Result::ok).collect();
        for link in &read {
            writer.copy_link(link).unwrap();
        }
        let len = writer.finish();
        let again: Vec<_> = Links::decode(&out[..len]).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(again, read);
    }
}
