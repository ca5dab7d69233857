//! smtp::command_tests – lines, item by item, and that what was printed reads as the same.

#![allow(clippy::disallowed_types, reason = "prop_oneof! holds its choices in an Arc")]

use proptest::prelude::*;

use super::*;
use crate::smtp::address::Domain;
use crate::smtp::address::tests::any_mailbox;
use crate::smtp::xtext;
use crate::wire::secret::Secret;

const LENIENT: Syntax = Syntax { strict: false, utf8: false, extended: true };
const STRICT: Syntax = Syntax { strict: true, ..LENIENT };
const UTF8: Syntax = Syntax { utf8: true, ..LENIENT };

fn read(line: &str, syntax: Syntax) -> Result<Command, Why> {
    parse(line.as_bytes(), syntax).map_err(|malformed| malformed.why)
}

fn mail_of(command: Command) -> Mail {
    let Command::Mail(mail) = command else { panic!("{command:?}") };
    mail
}

fn rcpt_of(command: Command) -> Rcpt {
    let Command::Rcpt(rcpt) = command else { panic!("{command:?}") };
    rcpt
}

fn sender(line: &str, syntax: Syntax) -> Result<String, Why> {
    let mail = read(line, syntax).map(mail_of);
    mail.map(|mail| mail.sender.map_or_else(|| "<>".into(), |sender| sender.to_string()))
}

fn mail_with(parameters: &str) -> Result<Mail, Why> {
    read(&format!("MAIL FROM:<>{parameters}"), LENIENT).map(mail_of)
}

fn rcpt_with(parameters: &str, syntax: Syntax) -> Result<Rcpt, Why> {
    read(&format!("RCPT TO:<a@b>{parameters}"), syntax).map(rcpt_of)
}

// ---------------------------------------------------------------- lines

const VERBS: [Verb; 22] = [
    Verb::Helo,
    Verb::Ehlo,
    Verb::Lhlo,
    Verb::Mail,
    Verb::Rcpt,
    Verb::Data,
    Verb::Bdat,
    Verb::Rset,
    Verb::Vrfy,
    Verb::Expn,
    Verb::Help,
    Verb::Noop,
    Verb::Quit,
    Verb::StartTls,
    Verb::Auth,
    Verb::Etrn,
    Verb::Turn,
    Verb::Send,
    Verb::Soml,
    Verb::Saml,
    Verb::XClient,
    Verb::XForward,
];

#[test]
fn verbs_are_known_in_any_case_and_whole() {
    for verb in VERBS {
        let name = verb.name();
        assert_eq!(Verb::named(name.as_bytes()), Some(verb));
        assert_eq!(Verb::named(name.to_ascii_lowercase().as_bytes()), Some(verb));
        let octets = name.as_bytes();
        for no in [
            &octets[1..],
            &octets[..octets.len() - 1],
            &[octets, b"x"].concat(),
            &[octets, b"\0"].concat(),
        ] {
            assert_eq!(Verb::named(no), None, "{}", no.escape_ascii());
        }
        // No line end hides in a line, whatever the verb (RFC 5321 §2.3.8).
        for end in ["\r", "\n", "\r\n"] {
            for line in
                [format!("{name} x{end}NOOP"), format!("{name} {end}"), format!("{name} {end}x")]
            {
                let malformed = Malformed { verb: Some(verb), why: Why::BareNewline };
                assert_eq!(parse(line.as_bytes(), LENIENT), Err(malformed), "{line:?}");
            }
            assert_eq!(read(&format!("{name}{end}NOOP"), LENIENT), Err(Why::BareNewline));
        }
    }
}

#[test]
fn strangers() {
    for line in [
        "GET / HTTP/1.1",
        "get / HTTP/1.0",
        "POST /x",
        "CONNECT a:25 HTTP/1.1",
        "HEAD / HTTP/1.0",
        "PUT /",
        "OPTIONS *",
        "DELETE /",
        "TRACE /",
        "PATCH /",
        "PRI * HTTP/2.0",
        "Host: a",
        "host:a",
        "SSH-2.0-x",
        "GET",
        "\u{16}\u{3}\u{1}",
        "\0",
        ".",
        "<a>",
        "220 x",
        "{",
        "é",
        "\u{1}NOOP",
    ] {
        assert_eq!(read(line, LENIENT), Err(Why::Foreign), "{line:?}");
    }
    assert_eq!(parse(b"\xFF\xFE", LENIENT), Err(Malformed { verb: None, why: Why::Foreign }));
    for line in [
        "",
        " ",
        "\t",
        " NOOP",
        "X",
        "XFOO",
        "NOOPX",
        "GETS",
        "HOS",
        "MAIL:",
        "FROM:<a@b>",
        "a\0",
        "SSH",
    ] {
        assert_eq!(read(line, LENIENT), Err(Why::UnknownVerb), "{line:?}");
    }
    for line in ["\nNOOP", "\rNOOP", "X\nNOOP", "X \rNOOP"] {
        assert_eq!(read(line, LENIENT), Err(Why::BareNewline), "{line:?}");
    }
}

#[test]
fn commands_with_and_without_an_argument() {
    for (name, command) in
        [("DATA", Command::Data), ("RSET", Command::Rset), ("QUIT", Command::Quit)]
    {
        for line in
            [name.to_owned(), format!("{name} "), format!("{name}\t \t"), name.to_lowercase()]
        {
            assert_eq!(read(&line, STRICT), Ok(command.clone()), "{line:?}");
        }
        for line in [format!("{name} x"), format!("{name} \0"), format!("{name}\tx")] {
            assert_eq!(read(&line, LENIENT), Err(Why::Argument), "{line:?}");
        }
    }
    assert_eq!(read("NOOP", STRICT), Ok(Command::Noop));
    assert_eq!(parse(b"noop anything \x80\0", STRICT), Ok(Command::Noop));
    assert_eq!(read("HELP ", LENIENT), Ok(Command::Help(None)));
    assert_eq!(parse(b"HELP  a\x01\xFF b ", LENIENT), Ok(Command::Help(Some("a?? b".into()))));
    for (line, verb) in [
        ("ETRN x", Verb::Etrn),
        ("TURN", Verb::Turn),
        ("SEND FROM:<>", Verb::Send),
        ("SOML", Verb::Soml),
        ("SAML", Verb::Saml),
    ] {
        assert_eq!(read(line, LENIENT), Ok(Command::NotHere(verb)));
    }
}

#[test]
fn names_of_clients() {
    for (given, kept) in [
        ("a.example", "a.example"),
        ("LOCALHOST", "LOCALHOST"),
        ("my_pc", "my_pc"),
        ("a.b.", "a.b."),
        ("-", "-"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[IPv6:::1]", "[IPv6:::1]"),
        ("[1.2", "[1.2"),
        (" a ", "a"),
        ("John's PC (x)", "John?s?PC??x?"),
        ("a\\\"<b>@c;d,e", "a???b??c?d?e"),
    ] {
        assert_eq!(read(&format!("EHLO {given}"), STRICT), Ok(Command::Ehlo(kept.into())));
        assert_eq!(read(&format!("helo {given}"), LENIENT), Ok(Command::Helo(kept.into())));
    }
    for bad in ["", " ", " \t", " a\0", " a\tb", " é", " \u{7F}"] {
        assert_eq!(read(&format!("EHLO{bad}"), UTF8), Err(Why::Argument), "{bad:?}");
    }
    let longest = "x".repeat(255);
    assert_eq!(read(&format!("EHLO {longest}"), STRICT), Ok(Command::Ehlo(longest.clone())));
    assert_eq!(read(&format!("EHLO {longest}x"), STRICT), Err(Why::TooLong));
}

#[test]
fn bdat() {
    let max = i64::MAX as u64;
    for (line, size, last) in [
        ("BDAT 0", 0, false),
        ("bdat 0 last", 0, true),
        ("BDAT 86 LAST ", 86, true),
        ("BDAT  5  Last", 5, true),
        ("BDAT 00000000000000000000000007", 7, false),
        ("BDAT 9223372036854775807", max, false),
    ] {
        assert_eq!(read(line, LENIENT), Ok(Command::Bdat { size, last }), "{line}");
    }
    for (line, size) in [
        ("BDAT", None),
        ("BDAT ", None),
        ("BDAT x", None),
        ("BDAT -1", None),
        ("BDAT +1", None),
        ("BDAT 0x1", None),
        ("BDAT 1.", None),
        ("BDAT LAST", None),
        ("BDAT 9223372036854775808", None),
        ("BDAT 5LAST", None),
        ("BDAT 18446744073709551616", None),
        ("BDAT 5 LAST x", Some(5)),
        ("BDAT 5 LATS", Some(5)),
        ("BDAT 5 \0", Some(5)),
        ("BDAT 5 6", Some(5)),
        ("BDAT 5 é", Some(5)),
    ] {
        assert_eq!(read(line, LENIENT), Err(Why::BadBdat(size)), "{line}");
    }
}

#[test]
fn vrfy_and_expn() {
    let vrfy = |text: &str, utf8| Ok(Command::Vrfy { text: text.into(), utf8 });
    assert_eq!(read("VRFY Bob Smith ", LENIENT), vrfy("Bob Smith", false));
    assert_eq!(read("VRFY <bob@a>", LENIENT), vrfy("bob@a", false));
    assert_eq!(read("VRFY <bob@a", LENIENT), vrfy("<bob@a", false));
    assert_eq!(read("VRFY bob smtputf8", LENIENT), vrfy("bob", true));
    assert_eq!(read("VRFY <jörg@a>  SMTPUTF8", LENIENT), vrfy("jörg@a", true));
    assert_eq!(read("VRFY SMTPUTF8", LENIENT), vrfy("SMTPUTF8", false));
    assert_eq!(read("VRFY jörg", UTF8), vrfy("jörg", true));
    assert_eq!(read("VRFY jörg", LENIENT), Err(Why::NeedsUtf8));
    let simple = Syntax { extended: false, ..LENIENT };
    assert_eq!(read("VRFY bob SMTPUTF8", simple), vrfy("bob SMTPUTF8", false));
    assert_eq!(read("EXPN list", LENIENT), Ok(Command::Expn { text: "list".into(), utf8: false }));
    for bad in [
        "VRFY",
        "VRFY ",
        "VRFY <>",
        "EXPN",
        "VRFY a\0",
        "VRFY a\tb",
        "VRFY a\u{85} SMTPUTF8",
        "VRFY <> SMTPUTF8",
    ] {
        assert_eq!(read(bad, LENIENT), Err(Why::Argument), "{bad:?}");
    }
    assert_eq!(parse(b"VRFY \xC0\xAF", UTF8).map_err(|it| it.why), Err(Why::Argument));
}

// ---------------------------------------------------------------- paths

#[test]
fn lenient_and_strict_paths() {
    for line in
        ["MAIL FROM:<u@d>", "mail from:<u@d>", "Mail From:<u@d> \t", "MAIL FROM:<@x,@y:u@d>"]
    {
        for syntax in [LENIENT, STRICT] {
            assert_eq!(sender(line, syntax), Ok("u@d".into()), "{line}");
        }
    }
    for line in [
        "MAIL FROM: <u@d>",
        "MAIL FROM:  \t<u@d>",
        "MAIL FROM:u@d",
        "MAIL FROM: u@d",
        "MAIL FROM:u@d SIZE=1",
        "MAIL FROM: u@d  SIZE=1",
        "MAIL FROM:<u@d>\tSIZE=1",
        "MAIL FROM:<u@d>  SIZE=1",
        "MAIL FROM:u@d\t SIZE=1",
    ] {
        assert_eq!(sender(line, LENIENT), Ok("u@d".into()), "{line}");
        assert!(read(line, STRICT).is_err(), "{line}");
    }
    assert_eq!(sender("MAIL FROM: <>", LENIENT), Ok("<>".into()));
    assert_eq!(sender("MAIL FROM:<> BODY=7BIT", STRICT), Ok("<>".into()));
    assert_eq!(sender("MAIL FROM:\"a b\"@d SIZE=1", LENIENT), Ok("\"a b\"@d".into()));
    assert_eq!(sender("MAIL FROM:<Bob@D>", STRICT), Ok("Bob@D".into()));
    for bad in [
        "MAIL",
        "MAIL ",
        "MAIL FROM",
        "MAIL <u@d>",
        "MAIL TO:<u@d>",
        "MAIL FROM :<u@d>",
        "MAIL FRÖM:<u@d>",
        "MAIL FROM:<u@d>SIZE=1",
        "MAIL FROM:<u@d>,<v@d>",
        "MAIL FROM:<>x",
    ] {
        assert_eq!(read(bad, LENIENT), Err(Why::Argument), "{bad}");
    }
    for bad in [
        "MAIL FROM:",
        "MAIL FROM: ",
        "MAIL FROM:<u>",
        "MAIL FROM:u",
        "MAIL FROM:< >",
        "MAIL FROM:<u@d",
        "MAIL FROM:u@d>",
        "MAIL FROM:<u\0@d>",
        "MAIL FROM:<\"u\t\"@d>",
        "MAIL FROM:<postmaster>",
        "MAIL FROM:u@d,v@d",
        "MAIL FROM:SIZE=1",
    ] {
        assert_eq!(read(bad, LENIENT), Err(Why::BadAddress), "{bad:?}");
    }
}

#[test]
fn recipients() {
    let whom = |line: &str| read(line, LENIENT).map(|command| rcpt_of(command).recipient);
    for line in [
        "RCPT TO:<postmaster>",
        "rcpt to:<PostMaster>",
        "RCPT TO: POSTMASTER",
        "RCPT TO:<Postmaster> NOTIFY=NEVER",
    ] {
        assert_eq!(whom(line), Ok(Recipient::Postmaster), "{line}");
    }
    for (line, shown) in [
        ("RCPT TO:<@a.example,@b.example:u@d.example>", "u@d.example"),
        ("RCPT TO:<postmaster@d>", "postmaster@d"),
        ("RCPT TO:<u%x@d>", "u%x@d"),
        ("RCPT TO:<x!u@d>", "x!u@d"),
        ("RCPT TO:<u@[192.0.2.1]>", "u@[192.0.2.1]"),
    ] {
        assert_eq!(whom(line).map(|it| it.to_string()), Ok(shown.into()), "{line}");
    }
    for bad in
        ["RCPT TO:<>", "RCPT TO:", "RCPT TO:<u>", "RCPT TO:<@a:postmaster>", "RCPT TO:<u@[1.2.3]>"]
    {
        assert_eq!(whom(bad), Err(Why::BadAddress), "{bad}");
    }
    assert_eq!(whom("RCPT FROM:<u@d>"), Err(Why::Argument));
    assert_eq!(whom(&format!("RCPT TO:<{}@d>", "u".repeat(65))), Err(Why::TooLong));
}

#[test]
fn utf8_only_where_it_was_asked_for() {
    assert_eq!(sender("MAIL FROM:<jörg@bücher> SMTPUTF8", LENIENT), Ok("jörg@bücher".into()));
    assert_eq!(sender("MAIL FROM:<u@d> SMTPUTF8", LENIENT), Ok("u@d".into()));
    for line in ["MAIL FROM:<jörg@d>", "MAIL FROM:<u@bücher> BODY=8BITMIME"] {
        // What an earlier transaction asked for does not count.
        assert_eq!(sender(line, UTF8), Err(Why::NeedsUtf8), "{line}");
    }
    assert_eq!(read("RCPT TO:<jörg@d>", LENIENT), Err(Why::NeedsUtf8));
    assert!(read("RCPT TO:<jörg@d>", UTF8).is_ok());
    // Overlong, surrogate, beyond Unicode, alone, cut off.
    for bad in [&b"\xC0\xAF"[..], b"\xED\xA0\x80", b"\xF4\x90\x80\x80", b"\x80", b"\xC3", b"\xFF"] {
        for line in
            [[b"RCPT TO:<u", bad, b"@d>"].concat(), [b"MAIL FROM:<u@", bad, b"> SMTPUTF8"].concat()]
        {
            assert_eq!(
                parse(&line, UTF8).map_err(|it| it.why),
                Err(Why::BadAddress),
                "{}",
                line.escape_ascii()
            );
        }
    }
}

// ---------------------------------------------------------------- parameters

#[test]
fn parameters_in_general() {
    for bad in [" FOO", " FOO=1", " size=1 X-Y=z", " NOTIFY=NEVER", " 1=2", " XTEXT SIZE=1"] {
        assert_eq!(mail_with(bad), Err(Why::UnknownParameter), "{bad}");
    }
    for bad in [" SIZE=1", " SMTPUTF8", " RET=FULL", " ENVID=x", " BODY=7BIT", " X"] {
        assert_eq!(rcpt_with(bad, UTF8), Err(Why::UnknownParameter), "{bad}");
    }
    for bad in
        [" =1", " -X=1", " X_Y=1", " FOO=", " FOO=a=b", " FOO=a\0", " FÖO=1", " SIZE=1\u{7F}", " ="]
    {
        assert_eq!(mail_with(bad), Err(Why::Parameter), "{bad:?}");
    }
    assert_eq!(read("MAIL FROM:<>  SIZE=1", STRICT), Err(Why::Parameter));
    let simple = Syntax { extended: false, ..LENIENT };
    assert_eq!(read("MAIL FROM:<> SIZE=1", simple), Err(Why::UnknownParameter));
    assert_eq!(read("RCPT TO:u@d NOTIFY=NEVER", simple), Err(Why::UnknownParameter));
    assert!(read("MAIL FROM:<> ", simple).is_ok());
    let all = " SIZE=1 body=8bitmime SMTPUTF8 ret=hdrs ENVID=x+2By AUTH=a@b";
    assert_eq!(
        mail_with(all),
        Ok(Mail {
            sender: None,
            size: Some(1),
            body: Some(BodyType::EightBitMime),
            utf8: true,
            ret: Some(Return::Headers),
            envelope_id: Some("x+y".into()),
            auth: Some("a@b".into()),
        })
    );
    for word in all.split_whitespace() {
        assert_eq!(mail_with(&format!(" {word} {word}")), Err(Why::Parameter), "{word} twice");
        let keyword = word.split('=').next().unwrap();
        assert_eq!(mail_with(&format!(" {keyword}=")), Err(Why::Parameter), "{word} empty");
    }
    for bad in [" SIZE", " BODY", " RET", " ENVID", " AUTH", " SMTPUTF8=1"] {
        assert_eq!(mail_with(bad), Err(Why::Parameter), "{bad}");
    }
}

#[test]
fn sizes_never_wrap() {
    for (value, size) in [
        ("0", 0),
        ("00000000000000000012", 12),
        ("18446744073709551615", u64::MAX),
        ("18446744073709551616", u64::MAX),
        ("99999999999999999999", u64::MAX),
    ] {
        assert_eq!(
            mail_with(&format!(" SIZE={value}")).map(|mail| mail.size),
            Ok(Some(size)),
            "{value}"
        );
    }
    for bad in [
        "000000000000000000001",
        "100000000000000000000",
        "-1",
        "+1",
        "",
        "x",
        "1k",
        "0x1",
        "1.0",
        "1=1",
        "١",
    ] {
        assert_eq!(mail_with(&format!(" SIZE={bad}")), Err(Why::Parameter), "{bad}");
    }
}

#[test]
fn bodies_and_returns() {
    for (value, body) in [
        ("7bit", BodyType::SevenBit),
        ("8BITMIME", BodyType::EightBitMime),
        ("BinaryMIME", BodyType::BinaryMime),
    ] {
        assert_eq!(mail_with(&format!(" BODY={value}")).map(|mail| mail.body), Ok(Some(body)));
    }
    assert_eq!(mail_with(" RET=full").map(|mail| mail.ret), Ok(Some(Return::Full)));
    for bad in [" BODY=8BIT", " BODY=7BIT,8BITMIME", " RET=HEADERS", " RET=FULL,HDRS"] {
        assert_eq!(mail_with(bad), Err(Why::Parameter), "{bad}");
    }
}

#[test]
fn envelope_ids_and_originators() {
    let id =
        |value: &str| mail_with(&format!(" ENVID={value}")).map(|mail| mail.envelope_id.unwrap());
    assert_eq!(id("QQ314159"), Ok("QQ314159".into()));
    assert_eq!(id("a+20b+2B+3D+7E"), Ok("a b+=~".into()));
    assert_eq!(id(&"x".repeat(100)), Ok("x".repeat(100)));
    for bad in [
        "+",
        "+2",
        "+2b",
        "+G0",
        "+0D",
        "+0A",
        "+00",
        "+7F",
        "+80",
        "+C3+A9",
        "é",
        "a+",
        "x=y",
        &"x".repeat(101),
    ] {
        assert_eq!(id(bad), Err(Why::Parameter), "{bad}");
    }
    let auth = |value: &str| mail_with(&format!(" AUTH={value}")).map(|mail| mail.auth.unwrap());
    assert_eq!(auth("<>"), Ok("<>".into()));
    assert_eq!(auth("e+3Dmc2@example.com"), Ok("e=mc2@example.com".into()));
    for bad in ["<a@b>", "a", "a@b+0D+0Ac", "e=mc2@example.com", "a+2@b", "é@b"] {
        assert_eq!(auth(bad), Err(Why::Parameter), "{bad}");
    }
}

#[test]
fn notifications() {
    let notify = |value: &str| {
        rcpt_with(&format!(" NOTIFY={value}"), LENIENT)
            .map(|rcpt| rcpt.notify.map(|it| (it.success, it.failure, it.delay)).unwrap())
    };
    assert_eq!(notify("never"), Ok((false, false, false)));
    assert_eq!(notify("SUCCESS"), Ok((true, false, false)));
    assert_eq!(notify("delay,Failure"), Ok((false, true, true)));
    assert_eq!(notify("SUCCESS,FAILURE,DELAY"), Ok((true, true, true)));
    for bad in [
        "NEVER,SUCCESS",
        "SUCCESS,NEVER",
        "",
        ",",
        "SUCCESS,",
        ",DELAY",
        "X",
        "SUCCESS;DELAY",
        "NEVER NOTIFY=NEVER",
    ] {
        assert_eq!(notify(bad), Err(Why::Parameter), "{bad}");
    }
}

#[test]
fn original_recipients() {
    let original = |value: &str, syntax| {
        rcpt_with(&format!(" ORCPT={value}"), syntax).map(|rcpt| rcpt.original.unwrap())
    };
    let pair = |kind: &str, address: &str| Ok((kind.to_owned(), address.to_owned()));
    assert_eq!(
        original("rfc822;Bob+2Bx@Example.com", LENIENT),
        pair("rfc822", "Bob+x@Example.com")
    );
    assert_eq!(original("X400;/C+3DUS", LENIENT), pair("X400", "/C=US"));
    assert_eq!(original("rfc822;a;b", LENIENT), pair("rfc822", "a;b"));
    assert_eq!(original("utf-8;j\\x{F6}rg\\x{2B}x@d", LENIENT), pair("utf-8", "jörg+x@d"));
    assert_eq!(original("UTF-8;\\x{1F600}@d", LENIENT), pair("UTF-8", "😀@d"));
    assert_eq!(original("utf-8;jörg@d", UTF8), pair("utf-8", "jörg@d"));
    assert_eq!(original("rfc822;j+C3+B6rg@d", UTF8), pair("utf-8", "jörg@d")); // as Postfix sends it
    assert_eq!(
        original(&format!("rfc822;{}", "x".repeat(493)), LENIENT).map(|it| it.1.len()),
        Ok(493)
    );
    for bad in [
        "rfc822",
        ";a@b",
        "rfc822;",
        "rfc 822;a@b",
        "rf.c;a@b",
        "rfc822;a+0Db",
        "rfc822;a+0A",
        "rfc822;+00",
        "rfc822;a+2b",
        "rfc822;a=b",
        "rfc822;é",
        "utf-8;é",
        "utf-8;a+2Bb",
        "utf-8;a\\b",
        "utf-8;\\x{",
        "utf-8;\\x{}",
        "utf-8;\\x{0D}",
        "utf-8;\\x{0A}",
        "utf-8;\\x{85}",
        "utf-8;\\x{D800}",
        "utf-8;\\x{110000}",
        "utf-8;\\x{41}",
        "utf-8;\\x{0F6}",
        "utf-8;\\x{f6}",
        "utf-8;\\x{1000000}",
        "utf-8;",
        "rfc822;a@b ORCPT=rfc822;a@b",
        &format!("rfc822;{}", "x".repeat(494)),
    ] {
        assert_eq!(original(bad, LENIENT), Err(Why::Parameter), "{bad}");
    }
    assert_eq!(original("rfc822;é", UTF8), Err(Why::Parameter));
}

// ---------------------------------------------------------------- exhaustively, and at random

/// `MAIL FROM:` and every short string over the letters that matter: only blanks and brackets tell
/// this from a path by itself, which has an oracle of its own.
#[test]
fn short_arguments_of_mail() {
    let alphabet = ['a', '.', '"', '\\', '@', '<', '>', ' '];
    let mut found = [0, 0];
    for number in 0..8_usize.pow(6) {
        let text: String = (0..6).map(|place| alphabet[number >> (3 * place) & 7]).collect();
        let line = format!("MAIL FROM:{text}");
        let end = text.trim_end();
        let lenient = address::path(end.trim_start())
            .is_ok_and(|(path, rest)| rest.is_empty() && path != Path::Postmaster);
        let strict =
            end.starts_with('<') && address::path(end).is_ok_and(|(_, rest)| rest.is_empty());
        assert_eq!(read(&line, LENIENT).is_ok(), lenient, "{line:?}");
        assert_eq!(read(&line, STRICT).is_ok(), strict, "{line:?}");
        found = [found[0] + u32::from(lenient), found[1] + u32::from(strict)];
    }
    assert!(found[0] > found[1] && found[1] > 3, "{found:?}");
}

fn print_mail(mail: &Mail) -> String {
    let mut line = match &mail.sender {
        None => "MAIL FROM:<>".to_owned(),
        Some(sender) => format!("MAIL FROM:<{sender}>"),
    };
    let mut add = |keyword: &str, value: Option<String>| {
        line += &value.map(|value| format!(" {keyword}={value}")).unwrap_or_default();
    };
    add("SIZE", mail.size.map(|size| size.to_string()));
    add(
        "BODY",
        mail.body.map(|body| match body {
            BodyType::SevenBit => "7BIT".into(),
            BodyType::EightBitMime => "8BITMIME".into(),
            BodyType::BinaryMime => "BINARYMIME".into(),
        }),
    );
    add(
        "RET",
        mail.ret.map(|ret| match ret {
            Return::Full => "FULL".into(),
            Return::Headers => "HDRS".into(),
        }),
    );
    add("ENVID", mail.envelope_id.as_deref().map(xtext::encode));
    add("AUTH", mail.auth.as_deref().map(xtext::encode));
    if mail.utf8 { line + " SMTPUTF8" } else { line }
}

fn print_rcpt(rcpt: &Rcpt) -> String {
    let mut line = format!("RCPT TO:<{}>", rcpt.recipient);
    if let Some(Notify { success, failure, delay }) = rcpt.notify {
        let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
        let words: Vec<_> = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
        line += " NOTIFY=";
        line += &if words.is_empty() { "NEVER".to_owned() } else { words.join(",") };
    }
    if let Some((kind, address)) = &rcpt.original {
        let utf8 = kind.eq_ignore_ascii_case("utf-8");
        let encoded = if utf8 { xtext::encode_unitext(address) } else { xtext::encode(address) };
        line += &format!(" ORCPT={kind};{encoded}");
    }
    line
}

fn any_mail() -> impl Strategy<Value = Mail> {
    let body = prop_oneof![
        Just(BodyType::SevenBit),
        Just(BodyType::EightBitMime),
        Just(BodyType::BinaryMime)
    ];
    let ret = prop_oneof![Just(Return::Full), Just(Return::Headers)];
    let auth =
        prop_oneof![Just("<>".to_owned()), "[a-z+]{1,9}@[a-z]{1,9}", Just("\"a b\"@d".to_owned())];
    let some = prop::option::of::<BoxedStrategy<_>>;
    (
        prop::option::of(any_mailbox()),
        prop::option::of(any::<u64>()),
        prop::option::of(body),
        any::<bool>(),
        prop::option::of(ret),
        some("[ -~]{1,33}".boxed()),
        some(auth.boxed()),
    )
        .prop_map(|(sender, size, body, utf8, ret, envelope_id, auth)| {
            let utf8 = utf8 || sender.as_ref().is_some_and(|sender| !sender.is_ascii());
            Mail { sender, size, body, utf8, ret, envelope_id, auth }
        })
}

fn any_rcpt() -> impl Strategy<Value = Rcpt> {
    let recipient = prop_oneof![1 => Just(Recipient::Postmaster), 9 => any_mailbox().prop_map(Recipient::Mailbox)];
    let notify =
        any::<[bool; 3]>().prop_map(|[success, failure, delay]| Notify { success, failure, delay });
    let original =
        prop_oneof![("rfc822|[a-z0-9]{1,7}", "[ -~]{1,60}"), ("utf-8|UTF-8", "[^\\p{Cc}]{1,30}"),];
    (recipient, prop::option::of(notify), prop::option::of(original))
        .prop_map(|(recipient, notify, original)| Rcpt { recipient, notify, original })
}

/// Every text in a command.
fn texts(command: &Command) -> Vec<String> {
    match command {
        Command::Helo(name) | Command::Ehlo(name) | Command::Lhlo(name) => vec![name.clone()],
        Command::XClient(claims) | Command::XForward(claims) => {
            let mut shown = claims::Forwarded::default();
            shown.add(claims.clone());
            vec![shown.to_string()]
        }
        Command::Mail(mail) => {
            let sender = mail.sender.as_ref().map(ToString::to_string);
            [sender, mail.envelope_id.clone(), mail.auth.clone()].into_iter().flatten().collect()
        }
        Command::Rcpt(Rcpt { recipient, original, .. }) => {
            let (kind, address) = original.clone().unwrap_or_default();
            vec![recipient.to_string(), kind, address]
        }
        Command::Vrfy { text, .. } | Command::Expn { text, .. } => vec![text.clone()],
        Command::Help(text) => text.iter().cloned().collect(),
        Command::Data
        | Command::Bdat { .. }
        | Command::Rset
        | Command::Noop
        | Command::Quit
        | Command::StartTls
        | Command::NotHere(_) => Vec::new(),
        Command::Auth(auth) => vec![auth.mechanism.clone()],
    }
}

#[test]
fn auth_has_a_mechanism_and_may_have_a_response() {
    let auth = |line: &str| read(line, LENIENT);
    let with = |mechanism: &str, initial: Option<&[u8]>| {
        let initial = initial.map(|octets| Secret::new(octets.to_vec()));
        Ok(Command::Auth(Auth { mechanism: mechanism.into(), initial }))
    };
    assert_eq!(auth("AUTH PLAIN"), with("PLAIN", None));
    assert_eq!(auth("auth  scram-sha-256 \t"), with("SCRAM-SHA-256", None));
    assert_eq!(auth("AUTH X_1-y ="), with("X_1-Y", Some(b"")));
    assert_eq!(auth("AUTH PLAIN AGFubgBwYXNz"), with("PLAIN", Some(b"\0ann\0pass")));
    assert_eq!(auth("AUTH PLAIN YQ=="), with("PLAIN", Some(b"a")));
    for bad in
        ["AUTH", "AUTH PLAIN a b", "AUTH ABCDEFGHIJKLMNOPQRSTU", "AUTH P.LAIN", "AUTH \u{e4}"]
    {
        assert_eq!(auth(bad), Err(Why::Argument), "{bad}");
    }
    // RFC 4954 §4 with its own examples; and what would decode only if one looked away.
    for bad in
        ["=AAA", "AAA=BBB", "AAA=BBB=", "A", "AA", "AAA", "AB==", "A*==", "AA==AA==", "AAAA="]
    {
        assert_eq!(auth(&format!("AUTH PLAIN {bad}")), Err(Why::Base64), "{bad}");
    }
    assert_eq!(auth("STARTTLS"), Ok(Command::StartTls));
    assert_eq!(auth("STARTTLS x"), Err(Why::Argument));
    let shown = format!("{:?}", auth("AUTH PLAIN AGFubgBwYXNz"));
    assert!(!shown.contains("pass") && !shown.contains("112"), "{shown}");
}

fn any_syntax() -> impl Strategy<Value = Syntax> {
    any::<[bool; 3]>().prop_map(|[strict, utf8, extended]| Syntax { strict, utf8, extended })
}

proptest! {
    #[test]
    fn what_was_printed_reads_as_the_same(mail in any_mail(), rcpt in any_rcpt(), strict in any::<bool>()) {
        let syntax = Syntax { strict, ..UTF8 };
        prop_assert_eq!(read(&print_mail(&mail), syntax), Ok(Command::Mail(mail)));
        prop_assert_eq!(read(&print_rcpt(&rcpt), syntax), Ok(Command::Rcpt(rcpt)));
    }

    #[test]
    fn every_line_has_an_answer_without_controls(
        line in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "(MAIL FROM|RCPT TO): ?<?[a@.\"\\\\é\u{1}]{0,9}>?( (SIZE|ENVID|ORCPT|AUTH|NOTIFY)=?[a;+0-9AD]{0,9}){0,2}".prop_map(String::into_bytes),
            "(XCLIENT|XFORWARD) ((NAME|ADDR|HELO|IDENT|LOGIN)=[a+0-9AD.]{0,9} ?){0,3}".prop_map(String::into_bytes),
            "(EHLO|HELO|LHLO|VRFY|EXPN|HELP|NOOP|BDAT|RSET|AUTH|STARTTLS) ?.{0,12}".prop_map(String::into_bytes),
        ],
        syntax in any_syntax(),
    ) {
        let read = parse(&line, syntax);
        let end = line.iter().position(|octet| matches!(octet, b' ' | b'\t')).unwrap_or(line.len());
        let mut other = line.clone();
        other[..end].make_ascii_lowercase();
        prop_assert_eq!(&parse(&other, syntax), &read);
        match read {
            Ok(command) => prop_assert!(!texts(&command).concat().chars().any(char::is_control), "{command:?}"),
            Err(malformed) => {
                prop_assert_eq!(malformed.verb, Verb::named(&line[..end]));
                let nameless = matches!(malformed.why, Why::UnknownVerb | Why::Foreign);
                prop_assert!(malformed.why == Why::BareNewline || nameless == malformed.verb.is_none());
            }
        }
    }

    #[test]
    fn the_case_of_a_local_part_is_kept(local in "[a-zA-Z]{1,20}") {
        let Ok(Command::Rcpt(Rcpt { recipient: Recipient::Mailbox(mailbox), .. })) =
            read(&format!("rCpT tO:<{local}@D>"), STRICT) else { panic!("{local}") };
        prop_assert_eq!(mailbox, Mailbox { local, domain: Domain::Name("D".into()) });
    }
}
