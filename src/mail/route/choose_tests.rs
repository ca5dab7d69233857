//! mail::route::choose tests: routes are found as by looking at each in turn.

use super::*;

/// Numbers below `most` that look like chance, always the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, most: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most
    }
}

const LOCALS: [&str; 4] = ["*", "Ann", "bob", "postmaster"];
const DOMAINS: [&str; 5] = ["*", "a.example", "B.example", "bücher.example", "c.example"];

fn to(dice: &mut Dice) -> RouteTo {
    match dice.roll(4) {
        0 => RouteTo::Local,
        1 => RouteTo::Discard,
        _ => {
            let host = ["one.example", "two.example", "three.example"][dice.roll(3)].to_owned();
            let max_connections = u32::try_from(dice.roll(1000)).unwrap();
            let hop = Hop::Relay { host, port: 25 };
            RouteTo::Onward(Arc::new(Onward { max_connections, ..Onward::new(hop) }))
        }
    }
}

fn route(dice: &mut Dice) -> Route {
    let (local, domain) = (LOCALS[dice.roll(4)], DOMAINS[dice.roll(5)]);
    let recipient = match (local, domain) {
        ("*", "*") if dice.roll(2) == 0 => "*".to_owned(),
        _ => format!("{local}@{domain}"),
    };
    let sender = [None, Some("x@y"), Some("*@z"), Some("")][dice.roll(4)].map(str::to_owned);
    let authenticated = [None, Some(true), Some(false)][dice.roll(3)];
    Route { sender, authenticated, ..Route::new(&recipient, to(dice)) }
}

#[test]
fn those_that_fit_are_found_in_their_order() {
    let mut fitted = 0;
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let routes: Vec<Route> = (0..dice.roll(40)).map(|_| route(&mut dice)).collect();
        let index = Routes::new(&routes);
        let naive: Vec<Pattern> = routes.iter().map(Pattern::new).collect();
        for local in ["ann", "bob", "postmaster", "nobody", "*"] {
            for domain in DOMAINS.iter().chain(&["other.example", "sub.a.example", "example", ""]) {
                let domain = Domain::Name((*domain).to_owned()).key();
                let shown = |pattern: &Pattern| format!("{pattern:?}");
                let found: Vec<String> = index.fitting(local, &domain).map(shown).collect();
                let fits = naive.iter().filter(|pattern| pattern.fits(local, &domain));
                let meant: Vec<String> = fits.map(shown).collect();
                assert_eq!(found, meant, "seed {seed}, {local}@{domain}");
                fitted += meant.len();
            }
        }
        for host in ["one.example", "two.example", "none.example"] {
            let hop = Hop::Relay { host: host.to_owned(), port: 25 };
            let meant = naive.iter().find_map(|pattern| match &pattern.to {
                RouteTo::Onward(onward) if onward.hop == hop => Some(onward),
                RouteTo::Onward(_) | RouteTo::Local | RouteTo::Discard => None,
            });
            assert_eq!(index.to(&hop), meant, "seed {seed}, {host}");
        }
    }
    assert!(fitted > 10_000, "only {fitted}");
}
