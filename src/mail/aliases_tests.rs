//! The syntax of aliases(5), what is refused and where, and any text at all.

use proptest::prelude::*;

use super::*;

fn no_lists(path: &str) -> Result<String, String> {
    Err(format!("no list {path}"))
}

fn parse(text: &str) -> Result<Aliases, Vec<Fault>> {
    Aliases::parse(text, &mut no_lists)
}

fn local(name: &str) -> Member {
    Member::Local(name.to_owned())
}

fn address(local: &str, domain: &str) -> Member {
    Member::Address(local.to_owned(), domain.to_owned())
}

fn members<'a>(aliases: &'a Aliases, name: &str) -> &'a [Member] {
    &aliases.find(name).unwrap().members
}

/// Every fault as `list:line:column: what`.
fn faults(text: &str) -> Vec<String> {
    let say = |fault: Fault| {
        assert!(!fault.remedy.is_empty());
        let list = fault.list.map(|list| format!("{list}:")).unwrap_or_default();
        format!("{list}{}:{}: {}", fault.line, fault.column, fault.what)
    };
    parse(text).unwrap_err().into_iter().map(say).collect()
}

#[test]
fn the_syntax_of_aliases_5() {
    let text = "# a comment\n\n   # another\n\
        Postmaster: root\n\
        root:\tann,\\bob , \"odd name\"@Example.ORG,\n\
        \tcarl@example.org,,\n\
        # a comment inside\n\
        \x20   Dora <dora@example.org>\n\
        \"a b:c\": \"x, y\",\\\"q r\"\r\n\
        bob: \\bob, bob@elsewhere.example";
    let aliases = parse(text).unwrap();
    assert_eq!(aliases.iter().count(), 4);
    assert_eq!(members(&aliases, "postmaster"), [local("root")]);
    assert_eq!(aliases.find("postmaster").unwrap().name, "Postmaster");
    assert_eq!(
        members(&aliases, "root"),
        [
            local("ann"),
            Member::User("bob".to_owned()),
            address("odd name", "example.org"),
            address("carl", "example.org"),
            address("dora", "example.org"),
        ]
    );
    assert_eq!(members(&aliases, "a b:c"), [local("x, y"), Member::User("q r".to_owned())]);
    assert_eq!(aliases.find("bob").unwrap().line, 10);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    assert_eq!(faults("ann bob\n"), ["1:1: no colon"]);
    assert_eq!(faults("  ann: bob\n"), ["1:3: continues nothing"]);
    assert_eq!(faults("a: b\nA : c"), ["2:1: A: defined twice, first in line 1"]);
    assert_eq!(faults("a:\nb: c"), ["1:1: a: leads to nobody"]);
    assert_eq!(faults("ä: ö, |x"), ["1:7: mail is not given to commands"]);
    assert_eq!(faults("a: \"|x, y\""), ["1:4: mail is not given to commands"]);
    assert_eq!(faults("a: b,\n\t/var/x"), ["2:2: mail is not written to files"]);
    assert_eq!(faults("a: \"/var/x y\""), ["1:4: mail is not written to files"]);
    assert_eq!(faults("a: :fail: x"), ["1:4: not a target"]);
    assert_eq!(faults("a: b c"), ["1:4: several words"]);
    assert_eq!(faults("a@b: c"), ["1:1: an alias has no domain"]);
    assert_eq!(faults("a b: c"), ["1:1: not a name"]);
    assert_eq!(faults(": c"), ["1:1: not a name"]);
    assert_eq!(faults("a: \\b@c"), ["1:4: not a user"]);
    assert_eq!(faults("a: @c, d@"), ["1:4: not a target", "1:8: not a target"]);
    assert_eq!(faults("a: :include:x"), ["1:4: not the path of a list"]);
    assert_eq!(faults("a: :include:/x"), ["1:4: /x: cannot read: no list /x"]);
    // All of it is said, but not for ever.
    assert_eq!(faults("x\n".repeat(1000).as_str()).len(), FAULTS_MAX);
}

#[test]
fn lists_are_included() {
    let mut load = |path: &str| match path {
        "/l ist" => Ok("# members\n ann\ncarl@x.example, dora\n:include:/more\n".to_owned()),
        "/more" => Ok("eve".to_owned()),
        "/self" => Ok("ann\n:INCLUDE:/self".to_owned()),
        "/bad" => Ok("ann\n  |x".to_owned()),
        "/deep" => Err("none".to_owned()),
        deep => Ok(format!(":include:{deep}x")),
    };
    let text = "staff: \":include:/l ist\", fred\nowner-staff: ann";
    let aliases = Aliases::parse(text, &mut load).unwrap();
    let wanted =
        [local("ann"), address("carl", "x.example"), local("dora"), local("eve"), local("fred")];
    assert_eq!(members(&aliases, "staff"), wanted);

    let empty = Aliases::parse("a: :include:/none\nb: c", &mut |_| Ok(String::new())).unwrap();
    assert_eq!(members(&empty, "a"), []);

    let mut said = |text: &str| {
        let fault = Aliases::parse(text, &mut load).unwrap_err().remove(0);
        (fault.list, fault.line, fault.column, fault.what)
    };
    let inside = |list: &str, line, column, what: &str| {
        (Some(list.to_owned()), line, column, what.to_owned())
    };
    assert_eq!(said("a: :include:/self"), inside("/self", 2, 1, "a list that includes itself"));
    assert_eq!(said("a: :include:/bad"), inside("/bad", 2, 3, "mail is not given to commands"));
    let (list, .., what) = said("a: :include:/x");
    assert_eq!((list.unwrap().len(), what.as_str()), (33, "lists in lists too deep"));
}

#[test]
fn the_total_is_bounded() {
    let list = "x,".repeat(1000);
    let text: String = (0..1001).map(|n| format!("a{n}: :include:/l\n")).collect();
    let fault = Aliases::parse(&text, &mut |_| Ok(list.clone())).unwrap_err().remove(0);
    assert_eq!(fault.what, "more than 1000000 targets in all");
}

#[test]
fn lists_that_multiply_are_stopped() {
    let mut loads = 0;
    let all: String = (0..12).map(|n| format!(":include:/{n}\n")).collect();
    let mut load = |_: &str| {
        loads += 1;
        Ok(all.clone())
    };
    let faults = Aliases::parse("a: :include:/0", &mut load).unwrap_err();
    assert_eq!(faults[0].what, "a list that includes itself");
    let mut load = |path: &str| {
        loads += 1;
        Ok(if path.len() > 30 {
            String::new()
        } else {
            format!(":include:{path}a\n:include:{path}b")
        })
    };
    let fault = Aliases::parse("a: :include:/0", &mut load).unwrap_err().remove(0);
    assert_eq!(fault.what, "too many lists, or too long ones, in all");
    assert!(loads <= 2 * ALIAS_LISTS_MAX, "{loads}");
}

#[test]
fn what_leads_to_too_many_is_marked() {
    let many = |count: usize| (0..count).map(|n| format!("u{n},")).collect::<String>();
    let text = format!("ok: {}\nno: {}\nabove: no\n", many(10_000), many(10_001));
    let aliases = parse(&text).unwrap();
    let endless = |name| aliases.find(name).unwrap().endless;
    assert_eq!(["ok", "no", "above"].map(endless), [false, true, true]);

    // Too deep, and twice as many with each step.
    let text: String = (0..40).map(|n| format!("a{n}: a{}, A{0}@x\n", n + 1)).collect();
    let aliases = parse(&text).unwrap();
    let endless = |name: &str| aliases.find(name).unwrap().endless;
    assert!(endless("a0") && endless("a7") && !endless("a39"));
    let chain: String = (0..100).map(|n| format!("c{n}: c{}\n", n + 1)).collect();
    let aliases = parse(&chain).unwrap();
    let deep = aliases.iter().filter(|(_, alias)| alias.endless).count();
    assert_eq!(deep, 100 - ALIAS_DEPTH_MAX);
    // A ring has an end: the user of that name.
    assert!(!parse("a: b\nb: c, d\nc: a").unwrap().iter().any(|(_, alias)| alias.endless));
}

proptest! {
    #[test]
    fn any_text_is_understood_or_refused(text in "([a-c:,@\\\\\"|/# \t\n\r<>é]|:include:/[xy]){0,60}") {
        let mut load = |path: &str| Ok(if path.ends_with('x') { text.clone() } else { "z".to_owned() });
        match Aliases::parse(&text, &mut load) {
            Ok(aliases) => for (key, alias) in aliases.iter() {
                prop_assert_eq!(key, name::folded(&alias.name));
                prop_assert!(!alias.members.is_empty() || text.contains(":include:"));
            },
            Err(faults) => for fault in faults {
                let line = text.lines().nth(fault.line - 1);
                prop_assert!(line.is_some() || fault.list.is_some());
                let wide = line.map_or(usize::MAX, |line| line.chars().count() + 1);
                prop_assert!(fault.list.is_some() || (1..=wide).contains(&fault.column));
            },
        }
    }
}
