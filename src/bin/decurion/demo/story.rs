//! What the demo knows of its members: all that they said, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use super::multicast::Counted;
use super::protocol::{Said, StreamSaid, ViewSaid};

/// A process and what it said.
#[derive(Debug)]
pub struct Seen {
    /// Its name in the cluster.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// Whether it was started in place of one that was killed.
    pub returned: bool,
    /// Whether it should be running.
    pub expected: bool,
    /// Its newest view.
    pub view: Option<ViewSaid>,
    /// What it has received, by sender.
    pub streams: Vec<StreamSaid>,
    /// What it has sent of the file.
    pub sent_bytes: u64,
    /// All of its messages, once it sends no more.
    pub sent_messages: Option<u64>,
    /// What it has counted of multicast, if there is any.
    pub multicast: Option<Counted>,
    /// Why it ended.
    pub ended: Option<String>,
    /// Whether the process is gone.
    pub gone: bool,
    /// The last lines that it wrote for people.
    pub words: Vec<String>,
}

/// A death, and when each survivor had a view without the dead one.
#[derive(Debug)]
pub struct Death {
    /// The process that was killed.
    pub process: usize,
    /// Its incarnation.
    pub incarnation: String,
    /// "leader", "coordinator", or what else it was.
    pub role: String,
    /// When.
    pub at_us: u64,
    /// Who must notice.
    pub survivors: Vec<usize>,
    /// When they did, counted from the death.
    pub noticed_us: BTreeMap<usize, u64>,
    /// Survivors whose sessions have two copies again since they noticed.
    pub restored: BTreeSet<usize>,
    /// The phase that it began.
    pub phase: usize,
}

impl Death {
    /// How long the last survivor took; `None` while one has not noticed.
    pub fn noticed_by_all_us(&self) -> Option<u64> {
        let times: Option<Vec<u64>> = self.survivors.iter().map(|p| self.noticed_us.get(p).copied()).collect();
        // Nobody has to notice any more when all had a view without it before it was known to be dead.
        Some(times?.into_iter().max().unwrap_or(0))
    }

    /// Whether no living survivor has a session without a second copy since then.
    pub fn is_restored(&self, lives: impl Fn(usize) -> bool) -> bool {
        self.survivors.iter().all(|p| self.restored.contains(p) || !lives(*p))
    }
}

/// Everything known.
#[derive(Debug, Default)]
pub struct Story {
    /// By process number, in the order they were started.
    pub seen: Vec<Seen>,
    /// Who sends, by process number.
    pub senders: Vec<usize>,
    /// Deaths on purpose.
    pub deaths: Vec<Death>,
    /// What a quiet run does not have, as (process, kind, text).
    pub troubles: Vec<(usize, String, String)>,
}

/// More troubles than this tell nothing new.
const MOST_TROUBLES: usize = 1_000;
const MOST_WORDS: usize = 20;

impl Story {
    /// Adds a process; its number is its place.
    pub fn add(&mut self, name: &str, pid: u32, returned: bool) {
        self.seen.push(Seen {
            name: name.to_owned(),
            pid,
            returned,
            expected: true,
            view: None,
            streams: Vec::new(),
            sent_bytes: 0,
            sent_messages: None,
            multicast: None,
            ended: None,
            gone: false,
            words: Vec::new(),
        });
    }

    /// Takes what a process said.
    pub fn take(&mut self, process: usize, said: Said) {
        let seen = &mut self.seen[process];
        match said {
            Said::Open { .. } => {}
            Said::View(view) => self.view(process, view),
            Said::Progress { streams, sent_bytes, sessions, .. } => {
                seen.streams = streams;
                seen.sent_bytes = sent_bytes;
                // Who holds none has none to restore, and will not say that it has.
                if sessions == 0 {
                    self.restored(process);
                }
            }
            Said::Restored { number } if seen.view.as_ref().is_some_and(|v| v.number <= number) => {
                self.restored(process);
            }
            // The demo's client of sessions takes these.
            Said::Restored { .. } | Said::Session(_) => {}
            Said::Multicast(counted) => seen.multicast = Some(counted),
            Said::Sent { messages, .. } => seen.sent_messages = Some(messages),
            Said::Trouble { kind, text } if self.troubles.len() < MOST_TROUBLES => {
                self.troubles.push((process, kind, text));
            }
            Said::Trouble { .. } => {}
            Said::Ended { reason, .. } => seen.ended = Some(reason),
        }
    }

    /// Takes a line that a process wrote for people.
    pub fn hear(&mut self, process: usize, line: String) {
        let words = &mut self.seen[process].words;
        if words.len() == MOST_WORDS {
            words.remove(0);
        }
        words.push(line);
    }

    fn view(&mut self, process: usize, view: ViewSaid) {
        for death in &mut self.deaths {
            let gone = view.members.iter().all(|m| m.incarnation != death.incarnation);
            if gone && view.at_us >= death.at_us && death.survivors.contains(&process) {
                death.noticed_us.entry(process).or_insert(view.at_us - death.at_us);
            }
        }
        self.seen[process].view = Some(view);
    }

    /// A process has no session without a second copy, in its newest view.
    fn restored(&mut self, process: usize) {
        for death in &mut self.deaths {
            if death.noticed_us.contains_key(&process) {
                death.restored.insert(process);
            }
        }
    }

    /// Whether every session has two copies again after all deaths.
    pub fn is_restored(&self) -> bool {
        self.deaths.iter().all(|death| death.is_restored(|p| self.seen[p].expected))
    }

    /// Notes that a process was killed just now, and who has to notice.
    pub fn kill(&mut self, process: usize, role: &str, phase: usize, at_us: u64) {
        self.seen[process].expected = false;
        let name = &self.seen[process].name;
        let views = self.living().filter_map(|p| self.seen[p].view.as_ref());
        let known = self.seen[process].view.iter().chain(views);
        let incarnation = known.flat_map(|v| &v.members).find(|m| m.name == *name).map(|m| m.incarnation.clone());
        let incarnation = incarnation.unwrap_or_default();
        let has_it = |view: &ViewSaid| view.members.iter().any(|m| m.incarnation == incarnation);
        let survivors = self.living().filter(|p| self.seen[*p].view.as_ref().is_some_and(has_it)).collect();
        let (role, noticed_us, restored) = (role.to_owned(), BTreeMap::new(), BTreeSet::new());
        self.deaths.push(Death { process, incarnation, role, at_us, survivors, noticed_us, restored, phase });
    }

    /// Processes that should be running.
    pub fn living(&self) -> impl Iterator<Item = usize> {
        self.seen.iter().enumerate().filter(|(_, seen)| seen.expected).map(|(process, _)| process)
    }

    /// The living process of a name.
    pub fn by_name(&self, name: &str) -> Option<usize> {
        self.living().find(|p| self.seen[*p].name == name)
    }

    /// The newest view that any living process has.
    pub fn newest_view(&self) -> Option<&ViewSaid> {
        self.living().filter_map(|p| self.seen[p].view.as_ref()).max_by_key(|v| v.number)
    }

    /// Whether all living processes have one view, with all of them in it, all ready.
    pub fn agreed(&self) -> bool {
        let Some(newest) = self.newest_view() else { return false };
        let same = |p: usize| self.seen[p].view.as_ref().is_some_and(|view| view.id == newest.id);
        let all = self.living().count();
        newest.members.len() == all && newest.members.iter().all(|m| m.ready) && self.living().all(same)
    }

    /// "coordinator", or the role in its group, in the newest view.
    pub fn role(&self, name: &str) -> &str {
        let Some(view) = self.newest_view() else { return "-" };
        match view.members.iter().position(|m| m.name == name) {
            Some(0) => "coordinator",
            Some(at) => &view.members[at].role,
            None => "-",
        }
    }

    /// What a process has of a sender.
    pub fn stream(&self, process: usize, sender: usize) -> Option<&StreamSaid> {
        let name = &self.seen[sender].name;
        self.seen[process].streams.iter().find(|s| s.sender == *name)
    }

    /// Receivers and senders that belong together: nobody receives its own stream.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        let of = |p: usize| self.senders.iter().filter(move |s| **s != p).map(move |s| (p, *s));
        self.living().flat_map(of).collect()
    }

    /// The part of the plan that the slower living sender has sent: from 0 to 1, and beyond when held open.
    pub fn sent_part(&self, stream_bytes: u64) -> f64 {
        let sent = self.senders.iter().filter(|s| self.seen[**s].expected).map(|s| self.seen[*s].sent_bytes);
        sent.min().unwrap_or(0) as f64 / stream_bytes as f64
    }

    /// The last message of a sender that all must have: what it said itself, or of one that is gone, what anybody has.
    pub fn last_of(&self, sender: usize) -> u64 {
        let anybody = || self.living().filter_map(|p| self.stream(p, sender)).map(|s| s.last).max().unwrap_or(0);
        match self.seen[sender].sent_messages {
            Some(sent) => sent,
            None if self.seen[sender].expected => 0,
            None => anybody(),
        }
    }

    /// Whether every living receiver has the last message of every sender that has finished or is gone.
    pub fn all_received(&self) -> bool {
        self.pairs()
            .into_iter()
            .all(|(receiver, sender)| self.stream(receiver, sender).map_or(0, |s| s.last) >= self.last_of(sender))
    }

    /// The first process that should be running and is not.
    pub fn unexpected_end(&self) -> Option<usize> {
        self.living().find(|p| self.seen[*p].gone || self.seen[*p].ended.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::protocol::MemberSaid;

    fn view(number: u64, at_us: u64, names: &[&str]) -> Said {
        let member = |name: &&str| MemberSaid {
            name: (*name).to_owned(),
            incarnation: format!("{name}1"),
            group: 1,
            role: "member".to_owned(),
            ready: true,
        };
        let members = names.iter().map(member).collect();
        let coordinator = names[0].to_owned();
        Said::View(ViewSaid { at_us, id: number.to_string(), number, fenced: true, coordinator, members })
    }

    fn three() -> Story {
        let mut story = Story::default();
        for (pid, name) in ["a", "b", "c"].into_iter().enumerate() {
            story.add(name, pid as u32, false);
            story.take(pid, view(1, 10, &["a", "b", "c"]));
        }
        story
    }

    #[test]
    fn a_death_is_noticed_when_the_last_survivor_has_a_view_without_it() {
        let mut story = three();
        assert!(story.agreed());
        story.kill(0, "coordinator", 1, 100);
        assert_eq!(story.deaths[0].survivors, [1, 2]);
        story.take(1, view(2, 350, &["b", "c"]));
        assert_eq!(story.deaths[0].noticed_by_all_us(), None);
        assert!(!story.agreed());
        story.take(2, view(2, 700, &["b", "c"]));
        story.take(1, view(3, 900, &["b", "c"]));
        assert_eq!(story.deaths[0].noticed_by_all_us(), Some(600));
    }

    #[test]
    fn copies_are_restored_when_each_survivor_says_so_after_it_has_noticed() {
        let mut story = three();
        let holds = |sessions| Said::Progress { streams: Vec::new(), sent_bytes: 0, sent_messages: 0, sessions };
        story.kill(0, "coordinator", 1, 100);
        story.take(1, Said::Restored { number: 1 });
        story.take(2, holds(0));
        story.take(1, view(2, 350, &["b", "c"]));
        story.take(2, view(2, 350, &["b", "c"]));
        assert!(!story.is_restored(), "nobody has said it since");
        story.take(1, Said::Restored { number: 1 });
        story.take(2, holds(3));
        assert!(!story.is_restored(), "one speaks of the view before, one holds some");
        story.take(1, Said::Restored { number: 2 });
        assert!(!story.is_restored());
        story.take(2, holds(0));
        assert!(story.is_restored());
    }

    #[test]
    fn a_process_that_ends_by_itself_is_seen() {
        let mut story = three();
        assert_eq!(story.unexpected_end(), None);
        story.take(1, Said::Ended { reason: "Refused".to_owned(), in_order: false });
        assert_eq!(story.unexpected_end(), Some(1));
    }

    #[test]
    fn nobody_receives_its_own_stream_and_all_wait_for_the_last_message() {
        let mut story = three();
        story.senders = vec![0, 1];
        assert_eq!(story.pairs(), [(0, 1), (1, 0), (2, 0), (2, 1)]);
        story.take(0, Said::Sent { messages: 5, passes: 1, bytes: 50 });
        assert!(!story.all_received());
        let stream = |last| StreamSaid { sender: "a".to_owned(), last, ..StreamSaid::default() };
        for process in [1, 2] {
            let streams = vec![stream(5)];
            story.take(process, Said::Progress { streams, sent_bytes: 0, sent_messages: 0, sessions: 0 });
        }
        assert!(story.all_received());
    }

    #[test]
    fn of_a_sender_that_is_gone_all_must_have_the_same() {
        let mut story = three();
        story.senders = vec![0];
        let stream = |last| StreamSaid { sender: "a".to_owned(), last, ..StreamSaid::default() };
        let progress =
            |last| Said::Progress { streams: vec![stream(last)], sent_bytes: 0, sent_messages: 0, sessions: 0 };
        story.take(1, progress(7));
        story.take(2, progress(6));
        assert!(story.all_received(), "it is still sending");
        story.kill(0, "coordinator", 2, 100);
        assert_eq!((story.last_of(0), story.all_received()), (7, false));
        story.take(2, progress(7));
        assert!(story.all_received());
    }
}
