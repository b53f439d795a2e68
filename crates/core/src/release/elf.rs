//! Which machine a binary was built for, read from the first bytes of an ELF file.

use std::fmt;

/// A processor architecture, by the names of `ALCEDO_TARGET` (`linux/amd64`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// 32-bit x86.
    X86,
    /// x86-64.
    Amd64,
    /// 32-bit Arm.
    Arm,
    /// 64-bit Arm.
    Arm64,
    /// 64-bit RISC-V.
    Riscv64,
    /// Anything else, by its ELF number.
    Other(u16),
}

impl Machine {
    /// The machine this program was compiled for.
    pub const HERE: Self = if cfg!(target_arch = "x86_64") {
        Self::Amd64
    } else if cfg!(target_arch = "aarch64") {
        Self::Arm64
    } else if cfg!(target_arch = "x86") {
        Self::X86
    } else if cfg!(target_arch = "arm") {
        Self::Arm
    } else if cfg!(target_arch = "riscv64") {
        Self::Riscv64
    } else {
        Self::Other(0)
    };

    /// Reads `linux/amd64` or `amd64`, and what `uname -m` says for it.
    pub fn parse(text: &str) -> Option<Self> {
        match text.rsplit('/').next().unwrap_or(text) {
            "386" | "x86" | "i686" => Some(Self::X86),
            "amd64" | "x86_64" => Some(Self::Amd64),
            "arm" | "armv7l" => Some(Self::Arm),
            "arm64" | "aarch64" => Some(Self::Arm64),
            "riscv64" => Some(Self::Riscv64),
            _ => None,
        }
    }

    /// Whether a binary for `self` runs on `host`: the same, or 32-bit x86 on x86-64.
    pub fn runs_on(self, host: Self) -> bool {
        self == host || (self == Self::X86 && host == Self::Amd64)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X86 => f.write_str("386"),
            Self::Amd64 => f.write_str("amd64"),
            Self::Arm => f.write_str("arm"),
            Self::Arm64 => f.write_str("arm64"),
            Self::Riscv64 => f.write_str("riscv64"),
            Self::Other(number) => write!(f, "machine {number}"),
        }
    }
}

/// The machine in an ELF header (`e_machine`, offset 18, in the byte order that byte 5 names); `None`: not an ELF
/// file. Twenty bytes are enough.
pub fn elf_machine(bytes: &[u8]) -> Option<Machine> {
    let header: &[u8; 20] = bytes.first_chunk()?;
    if !header.starts_with(b"\x7fELF") {
        return None;
    }
    let pair = [header[18], header[19]];
    let little_endian = header[5] != 2;
    let number = if little_endian { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) };
    Some(match number {
        3 => Machine::X86,
        40 => Machine::Arm,
        62 => Machine::Amd64,
        183 => Machine::Arm64,
        243 => Machine::Riscv64,
        other => Machine::Other(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(number: u16) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(18, 0);
        bytes.extend(number.to_le_bytes());
        bytes
    }

    #[test]
    fn architectures_are_read_from_the_header() {
        assert_eq!(elf_machine(&header(62)), Some(Machine::Amd64));
        assert_eq!(elf_machine(&header(183)), Some(Machine::Arm64));
        assert_eq!(elf_machine(&header(9)), Some(Machine::Other(9)));
        assert_eq!(elf_machine(b"#!/bin/sh\nexec true and more\n"), None);
        assert_eq!(elf_machine(b"\x7fELF"), None);
    }

    #[test]
    fn a_foreign_binary_does_not_run_here() {
        assert!(!Machine::Arm64.runs_on(Machine::Amd64));
        assert!(Machine::X86.runs_on(Machine::Amd64));
        assert_eq!(Machine::parse("linux/arm64"), Some(Machine::Arm64));
        assert_eq!(Machine::parse("linux/sparc"), None);
    }
}
