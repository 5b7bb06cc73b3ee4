//! Link format of `hedgerow-coap`.

use hedgerow_coap::{Link, LinkFilter, LinkWriter, Links};
use hedgerow_core::Reader;

/// Reads a document, writes its links as they stand and piece by piece, and expects the same
/// links; each must be selected by filters made from it.
///
/// The input's first byte says how many bytes of it are a filter; the rest is the document.
pub fn coap_link_format(input: &[u8]) {
    let mut reader = Reader::new(input);
    let filter = reader.vector8().ok().and_then(LinkFilter::decode);
    let Ok(document) = Links::decode(reader.rest()) else {
        return;
    };
    let links: Vec<Link<'_>> = document.map_while(Result::ok).collect();
    let mut copy = vec![0; input.len().saturating_mul(2)];
    let mut writer = LinkWriter::new(&mut copy);
    for link in &links {
        writer.copy_link(link).expect("it fits where it came from");
    }
    let len = writer.finish();
    let copy = Links::decode(copy.get(..len).unwrap_or_default()).expect("text stays text");
    let copied: Vec<Link<'_>> = copy.map(|link| link.expect("our own text")).collect();
    assert_eq!(links.len(), copied.len());
    for (link, copied) in links.iter().zip(&copied) {
        assert_eq!(link.as_str(), copied.as_str());
        rewritten(link);
        selected(link);
        if let Some(filter) = &filter {
            assert_eq!(filter.matches(link), filter.matches(copied));
        }
    }
}

/// Target, names and values survive being written with quotes.
fn rewritten(link: &Link<'_>) {
    let mut out = vec![0; link.as_str().len().saturating_mul(4).saturating_add(16)];
    let mut writer = LinkWriter::new(&mut out);
    if writer.link(link.target()).is_err() {
        return;
    }
    for attribute in link.attributes() {
        let text = attribute.value().to_string();
        let written = match attribute.has_value() {
            true => writer.quoted(attribute.name(), &text),
            false => writer.flag(attribute.name()),
        };
        if written.is_err() {
            return;
        }
    }
    let len = writer.finish();
    let text = std::str::from_utf8(out.get(..len).unwrap_or_default()).expect("our own text");
    let again = Links::new(text)
        .next()
        .expect("one link")
        .expect("our own link");
    assert_eq!(again.target(), link.target());
    assert_eq!(again.attributes().count(), link.attributes().count());
    for (before, after) in link.attributes().zip(again.attributes()) {
        assert_eq!(before.name(), after.name());
        assert_eq!(before.has_value(), after.has_value());
        assert_eq!(before.value(), after.value());
    }
}

/// A link is selected by its target, by each attribute, and by each item of one that lists.
fn selected(link: &Link<'_>) {
    let selects = |name: &str, value: &str| {
        let argument = format!("{name}={value}");
        LinkFilter::decode(argument.as_bytes()).is_some_and(|filter| filter.matches(link))
    };
    assert!(selects("href", "*"));
    if !link.target().ends_with('*') {
        assert!(selects("href", link.target()));
    }
    for attribute in link.attributes() {
        let name = attribute.name();
        let is_list = matches!(name, "rel" | "rev" | "rt" | "if" | "ct");
        let value = attribute.value().to_string();
        if name != "href" && !is_list && !value.ends_with('*') {
            assert!(selects(name, &value), "{name}={value}");
        }
        for item in attribute.value().items().map(|item| item.to_string()) {
            if is_list && !item.ends_with('*') {
                assert!(selects(name, &item), "{name}={item}");
            }
        }
    }
}
