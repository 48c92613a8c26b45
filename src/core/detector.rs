//! Who is heard (R30). Any byte over either transport is a sign of life; a link is up only when both ends hear each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::plant::{Plant, Plants};
use crate::types::{Incarnation, Micros, Time, millis};
use crate::wire::datagram::Heartbeat;

/// One member that this member watches: a leader, a deputy, or a member of its group.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Watched {
    pub(crate) address: SocketAddr,
    pub(crate) heard: Time,
    /// When the peer last said that it hears us.
    heard_by: Time,
    /// The peer's clock in its newest heartbeat, and when that came.
    echo: Option<(u64, Time)>,
    /// Since when its next heartbeat is waited for.
    beat: Time,
    pub(crate) rtt: Micros,
    /// What was last said of a silence, and when: see [`Watched::told`].
    told: Told,
    told_at: Time,
    /// When a heartbeat last went to it beside those that always go: it was asked for one, or had asked.
    extra_at: Time,
}

impl Watched {
    /// Since when the link has not been up in both directions.
    fn since(&self) -> Time {
        self.heard.min(self.heard_by)
    }

    /// What has been said of this silence already: nothing, if it began after that was said.
    fn told(&self) -> Told {
        if self.since() >= self.told_at { Told::Nothing } else { self.told }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Hash, Debug)]
enum Told {
    Nothing,
    Check,
    Silent,
}

/// Between two heartbeats a member asks for one that is overdue, or answers who asks, so many times at most.
const EXTRA: Micros = 4;

/// After a pause of our own, nobody is looked at with suspicion for so long.
const LOOK_FIRST: Micros = millis(20);

/// What the detector found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Finding {
    /// Two thirds of the bearable silence have passed: begin to check.
    Check(Incarnation, Micros),
    /// Silent for longer than is borne; said again while it lasts.
    Silent(Incarnation, Micros),
}

/// All that is watched.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Detector {
    pub(crate) watched: BTreeMap<Incarnation, Watched>,
    silence: Micros,
    heartbeat: Micros,
    /// Until then nothing is found: we have just come back from a pause.
    quiet_until: Time,
    /// When something is to be done next, and for whom; never too late. Every turn of a member asks, so nobody counts anew.
    next: (Time, Option<Incarnation>),
    plants: Plants,
}

impl Detector {
    pub(crate) fn new(silence: Micros, heartbeat: Micros, plants: Plants) -> Detector {
        Detector {
            watched: BTreeMap::new(),
            silence,
            heartbeat,
            quiet_until: Time::ZERO,
            next: (Time::NEVER, None),
            plants,
        }
    }

    /// Watches exactly these from now on. Who is new counts as heard now.
    pub(crate) fn watch(&mut self, now: Time, whom: impl Iterator<Item = (Incarnation, SocketAddr)>) {
        let mut before = std::mem::take(&mut self.watched);
        for (incarnation, address) in whom {
            let watched = before.remove(&incarnation).unwrap_or(Watched {
                address,
                heard: now,
                heard_by: now,
                echo: None,
                beat: now,
                rtt: 0,
                told: Told::Nothing,
                told_at: now,
                extra_at: Time::ZERO,
            });
            self.watched.insert(incarnation, watched);
        }
        self.count_anew();
    }

    /// A sign of life.
    pub(crate) fn heard(&mut self, now: Time, whom: Incarnation) {
        if let Some(w) = self.watched.get_mut(&whom) {
            w.heard = now;
        }
    }

    pub(crate) fn on_heartbeat(&mut self, now: Time, from: Incarnation, beat: &Heartbeat) {
        let trusting = self.plants.has(Plant::TrustOneWayLink);
        let Some(w) = self.watched.get_mut(&from) else { return };
        w.heard = now;
        w.echo = Some((beat.sent_us, now));
        w.beat = now;
        // It tells since when it has not heard us. For less than what it looks into itself that says nothing: what is lost in one direction
        // must not add to the other. From then on it counts from the last heartbeat before, so that the end that still hears finds the link
        // down later than the one that does not, which says so itself.
        let unheard = Micros::from(beat.heard_ms) * 1_000;
        let unheard = if trusting || unheard < self.silence / 3 * 2 { 0 } else { unheard };
        w.heard_by = w.heard_by.max(Time(now.0.saturating_sub(unheard)));
        let sent = Time(beat.echo_us);
        if beat.echo_us > 0 && sent <= now {
            let rtt = now.since(sent).saturating_sub(beat.echo_age_us);
            w.rtt = if w.rtt == 0 { rtt } else { (w.rtt * 7 + rtt) / 8 };
        }
    }

    /// Who is asked for a heartbeat now: theirs is overdue, perhaps lost. What else is heard of them does not say that they hear us.
    /// Nobody is asked for longer than silence is borne.
    pub(crate) fn overdue(&mut self, now: Time) -> Vec<(Incarnation, SocketAddr)> {
        let mut asked = Vec::new();
        if now < self.next.0 {
            return asked;
        }
        let late = |(_, w): &(&Incarnation, &Watched)| now >= self.ask_at(w);
        let due: Vec<Incarnation> = self.watched.iter().filter(late).map(|(whom, _)| *whom).collect();
        for whom in due {
            let w = self.watched.get_mut(&whom).expect("just seen");
            w.extra_at = now;
            asked.push((whom, w.address));
        }
        self.count_anew();
        asked
    }

    /// When a member is asked for a heartbeat next.
    fn ask_at(&self, w: &Watched) -> Time {
        let at = (w.beat + self.overdue_after()).max(w.extra_at + self.heartbeat / EXTRA);
        if self.silent_for(at, w) < self.silence { at } else { Time::NEVER }
    }

    /// Where a heartbeat wants one in answer: its sender has not got ours for too long.
    pub(crate) fn asked_by(&mut self, now: Time, from: Incarnation, beat: &Heartbeat) -> Option<SocketAddr> {
        let (overdue, every) = (self.overdue_after(), self.heartbeat / EXTRA);
        let w = self.watched.get_mut(&from)?;
        let unheard = if beat.echo_us > 0 { beat.echo_age_us } else { Micros::from(beat.heard_ms) * 1_000 };
        let asked = unheard >= overdue && now.since(w.extra_at) >= every;
        asked.then(|| {
            w.extra_at = now;
            w.address
        })
    }

    /// A heartbeat may come late by a part of its period before anybody asks for it.
    fn overdue_after(&self) -> Micros {
        self.heartbeat + self.heartbeat / EXTRA
    }

    /// The heartbeat for a watched member.
    pub(crate) fn heartbeat_for(
        &self, now: Time, to: Incarnation, view: (u64, u64), late: Micros,
    ) -> Option<Heartbeat> {
        let w = self.watched.get(&to)?;
        let (echo_us, echo_age_us) = w.echo.map_or((0, 0), |(clock, at)| (clock, now.since(at)));
        Some(Heartbeat {
            view_number: view.0,
            view_tag: view.1,
            sent_us: now.0,
            echo_us,
            echo_age_us,
            heard_ms: (now.since(w.heard) / 1_000).min(u64::from(u32::MAX)) as u32,
            late_ms: (late / 1_000) as u32,
        })
    }

    /// Our own process stood still: nobody is accused on clocks that ran meanwhile, nor before what lies in the kernel has
    /// been looked at (V6).
    pub(crate) fn forgive(&mut self, now: Time, pause: Micros) {
        for w in self.watched.values_mut() {
            w.heard = (w.heard + pause).min(now);
            w.heard_by = (w.heard_by + pause).min(now);
            w.beat = (w.beat + pause).min(now);
        }
        // Not again and again: a loop that is always late must still notice who is dead.
        if now.since(self.quiet_until) > self.silence / 3 {
            self.quiet_until = now + LOOK_FIRST;
        }
        self.count_anew();
    }

    /// How long a link has not been up in both directions.
    fn silent_for(&self, now: Time, w: &Watched) -> Micros {
        now.since(w.since())
    }

    /// Whether the link to a member is up: heard, and heard by it.
    pub(crate) fn is_up(&self, now: Time, whom: Incarnation) -> bool {
        self.watched.get(&whom).is_some_and(|w| self.silent_for(now, w) < self.silence)
    }

    /// How long the link to a member has not been up in both directions; `None` if it is not watched.
    pub(crate) fn unlinked_for(&self, now: Time, whom: Incarnation) -> Option<Micros> {
        self.watched.get(&whom).map(|w| self.silent_for(now, w))
    }

    /// Looks for silence.
    pub(crate) fn findings(&mut self, now: Time) -> Vec<Finding> {
        let mut found = Vec::new();
        if now < self.next.0 || now < self.quiet_until {
            return found;
        }
        for (whom, w) in &mut self.watched {
            let (silent, told) = (now.since(w.since()), w.told());
            if silent >= self.silence && (told < Told::Silent || now.since(w.told_at) >= self.heartbeat) {
                (w.told, w.told_at) = (Told::Silent, now);
                found.push(Finding::Silent(*whom, silent));
            } else if silent >= self.silence / 3 * 2 && told < Told::Check {
                (w.told, w.told_at) = (Told::Check, now);
                found.push(Finding::Check(*whom, silent));
            }
        }
        self.count_anew();
        found
    }

    /// When the next finding can come, or somebody must be asked for a heartbeat: not later, and exactly that after [`Detector::settle`].
    pub(crate) fn deadline(&self) -> Time {
        self.next.0
    }

    /// At the end of a turn. What is heard only puts off what is due, so nothing changes unless it was heard of the one that is next.
    pub(crate) fn settle(&mut self) {
        let next = self.next.1.and_then(|whom| self.watched.get(&whom)).map(|w| self.due(w));
        if next != Some(self.next.0) {
            self.count_anew();
        }
    }

    fn count_anew(&mut self) {
        let due = self.watched.iter().map(|(whom, w)| (self.due(w), Some(*whom)));
        self.next = due.min().unwrap_or((Time::NEVER, None));
    }

    /// When something is to be done for one member.
    fn due(&self, w: &Watched) -> Time {
        let since = w.since();
        let finding = match w.told() {
            Told::Nothing => since + self.silence / 3 * 2,
            Told::Check => since + self.silence,
            Told::Silent => (w.told_at + self.heartbeat).max(since + self.silence),
        };
        finding.max(self.quiet_until).min(self.ask_at(w))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Incarnation = Incarnation(2);
    const SILENCE: Micros = millis(1_500);
    const PERIOD: Micros = millis(250);

    fn watching() -> Detector {
        let mut detector = Detector::new(SILENCE, PERIOD, Plants::default());
        detector.watch(Time(0), [(PEER, SocketAddr::from(([127, 0, 0, 1], 1)))].into_iter());
        detector
    }

    fn beat(echo_age_us: u64) -> Heartbeat {
        let (view_number, view_tag, sent_us, echo_us) = (1, 1, 1, 1);
        Heartbeat { view_number, view_tag, sent_us, echo_us, echo_age_us, heard_ms: 0, late_ms: 0 }
    }

    #[test]
    fn a_late_heartbeat_is_asked_for_four_times_in_a_period_until_silence_is_not_borne() {
        let mut detector = watching();
        let mut asked = Vec::new();
        // Other bytes are heard all the time: they do not say that the peer hears us.
        for now in (0..3_000_000).step_by(500) {
            detector.heard(Time(now), PEER);
            let due = detector.deadline() <= Time(now);
            if !detector.overdue(Time(now)).is_empty() {
                assert!(due, "nobody would have been woken for it");
                asked.push(now);
            }
            detector.settle();
        }
        let expected: Vec<u64> = (312_500..SILENCE).step_by(62_500).collect();
        assert_eq!(asked, expected);
    }

    #[test]
    fn nobody_is_asked_while_heartbeats_come() {
        let mut detector = watching();
        for period in 1..100 {
            let now = Time(period * PERIOD);
            assert_eq!(detector.overdue(now), []);
            assert_eq!(detector.asked_by(now, PEER, &beat(PERIOD)), None, "it has had our last one");
            detector.on_heartbeat(now, PEER, &beat(PERIOD));
        }
    }

    #[test]
    fn who_lacks_our_heartbeat_is_answered_four_times_in_a_period() {
        let mut detector = watching();
        let answered = |now: &u64| detector.asked_by(Time(*now), PEER, &beat(PERIOD * 2)).is_some();
        let answers = (1_000_000..1_000_000 + PERIOD).step_by(1_000).filter(answered).count();
        assert_eq!(answers, 4);
        assert_eq!(detector.asked_by(Time(5_000_000), Incarnation(3), &beat(PERIOD * 2)), None, "it is not watched");
    }

    const OTHER: Incarnation = Incarnation(3);

    #[test]
    fn the_time_to_a_member_and_back_is_measured_without_what_the_heartbeat_waited_there() {
        let mut detector = watching();
        let echo = |echo_us, echo_age_us| Heartbeat { echo_us, ..beat(echo_age_us) };
        detector.on_heartbeat(Time(10_000), PEER, &echo(4_000, 5_000));
        assert_eq!(detector.watched[&PEER].rtt, 1_000);
        detector.on_heartbeat(Time(20_000), PEER, &echo(20_001, 0));
        assert_eq!(detector.watched[&PEER].rtt, 1_000, "it says what it cannot have heard");
        detector.on_heartbeat(Time(30_000), PEER, &echo(21_000, 0));
        assert_eq!(detector.watched[&PEER].rtt, 2_000, "an eighth of what is new");
    }

    #[test]
    fn nobody_is_missed_for_the_time_of_our_own_pause() {
        let mut detector = watching();
        detector.forgive(Time(SILENCE * 2), SILENCE);
        // As long as it has been silent beside the pause.
        assert_eq!(detector.unlinked_for(Time(SILENCE * 2), PEER), Some(SILENCE));
        assert_eq!(detector.watched[&PEER].heard, Time(SILENCE));
        detector.forgive(Time(SILENCE * 2), SILENCE * 5);
        assert_eq!(detector.unlinked_for(Time(SILENCE * 2), PEER), Some(0), "never later than now");
    }

    #[test]
    fn after_a_pause_of_our_own_what_has_come_meanwhile_is_looked_at_first() {
        let mut detector = watching();
        let now = Time(SILENCE * 2);
        detector.forgive(now, 1);
        assert_eq!(detector.findings(Time(now.0 + LOOK_FIRST - 1)), []);
        let silent = SILENCE * 2 + LOOK_FIRST - 1;
        assert_eq!(detector.findings(now + LOOK_FIRST), [Finding::Silent(PEER, silent)]);
    }

    /// Each word is a frame to whoever coordinates, and counts for as long as is borne.
    #[test]
    fn a_silence_is_said_again_with_each_heartbeat_whatever_is_found_of_others_between() {
        let mut detector = watching();
        let both = [(PEER, SocketAddr::from(([127, 0, 0, 1], 1))), (OTHER, SocketAddr::from(([127, 0, 0, 1], 2)))];
        detector.watch(Time(SILENCE / 3 + PERIOD / 2), both.into_iter());
        let mut said = Vec::new();
        for now in (0..SILENCE + PERIOD * 2).step_by(1_000) {
            let found = detector.findings(Time(now));
            said.extend(found.iter().filter(|f| matches!(f, Finding::Silent(PEER, _))).map(|_| now));
            detector.overdue(Time(now));
            detector.settle();
        }
        assert_eq!(said, [SILENCE, SILENCE + PERIOD]);
    }

    /// Who is heard again is looked at as early as before when it falls silent once more: nothing that was said of one silence counts for the next.
    #[test]
    fn each_silence_is_looked_into_when_two_thirds_of_it_are_over() {
        for silent in [SILENCE / 3 * 2, SILENCE - 1, SILENCE, SILENCE * 2] {
            let mut detector = watching();
            let mut looked = |from: u64| {
                let mut first = None;
                for now in (from..from + silent + 1).step_by(1_000) {
                    detector.overdue(Time(now));
                    let found = detector.findings(Time(now));
                    first = first.or(found.first().map(|f| (*f, now - from)));
                    detector.settle();
                }
                let now = from + silent + 1;
                detector.on_heartbeat(Time(now), PEER, &beat(0));
                detector.settle();
                (first, now)
            };
            let (first, again) = looked(0);
            assert_eq!(first, Some((Finding::Check(PEER, SILENCE / 3 * 2), SILENCE / 3 * 2)));
            let (second, _) = looked(again);
            assert_eq!(second, first, "{silent}");
        }
    }
}
