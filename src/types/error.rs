//! Errors: one stable code each, and a text that names what was wrong, where, and what to do.

use std::fmt;

/// What a call answers, as a stable number: 0 is fine, positive numbers are expected outcomes, negative
/// ones are errors. Numbers are only ever added. The C face returns exactly these (`DCN_…`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i32)]
pub enum Code {
    /// Done.
    Ok = 0,
    /// The queue or window is full (or nothing is there to take): try again. Nothing was taken.
    Again = 1,
    /// The member has not joined a view yet. Nothing was taken.
    NotReady = 2,
    /// This member is not in the primary view: a minority serves reads only. Nothing was taken.
    NotPrimary = 3,
    /// The change is made, and this member holds the only copy: no other member can take one now.
    Unreplicated = 4,
    /// An argument is outside its range. Nothing was changed.
    InvalidArgument = -1,
    /// A configuration key or value is wrong; the text names it. Nothing was changed.
    Config = -2,
    /// The handle is stale, foreign, or of another kind. Nothing was changed.
    BadHandle = -3,
    /// The engine is closed or has left. Nothing was taken.
    Closed = -4,
    /// Another thread is polling this engine. Nothing was changed.
    Busy = -5,
    /// This call would wait for the thread that makes it. Nothing was changed.
    WouldDeadlock = -6,
    /// The call was made in a process forked from the one that opened the engine.
    Forked = -7,
    /// The message is longer than the configured bound. Nothing was taken.
    TooLarge = -8,
    /// No member of that name or seat in the current view. Nothing was taken.
    NoSuchMember = -9,
    /// This version, or a witness, cannot do it; the text says what. Nothing was changed.
    Unsupported = -10,
    /// The operating system refused; the text has its words and what to do.
    System = -11,
    /// The cluster refused this member; the text has the reason and who gave it.
    Refused = -12,
    /// A bug inside was caught; the engine is failed and every later call says so.
    Panicked = -13,
    /// What the host holds has reached `memory.held_bytes`: copy instead, or release first.
    HeldLimit = -14,
    /// The deadline passed first. The state is as if the call had not been made.
    Timeout = -15,
    /// No such session: it was removed, has expired, or never was. Nothing was changed.
    NoSuchSession = -16,
    /// Whoever may hold the session is not in the view now. Nothing was changed.
    HoldersUnreachable = -17,
    /// The change was cut off: it is made once, or not at all. Repeat it with its token.
    OutcomeUnknown = -18,
    /// The token is older than those that the session remembers. Nothing was changed.
    TokenExpired = -19,
    /// The session is at another version than the caller said. Nothing was changed.
    VersionConflict = -20,
    /// The memory for sessions is used up. Nothing was changed.
    Full = -21,
}

impl Code {
    /// The code's name as used in texts and in C (`DCN_` and this).
    pub fn name(self) -> &'static str {
        match self {
            Code::Ok => "OK",
            Code::Again => "AGAIN",
            Code::NotReady => "NOT_READY",
            Code::NotPrimary => "NOT_PRIMARY",
            Code::Unreplicated => "UNREPLICATED",
            Code::InvalidArgument => "ERR_INVALID_ARGUMENT",
            Code::Config => "ERR_CONFIG",
            Code::BadHandle => "ERR_BAD_HANDLE",
            Code::Closed => "ERR_CLOSED",
            Code::Busy => "ERR_BUSY",
            Code::WouldDeadlock => "ERR_WOULD_DEADLOCK",
            Code::Forked => "ERR_FORKED",
            Code::TooLarge => "ERR_TOO_LARGE",
            Code::NoSuchMember => "ERR_NO_SUCH_MEMBER",
            Code::Unsupported => "ERR_UNSUPPORTED",
            Code::System => "ERR_SYSTEM",
            Code::Refused => "ERR_REFUSED",
            Code::Panicked => "ERR_PANICKED",
            Code::HeldLimit => "ERR_HELD_LIMIT",
            Code::Timeout => "ERR_TIMEOUT",
            Code::NoSuchSession => "ERR_NO_SUCH_SESSION",
            Code::HoldersUnreachable => "ERR_HOLDERS_UNREACHABLE",
            Code::OutcomeUnknown => "ERR_OUTCOME_UNKNOWN",
            Code::TokenExpired => "ERR_TOKEN_EXPIRED",
            Code::VersionConflict => "ERR_VERSION_CONFLICT",
            Code::Full => "ERR_FULL",
        }
    }
}

/// A failed call: a stable code and a text for people.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    code: Code,
    text: String,
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with its text.
    pub fn new(code: Code, text: impl Into<String>) -> Error {
        Error { code, text: text.into() }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The text, without the code.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.text)
    }
}

impl std::error::Error for Error {}
