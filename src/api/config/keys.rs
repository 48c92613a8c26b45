//! The table of every setting: the one source for parsing, ranges, defaults, the documentation page and
//! `decurion config keys`.

use super::value::Kind;
use crate::types::limits;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name, `section.key` (a key without a section stands at the top of a file).
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it is when nobody sets it.
    pub default: Default,
    /// Whether all members of a cluster must have the same value; a joiner that differs is refused with the key's name.
    pub agreed: bool,
    /// What it does, in one or two sentences.
    pub about: &'static str,
}

/// What a setting is when nobody sets it.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// This value.
    Is(&'static str),
    /// A value that the detector's profile chooses, in the order of [`PROFILES`].
    Profile([&'static str; 4]),
    /// It follows from other settings or from the machine, as this text says.
    Follows(&'static str),
}

/// Names of the detector's profiles.
pub const PROFILES: [&str; 4] = ["lan", "wan", "weblogic", "tribes"];

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
const MEBIBYTE: u64 = 1024 * 1024;
const GIBIBYTE: u64 = 1024 * MEBIBYTE;

const fn ms(min: u64, max: u64) -> Kind {
    Kind::Milliseconds { min, max }
}

const fn bytes(min: u64, max: u64) -> Kind {
    Kind::Bytes { min, max }
}

const fn key(name: &'static str, kind: Kind, default: Default, about: &'static str) -> Key {
    Key { name, kind, default, agreed: false, about }
}

const fn agreed(name: &'static str, kind: Kind, default: Default, about: &'static str) -> Key {
    Key { name, kind, default, agreed: true, about }
}

/// Every setting, in the order of the documentation page.
#[rustfmt::skip]
pub static KEYS: &[Key] = &[
    key("cluster.name", Kind::Label { max_bytes: limits::CLUSTER_BYTES }, Default::Is("decurion"),
        "Name of the cluster. Members of differently named clusters refuse each other."),
    key("cluster.seeds", Kind::Seeds, Default::Is(""),
        "Addresses at which a starting member looks for others: `host:port` or `name@host:port`. Any one that answers is \
         enough to join; names of hosts are looked up again while nobody answers."),
    agreed("cluster.mode", Kind::Choice(&["wka", "static"]), Default::Is("wka"),
        "`wka`: the seeds are well-known addresses and anybody may join. `static`: only the names listed in \
         `cluster.seeds` may be members, so every seed needs a name."),
    agreed("cluster.voters", Kind::Names, Default::Follows("the names in `cluster.seeds` when the mode is `static`, or when three or more seeds have names; otherwise nobody"),
        "Members whose majority decides every view. Without voters the views are unfenced: the cluster serves, but two halves \
         of a split network may both do so. A voter that is not listed with its address in `cluster.seeds`, or whose host's \
         name has come to lead elsewhere, is started at another address only when its old process is certain to be gone: \
         nothing else tells the two apart."),
    agreed("cluster.minority", Kind::Choice(&["read-only", "serve", "stop"]), Default::Is("read-only"),
        "What members do that cannot form a majority of the voters: answer sends with NOT_PRIMARY, or form an unfenced view \
         of their own. `stop` is not built yet and is refused."),
    agreed("cluster.two_members", Kind::Choice(&["serve", "stop"]), Default::Is("serve"),
        "With exactly two voters: whether one that cannot hear the other goes on alone, unfenced."),
    agreed("cluster.refusal_proves_death", Kind::Flag, Default::Is("true"),
        "Whether a port that a voter's own host refuses proves that its process has ended. Switch it off where something \
         between the members (a proxy, a firewall) may refuse connections for a living one."),
    key("node.name", Kind::Name, Default::Follows("the host's name and the bound port, such as `alpha-7100`"),
        "Name of this member, unique in its cluster. A restarted process keeps its name and is still a new member."),
    key("node.bind", Kind::Address, Default::Is("127.0.0.1:7100"),
        "Local address and port for TCP and UDP alike: `127.0.0.1:7100`, `[::1]:7100`, `0.0.0.0:7100`. Port 0 lets the \
         operating system choose one."),
    key("node.advertise", Kind::Address, Default::Follows("the bound address; when that is `0.0.0.0` or `[::]`, the machine's only address of that family that is not loopback"),
        "Where the other members reach this one. Port 0 stands for the bound port."),
    key("node.tags", Kind::Tags, Default::Is(""),
        "What else is to be known of this member, as `name=value`: all members see it in every view. `machine` says who fails \
         together (without it, members with the same address do), `replication_group` is what `session.preferred_group` names."),
    key("node.witness", Kind::Flag, Default::Is("false"),
        "A witness votes and carries no messages: it is in the views and counts for their majority, and neither sends, receives nor holds \
         sessions. With one beside two members either of them goes on, fenced, without the other. Its name must be in `cluster.voters`."),
    key("join.ready", Kind::Choice(&["admission", "host"]), Default::Is("admission"),
        "When a joiner counts for stability and windows: as soon as a view admits it, or when its host says so."),
    key("join.timeout_ms", ms(0, DAY_MS), Default::Is("60000"),
        "How long a member tries to get into a view before it gives up; 0 tries for ever."),
    key("form.wait_ms", ms(0, 600_000), Default::Is("500"),
        "How long a starting member without voters listens for others before it forms a cluster of its own, four times as long \
         while a seed may still answer. Where seeds are listed only a seed does, or who was removed from a view and finds nobody of it."),
    key("leave.timeout_ms", ms(100, 600_000), Default::Is("4000"),
        "How long an orderly leave may take before the member goes without having been heard."),
    key("detector.profile", Kind::Choice(&PROFILES), Default::Is("lan"),
        "Chooses the defaults of the detector's other settings; those must agree, not the word."),
    agreed("detector.heartbeat_ms", ms(10, 600_000), Default::Profile(["250", "1000", "10000", "500"]),
        "How often a member sends heartbeats along its links."),
    agreed("detector.silence_ms", ms(50, 3_600_000), Default::Profile(["1500", "8000", "30000", "3000"]),
        "Silence on both transports after which a link is suspected; nobody is removed earlier. At least twice the heartbeat."),
    agreed("detector.lease_ms", ms(40, 3_600_000), Default::Follows("0.8 × `detector.silence_ms`"),
        "For how long a member that hears nothing may go on believing that its view is the primary one. At most \
         `detector.silence_ms`."),
    agreed("group.size", Kind::Number { min: 0, max: limits::MEMBERS as u64 }, Default::Is("0"),
        "Most members of one group; a leader relays for its group. 0 lets groups grow like the square root of the cluster."),
    agreed("multicast.use", Kind::Choice(&["off", "discovery", "messages"]), Default::Is("off"),
        "What the multicast group is for. `discovery`: members find each other by it, with or without `cluster.seeds`, and hear from each other \
         by it what they say to nobody in particular. `messages`: besides, messages to everybody go out once for all, and who does not hear \
         them gets them over connections. A cluster found by multicast alone is unfenced unless `cluster.voters` are named."),
    agreed("multicast.group", Kind::Address, Default::Profile(["239.255.71.0:7101", "239.255.71.0:7101", "239.192.0.0:7001", "228.0.0.4:45564"]),
        "Address and port of the group. Several clusters may share one: each leaves aside, and counts, what is not its own."),
    key("multicast.interface", Kind::Ip, Default::Follows("the address in `node.bind`, or if that is a wildcard, in `node.advertise`; where neither is of the group's family it must be said"),
        "The address of this machine whose network interface is used for the group."),
    key("multicast.ttl", Kind::Number { min: 0, max: 255 }, Default::Is("1"),
        "How many networks datagrams to the group may go through: 1 stays in the local one, each router takes one away."),
    key("multicast.datagram_bytes", bytes(limits::LEAST_CAST_BYTES as u64, 65_507), Default::Is("61504"),
        "Longest datagram to the group. Members tell each other what their interfaces pass in one packet as well, and keep to the least of all: \
         1472 bytes on Ethernet, 8972 with jumbo frames, 61504 on one machine. Where something between them is narrower, this is to say so in \
         every member; `decurion mcast-test` shows it."),
    key("multicast.buffer_bytes", bytes(64 * 1024, GIBIBYTE), Default::Is("4194304"),
        "Asked of the system for datagrams that wait. Senders keep to what the member with the smallest buffer has; a warning names the system's \
         own limit when that is lower."),
    key("multicast.repair_bytes_per_s", bytes(64 * 1024, 64 * GIBIBYTE), Default::Is("67108864"),
        "Bytes a second at most that this member sends to others for what they have lost of what came by multicast."),
    key("multicast.rehearse_loss", Kind::Number { min: 0, max: 900 }, Default::Is("0"),
        "For rehearsals: so many of a thousand datagrams to the group this member throws away, as if the network had lost them."),
    agreed("window.bytes", bytes(64 * 1024, GIBIBYTE), Default::Is("4194304"),
        "Bytes of messages to everybody that may be under way in the whole cluster, not yet held by all."),
    agreed("window.reserved_bytes", bytes(4 * 1024, GIBIBYTE), Default::Is("131072"),
        "The part of the window that every sender has for itself, without asking for credit. At most `window.bytes`; where there are many \
         members it is less, as all these parts together take no more than half of the window."),
    key("window.direct_bytes", bytes(64 * 1024, GIBIBYTE), Default::Is("1048576"),
        "Bytes of messages to one member that may be under way, not yet acknowledged."),
    agreed("window.slow_ms", ms(1_000, 3_600_000), Default::Is("10000"),
        "How long one member alone may hold up a full window before it is removed, and how long a host may take no events \
         before its member leaves."),
    key("send.queue_bytes", bytes(4 * 1024, GIBIBYTE), Default::Is("1048576"),
        "Accepted sends of one stream that have not gone into a batch yet, 64 bytes of overhead each included."),
    key("receive.queue_bytes", bytes(64 * 1024, 4 * GIBIBYTE), Default::Is("8388608"),
        "Delivered messages that the host has not taken yet."),
    agreed("message.max_bytes", bytes(1, limits::MESSAGE_BYTES as u64), Default::Is("1048576"),
        "Longest message. A longer one is refused at the send call."),
    agreed("message.large_bytes", bytes(MEBIBYTE, GIBIBYTE), Default::Is("67108864"),
        "Bytes of messages over 1 MiB to everybody that a member may have to put together at a time, and the same of those to it \
         alone: who sends one waits until there is room. At least `message.max_bytes`."),
    key("memory.held_bytes", bytes(64 * 1024, 64 * GIBIBYTE), Default::Is("67108864"),
        "What the host may keep of delivered payload, counted in the receive chunks that it pins."),
    key("events.stable", Kind::Flag, Default::Is("false"),
        "Whether the host gets `stable` events: how far every remaining member holds this member's messages to everybody."),
    key("session.partners", Kind::Number { min: 1, max: 64 }, Default::Is("8"),
        "Among how many members one chooses whoever holds the second copies of its sessions. Fewer mean fewer members to wait for, \
         more mean that the load of a member that dies is spread wider."),
    key("session.preferred_group", Kind::Label { max_bytes: limits::TAGS_BYTES }, Default::Follows("no group: only the machine counts"),
        "The `replication_group` (see `node.tags`) in which second copies are kept if possible: first on another machine of that group, \
         then on this machine, then on another machine of any other group, then anywhere."),
    agreed("session.max_bytes", bytes(1_024, limits::SESSION_BYTES as u64), Default::Is("262144"),
        "Longest session: the names and values of its attributes, and 6 bytes for each of them. A change that would make a longer \
         one is refused."),
    key("session.memory_bytes", bytes(MEBIBYTE, 1_024 * GIBIBYTE), Default::Is("536870912"),
        "Memory for all sessions that this member owns or holds a second copy of, with what each takes beside its content (about 90 bytes). What finds no \
         room is refused with ERR_FULL."),
    key("session.timeout_ms", ms(100, 600_000), Default::Is("10000"),
        "How long a request about a session may take before it is answered with ERR_TIMEOUT, or ERR_OUTCOME_UNKNOWN if it may \
         have made a change."),
    key("session.restore_bytes_per_s", bytes(64 * 1024, GIBIBYTE), Default::Is("33554432"),
        "Bytes a second at most for making second copies anew after a member was lost, and a fifth of that while the host uses \
         sessions, so that live traffic is not held up."),
    agreed("session.mode", Kind::Choice(&["synchronous", "asynchronous"]), Default::Is("synchronous"),
        "`synchronous`: a change is answered for once a second member has it. `asynchronous`: at once, and what the crash of one \
         member can lose is bounded by the window below; both its bytes and its age can be read."),
    key("session.window_bytes", bytes(4_096, GIBIBYTE), Default::Is("1048576"),
        "Asynchronous mode: changes, in bytes with 128 for each, that were answered for and that no second member has yet. A change \
         beyond waits for its second copy as in synchronous mode."),
    key("session.window_ms", ms(10, 600_000), Default::Is("1000"),
        "Asynchronous mode: while the oldest change without a second copy is older than this, further ones wait for theirs. So what \
         can be lost was changed within one span of this length."),
    key("session.batch_bytes", bytes(1, GIBIBYTE), Default::Is("65536"),
        "Asynchronous mode: changes for one member are sent once there are so many bytes of them, or `session.batch_ms` have passed."),
    key("session.batch_ms", ms(0, 60_000), Default::Is("100"),
        "Asynchronous mode: how long a change waits for others that it can travel with. They are sent at once when somebody else wants \
         the session, and before this member leaves."),
    agreed("security", Kind::Choice(&["none", "key", "tls"]), Default::Follows("`none` as long as every address of this member is a loopback one; otherwise it must be said"),
        "Who may join and what is encrypted. Only `none` is built: nothing is authenticated or encrypted, anybody who reaches the \
         port can join and read. `key` and `tls` are refused."),
    key("socket.buffer_bytes", bytes(0, 64 * MEBIBYTE), Default::Is("0"),
        "Size asked for each socket's send and receive buffer; 0 leaves it to the operating system."),
    key("socket.unsent_bytes", bytes(0, 64 * MEBIBYTE), Default::Is("32768"),
        "Most bytes of a connection that wait in the operating system's buffer to be sent (TCP_NOTSENT_LOWAT); what is beyond waits here, \
         where streams take turns, so that a short message need not wait for a long transfer. 0 leaves it to the operating system. Without \
         effect between members on the loopback device."),
    key("net.max_connections", Kind::Number { min: 8, max: 65_536 }, Default::Is("1024"),
        "Most TCP connections of this member, strangers included; further ones are closed at once."),
];

impl Key {
    /// The default as text, for a given profile; empty when it follows from other settings.
    pub fn default_in(&self, profile: &str) -> &'static str {
        match self.default {
            Default::Is(text) => text,
            Default::Profile(values) => {
                let at = PROFILES.iter().position(|p| *p == profile).unwrap_or(0);
                values[at]
            }
            Default::Follows(_) => "",
        }
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("DECURION_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }
}

/// Finds a key by its exact name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name)
}

/// The known key that is most like `name`, if any is like it at all.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    // A key written without its section is as near as can be.
    if let Some(key) = KEYS.iter().find(|k| k.name.rsplit('.').next() == Some(name.as_str())) {
        return Some(key.name);
    }
    let likeness = |key: &Key| strsim::jaro_winkler(key.name, &name);
    let best = KEYS.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.75).then_some(best.name)
}

/// The choice that is most like `text`, if any is.
pub fn nearest_choice(choices: &[&'static str], text: &str) -> Option<&'static str> {
    let likeness = |choice: &str| strsim::jaro_winkler(choice, &text.to_ascii_lowercase());
    let best = choices.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.75).then_some(*best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_default_is_legal() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(KEYS[..at].iter().all(|k| k.name != key.name && k.variable() != key.variable()), "{}", key.name);
            for profile in PROFILES {
                let text = key.default_in(profile);
                if !text.is_empty() {
                    assert_eq!(key.kind.parse(text).as_deref(), Ok(text), "{} in {profile}", key.name);
                }
            }
        }
    }

    #[test]
    fn a_slip_finds_the_key_that_was_meant() {
        assert_eq!(nearest("group.sise"), Some("group.size"));
        assert_eq!(nearest("heartbeat_ms"), Some("detector.heartbeat_ms"));
        assert_eq!(nearest("Detector.Heartbeat"), Some("detector.heartbeat_ms"));
        assert_eq!(nearest("zzz"), None);
    }
}
