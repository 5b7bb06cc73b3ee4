//! `hedgerow-itls`: what the gateway reads, in and out.

use hedgerow_core::Writer;
use hedgerow_itls::{Control, RoutingHeader};

pub(crate) fn enter(bytes: &mut [u8]) -> usize {
    routed(bytes).unwrap_or_default()
}

fn routed(bytes: &mut [u8]) -> Option<usize> {
    let mut out = [0; 128];
    let mut writer = Writer::new(&mut out);
    let (header, rest) = RoutingHeader::decode_mut(bytes).ok()?;
    header.encode(&mut writer).ok()?;
    let control = Control::decode(rest).ok()?;
    control.encode(&mut writer).ok()?;
    Some(writer.len())
}
