//! The gateway.
mod config;
pub use config::*;
