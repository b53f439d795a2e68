//! How a part of an upload is written: a few orders, packed with zstd and closed by its checksum.
//!
//! Numbers are big-endian. `F hash(32) at(8)`: what follows belongs to this content, from this offset on. `D length(4)
//! bytes`: so it goes on. `O name(2+n) path(2+n)`: pieces come from this file of a kept release. `C offset(8)
//! length(8)`: it goes on as that file does there. A reader takes the whole part or nothing of it.

use super::read_limited;
use alcedo_core::release::RelPath;
use std::io::{self, Read, Write};

/// A part is closed when so many bytes are in it.
pub(crate) const PART_BYTES: usize = 4 << 20;
/// Largest packed part.
pub(crate) const PACKED_BYTES_MAX: usize = 16 << 20;
/// Largest unpacked part.
const UNPACKED_BYTES_MAX: u64 = 24 << 20;
/// Smaller than zlib's and zstd's defaults make it, and still quicker than most lines.
const LEVEL: i32 = 7;

/// One order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order<'a> {
    /// What follows belongs to this content.
    File {
        /// Its hash.
        hash: [u8; 32],
        /// From here on.
        at: u64,
    },
    /// So it goes on.
    Data(&'a [u8]),
    /// Pieces come from this file.
    Old {
        /// Directory under `releases/`.
        instance: &'a str,
        /// Where in it.
        path: RelPath,
    },
    /// It goes on as the old file does there.
    Copy {
        /// Where.
        offset: u64,
        /// For so many bytes.
        length: u64,
    },
}

/// A part that is being written.
#[derive(Debug, Default)]
pub(crate) struct Part {
    bytes: Vec<u8>,
}

impl Part {
    /// Adds an order.
    pub(crate) fn add(&mut self, order: &Order<'_>) {
        match order {
            Order::File { hash, at } => {
                self.bytes.push(b'F');
                self.bytes.extend(hash);
                self.bytes.extend(at.to_be_bytes());
            }
            Order::Data(data) => {
                let length = u32::try_from(data.len()).expect("a piece is shorter than a part");
                self.bytes.push(b'D');
                self.bytes.extend(length.to_be_bytes());
                self.bytes.extend(*data);
            }
            Order::Old { instance, path } => {
                self.bytes.push(b'O');
                self.add_text(instance);
                self.add_text(&path.to_string());
            }
            Order::Copy { offset, length } => {
                self.bytes.push(b'C');
                self.bytes.extend(offset.to_be_bytes());
                self.bytes.extend(length.to_be_bytes());
            }
        }
    }

    fn add_text(&mut self, text: &str) {
        let length =
            u16::try_from(text.len()).expect("paths have at most 4096 bytes, 4 digits each");
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(text.as_bytes());
    }

    /// Whether it should be sent.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= PART_BYTES
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// As it is sent.
    pub(crate) fn pack(&self) -> io::Result<Vec<u8>> {
        let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
        encoder.include_checksum(true)?;
        encoder.set_pledged_src_size(Some(self.bytes.len() as u64))?;
        encoder.write_all(&self.bytes)?;
        encoder.finish()
    }
}

/// The orders of a packed part.
///
/// # Errors
/// When it is cut, damaged, too long, or anything else than orders.
pub(crate) fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
    if packed.is_empty() {
        return Err(wrong("it is empty"));
    }
    let mut decoder = zstd::Decoder::new(packed)?.single_frame();
    decoder.window_log_max(25)?;
    let bytes = read_limited(&mut decoder, UNPACKED_BYTES_MAX)?;
    let mut rest = Vec::new();
    decoder.finish().read_to_end(&mut rest)?;
    if !rest.is_empty() {
        return Err(wrong("something follows it"));
    }
    Ok(bytes)
}

/// The orders in what [`unpack`] gave.
pub(crate) fn orders(bytes: &[u8]) -> io::Result<Vec<Order<'_>>> {
    let mut rest = bytes;
    let mut all = Vec::new();
    while let Some((kind, after)) = rest.split_first() {
        rest = after;
        all.push(match kind {
            b'F' => Order::File { hash: array(&mut rest)?, at: number(&mut rest)? },
            b'D' => {
                let length = u32::from_be_bytes(array(&mut rest)?);
                Order::Data(take(&mut rest, length as usize)?)
            }
            b'O' => {
                let instance = text(&mut rest)?;
                let path = RelPath::try_from(text(&mut rest)?.to_owned());
                Order::Old { instance, path: path.map_err(|_| wrong("it names no path"))? }
            }
            b'C' => Order::Copy { offset: number(&mut rest)?, length: number(&mut rest)? },
            _ => return Err(wrong("it holds an unknown order")),
        });
    }
    Ok(all)
}

fn number(rest: &mut &[u8]) -> io::Result<u64> {
    Ok(u64::from_be_bytes(array(rest)?))
}

fn text<'a>(rest: &mut &'a [u8]) -> io::Result<&'a str> {
    let length = u16::from_be_bytes(array(rest)?);
    std::str::from_utf8(take(rest, usize::from(length))?).map_err(|_| wrong("it names no path"))
}

fn array<const N: usize>(rest: &mut &[u8]) -> io::Result<[u8; N]> {
    let bytes = take(rest, N)?;
    bytes.try_into().map_err(|_| wrong("it ends early"))
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> io::Result<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count).ok_or_else(|| wrong("it ends early"))?;
    *rest = after;
    Ok(taken)
}

fn wrong(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    #[test]
    fn orders_come_back_as_they_were_written() {
        let path = RelPath::new(Path::new("bin/app")).unwrap();
        let all = [
            Order::File { hash: [7; 32], at: 9 },
            Order::Data(b"abc"),
            Order::Old { instance: "r20261120-191405-4be1c07~2", path },
            Order::Copy { offset: 1 << 40, length: 70_000 },
        ];
        let mut part = Part::default();
        all.iter().for_each(|order| part.add(order));
        let bytes = unpack(&part.pack().unwrap()).unwrap();
        assert_eq!(orders(&bytes).unwrap(), all);
    }

    #[test]
    fn a_part_that_is_cut_or_changed_is_refused_whole() {
        let mut part = Part::default();
        part.add(&Order::Data(&[b'x'; 5_000]));
        let packed = part.pack().unwrap();
        for end in 0..packed.len() {
            assert!(unpack(&packed[..end]).is_err(), "cut at {end}");
        }
        for at in 0..packed.len() {
            let mut changed = packed.clone();
            changed[at] ^= 0x55;
            let seen = unpack(&changed);
            assert!(seen.is_err() || seen.unwrap() == part.bytes, "changed at {at}");
        }
        let longer = [packed.as_slice(), b"more"].concat();
        assert!(unpack(&longer).is_err());
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = zstd::encode_all(&vec![0; 64 << 20][..], 3).unwrap();
        assert!(bomb.len() < 64 << 10);
        assert!(unpack(&bomb).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_fall_over(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = orders(&bytes);
            let _ = unpack(&bytes);
            if let Ok(all) = orders(&bytes) {
                let mut again = Part::default();
                all.iter().for_each(|order| again.add(order));
                prop_assert_eq!(orders(&again.bytes).unwrap(), all);
            }
        }
    }
}
