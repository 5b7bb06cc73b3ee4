//! Reading a TOML table key by key, with the place of each, so that one run reports every mistake.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, Position};
use super::suggestion::suggestion;
use super::units;

/// A key: its table, the table's place if there are several, and its name.
pub(super) type Place = (&'static str, usize, &'static str);

/// What has been found so far.
pub(super) struct Findings<'t> {
    text: &'t str,
    mistakes: Vec<Mistake>,
    places: HashMap<Place, Range<usize>>,
}

impl<'t> Findings<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            mistakes: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// Notes a mistake at a span of the text.
    pub(super) fn add(&mut self, span: &Range<usize>, key: &str, message: impl Into<String>) {
        self.mistakes.push(Mistake {
            position: Some(Position::of(self.text, span.start)),
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// Notes a mistake at a key, or at its table if the key isn't there.
    pub(super) fn add_at(&mut self, place: Place, message: String) {
        let place = self.written(place);
        let span = self.span_or_table(place).unwrap_or(0..0);
        let (table, _, name) = place;
        self.add(&span, &full_name(table, name), message);
    }

    /// Returns the line of a key, or of its table.
    pub(super) fn line(&self, place: Place) -> Option<usize> {
        let span = self.span_or_table(self.written(place))?;
        Some(Position::of(self.text, span.start).line)
    }

    /// Returns the place in which a device's key stands: in the line itself or in a file.
    fn written(&self, place: Place) -> Place {
        match place {
            (table, index, "psk") if !self.places.contains_key(&place) => {
                let file = (table, index, "psk_file");
                if self.places.contains_key(&file) {
                    file
                } else {
                    place
                }
            }
            _ => place,
        }
    }

    fn span_or_table(&self, place: Place) -> Option<Range<usize>> {
        let (table, index, _) = place;
        let span = self.places.get(&place);
        span.or_else(|| self.places.get(&(table, index, "")))
            .cloned()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// Returns the mistakes in the order of their places.
    pub(super) fn into_mistakes(mut self) -> Vec<Mistake> {
        self.mistakes.sort_by_key(|mistake| mistake.position);
        self.mistakes
    }
}

/// One table of the file. What isn't asked for is unknown.
pub(super) struct Table<'t> {
    name: &'static str,
    index: usize,
    span: Range<usize>,
    content: &'t DeTable<'t>,
    asked: Vec<&'static str>,
}

impl<'t> Table<'t> {
    pub(super) fn root(root: &'t Spanned<DeTable<'t>>) -> Self {
        Self {
            name: "",
            index: 0,
            span: 0..0,
            content: root.get_ref(),
            asked: Vec::new(),
        }
    }

    /// Returns a table in this one.
    pub(super) fn table(
        &mut self,
        findings: &mut Findings<'_>,
        name: &'static str,
    ) -> Option<Self> {
        let value = self.value(findings, name)?;
        let Some(content) = value.get_ref().as_table() else {
            let expected = format!("a table, [{name}]");
            self.wrong_type(findings, name, value, &expected);
            return None;
        };
        Some(Self::below(findings, name, 0, value.span(), content))
    }

    /// Returns the tables of an array in this one.
    pub(super) fn tables(&mut self, findings: &mut Findings<'_>, name: &'static str) -> Vec<Self> {
        let Some(value) = self.value(findings, name) else {
            return Vec::new();
        };
        let expected = format!("tables, [[{name}]]");
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(findings, name, value, &expected);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, element) in array.iter().enumerate() {
            match element.get_ref().as_table() {
                Some(content) => {
                    let span = element.span();
                    tables.push(Self::below(findings, name, index, span, content));
                }
                None => self.wrong_type(findings, name, element, &expected),
            }
        }
        tables
    }

    fn below(
        findings: &mut Findings<'_>,
        name: &'static str,
        index: usize,
        span: Range<usize>,
        content: &'t DeTable<'t>,
    ) -> Self {
        findings.places.insert((name, index, ""), span.clone());
        Self {
            name,
            index,
            span,
            content,
            asked: Vec::new(),
        }
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self, findings: &mut Findings<'_>) {
        for key in self.content.keys() {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let mut message = match suggestion(name, self.asked.iter().copied()) {
                Some(meant) => format!("unknown key: did you mean {meant}? "),
                None => "unknown key. ".to_owned(),
            };
            let mut known = self.asked.clone();
            known.sort_unstable();
            message.push_str("The keys here are ");
            message.push_str(&known.join(", "));
            // What stands there may be anything, also a key of a device's in the wrong place.
            let is_word = name.len() <= 24
                && !name.starts_with("0x")
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
            let shown = full_name(self.name, if is_word { name } else { "(not shown)" });
            findings.add(&key.span(), &shown, message);
        }
    }

    /// Reports a key that has to be there and isn't.
    pub(super) fn missing(&self, findings: &mut Findings<'_>, name: &'static str, expected: &str) {
        let message = format!("missing: expected {expected}");
        findings.add(&self.span, &full_name(self.name, name), message);
    }

    pub(super) fn is_present(&self, name: &str) -> bool {
        self.content.keys().any(|key| key.get_ref() == name)
    }

    /// Notes that a key is known, whatever its value.
    pub(super) fn know(&mut self, findings: &mut Findings<'_>, name: &'static str) {
        let _ = self.value(findings, name);
    }

    /// Reports a value that was read and can't be used.
    pub(super) fn wrong(&self, findings: &mut Findings<'_>, name: &'static str, message: String) {
        findings.add_at((self.name, self.index, name), message);
    }

    pub(super) fn boolean(
        &mut self,
        findings: &mut Findings<'_>,
        name: &'static str,
    ) -> Option<bool> {
        let value = self.value(findings, name)?;
        let found = value.get_ref().as_bool();
        if found.is_none() {
            self.wrong_type(findings, name, value, "true or false");
        }
        found
    }

    pub(super) fn text(
        &mut self,
        findings: &mut Findings<'_>,
        name: &'static str,
        expected: &str,
    ) -> Option<&'t str> {
        let value = self.value(findings, name)?;
        let found = value.get_ref().as_str();
        if found.is_none() {
            self.wrong_type(findings, name, value, expected);
        }
        found
    }

    /// Reads one of several words.
    pub(super) fn word<T: Copy>(
        &mut self,
        findings: &mut Findings<'_>,
        name: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let expected = one_of(words);
        let text = self.text(findings, name, &expected)?;
        let found = find_word(text, words);
        if found.is_none() {
            let message = unknown_word(text, words);
            self.wrong(findings, name, message);
        }
        found
    }

    /// Reads a list of words; `None` if there is none.
    pub(super) fn words<T: Copy>(
        &mut self,
        findings: &mut Findings<'_>,
        name: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<Vec<T>> {
        let expected = format!("a list of {}", one_of(words));
        let texts = self.texts(findings, name, &expected)?;
        let mut found = Vec::new();
        for text in texts {
            match find_word(text.get_ref(), words) {
                Some(word) => found.push(word),
                None => {
                    let message = unknown_word(text.get_ref(), words);
                    findings.add(&text.span(), &full_name(self.name, name), message);
                }
            }
        }
        Some(found)
    }

    /// Reads a list of texts; `None` if there is none.
    pub(super) fn texts(
        &mut self,
        findings: &mut Findings<'_>,
        name: &'static str,
        expected: &str,
    ) -> Option<Vec<Spanned<&'t str>>> {
        let value = self.value(findings, name)?;
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(findings, name, value, expected);
            return None;
        };
        let mut found = Vec::new();
        for element in array {
            match element.get_ref().as_str() {
                Some(text) => found.push(Spanned::new(element.span(), text)),
                None => self.wrong_type(findings, name, element, expected),
            }
        }
        Some(found)
    }

    pub(super) fn integer(
        &mut self,
        findings: &mut Findings<'_>,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let value = self.value(findings, name)?;
        let DeValue::Integer(integer) = value.get_ref() else {
            self.wrong_type(findings, name, value, &expected);
            return None;
        };
        let found = u64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|found| range.contains(found));
        if found.is_none() {
            self.wrong(
                findings,
                name,
                format!("{integer} found, expected {expected}"),
            );
        }
        found
    }

    pub(super) fn float(
        &mut self,
        findings: &mut Findings<'_>,
        name: &'static str,
        range: RangeInclusive<f64>,
    ) -> Option<f64> {
        let expected = format!("a number from {:.1} to {:.1}", range.start(), range.end());
        let value = self.value(findings, name)?;
        let text = match value.get_ref() {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            DeValue::Float(float) => float.as_str(),
            _ => {
                self.wrong_type(findings, name, value, &expected);
                return None;
            }
        };
        let found = text.parse().ok().filter(|found| range.contains(found));
        if found.is_none() {
            self.wrong(findings, name, format!("{text} found, expected {expected}"));
        }
        found
    }

    pub(super) fn duration(
        &mut self,
        findings: &mut Findings<'_>,
        name: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let text = self.text(findings, name, units::DURATION)?;
        let Some(found) = units::duration(text) else {
            self.wrong(findings, name, another_text(units::DURATION));
            return None;
        };
        if !range.contains(&found) {
            let (least, most) = (range.start(), range.end());
            let message = format!("{found:?} found, expected {least:?} to {most:?}");
            self.wrong(findings, name, message);
            return None;
        }
        Some(found)
    }

    /// Reads a size in bytes.
    pub(super) fn size(
        &mut self,
        findings: &mut Findings<'_>,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<usize> {
        let value = self.value(findings, name)?;
        let found = match value.get_ref() {
            DeValue::Integer(integer) if integer.radix() == 10 => units::size(integer.as_str()),
            DeValue::String(text) => units::size(text),
            _ => None,
        };
        let Some(found) = found else {
            self.wrong_type(findings, name, value, units::SIZE);
            return None;
        };
        let len = usize::try_from(found)
            .ok()
            .filter(|_| range.contains(&found));
        if len.is_none() {
            let (least, most) = (range.start(), range.end());
            let message = format!("{found} bytes found, expected {least} to {most}");
            self.wrong(findings, name, message);
        }
        len
    }

    pub(super) fn address(
        &mut self,
        findings: &mut Findings<'_>,
        name: &'static str,
    ) -> Option<SocketAddr> {
        let expected = "an address and a port such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
        let text = self.text(findings, name, expected)?;
        let found = text.parse().ok();
        if found.is_none() {
            self.wrong(findings, name, another_text(expected));
        }
        found
    }

    /// Returns a key's value, and notes that the key is known and where it stands.
    fn value(
        &mut self,
        findings: &mut Findings<'_>,
        name: &'static str,
    ) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.push(name);
        let (_, value) = self.content.iter().find(|(key, _)| key.get_ref() == name)?;
        let place = (self.name, self.index, name);
        findings.places.insert(place, value.span());
        Some(value)
    }

    fn wrong_type(
        &self,
        findings: &mut Findings<'_>,
        name: &'static str,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
    ) {
        let message = format!("{} found, expected {expected}", type_name(value.get_ref()));
        findings.add(&value.span(), &full_name(self.name, name), message);
    }
}

/// Says `table.key`.
pub(super) fn full_name(table: &str, key: &str) -> String {
    match (table, key) {
        ("", key) => key.to_owned(),
        (table, "") => table.to_owned(),
        (table, key) => format!("{table}.{key}"),
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn find_word<T: Copy>(text: &str, words: &[(&'static str, T)]) -> Option<T> {
    let mut words = words.iter();
    let (_, value) = words.find(|(word, _)| *word == text)?;
    Some(*value)
}

fn unknown_word<T>(text: &str, words: &[(&'static str, T)]) -> String {
    let meant = suggestion(text, words.iter().map(|(word, _)| *word));
    let hint = meant.map_or(String::new(), |meant| format!(": did you mean {meant:?}?"));
    // The text isn't repeated: it may be a key that slipped into the wrong line.
    format!("another word found, expected {}{hint}", one_of(words))
}

/// The text isn't repeated, as with [`unknown_word`].
fn another_text(expected: &str) -> String {
    format!("another text found, expected {expected}")
}

fn one_of<T>(words: &[(&'static str, T)]) -> String {
    let quoted: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
