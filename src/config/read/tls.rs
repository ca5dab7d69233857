//! config::read::tls – `[tls]` and `[[tls.sni]]`.
//!
//! Not here: what is in the files (`tls`).

use std::path::{Path, PathBuf};

use super::super::values::{joined, non_empty_path};
use super::super::{Sni, Tls};
use super::{Reader, keys};
use crate::document::{Document, Value};
use crate::limits::SNI_MAX;

const PATH: &str = "the path of a PEM file";

pub(super) fn read(keys: &mut Reader<'_, '_>, data_dir: &Path) -> Tls {
    let path = |keys: &mut Reader<'_, '_>, key| {
        let path = keys.parsed(key, PATH, non_empty_path);
        path.map(|path| joined(data_dir, &path)).unwrap_or_default()
    };
    let (certificate, private_key) = (path(keys, "certificate"), path(keys, "private_key"));
    let own = ["certificate", "private_key"].map(|key| {
        let default = keys.section.defaults.and_then(|table| table.get(key));
        default
            .and_then(|value| value.get_ref().as_str())
            .map(|path| joined(data_dir, Path::new(path)))
    }) == [Some(&certificate), Some(&private_key)].map(|path| path.cloned());
    Tls { certificate, private_key, own, sni: sni(keys, data_dir) }
}

fn sni(keys: &mut Reader<'_, '_>, data_dir: &Path) -> Vec<Sni> {
    let Reader { document, section } = keys;
    let Some(value) = section.given("sni") else { return Vec::new() };
    let tables = value.get_ref().as_array();
    let Some(tables) = tables.filter(|tables| tables.len() <= SNI_MAX) else {
        let allowed = format!("at most {SNI_MAX} tables, each begun by a line [[tls.sni]]");
        document.reject_value("sni", value.span(), allowed);
        return Vec::new();
    };
    tables.iter().filter_map(|one| certificate(document, one, data_dir)).collect()
}

fn certificate(document: &mut Document<'_>, value: &Value<'_>, data_dir: &Path) -> Option<Sni> {
    let Some(table) = value.get_ref().as_table() else {
        document.reject_value("sni", value.span(), "a table, begun by a line [[tls.sni]]");
        return None;
    };
    let tables = keys::SECTIONS.iter().flat_map(|section| section.tables);
    let known = tables.filter(|table| table.name == "sni").flat_map(|table| table.keys);
    document.unknown_keys(table, known.map(|(name, _)| *name), "key of [[tls.sni]]");
    let mut path = |key: &str| -> Option<PathBuf> {
        let Some(one) = table.get(key) else {
            let what = format!("[[tls.sni]] without {key}");
            document.reject(value.span(), what, "", format!("add {key} = …"));
            return None;
        };
        let path = document.parsed(key, one, PATH, non_empty_path)?;
        Some(joined(data_dir, &path))
    };
    let (certificate, private_key) = (path("certificate"), path("private_key"));
    Some(Sni { certificate: certificate?, private_key: private_key? })
}
