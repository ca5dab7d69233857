//! page – one self-contained HTML page: no script, nothing from elsewhere, light and dark.
//!
//! Promises: what is put in as text is escaped; the page looks the same without a network.
//! Not here: what stands on it (`report`, `compare::html`).

use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");

/// Text as HTML.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// The whole document around `body`, which is HTML already.
pub fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title)
    )
}

/// A list of names and what they are.
pub fn definitions<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut html = String::from("<dl>\n");
    for (name, value) in pairs {
        let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(&value));
    }
    html.push_str("</dl>\n");
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            escape("<a href='x' & \"y\">"),
            "&lt;a href=&#39;x&#39; &amp; &quot;y&quot;&gt;"
        );
        let page = document("<script>", &definitions([("a<b", "c&d".into())]));
        assert!(page.contains("<title>&lt;script&gt;</title>"));
        assert!(page.contains("<dt>a&lt;b</dt><dd>c&amp;d</dd>"));
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        let page = document("t", "");
        for forbidden in ["<script", "<link", "url(", "@import", "src="] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }
}
