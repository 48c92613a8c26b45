//! The running demo for people: a picture that is drawn anew in a terminal, plain lines in a pipe.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::plan::Plan;
use super::story::Story;

/// How often the picture is drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// How often a plain line tells how far it is.
const LINE_EVERY: Duration = Duration::from_secs(2);
/// The longest bar, and the shortest that is worth drawing.
const BAR_CELLS: std::ops::RangeInclusive<usize> = 4..=24;
/// Columns of a member's line without its bars, and of what may follow them.
const LINE_COLUMNS: usize = 34;
const REMARK_COLUMNS: usize = 11;

/// Where the running demo is shown.
#[derive(Debug)]
pub struct Picture {
    began: Instant,
    terminal: bool,
    due: Instant,
    /// Lines of the last drawing, to go back over.
    drawn: usize,
    /// The last drawing stands: what is told from now on follows it.
    finished: bool,
    told_view: u64,
}

impl Picture {
    /// On stderr, drawn if that is a terminal.
    pub fn new() -> Picture {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        Picture { began: now, terminal, due: now, drawn: 0, finished: false, told_view: 0 }
    }

    /// When to come back.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Milliseconds since the demo began.
    pub fn elapsed_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// One thing that happened: a line that stays.
    pub fn tell(&mut self, text: &str) {
        self.erase();
        let seconds = self.began.elapsed().as_secs_f64();
        write(&format!("[{seconds:6.2} s] {text}\n"));
    }

    /// Shows the present state when it is time to.
    pub fn show(&mut self, plan: &Plan, story: &Story) {
        self.tell_view(story);
        let now = Instant::now();
        if now < self.due {
            return;
        }
        if self.terminal {
            self.due = now + DRAW_EVERY;
            if self.finished {
                return;
            }
            self.erase();
            let lines = draw(plan, story, terminal_size());
            self.drawn = lines.len();
            write(&(lines.join("\n") + "\n"));
        } else {
            self.due = now + LINE_EVERY;
            if !story.senders.is_empty() && !self.finished {
                self.tell(&progress(plan, story));
            }
        }
    }

    /// Draws a last time and leaves the picture standing.
    pub fn finish(&mut self, plan: &Plan, story: &Story) {
        self.due = Instant::now();
        self.show(plan, story);
        self.drawn = 0;
        self.finished = true;
    }

    fn tell_view(&mut self, story: &Story) {
        let Some(view) = story.newest_view().filter(|v| v.number > self.told_view && !self.finished) else { return };
        self.told_view = view.number;
        let groups: BTreeMap<u16, ()> = view.members.iter().map(|m| (m.group, ())).collect();
        let (number, members, groups) =
            (view.number, counted(view.members.len(), "member"), counted(groups.len(), "group"));
        let fenced = if view.fenced { "fenced" } else { "unfenced" };
        self.tell(&format!("view {number}: {members} in {groups}, {fenced}, coordinator {}", view.coordinator));
    }

    fn erase(&mut self) {
        if self.drawn > 0 {
            write(&format!("\x1b[{}A\x1b[J", self.drawn));
            self.drawn = 0;
        }
    }
}

fn write(text: &str) {
    // A reader that has gone away is no reason to end.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// "1 member", "2 members".
pub fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// How far it is, in few words.
fn part_text(plan: &Plan, story: &Story) -> String {
    match story.sent_part(plan.stream_bytes()) {
        part if part < 1.0 => format!("{:.0} % sent", part * 100.0),
        _ if plan.hold => "held open until Ctrl-C".to_owned(),
        _ => "all sent".to_owned(),
    }
}

fn progress(plan: &Plan, story: &Story) -> String {
    let mut text = part_text(plan, story);
    for sender in &story.senders {
        let have = |p: usize| story.stream(p, *sender).map_or(0, |s| s.bytes);
        let receivers = || story.living().filter(|p| p != sender && !story.seen[*p].returned);
        let least = receivers().map(have).min().unwrap_or(0);
        let lag = story.seen[*sender].sent_bytes.saturating_sub(least);
        let _ = write!(text, "; of {} every receiver has {} MB", story.seen[*sender].name, least / 1_000_000);
        if lag > 8_000_000 {
            let _ = write!(text, " ({} MB under way)", lag / 1_000_000);
        }
    }
    text
}

/// Columns and rows of the terminal.
fn terminal_size() -> (usize, usize) {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call writes one winsize, which is ours; descriptor 2 is a terminal, or the call fails.
    let answer = unsafe { libc::ioctl(2, libc::TIOCGWINSZ, &raw mut size) };
    if answer != 0 || size.ws_col == 0 || size.ws_row == 0 {
        return (80, 24);
    }
    (usize::from(size.ws_col), usize::from(size.ws_row))
}

/// The picture, with a line for each member; where that is too high, with a line for each group.
fn draw(plan: &Plan, story: &Story, (columns, rows): (usize, usize)) -> Vec<String> {
    let mut lines = vec![String::new()];
    let Some(view) = story.newest_view() else {
        lines.push(format!("  {} are starting", counted(story.living().count(), "member")));
        return lines;
    };
    let mut groups: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for member in &view.members {
        groups.entry(member.group).or_default().push(&member.name);
    }
    let (number, members, part) = (view.number, counted(view.members.len(), "member"), part_text(plan, story));
    lines.push(format!("  \x1b[1mview {number}\x1b[0m · {members} · {part}"));
    let high = lines.len() + groups.len() + view.members.len() + 3;
    let cells = (columns.saturating_sub(LINE_COLUMNS + REMARK_COLUMNS) / 2).saturating_sub(9).min(*BAR_CELLS.end());
    let cells = if BAR_CELLS.contains(&cells) { cells } else { 0 };
    if high <= rows {
        lines.push(head_line(story, cells));
        for (label, members) in &groups {
            lines.push(format!("  \x1b[1mgroup {label}\x1b[0m"));
            lines.extend(members.iter().map(|name| member_line(plan, story, name, cells)));
        }
    } else {
        lines.extend(groups.iter().map(|(label, members)| group_line(plan, story, *label, members)));
    }
    if !story.deaths.is_empty() {
        lines.push(killed_line(story, columns));
    }
    lines.truncate(rows.saturating_sub(1).max(1));
    lines
}

/// What the bars stand for.
fn head_line(story: &Story, cells: usize) -> String {
    let mut line = " ".repeat(LINE_COLUMNS);
    for sender in story.senders.iter().filter(|s| story.seen[**s].expected) {
        let _ = write!(line, "  {:<width$}", format!("of {}", story.seen[*sender].name), width = cells + 6);
    }
    line.trim_end().to_owned()
}

/// The newest deaths, as many as fit.
fn killed_line(story: &Story, columns: usize) -> String {
    let mut line = String::new();
    for (at, death) in story.deaths.iter().rev().enumerate() {
        let seen = &story.seen[death.process];
        let one = format!("{} ({}, pid {})", seen.name, death.role, seen.pid);
        if line.len() + one.len() + 16 > columns {
            let _ = write!(line, " +{}", story.deaths.len() - at);
            break;
        }
        let comma = if line.is_empty() { "" } else { ", " };
        let _ = write!(line, "{comma}{one}");
    }
    format!("  \x1b[31mkilled:\x1b[0m {line}")
}

fn color(role: &str) -> &'static str {
    match role {
        "coordinator" => "\x1b[33m",
        "leader" => "\x1b[36m",
        _ => "",
    }
}

fn member_line(plan: &Plan, story: &Story, name: &str, cells: usize) -> String {
    let role = story.role(name);
    let Some(process) = story.by_name(name) else {
        return format!("    \x1b[31m{name:5} {role:12} gone\x1b[0m");
    };
    let seen = &story.seen[process];
    let mut line = format!("    {}{name:5} {role:12}\x1b[0m pid {:<7}", color(role), seen.pid);
    for sender in story.senders.iter().filter(|s| story.seen[**s].expected) {
        let cell =
            if *sender == process { "sends to all".to_owned() } else { received(plan, story, process, *sender, cells) };
        let _ = write!(line, "  {cell:<width$}", width = cells + 6);
    }
    let remark = if seen.returned { "  \x1b[32mcame back\x1b[0m" } else { "" };
    line.trim_end().to_owned() + remark
}

/// What a member has of a sender: a bar and a share; held open beyond the plan, an amount.
fn received(plan: &Plan, story: &Story, process: usize, sender: usize, cells: usize) -> String {
    let bytes = story.stream(process, sender).map_or(0, |s| s.bytes);
    let part = bytes as f64 / plan.stream_bytes() as f64;
    let full = ((part * cells as f64) as usize).min(cells);
    let bar = "█".repeat(full) + &"░".repeat(cells - full);
    if plan.hold && story.sent_part(plan.stream_bytes()) >= 1.0 {
        return format!("{bar} {:>4} MB", bytes / 1_000_000).trim_start().to_owned();
    }
    format!("{bar} {:3.0} %", part * 100.0).trim_start().to_owned()
}

fn group_line(plan: &Plan, story: &Story, label: u16, members: &[&str]) -> String {
    let leader = members.iter().find(|name| matches!(story.role(name), "coordinator" | "leader")).unwrap_or(&"-");
    let role = story.role(leader);
    let living = members.iter().filter_map(|name| story.by_name(name));
    let part = |process: usize| {
        let of = story.senders.iter().filter(|s| **s != process && story.seen[**s].expected);
        let have = of.map(|s| story.stream(process, *s).map_or(0, |s| s.bytes));
        have.min().map_or(1.0, |bytes| bytes as f64 / plan.stream_bytes() as f64)
    };
    let least = living.filter(|p| !story.seen[*p].returned).map(part).fold(1.0, f64::min) * 100.0;
    let count = counted(members.len(), "member");
    format!("  \x1b[1mgroup {label}\x1b[0m {}{leader} {role}\x1b[0m, {count}, all have {least:.0} %", color(role))
}
