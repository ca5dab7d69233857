//! wire::stuff – the body of DATA on its way out: doubles dots, and lets no bare newline pass.
//!
//! The reverse of `wire::data`, over the same scanner: where it stops, one octet is put before the
//! next, and that is all there is to do.
//!
//! ```text
//!  CRLF . x   ─▶ CRLF . . x     RFC 5321 §4.5.2
//!  x LF       ─▶ x CR LF        RFC 5321 §2.3.8: CR and LF are sent only together
//!  CR x       ─▶ CR LF x
//! ```
//! A message may hold bare newlines because it came by BDAT, where nobody looks for them. Sent as
//! they are, they would let the next server see other lines than this one did. They become CRLF, which
//! is what a receiver that normalises makes of them, and what a signature was made over (RFC 6376 §5.3).
//! Octets that must not change go by BDAT, where no encoder is.
//!
//! Promises: what it gives out holds neither bare CR nor bare LF, and CRLF.CRLF only at its end; a decoder
//! gives back what was put in, newlines mended, and one CRLF more if there was none at the end (RFC
//! 5321 §4.1.1.4); it borrows from the input or is static; it does not depend on how the input is split.

use super::scan::{Kernel, Masks, STEP, Walk};

/// Encodes one body. Begins as if a CRLF had just been sent.
#[derive(Debug, Clone)]
pub struct Encoder {
    kernel: Kernel,
    /// The last octet sent is a CR.
    after_cr: bool,
    /// The last two octets sent are CRLF, and no dot was put behind them.
    at_start: bool,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// Before the first octet after `354`.
    pub fn new() -> Self {
        Self { kernel: Kernel::best(), after_cr: false, at_start: true }
    }

    /// Consumes from the front of `input`: the next octets to be sent, `None` when it is used up.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<&'a [u8]> {
        let octets = *input;
        let length = self.clean(octets);
        let (run, rest) = octets.split_at(length);
        *input = rest;
        if let Some(last) = run.last() {
            self.after_cr = *last == b'\r';
            // No LF is in a run that has no CR before it.
            self.at_start = *last == b'\n';
            return Some(run);
        }
        let first = rest.first()?;
        Some(if self.after_cr {
            (self.after_cr, self.at_start) = (false, true);
            b"\n"
        } else if *first == b'\n' {
            (self.after_cr, self.at_start) = (true, false);
            b"\r"
        } else {
            self.at_start = false;
            b"."
        })
    }

    /// The message is over: what ends it.
    pub fn end(&mut self) -> &'static [u8] {
        match (self.at_start, self.after_cr) {
            (true, _) => b".\r\n",
            (false, true) => b"\n.\r\n",
            (false, false) => b"\r\n.\r\n",
        }
    }

    /// Octets in front of which nothing has to be put, none of them.
    fn clean(&self, octets: &[u8]) -> usize {
        let mut walk = Walk {
            cr: u64::from(self.after_cr),
            start: u64::from(self.at_start),
            watch: !0,
            line: 0,
            longest: 0,
            nul: false,
            high: false,
        };
        let (steps, rest) = octets.as_chunks::<STEP>();
        let mut found = Masks::default();
        let passed = self.kernel.pass(steps, &mut walk, &mut found);
        if passed < steps.len() {
            return passed * STEP + place(&walk, &found);
        }
        let mut last = [0; STEP];
        last[..rest.len()].copy_from_slice(rest);
        let found = self.kernel.masks(&last);
        (passed * STEP + place(&walk, &found)).min(octets.len())
    }
}

/// The first octet of a step before which something is to be put.
fn place(walk: &Walk, found: &Masks) -> usize {
    let stops = walk.stops(found);
    // At most 64.
    usize::try_from((stops.stuffed | stops.bad).trailing_zeros()).unwrap_or(STEP)
}

#[cfg(test)]
#[path = "stuff_tests.rs"]
mod tests;
