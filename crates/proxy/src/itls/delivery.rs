//! A message on its way out.

use hedgerow_core::Writer;
use hedgerow_itls::{Control, RoutingHeader, is_initiator_hello, is_responder_hello};

use super::OuterSession;

/// A message for one outer session, still without its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItlsDelivery<'m> {
    /// Where it goes.
    pub to: OuterSession,
    /// The flow's number there.
    pub flow: u16,
    /// What it is.
    pub content: ItlsContent<'m>,
    /// Whether both sides of the hop have agreed on the light outer layer for this flow.
    pub(super) has_light_layer: bool,
}

/// What goes behind a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItlsContent<'m> {
    /// What an end has sent, for the other end.
    Inner(&'m [u8]),
    /// What the gateway says.
    Control(Control<'m>),
}

impl<'m> ItlsDelivery<'m> {
    /// Returns the inner message if it goes by the light outer layer.
    pub fn light_message(&self) -> Option<&'m [u8]> {
        match self.content {
            ItlsContent::Inner(message)
                if self.has_light_layer
                    && !is_initiator_hello(message)
                    && !is_responder_hello(message) =>
            {
                Some(message)
            }
            _ => None,
        }
    }

    /// Returns how long the inner message in it is, in bytes: what [`ItlsForwarder::too_long`] wants.
    ///
    /// [`ItlsForwarder::too_long`]: super::ItlsForwarder::too_long
    pub const fn inner_len(&self) -> usize {
        match self.content {
            ItlsContent::Inner(message) => message.len(),
            ItlsContent::Control(Control::Open(open)) => open.message.len(),
            ItlsContent::Control(_) => 0,
        }
    }

    /// Writes the whole message, to be sealed in one record; `None` if it doesn't fit.
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::new(out);
        let is_control = matches!(self.content, ItlsContent::Control(_));
        let header = RoutingHeader {
            flow: self.flow,
            is_control,
        };
        header.encode(&mut writer).ok()?;
        match &self.content {
            ItlsContent::Inner(message) => writer.bytes(message).ok()?,
            ItlsContent::Control(control) => control.encode(&mut writer).ok()?,
        }
        Some(writer.written().len())
    }
}
