//! ftp::listing – lines of LIST, NLST, MLSD and MLST.
//!
//! One call appends one line; no line is put together anywhere else and moved here. The form of
//! LIST is the one every client since 4.2BSD parses; NLST is names and nothing else (RFC 1123
//! §4.1.2.7); MLSD and MLST are facts (RFC 3659 §7).
//!
//! Promises: a line is whole or missing; a name is sent as it is stored, octet for octet.
//! Not here: reading directories, sorting, wildcards, what an account may see.

use super::calendar;
use super::step::{Entry, EntryKind, Facts, ListForm, UnixTime};
use crate::wire::ascii::push_decimal;

/// The facts we know, by bit, in the order of FEAT and of every line (RFC 3659 §7.5).
pub const FACT_NAMES: [(Facts, &str); 6] = [
    (Facts::TYPE, "type"),
    (Facts::SIZE, "size"),
    (Facts::MODIFY, "modify"),
    (Facts::PERM, "perm"),
    (Facts::UNIQUE, "unique"),
    (Facts::UNIX_MODE, "UNIX.mode"),
];

/// Appends the line of one entry, CRLF included. Appends nothing when the name cannot be sent
/// (CR or LF in it: RFC 3659 §2.2 lets such names be omitted), or MLSD cannot describe it.
///
/// `prefix` precedes the name in NLST only, so that what is listed can be given to RETR; see
/// [`super::step::ListOptions::prefix`]. NLST leaves out `.` and `..`, but not directories: clients
/// walk trees with it.
pub fn line(form: ListForm, entry: &Entry, prefix: &[u8], now: UnixTime, out: &mut Vec<u8>) {
    if entry.name.is_empty() || breaks_lines(&entry.name) {
        return;
    }
    match form {
        ListForm::Long => long(entry, now, out),
        ListForm::Names => {
            if matches!(entry.kind, EntryKind::Current | EntryKind::Parent) || breaks_lines(prefix)
            {
                return;
            }
            out.extend_from_slice(prefix);
            out.extend_from_slice(&entry.name);
        }
        ListForm::Machine(selected) => {
            facts(selected, entry, out);
            out.extend_from_slice(&entry.name);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the facts and one space, without a name (MLST puts the pathname itself).
pub fn facts(facts: Facts, entry: &Entry, out: &mut Vec<u8>) {
    if facts.contains(Facts::TYPE) {
        out.extend_from_slice(match entry.kind {
            EntryKind::File => b"type=file;",
            EntryKind::Directory => b"type=dir;",
            EntryKind::Current => b"type=cdir;",
            EntryKind::Parent => b"type=pdir;",
            EntryKind::Link => b"type=OS.unix=slink;",
            EntryKind::Other => b"type=OS.unix=special;",
        });
    }
    // RFC 3659 §7.5.7: the size of what is no file says nothing about a transfer.
    if facts.contains(Facts::SIZE) && entry.kind == EntryKind::File {
        out.extend_from_slice(b"size=");
        push_decimal(entry.size_bytes, 1, b'0', out);
        out.push(b';');
    }
    if facts.contains(Facts::MODIFY) {
        let start = out.len();
        out.extend_from_slice(b"modify=");
        if calendar::push_time_val(entry.modified, out) {
            out.push(b';');
        } else {
            out.truncate(start);
        }
    }
    if facts.contains(Facts::PERM) {
        permissions(entry, out);
    }
    if facts.contains(Facts::UNIQUE) {
        out.extend_from_slice(b"unique=");
        push_hexadecimal(entry.unique.0, out);
        out.push(b'.');
        push_hexadecimal(entry.unique.1, out);
        out.push(b';');
    }
    if facts.contains(Facts::UNIX_MODE) {
        out.extend_from_slice(b"UNIX.mode=");
        for shift in [9, 6, 3, 0] {
            out.push(b"01234567"[(entry.mode >> shift & 7) as usize]);
        }
        out.push(b';');
    }
    out.push(b' ');
}

/// `-rw-r--r--   1 ftp      ftp             5 Mon DD HH:MM name -> target`
fn long(entry: &Entry, now: UnixTime, out: &mut Vec<u8>) {
    // `ls` shows a link as a link, wherever it leads; clients that mirror rely on it.
    let target = entry.link_target.as_deref().filter(|target| !breaks_lines(target));
    let link = entry.link_target.is_some() || entry.kind == EntryKind::Link;
    out.push(match entry.kind {
        _ if link => b'l',
        EntryKind::File | EntryKind::Link => b'-',
        EntryKind::Directory | EntryKind::Current | EntryKind::Parent => b'd',
        EntryKind::Other => b's',
    });
    push_mode(if link { 0o777 } else { entry.mode }, out);
    out.push(b' ');
    push_decimal(entry.links, 3, b' ', out);
    // Who owns a file on this machine is nobody's business.
    out.extend_from_slice(b" ftp      ftp      ");
    push_decimal(entry.size_bytes, 12, b' ', out);
    out.push(b' ');
    calendar::push_list_date(entry.modified, now, out);
    out.push(b' ');
    out.extend_from_slice(&entry.name);
    if let Some(target) = target {
        out.extend_from_slice(b" -> ");
        out.extend_from_slice(target);
    }
}

/// `rwxr-xr-x`, with the sticky and set-id bits as `ls` shows them.
fn push_mode(mode: u32, out: &mut Vec<u8>) {
    let mut text = [b'-'; 9];
    for (at, letter) in text.iter_mut().enumerate() {
        if mode & (0o400 >> at) != 0 {
            *letter = b"rwx"[at % 3];
        }
    }
    for (at, bit, letter) in [(2, 0o4000, b's'), (5, 0o2000, b's'), (8, 0o1000, b't')] {
        if mode & bit != 0 {
            text[at] = if text[at] == b'x' { letter } else { letter.to_ascii_uppercase() };
        }
    }
    out.extend_from_slice(&text);
}

/// `perm=…;`: what this account may do (RFC 3659 §7.5.5).
fn permissions(entry: &Entry, out: &mut Vec<u8>) {
    out.extend_from_slice(b"perm=");
    let (reads, changes, makes): (&[u8], &[u8], &[u8]) = match entry.kind {
        // a: APPE, d: DELE, f: RNFR, r: RETR, w: STOR.
        EntryKind::File => (b"r", b"adfw", b""),
        // e: CWD, l: LIST, d: RMD, f: RNFR, c: STOR, m: MKD, p: DELE inside.
        EntryKind::Directory | EntryKind::Current | EntryKind::Parent => (b"el", b"df", b"c"),
        EntryKind::Link | EntryKind::Other => (b"", b"df", b""),
    };
    for (may, letters) in
        [(entry.writable, changes), (entry.readable, reads), (entry.creatable, makes)]
    {
        if may {
            out.extend_from_slice(letters);
        }
    }
    if entry.managed && !makes.is_empty() {
        out.extend_from_slice(b"mp");
    }
    out.push(b';');
}

fn push_hexadecimal(value: u64, out: &mut Vec<u8>) {
    let digits = (64 - value.leading_zeros()).div_ceil(4).max(1);
    for at in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(value >> (at * 4) & 15) as usize]);
    }
}

/// Would this name be more than one line?
fn breaks_lines(name: &[u8]) -> bool {
    memchr::memchr2(b'\r', b'\n', name).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> Entry {
        Entry {
            name: b"boot.img".to_vec(),
            kind: EntryKind::File,
            size_bytes: 1_474_560,
            modified: UnixTime(1_699_999_999),
            mode: 0o644,
            links: 1,
            unique: (0x801, 0xbeef),
            link_target: None,
            writable: false,
            readable: true,
            creatable: false,
            managed: false,
        }
    }

    fn show(form: ListForm, entry: &Entry) -> String {
        let mut out = Vec::new();
        line(form, entry, b"pub/", UnixTime(1_700_000_000), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn long_lines_have_the_shape_of_ls() {
        let file = entry();
        assert_eq!(
            show(ListForm::Long, &file),
            "-rw-r--r--   1 ftp      ftp           1474560 Nov 14 22:13 boot.img\r\n"
        );
        let directory = Entry { kind: EntryKind::Directory, mode: 0o1755, ..entry() };
        assert!(show(ListForm::Long, &directory).starts_with("drwxr-xr-t   1 ftp"));
        let link = Entry { link_target: Some(b"../x y".to_vec()), ..entry() };
        let shown = show(ListForm::Long, &link);
        assert!(shown.starts_with("lrwxrwxrwx") && shown.ends_with(" boot.img -> ../x y\r\n"));
        let special = Entry { kind: EntryKind::Other, mode: 0o6644, ..entry() };
        assert!(show(ListForm::Long, &special).starts_with("srwSr-Sr--"));
    }

    #[test]
    fn names_carry_their_prefix_and_nothing_else() {
        assert_eq!(show(ListForm::Names, &entry()), "pub/boot.img\r\n");
        assert_eq!(show(ListForm::Names, &Entry { kind: EntryKind::Current, ..entry() }), "");
    }

    #[test]
    fn facts_are_those_selected() {
        let all = ListForm::Machine(Facts::ALL);
        assert_eq!(
            show(all, &entry()),
            "type=file;size=1474560;modify=20231114221319;perm=r;unique=801.beef;UNIX.mode=0644; boot.img\r\n"
        );
        let directory = Entry {
            kind: EntryKind::Directory,
            mode: 0o755,
            writable: true,
            creatable: true,
            managed: true,
            ..entry()
        };
        assert_eq!(
            show(all, &directory),
            "type=dir;modify=20231114221319;perm=dfelcmp;unique=801.beef;UNIX.mode=0755; boot.img\r\n"
        );
        assert_eq!(show(ListForm::Machine(Facts(0)), &entry()), " boot.img\r\n");
        assert_eq!(show(ListForm::Machine(Facts::SIZE), &entry()), "size=1474560; boot.img\r\n");
    }

    #[test]
    fn names_that_would_break_a_line_are_left_out() {
        for name in [&b"a\nb"[..], b"a\r\nb", b"\r", b""] {
            let odd = Entry { name: name.to_vec(), ..entry() };
            for form in [ListForm::Long, ListForm::Names, ListForm::Machine(Facts::ALL)] {
                assert_eq!(show(form, &odd), "");
            }
        }
    }

    proptest! {
        #[test]
        fn facts_parse_back(
            name in prop::collection::vec(1_u8.., 1..20),
            size_bytes: u64, seconds in -62_167_219_200_i64..=253_402_300_799,
            mode in 0_u32..=0o7777, unique: (u64, u64), bits in 0_u16..64,
        ) {
            let one = Entry {
                name, size_bytes, modified: UnixTime(seconds), mode, unique, ..entry()
            };
            let mut out = Vec::new();
            line(ListForm::Machine(Facts(bits)), &one, b"", UnixTime(0), &mut out);
            prop_assume!(!breaks_lines(&one.name));
            let space = memchr::memchr(b' ', &out).unwrap();
            prop_assert_eq!(&out[space + 1..], [&one.name[..], b"\r\n"].concat());
            let text = std::str::from_utf8(&out[..space]).unwrap();
            prop_assert!(text.is_empty() || text.ends_with(';'));
            let found: Vec<(&str, &str)> =
                text.split_terminator(';').map(|fact| fact.split_once('=').unwrap()).collect();
            let names: Vec<&str> = FACT_NAMES.iter().filter(|(bit, _)| Facts(bits).contains(*bit))
                .map(|(_, name)| *name).collect();
            prop_assert_eq!(found.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
            for (name, value) in found {
                match name {
                    "size" => prop_assert_eq!(value.parse(), Ok(size_bytes)),
                    "modify" => prop_assert_eq!(calendar::parse_time_val(value.as_bytes()), Some(UnixTime(seconds))),
                    "UNIX.mode" => prop_assert_eq!(u32::from_str_radix(value, 8), Ok(mode)),
                    "unique" => prop_assert_eq!(value, format!("{:x}.{:x}", unique.0, unique.1)),
                    _ => {}
                }
            }
        }

        #[test]
        fn a_long_line_is_one_line(name in prop::collection::vec(any::<u8>(), 0..20), mode: u32, seconds: i64, now: i64) {
            let one = Entry { name, mode, modified: UnixTime(seconds), ..entry() };
            let mut out = Vec::new();
            line(ListForm::Long, &one, b"", UnixTime(now), &mut out);
            prop_assert!(out.is_empty() || (out.ends_with(b"\r\n") && memchr::memchr_iter(b'\n', &out).count() == 1));
        }
    }
}
