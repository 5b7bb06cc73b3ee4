//! Which suite protects a request's association, as the node's log tells it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Remembers the suite of the last association that was established. Clones are one memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct SuiteWatch(Arc<Mutex<Option<String>>>);

impl SuiteWatch {
    /// Returns the suite's name, if there is an association under DTLS.
    pub(crate) fn suite(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl<S: Subscriber> Layer<S> for SuiteWatch {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut visitor = SuiteField(None);
        event.record(&mut visitor);
        if let Some(suite) = visitor.0 {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(suite);
        }
    }
}

struct SuiteField(Option<String>);

impl Visit for SuiteField {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "suite" {
            self.0 = Some(format!("{value:?}"));
        }
    }
}
