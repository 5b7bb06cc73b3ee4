//! One line in the log for each request, and the audit trail of what was denied.

use std::time::Duration;

use hedgerow_coap::UriError;
use hedgerow_proxy::{Failure, TargetError, TunnelRefusal};
use http::{Method, Request, StatusCode};
use tracing::{info, warn};

use crate::config::{Device, Mode};
use crate::problem::Refusal;

/// What is noted of a request: never its query, its fields or its body.
pub(crate) struct AccessRecord {
    method: Method,
    path: String,
    device: Option<(String, &'static str, &'static str, &'static str)>,
    user: Option<String>,
    problem: Option<String>,
    is_denied: bool,
}

impl AccessRecord {
    pub(crate) fn new<B>(request: &Request<B>) -> Self {
        let path = request.uri().path();
        // hyper lets bytes beyond ASCII through, which could steer a terminal.
        let shown = path.chars().take(MAX_PATH_LEN);
        Self {
            method: request.method().clone(),
            path: shown.flat_map(char::escape_default).collect(),
            device: None,
            user: None,
            problem: None,
            is_denied: false,
        }
    }

    pub(crate) fn user(&mut self, name: &str) {
        self.user = Some(name.to_owned());
    }

    pub(crate) fn device(&mut self, device: &Device, mode: Mode) {
        self.device = Some((
            device.name.clone(),
            mode.name(),
            device.security_name,
            device.security_mode_name(),
        ));
    }

    pub(crate) fn failure(&mut self, failure: Failure) {
        self.problem = Some(failure.to_string());
        match failure {
            Failure::Target(TargetError::Authority(UriError::UserInformation)) => {
                // A password may stand there.
                self.path = "(hidden)".to_owned();
                self.is_denied = true;
            }
            Failure::Target(TargetError::NotMapped | TargetError::DeviceNotConfigured) => {}
            Failure::Target(_) | Failure::HttpsNeeded | Failure::MethodNotAllowed { .. } => {
                self.is_denied = true;
            }
            _ => {}
        }
    }

    pub(crate) fn refusal(&mut self, refusal: Refusal) {
        self.problem = Some(refusal.to_string());
        self.is_denied = matches!(
            refusal,
            Refusal::UnknownHost | Refusal::CrossSite | Refusal::PathDenied | Refusal::ModeDenied
        );
    }

    pub(crate) fn tunnel_refusal(&mut self, refusal: TunnelRefusal) {
        self.problem = Some(refusal.to_string());
        self.is_denied = matches!(
            refusal,
            TunnelRefusal::HttpsNeeded
                | TunnelRefusal::CrossSite
                | TunnelRefusal::Unauthorized
                | TunnelRefusal::TooManyGuesses { .. }
                | TunnelRefusal::TargetDenied
        );
    }

    pub(crate) fn write(self, status: StatusCode, took: Duration) {
        let (device, mode, security, security_mode) = match &self.device {
            Some((device, mode, security, security_mode)) => {
                (device.as_str(), *mode, *security, *security_mode)
            }
            None => ("-", "-", "-", "-"),
        };
        let (method, path) = (&self.method, &self.path);
        let (problem, user) = (self.problem.as_deref(), self.user.as_deref());
        if self.is_denied {
            warn!(target: "hedgerow::audit", %method, path, device, user, problem, "request denied");
        }
        info!(
            target: "hedgerow::access",
            %method,
            path,
            device,
            mode,
            security,
            security_mode,
            user,
            status = status.as_u16(),
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            problem,
            "request"
        );
    }
}

/// The most characters of a path that are noted.
const MAX_PATH_LEN: usize = 512;
