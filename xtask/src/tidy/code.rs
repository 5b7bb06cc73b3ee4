//! Rust source without comments and without what stands in its strings.

/// Returns the lines of a source file with comments and the contents of strings left out.
///
/// It knows strings over several lines, raw strings, nested comments and character literals, which
/// is enough to find a word in code; it is no parser.
pub(super) fn code_lines(text: &str) -> Vec<String> {
    let mut code = String::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let skipped = match character {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest),
            'r' | 'b' if !code.ends_with(is_in_name) => raw_string(rest),
            '\'' => character_literal(rest),
            _ => 0,
        };
        let len = if skipped == 0 {
            code.push(character);
            character.len_utf8()
        } else {
            skipped
        };
        let (head, tail) = rest.split_at_checked(len).unwrap_or((rest, ""));
        if skipped != 0 {
            code.extend(head.chars().filter(|character| *character == '\n'));
        }
        rest = tail;
    }
    code.lines().map(str::to_owned).collect()
}

/// Says whether `word` stands in `text`, not as a part of a longer name.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    text.split(|character| !is_in_name(character))
        .any(|part| part == word)
}

fn is_in_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    for (at, _) in rest.char_indices() {
        let here = rest.get(at..).unwrap_or_default();
        if here.starts_with("/*") {
            depth = depth.saturating_add(1);
        } else if here.starts_with("*/") {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return at.saturating_add(2);
            }
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at.saturating_add(1),
            _ => {}
        }
    }
    rest.len()
}

/// Returns 0 if no raw string starts here.
fn raw_string(rest: &str) -> usize {
    let start = rest.strip_prefix('b').unwrap_or(rest);
    let Some(start) = start.strip_prefix('r') else {
        return 0;
    };
    let Some((hashes, body)) = start.split_once('"') else {
        return 0;
    };
    if hashes.contains(|character| character != '#') {
        return 0;
    }
    let closing = format!("\"{hashes}");
    let opening = rest.len().saturating_sub(body.len());
    body.find(&closing).map_or(rest.len(), |at| {
        opening.saturating_add(at).saturating_add(closing.len())
    })
}

/// Returns 0 for a lifetime.
fn character_literal(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    let first = characters.next().map(|(_, character)| character);
    if first == Some('\\') {
        characters.next();
        return characters
            .find(|(_, character)| *character == '\'')
            .map_or(0, |(at, _)| at.saturating_add(1));
    }
    match characters.next() {
        Some((at, '\'')) => at.saturating_add(1),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_told_from_strings_and_comments() {
        for (text, code) in [
            ("a(\"b\\\"c\") // d", "a() "),
            ("//! x", ""),
            ("a/* b /* c */ d */e", "ae"),
            ("a('\"', '\\'', 'b', &'c d)", "a(, , , &'c d)"),
            ("a(r#\"b\"c\"#, br\"d\")", "a(, )"),
            ("let four = \"x\"; r#type", "let four = ; r#type"),
        ] {
            assert_eq!(code_lines(text).join("|"), code, "{text}");
        }
    }

    #[test]
    fn line_numbers_stay_behind_strings_over_several_lines() {
        assert_eq!(
            code_lines("a(\"b\nc\");\n/* d\n*/ e"),
            ["a(", ");", "", " e"]
        );
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("a + b", "b"));
        assert!(!has_word("is_b", "b"));
    }
}
