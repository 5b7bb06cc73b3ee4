//! What somebody may have meant.

/// Returns the candidate that `word` is likely a misspelling of.
pub(super) fn suggestion<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    // A third of the letters wrong is a word of its own.
    let most = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Counts the letters to insert, delete or replace, letter case and `-` for `_` being free.
fn distance(one: &str, other: &str) -> usize {
    let letters = |text: &str| -> Vec<char> {
        // Beyond this no two words are close, and the work stays bounded.
        let text = text.chars().take(64);
        text.map(|letter| match letter {
            '-' => '_',
            _ => letter.to_ascii_lowercase(),
        })
        .collect()
    };
    let (one, other) = (letters(one), letters(other));
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.iter().enumerate() {
        let mut next = vec![index.saturating_add(1)];
        for (other, pair) in other.iter().zip(row.windows(2)) {
            let [diagonal, above] = pair else { continue };
            let left = next.last().copied().unwrap_or_default();
            let replaced = diagonal.saturating_add(usize::from(letter != other));
            let moved = left.min(*above).saturating_add(1);
            next.push(replaced.min(moved));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let keys = ["name", "uri", "psk_identity", "psk", "psk_file"];
        assert_eq!(suggestion("nmae", keys), None);
        assert_eq!(suggestion("nane", keys), Some("name"));
        assert_eq!(suggestion("url", keys), Some("uri"));
        assert_eq!(suggestion("psk-identity", keys), Some("psk_identity"));
        assert_eq!(suggestion("PSK", keys), Some("psk"));
        assert_eq!(suggestion("colour", keys), None);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }
}
