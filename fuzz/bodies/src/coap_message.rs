//! CoAP messages of `hedgerow-coap`.

use hedgerow_coap::{
    BlockValue, DecodeError, Message, MessageOption, MessageWriter, OptionNumber, UintValue,
};

/// Decodes a message and encodes what was understood: each message has one encoding alone, so the
/// same bytes must come out.
pub fn coap_message(input: &[u8]) {
    let message = match Message::decode(input) {
        Ok(message) => message,
        Err(error) => return refused(error, input),
    };
    let mut out = vec![0; input.len()];
    let mut writer = MessageWriter::new(
        &mut out,
        message.message_type(),
        message.code(),
        message.message_id(),
        message.token(),
    )
    .expect("what decoded has a header that encodes");
    for option in message.options() {
        writer.copy_option(option).expect("options are in order");
        value(option);
    }
    let len = match message.payload() {
        [] => writer.finish(),
        payload => writer.payload(payload).expect("it fitted before"),
    };
    assert_eq!(out.get(..len), Some(input));
    judged(&message);
}

/// Only what has a whole header can be answered with a Reset.
fn refused(error: DecodeError, input: &[u8]) {
    if let Some(header) = error.rejectable() {
        assert_eq!(header.encode().get(1..), input.get(1..4));
    }
}

/// Every option is recognised or unrecognised, and nothing is both.
fn judged(message: &Message<'_>) {
    let understood = |number: OptionNumber| number.name().is_some();
    let all = message.options().count();
    let recognised = message.recognised_options(understood).count();
    let unrecognised = message.unrecognised_options(understood).count();
    assert_eq!(recognised.checked_add(unrecognised), Some(all));
    for option in message.recognised_options(understood) {
        assert!(option.has_defined_len());
        assert!(message.option(option.number()).is_some());
    }
    if let Some(option) = message.unrecognised_critical(understood) {
        assert!(option.number().is_critical());
    }
    assert!(message.cache_key_options(|_| false).count() <= all);
}

/// What a number or a block decodes to, encodes to the same value.
fn value(option: MessageOption<'_>) {
    if let Some(number) = option.as_uint() {
        let again = UintValue::new(number);
        assert!(again.as_bytes().len() <= option.value().len());
        assert_eq!(hedgerow_coap::decode_uint(again.as_bytes()), Some(number));
    }
    if let Ok(block) = BlockValue::decode(option.value()) {
        assert_eq!(BlockValue::decode(block.encode().as_bytes()), Ok(block));
        assert_eq!(
            usize::try_from(block.offset()).ok(),
            usize::try_from(block.num())
                .unwrap_or(usize::MAX)
                .checked_mul(block.size())
        );
    }
}
