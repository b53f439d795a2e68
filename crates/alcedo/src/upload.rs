//! What both ends of an upload agree on: how trees are compared, where files are cut, and how parts are written; and
//! the sender's end of it.
//!
//! Knows nothing of connections, releases or slots. The receiver is [`crate::adapters::releases`].

pub(crate) mod cuts;
pub(crate) mod groups;
pub(crate) mod part;
pub(crate) mod send;

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read};

/// Largest packed body of a call.
pub(crate) const PACKED_BYTES_MAX: usize = 32 << 20;
/// Largest unpacked body: the list of a tree with a million long names.
const UNPACKED_BYTES_MAX: u64 = 512 << 20;
/// Lists are small; time counts more than the last bytes.
const LEVEL: i32 = 6;

/// JSON, packed.
pub(crate) fn packed(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    encoder.include_checksum(true)?;
    serde_json::to_writer(&mut encoder, value)?;
    encoder.finish()
}

/// The value of packed JSON.
///
/// # Errors
/// When it is cut, damaged, too long, or not such a value.
pub(crate) fn unpacked<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let mut decoder = zstd::Decoder::new(bytes)?;
    decoder.window_log_max(27)?;
    let text = read_limited(decoder, UNPACKED_BYTES_MAX)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Everything, unless it is more than `limit_bytes`.
pub(crate) fn read_limited(from: impl Read, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it unpacks to more than {limit_bytes} bytes"),
        ));
    }
    Ok(bytes)
}

/// The first `N` bytes of a text of hexadecimal digits.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
