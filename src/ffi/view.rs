//! `dcn_view_t`: who is in the cluster, as of one decision.

use std::ffi::c_char;
use std::ptr;
use std::sync::Arc;

use super::engine::{dcn_engine_t, with_engine};
use super::event::dcn_event_t;
use super::guard::call;
use super::handle::{Kind, Table};
use super::input;
use crate::core::{MemberRef, ViewChange};
use crate::types::{Code, MemberTag, Result, View, ViewId};

/// An immutable snapshot of the membership. All zero = no view.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct dcn_view_t {
    /// Opaque.
    pub id: u64,
}

/// `list` of `dcn_view_member`: the members, in the order of their admission.
pub const DCN_VIEW_MEMBERS: u32 = 0;
/// `list` of `dcn_view_member`: those who were not in the view before. Known for the view of an event only.
pub const DCN_VIEW_JOINED: u32 = 1;
/// `list` of `dcn_view_member`: those of the view before who are gone: name, incarnation, holder and seat only.
pub const DCN_VIEW_LEFT: u32 = 2;

/// A member without a task in its group. Also of one that has left.
pub const DCN_ROLE_MEMBER: u32 = 0;
/// Next in line to lead its group.
pub const DCN_ROLE_DEPUTY: u32 = 1;
/// Leads its group: relays for it.
pub const DCN_ROLE_LEADER: u32 = 2;

/// Bytes of a view's id as text, its NUL included.
pub const DCN_VIEW_ID_BYTES: usize = 80;
/// Bytes of a member's name, its NUL included, rounded up.
pub const DCN_NAME_BYTES: usize = 72;
/// Bytes of an incarnation as text (32 hexadecimal digits), its NUL included, rounded up.
pub const DCN_INCARNATION_BYTES: usize = 40;
/// Bytes of an address as text, its NUL included, rounded up.
pub const DCN_ADDRESS_BYTES: usize = 64;
/// Bytes of a member as cookies name it (16 hexadecimal digits), its NUL included, rounded up.
pub const DCN_HOLDER_BYTES: usize = 24;
/// Bytes of a member's tags, its NUL included, rounded up.
pub const DCN_TAGS_BYTES: usize = 72;

/// What a view says of itself. Set `struct_size` to `sizeof(dcn_view_info_t)` before the call.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct dcn_view_info_t {
    /// In: `sizeof(dcn_view_info_t)`, set by the caller.
    pub struct_size: usize,
    /// Its place in the line of views; grows.
    pub number: u64,
    /// Stands for the whole id: two views are one exactly if number and tag are equal.
    pub tag: u64,
    /// If this member came over from the losing part of a merge: the number of the view it was in before; else 0.
    pub merged_from: u64,
    /// How many members it has.
    pub member_count: u32,
    /// How many are in `DCN_VIEW_JOINED`.
    pub joined_count: u32,
    /// How many are in `DCN_VIEW_LEFT`.
    pub left_count: u32,
    /// How many groups it has.
    pub group_count: u32,
    /// Position of this member in `DCN_VIEW_MEMBERS`.
    pub me: u32,
    /// 1 if at most one such view can be primary at any moment; 0 if too little was configured for that promise.
    pub fenced: u32,
    /// 1 if this member acted in the primary view when the snapshot was taken (or the event made).
    pub primary: u32,
    /// Position in `DCN_VIEW_MEMBERS` of the member that coordinates.
    pub coordinator: u32,
    /// The whole id as NUL-terminated text: number, ballot, coordinator.
    pub id: [c_char; DCN_VIEW_ID_BYTES],
}

/// What a view says of one member. Set `struct_size` to `sizeof(dcn_member_t)` before the call.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct dcn_member_t {
    /// In: `sizeof(dcn_member_t)`, set by the caller.
    pub struct_size: usize,
    /// Number of the view that admitted it.
    pub admitted: u64,
    /// Its seat: what messages to it alone are addressed by. Never 0, never given twice.
    pub seat: u32,
    /// Label of its group.
    pub group: u32,
    /// `DCN_ROLE_*`.
    pub role: u32,
    /// 1 if it counts for stability and windows, 0 if it is still joining.
    pub ready: u32,
    /// Its configured name, NUL-terminated UTF-8.
    pub name: [c_char; DCN_NAME_BYTES],
    /// This life of it, NUL-terminated: a member that was started again has another one.
    pub incarnation: [c_char; DCN_INCARNATION_BYTES],
    /// Where it is reached (`10.0.0.7:7100`, `[fd00::7]:7100`), NUL-terminated.
    pub address: [c_char; DCN_ADDRESS_BYTES],
    /// How the cookie of a session names it as a holder (`id!primary!secondary`), NUL-terminated.
    pub holder: [c_char; DCN_HOLDER_BYTES],
    /// What its operator says of it (`node.tags`): `name=value` pairs in the order of their names, with commas between them,
    /// NUL-terminated. Empty of one that has left.
    pub tags: [c_char; DCN_TAGS_BYTES],
    /// 1 if it is a witness (`node.witness`): it votes, and carries no messages. 0 of one that has left.
    pub witness: u32,
    /// Zero.
    pub reserved: u32,
}

static VIEWS: Table<Arc<Snapshot>> = Table::new(Kind::View);

/// Takes a snapshot of the view that is installed now. It may be newer than the last view event that was polled.
///
/// Parameters: `view`, not NULL: where the handle goes.
/// Ownership: the caller gives it back with `dcn_view_release`.
/// Threads: any. Blocking: never blocks.
/// Returns: `DCN_OK`, also the last view of a member that has ended; `DCN_NOT_READY` before the first view;
/// `DCN_ERR_CLOSED` when the member ended without one; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`;
/// `DCN_ERR_PANICKED`. Nothing is written unless it is `DCN_OK`.
///
/// # Safety
/// `view` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_engine_view(engine: dcn_engine_t, view: *mut dcn_view_t) -> i32 {
    with_engine(engine, |_, engine| {
        let out = input::place(view, "view")?;
        let now = engine.view().ok_or_else(|| engine.no_view())?;
        let snapshot = Snapshot {
            view: now.view,
            me: now.me,
            primary: now.primary,
            joined: Vec::new(),
            left: Vec::new(),
            merged_from: None,
        };
        let id = VIEWS.insert(Arc::new(snapshot))?;
        // SAFETY: checked above, writable by the caller's promise.
        unsafe { out.write(dcn_view_t { id }) };
        Ok(Code::Ok)
    })
}

/// Takes the view that an event of the kind `DCN_EVENT_VIEW` tells of, with who joined and who left.
///
/// Parameters: `event`, as the last poll of this engine (or the running handler) gave it; `view`, not NULL: where the
/// handle goes.
/// Ownership: the caller gives it back with `dcn_view_release`.
/// Threads: any, until the next poll begins (or the handler returns). Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT` for another kind of event; `DCN_ERR_BAD_HANDLE` for an event of an earlier
/// poll or another engine; `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`. Nothing is written after an error.
///
/// # Safety
/// `event` is null or an event; `view` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_event_view(engine: dcn_engine_t, event: *const dcn_event_t, view: *mut dcn_view_t) -> i32 {
    with_engine(engine, |member, _| {
        let event = input::place(event.cast_mut(), "event")?;
        let out = input::place(view, "view")?;
        // SAFETY: checked above; an event by the caller's promise.
        let snapshot = member.shown().view(unsafe { (*event).ticket })?;
        let id = VIEWS.insert(snapshot)?;
        // SAFETY: checked above, writable by the caller's promise.
        unsafe { out.write(dcn_view_t { id }) };
        Ok(Code::Ok)
    })
}

/// Tells what a view says of itself.
///
/// Parameters: `info`, not NULL, its `struct_size` set.
/// Threads: any. Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`. Nothing is written after an error.
///
/// # Safety
/// `info` is null or a struct with its size set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_view_info(view: dcn_view_t, info: *mut dcn_view_info_t) -> i32 {
    let body = || {
        let answer = VIEWS.get(view.id)?.info();
        // SAFETY: the caller's promise.
        unsafe { input::fill(info, answer)? };
        Ok(Code::Ok)
    };
    // SAFETY: a null error is allowed.
    unsafe { call(ptr::null_mut(), body) }
}

/// Tells what a view says of one member.
///
/// Parameters: `list`, one of `DCN_VIEW_MEMBERS`, `DCN_VIEW_JOINED`, `DCN_VIEW_LEFT`; `index`, from 0 to below that list's count in
/// `dcn_view_info_t`; `member`, not NULL, its `struct_size` set.
/// Ownership: everything is copied into `member`.
/// Threads: any. Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT`, also for an index behind the end; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`.
/// Nothing is written after an error.
///
/// # Safety
/// `member` is null or a struct with its size set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_view_member(view: dcn_view_t, list: u32, index: u32, member: *mut dcn_member_t) -> i32 {
    let body = || {
        let answer = VIEWS.get(view.id)?.member(list, index)?;
        // SAFETY: the caller's promise.
        unsafe { input::fill(member, answer)? };
        Ok(Code::Ok)
    };
    // SAFETY: a null error is allowed.
    unsafe { call(ptr::null_mut(), body) }
}

/// Gives a view back.
///
/// Threads: any, also after the engine was closed. Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_BAD_HANDLE`, also for a second release; `DCN_ERR_FORKED`.
#[unsafe(no_mangle)]
pub extern "C" fn dcn_view_release(view: dcn_view_t) -> i32 {
    // SAFETY: a null error is allowed.
    unsafe { call(ptr::null_mut(), || VIEWS.remove(view.id).map(|_| Code::Ok)) }
}

/// What a handle holds.
#[derive(Debug)]
pub(super) struct Snapshot {
    view: Arc<View>,
    me: usize,
    primary: bool,
    joined: Vec<MemberRef>,
    left: Vec<MemberRef>,
    merged_from: Option<ViewId>,
}

impl Snapshot {
    pub(super) fn of_change(change: ViewChange, primary: bool) -> Snapshot {
        let ViewChange { view, me, joined, left, merged_from } = change;
        Snapshot { view, me, primary, joined, left, merged_from }
    }

    fn info(&self) -> dcn_view_info_t {
        let mut info = dcn_view_info_t {
            struct_size: 0,
            number: self.view.id.number,
            tag: self.view.id.tag(),
            merged_from: self.merged_from.map_or(0, |id| id.number),
            member_count: self.view.len() as u32,
            joined_count: self.joined.len() as u32,
            left_count: self.left.len() as u32,
            group_count: self.view.groups.len() as u32,
            me: self.me as u32,
            fenced: u32::from(self.view.fenced),
            primary: u32::from(self.primary),
            coordinator: self.view.coordinator() as u32,
            id: [0; DCN_VIEW_ID_BYTES],
        };
        input::copy_text(&self.view.id.to_string(), &mut info.id);
        info
    }

    fn member(&self, list: u32, index: u32) -> Result<dcn_member_t> {
        let at = index as usize;
        let (found, count) = match list {
            DCN_VIEW_MEMBERS => ((at < self.view.len()).then(|| self.present(at)), self.view.len()),
            DCN_VIEW_JOINED => (self.joined.get(at).map(|member| self.joiner(member)), self.joined.len()),
            DCN_VIEW_LEFT => (self.left.get(at).map(absent), self.left.len()),
            _ => return Err(input::invalid(format!("list is {list}: pass one of DCN_VIEW_MEMBERS, _JOINED, _LEFT"))),
        };
        found.ok_or_else(|| input::invalid(format!("index is {index}, but that list has {count} members")))
    }

    fn present(&self, at: usize) -> dcn_member_t {
        let info = &self.view.members[at];
        let mut member = absent(&MemberRef::from(info));
        member.admitted = info.admitted;
        member.group = u32::from(info.group);
        member.ready = u32::from(info.ready);
        member.witness = u32::from(info.witness);
        member.role = match self.view.role_of(at) {
            "leader" => DCN_ROLE_LEADER,
            "deputy" => DCN_ROLE_DEPUTY,
            _ => DCN_ROLE_MEMBER,
        };
        input::copy_text(&info.address.to_string(), &mut member.address);
        input::copy_text(info.tags.as_str(), &mut member.tags);
        member
    }

    fn joiner(&self, member: &MemberRef) -> dcn_member_t {
        self.view.index_of_seat(member.seat).map_or_else(|| absent(member), |at| self.present(at))
    }
}

/// All that is known of a member that is not in the view.
fn absent(member: &MemberRef) -> dcn_member_t {
    let mut answer = dcn_member_t {
        struct_size: 0,
        admitted: 0,
        seat: member.seat.0,
        group: 0,
        role: DCN_ROLE_MEMBER,
        ready: 0,
        name: [0; DCN_NAME_BYTES],
        incarnation: [0; DCN_INCARNATION_BYTES],
        address: [0; DCN_ADDRESS_BYTES],
        holder: [0; DCN_HOLDER_BYTES],
        tags: [0; DCN_TAGS_BYTES],
        witness: 0,
        reserved: 0,
    };
    input::copy_text(member.name.as_str(), &mut answer.name);
    input::copy_text(&member.incarnation.to_string(), &mut answer.incarnation);
    input::copy_text(&MemberTag::from(member.incarnation).to_string(), &mut answer.holder);
    answer
}
