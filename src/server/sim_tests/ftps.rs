//! Transfers in TLS: whole, or refused, whatever the network does to them.

use super::client::Client;
use super::house::{self, House, PATIENCE, ROOT};
use super::secure::SecureSocket;
use super::tls::{fair, person};
use super::{content, seeds};
use crate::shard::client::ClientSocket;
use crate::shard::{self, world};
use crate::tls::testing::Person;

/// AUTH, PROT P, logged in.
async fn login(house: &House, person: &Person) -> SecureSocket {
    let mut clear = house.connect();
    clear.expect_reply(&[220]).await;
    clear.expect("AUTH TLS", 234).await;
    let Client { control, .. } = clear;
    let mut secure = SecureSocket::shake_hands(control, person.connect()).await.unwrap();
    for (line, code) in [
        ("PBSZ 0", "200"),
        ("PROT P", "200"),
        ("USER writer", "331"),
        ("PASS sim", "230"),
        ("TYPE I", "200"),
    ] {
        let reply = secure.command(line).await;
        assert!(reply.starts_with(code), "{line}: {reply}");
    }
    secure
}

/// A data connection, and TLS over it after 150.
async fn data(control: &mut SecureSocket, person: &Person, line: &str) -> SecureSocket {
    let reply = control.command("EPSV").await;
    let port = reply.split('|').nth(3).unwrap().parse().unwrap();
    let at = std::net::SocketAddr::new(control.socket.peer().ip(), port);
    let socket = ClientSocket::connect(at).await.unwrap();
    assert!(control.command(line).await.starts_with("150"));
    SecureSocket::shake_hands(socket, person.connect()).await.unwrap()
}

/// How an upload ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Said,
    Shut,
    Reset,
}

#[test]
fn transfers_in_tls_are_whole_or_refused() {
    seeds(60, |seed| {
        let sim = fair(seed);
        let (old, new) = (content(1, 3000), content(seed, 90_000));
        sim.disk().plant(&format!("{ROOT}/f"), &old);
        let house = House::open(1);
        sim.run(async {
            let person = person(seed);
            let mut control = login(&house, &person).await;
            let end = *world().rng.pick(&[End::Said, End::Said, End::Shut, End::Reset]);
            let octets = world().rng.range(0, new.len());
            let mut upload = data(&mut control, &person, "STOR f").await;
            upload.write(&new[..octets]).await.unwrap();
            match end {
                End::Said => upload.close().await.unwrap(),
                End::Shut => upload.socket.shut(),
                End::Reset => upload.socket.reset(),
            }
            let reply = control.reply().await;
            let stored = sim.disk().peek(&format!("{ROOT}/f")).unwrap();
            if end == End::Said {
                assert!(reply.starts_with("226") && stored == new[..octets], "{reply}");
            } else {
                // A reset may overtake the last of the handshake.
                let code = ["426", if end == End::Reset { "425" } else { "426" }];
                let told = code.iter().any(|code| reply.starts_with(code));
                assert!(told && stored == old, "{end:?} {octets}: {reply}");
            }
            drop(upload);
            let mut download = data(&mut control, &person, "RETR f").await;
            // The end of TLS is said, or `rest` fails.
            assert!(download.rest().await.unwrap() == stored);
            assert!(control.reply().await.starts_with("226"));
            drop(download);
            let mut listing = data(&mut control, &person, "NLST").await;
            assert_eq!(listing.rest().await.unwrap(), b"f\r\n");
            assert!(control.reply().await.starts_with("226"));
            assert!(control.command("QUIT").await.starts_with("221"));
            drop((control, listing));
            shard::sleep_until(shard::now().after(PATIENCE)).await;
        });
        house::assert_clean(&sim, house);
    });
}
