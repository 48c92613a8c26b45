//! Writes a source with all its changes in it. Lines stay where they are, so what the compiler and a panic say of the
//! copy holds for the source.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::find::{Change, Form, Place};

/// A place with the numbers of its changes, as many as it has.
#[derive(Debug)]
pub struct Numbered {
    pub place: Place,
    pub numbers: Vec<u32>,
}

/// Where a place and its changes stand in the copy.
#[derive(Debug)]
pub struct Written {
    pub whole: Range<usize>,
    pub changes: Vec<(u32, Range<usize>)>,
}

/// The source with those changes in it that `dropped` does not name. A change holds the text of the source, the rest
/// holds the places within: only one change is made at a time.
///
/// Where both answers can be had for nothing, a check passes a change only if they differ; those in `plain` are changes
/// whose answers turned out not to compile in that place.
pub fn render(
    source: &str, places: &[Numbered], plain: &BTreeSet<u32>, dropped: &BTreeSet<u32>,
) -> (String, Vec<Written>) {
    let out = String::with_capacity(source.len() * 2);
    let mut writer = Writer { source, plain, dropped, out, written: Vec::new() };
    writer.span(0..source.len(), places);
    (writer.out, writer.written)
}

struct Writer<'a> {
    source: &'a str,
    plain: &'a BTreeSet<u32>,
    dropped: &'a BTreeSet<u32>,
    out: String,
    written: Vec<Written>,
}

impl Writer<'_> {
    /// Copies a part of the source, whose places are `places`, outer ones first.
    fn span(&mut self, range: Range<usize>, mut places: &[Numbered]) {
        let mut at = range.start;
        while let Some((first, rest)) = places.split_first() {
            let (begin, end) = (first.place.begin, first.place.end);
            let inside = rest.iter().take_while(|p| p.place.begin < end).count();
            self.out.push_str(&self.source[at..begin]);
            self.place(first, &rest[..inside]);
            at = end;
            places = &rest[inside..];
        }
        self.out.push_str(&self.source[at..range.end]);
    }

    fn place(&mut self, numbered: &Numbered, inside: &[Numbered]) {
        let Numbered { place, numbers } = numbered;
        let kept: Vec<(u32, &Change)> = (numbers.iter().copied())
            .zip(&place.changes)
            .filter(|(number, _)| !self.dropped.contains(number))
            .collect();
        if kept.is_empty() {
            return self.span(place.begin..place.end, inside);
        }
        let begin = self.out.len();
        let mut changes = Vec::new();
        self.out.push_str(if place.form == Form::Expression { "(" } else { " " });
        for (index, (number, Change { text, comparable, .. })) in kept.into_iter().enumerate() {
            let other = if index > 0 { "else " } else { "" };
            let from = self.out.len();
            if *comparable && !self.plain.contains(&number) {
                let differ = format!("|| ({text}) != ({})", place.original);
                self.out.push_str(&format!("{other}if crate::mutant::is_where({number}, {differ}) {{ "));
            } else {
                self.out.push_str(&format!("{other}if crate::mutant::is({number}) {{ "));
            }
            self.out.push_str(text);
            changes.push((number, from..self.out.len()));
            self.out.push_str(" } ");
        }
        if place.form != Form::Enter {
            self.out.push_str("else { ");
            self.span(place.begin..place.end, inside);
            self.out.push_str(" }");
        }
        self.out.push_str(if place.form == Form::Expression { ")" } else { " " });
        self.written.push(Written { whole: begin..self.out.len(), changes });
    }
}

/// The changes that an error of the compiler at `at` is about: those whose text it names, or else those of the innermost
/// place around it, or else those of the places within it.
pub fn blamed(written: &[Written], at: &Range<usize>) -> Vec<u32> {
    let meets = |r: &Range<usize>| r.start < at.end.max(at.start + 1) && at.start < r.end.max(r.start + 1);
    let numbers = |w: &Written| w.changes.iter().map(|(n, _)| *n).collect::<Vec<_>>();
    let named = written.iter().flat_map(|w| &w.changes).filter(|(_, r)| r.start <= at.start && at.end <= r.end);
    let named: Vec<u32> = named.map(|(n, _)| *n).collect();
    if !named.is_empty() {
        return named;
    }
    let around = written.iter().filter(|w| w.whole.start <= at.start && at.end <= w.whole.end);
    if let Some(innermost) = around.min_by_key(|w| w.whole.len()) {
        return numbers(innermost);
    }
    written.iter().filter(|w| meets(&w.whole)).flat_map(numbers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find::places;

    fn numbered(source: &str) -> Vec<Numbered> {
        let mut next = 1..;
        let number = |place: Place| Numbered { numbers: next.by_ref().take(place.changes.len()).collect(), place };
        places(source).expect("Rust").into_iter().map(number).collect()
    }

    #[test]
    fn lines_stay_and_the_copy_is_rust() {
        let source = "fn f(a: u8, b: &mut u8) {\n    // Why.\n    if a < *b\n        && !g(a + 1)\n    {\n        *b += 1;\n    }\n}\n";
        let (copy, written) = render(source, &numbered(source), &BTreeSet::new(), &BTreeSet::new());
        assert_eq!(copy.lines().count(), source.lines().count());
        let line_of = |text: &str, word: &str| text.lines().position(|l| l.contains(word));
        assert_eq!(line_of(&copy, "*b += 1"), line_of(source, "*b += 1"));
        syn::parse_file(&copy).expect("Rust");
        assert_eq!(written.iter().map(|w| w.changes.len()).sum::<usize>(), 8);
        for number in 1..=8 {
            let chosen = [format!("is({number})"), format!("is_where({number},")];
            assert_eq!(chosen.iter().map(|text| copy.matches(text).count()).sum::<usize>(), 1, "{copy}");
        }
    }

    #[test]
    fn what_is_dropped_leaves_the_source_as_it_was() {
        let source = "fn f(a: u8) -> char { if a < 3 { g(a - 1) } else { 'x' } }";
        let (copy, written) = render(source, &numbered(source), &BTreeSet::new(), &(1..9).collect());
        assert_eq!((copy.as_str(), written.len()), (source, 0));
    }

    #[test]
    fn the_innermost_place_is_blamed() {
        let source = "fn f(a: u8) -> char { if a - 1 < 3 { 'y' } else { 'x' } }";
        let (copy, written) = render(source, &numbered(source), &BTreeSet::new(), &BTreeSet::new());
        let at = copy.find("a + 1").expect("the change");
        assert_eq!(blamed(&written, &(at..at + 5)), [3]);
        let at = copy.rfind("a - 1").expect("the source");
        assert_eq!(blamed(&written, &(at..at + 1)), [3]);
        let at = copy.find("a <= 3").or(copy.find("a - 1 <= 3")).expect("the change");
        assert_eq!(blamed(&written, &(at..at + 3)), [1]);
        assert_eq!(blamed(&written, &(0..copy.len())).len(), 3);
    }
}
