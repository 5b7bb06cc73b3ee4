//! One cell of the matrix: how it is named, run and entered.

use hedgerow_record::CipherSuite;

use crate::table::{Status, Table};

/// Runs a cell and enters what came out.
pub(super) fn enter(table: &mut Table, name: &str, run: impl FnOnce() -> Result<String, String>) {
    match run() {
        Ok(detail) => table.row(name, Status::Passed, detail),
        Err(detail) => table.row(name, Status::Failed, detail),
    }
}

/// Enters what a peer can't do, with the evidence that it is the peer's limitation: the same thing
/// seen between two ends that aren't ours.
pub(super) fn limitation(
    table: &mut Table,
    name: &str,
    evidence: impl FnOnce() -> Result<String, String>,
) {
    match evidence() {
        Ok(detail) => table.row(
            name,
            Status::Skipped,
            format!("peer's limitation: {detail}"),
        ),
        Err(detail) => table.row(name, Status::Failed, format!("no evidence: {detail}")),
    }
}

/// A suite as negotiated, as seen at our end.
pub(super) fn suite_text(suite: Option<CipherSuite>) -> String {
    suite.map_or_else(|| "no suite".to_owned(), |suite| suite.to_string())
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
