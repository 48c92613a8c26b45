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
const BAR_CELLS: usize = 24;

/// Where the running demo is shown.
#[derive(Debug)]
pub struct Picture {
    began: Instant,
    terminal: bool,
    due: Instant,
    /// Lines of the last drawing, to go back over.
    drawn: usize,
    told_view: u64,
}

impl Picture {
    /// On stderr, drawn if that is a terminal.
    pub fn new() -> Picture {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        Picture { began: now, terminal, due: now, drawn: 0, told_view: 0 }
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
            self.erase();
            let lines = draw(plan, story);
            self.drawn = lines.len();
            write(&(lines.join("\n") + "\n"));
        } else {
            self.due = now + LINE_EVERY;
            if !story.senders.is_empty() {
                self.tell(&progress(plan, story));
            }
        }
    }

    /// Draws a last time and leaves the picture standing.
    pub fn finish(&mut self, plan: &Plan, story: &Story) {
        if self.terminal {
            self.due = Instant::now();
            self.show(plan, story);
            self.drawn = 0;
        }
    }

    fn tell_view(&mut self, story: &Story) {
        let Some(view) = story.newest_view().filter(|v| v.number > self.told_view) else { return };
        self.told_view = view.number;
        let groups: BTreeMap<u16, ()> = view.members.iter().map(|m| (m.group, ())).collect();
        let coordinator = view.members.first().map_or("-", |m| m.name.as_str());
        let (number, members, groups) = (view.number, view.members.len(), groups.len());
        let fenced = if view.fenced { "fenced" } else { "unfenced" };
        self.tell(&format!("view {number}: {members} members in {groups} groups, {fenced}, coordinator {coordinator}"));
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

fn progress(plan: &Plan, story: &Story) -> String {
    let total = plan.stream_bytes();
    let mut text = format!("{:3.0} % sent", story.sent_part(total) * 100.0);
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

fn draw(plan: &Plan, story: &Story) -> Vec<String> {
    let mut lines = vec![String::new()];
    let Some(view) = story.newest_view() else {
        lines.push(format!("  {} members are starting", story.living().count()));
        return lines;
    };
    let mut groups: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for member in &view.members {
        let line = member_line(plan, story, &member.name);
        groups.entry(member.group).or_default().push(line);
    }
    let part = story.sent_part(plan.stream_bytes()) * 100.0;
    lines.push(format!("  \x1b[1mview {}\x1b[0m · {} members · {part:.0} % sent", view.number, view.members.len()));
    for (label, members) in groups {
        lines.push(format!("  \x1b[1mgroup {label}\x1b[0m"));
        lines.extend(members);
    }
    let dead: Vec<String> = story
        .deaths
        .iter()
        .map(|death| {
            format!("{} ({}, pid {})", story.seen[death.process].name, death.role, story.seen[death.process].pid)
        })
        .collect();
    if !dead.is_empty() {
        lines.push(format!("  \x1b[31mkilled:\x1b[0m {}", dead.join(", ")));
    }
    lines
}

fn member_line(plan: &Plan, story: &Story, name: &str) -> String {
    let role = story.role(name);
    let color = match role {
        "coordinator" => "\x1b[33m",
        "leader" => "\x1b[36m",
        _ => "",
    };
    let Some(process) = story.by_name(name) else {
        return format!("    \x1b[31m{name:5} {role:12} gone\x1b[0m");
    };
    let seen = &story.seen[process];
    let mut line = format!("    {color}{name:5} {role:12}\x1b[0m pid {:<7}", seen.pid);
    for sender in &story.senders {
        if *sender == process {
            let _ = write!(line, "  {:<width$}", "sends to everybody", width = BAR_CELLS + 8);
            continue;
        }
        let part = story.stream(process, *sender).map_or(0.0, |s| s.bytes as f64 / plan.stream_bytes() as f64);
        let _ = write!(line, "  {} {:3.0} %", bar(part), part * 100.0);
    }
    if seen.returned {
        line.push_str("  \x1b[32mcame back\x1b[0m");
    }
    line
}

fn bar(part: f64) -> String {
    let full = ((part * BAR_CELLS as f64) as usize).min(BAR_CELLS);
    "█".repeat(full) + &"░".repeat(BAR_CELLS - full)
}
