//! `hedgerow gateway`.

use hedgerow_gateway::{Config, Gateway, StartError};

use crate::arguments::GatewayArguments;
use crate::exit::{Class, Failure};
use crate::report;
use crate::shutdown::Shutdown;

/// Runs the gateway that a file configures until it is asked to end, or only checks the file.
pub(crate) async fn run(arguments: &GatewayArguments) -> Result<(), Failure> {
    let config =
        Config::from_file(&arguments.config).map_err(|error| Failure::usage(error.to_string()))?;
    if arguments.check {
        let devices = config.devices.len();
        let path = arguments.config.display();
        report::tell(&format!("{path}: no mistake found, {devices} devices"));
        return Ok(());
    }
    let mut shutdown =
        Shutdown::listen().map_err(|error| Failure::new(Class::Local, error.to_string()))?;
    let gateway = Gateway::start(config).await.map_err(explain)?;
    shutdown.requested().await;
    gateway.shutdown().await;
    Ok(())
}

/// Says why a gateway doesn't start, and what to do about it.
pub(crate) fn explain(error: StartError) -> Failure {
    match error {
        StartError::Config(error) => Failure::usage(error.to_string()),
        other => Failure::new(Class::Local, other.to_string()),
    }
}
