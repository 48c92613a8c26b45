//! What is named but not built is refused, with a text that says what is there instead.

use super::output::{Exit, Failure};

fn refuse(what: &str, instead: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{what} is not built in this version; what is there: {instead}"))
}

/// The mapped file of counters.
pub fn members_map() -> Failure {
    refuse("`members --map`", "`members --at HOST:PORT` asks a member over its cluster port")
}

/// Any security.
pub fn security(name: &str) -> Failure {
    refuse(&format!("--security {name}"), "--security none, on loopback addresses or trusted networks")
}
