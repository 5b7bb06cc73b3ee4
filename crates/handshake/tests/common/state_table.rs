//! The table of `states.rs`, and what a machine can be seen to do.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub
)]

use hedgerow_record::Protocol;

use crate::scripted::{Kind, Kx, Side};

const TABLE: &str = include_str!("../state_table.txt");

/// One line of the table.
pub struct Row {
    pub line: usize,
    pub machine: &'static str,
    pub kx: &'static str,
    pub state: &'static str,
    pub message: [&'static str; 3],
    pub reactions: Vec<&'static str>,
}

fn fields(line: &'static str) -> Vec<&'static str> {
    line.split(" | ").collect()
}

pub fn table() -> Vec<Row> {
    TABLE
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(at, line)| {
            let fields = fields(line);
            let message: Vec<_> = fields[3].split(' ').collect();
            Row {
                line: at + 1,
                machine: fields[0],
                kx: fields[1],
                state: fields[2],
                message: message.try_into().unwrap(),
                reactions: fields[4].split(" or ").collect(),
            }
        })
        .collect()
}

pub fn matches_word(pattern: &str, word: &str) -> bool {
    pattern == "*"
        || pattern == word
        || pattern
            .strip_prefix("*:")
            .is_some_and(|variant| word.split_once(':').is_some_and(|(_, own)| own == variant))
}

/// A cell: what is put into which machine, in which state.
#[derive(Clone, Debug)]
pub struct Cell {
    pub kind: Kind,
    pub state: &'static str,
    /// By the table's words: name with variant, form, seq.
    pub message: [String; 3],
}

impl Cell {
    pub fn name(&self) -> String {
        format!(
            "{} | {} | {} | {}",
            self.kind.machine(),
            self.kind.kx.name(),
            self.state,
            self.message.join(" ")
        )
    }

    pub fn row<'t>(&self, table: &'t [Row]) -> &'t Row {
        table
            .iter()
            .find(|row| {
                matches_word(row.machine, self.kind.machine())
                    && (matches_word(row.kx, self.kind.kx.name())
                        || row.kx == "PSK" && self.kind.kx.is_psk())
                    && matches_word(row.state, self.state)
                    && row
                        .message
                        .iter()
                        .zip(&self.message)
                        .all(|(pattern, word)| matches_word(pattern, word))
            })
            .unwrap_or_else(|| panic!("no line for {}", self.name()))
    }
}

/// What a machine was seen to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Next(&'static str),
    /// Ignored, dropped or queued: nothing to see.
    Nothing,
    Resend,
    Fatal(u8),
    Warn(u8),
    Close,
    ReplyCloseNotify,
    Else(String),
}

impl Seen {
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Fatal(_) | Self::Close | Self::ReplyCloseNotify)
    }

    pub fn is(&self, reaction: &str) -> bool {
        let alert = |name: &str| match name {
            "unexpected_message" => 10,
            "bad_record_mac" => 20,
            "record_overflow" => 22,
            "handshake_failure" => 40,
            "bad_certificate" => 42,
            "unsupported_certificate" => 43,
            "certificate_unknown" => 46,
            "illegal_parameter" => 47,
            "unknown_ca" => 48,
            "access_denied" => 49,
            "decode_error" => 50,
            "decrypt_error" => 51,
            "protocol_version" => 70,
            "no_renegotiation" => 100,
            "unsupported_extension" => 110,
            _ => panic!("alert {name}"),
        };
        match reaction.split_once(' ') {
            Some(("next", state)) => *self == Self::Next(state_named(state)),
            Some(("fatal", "*")) => matches!(self, Self::Fatal(_)),
            Some(("fatal", name)) => *self == Self::Fatal(alert(name)),
            Some(("warn", name)) => *self == Self::Warn(alert(name)),
            Some(("reply", "close_notify")) => *self == Self::ReplyCloseNotify,
            None if reaction == "resend" => *self == Self::Resend,
            None if reaction == "close" => *self == Self::Close,
            None if matches!(reaction, "ignore" | "drop" | "queue") => *self == Self::Nothing,
            _ => panic!("reaction {reaction}"),
        }
    }

    pub fn text(&self) -> String {
        match self {
            Self::Next(state) => format!("next {state}"),
            Self::Nothing => "drop".to_owned(),
            Self::Resend => "resend".to_owned(),
            Self::Fatal(alert) => format!("fatal {alert}"),
            Self::Warn(alert) => format!("warn {alert}"),
            Self::Close => "close".to_owned(),
            Self::ReplyCloseNotify => "reply close_notify".to_owned(),
            Self::Else(what) => what.clone(),
        }
    }
}

pub fn state_named(state: &str) -> &'static str {
    [Side::Client, Side::Server]
        .into_iter()
        .flat_map(|side| {
            // The two that have all the states that there are.
            let protocol = Protocol::Tls;
            [Kx::EcdheEcdsa, Kx::PskTicket]
                .into_iter()
                .flat_map(move |kx| Kind { protocol, side, kx }.states())
        })
        .copied()
        .find(|&known| known == state)
        .unwrap()
}
