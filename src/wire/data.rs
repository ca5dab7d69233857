//! wire::data – the body of DATA: finds its end, undoes dot-stuffing, and says what it saw.
//!
//! ```text
//!            '.'          CR           LF
//!  LineStart ----> Dot ------> DotCr -----> End
//!      ^            |            |
//!      | LF         | other      | other = bare CR
//!     Cr <---CR--- Text <--------+
//! ```
//! That is the whole language. It is not run octet by octet: `wire::scan` finds the dots at line
//! starts and the bare newlines of 64 octets at once, and only there does anything have to be
//! decided. What is known of a step with several stops in it is kept, so that none is looked at
//! again for each of them.
//!
//! Promises: only CRLF.CRLF ends the data, the first CRLF being the one that ended DATA (RFC 5321
//! §4.1.1.4); what it gives out does not depend on how the input is split; one pass.
//! Not here: what is refused because of what was seen (`smtp::session`).

use super::scan::{Masks, STEP, Walk};

pub use super::scan::Kernel;

#[cfg(test)]
pub(super) mod naive;
#[cfg(test)]
mod tests;

/// What becomes of CR and LF that are not together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareNewlines {
    /// Seen and reported; nothing is given out from there on: not a bare LF, and not what follows
    /// a bare CR, which is known to be one only then.
    Reject,
    /// Given out as CRLF; they still neither end data nor begin a line in which a dot is stuffing.
    Normalize,
}

/// What the decoder found at the front of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// Octets of the message, to be kept as they are. Borrowed from the input, or static.
    Octets(&'a [u8]),
    /// The end was consumed; what follows is the next command.
    End,
    /// The input is used up.
    NeedMore,
}

/// What there was in the octets given out (or, of bare newlines, in the input).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "three things, each of which may be seen")]
pub struct Seen {
    /// A CR without LF, or an LF without CR.
    pub bare_newline: bool,
    /// An octet above 127.
    pub eight_bit: bool,
    /// An octet 0.
    pub nul: bool,
    /// Octets of the longest line, its CRLF included; a line that has not ended counts as it is.
    pub longest_line: u64,
}

/// What was consumed and is not decided before the next octet comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    /// A dot at the start of a line.
    Dot,
    /// The same and a CR.
    DotCr,
    /// The data is over; nothing will be decided any more.
    End,
}

/// What is known of the octets in front of the input.
#[derive(Debug, Clone, Copy)]
struct Step {
    found: Masks,
    stuffed: u64,
    bad: u64,
    crlf: u64,
    /// Where there is still something to decide, none of it before `at`.
    stops: u64,
    /// Stops about which nothing has to be asked any more: dots, and octets to give out after them.
    plain: u64,
    /// The walk's `cr` and `start` before the step.
    before: (u64, u64),
    /// Octets of the step that are consumed.
    at: u32,
    /// Octets of the step that the walk has counted.
    counted: u32,
    /// Octets of the step, at most 64.
    length: u32,
}

const NO_STEP: Step = Step {
    found: Masks { cr: 0, lf: 0, dot: 0, nul: 0, high: 0 },
    stuffed: 0,
    bad: 0,
    crlf: 0,
    stops: 0,
    plain: 0,
    before: (0, 0),
    at: 0,
    counted: 0,
    length: 0,
};

/// As many newlines as a step can have bare LFs, and one more: of CRs the first may be given out.
static NEWLINES: [u8; 2 * STEP + 2] = {
    let mut newlines = [b'\r'; 2 * STEP + 2];
    let mut at = 1;
    while at < newlines.len() {
        newlines[at] = b'\n';
        at += 2;
    }
    newlines
};

/// Decodes one DATA body. Begins as if a CRLF had just been read.
#[derive(Debug, Clone)]
pub struct Decoder {
    kernel: Kernel,
    held: Held,
    /// After the last octet of `step`, but with only those of its octets counted that say so.
    walk: Walk,
    step: Step,
    bare: BareNewlines,
    bare_newline: bool,
    /// Nothing is given out any more; this is what was seen before.
    rejected: Option<Seen>,
}

impl Decoder {
    /// Before the first octet after `354`.
    pub fn new(bare: BareNewlines) -> Self {
        Self::with_kernel(bare, Kernel::best())
    }

    /// The same with a kernel that need not be the best, to compare them.
    pub fn with_kernel(bare: BareNewlines, kernel: Kernel) -> Self {
        let walk =
            Walk { cr: 0, start: 1, watch: !0, line: 0, longest: 0, nul: false, high: false };
        Self {
            kernel,
            held: Held::Nothing,
            walk,
            step: NO_STEP,
            bare,
            bare_newline: false,
            rejected: None,
        }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.rejected.unwrap_or_else(|| {
            let mut walk = self.walk;
            self.step.count(&mut walk);
            Seen {
                bare_newline: self.bare_newline,
                eight_bit: walk.high,
                nul: walk.nul,
                longest_line: walk.longest.max(walk.line),
            }
        })
    }

    /// Consumes from the front of `input`. What it leaves there must be in front next time.
    /// After [`Found::End`] the decoder is used up: it says so again and consumes nothing.
    #[inline]
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Found<'a> {
        // Of an attacker's body every fourth octet can be a stuffed dot: they must cost little.
        match self.line_after_dot(input) {
            Some(octets) => Found::Octets(octets),
            None => self.anything(input),
        }
    }

    /// What lies between a plain dot in front of `input` and the next stop, if both are known.
    #[inline]
    fn line_after_dot<'a>(&mut self, input: &mut &'a [u8]) -> Option<&'a [u8]> {
        let Step { stops, plain, at, .. } = self.step;
        let later = stops & stops.wrapping_sub(1);
        if (stops ^ later) & plain == 0 || later == 0 || stops.trailing_zeros() != at {
            return None;
        }
        let to = later.trailing_zeros();
        let (run, rest) = input.split_at_checked((to - at) as usize)?;
        self.step.stops = later;
        self.step.at = to;
        *input = rest;
        run.get(1..)
    }

    #[inline(never)]
    fn anything<'a>(&mut self, input: &mut &'a [u8]) -> Found<'a> {
        if self.held != Held::Nothing
            && let Some(found) = self.settle(input)
        {
            return found;
        }
        if self.step.left() > input.len() {
            self.step_back();
        }
        loop {
            let length = self.run(input);
            let (run, rest) = input.split_at(length);
            *input = rest;
            if length > 0 && self.rejected.is_none() {
                return Found::Octets(run);
            }
            if self.step.left() == 0 {
                return Found::NeedMore;
            }
            if let Some(found) = self.stop(input) {
                return found;
            }
        }
    }

    /// Decides what was held, if it can be decided.
    fn settle<'a>(&mut self, input: &mut &'a [u8]) -> Option<Found<'a>> {
        match (self.held, input.split_first()) {
            (Held::Nothing, _) => None,
            (Held::End, _) => Some(Found::End),
            (Held::Dot | Held::DotCr, None) => Some(Found::NeedMore),
            (Held::Dot, Some((b'\r', rest))) => {
                *input = rest;
                self.held = Held::DotCr;
                self.settle(input)
            }
            (Held::Dot, Some(_)) => {
                self.held = Held::Nothing;
                (self.walk.cr, self.walk.start) = (0, 0);
                None
            }
            (Held::DotCr, Some((b'\n', rest))) => {
                *input = rest;
                self.held = Held::End;
                Some(Found::End)
            }
            (Held::DotCr, Some(_)) => {
                self.held = Held::Nothing;
                (self.walk.cr, self.walk.start) = (1, 0);
                self.walk.line += 1;
                self.rejected.is_none().then_some(Found::Octets(b"\r"))
            }
        }
    }

    /// How many octets of `here` can be given out as they are. Goes over them.
    fn run(&mut self, here: &[u8]) -> usize {
        let mut length = self.free();
        while self.step.left() == 0 && length < here.len() {
            length += self.look(&here[length..]);
            length += self.free();
        }
        length
    }

    /// Goes over the octets of the step before its next stop. Their number.
    #[inline]
    fn free(&mut self) -> usize {
        let before = self.step.at;
        self.step.at = self.step.stops.trailing_zeros().min(self.step.length);
        self.step.count(&mut self.walk);
        self.step.counted = self.step.at;
        (self.step.at - before) as usize
    }

    /// Goes over the steps without a stop in front of `here`, then looks at the one that has one,
    /// or that is no whole one. How many octets it went over.
    fn look(&mut self, here: &[u8]) -> usize {
        let (steps, part) = here.as_chunks::<STEP>();
        let mut found = Masks::default();
        let passed = self.kernel.pass(steps, &mut self.walk, &mut found);
        let length = if passed < steps.len() { STEP } else { part.len() };
        if length == 0 {
            self.step = NO_STEP;
            return passed * STEP;
        }
        if length < STEP {
            let mut padded = [b' '; STEP];
            padded[..length].copy_from_slice(part);
            found = self.kernel.masks(&padded);
        }
        self.step = Step::new(found, length, &self.walk);
        self.walk.cr = found.cr >> (length - 1) & 1;
        self.walk.start = self.step.crlf >> (length - 1) & 1;
        passed * STEP
    }

    /// Decides about the stop in front of `input`. `None`: nothing is given out for it.
    #[inline]
    fn stop<'a>(&mut self, input: &mut &'a [u8]) -> Option<Found<'a>> {
        if self.step.bad >> self.step.at & 1 != 0 {
            return self.bare_newline(input);
        }
        match input {
            // RFC 5321 §4.5.2: a line that is only a dot is the end, …
            [_, b'\r', b'\n', rest @ ..] => {
                self.finish(Held::End);
                *input = rest;
                return Some(Found::End);
            }
            [] | [_] | [_, b'\r'] => {
                self.finish(if input.len() == 2 { Held::DotCr } else { Held::Dot });
                *input = &[];
            }
            // … and in front of anything else the dot is not the sender's.
            [_, rest @ ..] => {
                *input = rest;
                self.step.consume(1);
            }
        }
        None
    }

    fn finish(&mut self, held: Held) {
        self.held = held;
        self.step = NO_STEP;
    }

    /// A bare LF is in front of `input`, or what follows a bare CR that was given out.
    fn bare_newline<'a>(&mut self, input: &mut &'a [u8]) -> Option<Found<'a>> {
        self.bare_newline = true;
        let Step { found, bad, at, .. } = self.step;
        match self.bare {
            BareNewlines::Reject => {
                self.rejected = Some(self.seen());
                self.walk.watch = 0;
                self.step.stops &= !(bad | self.step.plain);
                self.step.plain = 0;
                None
            }
            BareNewlines::Normalize => {
                let lfs = ((bad & found.lf) >> at).trailing_ones();
                // CRs that follow the bare one; whether the last of them is bare is not known.
                let crs = ((bad & found.cr) >> at).trailing_ones();
                let (octets, consumed) = if lfs > 0 {
                    self.walk.longest = self.walk.longest.max(self.walk.line + 2);
                    self.walk.line = 0;
                    (&NEWLINES[..2 * lfs as usize], lfs)
                } else {
                    self.walk.longest = self.walk.longest.max(self.walk.line + 1);
                    self.walk.line = u64::from(crs.min(1));
                    (&NEWLINES[1..][..(2 * crs as usize).max(1)], crs)
                };
                self.step.stops &= !(1 << at);
                self.step.consume(consumed);
                *input = &input[consumed as usize..];
                Some(Found::Octets(octets))
            }
        }
    }

    /// Forgets the step, because the input has become shorter than what is known of it.
    #[cold]
    fn step_back(&mut self) {
        let Step { found, bad, crlf, stops, before, at, .. } = self.step;
        self.step.count(&mut self.walk);
        (self.walk.cr, self.walk.start) = match at.checked_sub(1) {
            Some(last) => (found.cr >> last & 1, crlf >> last & 1),
            None => before,
        };
        // A bare CR before this octet that was completed is so no more.
        if bad >> at & 1 != 0 && stops >> at & 1 == 0 {
            self.walk.cr = 0;
        }
        self.step = NO_STEP;
    }
}

impl Step {
    /// What is to be known of a step of `length` octets, 1 to 64, before which `walk` is.
    #[inline]
    fn new(found: Masks, length: usize, walk: &Walk) -> Self {
        // What follows the step, be it padding, follows nothing in it.
        let inside = u64::MAX >> (STEP - length);
        let all = walk.stops(&found);
        let stops = (all.stuffed | (all.bad & walk.watch)) & inside;
        let (cr, lf) = (found.cr >> 1, found.lf >> 2);
        let is_end = cr & lf;
        // Whether a dot is the end is known when the two octets after it are, or one and no CR.
        let decided = ((inside >> 1) & !cr) | ((inside >> 2) & !is_end);
        let plain = all.stuffed & decided & !(stops >> 1);
        let mut step = Self {
            found,
            stuffed: all.stuffed,
            bad: all.bad,
            crlf: all.crlf,
            stops,
            plain: plain & walk.watch,
            before: (walk.cr, walk.start),
            length: u32::try_from(length).unwrap_or(0),
            ..NO_STEP
        };
        // When nothing is given out any more, a dot that is not the end is of no interest.
        if walk.watch == 0 {
            step.stops &= !plain;
        }
        step
    }

    /// Octets that are not consumed.
    #[inline]
    fn left(&self) -> usize {
        (self.length - self.at) as usize
    }

    /// Counts the octets that were given out and are not counted yet.
    #[inline]
    fn count(&self, walk: &mut Walk) {
        let Self { found, stuffed, counted, at, .. } = self;
        if counted == at {
            return;
        }
        let below = u64::MAX >> (u64::BITS - at);
        walk.count((found.lf & below) >> counted, (stuffed & below) >> counted, at - counted);
        walk.nul |= (found.nul & below) >> counted != 0;
        walk.high |= (found.high & below) >> counted != 0;
    }

    /// `octets` that had been stopped at are done, and counted otherwise if at all.
    #[inline]
    fn consume(&mut self, octets: u32) {
        self.at += octets;
        self.counted = self.at;
        self.stops &= u64::MAX.checked_shl(self.at).unwrap_or(0);
    }
}
