//! The page at `/`: what there is, and how to ask for it.

use std::fmt::Write;

use hedgerow_proxy::{DEVICES_PREFIX, Methods};

use crate::config::{Device, Mode};

/// Writes the page. `base` is the gateway's own scheme and authority.
pub(crate) fn page<'d>(base: &str, devices: impl Iterator<Item = &'d Device>) -> String {
    let mut html = String::from(HEAD);
    let mut is_empty = true;
    for device in devices {
        is_empty = false;
        write_device(&mut html, base, device);
    }
    if is_empty {
        html.push_str("<p>No device is configured.</p>\n");
    }
    html.push_str(FOOT);
    html
}

fn write_device(html: &mut String, base: &str, device: &Device) {
    let name = escape(&device.name);
    // Writing to a String can't fail.
    let _ = write!(
        html,
        "<section>\n<h2>{name}</h2>\n<p>mode <b>{}</b>, security <b>{}</b> ({}), {}</p>\n<ul>\n",
        device.mode_names(),
        device.security_name,
        device.security_mode_name(),
        methods(device.methods),
    );
    let core = device
        .permits(&[".well-known".to_owned(), "core".to_owned()])
        .then_some("/.well-known/core");
    let examples = device.examples.iter().map(String::as_str).chain(core);
    let is_asked = device.has(Mode::Terminate) && device.methods.contains(Methods::GET);
    for path in examples.filter(|_| is_asked) {
        let link = escape(&format!("{DEVICES_PREFIX}{}{}", device.name, encode(path)));
        let _ = writeln!(
            html,
            "<li><a href=\"{link}\">{}</a><pre>curl {}</pre></li>",
            escape(path),
            escape(&quote(&format!(
                "{base}{DEVICES_PREFIX}{}{}",
                device.name,
                encode(path)
            ))),
        );
    }
    html.push_str("</ul>\n</section>\n");
}

fn methods(methods: Methods) -> String {
    let named = [
        (Methods::GET, "GET"),
        (Methods::POST, "POST"),
        (Methods::PUT, "PUT"),
        (Methods::DELETE, "DELETE"),
    ];
    let names: Vec<_> = named
        .iter()
        .filter_map(|(one, name)| methods.contains(*one).then_some(*name))
        .collect();
    names.join(", ")
}

/// Percent-encodes what a path or a query can't hold as it is.
fn encode(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
        if is_plain {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Quotes what a shell would take apart.
fn quote(url: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/%@".contains(&byte);
    if url.bytes().all(is_plain) {
        return url.to_owned();
    }
    format!("'{}'", url.replace('\'', "'\\''"))
}

/// Escapes text for content and quoted attributes of HTML.
fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

const HEAD: &str = "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<title>Hedgerow</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem; }
h1 { color: #2b5d34; }
section { border-top: 1px solid #ccc; }
ul { list-style: none; padding: 0; }
pre { background: #f3f5f1; padding: .5rem; overflow-x: auto; margin: .2rem 0 .8rem; }
@media (prefers-color-scheme: dark) {
  body { background: #161a16; color: #ddd; } a { color: #8fc79a; }
  h1 { color: #8fc79a; } pre { background: #222822; }
}
</style>
</head>
<body>
<h1>Hedgerow</h1>
<p>A gateway between HTTP and CoAP devices. These are the devices that it is configured for.</p>
";

const FOOT: &str = "</body>\n</html>\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PathPattern, Security};

    #[test]
    fn page_has_links_and_curl_lines_and_escapes_them() {
        let lamp = Device::new("lamp", "coap://[::1]", Security::None)
            .with_methods(Methods::GET | Methods::PUT)
            .with_example("/<script>\"'&x=1");
        let meter = Device::new("meter", "coap://[::1]:1", Security::None)
            .with_path(PathPattern::parse("/history").unwrap())
            .with_example("/history");
        let html = page("http://127.0.0.1:8080", [&lamp, &meter].into_iter());
        assert!(
            html.contains("mode <b>terminate</b>, security <b>none</b> (NoSec), GET, PUT"),
            "{html}"
        );
        let history = "<a href=\"/devices/meter/history\">/history</a>\
                       <pre>curl http://127.0.0.1:8080/devices/meter/history</pre>";
        assert!(html.contains(history), "{html}");
        assert!(html.contains("/devices/lamp/.well-known/core"));
        assert!(!html.contains("/devices/meter/.well-known/core"));
        assert!(!html.contains("<script"));
        assert!(
            html.contains("href=\"/devices/lamp/%3Cscript%3E%22&#39;&amp;x=1\""),
            "{html}"
        );
        assert!(html.contains(
            "curl &#39;http://127.0.0.1:8080/devices/lamp/%3Cscript%3E%22&#39;\\&#39;&#39;&amp;x=1&#39;"
        ), "{html}");
    }

    #[test]
    fn page_without_devices_says_so() {
        assert!(page("http://localhost", [].into_iter()).contains("No device is configured."));
    }
}
