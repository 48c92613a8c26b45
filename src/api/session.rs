//! Sessions: state that a host keeps for its users, with a copy on a second member.
//!
//! A host asks with an event as the answer ([`Engine::session_request`]), or waits (`Engine::session_…`). Whichever member is
//! asked becomes the owner of the session first, and the answer says what the session's cookie should be from then on.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Engine;
use crate::core::{Event, SessionAnswer, SessionOp};
use crate::runtime::deadline_after;
use crate::runtime::{Waited, draw_id};
use crate::types::{Code, Error, MemberTag, Result, SessionId, limits};
use crate::wire::session::Attributes;

/// Checked attributes, from pairs in any order; of two with one name the later one counts.
///
/// # Errors
/// `InvalidArgument` when a name is empty or longer than 255 bytes; `TooLarge` when all together are longer than a session can
/// be in any configuration.
pub fn attributes<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Attributes> {
    let pairs: Vec<(&str, &[u8])> = pairs.into_iter().collect();
    pairs.iter().try_for_each(|(name, _)| check_name(name))?;
    let bytes = pairs.iter().fold(0usize, |sum, (name, value)| sum.saturating_add(name.len() + value.len()));
    check_length(bytes, limits::SESSION_BYTES)?;
    Ok(Attributes::new(pairs))
}

fn check_name(name: &str) -> Result<()> {
    if (1..=limits::ATTRIBUTE_NAME_BYTES).contains(&name.len()) {
        return Ok(());
    }
    let text = format!(
        "the name of an attribute has {} bytes: it must have 1 to {} bytes of UTF-8",
        name.len(),
        limits::ATTRIBUTE_NAME_BYTES
    );
    Err(Error::new(Code::InvalidArgument, text))
}

fn check_length(bytes: usize, bound: usize) -> Result<()> {
    if bytes <= bound {
        return Ok(());
    }
    let text = format!("the attributes have {bytes} bytes with their names; a session has at most {bound}");
    Err(Error::new(Code::TooLarge, text))
}

/// What a user's browser carries: the name of a session, and who holds it.
///
/// As text `id!primary!secondary`, in 66 characters that may stand in a cookie (RFC 6265) and in a path (RFC 3986). The holders are
/// only a hint where to look first: who does not hold the session is asked in vain, and the others are asked then. The name alone
/// opens the session, so it is as secret as any session cookie.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cookie {
    /// The session.
    pub id: SessionId,
    /// Its owner, and who holds the other copy, as of when the cookie was made.
    pub holders: [MemberTag; 2],
}

/// Hexadecimal digits of the three parts.
const PARTS: [(&str, usize); 3] = [("the id", 32), ("the primary", 16), ("the secondary", 16)];

impl Cookie {
    /// Length of its text in bytes.
    pub const BYTES: usize = 32 + 1 + 16 + 1 + 16;
}

impl From<&SessionAnswer> for Cookie {
    fn from(answer: &SessionAnswer) -> Cookie {
        Cookie { id: answer.id, holders: answer.holders }
    }
}

impl fmt::Display for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}!{}!{}", self.id, self.holders[0], self.holders[1])
    }
}

impl FromStr for Cookie {
    type Err = Error;

    /// Reads what somebody sent. `InvalidArgument` says what is wrong with it; the text itself is not repeated.
    fn from_str(text: &str) -> Result<Cookie> {
        let wrong = |what: String| Error::new(Code::InvalidArgument, format!("the cookie is malformed: {what}"));
        if text.len() != Cookie::BYTES {
            return Err(wrong(format!("it has {} bytes, not {}", text.len(), Cookie::BYTES)));
        }
        let parts: Vec<&str> = text.split('!').collect();
        if parts.len() != PARTS.len() {
            return Err(wrong(format!("it has {} parts, not id!primary!secondary", parts.len())));
        }
        let mut words = [0u128; 3];
        for ((part, (name, digits)), word) in parts.iter().zip(PARTS).zip(&mut words) {
            if part.len() != digits {
                return Err(wrong(format!("{name} has {} characters, not {digits}", part.len())));
            }
            // One spelling only, so that two texts are two cookies.
            let legal = part.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
            let value = u128::from_str_radix(part, 16).ok().filter(|_| legal);
            *word = value.ok_or_else(|| wrong(format!("{name} has a character that is none of 0-9 and a-f")))?;
        }
        let [id, primary, secondary] = words;
        Ok(Cookie { id: SessionId(id), holders: [MemberTag(primary as u64), MemberTag(secondary as u64)] })
    }
}

/// A session as it was when a request about it was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// `Ok`: two members hold it as it is now. `Unreplicated`: only this one does.
    pub code: Code,
    /// What the user should carry from now on.
    pub cookie: Cookie,
    /// Grows with every change.
    pub version: u64,
    /// Of a read: what is in it.
    pub attributes: Attributes,
}

impl From<SessionAnswer> for Session {
    fn from(answer: SessionAnswer) -> Session {
        Session {
            code: answer.code,
            cookie: Cookie::from(&answer),
            version: answer.version,
            attributes: answer.attributes.unwrap_or_default(),
        }
    }
}

/// A change of a session. The default one changes nothing but the version.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SessionChange {
    /// Makes the change once, however often it is asked for with the same number. The tokens of one session grow; the last 8 are
    /// remembered. 0 = none.
    pub token: u64,
    /// Only if the session is at this version; 0 = at any.
    pub if_version: u64,
    /// Whether all attributes that are not set here go.
    pub whole: bool,
    /// Attributes to set, from [`attributes`].
    pub sets: Attributes,
    /// Attributes to remove; their values do not matter.
    pub removes: Attributes,
}

impl From<SessionChange> for SessionOp {
    fn from(change: SessionChange) -> SessionOp {
        let SessionChange { token, if_version, whole, sets, removes } = change;
        SessionOp::Write { token, if_version, whole, sets, removes }
    }
}

impl Engine {
    /// Asks for something; never waits. After `Ok` exactly one `Event::Session` follows, with `token` in its `number`, unless the
    /// engine is closed or fails first. `Again`: too much is under way, or the host has not taken earlier answers; try again after
    /// the next `Event::Session` or `Event::Writable`. `NotReady` before the first view, `NotPrimary` in a minority.
    ///
    /// `session` is `None` for `SessionOp::Create` and only then: the library draws the name. The event's `code` is
    /// - `Ok`: done, and two members hold the session as it is now (of a read or touch: it was found),
    /// - `Unreplicated`: done, and this member alone holds it, since no other one can,
    /// - `Again`, for a read: the answers that wait to be taken leave no room for this one; take them and read again,
    /// - `NotPrimary`, `Timeout`, `NoSuchSession`, `HoldersUnreachable`, `VersionConflict`, `TokenExpired`, `TooLarge`, `Full`,
    ///   `Closed`: nothing was changed,
    /// - `OutcomeUnknown`: it is done or not; ask again with the same token of the change, or read.
    ///
    /// If the session is there, the event's version and holders are those that it has: [`Cookie::from`] makes the cookie.
    ///
    /// # Errors
    /// `InvalidArgument` for a name of an attribute that is none, and for a session where none belongs or none where one does;
    /// `TooLarge` when the attributes exceed `session.max_bytes`; `Unsupported` where this member is a witness; `Closed`, `Panicked`, `Forked`. Nothing is taken.
    pub fn session_request(&self, token: u64, session: Option<&Cookie>, op: SessionOp) -> Result<Code> {
        self.check_fork()?;
        self.check_op(&op)?;
        let cookie = named(session, &op)?;
        match self.shared().ask(token, cookie.id, cookie.holders, op) {
            code @ (Code::Ok | Code::Again | Code::NotReady | Code::NotPrimary) => Ok(code),
            Code::Unsupported => Err(super::engine::a_witness()),
            _ => Err(self.ended_error()),
        }
    }

    /// Makes a session with these attributes, which expires `ttl_s` seconds after its last use (0: never), and waits until two
    /// members hold it. Not for a thread that serves a loop: see [`Engine::session_request`].
    ///
    /// # Errors
    /// The error's code is one that [`Engine::session_request`] lists, also `NotReady`, `NotPrimary` and `Again`; nothing was
    /// changed then, but after `OutcomeUnknown`, which is also the answer when the time is over, or the engine ends, before it is
    /// known what became of a change. `WouldDeadlock` on a thread of the library and with [`super::Mode::Loop`]. A timeout of zero is
    /// answered with `Timeout`.
    pub fn session_create(&self, ttl_s: u32, attributes: Attributes, timeout: Duration) -> Result<Session> {
        self.wait_for(None, SessionOp::Create { ttl_s, attributes }, timeout)
    }

    /// Reads a session, which counts as a use; what is shown was answered for. It is found wherever it is.
    ///
    /// # Errors
    /// As [`Engine::session_create`]; never `OutcomeUnknown`.
    pub fn session_read(&self, session: &Cookie, timeout: Duration) -> Result<Session> {
        self.wait_for(Some(session), SessionOp::Read, timeout)
    }

    /// Looks at a session where it is, and who holds it: its owner stays the same, and it is no use. For a balancer that wants to know
    /// where a visitor belongs, and for a member that needs to see what is not its own.
    ///
    /// # Errors
    /// As [`Engine::session_read`].
    pub fn session_peek(&self, session: &Cookie, timeout: Duration) -> Result<Session> {
        self.wait_for(Some(session), SessionOp::Peek, timeout)
    }

    /// Changes a session, and waits until two members hold the change.
    ///
    /// # Errors
    /// As [`Engine::session_create`].
    pub fn session_write(&self, session: &Cookie, change: SessionChange, timeout: Duration) -> Result<Session> {
        self.wait_for(Some(session), change.into(), timeout)
    }

    /// Uses a session without a change, so that it does not expire.
    ///
    /// # Errors
    /// As [`Engine::session_read`].
    pub fn session_touch(&self, session: &Cookie, timeout: Duration) -> Result<Session> {
        self.wait_for(Some(session), SessionOp::Touch, timeout)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// As [`Engine::session_create`].
    pub fn session_remove(&self, session: &Cookie, timeout: Duration) -> Result<Session> {
        self.wait_for(Some(session), SessionOp::Remove, timeout)
    }

    fn wait_for(&self, session: Option<&Cookie>, op: SessionOp, timeout: Duration) -> Result<Session> {
        self.check_fork()?;
        if !self.may_wait() {
            let text =
                "this call would wait for the thread that makes it: ask with a token instead, and take the event";
            return Err(Error::new(Code::WouldDeadlock, text));
        }
        self.check_op(&op)?;
        let cookie = named(session, &op)?;
        if timeout.is_zero() {
            return Err(Error::new(Code::Timeout, "a timeout of 0 leaves no time for an answer: nothing was asked"));
        }
        match self.shared().ask_and_wait(cookie.id, cookie.holders, &op, deadline_after(timeout)) {
            Waited::Answer(answer) if matches!(answer.code, Code::Ok | Code::Unreplicated) => Ok(answer.into()),
            Waited::Answer(answer) => Err(self.answer_error(answer.code)),
            Waited::Refused(code) => Err(self.answer_error(code)),
            Waited::Open(_) if changes(&op) => Err(self.answer_error(Code::OutcomeUnknown)),
            Waited::Open(code) => Err(self.answer_error(code)),
        }
    }

    /// What a request that was not done is told, with what to do.
    fn answer_error(&self, code: Code) -> Error {
        let bound = self.session_bytes();
        let text = match code {
            Code::Again => "too many requests are under way: try again later".to_owned(),
            Code::NotReady => "no view yet: wait for the first view event".to_owned(),
            Code::NotPrimary => {
                "this member is not in the primary view: nothing was changed; ask another member".to_owned()
            }
            Code::Timeout => "the time was over before an answer; nothing was changed".to_owned(),
            Code::NoSuchSession => "no member has this session: it was removed, has expired, or never was".to_owned(),
            Code::HoldersUnreachable => {
                "the members that may hold this session are not in the view: it comes back with one of them".to_owned()
            }
            Code::OutcomeUnknown => {
                "the change may have been made or not: repeat it with its token, or read the session".to_owned()
            }
            Code::TokenExpired => {
                format!("the token is older than the last {} of this session; nothing was changed", limits::TOKENS)
            }
            Code::VersionConflict => "the session is at another version: read it again; nothing was changed".to_owned(),
            Code::TooLarge => {
                format!("the session would be longer than session.max_bytes = {bound}; nothing was changed")
            }
            Code::Full => "session.memory_bytes is used up; nothing was changed".to_owned(),
            Code::InvalidArgument => "a session of this name is there already; nothing was changed".to_owned(),
            Code::Unsupported => return super::engine::a_witness(),
            _ => return self.ended_error(),
        };
        Error::new(code, text)
    }

    /// Notes which answers the host has taken.
    pub(super) fn note_answers(&self, events: &[Event]) {
        let answers = events.iter().filter_map(|event| match event {
            Event::Session(answer) => Some(answer.cost()),
            _ => None,
        });
        let (count, bytes) = answers.fold((0, 0), |(count, sum), cost| (count + 1, sum + cost));
        self.shared().desk.taken(count, bytes);
    }

    fn check_op(&self, op: &SessionOp) -> Result<()> {
        let bound = self.session_bytes();
        match op {
            SessionOp::Create { attributes, .. } => check_attributes(attributes, bound),
            SessionOp::Write { sets, removes, .. } => {
                check_length(sets.as_bytes().len() + removes.as_bytes().len(), bound)?;
                check_attributes(sets, bound)?;
                check_attributes(removes, bound)
            }
            SessionOp::Read | SessionOp::Peek | SessionOp::Touch | SessionOp::Remove => Ok(()),
        }
    }
}

/// Whether the state is not known if it is not known what became of it.
fn changes(op: &SessionOp) -> bool {
    matches!(op, SessionOp::Create { .. } | SessionOp::Write { .. } | SessionOp::Remove)
}

fn named(session: Option<&Cookie>, op: &SessionOp) -> Result<Cookie> {
    match (session, op) {
        (None, SessionOp::Create { .. }) => Ok(Cookie { id: draw_id(), holders: [MemberTag::NONE; 2] }),
        (Some(cookie), op) if !matches!(op, SessionOp::Create { .. }) => Ok(*cookie),
        (Some(_), _) => Err(Error::new(Code::InvalidArgument, "a new session gets its name here: give no cookie")),
        (None, _) => Err(Error::new(Code::InvalidArgument, "no cookie: only a new session has none")),
    }
}

fn check_attributes(attributes: &Attributes, bound: usize) -> Result<()> {
    check_length(attributes.as_bytes().len(), bound)?;
    attributes.iter().try_for_each(|(name, _)| check_name(name))?;
    Attributes::check(attributes.as_bytes())
        .map_err(|bad| Error::new(Code::InvalidArgument, format!("{}: make attributes by `attributes`", bad.0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> String {
        let error = text.parse::<Cookie>().expect_err("malformed");
        assert_eq!(error.code(), Code::InvalidArgument);
        error.text().to_owned()
    }

    #[test]
    fn a_cookie_says_what_is_wrong_with_it() {
        let good = Cookie { id: SessionId(7), holders: [MemberTag(8), MemberTag::NONE] }.to_string();
        assert_eq!(good, "00000000000000000000000000000007!0000000000000008!0000000000000000");
        assert!(refused("").contains("0 bytes, not 66"));
        assert!(refused(&good[1..]).contains("65 bytes"));
        assert!(refused(&format!("{good}!{good}")).contains("133 bytes"));
        assert!(refused(&"f".repeat(1 << 20)).contains("1048576 bytes"));
        assert!(refused(&good.replace('!', "-")).contains("1 parts"));
        assert!(refused(&good.replace("0007!", "!!!7!")).contains("parts"));
        assert!(refused(&good.replace("7!0", "!07")).contains("the id has 31 characters"));
        assert!(refused(&good.replace('8', "F")).contains("the primary has a character"));
        assert!(refused(&good.replace('7', "+")).contains("the id has a character"));
        assert!(refused(&good.replace("07!", "é!")).contains("the id has a character"));
    }

    #[test]
    fn names_of_attributes_are_checked() {
        let refused = |name: &str| attributes([(name, &b"x"[..])]).expect_err("no name").text().to_owned();
        assert!(refused("").contains("0 bytes: it must have 1 to 255"));
        assert!(refused(&"n".repeat(256)).contains("256 bytes"));
        assert!(refused(&"n".repeat(1 << 17)).contains("131072 bytes"));
        assert!(attributes([("n".repeat(255).as_str(), &b""[..]), ("ü", &b""[..])]).is_ok());
        let twice = attributes([("b", &b"1"[..]), ("a", &b"2"[..]), ("b", &b"3"[..])]).unwrap();
        assert_eq!(twice.iter().collect::<Vec<_>>(), [("a", &b"2"[..]), ("b", &b"3"[..])]);
        let bad = Attributes::new([("", &b"x"[..])]);
        assert_eq!(check_attributes(&bad, 100).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(check_attributes(&twice, 10).unwrap_err().code(), Code::TooLarge);
    }

    proptest! {
        #[test]
        fn every_cookie_comes_back(id: u128, primary: u64, secondary: u64) {
            let cookie = Cookie { id: SessionId(id), holders: [MemberTag(primary), MemberTag(secondary)] };
            let text = cookie.to_string();
            prop_assert_eq!(text.len(), Cookie::BYTES);
            // cookie-octet of RFC 6265, pchar of RFC 3986.
            prop_assert!(text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'!'));
            prop_assert_eq!(text.parse::<Cookie>().unwrap(), cookie);
        }

        #[test]
        fn any_text_is_a_cookie_or_an_error(text in "[0-9a-fA-F!é+ ]{60,70}|.{0,80}") {
            if let Ok(cookie) = text.parse::<Cookie>() {
                prop_assert_eq!(cookie.to_string(), text);
            }
        }
    }
}
