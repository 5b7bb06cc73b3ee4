//! The checks of this workspace that cargo has no command for.
//!
//! `cargo xtask` lists them; `.ci/run` calls them all. Each is a module with a function `run`, which
//! returns the [`table::Table`] that is printed at the end and decides the exit code.
//!
//! It leaves out what cargo does itself: formatting, lints, tests and documentation.
//!
//! # Example
//!
//! ```
//! use xtask::table::{Status, Table};
//!
//! let mut table = Table::new("example");
//! table.row("first", Status::Passed, "2 of 2");
//! assert!(!table.is_failed());
//! assert!(table.to_string().ends_with("example: 1 passed\n"));
//! ```
//!
//! # Features
//!
//! None.

pub mod alloc_free;
pub mod child;
pub mod conformance;
pub mod features;
pub mod floors;
pub mod fuzz;
pub mod interop;
pub mod table;
pub mod tidy;
pub mod workspace;
