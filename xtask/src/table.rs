//! The table that each command ends with: what was looked at, and how it came out.

use std::fmt;

use serde_json::Value;

/// How one row came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was checked and holds.
    Passed,
    /// It was checked and doesn't hold.
    Failed,
    /// It can't be checked on this machine; the detail says why.
    Skipped,
    /// What would be checked doesn't exist yet.
    NotThereYet,
}

impl Status {
    const ALL: [Self; 4] = [Self::Passed, Self::Failed, Self::Skipped, Self::NotThereYet];
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
            Self::NotThereYet => "not there yet",
        })
    }
}

/// Rows of name, status and detail.
///
/// It prints as a table and a closing line, `NAME: 3 passed, 1 not there yet (x)`, which `.ci/run`
/// shows in its own table.
#[derive(Clone, Debug)]
pub struct Table {
    name: String,
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    name: String,
    status: Status,
    detail: String,
}

impl Table {
    /// Starts an empty table that carries the name of a command.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, name: impl Into<String>, status: Status, detail: impl Into<String>) {
        self.rows.push(Row {
            name: name.into(),
            status,
            detail: detail.into(),
        });
    }

    /// Says whether a row failed, or whether there is no row at all: nothing checked is no pass.
    pub fn is_failed(&self) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|row| row.status == Status::Failed)
    }

    /// Says whether there is no row.
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds the rows of another table.
    pub fn append(&mut self, mut other: Self) {
        self.rows.append(&mut other.rows);
    }

    /// Writes the rows for another process, each as an array of name, status and detail.
    pub fn to_json(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let status = row.status.to_string();
            Value::from(vec![row.name.clone(), status, row.detail.clone()])
        });
        rows.collect::<Value>().to_string()
    }

    /// Reads what [`Self::to_json`] wrote. What isn't a list gives a table without rows, and a row that
    /// can't be read gives one that failed.
    pub fn from_json(name: impl Into<String>, written: &str) -> Self {
        let mut table = Self::new(name);
        let read: Value = serde_json::from_str(written).unwrap_or_default();
        for row in read.as_array().into_iter().flatten() {
            let text = |place: usize| row.get(place).and_then(Value::as_str).unwrap_or_default();
            let status = Status::ALL
                .into_iter()
                .find(|status| status.to_string() == text(1));
            table.row(text(0), status.unwrap_or(Status::Failed), text(2));
        }
        table
    }

    fn closing_line(&self) -> String {
        let mut parts = Vec::new();
        for status in Status::ALL {
            let names: Vec<&str> = self
                .rows
                .iter()
                .filter(|row| row.status == status)
                .map(|row| row.name.as_str())
                .collect();
            if names.is_empty() {
                continue;
            }
            let mut part = format!("{} {status}", names.len());
            if status != Status::Passed {
                part.push_str(&format!(" ({})", names.join(", ")));
            }
            parts.push(part);
        }
        if parts.is_empty() {
            parts.push("nothing was checked".to_owned());
        }
        format!("{}: {}", self.name, parts.join("; "))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .rows
            .iter()
            .map(|row| row.name.chars().count())
            .max()
            .unwrap_or_default();
        for row in &self.rows {
            let line = format!("{:width$}  {:13}  {}", row.name, row.status, row.detail);
            writeln!(f, "{}", line.trim_end())?;
        }
        writeln!(f, "{}", self.closing_line())
    }
}

#[cfg(test)]
mod tests {
    use super::{Status, Table};

    #[test]
    fn closing_line_names_everything_that_did_not_pass() {
        let mut table = Table::new("tidy");
        table.row("floors", Status::Passed, "2 edges");
        table.row("links", Status::Passed, "");
        table.row("glossary", Status::NotThereYet, "");
        assert!(!table.is_failed());
        table.row("unsafe", Status::Failed, "a.rs:1");
        assert!(table.is_failed());
        assert_eq!(
            table.to_string(),
            "floors    passed         2 edges\n\
             links     passed\n\
             glossary  not there yet\n\
             unsafe    FAILED         a.rs:1\n\
             tidy: 2 passed; 1 FAILED (unsafe); 1 not there yet (glossary)\n"
        );
    }

    #[test]
    fn table_passes_to_another_process() {
        let mut table = Table::new("interop");
        table.row("a", Status::Passed, "x  y");
        table.row("b", Status::Skipped, "");
        table.row("c", Status::Failed, "z");
        table.row("d", Status::NotThereYet, "");
        let read = Table::from_json("interop", &table.to_json());
        assert_eq!(read.to_string(), table.to_string());
        assert!(Table::from_json("interop", "").is_empty());
        assert!(Table::from_json("interop", "[[\"a\", \"fine\"]]").is_failed());
    }

    #[test]
    fn table_without_rows_is_failed() {
        let table = Table::new("fuzz");
        assert!(table.is_failed());
        assert_eq!(table.to_string(), "fuzz: nothing was checked\n");
    }
}
