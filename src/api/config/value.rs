//! What a setting's value may be, and the one way to read it from text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::core::Seed;
use crate::types::{Name, Tags, limits};

use super::keys::nearest_choice;

/// The type of a value, with its range.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any printable text.
    Label {
        /// Its longest form.
        max_bytes: usize,
    },
    /// A member's name.
    Name,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Number {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// A length of time.
    Milliseconds {
        /// The shortest.
        min: u64,
        /// The longest.
        max: u64,
    },
    /// An amount of memory; `KiB`, `MiB` and `GiB` may follow the number.
    Bytes {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// A literal address with a port.
    Address,
    /// A literal address without a port.
    Ip,
    /// A list of `host:port` or `name@host:port`.
    Seeds,
    /// A list of members' names.
    Names,
    /// A list of `name=value`.
    Tags,
}

impl Kind {
    /// Reads a value and gives back its canonical text; the error says what is wrong with it.
    pub fn parse(&self, text: &str) -> Result<String, String> {
        let text = text.trim();
        match *self {
            Kind::Label { max_bytes } => label(text, max_bytes).map(str::to_owned),
            Kind::Name => name(text).map(str::to_owned),
            Kind::Choice(choices) => choice(text, choices),
            Kind::Flag => match text {
                "true" | "false" => Ok(text.to_owned()),
                _ => Err("neither true nor false".to_owned()),
            },
            Kind::Number { min, max } | Kind::Milliseconds { min, max } => {
                in_range(text.parse().map_err(|_| "not a whole number".to_owned())?, min, max)
            }
            Kind::Bytes { min, max } => in_range(amount(text)?, min, max),
            Kind::Address => address(text).map(|a| a.to_string()),
            Kind::Ip => text.parse::<IpAddr>().map(|ip| ip.to_string()).map_err(|_| "not a literal address".to_owned()),
            Kind::Seeds => {
                let seeds = list(text).map(seed).collect::<Result<Vec<_>, _>>()?;
                Ok(seeds.iter().map(seed_text).collect::<Vec<_>>().join(","))
            }
            Kind::Names => names(text),
            Kind::Tags => Tags::parse(text).map(|tags| tags.as_str().to_owned()),
        }
    }

    /// The range in words, as errors and the documentation show it.
    pub fn allowed(&self) -> String {
        match *self {
            Kind::Label { max_bytes } => format!("1 to {max_bytes} bytes of printable text"),
            Kind::Name => format!("1 to {} bytes of printable text without blanks, ',' or '@'", limits::NAME_BYTES),
            Kind::Choice(choices) => choices.join(", "),
            Kind::Flag => "true, false".to_owned(),
            Kind::Number { min, max } => format!("{min} to {max}"),
            Kind::Milliseconds { min, max } => format!("{min} to {max} ms"),
            Kind::Bytes { min, max } => format!("{} to {}", bytes_text(min), bytes_text(max)),
            Kind::Address => "an address and a port, such as 127.0.0.1:7100 or [::1]:7100".to_owned(),
            Kind::Ip => "an address without a port, such as 127.0.0.1 or ::1".to_owned(),
            Kind::Seeds => "a list of host:port or name@host:port".to_owned(),
            Kind::Names => "a list of members' names; empty for nobody".to_owned(),
            Kind::Tags => {
                format!("a list of name=value, each name once, {} bytes in all; empty for none", limits::TAGS_BYTES)
            }
        }
    }

    /// The type's name for programs.
    pub fn type_name(&self) -> &'static str {
        match self {
            Kind::Label { .. } | Kind::Name => "text",
            Kind::Choice(_) => "choice",
            Kind::Flag => "flag",
            Kind::Number { .. } | Kind::Milliseconds { .. } | Kind::Bytes { .. } => "number",
            Kind::Address | Kind::Ip => "address",
            Kind::Seeds | Kind::Names | Kind::Tags => "list",
        }
    }

    /// The unit of a number, if it has one.
    pub fn unit(&self) -> Option<&'static str> {
        match self {
            Kind::Milliseconds { .. } => Some("ms"),
            Kind::Bytes { .. } => Some("bytes"),
            _ => None,
        }
    }

    /// Smallest and largest, for numbers.
    pub fn range(&self) -> Option<(u64, u64)> {
        match *self {
            Kind::Number { min, max } | Kind::Milliseconds { min, max } | Kind::Bytes { min, max } => Some((min, max)),
            _ => None,
        }
    }
}

/// The entries of a list, written with commas between them.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// Reads one entry of `cluster.seeds`.
pub(super) fn seed(text: &str) -> Result<Seed, String> {
    let (who, place) = match text.split_once('@') {
        Some((who, place)) => {
            (Some(Name::new(name(who).map_err(|why| format!("in '{text}' the name is {why}"))?)), place)
        }
        None => (None, text),
    };
    let wrong = |why: &str| format!("'{text}' {why}");
    let (host, port) = place.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
    let port = port.parse().ok().filter(|p| *p > 0).ok_or_else(|| wrong("needs a port from 1 to 65535"))?;
    let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().map_err(|_| wrong("has no IPv6 address in its brackets"))?.to_string(),
        None if host.contains(':') => return Err(wrong("needs brackets around its IPv6 address: [::1]:7100")),
        None => host.to_owned(),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(legal) {
        return Err(wrong("has no legal host name"));
    }
    Ok(Seed { name: who, host, port })
}

fn seed_text(seed: &Seed) -> String {
    let host = if seed.host.contains(':') { format!("[{}]", seed.host) } else { seed.host.clone() };
    match &seed.name {
        Some(name) => format!("{name}@{host}:{}", seed.port),
        None => format!("{host}:{}", seed.port),
    }
}

fn label(text: &str, max_bytes: usize) -> Result<&str, String> {
    match text {
        "" => Err("empty".to_owned()),
        _ if text.len() > max_bytes => Err(format!("{} bytes long", text.len())),
        _ if text.chars().any(char::is_control) => Err("not printable".to_owned()),
        _ => Ok(text),
    }
}

fn name(text: &str) -> Result<&str, String> {
    match text.chars().find(|c| !Name::allows(*c)) {
        Some(wrong) => Err(format!("not a name: it contains {wrong:?}")),
        None => label(text, limits::NAME_BYTES),
    }
}

/// Names in order and each once, so that two members that list them differently still agree.
fn names(text: &str) -> Result<String, String> {
    let mut all = list(text).map(name).collect::<Result<Vec<_>, _>>()?;
    all.sort_unstable();
    match all.windows(2).find(|w| w[0] == w[1]) {
        Some(twice) => Err(format!("a list with '{}' in it twice", twice[0])),
        None => Ok(all.join(",")),
    }
}

fn choice(text: &str, choices: &'static [&'static str]) -> Result<String, String> {
    if choices.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(match nearest_choice(choices, text) {
        Some(near) => format!("not a choice; did you mean '{near}'?"),
        None => "not a choice".to_owned(),
    })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix("localhost:") {
        let port = port.parse().map_err(|_| "without a legal port".to_owned())?;
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| "not a literal address with a port".to_owned())
}

fn amount(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("not a number of bytes (KiB, MiB or GiB may follow it)".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "not a number of bytes".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "out of range".to_owned())
}

fn in_range(value: u64, min: u64, max: u64) -> Result<String, String> {
    if (min..=max).contains(&value) { Ok(value.to_string()) } else { Err("out of range".to_owned()) }
}

/// An amount in the largest unit that leaves it whole.
pub(super) fn bytes_text(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift) {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None if bytes == 1 => "1 byte".to_owned(),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_take_units_and_stay_in_range() {
        let kind = Kind::Bytes { min: 4096, max: 1 << 30 };
        assert_eq!(kind.parse("64KiB").as_deref(), Ok("65536"));
        assert_eq!(kind.parse(" 1 GiB ").as_deref(), Ok("1073741824"));
        for wrong in ["2GiB", "1", "4 kB", "", "-1", "99999999999999999999", "17179869185GiB"] {
            assert!(kind.parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(kind.allowed(), "4 KiB to 1 GiB");
    }

    #[test]
    fn seeds_are_read_with_and_without_names() {
        let text = Kind::Seeds.parse("a@10.0.0.1:7100, [::1]:7200 ,host-b.example:1").expect("legal");
        assert_eq!(text, "a@10.0.0.1:7100,[::1]:7200,host-b.example:1");
        assert_eq!(Kind::Seeds.parse(&text).as_deref(), Ok(text.as_str()), "the canonical text reads as itself");
        for wrong in ["host", "host:0", "host:70000", "::1:7100", "[::x]:1", "@host:1", "a b:1", ":1"] {
            assert!(Kind::Seeds.parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_come_back_in_order_and_once() {
        assert_eq!(Kind::Names.parse("b,a").as_deref(), Ok("a,b"));
        assert!(Kind::Names.parse("a,b,a").expect_err("twice").contains("'a'"));
        for wrong in ["a b", "a,b", "a@b", "a\u{1b}b", "a\u{2028}b"] {
            assert!(Kind::Name.parse(wrong).expect_err("no name").contains("not a name"), "{wrong:?}");
        }
        assert!(Kind::Name.parse(&"x".repeat(65)).is_err());
    }

    #[test]
    fn addresses_are_literal() {
        assert_eq!(Kind::Address.parse("localhost:7100").as_deref(), Ok("127.0.0.1:7100"));
        assert_eq!(Kind::Address.parse("[::1]:0").as_deref(), Ok("[::1]:0"));
        assert!(Kind::Address.parse("example.org:7100").is_err());
        assert!(Kind::Address.parse("127.0.0.1").is_err());
    }
}
