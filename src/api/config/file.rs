//! Reads a TOML file into settings and problems, each with the line and column where it stands.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Key, Place, Problem, check, known};
use crate::types::{Code, Error, Result};

/// A configuration is short; what is longer is not one.
const LONGEST_BYTES: u64 = 1024 * 1024;

type Settings = Vec<(&'static Key, String, Place)>;

/// Reads a file; fails only when it cannot be read at all.
pub(super) fn read(path: &Path) -> Result<(Settings, Vec<Problem>)> {
    let cannot = |why: String| Error::new(Code::System, format!("cannot read configuration {}: {why}", path.display()));
    let file = File::open(path).map_err(|e| cannot(e.to_string()))?;
    // Read up to the bound rather than asked for its length: a device says that it has none, and never ends.
    let mut text = String::new();
    file.take(LONGEST_BYTES + 1).read_to_string(&mut text).map_err(|e| cannot(e.to_string()))?;
    if text.len() as u64 > LONGEST_BYTES {
        return Err(cannot(format!("it has more than the {LONGEST_BYTES} bytes that are allowed")));
    }
    let mut reading = Reading { path, text: &text, settings: Vec::new(), problems: Vec::new() };
    match DeTable::parse(&text) {
        Ok(table) => reading.table("", table.get_ref()),
        Err(error) => reading.not_toml(&error),
    }
    Ok((reading.settings, reading.problems))
}

struct Reading<'a> {
    path: &'a Path,
    text: &'a str,
    settings: Settings,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn table(&mut self, section: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let written = key.get_ref().as_ref();
            let name = if section.is_empty() { written.to_owned() } else { format!("{section}.{written}") };
            match value.get_ref() {
                DeValue::Table(inner) if section.is_empty() && super::keys::find(&name).is_none() => {
                    self.section(&name, key, inner);
                }
                _ => self.setting(&name, key, value),
            }
        }
    }

    fn section(&mut self, name: &str, key: &Spanned<std::borrow::Cow<'_, str>>, inner: &DeTable<'_>) {
        let prefix = format!("{name}.");
        if super::KEYS.iter().any(|k| k.name.starts_with(&prefix)) {
            return self.table(name, inner);
        }
        let sections: Vec<&str> = super::KEYS.iter().filter_map(|k| k.name.split_once('.')).map(|(s, _)| s).collect();
        let likeness = |s: &&&str| (strsim::jaro_winkler(s, name) * 1e6) as u64;
        let near = sections.iter().max_by_key(likeness).filter(|s| likeness(s) > 750_000);
        let advice = near.map_or_else(String::new, |s| format!("; did you mean '[{s}]'?"));
        let place = Some(self.place(key.span()));
        let nearest = near.and_then(|s| super::KEYS.iter().find(|k| k.name.split('.').next() == Some(s)));
        self.problems.push(Problem {
            key: name.to_owned(),
            value: None,
            place,
            allowed: None,
            nearest: nearest.map(|k| k.name),
            what: format!("there is no section '[{name}]'{advice}"),
            code: Code::Config,
        });
    }

    fn setting(&mut self, name: &str, key: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        // A wrong key is shown where the key stands, a wrong value where the value stands.
        let key_place = self.place(key.span());
        let place = self.place(value.span());
        let checked = known(name, Some(key_place)).and_then(|key| {
            let text = text_of(key, value.get_ref()).ok_or_else(|| {
                let written = &self.text[value.span()];
                let why = format!("{}, where a {} is needed", article(value.get_ref().type_str()), wanted(key));
                Problem::value(key, written, &why, Some(place.clone()))
            })?;
            check(name, &text, Some(place.clone()))
        });
        match checked {
            Ok((key, text)) => self.settings.push((key, text, place)),
            Err(problem) => self.problems.push(*problem),
        }
    }

    fn not_toml(&mut self, error: &toml::de::Error) {
        let place = Some(self.place(error.span().unwrap_or(0..0)));
        let what = format!("this is not TOML: {}", error.message());
        let code = Code::Config;
        self.problems.push(Problem {
            key: String::new(),
            value: None,
            place,
            allowed: None,
            nearest: None,
            what,
            code,
        });
    }

    fn place(&self, span: Range<usize>) -> Place {
        let before = &self.text[..span.start.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Place { file: self.path.to_owned(), line, column }
    }
}

/// The value as the text that a setter would take; `None` when it has the wrong type.
fn text_of(key: &Key, value: &DeValue<'_>) -> Option<String> {
    match (value, key.kind.type_name()) {
        (DeValue::String(text), "list") => Some(text.to_string()),
        (DeValue::Array(entries), "list") => {
            let entries: Option<Vec<&str>> = entries.iter().map(|entry| entry.get_ref().as_str()).collect();
            // A comma inside an entry would make two of it.
            entries.filter(|all| all.iter().all(|e| !e.contains(','))).map(|all| all.join(","))
        }
        (DeValue::Integer(number), "number") => {
            i128::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string())
        }
        (DeValue::String(text), "number") if key.kind.unit() == Some("bytes") => Some(text.to_string()),
        (DeValue::Boolean(flag), "flag") => Some(flag.to_string()),
        (DeValue::String(text), "text" | "choice" | "address") => Some(text.to_string()),
        _ => None,
    }
}

fn wanted(key: &Key) -> &'static str {
    match key.kind.type_name() {
        "list" => "list of strings",
        "number" => "whole number",
        "flag" => "boolean",
        _ => "string in quotes",
    }
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}
