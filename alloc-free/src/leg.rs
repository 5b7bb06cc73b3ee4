//! `hedgerow-leg`: a segment in and out.

use hedgerow_leg::Segment;

pub(crate) fn enter(bytes: &mut [u8]) -> usize {
    let mut out = [0; 128];
    let segment = Segment::decode(bytes);
    segment
        .and_then(|segment| segment.encode(&mut out))
        .unwrap_or_default()
}
