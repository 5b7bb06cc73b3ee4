//! What every [`CryptoProvider`](hedgerow_core::CryptoProvider) has to pass.
//!
//! A provider's crate includes this folder with `#[path]` and calls [`conformance_tests`], which
//! declares each check as a test of that crate: a check added here runs for all of them.

#[cfg(feature = "curves")]
pub(crate) mod curves;
pub(crate) mod known_answers;
pub(crate) mod refusals;
pub(crate) mod wycheproof_sets;

/// Declares every check as a test of `$provider`.
macro_rules! conformance_tests {
    ($provider:expr) => {
        conformance_tests! { $provider, known_answers:
            ccm_8_gives_nists_example,
            gcm_gives_its_designers_example,
            chacha20_poly1305_gives_rfc_8439s_example,
            sha256_gives_fips_180s_digests,
            sha256_of_pieces_is_sha256_of_the_whole,
            hmac_gives_rfc_4231s_tags,
            hmac_of_pieces_is_hmac_of_the_whole,
            hkdf_gives_rfc_5869s_keys,
        }
        conformance_tests! { $provider, refusals:
            key_of_another_length_is_refused,
            nonce_of_another_length_is_refused_and_input_left,
            tag_of_another_length_is_refused_and_input_left,
            what_is_sealed_opens_at_every_short_length,
            every_flipped_bit_is_refused_and_leaves_zeros,
            another_key_is_refused_and_leaves_zeros,
            moved_boundary_between_data_and_ciphertext_is_refused,
            ccm_takes_its_longest_input_and_refuses_one_byte_more,
            hkdf_gives_its_longest_output_and_refuses_one_byte_more,
            borrowed_provider_is_the_same_provider,
        }
        conformance_tests! { $provider, wycheproof_sets:
            aes_ccm,
            aes_gcm,
            chacha20_poly1305,
            hmac_sha256,
            hkdf_sha256,
        }
        #[cfg(feature = "curves")]
        conformance_tests! { $provider, curves:
            p256_agrees_on_rfc_5903s_secret,
            x25519_agrees_on_rfc_7748s_secret,
            drawn_keys_agree_and_differ,
            unusable_private_keys_are_refused,
            wycheproof_x25519,
            wycheproof_ecdh_p256,
            signatures_are_the_ones_in_the_rfcs,
            drawn_keys_sign_and_every_flipped_bit_is_refused,
            wycheproof_ecdsa_p256,
            wycheproof_ed25519,
            ed25519_leaves_small_order_keys_to_the_caller,
        }
    };
    ($provider:expr, $module:ident: $($check:ident,)+) => {
        mod $module {
            $(
                #[test]
                fn $check() {
                    crate::conformance::$module::$check(&$provider);
                }
            )+
        }
    };
}

/// Returns `bytes` as often as it has bits, with another one flipped each time.
fn each_bit_flipped(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut forged = bytes.to_vec();
        forged[bit / 8] ^= 1 << (bit % 8);
        forged
    })
}
