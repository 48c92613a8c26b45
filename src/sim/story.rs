//! A run as a person would tell it: what was done to whom, what that came to, and the broken promise. A trace has every step; this has
//! what one needs to begin to understand.

use std::fmt::Write;

/// Lines that are told of one run; the first ones and those before the end are kept.
const LINES: usize = 48;
const FIRST: usize = 8;
/// Cut directions that are named in one line.
const PAIRS: usize = 8;
/// Who does the same within so many microseconds and lines is named with the first one.
const TOGETHER_US: u64 = 200_000;
const TOGETHER: usize = 8;

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Entry {
    Said(String),
    /// A node did what others may do as well: the verb for one and for several, and the rest.
    Did(Vec<usize>, [&'static str; 2], String),
    /// Directions that are cut or mended.
    Cut(Vec<(usize, usize)>),
    Mended(Vec<(usize, usize)>),
}

/// What has been told so far, if somebody wants to hear it.
#[derive(Debug, Default)]
pub(crate) struct Story {
    entries: Option<Vec<(u64, Entry)>>,
}

impl Story {
    /// Listens from now on.
    pub fn keep(&mut self) {
        self.entries.get_or_insert_default();
    }

    /// Something happened.
    pub fn say(&mut self, now: u64, text: impl FnOnce() -> String) {
        if let Some(entries) = &mut self.entries {
            entries.push((now, Entry::Said(text())));
        }
    }

    /// A node did something; who does the same next is named in the same line.
    pub fn did(&mut self, now: u64, node: usize, verb: [&'static str; 2], rest: impl FnOnce() -> String) {
        let Some(entries) = &mut self.entries else { return };
        let rest = rest();
        for (at, entry) in entries.iter_mut().rev().take(TOGETHER) {
            match entry {
                Entry::Did(nodes, before, same) if now - *at <= TOGETHER_US && *before == verb && *same == rest => {
                    if !nodes.contains(&node) {
                        nodes.push(node);
                    }
                    return;
                }
                _ => {}
            }
        }
        entries.push((now, Entry::Did(vec![node], verb, rest)));
    }

    /// A direction is cut.
    pub fn cut(&mut self, now: u64, from: usize, to: usize) {
        let Some(entries) = &mut self.entries else { return };
        match entries.last_mut() {
            Some((at, Entry::Cut(pairs))) if *at == now => pairs.push((from, to)),
            _ => entries.push((now, Entry::Cut(vec![(from, to)]))),
        }
    }

    /// A direction is mended.
    pub fn mended(&mut self, now: u64, from: usize, to: usize) {
        let Some(entries) = &mut self.entries else { return };
        match entries.last_mut() {
            Some((at, Entry::Mended(pairs))) if *at == now => pairs.push((from, to)),
            _ => entries.push((now, Entry::Mended(vec![(from, to)]))),
        }
    }

    /// All lines, those in the middle left out if there are too many.
    pub fn lines(&self) -> Vec<String> {
        let entries = self.entries.as_deref().unwrap_or_default();
        let tell = |(at, entry): &(u64, Entry)| format!("{:>8.3} s  {}", *at as f64 / 1e6, sentence(entry));
        if entries.len() <= LINES {
            return entries.iter().map(tell).collect();
        }
        let (rest, last) = entries.split_at(entries.len() - (LINES - FIRST));
        let left_out = format!("            ({} more; --trace has every step)", rest.len() - FIRST);
        rest[..FIRST].iter().map(tell).chain([left_out]).chain(last.iter().map(tell)).collect()
    }
}

fn sentence(entry: &Entry) -> String {
    match entry {
        Entry::Said(text) => format!("{text}."),
        Entry::Did(nodes, [one, several], rest) => {
            let names: Vec<String> = nodes.iter().map(|node| format!("n{node}")).collect();
            format!("{} {} {rest}.", names.join(", "), if nodes.len() == 1 { one } else { several })
        }
        Entry::Cut(pairs) => format!("Nothing gets through any more: {}.", directions(pairs)),
        Entry::Mended(pairs) => format!("Something gets through again: {}.", directions(pairs)),
    }
}

fn directions(pairs: &[(usize, usize)]) -> String {
    let named: Vec<String> = pairs.iter().take(PAIRS).map(|(from, to)| format!("n{from} to n{to}")).collect();
    let mut text = named.join(", ");
    if pairs.len() > PAIRS {
        let _ = write!(text, " and {} more", pairs.len() - PAIRS);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_the_same_stands_in_one_line_and_too_many_lines_lose_their_middle() {
        let mut story = Story::default();
        story.say(0, || unreachable!("nobody listens"));
        story.keep();
        [2, 0, 2].iter().for_each(|node| story.did(1_500_000, *node, ["installs", "install"], || "view 3".to_owned()));
        (0..9).for_each(|to| story.cut(2_000_000, 9, to));
        let lines = story.lines();
        assert_eq!(lines[0].trim(), "1.500 s  n2, n0 install view 3.");
        assert!(lines[1].ends_with("n9 to n7 and 1 more."), "{lines:?}");
        (0..100).for_each(|n| story.say(3_000_000, || format!("{n}")));
        let lines = story.lines();
        assert_eq!(lines.len(), LINES + 1);
        assert!(lines[FIRST].contains("54 more") && lines[LINES].ends_with("99."), "{lines:?}");
    }
}
