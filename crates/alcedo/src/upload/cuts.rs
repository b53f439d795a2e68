//! Cuts files where their content says so (FastCDC, Xia et al. 2020), so that a change moves no other cut: what an older
//! version on the other side has as well is found wherever it stands.
//!
//! Both sides cut by the length of the *older* version: pieces of about the square root of it, as rsync does.

use super::{hex, unhex};
use fastcdc::v2020::StreamCDC;
use std::collections::HashMap;
use std::io::{self, Read};

/// Older versions below this are not worth the question.
pub(crate) const OLD_BYTES_MIN: u64 = 2_048;
/// Above this the list of pieces itself would be too long.
pub(crate) const OLD_BYTES_MAX: u64 = 8 << 30;

/// Mean lengths of pieces.
const MEAN_BYTES: std::ops::RangeInclusive<u32> = 256..=16_384;
/// Of a piece's hash, so many bytes are told; what matches by chance is found out by the hash of the whole file.
const DIGEST_BYTES: usize = 6;
/// Digits of one told piece: digest and length.
const DIGITS: usize = 2 * (DIGEST_BYTES + 2);

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its content.
    pub(crate) bytes: Vec<u8>,
}

/// The pieces of what `from` gives, cut for an older version of `old_bytes`.
pub(crate) fn pieces(from: impl Read, old_bytes: u64) -> impl Iterator<Item = io::Result<Piece>> {
    let mean = mean(old_bytes);
    // A length is told in two bytes.
    let longest = (mean * 4).min(u32::from(u16::MAX));
    StreamCDC::new(from, mean / 4, mean, longest)
        .map(|piece| Ok(Piece { bytes: piece.map_err(io::Error::from)?.data }))
}

fn mean(old_bytes: u64) -> u32 {
    let root = u32::try_from(old_bytes.isqrt()).unwrap_or(u32::MAX);
    root.clamp(*MEAN_BYTES.start(), *MEAN_BYTES.end()).next_power_of_two().min(*MEAN_BYTES.end())
}

/// Digests and lengths of all pieces of a file, as they are told.
pub(crate) fn told(from: impl Read, old_bytes: u64) -> io::Result<String> {
    let mut text = String::new();
    for piece in pieces(from, old_bytes) {
        let piece = piece?;
        let length = u16::try_from(piece.bytes.len()).map_err(io::Error::other)?;
        text.push_str(&hex(&digest(&piece.bytes)));
        text.push_str(&hex(&length.to_be_bytes()));
    }
    Ok(text)
}

/// Where each piece that was told stands in the older version.
#[derive(Debug, Default)]
pub(crate) struct Known(HashMap<[u8; DIGEST_BYTES], (u64, u16)>);

impl Known {
    /// Reads what [`told`] wrote; `None`: it is not that.
    pub(crate) fn read(text: &str) -> Option<Self> {
        if !text.is_ascii() || !text.len().is_multiple_of(DIGITS) {
            return None;
        }
        let mut known = HashMap::with_capacity(text.len() / DIGITS);
        let mut offset = 0;
        for at in (0..text.len()).step_by(DIGITS) {
            let digest = unhex(&text[at..])?;
            let length = u16::from_be_bytes(unhex(&text[at + 2 * DIGEST_BYTES..])?);
            known.entry(digest).or_insert((offset, length));
            offset += u64::from(length);
        }
        Some(Self(known))
    }

    /// Where the older version has this content, as far as the digest tells.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<u64> {
        let (offset, length) = self.0.get(&digest(bytes))?;
        (usize::from(*length) == bytes.len()).then_some(*offset)
    }
}

fn digest(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    let hash = blake3::hash(bytes);
    hash.as_bytes()[..DIGEST_BYTES].try_into().expect("a hash has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn an_insertion_changes_few_pieces() {
        let old = noise(400_000);
        let mut new = old.clone();
        new.splice(1_000..1_000, *b"inserted");
        let known = Known::read(&told(old.as_slice(), old.len() as u64).unwrap()).unwrap();
        let mut fresh = 0;
        let mut all = Vec::new();
        for piece in pieces(new.as_slice(), old.len() as u64) {
            let piece = piece.unwrap();
            match known.find(&piece.bytes) {
                Some(at) => {
                    let at = usize::try_from(at).unwrap();
                    assert_eq!(old[at..at + piece.bytes.len()], piece.bytes);
                }
                None => fresh += piece.bytes.len(),
            }
            all.extend(piece.bytes);
        }
        assert_eq!(all, new);
        assert!(fresh < 12_000, "{fresh} bytes are new");
    }

    #[test]
    fn what_was_not_told_so_is_not_read() {
        for text in ["0", "zz00000000000000", "é00000000000000", &"0".repeat(17)] {
            assert!(Known::read(text).is_none(), "{text}");
        }
        assert!(Known::read("").unwrap().find(b"x").is_none());
    }

    #[test]
    fn pieces_are_within_their_limits_for_every_length() {
        for old_bytes in [0, 1, 2_048, 1 << 20, 50 << 20, u64::MAX] {
            assert!(MEAN_BYTES.contains(&mean(old_bytes)), "{old_bytes}");
            assert!(mean(old_bytes).is_power_of_two());
        }
        assert_eq!(pieces(&b""[..], 0).count(), 0);
    }
}
