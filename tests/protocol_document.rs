//! docs/PROTOCOL.md says what the code does: limits, types, enumerations, field lists, and the places of header fields.

use std::collections::{BTreeMap, BTreeSet};

use decurion::types::{Incarnation, Name, Seat, limits};
use decurion::wire::batch::{self, Entry, FLAG_FRAGMENTS, FLAG_SEALED, Fragment, Header, Level, SEAL_BYTES};
use decurion::wire::cast::{self, Beacon, LooseHead};
use decurion::wire::control::{self, Control, MAGIC, Purpose, RefusalCode, Sight};
use decurion::wire::datagram::{Datagram, Envelope};
use decurion::wire::probe::{self, Probe};
use decurion::wire::session::{self, Objection, Role};
use decurion::wire::{BATCH_TYPE, VERSION};

const DOCUMENT: &str = include_str!("../docs/PROTOCOL.md");
const CONTROL: &str = include_str!("../src/wire/control.rs");
const PROPOSAL: &str = include_str!("../src/wire/proposal.rs");
const DATAGRAM: &str = include_str!("../src/wire/datagram.rs");
const CAST: &str = include_str!("../src/wire/cast.rs");
const PROBE: &str = include_str!("../src/wire/probe.rs");
const SESSION: &str = include_str!("../src/wire/session.rs");
const CODEC: &str = include_str!("../src/wire/codec.rs");

/// The rows of the first table whose header has these columns.
fn table(columns: &str) -> Vec<Vec<&'static str>> {
    tables(columns).into_iter().next().unwrap_or_else(|| panic!("no table {columns}"))
}

/// The rows of all tables whose header has these columns.
fn tables(columns: &str) -> Vec<Vec<Vec<&'static str>>> {
    let mut found = Vec::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        if line == columns {
            let rows = lines.by_ref().skip(1).take_while(|line| line.starts_with('|'));
            found.push(rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect());
        }
    }
    found
}

#[test]
fn limits_are_those_of_the_code() {
    let code: BTreeMap<&str, usize> = [
        ("VERSION", usize::from(VERSION)),
        ("NAME_BYTES", limits::NAME_BYTES),
        ("CLUSTER_BYTES", limits::CLUSTER_BYTES),
        ("REASON_BYTES", limits::REASON_BYTES),
        ("SETTING_BYTES", limits::SETTING_BYTES),
        ("MEMBERS", limits::MEMBERS),
        ("CHUNK_BYTES", limits::CHUNK_BYTES),
        ("BATCH_BYTES", limits::BATCH_BYTES),
        ("MESSAGE_BYTES", limits::MESSAGE_BYTES),
        ("UNASKED_BYTES", limits::UNASKED_BYTES),
        ("CONTROL_BYTES", limits::CONTROL_BYTES),
        ("GREETING_BYTES", limits::GREETING_BYTES),
        ("DATAGRAM_BYTES", limits::DATAGRAM_BYTES),
        ("LEAST_CAST_BYTES", limits::LEAST_CAST_BYTES),
        ("TAGS_BYTES", limits::TAGS_BYTES),
        ("ATTRIBUTE_NAME_BYTES", limits::ATTRIBUTE_NAME_BYTES),
        ("TOKENS", limits::TOKENS),
        ("SESSION_OVERHEAD_BYTES", limits::SESSION_OVERHEAD_BYTES),
        ("SESSION_BYTES", limits::SESSION_BYTES),
    ]
    .into();
    let document: BTreeMap<&str, usize> = table("| limit | value |")
        .iter()
        .map(|row| (row[0].trim_matches('`'), row[1].parse().expect("a number")))
        .collect();
    assert_eq!(document, code);
    let source = include_str!("../src/types/limits.rs");
    assert_eq!(source.matches("pub const").count() + 1, code.len(), "a limit is missing here");
}

#[test]
fn control_types_are_those_of_the_code() {
    let rows = table("| type | frame | body | said by |");
    let document: Vec<(u8, &str)> = rows.iter().map(|row| (row[0].parse().expect("a number"), row[1])).collect();
    assert_eq!(document, Control::TYPES);
    for row in rows {
        let declared = format!("{}({}) = {},", row[1], row[2], row[0]);
        assert!(CONTROL.contains(&declared), "the code does not have {declared}");
    }
}

#[test]
fn session_frames_are_those_of_the_code() {
    let rows = table("| type | session frame | body | said by |");
    let document: Vec<(u8, &str)> = rows.iter().map(|row| (row[0].parse().expect("a number"), row[1])).collect();
    assert_eq!(document, session::Frame::TYPES);
    for row in rows {
        let declared = format!("{}({}) = {},", row[1], row[2], row[0]);
        assert!(SESSION.contains(&declared), "the code does not have {declared}");
    }
}

#[test]
fn enumerations_are_those_of_the_code() {
    let rows = table("| enumeration | numbers |");
    let document: BTreeMap<&str, &str> = rows.iter().map(|row| (row[0], row[1])).collect();
    let known: BTreeSet<&str> = ["Purpose", "RefusalCode", "Sight", "Objection", "Role"].into();
    assert_eq!(document.keys().copied().collect::<BTreeSet<_>>(), known);
    for (name, numbers) in document {
        let start = format!("    {name} {{ ");
        let source = [CONTROL, SESSION].into_iter().find(|source| source.contains(&start)).expect(name);
        let declared: Vec<&str> = list_after(source, &start, '}').split(", ").collect();
        let spelled: Vec<String> =
            declared.iter().map(|variant| format!("{} {}", number_of(name, variant), variant)).collect();
        assert_eq!(numbers, spelled.join(", "), "{name}");
    }
}

fn number_of(enumeration: &str, variant: &str) -> u8 {
    match (enumeration, variant) {
        ("Purpose", "Link") => Purpose::Link as u8,
        ("Purpose", "Join") => Purpose::Join as u8,
        ("Purpose", "Probe") => Purpose::Probe as u8,
        ("Purpose", "Inspect") => Purpose::Inspect as u8,
        ("RefusalCode", "Cluster") => RefusalCode::Cluster as u8,
        ("RefusalCode", "Version") => RefusalCode::Version as u8,
        ("RefusalCode", "Settings") => RefusalCode::Settings as u8,
        ("RefusalCode", "NameTaken") => RefusalCode::NameTaken as u8,
        ("RefusalCode", "NotListed") => RefusalCode::NotListed as u8,
        ("RefusalCode", "Unplaceable") => RefusalCode::Unplaceable as u8,
        ("RefusalCode", "Busy") => RefusalCode::Busy as u8,
        ("RefusalCode", "Address") => RefusalCode::Address as u8,
        ("Sight", "Alive") => Sight::Alive as u8,
        ("Sight", "Silent") => Sight::Silent as u8,
        ("Sight", "Dead") => Sight::Dead as u8,
        ("Sight", "Slow") => Sight::Slow as u8,
        ("Sight", "Faulty") => Sight::Faulty as u8,
        ("Objection", "Epoch") => Objection::Epoch as u8,
        ("Objection", "Missing") => Objection::Missing as u8,
        ("Objection", "Full") => Objection::Full as u8,
        ("Role", "None") => Role::None as u8,
        ("Role", "Primary") => Role::Primary as u8,
        ("Role", "Secondary") => Role::Secondary as u8,
        ("Role", "Given") => Role::Given as u8,
        ("Role", "Claimant") => Role::Claimant as u8,
        ("Role", "Orphan") => Role::Orphan as u8,
        other => panic!("{other:?} is new: add it here and to docs/PROTOCOL.md"),
    }
}

fn list_after<'a>(text: &'a str, start: &str, end: char) -> &'a str {
    let at = text.find(start).unwrap_or_else(|| panic!("no {start}")) + start.len();
    text[at..].split(end).next().expect("a split has a first part").trim()
}

/// Field lists of the document: every line of its code blocks.
fn documented_structs() -> BTreeMap<String, String> {
    DOCUMENT
        .split("```")
        .skip(1)
        .step_by(2)
        .flat_map(str::lines)
        .filter_map(|line| line.split_once(' '))
        .map(|(name, fields)| (name.to_owned(), fields.trim().to_owned()))
        .collect()
}

/// Field lists of the code: what `wire_struct!` is given, which is the order on the wire.
fn encoded_structs() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for source in [CONTROL, PROPOSAL, SESSION, DATAGRAM, CAST, PROBE, CODEC] {
        let block = list_after(source, "\nwire_struct! {", '\u{0}');
        let block = block.split("\n}").next().expect("the end of the block");
        // Behind its fields stands how a struct is checked, if it is.
        for part in block.split('}') {
            let Some((before, fields)) = part.split_once('{') else { continue };
            let name = before.split_whitespace().last().expect("a struct has a name");
            let fields: Vec<&str> = fields.split_whitespace().collect();
            found.insert(name.to_owned(), fields.join(" "));
        }
    }
    found
}

#[test]
fn field_lists_are_those_of_the_code() {
    let (document, code) = (documented_structs(), encoded_structs());
    assert!(code.len() > 25, "the field lists of the code were not found");
    for (name, fields) in &code {
        assert_eq!(document.get(name), Some(fields), "{name}");
    }
    let extra: Vec<&String> = document.keys().filter(|name| !code.contains_key(*name)).collect();
    assert!(extra.is_empty(), "docs/PROTOCOL.md describes what is not encoded: {extra:?}");
}

/// What a header's encoding has at the place that the document gives for a field.
fn read(bytes: &[u8], row: &[&str]) -> u64 {
    let (at, length): (usize, usize) = (row[0].parse().expect("an offset"), row[1].parse().expect("a length"));
    bytes[at..at + length].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The layouts in the order of the document: batch header, entry prefix, control header, datagram, cast, probe.
fn layout(which: usize) -> Vec<Vec<&'static str>> {
    tables("| offset | bytes | field | meaning |").swap_remove(which)
}

/// Fields follow each other without a gap, up to the stated end.
fn is_gapless(rows: &[Vec<&str>], end: usize) {
    let mut at = 0;
    for row in rows {
        assert_eq!(row[0].parse::<usize>().expect("an offset"), at, "{}", row[2]);
        at += row[1].parse::<usize>().expect("a length");
    }
    assert_eq!(at, end);
}

#[test]
fn batch_header_fields_are_where_the_document_says() {
    let header = Header {
        flags: FLAG_FRAGMENTS,
        count: 0x0102,
        length: 0x0000_ef01,
        tag: 0x1112_1314_1516_1718,
        sender: Seat(0x2122_2324),
        receiver: Seat(0x3132_3334),
        batch: 0x4142_4344_4546_4748,
        first_message: 0x5152_5354_5556_5758,
    };
    let bytes = header.encode();
    let rows = layout(0);
    is_gapless(&rows, batch::HEADER_BYTES);
    for row in &rows {
        let expected = match row[2] {
            "type" => u64::from(BATCH_TYPE),
            "flags" => u64::from(header.flags),
            "count" => u64::from(header.count),
            "length" => u64::from(header.length),
            "tag" => header.tag,
            "sender" => u64::from(header.sender.0),
            "receiver" => u64::from(header.receiver.0),
            "batch" => header.batch,
            "first_message" => header.first_message,
            "reserved" => 0,
            "checksum" => u64::from(crc32fast::hash(&bytes[..44])),
            other => panic!("an unknown field {other}"),
        };
        assert_eq!(read(&bytes, row), expected, "{}", row[2]);
    }
    assert_eq!((FLAG_SEALED, FLAG_FRAGMENTS, SEAL_BYTES), (1, 2, 32), "the text names these");
}

#[test]
fn entry_fields_are_where_the_document_says() {
    let fragment = Some(Fragment { total: 0x0010_0000, offset: 0x0000_1234 });
    let entry = Entry { level: Level::Fifo, token: 0x6162_6364_6566_6768, fragment, payload: b"payload" };
    let mut bytes = Vec::new();
    entry.put(&mut bytes);
    let rows = layout(1);
    is_gapless(&rows, batch::PREFIX_BYTES);
    for row in &rows {
        let expected = match row[2] {
            "length" => 7,
            "level" => 1,
            "kind" => u64::from(batch::KIND_MESSAGE),
            "flags" => 3,
            "reserved" => 0,
            other => panic!("an unknown field {other}"),
        };
        assert_eq!(read(&bytes, row), expected, "{}", row[2]);
    }
    let parts: Vec<usize> =
        table("| part | bytes | content |").iter().map(|row| row[1].parse().expect("a length")).collect();
    assert_eq!(parts, [batch::TOKEN_BYTES, batch::FRAGMENT_BYTES]);
    assert_eq!(bytes[8..16], entry.token.to_le_bytes());
    assert_eq!(bytes[16..24], [0, 0, 0x10, 0, 0x34, 0x12, 0, 0]);
    assert_eq!(&bytes[24..], b"payload");
    assert_eq!(batch::HEADER_BYTES + batch::PREFIX_BYTES, 56, "the text names it");
}

#[test]
fn control_header_fields_are_where_the_document_says() {
    let frame = Control::Ping(7).encode();
    let rows = layout(2);
    is_gapless(&rows, control::HEADER_BYTES);
    for row in &rows {
        let expected = match row[2] {
            "type" => 50,
            "length" => 8,
            "reserved" => 0,
            "checksum" => u64::from(crc32fast::hash(&[&frame[..12], &frame[16..]].concat())),
            other => panic!("an unknown field {other}"),
        };
        assert_eq!(read(&frame, row), expected, "{}", row[2]);
    }
    assert_eq!(MAGIC, 0x314e_4344, "the text names it");
}

#[test]
fn datagram_fields_are_where_the_document_says() {
    let envelope = Envelope { cluster: 0x7172_7374_7576_7778, from: Incarnation(5), to: Incarnation(6) };
    let bytes = Datagram::NotMember.encode(&envelope);
    let rows = layout(3);
    assert_eq!(read(&bytes, &rows[0]), 0x644e_4344);
    assert_eq!(read(&bytes, &rows[1]), 4, "the kind of NotMember");
    assert_eq!(rows[2][..2], ["5", "40"]);
    assert_eq!(bytes[5..13], envelope.cluster.to_le_bytes());
    assert_eq!(rows[3][0], "45");
    assert_eq!(bytes.len(), 45 + 4);
    let kinds: Vec<String> = table("| kind | datagram | sent |")
        .iter()
        .map(|row| format!("{} => Ok(Datagram::{}", row[0], row[1]))
        .collect();
    let decoder = DATAGRAM.replace(" => Datagram::", " => Ok(Datagram::");
    for kind in kinds {
        assert!(decoder.contains(&kind), "the code does not have {kind}");
    }
}

#[test]
fn cast_fields_are_where_the_document_says() {
    let from = Incarnation(5);
    let (address, room) = (([10, 0, 0, 1], 7_100).into(), 1);
    let beacon = Beacon { from, address, view_tag: 9, newest: 4, room, longest: 1_472 }.encode();
    let loose = LooseHead { from, to: from, view_tag: 9, number: 1, token: 6 }.encode(b"tick");
    let rows = layout(4);
    for (content, kind) in [(&beacon, 2), (&loose, 3)] {
        let head = cast::head(0x7172_7374_7576_7778, content);
        assert_eq!(read(&head, &rows[0]), 0x6d4e_4344);
        assert_eq!(read(&head, &rows[1]), u64::from(crc32fast::hash(&[&head[8..], &content[..]].concat())));
        assert_eq!(read(&head, &rows[2]), 0x7172_7374_7576_7778);
        assert_eq!((rows[3][0], head.len(), content[0]), ("16", 16, kind));
    }
    assert!(loose.ends_with(b"tick"));
}

#[test]
fn probe_fields_are_where_the_document_says() {
    let name = Name::new("a");
    let probe = Probe { tester: 0x7172_7374_7576_7778, name, number: 1, sent_us: 0, largest: 0, sightings: Vec::new() };
    let bytes = probe.encode(500);
    let rows = layout(5);
    assert_eq!(read(&bytes, &rows[0]), 0x704e_4344);
    assert_eq!((rows[1][0], rows[1][2]), ("4", "body"));
    assert_eq!(bytes[4..12], probe.tester.to_le_bytes());
    assert_eq!((bytes.len(), probe::LONGEST), (500, 60_000), "the text names the longest");
    assert!(bytes[100..496].iter().all(|byte| *byte == 0), "padding");
}
