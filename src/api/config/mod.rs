//! Configuration: one table of keys, four places that may set them, one answer.
//!
//! Precedence, weakest first: the default (or what the detector's profile chooses), the file, the environment
//! (`DECURION_GROUP_SIZE` for `group.size`), [`Config::set`]. The order of the calls does not matter.

mod document;
mod file;
mod keys;
mod multicast;
mod resolve;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

pub use document::page;
pub use keys::{Default as DefaultValue, KEYS, Key, PROFILES};
pub use value::Kind;

use crate::types::{Code, Error, Result};

/// Settings of one member. Plain data: any thread, nothing happens until an engine is opened with it.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What was set, per key, by precedence.
    values: BTreeMap<&'static str, [Option<Setting>; 3]>,
}

/// Where a value came from; later ones win.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The detector's profile chose it.
    Profile(&'static str),
    /// A file.
    File(Place),
    /// An environment variable.
    Environment(String),
    /// A call of [`Config::set`].
    Set,
}

/// A place in a configuration file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The file, as it was named.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The key as it was written; empty when the file cannot be read as TOML at all.
    pub key: String,
    /// The value as it was written, if it is the value that is wrong.
    pub value: Option<String>,
    /// Where it stands, if it stands in a file.
    pub place: Option<Place>,
    /// The allowed range, if the key is known.
    pub allowed: Option<String>,
    /// The nearest known key, if the key is not known and one is like it.
    pub nearest: Option<&'static str>,
    /// What is wrong, in words that name key and value.
    pub what: String,
    code: Code,
}

/// A key with its value in force.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The key.
    pub key: &'static Key,
    /// Its value as text; empty when it follows from other settings when the engine opens.
    pub value: String,
    /// Who said so.
    pub origin: Origin,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Setting {
    text: String,
    origin: Origin,
}

type Checked<T> = std::result::Result<T, Box<Problem>>;

/// Where a layer stands in [`Config::values`].
const FILE: usize = 0;
const ENVIRONMENT: usize = 1;
const SET: usize = 2;

impl Config {
    /// All defaults.
    pub fn new() -> Config {
        Config::default()
    }

    /// Sets one key. Lists have commas between their entries. `Code::Config` names key, value, range and the nearest
    /// known key; nothing was changed then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let (key, text) = check(key, value, None).map_err(|problem| problem.error())?;
        self.put(key, SET, Setting { text, origin: Origin::Set });
        Ok(())
    }

    /// Reads a TOML file. The error lists everything that is wrong in it, each with line and column; nothing was
    /// changed then. `Code::System` when the file cannot be read. Blocks for the file system.
    pub fn load(&mut self, path: &Path) -> Result<()> {
        let (settings, problems) = file::read(path)?;
        if !problems.is_empty() {
            return Err(join(problems));
        }
        for (key, text, place) in settings {
            self.put(key, FILE, Setting { text, origin: Origin::File(place) });
        }
        Ok(())
    }

    /// Everything that is wrong in a TOML file; empty when it can be loaded. `Code::System` when it cannot be read.
    pub fn inspect(path: &Path) -> Result<Vec<Problem>> {
        file::read(path).map(|(_, problems)| problems)
    }

    /// Reads the variables `DECURION_…` of this process. A variable of that prefix that belongs to no key is an
    /// error, so that a slip is not a silent default; nothing was changed then.
    pub fn load_env(&mut self) -> Result<()> {
        self.load_variables(std::env::vars_os())
    }

    fn load_variables(&mut self, variables: impl Iterator<Item = (OsString, OsString)>) -> Result<()> {
        let mut settings = Vec::new();
        let mut problems = Vec::new();
        for (variable, value) in variables {
            let Some(variable) = variable.to_str().filter(|v| v.starts_with("DECURION_")) else { continue };
            match from_variable(variable, &value) {
                Ok(setting) => settings.push((setting, variable.to_owned())),
                Err(problem) => problems.push(*problem),
            }
        }
        if !problems.is_empty() {
            return Err(join(problems));
        }
        for ((key, text), variable) in settings {
            self.put(key, ENVIRONMENT, Setting { text, origin: Origin::Environment(variable) });
        }
        Ok(())
    }

    /// The value in force as text; empty when it follows from other settings. `Code::Config` for an unknown key.
    pub fn get(&self, key: &str) -> Result<String> {
        let key = known(key, None).map_err(|problem| problem.error())?;
        Ok(self.effective(key).value)
    }

    /// Every key with its value in force, in the order of the table.
    pub fn settings(&self) -> Vec<Effective> {
        KEYS.iter().map(|key| self.effective(key)).collect()
    }

    fn effective(&self, key: &'static Key) -> Effective {
        if let Some(setting) = self.strongest(key.name) {
            return Effective { key, value: setting.text.clone(), origin: setting.origin.clone() };
        }
        let profile = match self.strongest("detector.profile") {
            Some(setting) => PROFILES.iter().find(|p| **p == setting.text).copied().unwrap_or(PROFILES[0]),
            None => PROFILES[0],
        };
        let origin = match key.default {
            DefaultValue::Profile(_) => Origin::Profile(profile),
            _ => Origin::Default,
        };
        Effective { key, value: key.default_in(profile).to_owned(), origin }
    }

    fn strongest(&self, key: &str) -> Option<&Setting> {
        self.values.get(key)?.iter().rev().flatten().next()
    }

    fn put(&mut self, key: &'static Key, layer: usize, setting: Setting) {
        self.values.entry(key.name).or_default()[layer] = Some(setting);
    }
}

/// Checks a key and its value as written; gives back the key and the canonical text.
fn check(key: &str, value: &str, place: Option<Place>) -> Checked<(&'static Key, String)> {
    let found = known(key, place.clone())?;
    match found.kind.parse(value) {
        Ok(text) => Ok((found, text)),
        Err(why) => Err(Problem::value(found, value, &why, place)),
    }
}

fn known(key: &str, place: Option<Place>) -> Checked<&'static Key> {
    keys::find(key).ok_or_else(|| {
        let nearest = keys::nearest(key);
        let advice = match nearest {
            Some(near) => format!("did you mean '{near}'?"),
            None => "`decurion config keys` lists them all".to_owned(),
        };
        let what = format!("there is no key '{}'; {advice}", shorten(key));
        Box::new(Problem { key: key.to_owned(), value: None, place, allowed: None, nearest, what, code: Code::Config })
    })
}

fn from_variable(variable: &str, value: &std::ffi::OsStr) -> Checked<(&'static Key, String)> {
    let named = |mut problem: Box<Problem>| {
        problem.what = format!("environment variable {variable}: {}", problem.what);
        problem
    };
    let key = match KEYS.iter().find(|k| k.variable() == variable) {
        Some(key) => key,
        None => {
            let meant = variable.trim_start_matches("DECURION_").to_ascii_lowercase().replacen('_', ".", 1);
            return known(&meant, None).map(|key| (key, String::new())).map_err(named);
        }
    };
    let value = value.to_str().ok_or_else(|| named(Problem::value(key, "?", "not UTF-8", None)))?;
    check(key.name, value, None).map_err(named)
}

fn join(problems: Vec<Problem>) -> Error {
    let code = problems[0].code;
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    Error::new(code, lines.join("\n"))
}

/// Long or unprintable input is shown in part, so that an error text stays readable.
fn shorten(text: &str) -> String {
    let clean: String = text.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().count() > 80 { format!("{clean}…") } else { clean }
}

impl Problem {
    fn value(key: &'static Key, value: &str, why: &str, place: Option<Place>) -> Box<Problem> {
        let allowed = key.kind.allowed();
        let what = format!("{} = '{}' is {why}; allowed: {allowed}", key.name, shorten(value));
        Box::new(Problem {
            key: key.name.to_owned(),
            value: Some(value.to_owned()),
            place,
            allowed: Some(allowed),
            nearest: None,
            what,
            code: Code::Config,
        })
    }

    fn error(&self) -> Error {
        Error::new(self.code, self.to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Profile(name) => write!(f, "profile {name}"),
            Origin::File(place) => write!(f, "{place}"),
            Origin::Environment(variable) => write!(f, "environment {variable}"),
            Origin::Set => f.write_str("set"),
        }
    }
}

#[cfg(test)]
mod tests;
