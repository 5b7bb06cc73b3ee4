//! The floors of the house as data: who lives where, and who may import whom.
//!
//! It is the table of `docs/ARCHITECTURE.md`; a change here changes that page in the same commit.

/// One crate of the workspace.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Its folder below `crates/`; for the tools, their path from the root.
    pub folder: &'static str,
    /// The folders of the workspace crates that its normal dependencies may name.
    pub may_import: Imports,
    /// What it promises to do without.
    pub needs: Needs,
}

/// Which workspace crates a room may import.
#[derive(Clone, Copy, Debug)]
pub enum Imports {
    /// These alone.
    Only(&'static [&'static str]),
    /// All rooms of lower rows but these.
    AllAboveBut(&'static [&'static str]),
}

/// What a room needs from the machine in its smallest form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// `core` alone: `#![no_std]`, and without its features no allocator.
    Nothing,
    /// `#![no_std]`; an allocator is not ruled out.
    Alloc,
    /// The standard library.
    Std,
}

/// All rooms, lowest floor first.
pub const ROOMS: &[Room] = &[
    room("core", Imports::Only(&[]), Needs::Nothing),
    room("crypto-soft", Imports::Only(&["core"]), Needs::Nothing),
    room(
        "crypto-ring",
        Imports::Only(&["core", "crypto-soft"]),
        Needs::Std,
    ),
    room("coap", Imports::Only(&["core"]), Needs::Nothing),
    room("record", Imports::Only(&["core"]), Needs::Nothing),
    room("mikey", Imports::Only(&["core"]), Needs::Nothing),
    room("itls", Imports::Only(&["core"]), Needs::Nothing),
    room("esp", Imports::Only(&["core"]), Needs::Nothing),
    room("exchange", Imports::Only(&["core", "coap"]), Needs::Nothing),
    room(
        "handshake",
        Imports::Only(&["core", "record"]),
        Needs::Nothing,
    ),
    room(
        "group",
        Imports::Only(&["core", "mikey", "record", "esp"]),
        Needs::Nothing,
    ),
    room(
        "proxy",
        Imports::Only(&["core", "coap", "record", "itls"]),
        Needs::Std,
    ),
    room("leg", Imports::Only(&["core"]), Needs::Nothing),
    room("http", Imports::Only(&["core", "coap"]), Needs::Alloc),
    room("endpoint", Imports::Only(FLOORS_0_TO_2), Needs::Alloc),
    room("net", Imports::AllAboveBut(&[]), Needs::Std),
    room(
        "embedded",
        Imports::AllAboveBut(&["crypto-ring", "net"]),
        Needs::Alloc,
    ),
    room("sim", Imports::Only(&["core"]), Needs::Std),
    room(
        "gateway",
        Imports::AllAboveBut(&["embedded", "sim"]),
        Needs::Std,
    ),
    room(
        "lab",
        Imports::AllAboveBut(&["embedded", "gateway"]),
        Needs::Std,
    ),
    room("hedgerow", Imports::AllAboveBut(&[]), Needs::Std),
    room("fuzz/bodies", Imports::AllAboveBut(&[]), Needs::Std),
    room("xtask", Imports::AllAboveBut(&["fuzz/bodies"]), Needs::Std),
];

/// What any crate may name as a dev-dependency, beside what it may import.
pub const FOR_TESTS: &[&str] = &["sim", "crypto-soft"];

impl Room {
    /// Finds the room of a folder.
    pub fn of(folder: &str) -> Option<&'static Self> {
        ROOMS.iter().find(|room| room.folder == folder)
    }

    /// Says whether a normal or build dependency on `other` is allowed.
    pub fn may_import(&self, other: &str) -> bool {
        match self.may_import {
            Imports::Only(folders) => folders.contains(&other),
            Imports::AllAboveBut(but) => {
                let mut lower = ROOMS.iter().take_while(|room| room.folder != self.folder);
                !but.contains(&other) && lower.any(|room| room.folder == other)
            }
        }
    }

    /// Returns the name that its package must have.
    pub fn package_name(&self) -> String {
        match self.folder {
            "hedgerow" | "xtask" => self.folder.to_owned(),
            folder => format!("hedgerow-{}", folder.replace('/', "-")),
        }
    }

    /// Returns its path from the root of the repository.
    pub fn path(&self) -> String {
        match self.folder {
            "fuzz/bodies" | "xtask" => self.folder.to_owned(),
            folder => format!("crates/{folder}"),
        }
    }
}

const fn room(folder: &'static str, may_import: Imports, needs: Needs) -> Room {
    Room {
        folder,
        may_import,
        needs,
    }
}

const FLOORS_0_TO_2: &[&str] = &[
    "core",
    "coap",
    "record",
    "mikey",
    "itls",
    "esp",
    "exchange",
    "handshake",
    "group",
    "proxy",
    "leg",
    "http",
];

#[cfg(test)]
mod tests {
    use super::Room;

    #[test]
    fn rows_that_say_all_above_leave_out_what_they_name_and_what_is_higher() {
        let net = Room::of("net").unwrap();
        assert!(net.may_import("endpoint"));
        assert!(net.may_import("crypto-ring"));
        assert!(!net.may_import("sim"));
        assert!(!net.may_import("net"));
        let gateway = Room::of("gateway").unwrap();
        assert!(gateway.may_import("net"));
        assert!(!gateway.may_import("sim"));
        assert!(!gateway.may_import("hedgerow"));
        assert!(!Room::of("embedded").unwrap().may_import("net"));
    }

    #[test]
    fn rooms_of_one_floor_do_not_know_each_other() {
        for (one, other) in [
            ("coap", "record"),
            ("exchange", "handshake"),
            ("proxy", "handshake"),
        ] {
            assert!(!Room::of(one).unwrap().may_import(other));
            assert!(!Room::of(other).unwrap().may_import(one));
        }
    }

    #[test]
    fn names_follow_folders() {
        assert_eq!(Room::of("core").unwrap().package_name(), "hedgerow-core");
        assert_eq!(Room::of("hedgerow").unwrap().package_name(), "hedgerow");
        let bodies = Room::of("fuzz/bodies").unwrap();
        assert_eq!(bodies.package_name(), "hedgerow-fuzz-bodies");
        assert_eq!(bodies.path(), "fuzz/bodies");
    }
}
