//! `decurion config`: check a file, show what is in force, list the keys.

use std::path::Path;

use decurion::Config;
use decurion::api::config::{self, DefaultValue, Effective, Key, Origin, Place, Problem};
use serde_json::{Value, json};

use super::arguments::{ConfigVerb, Settings};
use super::output::{Exit, Failure, Outcome, Output};

/// Runs the verb.
pub fn run(verb: &ConfigVerb, output: &Output) -> Outcome {
    match verb {
        ConfigVerb::Check { file } => check(file, output),
        ConfigVerb::Show(settings) => show(settings, output),
        ConfigVerb::Keys { markdown } => Ok(keys(*markdown, output)),
    }
}

/// The configuration of a verb: file, environment, then flags.
pub fn read(settings: &Settings) -> Result<Config, Failure> {
    let mut config = Config::new();
    if let Some(file) = &settings.config {
        // A file that is not there is the caller's slip, not the machine's fault.
        config.load(file).map_err(|error| Failure::new(Exit::Usage, error.text()))?;
    }
    config.load_env()?;
    for setting in &settings.set {
        let (key, value) = setting.split_once('=').ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("--set {setting}: write it as --set key=value, such as --set group.size=10"),
            )
        })?;
        config.set(key.trim(), value)?;
    }
    Ok(config)
}

fn check(file: &Path, output: &Output) -> Outcome {
    let problems = Config::inspect(file).map_err(|error| {
        let fields = json!({ "errors": [error_fields(file, None, error.text())] });
        Failure { fields, ..Failure::new(Exit::Usage, error.text()) }
    })?;
    let mut errors: Vec<Value> = problems.iter().map(problem_fields).collect();
    problems.iter().for_each(|problem| output.say(&problem.to_string()));
    if problems.is_empty() {
        let mut config = Config::new();
        config.load(file)?;
        if let Err(error) = config.resolve() {
            output.say(&format!("{}: {error}", file.display()));
            errors.push(error_fields(file, named(&config, error.text()).as_ref(), error.text()));
        }
    }
    let fine = errors.is_empty();
    if fine {
        output.say(&format!("{}: nothing wrong", file.display()));
    }
    output.summary(fine, json!({ "errors": errors }));
    Ok(if fine { Exit::Fine } else { Exit::Usage })
}

fn problem_fields(problem: &Problem) -> Value {
    let place = problem.place.as_ref();
    json!({
        "key": problem.key,
        "value": problem.value,
        "file": place.map(|p| p.file.display().to_string()),
        "line": place.map(|p| p.line),
        "column": place.map(|p| p.column),
        "allowed": problem.allowed,
        "nearest": problem.nearest,
        "text": problem.what,
    })
}

/// An error of the file as a whole, or of a setting that does not go with others.
fn error_fields(file: &Path, setting: Option<&Effective>, text: &str) -> Value {
    let place = setting.and_then(place);
    json!({
        "key": setting.map(|s| s.key.name),
        "value": setting.map(|s| &s.value),
        "file": file.display().to_string(),
        "line": place.map(|p| p.line),
        "column": place.map(|p| p.column),
        "allowed": setting.map(|s| s.key.kind.allowed()),
        "nearest": null,
        "text": text,
    })
}

/// The setting that a text about several names first, those that stand in a file before others.
fn named(config: &Config, text: &str) -> Option<Effective> {
    let stands = |s: &Effective| text.find(&format!("{} = '", s.key.name));
    let settings = config.settings().into_iter();
    let found = settings.filter_map(|s| Some(((place(&s).is_none(), stands(&s)?), s)));
    found.min_by_key(|(rank, _)| *rank).map(|(_, setting)| setting)
}

fn place(setting: &Effective) -> Option<&Place> {
    match &setting.origin {
        Origin::File(place) => Some(place),
        _ => None,
    }
}

fn show(settings: &Settings, output: &Output) -> Outcome {
    let config = read(settings)?;
    let values = config.settings();
    let wide = |width: fn(&Effective) -> usize| values.iter().map(width).max().unwrap_or(0);
    let (key_width, value_width) = (wide(|v| v.key.name.len()), wide(|v| v.value.len()).min(40));
    for value in &values {
        let (name, text, origin) = (value.key.name, &value.value, &value.origin);
        let text = if text.is_empty() { "-" } else { text };
        output.table(format!("{name:key_width$}  {text:value_width$}  {origin}").trim_end());
    }
    let fields: Vec<Value> = values
        .iter()
        .map(|v| json!({ "key": v.key.name, "value": v.value, "unit": v.key.kind.unit(), "origin": v.origin.to_string() }))
        .collect();
    // The values are shown even when they do not go together: that is when somebody looks.
    let together = config.resolve();
    if let Err(error) = &together {
        output.say(&format!("decurion: {error}"));
    }
    let error = together.as_ref().err().map(|e| e.text().to_owned());
    output.summary(error.is_none(), json!({ "values": fields, "error": error }));
    Ok(if error.is_none() { Exit::Fine } else { Exit::Usage })
}

fn keys(markdown: bool, output: &Output) -> Exit {
    if markdown && !output.is_json() {
        output.table(config::page().trim_end_matches('\n'));
        return Exit::Fine;
    }
    let width = config::KEYS.iter().map(|k| k.name.len()).max().unwrap_or(0);
    for key in config::KEYS {
        output.table(&format!("{:width$}  {}  (default: {})", key.name, key.kind.allowed(), default_text(key)));
    }
    let fields: Vec<Value> = config::KEYS.iter().map(key_fields).collect();
    output.summary(true, json!({ "keys": fields }));
    Exit::Fine
}

fn default_text(key: &Key) -> String {
    match key.default {
        DefaultValue::Is("") => "empty".to_owned(),
        DefaultValue::Is(text) => text.to_owned(),
        DefaultValue::Profile(values) => format!("{} by profile", values[0]),
        DefaultValue::Follows(what) => what.replace('`', ""),
    }
}

fn key_fields(key: &Key) -> Value {
    let range = key.kind.range();
    json!({
        "key": key.name,
        "type": key.kind.type_name(),
        "unit": key.kind.unit(),
        "min": range.map(|(min, _)| min),
        "max": range.map(|(_, max)| max),
        "default": default_text(key),
        "allowed": key.kind.allowed(),
        "agreed": key.agreed,
        "environment": key.variable(),
        "about": key.about,
        "reload": false,
    })
}
