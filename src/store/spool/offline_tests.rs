//! store::spool::offline tests: logs made by hand, read, damaged, appended to.

use super::*;

struct Made {
    directory: tempfile::TempDir,
}

type Item<'a> = (Kind, u64, &'a [u8], &'a [u8]);

impl Made {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("FORMAT"), FORMAT_LINE).unwrap();
        fs::create_dir_all(directory.path().join("shard-1/large")).unwrap();
        Self { directory }
    }

    fn spool(&self) -> &Path {
        self.directory.path()
    }

    fn log(&self) -> PathBuf {
        self.spool().join("shard-1")
    }

    /// One batch for each slice of items.
    fn segment(&self, number: u64, generation: u64, batches: &[&[Item<'_>]]) -> PathBuf {
        let header = SegmentHeader {
            shard: 1,
            number,
            generation,
            salt: 7 + number,
            bytes: 65536,
            last_id: 0,
        };
        let mut octets = header.encode().to_vec();
        octets.resize(4096, 0);
        for batch in batches {
            let begin = octets.len();
            for (kind, id, meta, body) in *batch {
                let (position, batch) = (octets.len() as u64, begin as u64);
                let record = Record { kind: *kind, id: QueueId(*id), position, batch, meta, body };
                octets.extend(format::encode_header(&header, &record));
                octets.extend(*meta);
                octets.extend(*body);
                octets.resize(octets.len().next_multiple_of(8), 0);
            }
            octets.resize(octets.len().next_multiple_of(4096), 0);
        }
        octets.resize(65536, 0);
        let path = self.log().join(format!("{number:08}.seg"));
        fs::write(&path, octets).unwrap();
        path
    }

    fn read(&self) -> Log {
        let (mut logs, faults) = read(self.spool()).unwrap();
        assert_eq!((logs.len(), faults.len()), (1, 0), "{faults:?}");
        logs.pop().unwrap()
    }
}

fn ids(log: &Log) -> Vec<u64> {
    log.messages.keys().map(|id| id.0).collect()
}

fn grades(log: &Log) -> Vec<(Grade, Option<u64>)> {
    log.faults.iter().map(|fault| (fault.grade, fault.offset)).collect()
}

fn content(log: &Log, id: u64) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    log.copy(QueueId(id), &log.messages[&QueueId(id)], &mut octets)?;
    Ok(octets)
}

#[test]
fn a_sound_log_is_read_whole() {
    let made = Made::new();
    let large = b"a large message";
    fs::write(made.log().join("large").join(QueueId(3).to_string()), large).unwrap();
    let pointer = format::pointer_body(15, crc32c::crc32c(large));
    made.segment(1, 2, &[&[(Kind::Note, 1, b"n", b""), (Kind::Settled, 2, b"", b"")]]);
    made.segment(
        2,
        1,
        &[
            &[(Kind::Message, 1, b"one", b"body 1"), (Kind::Message, 2, b"two", b"body 2")],
            &[(Kind::Pointer, 3, b"three", &pointer)],
        ],
    );
    made.segment(3, 4, &[]);
    let log = made.read();
    assert_eq!((ids(&log), log.free, log.segments.len()), (vec![1, 3], 1, 3));
    assert!(log.faults.is_empty(), "{:?}", log.faults);
    assert_eq!(log.messages[&QueueId(1)].notes, [b"n"]);
    assert_eq!(
        (content(&log, 1).unwrap(), content(&log, 3).unwrap()),
        (b"body 1".into(), large.into())
    );
    assert_eq!(log.bytes, 3 * 65536 + 15);
    let (file, offset) = log.place(&log.messages[&QueueId(1)]).unwrap();
    assert_eq!((file, offset), (made.log().join("00000002.seg").as_path(), 4096));
}

#[test]
fn damage_is_found_where_it_is() {
    let made = Made::new();
    let one: Item<'_> = (Kind::Message, 1, b"one", b"body");
    let two: Item<'_> = (Kind::Message, 2, b"two", b"body");
    let path = made.segment(1, 1, &[&[one], &[two]]);
    let sound = fs::read(&path).unwrap();
    // Every octet of the first record, one at a time, is missed when it changes.
    for at in 4096..4096 + 64 + 7 {
        let mut octets = sound.clone();
        octets[at] ^= 1;
        fs::write(&path, &octets).unwrap();
        let log = made.read();
        assert_eq!((grades(&log), ids(&log)), (vec![(Grade::Damage, Some(4096))], vec![2]), "{at}");
    }
    // The last batch not being whole is what a power cut leaves.
    let mut octets = sound.clone();
    octets[8192 + 66] ^= 1;
    fs::write(&path, &octets).unwrap();
    let log = made.read();
    assert_eq!((grades(&log), ids(&log)), (vec![(Grade::Trace, Some(8192))], vec![1]));
    // The header.
    let mut octets = sound.clone();
    octets[30] ^= 1;
    fs::write(&path, &octets).unwrap();
    let log = made.read();
    assert_eq!((grades(&log), ids(&log)), (vec![(Grade::Damage, Some(0))], vec![1, 2]));
    octets[4100] ^= 1;
    fs::write(&path, &octets).unwrap();
    let log = made.read();
    assert_eq!((grades(&log), ids(&log)), (vec![(Grade::Damage, Some(0))], vec![]));
    fs::write(&path, vec![0; 65536]).unwrap();
    assert_eq!(grades(&made.read()), [(Grade::Damage, Some(0))]);
    // A file may be longer than what its segment says.
    let long = [&sound[..], &[b'x'; 4096]].concat();
    fs::write(&path, long).unwrap();
    let log = made.read();
    assert_eq!((grades(&log), ids(&log)), (vec![], vec![1, 2]));
    // Cut short, and under another name.
    fs::write(&path, &sound[..12288]).unwrap();
    fs::rename(&path, made.log().join("00000009.seg")).unwrap();
    let log = made.read();
    assert_eq!(grades(&log), [(Grade::Damage, Some(0)); 2]);
    assert_eq!(ids(&log), [1, 2]);
}

#[test]
fn large_messages_are_compared() {
    let made = Made::new();
    let path = made.log().join("large").join(QueueId(3).to_string());
    let pointer = format::pointer_body(4, crc32c::crc32c(b"mail"));
    made.segment(1, 1, &[&[(Kind::Pointer, 3, b"", &pointer)]]);
    let expect = |grade: &[(Grade, Option<u64>)]| assert_eq!(grades(&made.read()), grade);
    expect(&[(Grade::Damage, None)]);
    fs::write(&path, "mail").unwrap();
    expect(&[]);
    fs::write(&path, "mai").unwrap();
    expect(&[(Grade::Damage, Some(3))]);
    assert!(content(&made.read(), 3).is_err());
    fs::write(&path, "mial").unwrap();
    expect(&[(Grade::Damage, Some(0))]);
    assert!(content(&made.read(), 3).is_err());
    fs::write(&path, "mail").unwrap();
    fs::write(path.with_file_name("0000000000009"), "").unwrap();
    fs::write(path.with_file_name("7.tmp"), "").unwrap();
    fs::write(made.log().join("00000002.seg.tmp"), "").unwrap();
    expect(&[(Grade::Trace, None); 3]);
}

#[test]
fn the_spool_itself_is_judged() {
    let made = Made::new();
    let grades =
        || -> Vec<_> { read(made.spool()).unwrap().1.iter().map(|fault| fault.grade).collect() };
    assert!(grades().is_empty());
    fs::write(made.spool().join("FORMAT"), "sluicegate spool 9\n").unwrap();
    fs::write(made.spool().join("core"), "").unwrap();
    assert_eq!(grades(), [Grade::Damage, Grade::Trace]);
    fs::remove_file(made.spool().join("FORMAT")).unwrap();
    assert_eq!(grades(), [Grade::Trace, Grade::Damage]);
    assert!(read(&made.spool().join("no")).is_err());
}

#[test]
fn what_is_appended_is_read_again() {
    let made = Made::new();
    made.segment(
        4,
        9,
        &[&[
            (Kind::Message, 1, b"1", b"x"),
            (Kind::Message, 2, b"2", b"y"),
            (Kind::Message, 3, b"3", b"z"),
        ]],
    );
    made.read().append(&[]).unwrap();
    assert_eq!(made.read().segments.len(), 1);
    let long = vec![b'n'; 10_000];
    let changes = [
        Change::Note(QueueId(1), b"held".to_vec()),
        Change::Settled(QueueId(2)),
        Change::Note(QueueId(3), long.clone()),
    ];
    made.read().append(&changes).unwrap();
    made.read().append(&[Change::Note(QueueId(1), b"again".to_vec())]).unwrap();
    let log = made.read();
    assert!(log.faults.is_empty(), "{:?}", log.faults);
    assert_eq!(ids(&log), [1, 3]);
    assert_eq!(log.messages[&QueueId(1)].notes, [b"held".to_vec(), b"again".to_vec()]);
    assert_eq!(log.messages[&QueueId(3)].notes, [long]);
    let last: Vec<_> = log
        .segments
        .iter()
        .map(|one| (one.header.number, one.header.generation, one.header.last_id))
        .collect();
    assert_eq!(last, [(4, 9, 0), (5, 10, 3), (6, 11, 3)]);
    // Nothing is appended behind what cannot be read.
    let mut blind = log;
    blind.faults.push(fault(Grade::Unreadable, Path::new("x"), None, "EIO"));
    assert!(blind.append(&changes).is_err());
    assert_eq!(made.read().segments.len(), 3);
}
