//! server::admin tests: the socket itself, and shards played by threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::server::queue::{Changed, Paper, Pick};
use crate::store::spool::QueueId;

fn status<P>(version: &str) -> Response<P> {
    Response::Status(Box::new(Status { version: version.to_owned(), ..Status::default() }))
}

fn raw(path: &Path, octets: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(octets).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn one_question_one_answer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let admin = Admin::bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let gone = admin.start(|request| match request {
        Request::Status => status("7"),
        Request::Queue(_) => Response::Error("not here".to_owned()),
    });
    let gone = gone.unwrap();
    assert_eq!(query(&path, &Request::Status).unwrap(), status("7"));
    let list = Request::Queue(queue::Request::List { pick: Pick::default(), after: None });
    assert_eq!(query(&path, &list).unwrap(), Response::Error("not here".to_owned()));
    assert!(raw(&path, b"\"status\"\n").starts_with(r#"{"status":{"version":"7""#));
    assert!(raw(&path, b"{}\n").starts_with(r#"{"error":"not understood: "#));
    assert!(raw(&path, b"\xff\x00\n").starts_with(r#"{"error":"not understood: "#));
    drop(gone);
    assert!(!path.exists());
    assert_eq!(query(&path, &Request::Status).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn what_is_too_long_or_says_nothing_is_turned_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let _gone = Admin::bind(&path).unwrap().start(|_| status("1")).unwrap();
    let mut stream = UnixStream::connect(&path).unwrap();
    // The server stops reading at the limit and may close before all is sent.
    drop(stream.write_all(&vec![b' '; ADMIN_REQUEST_BYTES_MAX + 8192]));
    let mut text = String::new();
    drop(stream.read_to_string(&mut text));
    assert!(text.is_empty() || text.contains("request too long"), "{text}");
    drop(UnixStream::connect(&path).unwrap());
    assert_eq!(query(&path, &Request::Status).unwrap(), status("1"));
}

#[test]
fn a_stale_socket_is_replaced_a_living_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(query(&path, &Request::Status).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let admin = Admin::bind(&path).unwrap();
    assert_eq!(Admin::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
    let names: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    drop(admin);
    // What is no socket is left alone.
    let file = directory.path().join("f");
    fs::write(&file, "mine").unwrap();
    assert!(Admin::bind(&file).is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_path_may_be_longer_than_a_socket_address() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("d".repeat(120)).join("e".repeat(120));
    fs::create_dir_all(&deep).unwrap();
    let path = deep.join("admin.sock");
    let _gone = Admin::bind(&path).unwrap().start(|_| status("1")).unwrap();
    assert_eq!(query(&path, &Request::Status).unwrap(), status("1"));
}

#[test]
fn where_the_next_page_begins_is_seen_before_it_is_read() {
    let page =
        |until| -> Response { Response::Queue(Answer::Page(Page { entries: Vec::new(), until })) };
    let long = format!("{}]}}", "x".repeat(200));
    for (response, says) in [
        (Response::Error(long), None),
        (page(Some(QueueId(77))), Some(QueueId(77))),
        (page(None), None),
        (Response::Queue(Answer::Detail(None)), None),
        (Response::Error("\"until\"".to_owned()), None),
    ] {
        assert_eq!(until(&serde_json::to_vec(&response).unwrap()), says, "{response:?}");
    }
    // Written by somebody else, in another order.
    let other = br#"{ "queue": {"page": {"until": "000000000002D", "entries": [{"until": 1}]}} }"#;
    assert_eq!(until(other), Some(QueueId(77)));
    for broken in [&br#"{"queue":{"page":{"entries":[],"until":"000000000002U"}}}"#[..], b"", b"]"]
    {
        assert_eq!(until(broken), None);
    }
}

#[test]
fn a_line_is_the_json_of_the_response() {
    fn both<P>() -> [Response<P>; 5] {
        let changed = Changed { picked: 2, changed: 1, ids: vec![QueueId(5)] };
        [
            status("9"),
            Response::Error("a \"b\" \u{1}".to_owned()),
            Response::Queue(Answer::Detail(None)),
            Response::Queue(Answer::Changed(changed)),
            Response::Queue(Answer::Destinations(Vec::new())),
        ]
    }
    for (sent, meant) in both().into_iter().zip(both::<Page>()) {
        assert_eq!(sent.line(), format!("{}\n", serde_json::to_string(&meant).unwrap()).as_bytes());
    }
    let page = Response::Queue(Answer::Page(Page::<String>::default()));
    let sent = Response::Queue(Answer::Page(Sheet::default())).line();
    assert_eq!(sent, format!("{}\n", serde_json::to_string(&page).unwrap()).as_bytes());
}

#[test]
fn desks_are_asked_and_answers_merged() {
    let desks: Arc<Vec<Desk>> = Arc::new((0..3).map(|_| Desk::default()).collect());
    let notified = AtomicUsize::new(0);
    let request = queue::Request::List { pick: Pick::default(), after: None };
    let play = || {
        notified.fetch_add(1, Ordering::Relaxed);
        for (index, desk) in desks.iter().enumerate() {
            let desks = Arc::clone(&desks);
            assert!(!desk.0.lock().unwrap().is_empty());
            thread::spawn(move || {
                let ticket = desks[index].take().unwrap();
                let mut sheet = Sheet::default();
                sheet.end_at((index == 1).then_some(QueueId(7)));
                ticket.answer(Ok(Answer::Page(sheet)));
            });
        }
    };
    let answer = ask(&desks, &request, play).unwrap();
    let page: Response = serde_json::from_slice(&Response::Queue(answer).line()).unwrap();
    let until = Some(QueueId(7));
    assert_eq!(page, Response::Queue(Answer::Page(Page { entries: Vec::new(), until })));
    assert_eq!(notified.load(Ordering::Relaxed), 1);
    assert!(desks.iter().all(|desk| desk.take().is_none()));
    assert!(ask(&[], &request, || {}).is_err());
}

#[test]
fn a_shard_that_drops_its_order_is_named() {
    let desks = [Desk::default(), Desk::default()];
    let request = queue::Request::Show { id: QueueId(1) };
    let play = || {
        desks[0].take().unwrap().answer(Ok(Answer::Detail(None)));
        drop(desks[1].take());
    };
    assert_eq!(ask(&desks, &request, play).unwrap_err(), "shard 1 does not answer");
    let play = || desks[0].take().unwrap().answer(Err("no".to_owned()));
    assert_eq!(ask(&desks, &request, play).unwrap_err(), "shard 0: no");
    drop(desks[1].take());
    // An answer that nobody waits for any more is no trouble.
    drop(desks[0].leave(request, 1));
    desks[0].take().unwrap().answer(Ok(Answer::Detail(None)));
}
