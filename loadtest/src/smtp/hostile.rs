//! smtp::hostile – bodies that a server must refuse or keep octet for octet, and never take for more
//! than one message.
//!
//! Each is sent as it stands, without dot-stuffing: some pretend to an end of data that is none
//! (RFC 5321 §4.1.1.4: only CRLF.CRLF is one), with a whole transaction behind it. A server that falls
//! for it answers once more than it was asked, and holds a message with the mark `RUN.smuggled`.
//! Not here: what answers are expected (`dialogue`), what a mark is (`corpus`).

use clap::ValueEnum;

/// One kind of hostile body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Hostile {
    /// Lines that end in LF alone
    BareLf,
    /// CR in the middle of lines
    BareCr,
    /// NUL and other controls
    Nul,
    /// A line of 100,000 octets
    LongLine,
    /// 8-bit octets that are no UTF-8, announced by nothing
    EightBit,
    /// Nothing but lines of dots
    Dots,
    /// A body without any header, empty but for its mark
    Empty,
    /// A transaction behind LF.LF
    SmuggleLf,
    /// A transaction behind LF.CRLF
    SmuggleLfCrlf,
    /// A transaction behind CRLF.LF
    SmuggleCrlfLf,
    /// A transaction behind CR.CR
    SmuggleCr,
    /// A transaction behind CRLF.CR
    SmuggleCrlfCr,
    /// A transaction behind CRLF NUL . CRLF
    SmuggleNul,
}

const LONG_LINE_OCTETS: usize = 100_000;
const HEAD: &[u8] = b"From: <a@loadtest.invalid>\r\nSubject: hostile\r\n\r\n";

impl Hostile {
    /// Does it carry a second transaction?
    pub(crate) fn smuggles(self) -> bool {
        self.false_end().is_some()
    }

    /// What goes behind the mark, on the wire, without the true end of data.
    /// `run` marks what is smuggled, `recipient` is whom it is for.
    pub(crate) fn wire(self, run: &str, recipient: &str) -> Vec<u8> {
        if let Some(end) = self.false_end() {
            return smuggling(end, run, recipient);
        }
        let mut wire = HEAD.to_vec();
        match self {
            Self::BareLf => wire.extend_from_slice(b"one\ntwo\n\nthree\r\n\nfour\r\n"),
            Self::BareCr => wire.extend_from_slice(b"one\rtwo\r\rthree\r\r\n\rfour\r\n"),
            Self::Nul => wire.extend_from_slice(b"a\0b\x01\x02\x7f\x1b[2J\0\r\n\0\r\n"),
            Self::LongLine => {
                wire.extend(std::iter::repeat_n(b'x', LONG_LINE_OCTETS));
                wire.extend_from_slice(b"\r\n");
            }
            Self::EightBit => {
                wire.extend(0x80..=0xff_u8);
                wire.extend_from_slice(b"\r\n\xc3(\xa0\xa1\r\n");
            }
            // As a client sends them: what arrives is a dot less.
            Self::Dots => {
                for dots in 2..70 {
                    wire.extend(std::iter::repeat_n(b'.', dots));
                    wire.extend_from_slice(b"\r\n");
                }
            }
            Self::Empty
            | Self::SmuggleLf
            | Self::SmuggleLfCrlf
            | Self::SmuggleCrlfLf
            | Self::SmuggleCr
            | Self::SmuggleCrlfCr
            | Self::SmuggleNul => wire.clear(),
        }
        wire
    }

    /// What it passes off as an end of data.
    fn false_end(self) -> Option<&'static [u8]> {
        match self {
            Self::SmuggleLf => Some(b"\n.\n"),
            Self::SmuggleLfCrlf => Some(b"\n.\r\n"),
            Self::SmuggleCrlfLf => Some(b"\r\n.\n"),
            Self::SmuggleCr => Some(b"\r.\r"),
            Self::SmuggleCrlfCr => Some(b"\r\n.\r"),
            Self::SmuggleNul => Some(b"\r\n\0.\r\n"),
            Self::BareLf
            | Self::BareCr
            | Self::Nul
            | Self::LongLine
            | Self::EightBit
            | Self::Dots
            | Self::Empty => None,
        }
    }
}

fn smuggling(end: &[u8], run: &str, recipient: &str) -> Vec<u8> {
    let mut wire = HEAD.to_vec();
    wire.extend_from_slice(b"what was announced");
    wire.extend_from_slice(end);
    wire.extend_from_slice(
        format!(
            "MAIL FROM:<smuggled@loadtest.invalid>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n\
             X-Loadtest: {run}.smuggled\r\nSubject: smuggled\r\n\r\nnobody sent this\r\n"
        )
        .as_bytes(),
    );
    wire
}

#[cfg(test)]
mod tests {
    use super::super::wire::{END, arrived};
    use super::*;

    #[test]
    fn to_a_strict_server_each_is_one_message() {
        for &kind in Hostile::value_variants() {
            let mut wire = b"X-Loadtest: 1.2\r\n".to_vec();
            wire.extend(kind.wire("1", "a@b"));
            assert!(wire.ends_with(b"\r\n"), "{kind:?}");
            wire.extend_from_slice(END);
            let (message, octets) = arrived(&wire).unwrap();
            assert_eq!(octets, wire.len(), "{kind:?} has no end of data but its own");
            let hidden = message.windows(10).any(|ten| ten == b"1.smuggled");
            assert_eq!(hidden, kind.smuggles(), "{kind:?}");
        }
    }

    /// Servers with the faults of December 2023 and before: what they take for an end of data.
    #[test]
    fn to_a_careless_server_the_smuggling_ones_are_two() {
        for &kind in Hostile::value_variants() {
            let wire = kind.wire("1", "a@b");
            let careless: Vec<u8> = wire.iter().copied().filter(|&octet| octet != 0).collect();
            let text = String::from_utf8_lossy(&careless).replace("\r\n", "\n").replace('\r', "\n");
            let ends = text.split("\n.\n").count() - 1;
            assert_eq!(ends, usize::from(kind.smuggles()), "{kind:?}");
        }
    }
}
