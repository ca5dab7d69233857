//! smtp::client::offers – what the server can do beyond RFC 821, as its reply to EHLO or LHLO lists it.
//!
//! Promises: a keyword that is not understood, or malformed, is one that is not there.
//! Not here: what is made of it (`session`).

use crate::limits::SMTP_CLIENT_MECHANISMS_MAX;
use crate::wire::ascii::decimal;

/// Extensions offered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is offered or not")]
pub struct Offers {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030 §3).
    pub binary: bool,
    /// SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// DSN (RFC 3461). Without it the notices of success are ours to give.
    pub dsn: bool,
    /// STARTTLS (RFC 3207).
    pub start_tls: bool,
    /// SIZE (RFC 1870) is offered: the parameter is understood.
    pub sizes: bool,
    /// Octets of the largest message it takes; `None` when it does not say.
    pub size: Option<u64>,
    /// SASL mechanisms of AUTH (RFC 4954), in upper case.
    pub mechanisms: Vec<String>,
    /// LIMITS RCPTMAX (RFC 9422): recipients of a transaction.
    pub recipients_max: Option<u64>,
    /// LIMITS MAILMAX: transactions of a connection.
    pub messages_max: Option<u64>,
}

impl Offers {
    /// Of a reply's lines; the first is a greeting.
    pub(super) fn read(text: &str) -> Self {
        let mut offers = Self::default();
        for line in text.lines().skip(1) {
            let mut words = line.split_ascii_whitespace();
            let Some(keyword) = words.next() else { continue };
            offers.add(&keyword.to_ascii_uppercase(), words);
        }
        // RFC 3030 §3: BINARYMIME is nothing without CHUNKING.
        offers.binary &= offers.chunking;
        offers
    }

    fn add<'a>(&mut self, keyword: &str, mut words: impl Iterator<Item = &'a str>) {
        match keyword {
            "PIPELINING" => self.pipelining = true,
            "8BITMIME" => self.eight_bit = true,
            "CHUNKING" => self.chunking = true,
            "BINARYMIME" => self.binary = true,
            "SMTPUTF8" => self.utf8 = true,
            "DSN" => self.dsn = true,
            "STARTTLS" => self.start_tls = true,
            "SIZE" => {
                self.sizes = true;
                // RFC 1870 §3: 0 is no limit.
                let size = words.next().and_then(|digits| decimal(digits.as_bytes()));
                self.size = size.filter(|size| *size > 0);
            }
            "AUTH" => words.for_each(|word| self.add_mechanism(word)),
            "LIMITS" => words.for_each(|word| self.add_limit(word)),
            // `AUTH=LOGIN PLAIN` is how it was written before RFC 2554; some servers write nothing else.
            _ => {
                if let Some(first) = keyword.strip_prefix("AUTH=") {
                    self.add_mechanism(first);
                    words.for_each(|word| self.add_mechanism(word));
                }
            }
        }
    }

    fn add_mechanism(&mut self, word: &str) {
        // RFC 4422 §3.1: 1 to 20 letters, digits, hyphens, underscores.
        let named = (1..=20).contains(&word.len())
            && word.bytes().all(|o| o.is_ascii_alphanumeric() || matches!(o, b'-' | b'_'));
        let word = word.to_ascii_uppercase();
        let full = self.mechanisms.len() >= SMTP_CLIENT_MECHANISMS_MAX;
        if named && !full && !self.mechanisms.contains(&word) {
            self.mechanisms.push(word);
        }
    }

    /// RFC 9422 §3: a value of 0 means nothing.
    fn add_limit(&mut self, word: &str) {
        let Some((name, value)) = word.split_once('=') else { return };
        let value = decimal(value.as_bytes()).filter(|value| *value > 0);
        match name.to_ascii_uppercase().as_str() {
            "RCPTMAX" => self.recipients_max = value,
            "MAILMAX" => self.messages_max = value,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_found_in_any_case_and_junk_is_not() {
        let offers = Offers::read(
            "mx.example greets you\nPIPELINING\nsize 1000\n8bitmime\nCHUNKING\nBinaryMIME\nSMTPUTF8\nDSN\n\
             STARTTLS\nAUTH plain LOGIN\nAUTH=LOGIN SCRAM-SHA-256\nLIMITS RCPTMAX=20 mailmax=5 X=1 Y\n\nX-JUNK a",
        );
        let expected = Offers {
            pipelining: true,
            eight_bit: true,
            chunking: true,
            binary: true,
            utf8: true,
            dsn: true,
            start_tls: true,
            sizes: true,
            size: Some(1000),
            mechanisms: ["PLAIN", "LOGIN", "SCRAM-SHA-256"].map(String::from).to_vec(),
            recipients_max: Some(20),
            messages_max: Some(5),
        };
        assert_eq!(offers, expected);
    }

    #[test]
    fn the_first_line_offers_nothing_and_values_that_mean_nothing_are_none() {
        assert_eq!(Offers::read("DSN"), Offers::default());
        let offers = Offers::read(
            "x\nSIZE\nBINARYMIME\nAUTH bad! \u{e4}\nLIMITS RCPTMAX=0 MAILMAX=-1\nDSNX",
        );
        assert_eq!(offers, Offers { sizes: true, ..Offers::default() });
        for size in ["0", "99999999999999999999", "x", "-1"] {
            let offers = Offers::read(&format!("x\nSIZE {size}"));
            assert_eq!((offers.sizes, offers.size), (true, None), "{size}");
        }
        let many: String = (0..100).map(|number| format!(" M{number}")).collect();
        let offers = Offers::read(&format!("x\nAUTH{many}"));
        assert_eq!(offers.mechanisms.len(), SMTP_CLIENT_MECHANISMS_MAX);
    }
}
