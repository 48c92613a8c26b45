//! Texts of others, made fit to be shown.

use std::borrow::Cow;

/// The text with a mark in place of whatever would begin a line of its own or steer a terminal.
pub fn one_line(text: &str) -> Cow<'_, str> {
    let strange = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if text.contains(strange) { text.replace(strange, "\u{fffd}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_lines_or_steers_terminals_is_replaced() {
        assert_eq!(one_line("a\r\nb\x1b[2Jc\u{9b}d\u{2028}e"), "a��b�[2Jc�d�e");
        assert!(matches!(one_line("größer, \"ok\""), Cow::Borrowed(_)));
    }
}
