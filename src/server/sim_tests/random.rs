//! Scenario 1: random sessions with short reads, short writes and delays.

use std::collections::BTreeMap;

use super::client::Client;
use super::house::{House, PATIENCE, ROOT, assert_clean};
use super::{content, seeds};
use crate::shard::{self, Sim, world};

const NAMES: [&str; 5] = ["a", "b.bin", "dir/c", "dir/deep/d", "with space"];

/// What the tree must hold.
type Model = BTreeMap<&'static str, Vec<u8>>;

#[test]
fn random_sessions_keep_contents_and_order() {
    seeds(150, |seed| {
        let sim = Sim::new(seed);
        sim.disk().plant_dir(&format!("{ROOT}/dir/deep"));
        let house = House::open(1);
        sim.run(async {
            let mut model = Model::new();
            let mut client = house.login_writer().await;
            for _ in 0..world().rng.range(4, 12) {
                step(&mut client, &mut model).await;
            }
            client.quit().await;
            // What is removed in the background may take a while.
            shard::sleep_until(shard::now().after(PATIENCE)).await;
            let files = world().disk.files(ROOT);
            let expected: BTreeMap<_, _> = model
                .iter()
                .map(|(name, bytes)| (name.as_bytes().to_vec(), bytes.clone()))
                .collect();
            let sizes = |files: &BTreeMap<Vec<u8>, Vec<u8>>| -> Vec<(String, usize)> {
                files
                    .iter()
                    .map(|(name, bytes)| (String::from_utf8_lossy(name).into(), bytes.len()))
                    .collect()
            };
            assert!(files == expected, "{:?}, not {:?}", sizes(&files), sizes(&expected));
        });
        assert_clean(&sim, house);
    });
}

async fn step(client: &mut Client, model: &mut Model) {
    let name = *world().rng.pick(&NAMES);
    match world().rng.below(12) {
        0 | 1 => store(client, model, name).await,
        2 => retrieve(client, model, name).await,
        3 => append(client, model, name).await,
        4 => list(client, model).await,
        5 => abort_store(client, model, name).await,
        6 => abort_retrieve(client, model, name).await,
        7 => restart(client, model, name).await,
        8 => rename(client, model, name).await,
        9 => delete(client, model, name).await,
        10 => text(client, model, name).await,
        _ => pipelined(client).await,
    }
}

fn some_content() -> Vec<u8> {
    let rng = &world().rng;
    let len = *rng.pick(&[0, 1, 300, 4096, 8192, 8193, 20_000]);
    content(rng.next(), len)
}

async fn store(client: &mut Client, model: &mut Model, name: &'static str) {
    let bytes = some_content();
    let outcome = client.upload(&format!("STOR {name}"), &bytes).await.unwrap();
    assert_eq!(outcome.last.code, 226, "{outcome:?}");
    assert!(world().disk.peek(&format!("{ROOT}/{name}")).as_ref() == Some(&bytes));
    model.insert(name, bytes);
}

async fn retrieve(client: &mut Client, model: &Model, name: &'static str) {
    let outcome = client.download(&format!("RETR {name}")).await.unwrap();
    match model.get(name) {
        Some(bytes) => {
            assert_eq!(outcome.last.code, 226, "{:?}", outcome.last);
            assert!(outcome.received == *bytes, "{} of {}", outcome.received.len(), bytes.len());
        }
        None => assert_eq!((outcome.begun, outcome.last.code), (false, 550)),
    }
}

async fn append(client: &mut Client, model: &mut Model, name: &'static str) {
    let bytes = some_content();
    let outcome = client.upload(&format!("APPE {name}"), &bytes).await.unwrap();
    assert_eq!(outcome.last.code, 226, "{outcome:?}");
    model.entry(name).or_default().extend(bytes);
}

async fn list(client: &mut Client, model: &Model) {
    let (dir, prefix) = *world().rng.pick(&[("", ""), ("dir", "dir/"), ("dir/deep", "dir/deep/")]);
    let verb = *world().rng.pick(&["MLSD", "LIST", "NLST"]);
    let outcome = client.download(format!("{verb} {dir}").trim_end()).await.unwrap();
    let empty = verb == "NLST" && outcome.last.code == 450;
    assert!(outcome.last.code == 226 || empty, "{:?}", outcome.last);
    let text = String::from_utf8(outcome.received).unwrap();
    let mut names: Vec<&str> = text
        .lines()
        .filter(|line| {
            !line.contains("type=cdir") && !line.contains("type=pdir") && !line.starts_with("total")
        })
        .map(|line| match verb {
            "MLSD" => line.split_once(' ').unwrap().1,
            "LIST" => last_words(line),
            _ => line.strip_prefix(prefix).unwrap_or(line),
        })
        .collect();
    names.sort_unstable();
    let below = model
        .keys()
        .filter_map(|name| name.strip_prefix(prefix))
        .filter(|name| !name.contains('/'));
    let mut expected: Vec<&str> = below.collect();
    match dir {
        "" => expected.push("dir"),
        "dir" => expected.push("deep"),
        _ => {}
    }
    expected.sort_unstable();
    assert_eq!(names, expected, "{verb} {dir}");
}

/// The name in a line like that of `ls -l`: all after the eighth column.
fn last_words(line: &str) -> &str {
    let mut rest = line;
    for _ in 0..8 {
        rest = rest.trim_start().split_once(' ').unwrap().1;
    }
    rest
}

async fn abort_store(client: &mut Client, model: &Model, name: &'static str) {
    let data = client.begin(&format!("STOR {name}")).await.unwrap().unwrap();
    let part = content(7, world().rng.range(0, 9000));
    data.write(&part).await.unwrap();
    client.send("ABOR").await.unwrap();
    client.expect_reply(&[426]).await;
    client.expect_reply(&[226]).await;
    drop(data);
    client.assert_in_step().await;
    assert!(world().disk.peek(&format!("{ROOT}/{name}")) == model.get(name).cloned());
}

async fn abort_retrieve(client: &mut Client, model: &Model, name: &'static str) {
    let Ok(mut data) = client.begin(&format!("RETR {name}")).await.unwrap() else {
        assert!(!model.contains_key(name));
        return;
    };
    client.send("ABOR").await.unwrap();
    let mut received = Vec::new();
    while let Ok(more) = data.read(4096).await {
        if more.is_empty() {
            break;
        }
        received.extend(more);
    }
    drop(data);
    let first = client.expect_reply(&[426, 226]).await;
    client.expect_reply(if first.code == 426 { &[226] } else { &[225, 226] }).await;
    assert!(model[name].starts_with(&received));
    assert!(first.code == 426 || received == model[name]);
    client.assert_in_step().await;
}

async fn restart(client: &mut Client, model: &mut Model, name: &'static str) {
    let Some(old) = model.get_mut(name) else { return };
    let offset = world().rng.range(0, old.len());
    client.expect(&format!("REST {offset}"), 350).await;
    if world().rng.percent(50) {
        let outcome = client.download(&format!("RETR {name}")).await.unwrap();
        assert_eq!(outcome.last.code, 226, "{:?}", outcome.last);
        assert!(outcome.received == old[offset..]);
        return;
    }
    let bytes = some_content();
    let outcome = client.upload(&format!("STOR {name}"), &bytes).await.unwrap();
    assert_eq!(outcome.last.code, 226, "{:?}", outcome.last);
    // In place: what lies behind stays. From 0 on it is a new file.
    let end = (offset + bytes.len()).min(old.len());
    let end = if offset == 0 { old.len() } else { end };
    old.splice(offset..end, bytes);
}

/// TYPE A there and back: lines end in CRLF on the wire and in LF in the file.
async fn text(client: &mut Client, model: &mut Model, name: &'static str) {
    let lines = world().rng.range(0, 600);
    let wire: String =
        (0..lines).map(|line| format!("line {line} {}\r\n", "x".repeat(line % 50))).collect();
    client.expect("TYPE A", 200).await;
    let outcome = client.upload(&format!("STOR {name}"), wire.as_bytes()).await.unwrap();
    assert_eq!(outcome.last.code, 226, "{:?}", outcome.last);
    let outcome = client.download(&format!("RETR {name}")).await.unwrap();
    assert_eq!(outcome.last.code, 226, "{:?}", outcome.last);
    let stored = world().disk.peek(&format!("{ROOT}/{name}")).unwrap();
    let same = outcome.received.iter().zip(wire.as_bytes()).take_while(|(a, b)| a == b).count();
    assert!(
        outcome.received == wire.as_bytes(),
        "{} octets sent, {} stored, {} received, the first {same} alike",
        wire.len(),
        stored.len(),
        outcome.received.len()
    );
    let size = client.expect(&format!("SIZE {name}"), 213).await;
    assert_eq!(size.text.trim_end(), format!("213 {}", wire.len()));
    client.expect("TYPE I", 200).await;
    model.insert(name, wire.replace('\r', "").into_bytes());
}

async fn rename(client: &mut Client, model: &mut Model, name: &'static str) {
    let to = *world().rng.pick(&NAMES);
    let Some(bytes) = model.get(name).cloned() else {
        client.expect(&format!("RNFR {name}"), 550).await;
        client.expect(&format!("RNTO {to}"), 503).await;
        return;
    };
    client.expect(&format!("RNFR {name}"), 350).await;
    client.expect(&format!("RNTO {to}"), 250).await;
    model.remove(name);
    model.insert(to, bytes);
}

async fn delete(client: &mut Client, model: &mut Model, name: &'static str) {
    let code = if model.remove(name).is_some() { 250 } else { 550 };
    client.expect(&format!("DELE {name}"), code).await;
}

async fn pipelined(client: &mut Client) {
    let table = [
        ("NOOP", 200),
        ("PWD", 257),
        ("SYST", 215),
        ("TYPE I", 200),
        ("SIZE none", 550),
        ("XYZZY", 500),
    ];
    let chosen: Vec<_> = (0..world().rng.range(2, 12)).map(|_| *world().rng.pick(&table)).collect();
    let lines: Vec<&str> = chosen.iter().map(|(line, _)| *line).collect();
    client.send(&lines.join("\r\n")).await.unwrap();
    for (_, code) in chosen {
        client.expect_reply(&[code]).await;
    }
}
