//! The layers use each other in one direction only, and the deciding ones know no outside world.
//!
//! `types <- wire <- core <- (sim, runtime) <- api <- ffi`. The sources are read as tokens (comments and texts do not
//! count), every path is resolved against the module that it stands in, and what it leads to is looked up in [`MAY_USE`].

use std::fs;
use std::path::{Path, PathBuf};

/// Which layers each layer may name, itself aside. The command stands on top and may use all that is public.
const MAY_USE: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("wire", &["types"]),
    ("core", &["types", "wire"]),
    ("sim", &["types", "wire", "core"]),
    ("runtime", &["types", "wire", "core"]),
    ("api", &["types", "wire", "core", "runtime"]),
    ("ffi", &["types", "wire", "core", "runtime", "api"]),
];

/// The layers that decide: whatever they learn from outside is an argument, so that a run can be repeated from a seed.
const DECIDING: &[&str] = &["types", "wire", "core"];

/// What a deciding layer may take from `std::net`: addresses are values, sockets are not.
const ADDRESSES: &[&str] = &["SocketAddr", "SocketAddrV4", "SocketAddrV6", "IpAddr", "Ipv4Addr", "Ipv6Addr"];

/// Modules of the standard library behind which the outside world stands.
const OUTSIDE: &[&str] = &["time", "thread", "fs", "env", "process", "os", "io", "random"];

/// Names within the standard library that bring in locks, or an order that differs from run to run.
const UNSTEADY: &[&str] = &[
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "RandomState",
    "DefaultHasher",
    "Mutex",
    "RwLock",
    "Condvar",
    "mpsc",
    "Barrier",
    "LazyLock",
    "OnceLock",
];

/// Crates that are a socket, a thread, a clock, or a random source.
const OUTSIDE_CRATES: &[&str] = &[
    "mio",
    "libc",
    "rand",
    "getrandom",
    "fastrand",
    "socket2",
    "parking_lot",
    "crossbeam",
    "crossbeam_channel",
    "crossbeam_queue",
    "crossbeam_utils",
    "if_addrs",
    "tokio",
    "rustix",
    "nix",
    "foldhash",
    "ahash",
];

#[test]
fn layers_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > 15, "the sources were not found under {}", root.display());
    let mut complaints = Vec::new();
    for file in &files {
        let module = module_path(file.strip_prefix(&root).expect("below the root"));
        let text = fs::read_to_string(file).expect("a readable source");
        complaints.extend(check(&module, &text).into_iter().map(|c| format!("{}: {c}", file.display())));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_layer_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(&root).expect("the sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let known = name == "lib" || name == "bin" || MAY_USE.iter().any(|(layer, _)| *layer == name);
        assert!(known, "src/{name} belongs to no layer: add it to MAY_USE and to docs/ARCHITECTURE.md");
    }
}

/// Each sample breaks one rule, so that a check that has gone blind is seen.
#[test]
fn broken_layers_are_found() {
    let bad: &[(&str, &str, &str)] = &[
        ("types::ids", "use crate::wire::Reader;", "wire"),
        ("wire::batch", "use crate::core::Member;", "core"),
        ("wire", "fn f() { crate::core::go() }", "core"),
        ("wire::batch", "use super::super::core::Member;", "core"),
        ("core", "use crate::{types::Name, runtime};", "runtime"),
        ("core::views", "use crate::{types::{Name, View}, sim::{self}};", "sim"),
        ("core::views", "use super::super::super::super::nothing;", "above the crate"),
        ("core::views", "mod tests { use super::super::super::runtime; }", "runtime"),
        ("runtime::event", "use crate::api::Engine;", "api"),
        ("runtime", "use crate::sim::World;", "sim"),
        ("sim", "use crate::runtime::Loop;", "runtime"),
        ("api", "macro_rules! m { () => { $crate::ffi::x() } }", "ffi"),
        ("core", "use std::time::Instant;", "std::time"),
        ("core", "use std::{fmt, time::Duration};", "std::time"),
        ("core", "fn f() { let t = std::time::Instant::now(); }", "std::time"),
        ("core", "use std::collections::{BTreeMap, HashMap};", "HashMap"),
        ("core", "use std::net::{SocketAddr, TcpStream};", "TcpStream"),
        ("wire", "use ::std::net::UdpSocket;", "UdpSocket"),
        ("wire", "use std::net;", "std::net"),
        ("wire", "use std::net::*;", "std::net"),
        ("types", "use core::time::Duration;", "core::time"),
        ("core", "fn f() { mio::Poll::new(); }", "mio"),
        ("core", "use parking_lot::Mutex;", "parking_lot"),
        ("core", "extern crate libc;", "libc"),
        ("core", "fn f() { unsafe { g() } }", "unsafe"),
    ];
    for (module, text, what) in bad {
        let found = check(&path_of(module), text);
        assert!(found.iter().any(|c| c.contains(what)), "{module}: {text}\n  found only {found:?}");
    }
}

#[test]
fn sound_layers_pass() {
    let good: &[(&str, &str)] = &[
        ("wire::batch", "use super::{BATCH_TYPE, Malformed}; use crate::types::{Seat, limits};"),
        ("core", "use std::net::{IpAddr, SocketAddr}; use std::sync::Arc; use std::collections::BTreeMap;"),
        (
            "core",
            "// use std::time::Instant;\n/* mio::x */ const T: &str = \"std::thread\"; const R: &str = r#\"mio::\"#;",
        ),
        ("core", "fn f<'a>(now: &'a Time) -> char { '\"' } // crate::runtime"),
        ("core", "use core::fmt; fn f(random: u64, time: Time) { time.since(random); }"),
        ("runtime", "use std::time::Instant; use mio::Poll; use crate::core::Member;"),
        ("ffi", "use crate::api::Engine; unsafe fn f() {}"),
        ("core::io", "use super::messages::Messages; mod tests { use super::super::Member; use crate::core::io; }"),
    ];
    for (module, text) in good {
        assert_eq!(check(&path_of(module), text), Vec::<String>::new(), "{module}: {text}");
    }
}

fn path_of(module: &str) -> Vec<String> {
    module.split("::").map(str::to_owned).collect()
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a readable directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// `core/io.rs` is module `core::io`, `core/mod.rs` is `core`, `lib.rs` is the crate itself.
fn module_path(file: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib" || last == "main") {
        parts.pop();
    }
    parts
}

/// Everything in one source that its layer may not do.
fn check(module: &[String], text: &str) -> Vec<String> {
    let Some(layer) = module.first().map(String::as_str) else { return Vec::new() };
    let Some((_, may_use)) = MAY_USE.iter().find(|(name, _)| *name == layer) else { return Vec::new() };
    let tokens = tokens(text);
    let deciding = DECIDING.contains(&layer);
    let mut complaints = Vec::new();
    if deciding && tokens.iter().any(|t| t == "unsafe") {
        complaints
            .push(format!("{layer} has unsafe code: that is for buffers of the runtime, system calls and the ffi"));
    }
    for path in paths(&tokens) {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Some(target) = target_layer(module, &names) {
            if target != layer && !may_use.contains(&target.as_str()) {
                complaints.push(format!("{layer} may not use {target}: {}", path.join("::")));
            }
        } else if deciding && let Some(what) = outside(&names) {
            complaints.push(format!("{layer} decides and may not name {what}: {}", path.join("::")));
        }
    }
    complaints
}

/// The layer that a path within the crate leads to; `None` for paths that lead elsewhere or stay in their module.
fn target_layer(module: &[String], path: &[&str]) -> Option<String> {
    let known = |name: &str| MAY_USE.iter().any(|(layer, _)| *layer == name).then(|| name.to_owned());
    match path[0] {
        "crate" => known(path.get(1)?),
        "super" => {
            let ups = path.iter().take_while(|p| **p == "super").count();
            // A module that a file declares inside itself (its tests) may go up once more than the file's own depth.
            match module.len() {
                depth if ups < depth => None,
                depth if ups == depth => known(path.get(ups)?).filter(|layer| *layer != module[0]),
                depth if ups == depth + 1 => path.get(ups).and_then(|next| known(next)),
                _ => Some("something above the crate".to_owned()),
            }
        }
        _ => None,
    }
}

/// What a path names that a deciding layer must not know.
fn outside(path: &[&str]) -> Option<String> {
    let first = path[0];
    if OUTSIDE_CRATES.contains(&first) {
        return Some(format!("the crate {first}"));
    }
    if !matches!(first, "std" | "core" | "alloc") || path.len() < 2 {
        return None;
    }
    if OUTSIDE.contains(&path[1]) {
        return Some(format!("{first}::{}", path[1]));
    }
    if path[1] == "net" && !path.get(2).is_some_and(|name| ADDRESSES.contains(name)) {
        return Some(format!("{first}::net beyond addresses"));
    }
    path.iter().find(|name| UNSTEADY.contains(name)).map(|name| format!("{first}'s {name}"))
}

/// All paths of a source, with the braces of `use a::{b, c::d}` multiplied out. A single name counts if it stands
/// alone as a crate would: `extern crate x`.
fn paths(tokens: &[String]) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] == "crate" && at > 0 && tokens[at - 1] == "extern" {
            out.extend(tokens.get(at + 1).map(|name| vec![name.clone()]));
            at += 2;
        } else if is_name(&tokens[at]) && tokens.get(at + 1).is_some_and(|t| t == "::") {
            at = path_tree(tokens, at, &mut Vec::new(), &mut out);
        } else {
            at += 1;
        }
    }
    out
}

/// Reads one path from `at`, with what its braces hold, and answers where it ends.
fn path_tree(tokens: &[String], mut at: usize, prefix: &mut Vec<String>, out: &mut Vec<Vec<String>>) -> usize {
    let depth = prefix.len();
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while at < tokens.len() && tokens[at] != "}" {
                    let before = at;
                    at = path_tree(tokens, at, prefix, out);
                    // Whatever is no name (commas, `as`) is stepped over.
                    at += usize::from(at == before || tokens.get(at).is_some_and(|t| t == ","));
                }
                at += 1;
                break;
            }
            Some(name) if is_name(name) || name == "*" => {
                prefix.push(name.to_owned());
                at += 1;
                if tokens.get(at).is_none_or(|t| t != "::") {
                    out.push(prefix.clone());
                    break;
                }
                at += 1;
            }
            _ => {
                if prefix.len() > depth {
                    out.push(prefix.clone());
                }
                break;
            }
        }
    }
    prefix.truncate(depth);
    at
}

/// Whether a path can begin with, or go on with, this token.
fn is_name(token: &str) -> bool {
    let keyword = matches!(token, "use" | "as" | "in" | "return" | "match" | "if" | "else" | "dyn" | "impl" | "mut");
    !keyword && token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::`, and single signs; comments, texts, characters and lifetimes are left out.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        at += match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['r', '"' | '#', ..] if raw_text(rest).is_some() => raw_text(rest).expect("just seen"),
            ['b', 'r', '"' | '#', ..] if raw_text(&rest[1..]).is_some() => 1 + raw_text(&rest[1..]).expect("just seen"),
            ['"', ..] => quoted(rest, '"'),
            ['\'', '\\', ..] => quoted(rest, '\''),
            ['\'', _, '\'', ..] => 3,
            ['\'', ..] => 1 + name_length(&rest[1..]),
            [':', ':', ..] => {
                out.push("::".to_owned());
                2
            }
            [c, ..] if c.is_whitespace() => 1,
            _ => {
                let len = name_length(rest).max(1);
                out.push(rest[..len].iter().collect());
                len
            }
        };
    }
    out
}

fn name_length(chars: &[char]) -> usize {
    chars.iter().take_while(|c| c.is_alphanumeric() || **c == '_').count()
}

fn block_comment(chars: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < chars.len() {
        match &chars[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a text in quotes, which begins at the first character.
fn quoted(chars: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The length of `r"…"` or `r#"…"#`, if there is one here.
fn raw_text(chars: &[char]) -> Option<usize> {
    let marks = chars[1..].iter().take_while(|c| **c == '#').count();
    if chars.get(1 + marks) != Some(&'"') {
        return None;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', marks)).collect();
    let body = 2 + marks;
    let length = chars[body..].windows(end.len()).position(|w| w == end.as_slice()).unwrap_or(chars.len() - body);
    Some(body + length + end.len())
}
