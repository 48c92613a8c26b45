//! What the command says and how it ends: JSON lines on stdout, text on stderr, exit codes.

use std::io::Write;
use std::process::ExitCode;

use decurion::types::{Code, Error};
use serde_json::{Map, Value, json};

/// How the command ends. The numbers never change their meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// A promise or a target was broken.
    Broken = 1,
    /// Wrong usage or configuration, or something that is not built.
    Usage = 2,
    /// The environment does not allow it.
    Environment = 3,
    /// A deadline passed.
    Deadline = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a verb could not do its work.
#[derive(Debug)]
pub struct Failure {
    /// How the command ends.
    pub exit: Exit,
    /// What went wrong, where, and what to do.
    pub text: String,
    /// Further fields of the summary.
    pub fields: Value,
}

/// What a verb comes to. An `Ok` has printed its summary.
pub type Outcome = Result<Exit, Failure>;

impl Failure {
    /// A failure with its text.
    pub fn new(exit: Exit, text: impl Into<String>) -> Failure {
        Failure { exit, text: text.into(), fields: json!({}) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let exit = match error.code() {
            Code::Config | Code::InvalidArgument | Code::Unsupported | Code::Refused => Exit::Usage,
            Code::System => Exit::Environment,
            Code::Timeout => Exit::Deadline,
            _ => Exit::Broken,
        };
        Failure::new(exit, error.text())
    }
}

/// The two ways to speak.
#[derive(Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// With `json`, stdout carries JSON lines; without, tables only.
    pub fn new(json: bool) -> Output {
        Output { json }
    }

    /// Whether JSON lines are wanted.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// One JSON line with its type; nothing without `--json`.
    pub fn line(&self, kind: &str, fields: Value) {
        if self.json {
            write_line(&typed(kind, fields).to_string());
        }
    }

    /// The last JSON line.
    pub fn summary(&self, ok: bool, mut fields: Value) {
        fields["ok"] = json!(ok);
        self.line("summary", fields);
    }

    /// A line of a table, for people or for a pipe; nothing with `--json`.
    pub fn table(&self, text: &str) {
        if !self.json {
            write_line(text);
        }
    }

    /// Text for people, on stderr.
    pub fn say(&self, text: &str) {
        // A reader that has gone away is no reason to end.
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// A failure, in both ways.
    pub fn fail(&self, failure: &Failure) {
        self.say(&format!("decurion: {}", failure.text));
        let mut fields = failure.fields.clone();
        fields["error"] = json!(failure.text);
        self.summary(false, fields);
    }
}

/// A JSON object that begins with the schema and its type.
pub fn typed(kind: &str, fields: Value) -> Value {
    let mut line = Map::new();
    line.insert("schema".to_owned(), json!(1));
    line.insert("type".to_owned(), json!(kind));
    if let Value::Object(fields) = fields {
        line.extend(fields);
    }
    Value::Object(line)
}

/// Whole lines only, also when several threads speak.
fn write_line(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
