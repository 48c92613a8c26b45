//! A web server that keeps its visitors' sessions in the cluster: run three, kill any one, and no visit is lost.
//!
//! `cargo run --example session_server -- 8081 s1 127.0.0.1:7101 s1@127.0.0.1:7101,s2@127.0.0.1:7102,s3@127.0.0.1:7103`
//!
//! `GET /` counts a visit, `POST /` also sets the visitor's text. `Accept: text/plain` asks for key=value instead of a page. A
//! client that repeats a visit after a broken connection numbers its visits (`/?visit=7`): each number counts once. `/?new` begins
//! a new session, whatever the cookie says; `/state` tells of this member and counts nothing. Further settings come from the
//! environment: `DECURION_SECURITY=none` for addresses that are no loopback ones.

use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use decurion::{Code, Config, Cookie, Engine, Error, Event, MemberTag, Mode, Result, SessionChange, attributes};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// For one answer of the library.
const WAIT: Duration = Duration::from_secs(4);
/// For one visit, tries and all.
const PATIENCE: Duration = Duration::from_secs(8);
const LIFE_S: u32 = 1_800;
const TEXT_BYTES: usize = 500;
const REQUEST_BYTES: usize = 16 * 1024;
const CONNECTIONS: usize = 256;

/// A visitor as the session tells it.
#[derive(Default)]
struct Visitor {
    /// `None`: a new one.
    cookie: Option<Cookie>,
    version: u64,
    visits: u64,
    text: String,
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().collect();
    let [_, http_port, name, address, seeds] = &words[..] else {
        eprintln!("usage: session_server HTTP_PORT NAME ADDRESS:PORT NAME@ADDRESS:PORT,...");
        std::process::exit(2);
    };
    let mut config = Config::new();
    config.load_env()?;
    for (key, value) in [("node.name", name), ("node.bind", address), ("cluster.seeds", seeds)] {
        config.set(key, value)?;
    }
    let mut ends = Signals::new([SIGTERM, SIGINT])?;
    let over = ends.handle();
    // On the engine's thread: it must not wait.
    let on_event = move |event: &Event| match event {
        Event::View(change) => println!("view {} has {} members", change.view.id.number, change.view.len()),
        Event::Closed { reason } => {
            println!("ended: {reason:?}");
            // Without its member the server is of no use.
            over.close();
        }
        _ => {}
    };
    let engine = Engine::open(&config, Mode::Handler(Box::new(on_event)))?;
    let listener = TcpListener::bind(("127.0.0.1", http_port.parse()?))?;
    println!("{name} serves http://127.0.0.1:{http_port}/");
    let serving = engine.clone();
    thread::spawn(move || serve(&listener, &serving));
    ends.forever().next();
    // A request that comes later is answered with 503.
    engine.leave(WAIT)?;
    engine.close();
    Ok(())
}

/// A thread for each connection: a call that waits holds up nobody but its own client.
fn serve(listener: &TcpListener, engine: &Engine) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming().filter_map(io::Result::ok) {
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (engine, open) = (engine.clone(), open.clone());
        thread::spawn(move || {
            // A client that is gone, or sends what is no request, is no concern of ours.
            let _ = answer(stream, &engine);
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

impl Visitor {
    /// Reads the session, or begins one: there is none yet, or it has expired.
    fn find(&mut self, engine: &Engine) -> Result<()> {
        let read = self.cookie.map(|cookie| engine.session_read(&cookie, WAIT));
        let session = match read {
            Some(Err(error)) if error.code() == Code::NoSuchSession => None,
            other => other.transpose()?,
        };
        // If a new one has no second copy, the write that follows says so.
        let session = session.map_or_else(|| engine.session_create(LIFE_S, attributes([])?, WAIT), Ok)?;
        let text = |name| String::from_utf8_lossy(session.attributes.get(name).unwrap_or_default()).into_owned();
        self.visits = text("visits").parse().unwrap_or(0);
        self.text = text("text");
        (self.cookie, self.version) = (Some(session.cookie), session.version);
        Ok(())
    }

    /// Writes what follows from what was read: only if nobody else has written since, and once for each `token`. If it is
    /// `repeated`, the version that comes back may be that of somebody else, who wrote after an earlier try of ours.
    fn write(&mut self, engine: &Engine, token: u64, repeated: bool, text: Option<&str>) -> Result<()> {
        let visits = (self.visits + 1).to_string();
        let pairs = [("visits", visits.as_str())].into_iter().chain(text.map(|text| ("text", text)));
        let sets = attributes(pairs.map(|(name, value)| (name, value.as_bytes())))?;
        let change = SessionChange { token, if_version: self.version, sets, ..SessionChange::default() };
        let cookie = self.cookie.expect("it was found before");
        let session = engine.session_write(&cookie, change, WAIT)?;
        self.cookie = Some(session.cookie);
        if session.version == self.version + 1 && !repeated {
            self.visits += 1;
            self.text = text.map_or_else(|| std::mem::take(&mut self.text), str::to_owned);
        } else if session.version != self.version {
            return Err(Error::new(Code::VersionConflict, "it has counted, and others may have written: read again"));
        }
        // Else it had counted before, and what was read is right.
        self.version = session.version;
        match session.code {
            Code::Unreplicated => Err(Error::new(session.code, "done, and this member holds the only copy")),
            _ => Ok(()),
        }
    }

    /// Counts one visit, once, however often it takes. `number` is the client's, if it has one.
    fn visit(&mut self, engine: &Engine, number: Option<u64>, text: Option<&str>) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        // Whether a try may have been made: then it is repeated with the number that it had.
        let mut open = false;
        let mut drawn = 0;
        loop {
            let found = self.find(engine);
            let asked = found.is_ok();
            let tried = found.and_then(|()| {
                if !open {
                    // The numbers of a session must grow: the version comes first. Two visits at once must differ: the rest is
                    // drawn.
                    drawn = self.version << 32 | RandomState::new().build_hasher().finish() >> 32;
                }
                self.write(engine, number.unwrap_or(drawn), open, text)
            });
            let Err(error) = tried else { return Ok(()) };
            open |= asked && error.code() == Code::OutcomeUnknown;
            let again = matches!(error.code(), Code::OutcomeUnknown | Code::VersionConflict);
            if !again || Instant::now() >= until {
                return Err(error);
            }
        }
    }
}

/// Of this member, and of a visitor if there is one. The text is left to the caller.
fn lines(engine: &Engine, visitor: Option<&Visitor>) -> String {
    let (view, stats) = (engine.view(), engine.stats());
    let members = view.as_ref().map_or(&[][..], |now| &now.view.members[..]);
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let mut page = format!("served_by={}\nview={}\n", engine.name(), view.as_ref().map_or(0, |now| now.view.id.number));
    let _ = writeln!(page, "members={}\nsessions_primary={}", names.join(","), stats.sessions_primary);
    let _ =
        writeln!(page, "sessions_secondary={}\nsessions_single={}", stats.sessions_secondary, stats.sessions_single);
    if let Some(Visitor { cookie: Some(cookie), version, visits, .. }) = visitor {
        let name =
            |holder| members.iter().find(|m| MemberTag::from(m.incarnation) == holder).map_or("", |m| m.name.as_str());
        let [primary, secondary] = cookie.holders.map(name);
        let _ = write!(page, "primary={primary}\nsecondary={secondary}\nversion={version}\nvisits={visits}\ntext=");
    }
    page
}

fn page(engine: &Engine, visitor: &Visitor) -> String {
    let escape = |c: char| if "&<>\"'".contains(c) { format!("&#{};", c as u32) } else { c.to_string() };
    let text: String = visitor.text.chars().map(escape).collect();
    format!(
        "<!DOCTYPE html><meta charset=utf-8><title>Visits</title><h1>Visit {}</h1><pre>{}{text}</pre><form method=post action=/>\
         <input name=text maxlength=100> <button>Set the text</button></form><p><a href=/>Visit again</a>\n",
        visitor.visits,
        lines(engine, Some(visitor))
    )
}

fn http_status(code: Code) -> &'static str {
    match code {
        Code::Ok => "200 OK",
        // The client's number is older than the last 8.
        Code::TokenExpired => "409 Conflict",
        // Our fault.
        Code::InvalidArgument | Code::TooLarge => "500 Internal Server Error",
        // Nothing is wrong with the request: it may be served soon, here or elsewhere.
        _ => "503 Service Unavailable\r\nRetry-After: 1",
    }
}

/// What was asked, as far as it matters here.
struct Request {
    method: String,
    path: String,
    query: String,
    cookie: Option<Cookie>,
    plain: bool,
    /// The body of a POST.
    form: Option<String>,
}

fn answer(mut stream: TcpStream, engine: &Engine) -> std::result::Result<(), Box<dyn std::error::Error>> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let request = match read_request(&mut stream) {
        Ok(request) => request,
        Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(error.into()),
        Err(error) => return reply(&mut stream, "400 Bad Request", "text/plain", "", &format!("{error}\n")),
    };
    let mut visitor = Visitor::default();
    let (status, kind, body) = match (request.path.as_str(), request.method.as_str()) {
        ("/state", _) => ("200 OK", "text/plain", lines(engine, None)),
        ("/", "GET" | "POST") => {
            visitor.cookie = request.cookie.filter(|_| field(&request.query, "new").is_none());
            let number = field(&request.query, "visit").and_then(|number| number.parse().ok()).filter(|n| *n > 0);
            let text = request.form.as_deref().map(|form| field(form, "text").unwrap_or_default());
            let text = text.map(|text| text.chars().take(TEXT_BYTES / 4).collect::<String>());
            match visitor.visit(engine, number, text.as_deref()) {
                Err(error) => {
                    let body = format!("Not served ({}): {error}\n", error.code() as i32);
                    (http_status(error.code()), "text/plain", body)
                }
                Ok(()) if request.plain => (
                    http_status(Code::Ok),
                    "text/plain",
                    format!("{}{}\n", lines(engine, Some(&visitor)), visitor.text),
                ),
                Ok(()) => (http_status(Code::Ok), "text/html", page(engine, &visitor)),
            }
        }
        _ => ("404 Not Found", "text/plain", "There is GET / and POST /, and /state.\n".to_owned()),
    };
    // With every answer: it says where the session is now. Where there is TLS, add "; Secure".
    let known = visitor.cookie.filter(|_| visitor.version > 0);
    let header =
        known.map_or_else(String::new, |sid| format!("Set-Cookie: sid={sid}; Path=/; HttpOnly; SameSite=Lax\r\n"));
    reply(&mut stream, status, kind, &header, &body)
}

fn reply(
    stream: &mut TcpStream, status: &str, kind: &str, header: &str, body: &str,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n{header}\r\n"
    );
    stream.write_all((head + body).as_bytes())?;
    Ok(())
}

/// Reads one request. `InvalidData` is what the client is told.
fn read_request(stream: &mut TcpStream) -> io::Result<Request> {
    let mut bytes = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        let status = parsed.parse(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if let httparse::Status::Complete(head_bytes) = status {
            let value = |name: &str| {
                let found = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
                found.and_then(|header| std::str::from_utf8(header.value).ok()).unwrap_or_default()
            };
            let body_bytes: usize = value("Content-Length").parse().unwrap_or(0);
            if bytes.len() - head_bytes >= body_bytes {
                let (path, query) =
                    parsed.path.unwrap_or_default().split_once('?').unwrap_or((parsed.path.unwrap_or_default(), ""));
                let body = || String::from_utf8_lossy(&bytes[head_bytes..][..body_bytes]).into_owned();
                let sid = value("Cookie").split(';').find_map(|pair| pair.trim().strip_prefix("sid="));
                return Ok(Request {
                    method: parsed.method.unwrap_or_default().to_owned(),
                    path: path.to_owned(),
                    query: query.to_owned(),
                    // One that is malformed is none.
                    cookie: sid.and_then(|sid| sid.parse().ok()),
                    plain: value("Accept").starts_with("text/plain"),
                    form: (parsed.method == Some("POST")).then(body),
                });
            }
        }
        if bytes.len() > REQUEST_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the request is too long"));
        }
        let mut more = [0; 4096];
        match stream.read(&mut more)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&more[..count]),
        }
    }
}

/// A field of a form or of a query, decoded.
fn field(form: &str, name: &str) -> Option<String> {
    let value = form.split('&').find_map(|pair| match pair.split_once('=') {
        Some((key, value)) => (key == name).then_some(value),
        None => (pair == name).then_some(""),
    })?;
    let mut decoded = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&decoded).into_owned())
}
