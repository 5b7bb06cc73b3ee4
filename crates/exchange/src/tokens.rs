//! Tokens of this end, RFC 7252 §5.3.1 and RFC 9175 §4.2.

use hedgerow_coap::Token;
use hedgerow_core::CryptoRng;

/// How tokens are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenKind {
    /// A sequence number in as few bytes as it needs, never reused under one session: for secured
    /// associations (RFC 9175 §4.2).
    Sequential,
    /// Eight random bytes, so that nobody off the path can guess one: for NoSec (RFC 7252 §11.4).
    Unpredictable,
}

/// Hands out tokens.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    used: u64,
}

impl Tokens {
    /// Makes a token that `is_in_use` doesn't know.
    pub(crate) fn allocate(
        &mut self,
        kind: TokenKind,
        rng: &mut dyn CryptoRng,
        is_in_use: impl Fn(Token) -> bool,
    ) -> Token {
        match kind {
            TokenKind::Sequential => {
                // At a million tokens a second the counter lasts for half a million years.
                self.used = self.used.saturating_add(1);
                let bytes = self.used.to_be_bytes();
                let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                let bytes = bytes.get(zeros..).unwrap_or_default();
                Token::new(bytes).unwrap_or_default()
            }
            TokenKind::Unpredictable => loop {
                let token = Token::from(rng.next_u64().to_be_bytes());
                if !is_in_use(token) {
                    return token;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_rng::TestRng;

    #[test]
    fn sequential_tokens_are_short_and_never_come_back() {
        let mut tokens = Tokens::default();
        let mut rng = TestRng::new(1);
        let mut seen = std::collections::HashSet::new();
        for number in 1..=70_000_u32 {
            let token = tokens.allocate(TokenKind::Sequential, &mut rng, |_| false);
            let len = match number {
                1..=0xff => 1,
                0x100..=0xffff => 2,
                _ => 3,
            };
            assert_eq!(token.len(), len);
            assert!(seen.insert(token));
        }
    }

    #[test]
    fn unpredictable_tokens_have_eight_bytes_and_avoid_those_in_use() {
        let first =
            Tokens::default().allocate(TokenKind::Unpredictable, &mut TestRng::new(3), |_| false);
        assert_eq!(first.len(), 8);
        let other =
            Tokens::default().allocate(TokenKind::Unpredictable, &mut TestRng::new(3), |token| {
                token == first
            });
        assert_ne!(first, other);
    }
}
