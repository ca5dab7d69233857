//! SMTP's command parser: whatever the line, an answer without controls; what was printed reads as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::smtp::command::{Command, Mail, Rcpt, Syntax, Verb, Why, parse};
use sluicegate::smtp::envelope::{BodyType, Notify, Return};
use sluicegate::smtp::xtext;

/// The line with its verb in the other case.
fn swapped(line: &[u8]) -> Vec<u8> {
    let verb = line.iter().position(|octet| matches!(octet, b' ' | b'\t')).unwrap_or(line.len());
    let (verb, rest) = line.split_at(verb);
    let swap = |octet: &u8| if octet.is_ascii_alphabetic() { octet ^ 0x20 } else { *octet };
    verb.iter().map(swap).chain(rest.iter().copied()).collect()
}

fn mail(mail: &Mail) -> String {
    let mut line =
        mail.sender.as_ref().map_or("MAIL FROM:<>".to_owned(), |it| format!("MAIL FROM:<{it}>"));
    if let Some(size) = mail.size {
        line += &format!(" SIZE={size}");
    }
    line += match mail.body {
        None => "",
        Some(BodyType::SevenBit) => " BODY=7BIT",
        Some(BodyType::EightBitMime) => " BODY=8BITMIME",
        Some(BodyType::BinaryMime) => " BODY=BINARYMIME",
    };
    line += match mail.ret {
        None => "",
        Some(Return::Full) => " RET=FULL",
        Some(Return::Headers) => " RET=HDRS",
    };
    if let Some(id) = &mail.envelope_id {
        line += &format!(" ENVID={}", xtext::encode(id));
    }
    if let Some(auth) = &mail.auth {
        line += &format!(" AUTH={}", xtext::encode(auth));
    }
    line + if mail.utf8 { " SMTPUTF8" } else { "" }
}

fn rcpt(rcpt: &Rcpt) -> String {
    let mut line = format!("RCPT TO:<{}>", rcpt.recipient);
    if let Some(Notify { success, failure, delay }) = rcpt.notify {
        let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
        let words: Vec<_> = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
        line += &format!(
            " NOTIFY={}",
            if words.is_empty() { "NEVER".to_owned() } else { words.join(",") }
        );
    }
    if let Some((kind, address)) = &rcpt.original {
        let utf8 = kind.eq_ignore_ascii_case("utf-8");
        let address = if utf8 { xtext::encode_unitext(address) } else { xtext::encode(address) };
        line += &format!(" ORCPT={kind};{address}");
    }
    line
}

/// The command as a client would write it, where it has an argument.
fn printed(command: &Command) -> Option<String> {
    match command {
        Command::Helo(name) => Some(format!("HELO {name}")),
        Command::Ehlo(name) => Some(format!("EHLO {name}")),
        Command::Lhlo(name) => Some(format!("LHLO {name}")),
        Command::XClient(_) | Command::XForward(_) => None,
        Command::Mail(it) => Some(mail(it)),
        Command::Rcpt(it) => Some(rcpt(it)),
        Command::Bdat { size, last } => {
            Some(format!("BDAT {size}{}", if *last { " LAST" } else { "" }))
        }
        // In brackets, for it may begin with one or end in the word SMTPUTF8.
        Command::Vrfy { text, utf8 } => {
            Some(format!("VRFY <{text}>{}", if *utf8 { " SMTPUTF8" } else { "" }))
        }
        Command::Expn { text, utf8 } => {
            Some(format!("EXPN <{text}>{}", if *utf8 { " SMTPUTF8" } else { "" }))
        }
        Command::Help(Some(text)) => Some(format!("HELP {text}")),
        Command::Data | Command::Rset | Command::Help(None) | Command::Noop | Command::Quit => None,
        Command::StartTls | Command::Auth(_) | Command::NotHere(_) => None,
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (bits, line) = input;
    let syntax = Syntax { strict: bits & 1 != 0, utf8: bits & 2 != 0, extended: bits & 4 != 0 };
    let read = parse(line, syntax);
    assert_eq!(read, parse(&swapped(line), syntax), "case matters");
    let end = line.iter().position(|octet| matches!(octet, b' ' | b'\t')).unwrap_or(line.len());
    let verb = Verb::named(&line[..end]);

    let command = match read {
        Ok(command) => command,
        Err(malformed) => {
            assert_eq!(malformed.verb, verb);
            match malformed.why {
                Why::UnknownVerb | Why::Foreign => assert_eq!(verb, None),
                Why::BareNewline => {
                    assert!(line.iter().any(|octet| matches!(octet, b'\r' | b'\n')))
                }
                Why::BadBdat(_) => assert_eq!(verb, Some(Verb::Bdat)),
                Why::NeedsUtf8 => assert!(!line.is_ascii()),
                Why::Argument
                | Why::BadAddress
                | Why::TooLong
                | Why::UnknownParameter
                | Why::Parameter
                | Why::Base64 => {
                    assert!(verb.is_some());
                }
            }
            return;
        }
    };
    assert!(verb.is_some() && !line.iter().any(|octet| matches!(octet, b'\r' | b'\n')));
    // What is refused leniently is refused strictly.
    assert_eq!(parse(line, Syntax { strict: false, ..syntax }).as_ref(), Ok(&command));
    if let Some(line) = printed(&command) {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        let all = Syntax { extended: true, ..syntax };
        let utf8 = Syntax { utf8: syntax.utf8 || !line.is_ascii(), ..all };
        assert_eq!(parse(line.as_bytes(), utf8), Ok(command), "{line:?} is read differently");
    }
});
