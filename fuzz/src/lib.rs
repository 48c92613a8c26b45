//! What the fuzz targets do with an input. `tests/wire/corpus.rs` includes this file to replay the committed corpus, so
//! it uses nothing but the crate itself and what the crate depends on.

mod calls;
mod casts;
mod config;
mod member;
mod sessions;

#[allow(dead_code)] // the tests of the core use more of it
#[path = "../../tests/core/support.rs"]
mod core_support;

pub use self::calls::c_calls;
pub use self::casts::member_casts;
pub use self::config::configuration;
pub use self::member::{member_datagram, member_script, member_stream};
pub use self::sessions::member_sessions;

use decurion::types::limits;
use decurion::wire::batch::{Entries, Entry, HEADER_BYTES, Header, Notice};
use decurion::wire::control::{self, Control};
use decurion::wire::datagram::Datagram;
use decurion::wire::session::Frame;

/// A target: the name of its corpus directory, and what it does with an input.
#[allow(dead_code, reason = "the replay uses it, the targets do not")]
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
#[allow(dead_code, reason = "the replay uses it, the targets do not")]
pub const TARGETS: &[Target] = &[
    ("batch_header", batch_header),
    ("batch_entries", batch_entries),
    ("control_frame", control_frame),
    ("datagram", datagram),
    ("session_frame", session_frame),
    ("member_stream", member_stream),
    ("member_datagram", member_datagram),
    ("member_script", member_script),
    ("member_sessions", member_sessions),
    ("member_casts", member_casts),
    ("configuration", configuration),
    ("c_calls", c_calls),
];

/// Takes choices from an input; when it is used up, everything is zero.
pub(crate) struct Script<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    pub(crate) fn take(&mut self, length: usize) -> &'a [u8] {
        let (head, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        head
    }
}

/// A batch header, as it came and behind a true checksum: what is legal has one encoding.
pub fn batch_header(data: &[u8]) {
    let Some((raw, _)) = data.split_first_chunk::<HEADER_BYTES>() else { return };
    for sealed in [false, true] {
        let mut raw = *raw;
        if sealed {
            let crc = crc32fast::hash(&raw[..HEADER_BYTES - 4]);
            raw[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        }
        if let Ok(header) = Header::decode(&raw) {
            assert_eq!(header.encode(), raw);
            assert!(header.length as usize <= limits::BATCH_BYTES && header.count > 0);
        }
    }
}

/// The message area of a batch, or what the library itself says in one; the first two bytes are the count that its header would claim.
pub fn batch_entries(data: &[u8]) {
    let Some((count, area)) = data.split_first_chunk::<2>() else { return };
    let count = u16::from_le_bytes(*count);
    if let Some(Ok(notice)) = Notice::of(area, count) {
        let mut back = Vec::with_capacity(area.len());
        notice.put(&mut back);
        assert_eq!((&back[..], count), (area, 1));
        assert!(Entries::new(area, count).all(|entry| entry.is_err()), "it is no message");
    }
    let entries: Vec<_> = Entries::new(area, count).take(usize::from(count) + 2).collect();
    assert!(entries.len() <= usize::from(count) + 1, "the walk does not end");
    let Ok(entries) = entries.into_iter().collect::<Result<Vec<Entry<'_>>, _>>() else { return };
    assert_eq!(entries.len(), usize::from(count));
    let mut back = Vec::with_capacity(area.len());
    entries.iter().for_each(|entry| entry.put(&mut back));
    assert_eq!(back, area);
}

/// A control frame, as it came and behind a true length and checksum.
pub fn control_frame(data: &[u8]) {
    let _ = Control::decode(data);
    let Some((&frame_type, body)) = data.split_first() else { return };
    let frame = sealed_control(frame_type, body);
    if let Ok(control) = Control::decode(&frame) {
        assert_eq!(&control.encode()[..], &frame[..]);
        assert_eq!(control.frame_type(), frame_type);
    }
}

/// A datagram, as it came and behind a true checksum.
pub fn datagram(data: &[u8]) {
    let _ = Datagram::decode(data);
    let bytes = sealed_datagram(data);
    if let Ok((envelope, datagram)) = Datagram::decode(&bytes) {
        assert_eq!(&datagram.encode(&envelope)[..], &bytes[..]);
    }
}

/// A frame about a session: what is legal has one encoding.
pub fn session_frame(data: &[u8]) {
    if let Ok(frame) = Frame::decode(data) {
        assert_eq!(&frame.encode()[..], data);
    }
}

/// A frame of this type around a body, with the length and checksum that a true sender would write.
fn sealed_control(frame_type: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; control::HEADER_BYTES];
    frame[0] = frame_type;
    frame[4..8].copy_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(body);
    let crc = crc32fast::hash(&[&frame[..12], &frame[control::HEADER_BYTES..]].concat());
    frame[12..16].copy_from_slice(&crc.to_le_bytes());
    frame
}

/// A datagram around a body that begins with its kind, with the mark and checksum that a true sender would write.
fn sealed_datagram(body: &[u8]) -> Vec<u8> {
    let mut bytes = b"DCNd".to_vec();
    bytes.extend_from_slice(&body[..body.len().min(limits::DATAGRAM_BYTES - 8)]);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}
