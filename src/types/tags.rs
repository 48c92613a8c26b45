//! What an operator says of a member beside its name: pairs that travel with the view.

use std::fmt;
use std::sync::Arc;

use super::limits;

/// Tags of one member, as `name=value` pairs with commas between them, in the order of their names. At most 64 bytes.
///
/// Two names mean something to the library: `machine` (who shares one fails together; without it the address says so) and
/// `replication_group` (see `session.preferred_group`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tags(Arc<str>);

impl Default for Tags {
    fn default() -> Tags {
        Tags(Arc::from(""))
    }
}

impl Tags {
    /// Reads pairs in any order; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Tags, String> {
        let mut pairs: Vec<&str> = text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).collect();
        pairs.sort_unstable();
        for pair in &pairs {
            let Some((name, value)) = pair.split_once('=') else { return Err(format!("'{pair}' is no name=value")) };
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '/');
            if name.is_empty() || value.is_empty() || !name.chars().chain(value.chars()).all(plain) {
                return Err(format!("'{pair}' has other characters than letters, digits and .-_:/, or an empty part"));
            }
        }
        let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
        if let Some(twice) = pairs.windows(2).find(|two| name(two[0]) == name(two[1])) {
            return Err(format!("'{}' is there twice", name(twice[0])));
        }
        let text = pairs.join(",");
        if text.len() > limits::TAGS_BYTES {
            return Err(format!("{} bytes long", text.len()));
        }
        Ok(Tags(text.into()))
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split(',').filter_map(|pair| pair.split_once('='))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_in_any_order_and_shown_in_one() {
        let tags = Tags::parse(" zone=eu-1, machine=m7 ").expect("legal");
        assert_eq!((tags.as_str(), tags.get("machine"), tags.get("mach")), ("machine=m7,zone=eu-1", Some("m7"), None));
        assert_eq!(Tags::parse(tags.as_str()), Ok(tags.clone()));
        assert_eq!(tags.iter().count(), 2);
        assert_eq!(Tags::parse(""), Ok(Tags::default()));
        let long = format!("a={}", "x".repeat(63));
        for wrong in ["a", "a=", "=b", "a=b c", "a=b,a=c", "a=b=c", "a=é", &long] {
            assert!(Tags::parse(wrong).is_err(), "{wrong}");
        }
    }
}
