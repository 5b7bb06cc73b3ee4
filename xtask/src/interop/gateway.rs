//! The program as a gateway with a configuration of a cell's own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::peers::{Transport, wait_for_port};
use crate::child::{Echo, Running};

/// Starts the gateway with a configuration, which is written into a folder that is made if it isn't there, and waits until
/// it listens at a TCP port.
pub(super) fn start_gateway(
    program: &Path,
    folder: &Path,
    text: &str,
    port: u16,
) -> Result<Running, String> {
    fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let file = folder.join("hedgerow.toml");
    fs::write(&file, text).map_err(|error| error.to_string())?;
    make_private(&file)?;
    let mut command = Command::new(program);
    command
        .args(["gateway", "--config"])
        .arg(&file)
        .stdin(Stdio::null());
    let gateway = Running::start(&mut command, Echo::Hidden)?;
    wait_for_port(Transport::Tls, port, &gateway)?;
    Ok(gateway)
}

/// Lets nobody but its owner read a file with a key in it.
pub(super) fn make_private(file: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;

    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).map_err(|error| error.to_string())
}
