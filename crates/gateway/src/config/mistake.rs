//! What is wrong with a configuration, and where.

use std::fmt;

/// A place in a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
}

impl Position {
    /// Returns where the byte at `offset` of `text` stands.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |end| end.saturating_add(1));
        let line = before.bytes().filter(|byte| *byte == b'\n').count();
        let column = before.get(line_start..).map_or(0, |it| it.chars().count());
        Self {
            line: line.saturating_add(1),
            column: column.saturating_add(1),
        }
    }
}

/// One mistake in a configuration. Its texts never hold a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands; `None` if the configuration wasn't read from a text.
    pub position: Option<Position>,
    /// The key, as in `device.uri`; empty if the text isn't TOML.
    pub key: String,
    /// What is wrong, and what was expected.
    pub message: String,
}

/// Every mistake that was found in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub(super) file: String,
    pub(super) mistakes: Vec<Mistake>,
}

impl ConfigError {
    /// Returns the mistakes, in the order of their places.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigError {
    /// Writes one line a mistake: `FILE:LINE:COLUMN: KEY: MESSAGE`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            formatter.write_str(&self.file)?;
            if let Some(Position { line, column }) = mistake.position {
                write!(formatter, ":{line}:{column}")?;
            }
            if !mistake.key.is_empty() {
                write!(formatter, ": {}", mistake.key)?;
            }
            write!(formatter, ": {}", mistake.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_and_lines_from_one() {
        let text = "aé\nbc\n";
        let at = |offset| {
            let Position { line, column } = Position::of(text, offset);
            (line, column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(3), (1, 3));
        assert_eq!(at(4), (2, 1));
        assert_eq!(at(5), (2, 2));
        assert_eq!(at(99), (3, 1));
    }
}
