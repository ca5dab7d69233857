//! wire::scan – looks at 64 octets per step: CR, LF, dots, NUL, octets above 127, lengths of lines.
//!
//! A kernel answers one question, "which of these 64 octets are …", as bits of a `u64`, octet 0 in
//! bit 0. What follows from the bits is said once, in [`Walk`], and holds for every kernel:
//!
//! ```text
//! octets   x CR LF .  x  .  CR x  LF
//! cr<<1    .  . 1  .  .  .  .  1  .       the octet before is a CR
//! lf       .  . 1  .  .  .  .  .  1
//! bad      .  . .  .  .  .  .  1  1       one without the other: a bare CR ended, or a bare LF
//! stuffed  .  . .  1  .  .  .  .  .       a dot after both
//! ```
//! Promises: the best kernel of the processor is chosen once per process; all give the same bits.
//! Not here: what becomes of a dot or of a bare newline (`wire::data`).

use std::sync::OnceLock;

/// Octets per step.
pub(super) const STEP: usize = 64;

/// Which of 64 octets are what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Masks {
    pub(super) cr: u64,
    pub(super) lf: u64,
    pub(super) dot: u64,
    pub(super) nul: u64,
    pub(super) high: u64,
}

/// What the octets so far mean for the next, and what was counted of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walk {
    /// 1 when the octet before is a CR, else 0.
    pub(super) cr: u64,
    /// 1 when the two octets before are CRLF, else 0.
    pub(super) start: u64,
    /// All ones when bare newlines are to be stopped at, else 0.
    pub(super) watch: u64,
    /// Octets of the line that has begun.
    pub(super) line: u64,
    /// Octets of the longest line that has ended; may include a part of the one that has not.
    pub(super) longest: u64,
    /// There was an octet 0.
    pub(super) nul: bool,
    /// There was an octet above 127.
    pub(super) high: bool,
}

/// Where to stop in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stops {
    /// Dots at the beginning of a line.
    pub(super) stuffed: u64,
    /// A bare LF, or the octet after a bare CR. Never a bit of `stuffed`.
    pub(super) bad: u64,
    /// LF of a CRLF.
    pub(super) crlf: u64,
}

impl Walk {
    #[inline(always)]
    pub(super) fn stops(&self, found: &Masks) -> Stops {
        let after_cr = found.cr << 1 | self.cr;
        let crlf = after_cr & found.lf;
        Stops { stuffed: (crlf << 1 | self.start) & found.dot, bad: after_cr ^ found.lf, crlf }
    }

    /// Goes over 64 octets if there is nothing to stop at; otherwise nothing changes.
    #[inline(always)]
    fn passes(&mut self, found: &Masks) -> bool {
        let stops = self.stops(found);
        if stops.stuffed | (stops.bad & self.watch) != 0 {
            return false;
        }
        // Without branches where there are none in the octets: `lf << 1` has its lowest bit at the
        // length of the first line, and none, 64, when the line goes on (or ends with the step).
        let first = u64::from((found.lf << 1).trailing_zeros());
        self.longest = self.longest.max(self.line + first);
        if self.longest < 64 {
            self.longest = longest_within(found.lf, self.longest);
        }
        let begun = if found.lf == 0 { self.line } else { 0 };
        self.line = begun + u64::from(found.lf.leading_zeros());
        self.cr = found.cr >> 63;
        self.start = stops.crlf >> 63;
        true
    }

    /// Counts `octets`, at most 64, less the dots at beginnings of lines among them, `dots`.
    /// Neither mask has bits beyond the octets.
    #[inline]
    pub(super) fn count(&mut self, mut lf: u64, mut dots: u64, mut octets: u32) {
        if dots & 1 != 0 {
            lf >>= 1;
            dots >>= 1;
            octets -= 1;
        }
        if lf == 0 {
            self.line += u64::from(octets);
            return;
        }
        self.longest = self.longest.max(self.line + u64::from(lf.trailing_zeros()) + 1);
        // A dot that is not counted ends an empty line, as it were, after the LF before it.
        let ends = lf | dots;
        if self.longest < u64::from(octets) {
            self.longest = longest_within(ends, self.longest);
        }
        self.line = u64::from(octets + ends.leading_zeros() - u64::BITS);
    }
}

/// The longest of `longest`, at least 1, and the lines that lie between the first and the last end.
#[inline]
fn longest_within(ends: u64, longest: u64) -> u64 {
    // Octets there that are no end: a run of n of them is a line of n + 1.
    let from_first = ends.wrapping_neg();
    let to_last = u64::MAX.checked_shr(ends.leading_zeros()).unwrap_or(0);
    let mut runs = from_first & to_last & !ends;
    // What remains are the ends of runs of `longest`; mostly none, and found out in a few shifts,
    // however many lines there are.
    let mut have = 1;
    while 2 * have <= longest {
        runs &= runs << have;
        have *= 2;
    }
    runs &= runs << (longest - have);
    let mut longest = longest;
    while runs != 0 {
        longest += 1;
        runs &= runs << 1;
    }
    longest
}

/// A way to look at 64 octets that this processor has.
///
/// There is no value for an instruction set that is not there: that is what makes calls sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Kernel {
    /// The best one, found out once per process.
    pub fn best() -> Self {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| Self::available()[0])
    }

    /// All that this processor has, the best first; the portable one is always the last.
    pub fn available() -> Vec<Self> {
        let mut sets = Vec::with_capacity(3);
        #[cfg(target_arch = "x86_64")]
        {
            let bits = is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("lzcnt");
            if bits && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                sets.push(Self(Set::Avx512));
            }
            if bits && is_x86_feature_detected!("avx2") {
                sets.push(Self(Set::Avx2));
            }
        }
        sets.push(Self(Set::Portable));
        sets
    }

    /// "AVX-512", "AVX2" or "portable".
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "AVX2",
            Set::Portable => "portable",
        }
    }

    /// Walks over the steps in front that have nothing to stop at. Their number; `found` is what
    /// is where in the step after them, if there is one.
    #[inline(always)]
    pub(super) fn pass(self, steps: &[[u8; STEP]], walk: &mut Walk, found: &mut Masks) -> usize {
        match self.0 {
            // SAFETY: a value `Avx512` is made only where `available` found its features.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { avx512::pass(steps, walk, found) },
            // SAFETY: a value `Avx2` is made only where `available` found its features.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { avx2::pass(steps, walk, found) },
            Set::Portable => portable::pass(steps, walk, found),
        }
    }

    /// What is where in one step.
    #[inline(always)]
    pub(super) fn masks(self, step: &[u8; STEP]) -> Masks {
        match self.0 {
            // SAFETY: a value `Avx512` is made only where `available` found its features.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { avx512::masks(step) },
            // SAFETY: a value `Avx2` is made only where `available` found its features.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { avx2::masks(step) },
            Set::Portable => portable::masks(step),
        }
    }
}

/// One register holds a step, and a comparison is a mask at once.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512i, _mm512_cmpeq_epi8_mask, _mm512_loadu_si512, _mm512_min_epu8, _mm512_movepi8_mask,
        _mm512_or_si512, _mm512_set1_epi8, _mm512_setzero_si512, _mm512_testn_epi8_mask,
    };

    use super::{Masks, STEP, Walk};

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn load(step: &[u8; STEP]) -> __m512i {
        // SAFETY: 64 octets are readable there; the load needs no alignment.
        unsafe { _mm512_loadu_si512(step.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn newlines_and_dots(octets: __m512i) -> Masks {
        Masks {
            cr: _mm512_cmpeq_epi8_mask(octets, _mm512_set1_epi8(13)),
            lf: _mm512_cmpeq_epi8_mask(octets, _mm512_set1_epi8(10)),
            dot: _mm512_cmpeq_epi8_mask(octets, _mm512_set1_epi8(46)),
            ..Masks::default()
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn all(octets: __m512i) -> Masks {
        Masks {
            nul: _mm512_testn_epi8_mask(octets, octets),
            high: _mm512_movepi8_mask(octets),
            ..newlines_and_dots(octets)
        }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn masks(step: &[u8; STEP]) -> Masks {
        all(load(step))
    }

    /// Twin of `portable::pass`. NUL and high octets are gathered as least and united octets.
    #[target_feature(enable = "avx512f,avx512bw,bmi1,lzcnt")]
    pub(super) fn pass(steps: &[[u8; STEP]], walk: &mut Walk, found: &mut Masks) -> usize {
        let (mut now, mut passed) = (*walk, 0);
        let (mut least, mut united) = (_mm512_set1_epi8(-1), _mm512_setzero_si512());
        for step in steps {
            let octets = load(step);
            if !now.passes(&newlines_and_dots(octets)) {
                *found = all(octets);
                break;
            }
            least = _mm512_min_epu8(least, octets);
            united = _mm512_or_si512(united, octets);
            passed += 1;
        }
        now.nul |= _mm512_testn_epi8_mask(least, least) != 0;
        now.high |= _mm512_movepi8_mask(united) != 0;
        *walk = now;
        passed
    }
}

/// Two registers hold a step.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8,
        _mm256_or_si256, _mm256_set1_epi8, _mm256_setzero_si256,
    };

    use super::{Masks, STEP, Walk};

    type Octets = (__m256i, __m256i);

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(step: &[u8; STEP]) -> Octets {
        let (low, high) = step.split_at(STEP / 2);
        // SAFETY: 32 octets are readable there; the load needs no alignment.
        let low = unsafe { _mm256_loadu_si256(low.as_ptr().cast()) };
        // SAFETY: 32 octets are readable there; the load needs no alignment.
        let high = unsafe { _mm256_loadu_si256(high.as_ptr().cast()) };
        (low, high)
    }

    /// The highest bit of every octet.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn tops((low, high): Octets) -> u64 {
        let top = |half: __m256i| u64::from(_mm256_movemask_epi8(half).cast_unsigned());
        top(low) | top(high) << 32
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn equal((low, high): Octets, octet: i8) -> u64 {
        let wanted = _mm256_set1_epi8(octet);
        tops((_mm256_cmpeq_epi8(low, wanted), _mm256_cmpeq_epi8(high, wanted)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn newlines_and_dots(octets: Octets) -> Masks {
        Masks {
            cr: equal(octets, 13),
            lf: equal(octets, 10),
            dot: equal(octets, 46),
            ..Masks::default()
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn all(octets: Octets) -> Masks {
        Masks { nul: equal(octets, 0), high: tops(octets), ..newlines_and_dots(octets) }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn masks(step: &[u8; STEP]) -> Masks {
        all(load(step))
    }

    /// Twin of `portable::pass`. NUL and high octets are gathered as least and united octets.
    #[target_feature(enable = "avx2,bmi1,lzcnt")]
    pub(super) fn pass(steps: &[[u8; STEP]], walk: &mut Walk, found: &mut Masks) -> usize {
        let (mut now, mut passed) = (*walk, 0);
        let (mut least, mut united) = (_mm256_set1_epi8(-1), _mm256_setzero_si256());
        for step in steps {
            let octets = load(step);
            if !now.passes(&newlines_and_dots(octets)) {
                *found = all(octets);
                break;
            }
            least = _mm256_min_epu8(least, _mm256_min_epu8(octets.0, octets.1));
            united = _mm256_or_si256(united, _mm256_or_si256(octets.0, octets.1));
            passed += 1;
        }
        now.nul |= equal((least, least), 0) != 0;
        now.high |= tops((united, united)) != 0;
        *walk = now;
        passed
    }
}

/// Eight octets in a `u64`, for every other processor; the safe twin of the two above.
mod portable {
    use super::{Masks, STEP, Walk};

    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);

    /// The top bit of each octet that is `octet`, exactly.
    #[inline]
    fn equal(word: u64, octet: u8) -> u64 {
        let differs = word ^ (ONES * u64::from(octet));
        !(((differs & !TOPS) + !TOPS) | differs | !TOPS)
    }

    /// Top bits of eight octets, side by side.
    #[inline]
    fn gather(tops: u64) -> u64 {
        (tops >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    }

    /// Whether an octet is below 14: CR, LF and NUL are, and little else that mail is made of.
    #[inline]
    fn has_control(word: u64) -> bool {
        word.wrapping_sub(ONES * 14) & !word & TOPS != 0
    }

    #[inline]
    pub(super) fn masks(step: &[u8; STEP]) -> Masks {
        let mut found = Masks::default();
        for (number, octets) in step.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*octets);
            let shift = 8 * number;
            if has_control(word) {
                found.cr |= gather(equal(word, b'\r')) << shift;
                found.lf |= gather(equal(word, b'\n')) << shift;
                found.nul |= gather(equal(word, 0)) << shift;
            }
            found.dot |= gather(equal(word, b'.')) << shift;
            found.high |= gather(word & TOPS) << shift;
        }
        found
    }

    pub(super) fn pass(steps: &[[u8; STEP]], walk: &mut Walk, found: &mut Masks) -> usize {
        let (mut now, mut passed) = (*walk, 0);
        for step in steps {
            let here = masks(step);
            if !now.passes(&here) {
                *found = here;
                break;
            }
            now.nul |= here.nul != 0;
            now.high |= here.high != 0;
            passed += 1;
        }
        *walk = now;
        passed
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
