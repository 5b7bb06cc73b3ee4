//! The blocks of one packet: its CBC-MAC and its key stream, computed side by side.
//!
//! CBC-MAC is a chain in which each block waits for the one before (RFC 3610 §2.2). The key stream
//! waits for nothing (§2.3), so it fits into the time in which the chain leaves the processor idle.
//! `A_i`, `B_0`, `S_i`, `T`, `U` and `X_i` are the RFC's names.
//!
//! A block is a number with the block's bytes in memory order here: so it stays in registers, where
//! a byte-wise loop over it doesn't.

use aes::cipher::array::Array;
use aes::cipher::consts::U16;
use aes::cipher::typenum::Unsigned;
use aes::cipher::{BlockCipherEncBackend, BlockCipherEncClosure, BlockSizeUser, ParBlocks};
use zeroize::Zeroize;

/// Length of a block, in bytes.
pub(super) const BLOCK_LEN: usize = 16;

/// Whether plaintext goes in or comes out.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Seal,
    Open,
}

/// One packet, worked off in one call of the block cipher, which chooses its instructions once.
pub(super) struct OnePass<'p> {
    pub(super) direction: Direction,
    /// `B_0`, the first byte highest: flags, nonce, length of the message.
    pub(super) b_0: u128,
    /// `A_0`, the first byte highest: flags, nonce, zeros.
    pub(super) a_0: u128,
    /// The number of message blocks; the last one may be cut short.
    pub(super) blocks: u64,
    pub(super) additional_data: AdditionalData<'p>,
    pub(super) in_out: &'p mut [u8],
    /// Takes `U` in its whole length. The bytes that a shorter tag leaves out are secret.
    pub(super) tag: &'p mut [u8; BLOCK_LEN],
}

impl BlockSizeUser for OnePass<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for OnePass<'_> {
    // Inlining, here and below, puts the code into the function that may use AES instructions;
    // outside of it each block would cost a call.
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, aes: &B) {
        let mut state = State {
            mac: self.b_0.to_be(),
            key_stream: 0,
            a_0: self.a_0,
            i: 0,
            blocks: self.blocks,
        };
        state.advance(aes);
        if let Some((first, rest)) = self.additional_data.split() {
            state.authenticate(aes, first);
            let (blocks, tail) = rest.as_chunks::<BLOCK_LEN>();
            for block in blocks {
                state.authenticate(aes, u128::from_ne_bytes(*block));
            }
            if !tail.is_empty() {
                state.authenticate(aes, padded(tail));
            }
        }
        let (blocks, tail) = self.in_out.as_chunks_mut::<BLOCK_LEN>();
        for block in blocks {
            let applied = state.apply(self.direction, u128::from_ne_bytes(*block));
            *block = applied.to_ne_bytes();
            state.advance(aes);
        }
        if !tail.is_empty() {
            state.apply_to_tail(self.direction, tail);
            state.advance(aes);
        }
        *self.tag = (state.mac ^ state.key_stream).to_ne_bytes();
    }
}

/// Additional data, and its length as a number that its encoding holds.
pub(super) struct AdditionalData<'p> {
    bytes: &'p [u8],
    len: u64,
}

impl<'p> AdditionalData<'p> {
    /// Takes in `bytes`, or nothing if their length needs more than 64 bits (RFC 3610 §2.1).
    pub(super) fn new(bytes: &'p [u8]) -> Option<Self> {
        let len = u64::try_from(bytes.len()).ok()?;
        Some(Self { bytes, len })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the first block, which begins with the encoded length (RFC 3610 §2.2), and the
    /// bytes for which it has no room; nothing if there is no data.
    #[inline(always)]
    fn split(&self) -> Option<(u128, &'p [u8])> {
        let len = u128::from(self.len);
        let (encoded, encoded_len) = match self.len {
            0 => return None,
            1..0xff00 => (len << 112, 2),
            0xff00..=0xffff_ffff => (0xfffe << 112 | len << 80, 6),
            _ => (0xffff << 112 | len << 48, 10),
        };
        let (head, rest) = self
            .bytes
            .split_at_checked(BLOCK_LEN - encoded_len)
            .unwrap_or((self.bytes, &[]));
        let head = u128::from_be(padded(head)) >> (8 * encoded_len);
        Some(((encoded | head).to_be(), rest))
    }
}

/// What stands between two blocks. Its secrets are zeroed on drop.
struct State {
    /// `X_i` with what it has taken in since, and at the end `T`.
    mac: u128,
    /// `S_i` of the message block that comes next, and at the end `S_0`.
    key_stream: u128,
    a_0: u128,
    i: u64,
    blocks: u64,
}

impl State {
    /// Encrypts what the MAC has taken in, and beside it the counter block that comes next: `A_1`
    /// to the last of the message and then `A_0`. So the key stream is one block ahead of the MAC,
    /// as opening needs it, and no block of it is encrypted alone.
    #[inline(always)]
    fn advance<B: BlockCipherEncBackend<BlockSize = U16>>(&mut self, aes: &B) {
        self.i = if self.i == self.blocks { 0 } else { self.i + 1 };
        let a_i = (self.a_0 | u128::from(self.i)).to_be();
        [self.mac, self.key_stream] = encrypt_two(aes, [self.mac, a_i]);
    }

    /// Takes a block of additional data into the MAC.
    #[inline(always)]
    fn authenticate<B: BlockCipherEncBackend<BlockSize = U16>>(&mut self, aes: &B, block: u128) {
        self.mac = encrypt(aes, self.mac ^ block);
    }

    /// Takes the plaintext of a message block into the MAC and returns the block encrypted or
    /// decrypted.
    #[inline(always)]
    fn apply(&mut self, direction: Direction, block: u128) -> u128 {
        let applied = block ^ self.key_stream;
        self.mac ^= match direction {
            Direction::Seal => block,
            Direction::Open => applied,
        };
        applied
    }

    /// Does as [`Self::apply`] with the last bytes of a message, in place.
    #[inline(always)]
    fn apply_to_tail(&mut self, direction: Direction, tail: &mut [u8]) {
        // It is the plaintext that zeros make a block of (RFC 3610 §2.2), so the key stream must
        // not reach beyond the tail.
        self.key_stream &= tail.iter().fold(0u128, |mask, _| mask << 8 | 0xff).to_le();
        let applied = self.apply(direction, padded(tail));
        for (to, from) in tail.iter_mut().zip(applied.to_ne_bytes()) {
            *to = from;
        }
    }
}

impl Drop for State {
    #[inline(always)]
    fn drop(&mut self) {
        self.mac.zeroize();
        self.key_stream.zeroize();
    }
}

type Block = Array<u8, U16>;

/// Encrypts two blocks that don't wait for each other.
#[inline(always)]
fn encrypt_two<B: BlockCipherEncBackend<BlockSize = U16>>(
    aes: &B,
    mut both: [u128; 2],
) -> [u128; 2] {
    // AES in software is bit-sliced: the two or four blocks of a batch cost what one costs. Where
    // AES is an instruction, batches are of 8 to 64 blocks and cost more than two; there the
    // processor itself finds that two calls in turn can run at the same time.
    if !matches!(B::ParBlocksSize::USIZE, 2..=4) {
        return both.map(|block| encrypt(aes, block));
    }
    let mut batch = ParBlocks::<B>::default();
    for (block, value) in batch.iter_mut().zip(both) {
        *block = value.to_ne_bytes().into();
    }
    aes.encrypt_par_blocks_inplace(&mut batch);
    for (value, block) in both.iter_mut().zip(&batch) {
        *value = u128::from_ne_bytes((*block).into());
    }
    batch.iter_mut().for_each(zero);
    both
}

#[inline(always)]
fn encrypt<B: BlockCipherEncBackend<BlockSize = U16>>(aes: &B, block: u128) -> u128 {
    let mut block = Block::from(block.to_ne_bytes());
    aes.encrypt_block_inplace(&mut block);
    let value = u128::from_ne_bytes(block.into());
    zero(&mut block);
    value
}

/// Zeroes by slice, which is one write; an array is zeroed byte by byte.
#[inline(always)]
fn zero(block: &mut Block) {
    block.as_mut_slice().zeroize();
}

/// Returns up to 16 bytes with the zeros that make a block of them.
#[inline(always)]
fn padded(bytes: &[u8]) -> u128 {
    // Not by a copy into an array: a block that is read right after its bytes were written one by
    // one has to wait until they have left the processor's store buffer.
    bytes
        .iter()
        .rev()
        .fold(0, |block, byte| block << 8 | u128::from(*byte))
        .to_le()
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use core::marker::PhantomData;
    use std::vec::Vec;

    use aes::Aes128Enc;
    use aes::cipher::array::ArraySize;
    use aes::cipher::consts::{U1, U2, U4, U8, U16};
    use aes::cipher::inout::InOut;
    use aes::cipher::{
        BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit,
        ParBlocks, ParBlocksSizeUser,
    };

    use super::{AdditionalData, BLOCK_LEN, Block, Direction, OnePass};

    /// AES in batches of another size than this machine's.
    struct Batches<N> {
        aes: Aes128Enc,
        count: Cell<usize>,
        size: PhantomData<N>,
    }

    impl<N> BlockSizeUser for Batches<N> {
        type BlockSize = U16;
    }

    impl<N: ArraySize> ParBlocksSizeUser for Batches<N> {
        type ParBlocksSize = N;
    }

    impl<N: ArraySize> BlockCipherEncBackend for Batches<N> {
        fn encrypt_block(&self, block: InOut<'_, '_, Block>) {
            self.aes.encrypt_block_inout(block);
        }

        fn encrypt_par_blocks(&self, blocks: InOut<'_, '_, ParBlocks<Self>>) {
            self.count.set(self.count.get() + 1);
            self.aes.encrypt_blocks_inout(blocks.into_buf());
        }
    }

    fn aes() -> Aes128Enc {
        Aes128Enc::new(&[0x5a; 16].into())
    }

    /// Works off one packet and returns its output and its tag.
    fn worked_off(
        direction: Direction,
        data: &[u8],
        input: &[u8],
        run: impl FnOnce(OnePass<'_>),
    ) -> (Vec<u8>, [u8; BLOCK_LEN]) {
        let (mut in_out, mut tag) = (input.to_vec(), [0; BLOCK_LEN]);
        let len = u64::try_from(input.len()).unwrap();
        run(OnePass {
            direction,
            b_0: 0x5a_0102030405060708090a0b0c << 24 | u128::from(len),
            a_0: 0x02_0102030405060708090a0b0c << 24,
            blocks: len.div_ceil(16),
            additional_data: AdditionalData::new(data).unwrap(),
            in_out: &mut in_out,
            tag: &mut tag,
        });
        (in_out, tag)
    }

    fn batches_agree_with_this_machine<N: ArraySize>(batched: bool) {
        let bytes: [u8; 70] = core::array::from_fn(|at| u8::try_from(at).unwrap());
        for len in 0..=bytes.len() {
            let (data, message) = (&bytes[..len / 2], &bytes[..len]);
            let backend = Batches::<N> {
                aes: aes(),
                count: Cell::new(0),
                size: PhantomData,
            };
            let (sealed, tag) =
                worked_off(Direction::Seal, data, message, |pass| pass.call(&backend));
            // The first block and those of the message, each with one of the key stream.
            let batches = if batched { 1 + len.div_ceil(16) } else { 0 };
            assert_eq!(backend.count.get(), batches, "{len} bytes");
            let here = |pass: OnePass<'_>| aes().encrypt_with_backend(pass);
            assert_eq!(
                worked_off(Direction::Seal, data, message, here),
                (sealed.clone(), tag),
                "{len} bytes"
            );
            assert_eq!(
                worked_off(Direction::Open, data, &sealed, |pass| pass.call(&backend)),
                (message.to_vec(), tag),
                "{len} bytes"
            );
        }
    }

    #[test]
    fn bit_sliced_batches_take_both_blocks_and_give_the_same_bytes() {
        batches_agree_with_this_machine::<U2>(true);
        batches_agree_with_this_machine::<U4>(true);
    }

    #[test]
    fn other_batches_are_left_alone() {
        batches_agree_with_this_machine::<U1>(false);
        batches_agree_with_this_machine::<U8>(false);
    }

    #[test]
    fn length_of_additional_data_is_encoded_in_2_6_or_10_bytes() {
        let bytes = [0x11; BLOCK_LEN];
        for (len, first, rest) in [
            (1, 0x0001_1111_1111_1111_1111_1111_1111_1111, 2),
            (0xfeff, 0xfeff_1111_1111_1111_1111_1111_1111_1111, 2),
            (0xff00, 0xfffe_0000_ff00_1111_1111_1111_1111_1111, 6),
            (
                u64::from(u32::MAX),
                0xfffe_ffff_ffff_1111_1111_1111_1111_1111,
                6,
            ),
            (1 << 32, 0xffff_0000_0001_0000_0000_1111_1111_1111, 10),
            (u64::MAX, 0xffff_ffff_ffff_ffff_ffff_1111_1111_1111, 10),
        ] {
            let data = AdditionalData { bytes: &bytes, len };
            let (block, after) = data.split().unwrap();
            assert_eq!(u128::from_be(block), first, "{len}");
            assert_eq!(after.len(), rest, "{len}");
        }
        assert!(AdditionalData::new(&[]).unwrap().split().is_none());
    }
}
