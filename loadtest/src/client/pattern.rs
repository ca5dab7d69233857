//! client::pattern – contents of test files that can be made, sent and checked at any offset.
//!
//! One mebibyte of noise, repeated; each file begins at a place of its own, given by its seed, so
//! that two files of the same size differ from their first byte on.
//!
//! Promises: the same bytes in every process and run.

use std::sync::OnceLock;

/// Bytes after which the contents repeat.
const PERIOD: usize = 1 << 20;

fn noise() -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut bytes = Vec::with_capacity(PERIOD);
        while bytes.len() < PERIOD {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes
    })
}

/// The longest ready run of the file's bytes at `offset`, at most `limit` long; never empty
/// unless `limit` is 0.
pub fn run_at(seed: u64, offset: u64, limit: u64) -> &'static [u8] {
    let noise = noise();
    let start = (seed.wrapping_mul(4099).wrapping_add(offset) % PERIOD as u64) as usize;
    let length = (PERIOD - start).min(usize::try_from(limit).unwrap_or(usize::MAX));
    &noise[start..start + length]
}

/// Whether `bytes` are what the file of `seed` holds at `offset`.
pub fn matches(seed: u64, mut offset: u64, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let expected = run_at(seed, offset, bytes.len() as u64);
        let (head, rest) = bytes.split_at(expected.len());
        if head != expected {
            return false;
        }
        offset += head.len() as u64;
        bytes = rest;
    }
    true
}

/// Writes the first `length` bytes of the file of `seed`.
pub fn write(target: &mut impl std::io::Write, seed: u64, length: u64) -> std::io::Result<()> {
    let mut offset = 0;
    while offset < length {
        let run = run_at(seed, offset, length - offset);
        target.write_all(run)?;
        offset += run.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_matches_at_every_offset() {
        let length = PERIOD as u64 + 1000;
        let mut file = Vec::new();
        write(&mut file, 7, length).unwrap();
        assert_eq!(file.len() as u64, length);
        for offset in [0, 1, 4099, PERIOD - 1, PERIOD, PERIOD + 999] {
            assert!(matches(7, offset as u64, &file[offset..]));
        }
        assert!(!matches(8, 0, &file));
        file[12_345] ^= 1;
        assert!(!matches(7, 0, &file));
    }
}
