//! wire::scan::tests – the kernels against one another and against octets looked at one by one.

use super::*;

fn one_by_one(step: &[u8; STEP]) -> Masks {
    let bits = |is: fn(u8) -> bool| {
        (0..STEP).filter(|at| is(step[*at])).fold(0_u64, |bits, at| bits | 1 << at)
    };
    Masks {
        cr: bits(|octet| octet == b'\r'),
        lf: bits(|octet| octet == b'\n'),
        dot: bits(|octet| octet == b'.'),
        nul: bits(|octet| octet == 0),
        high: bits(|octet| octet > 127),
    }
}

/// Small, and good enough for choosing octets (xorshift).
fn random(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    state.to_be_bytes()[2]
}

#[test]
fn every_octet_at_every_place() {
    for kernel in Kernel::available() {
        for filling in [b'x', b'\r', b'\n', b'.', 0, 1, 0x0e, 0x80, 0xff, 0x8d] {
            for octet in 0..=u8::MAX {
                for at in 0..STEP {
                    let mut step = [filling; STEP];
                    step[at] = octet;
                    assert_eq!(kernel.masks(&step), one_by_one(&step), "{kernel:?} {step:?}");
                }
            }
        }
    }
}

#[test]
fn random_steps() {
    let mut state = 0x5eed_0004;
    for _ in 0..20_000 {
        let mut step = [0; STEP];
        let narrow = random(&mut state) & 1 == 0;
        step.fill_with(|| {
            let octet = random(&mut state);
            if narrow { b"\r\n.\0x\xff\x0e\x0b"[usize::from(octet & 7)] } else { octet }
        });
        let expected = one_by_one(&step);
        for kernel in Kernel::available() {
            assert_eq!(kernel.masks(&step), expected, "{kernel:?} {step:?}");
        }
    }
}

/// All kernels stop at the same step, having counted the same.
#[test]
fn all_pass_alike() {
    let mut state = 0x5eed_0005;
    for round in 0..20_000 {
        let mut steps = [[b'x'; STEP]; 5];
        let octets = steps.as_flattened_mut();
        for _ in 0..random(&mut state) % 24 {
            let at = (usize::from(random(&mut state)) * 2) % (octets.len() - 1);
            match random(&mut state) % 16 {
                0 => octets[at] = 0,
                1 => octets[at] = 0xc3,
                2 => octets[at] = b'.',
                3 if round % 2 == 0 => octets[at] = b'\r',
                4 if round % 2 == 0 => octets[at] = b'\n',
                _ => octets[at..at + 2].copy_from_slice(b"\r\n"),
            }
        }
        for watch in [0, u64::MAX] {
            for (cr, start) in [(0, 0), (1, 0), (0, 1)] {
                let before =
                    Walk { cr, start, watch, line: 7, longest: 9, nul: false, high: false };
                let outcomes: Vec<_> = Kernel::available()
                    .into_iter()
                    .map(|kernel| {
                        let mut walk = before;
                        let mut found = Masks::default();
                        let passed = kernel.pass(&steps, &mut walk, &mut found);
                        let after = steps.get(passed).map(one_by_one).unwrap_or_default();
                        assert_eq!(found, after, "{kernel:?} {steps:?}");
                        (passed, walk)
                    })
                    .collect();
                assert!(outcomes.windows(2).all(|two| two[0] == two[1]), "{steps:?} {outcomes:?}");
            }
        }
    }
}

#[test]
fn the_portable_kernel_is_always_there_and_the_best_is_first() {
    let available = Kernel::available();
    assert_eq!(available.last().map(|kernel| kernel.name()), Some("portable"));
    assert_eq!(available.first(), Some(&Kernel::best()));
}
