//! The text of a state file: one JSON object whose checksum covers the version and the exact bytes of the record.

use super::ServiceRecord;

/// Version that this code writes; older ones are read.
pub const FORMAT_VERSION: u32 = 1;

/// Why the bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Cut off, or never one of ours.
    #[error("read the state file: it is not a state file or was cut off")]
    Shape,
    /// Written by a newer version.
    #[error("read the state file: format {0} is newer than this version understands")]
    Newer(u32),
    /// The checksum does not fit.
    #[error("read the state file: its checksum does not fit its contents")]
    Checksum,
    /// The checksum fits and the record still cannot be understood.
    #[error("read the state file")]
    Record(#[source] serde_json::Error),
}

const DIGEST_LENGTH: usize = 32;
const VERSION: &str = "{\"version\":";
const CHECKSUM: &str = ",\"checksum\":\"";
const RECORD: &str = "\",\"record\":";
const END: &str = "}\n";

/// `{"version":1,"checksum":"<32 hex digits of blake3, over version and record>","record":…}` and a newline.
pub fn encode(record: &ServiceRecord) -> Vec<u8> {
    let body = serde_json::to_string(record).expect("a record has no maps with foreign keys");
    format!(
        "{VERSION}{FORMAT_VERSION}{CHECKSUM}{}{RECORD}{body}{END}",
        digest(FORMAT_VERSION, &body)
    )
    .into_bytes()
}

/// The record in `bytes`.
pub fn decode(bytes: &[u8]) -> Result<ServiceRecord, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Shape)?;
    let (version, rest) = text
        .strip_prefix(VERSION)
        .and_then(|t| t.split_once(','))
        .and_then(|(version, _)| {
            Some((version.parse::<u32>().ok()?, &text[VERSION.len() + version.len()..]))
        })
        .ok_or(DecodeError::Shape)?;
    if version > FORMAT_VERSION {
        return Err(DecodeError::Newer(version));
    }
    let (checksum, rest) = rest
        .strip_prefix(CHECKSUM)
        .and_then(|t| t.split_at_checked(DIGEST_LENGTH))
        .ok_or(DecodeError::Shape)?;
    let body =
        rest.strip_prefix(RECORD).and_then(|t| t.strip_suffix(END)).ok_or(DecodeError::Shape)?;
    if digest(version, body) != checksum {
        return Err(DecodeError::Checksum);
    }
    serde_json::from_str(body).map_err(DecodeError::Record)
}

fn digest(version: u32, body: &str) -> String {
    let mut hex = blake3::hash(format!("{version} {body}").as_bytes()).to_hex().to_string();
    hex.truncate(DIGEST_LENGTH);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Structure;

    #[test]
    fn record_comes_back_as_it_was_written() {
        let record = ServiceRecord::new("shop", Structure::default());
        assert_eq!(decode(&encode(&record)).unwrap(), record);
        serde_json::from_slice::<serde_json::Value>(&encode(&record)).unwrap();
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let good = encode(&ServiceRecord::new("shop", Structure::default()));
        for length in 0..good.len() {
            assert!(decode(&good[..length]).is_err(), "cut at {length}");
        }
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 1;
            assert!(decode(&bad).is_err(), "bit flipped at {index}");
        }
    }

    #[test]
    fn newer_format_is_told_from_damage() {
        let text =
            String::from_utf8(encode(&ServiceRecord::new("a", Structure::default()))).unwrap();
        let newer = text.replacen("\"version\":1", "\"version\":2", 1);
        assert!(matches!(decode(newer.as_bytes()), Err(DecodeError::Newer(2))));
    }
}
