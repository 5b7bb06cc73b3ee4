//! How many connections there are at the same time, and how many of them one client may have.

use super::file::set;
use super::table::{Findings, Table};

impl Table<'_> {
    /// Reads `connections` and `connections_per_client` over what counts without such lines.
    ///
    /// A client's number that isn't said is half of a smaller number for all at most, so that nobody takes
    /// all places only because there are few. What is said may be as many as there are, for a reverse proxy makes one
    /// client of all.
    pub(super) fn connections(
        &mut self,
        findings: &mut Findings<'_>,
        all: &mut usize,
        of_client: &mut usize,
    ) {
        let said = self.count(findings, "connections");
        let said_of_client = self.count(findings, PER_CLIENT);
        let is_all_known = said.is_some() || !self.is_present("connections");
        set(all, said);
        match said_of_client {
            // A number for all that can't be used is reported by itself.
            Some(count) if count > *all && is_all_known => {
                let message = format!(
                    "{count} found, more than connections = {all}: expected fewer, or as many behind a reverse proxy"
                );
                self.wrong(findings, PER_CLIENT, message);
            }
            Some(count) => *of_client = count,
            None => *of_client = (*of_client).min(all.div_ceil(2)),
        }
    }
}

const PER_CLIENT: &str = "connections_per_client";
