//! Where WebSocket frames begin and end (RFC 6455, section 5.2), so that a close frame can go in between.

/// Close frame of a server: final, opcode 8, not masked, code 1012 "service restart".
pub(crate) const CLOSE_1012: [u8; 4] = [0x88, 0x02, 0x03, 0xf4];

const OPCODE_CLOSE: u8 = 8;

/// Follows the frames of one direction.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: [u8; 14],
    head_length: usize,
    payload_left: u64,
    has_closed: bool,
}

impl Frames {
    /// These bytes passed.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let skipped =
                    bytes.len().min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
                self.payload_left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.head[self.head_length] = bytes[0];
            self.head_length += 1;
            bytes = &bytes[1..];
            self.end_head();
        }
    }

    /// Whether a frame ended with the last byte.
    pub(crate) fn is_between(&self) -> bool {
        self.payload_left == 0 && self.head_length == 0
    }

    /// Whether a close frame began.
    pub(crate) fn has_closed(&self) -> bool {
        self.has_closed
    }

    fn end_head(&mut self) {
        if self.head_length < 2 {
            return;
        }
        let extended = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        if self.head_length < 2 + extended + mask {
            return;
        }
        let long = self.head[2..2 + extended].iter().fold(0, |n, b| n << 8 | u64::from(*b));
        self.payload_left = if extended == 0 { u64::from(self.head[1] & 0x7f) } else { long };
        self.has_closed |= self.head[0] & 0x0f == OPCODE_CLOSE;
        self.head_length = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_followed_byte_by_byte() {
        let mut stream = vec![0x81, 0x03, 1, 2, 3, 0x82, 126, 0x01, 0x00];
        stream.extend([0; 256]);
        stream.extend([0x81, 0x82, 9, 9, 9, 9, 1, 2, 0x89, 0x00]);
        let ends = [5, 5 + 4 + 256, 5 + 4 + 256 + 8, stream.len()];
        let mut frames = Frames::default();
        for (index, byte) in stream.iter().enumerate() {
            frames.pass(&[*byte]);
            assert_eq!(frames.is_between(), ends.contains(&(index + 1)), "byte {index}");
        }
        assert!(!frames.has_closed());
        frames.pass(&CLOSE_1012);
        assert!(frames.has_closed() && frames.is_between());
    }
}
