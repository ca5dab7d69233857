//! config::read::inlet – who is listened to and who is believed: LMTP's listeners, and networks with a say.
//!
//! Promises: nothing comes out that would let the world relay, or say who it is.
//! Not here: the other listeners (`read`), single values (`values`).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::super::values::{joined, network, non_empty_path, socket_address};
use super::super::{Endpoint, Network};
use super::Reader;
use crate::limits::{LISTEN_MAX, UNIX_PATH_BYTES_MAX};

/// Networks wider than these are half the world.
const PREFIX_MIN_V4: u8 = 8;
const PREFIX_MIN_V6: u8 = 16;
/// RFC 2033 §5: LMTP must not be spoken there.
const SMTP_PORT: u16 = 25;

/// What a network is trusted with.
pub(super) struct Say {
    /// What it would be if the network were too wide.
    wide: &'static str,
    /// Whom to name instead.
    remedy: &'static str,
}

/// It may send anywhere.
pub(super) const RELAYS: Say = Say {
    wide: "this would be an open relay",
    remedy: "name the networks of your own machines, /{} or narrower; others need not be listed to send to your domains",
};
/// It may say for whom it speaks.
pub(super) const VOUCHES: Say = Say {
    wide: "the world could say who it is",
    remedy: "name the proxies and servers of your own, /{} or narrower",
};

/// Networks that are believed something. Whoever believes everybody makes the server a sluice for spam.
pub(super) fn trusted(keys: &mut Reader<'_, '_>, key: &str, say: &Say) -> Vec<Network> {
    const ALLOWED: &str = "ADDRESS/PREFIX with no bit set behind the prefix, like \"192.0.2.0/24\" or \"2001:db8::/32\"";
    let networks = keys.list(key, ALLOWED, network);
    let Reader { document, section } = keys;
    let given = section.value(key).get_ref().as_array();
    for value in given.into_iter().flat_map(|array| array.iter()) {
        let Some(network) = value.get_ref().as_str().and_then(network) else { continue };
        let least = match network.address {
            IpAddr::V4(_) => PREFIX_MIN_V4,
            IpAddr::V6(_) => PREFIX_MIN_V6,
        };
        if network.prefix < least {
            let remedy = say.remedy.replace("{}", &least.to_string());
            document.reject(value.span(), format!("{key} = \"{network}\""), say.wide, remedy);
        }
    }
    networks
}

/// Where LMTP is spoken.
pub(super) fn lmtp(keys: &mut Reader<'_, '_>, data_dir: &Path) -> Vec<Endpoint> {
    const KEY: &str = "listen_lmtp";
    const ALLOWED: &str = "ADDRESS:PORT, like \"127.0.0.1:24\", but not port 25 (RFC 2033 §5), or \"unix:PATH\" of at most 107 octets";
    let listen = keys.list(KEY, ALLOWED, |text| endpoint(text, data_dir));
    let fixed = |one: &&Endpoint| !matches!(one, Endpoint::Net(address) if address.port() == 0);
    let fixed: Vec<_> = listen.iter().filter(fixed).collect();
    if fixed.iter().collect::<BTreeSet<_>>().len() < fixed.len() {
        let span = keys.section.value(KEY).span();
        keys.document.reject_value(KEY, span, "each address at most once");
    }
    if listen.len() > LISTEN_MAX {
        let span = keys.section.value(KEY).span();
        keys.document.reject_value(KEY, span, format_args!("at most {LISTEN_MAX} addresses"));
    }
    listen
}

fn endpoint(text: &str, data_dir: &Path) -> Option<Endpoint> {
    let Some(path) = text.strip_prefix("unix:") else {
        return socket_address(text).filter(|at| at.port() != SMTP_PORT).map(Endpoint::Net);
    };
    let path = joined(data_dir, &non_empty_path(path)?);
    let fits =
        path.as_os_str().as_bytes().len() <= UNIX_PATH_BYTES_MAX && path.file_name().is_some();
    fits.then_some(Endpoint::Unix(path))
}
