//! Any sequence of calls of the C interface: with handles that are alive, closed, of another kind and invented, with NULL where
//! a value is needed, with events that are long gone. Every call answers with a status, none with a panic, and one that fails
//! writes nothing.
//!
//! Engines run in this very thread (`dcn_engine_open_in_loop`), so an input means the same thing every time, but for what takes
//! the system some time.

use std::ffi::{CStr, CString, c_char};
use std::mem::zeroed;
use std::ptr::{null, null_mut};

use decurion::ffi::attribute::{dcn_attribute_get, dcn_attribute_next, dcn_attribute_t};
use decurion::ffi::buffer::{dcn_buf_data, dcn_buf_release, dcn_buf_retain, dcn_buf_t};
use decurion::ffi::config::*;
use decurion::ffi::engine::*;
use decurion::ffi::event::{DCN_EVENT_SESSION, dcn_event_t};
use decurion::ffi::guard::dcn_error_t;
use decurion::ffi::logging::dcn_log_set;
use decurion::ffi::send::{dcn_send, dcn_send_many, dcn_sendv, dcn_slice_t};
use decurion::ffi::session::*;
use decurion::ffi::stats::{dcn_engine_stats, dcn_stats_t};
use decurion::ffi::status::{dcn_abi_version, dcn_last_error, dcn_status_str};
use decurion::ffi::turn::{dcn_engine_next_timeout_ms, dcn_engine_open_in_loop, dcn_engine_turn};
use decurion::ffi::view::*;

use super::Script;

/// Calls of one input.
const CALLS: usize = 300;
/// Engines of one input: each opens sockets.
const ENGINES: usize = 3;
/// Turns that one step gives all engines.
const TURNS: usize = 8;
/// A number that no call writes: out parameters begin with it.
const UNTOUCHED: u64 = 0x5eed_5eed_5eed_5eed;
const OK: i32 = 0;
const BAD_HANDLE: i32 = -3;
const PANICKED: i32 = -13;
/// The statuses that there are.
const STATUSES: std::ops::RangeInclusive<i32> = -21..=4;

/// The input is a sequence of calls.
pub fn c_calls(data: &[u8]) {
    let script = Script { rest: data };
    let mut caller = Caller { script, handles: vec![], engines: vec![], events: vec![], cookies: vec![] };
    for _ in 0..CALLS {
        if caller.script.rest.is_empty() {
            break;
        }
        let (what, code) = caller.call();
        assert!(STATUSES.contains(&code) && code != PANICKED, "call {what} answered {code}: {}", last_error());
    }
    caller.end();
}

fn last_error() -> String {
    // SAFETY: it is terminated text, valid until the next call of this thread.
    unsafe { CStr::from_ptr(dcn_last_error()) }.to_string_lossy().into_owned()
}

struct Caller<'a> {
    script: Script<'a>,
    /// Every handle that was ever given out in this run, closed ones too.
    handles: Vec<u64>,
    /// Those of engines that are open.
    engines: Vec<dcn_engine_t>,
    /// Events, some of them of polls long ago.
    events: Vec<dcn_event_t>,
    /// Cookies of sessions, as events named them.
    cookies: Vec<CString>,
}

impl Caller<'_> {
    /// One call: which one, and what it answered.
    fn call(&mut self) -> (u8, i32) {
        let what = self.script.byte();
        let code = match what % 48 {
            0..=2 => self.open(),
            3 => self.close(),
            4..=8 => self.turn_all(),
            9..=12 => self.poll(),
            13..=19 => self.about_configuration(),
            20..=30 => self.about_engine(),
            31..=40 => self.about_session(),
            _ => self.about_the_rest(),
        };
        (what, code)
    }

    /// Mostly a handle that was given out, of any kind; now and then one that never was.
    fn handle(&mut self) -> u64 {
        let choice = self.script.byte();
        let known = self.handles.get(usize::from(choice) % self.handles.len().max(1)).copied().unwrap_or(0);
        match choice {
            0..=239 => known,
            240..=247 => known ^ 1 << (self.script.byte() % 64),
            248..=251 => 0,
            _ => u64::from(choice) << (self.script.byte() % 64),
        }
    }

    /// Mostly an open engine.
    fn engine(&mut self) -> dcn_engine_t {
        let choice = usize::from(self.script.byte());
        match self.engines.get(choice % (self.engines.len() + 1)) {
            Some(engine) => *engine,
            None => dcn_engine_t { id: self.handle() },
        }
    }

    /// A text: one that means something, bytes of the input, or NULL.
    fn text(&mut self, known: &[&CStr]) -> Option<CString> {
        let choice = usize::from(self.script.byte());
        match known.get(choice % (known.len() + 2)) {
            Some(text) => Some((*text).to_owned()),
            None if choice & 1 == 0 => None,
            None => {
                let length = usize::from(self.script.byte());
                let bytes: Vec<u8> = self.script.take(length).iter().copied().filter(|byte| *byte != 0).collect();
                CString::new(bytes).ok()
            }
        }
    }

    fn event(&mut self) -> Option<dcn_event_t> {
        let choice = self.script.byte();
        let event = self.events.get(usize::from(choice) % (self.events.len() + 1)).copied();
        match (event, choice) {
            (Some(event), 0..=223) => Some(event),
            (Some(event), _) => Some(dcn_event_t { ticket: event.ticket.wrapping_add(u64::from(choice % 3)), ..event }),
            // SAFETY: numbers and pointers only, for which zero is a value.
            (None, 1..) => Some(unsafe { zeroed() }),
            (None, 0) => None,
        }
    }

    /// Opens a member as a host would, which forms its cluster at once or joins the first one.
    fn open(&mut self) -> i32 {
        if self.engines.len() >= ENGINES {
            return self.turn_all();
        }
        let mut config = dcn_config_t { id: 0 };
        let mut engine = dcn_engine_t { id: UNTOUCHED };
        let mut seed = [0 as c_char; 64];
        let name = CString::new(format!("m{}", self.handles.len())).expect("no NUL in it");
        // SAFETY: texts are terminated, and everything else leads to live values.
        let code = unsafe {
            assert_eq!(dcn_config_new(&mut config), OK);
            let set = |key: &CStr, value: &CStr| dcn_config_set(config, key.as_ptr(), value.as_ptr(), null_mut());
            assert_eq!(set(c"node.bind", c"127.0.0.1:0") | set(c"node.name", &name) | set(c"form.wait_ms", c"0"), OK);
            if let Some(first) = self.engines.first()
                && dcn_engine_local_address(*first, seed.as_mut_ptr(), seed.len(), null_mut()) == OK
            {
                assert_eq!(set(c"cluster.seeds", CStr::from_ptr(seed.as_ptr())), OK);
            }
            dcn_engine_open_in_loop(config, &mut engine, null_mut())
        };
        self.handles.push(config.id);
        assert_eq!(code, OK, "{}", last_error());
        self.handles.push(engine.id);
        self.engines.push(engine);
        code
    }

    fn close(&mut self) -> i32 {
        let engine = self.engine();
        let code = dcn_engine_close(engine);
        if code == OK {
            self.engines.retain(|open| *open != engine);
        }
        assert_eq!(dcn_engine_close(engine), BAD_HANDLE, "a second close");
        code
    }

    fn turn_all(&mut self) -> i32 {
        for _ in 0..TURNS {
            for engine in &self.engines {
                let code = dcn_engine_turn(*engine);
                assert!(code == OK || code == -4, "a turn answered {code}: {}", last_error());
            }
        }
        OK
    }

    fn poll(&mut self) -> i32 {
        let engine = self.engine();
        let capacity = usize::from(self.script.byte() % 9);
        let mut count = UNTOUCHED as usize;
        // SAFETY: numbers and pointers only, for which zero is a value.
        let mut events: [dcn_event_t; 8] = unsafe { zeroed() };
        // SAFETY: an array of at least so many elements, and a live number.
        let code = unsafe {
            let stride_bytes = size_of::<dcn_event_t>();
            dcn_engine_poll(engine, events.as_mut_ptr(), stride_bytes, capacity.min(8), 0, &mut count)
        };
        match code {
            OK => {
                assert!((1..=capacity).contains(&count), "{count} events for {capacity}");
                for event in &events[..count] {
                    self.cookies.extend(read_event(event));
                    let place = usize::from(self.script.byte()) % 16;
                    match self.events.get_mut(place) {
                        Some(before) => *before = *event,
                        None => self.events.push(*event),
                    }
                }
            }
            _ => assert!(count == UNTOUCHED as usize || count == 0, "{code} wrote {count}"),
        }
        code
    }

    fn about_configuration(&mut self) -> i32 {
        let config = dcn_config_t { id: self.handle() };
        let keys =
            [c"group.size", c"node.bind", c"cluster.seeds", c"session.mode", c"form.wait_ms", c"message.max_bytes"];
        let values = [c"3", c"127.0.0.1:0", c"", c"a@127.0.0.1:7,b@[::1]:8", c"async", c"18446744073709551616"];
        let what = self.script.byte();
        let (key, value) = (self.text(&keys), self.text(&values));
        let (key, value) = (pointer(&key), pointer(&value));
        let mut error = error(what & 0x80 == 0);
        let error = if what & 0x40 == 0 { &raw mut error } else { null_mut() };
        let (mut text, mut length) = ([0x55 as c_char; 40], UNTOUCHED as usize);
        let mut new = dcn_config_t { id: UNTOUCHED };
        // SAFETY: texts are terminated or NULL, everything else leads to live values or is NULL.
        unsafe {
            match what % 8 {
                0 => {
                    let code = dcn_config_new(&mut new);
                    self.handles.push(new.id);
                    code
                }
                1..=3 => dcn_config_set(config, key, value, error),
                4 => {
                    let capacity = usize::from(what >> 3);
                    let code = dcn_config_get(config, key, text.as_mut_ptr(), capacity, &mut length, error);
                    assert!(text[capacity..].iter().all(|byte| *byte == 0x55), "written beyond its capacity");
                    code
                }
                5 => {
                    let paths = [c"/nowhere", c"/", c"/dev/null"];
                    let path = self.text(&paths);
                    dcn_config_load(config, pointer(&path), error)
                }
                6 => dcn_config_load_env(config, error),
                _ => dcn_config_free(config),
            }
        }
    }

    fn about_engine(&mut self) -> i32 {
        let engine = self.engine();
        let event = self.event();
        let event = event.as_ref().map_or(null(), std::ptr::from_ref);
        let [what, choice] = [self.script.byte(), self.script.byte()];
        let length = usize::from(self.script.byte());
        let payload = self.script.take(length);
        let parts = [0, payload.len() / 2]
            .map(|from| dcn_slice_t { data: payload[from..].as_ptr(), bytes: payload.len() - from });
        let (mut view, mut buffer) = (dcn_view_t { id: UNTOUCHED }, dcn_buf_t { id: UNTOUCHED });
        let mut number = UNTOUCHED as i32;
        // SAFETY: zero is a value of it.
        let mut stats: dcn_stats_t = unsafe { zeroed() };
        stats.struct_size = if choice & 1 == 0 { size_of::<dcn_stats_t>() } else { usize::from(choice / 2) };
        let (to, level) = (u32::from(choice & 7), u32::from(choice >> 3 & 7));
        // SAFETY: pointers lead to live values of the lengths that are given, or are NULL.
        let (code, given) = unsafe {
            match what % 16 {
                0 => (dcn_engine_view(engine, maybe(&mut view, choice)), &mut view.id),
                1 | 2 => (dcn_event_view(engine, event, maybe(&mut view, choice)), &mut view.id),
                3 | 4 => (dcn_buf_retain(engine, event, maybe(&mut buffer, choice)), &mut buffer.id),
                5 => return dcn_engine_stats(engine, maybe(&mut stats, choice)),
                6 => return dcn_engine_fd(engine, maybe(&mut number, choice)),
                7 => return dcn_engine_ready(engine),
                8 => return dcn_engine_leave(engine, u32::from(choice)),
                9 => return dcn_engine_next_timeout_ms(engine, maybe(&mut number, choice)),
                10 => return dcn_engine_turn(engine),
                11 if choice & 0x80 != 0 => {
                    let (count, mut accepted) = (usize::from(choice % 3), usize::MAX);
                    let parts = parts.as_ptr();
                    let code = dcn_send_many(engine, to, level, 1, parts, count, u32::from(what), &mut accepted);
                    assert!(accepted <= count, "{code}: {accepted} of {count} accepted");
                    assert!(code != OK || accepted == count, "{code}: {accepted} of {count} accepted");
                    return code;
                }
                11 => return dcn_sendv(engine, to, level, 1, parts.as_ptr(), usize::from(choice % 3), u32::from(what)),
                12 => return self.open_wrongly(engine, choice),
                _ => {
                    return dcn_send(
                        engine,
                        to,
                        level,
                        u64::from(what),
                        payload.as_ptr(),
                        payload.len(),
                        u32::from(choice),
                    );
                }
            }
        };
        match code {
            OK => self.handles.push(*given),
            _ => assert_eq!(*given, UNTOUCHED, "call {what} failed with {code} and wrote"),
        }
        code
    }

    /// With a handle that is no configuration, or without a place for the answer.
    fn open_wrongly(&mut self, handle: dcn_engine_t, choice: u8) -> i32 {
        let mut engine = dcn_engine_t { id: UNTOUCHED };
        let config = dcn_config_t { id: handle.id };
        // SAFETY: pointers are NULL or lead to live values.
        let code = unsafe {
            match choice % 3 {
                0 => dcn_engine_open(config, None, null_mut(), null_mut(), null_mut()),
                1 => dcn_engine_open_in_loop(config, null_mut(), null_mut()),
                _ if !self.engines.contains(&handle) => return BAD_HANDLE,
                _ => dcn_engine_open(config, None, null_mut(), &mut engine, null_mut()),
            }
        };
        assert!(code < OK && engine.id == UNTOUCHED, "an engine of nothing: {code}");
        code
    }

    fn about_session(&mut self) -> i32 {
        let engine = self.engine();
        let [what, size] = [self.script.byte(), self.script.byte()];
        let cookies = [c"x!y!z", c"00000000000000000000000000000001!0000000000000000!0000000000000000"];
        let cookie = match what & 0x60 {
            0 => self.text(&cookies),
            _ => self.cookies.get(usize::from(size) % self.cookies.len().max(1)).cloned(),
        };
        let cookie = pointer(&cookie);
        let value = self.script.take(usize::from(size % 16));
        let name = c"name";
        let attribute = dcn_attribute_t {
            name: if size & 0x80 == 0 { name.as_ptr() } else { null() },
            name_bytes: usize::from(size >> 5).min(name.count_bytes()),
            value: value.as_ptr(),
            value_bytes: value.len(),
        };
        // SAFETY: numbers and pointers only, for which zero is a value.
        let (mut change, mut session): (dcn_session_change_t, dcn_session_t) = unsafe { (zeroed(), zeroed()) };
        change.struct_size = if size & 1 == 0 { size_of::<dcn_session_change_t>() } else { usize::from(size >> 2) };
        change.repeat = u64::from(size >> 4);
        change.if_version = u64::from(size & 8) / 8;
        change.whole = u32::from(size & 6) / 2;
        (change.sets, change.set_count) = (&raw const attribute, usize::from(what >> 7));
        (change.removes, change.remove_count) = (&raw const attribute, usize::from(size & 1));
        change.stride_bytes = size_of::<dcn_attribute_t>();
        session.struct_size = size_of::<dcn_session_t>();
        let stride = if size == 7 { 3 } else { size_of::<dcn_attribute_t>() };
        let count = usize::from(what >> 7);
        let mut buffer = dcn_buf_t { id: UNTOUCHED };
        // SAFETY: texts are terminated or NULL, everything else leads to live values of the lengths that are given.
        let code = unsafe {
            match what % 13 {
                0 | 12 => dcn_session_create(engine, u64::from(size), u32::from(size & 1), &attribute, stride, count),
                1 => dcn_session_read(engine, 2, cookie),
                2 => dcn_session_write(engine, 3, cookie, &change),
                3 => dcn_session_touch(engine, 4, cookie),
                4 => dcn_session_remove(engine, 5, cookie),
                5 => dcn_session_create_wait(engine, 1, &attribute, stride, count, 5, &mut session),
                6 => dcn_session_read_wait(engine, cookie, 5, &mut session, &mut buffer),
                7 => dcn_session_write_wait(engine, cookie, &change, 5, &mut session),
                8 => dcn_session_touch_wait(engine, cookie, 5, &mut session),
                9 => dcn_session_peek(engine, 6, cookie),
                10 => dcn_session_peek_wait(engine, cookie, 5, &mut session, &mut buffer),
                _ => dcn_session_remove_wait(engine, cookie, 5, null_mut()),
            }
        };
        assert_eq!(buffer.id, UNTOUCHED, "nothing waits in a loop, so nothing is answered");
        code
    }

    fn about_the_rest(&mut self) -> i32 {
        let (id, what) = (self.handle(), self.script.byte());
        let length = usize::from(self.script.byte());
        let bytes = self.script.take(length);
        let (mut data, mut count): (*const u8, usize) = (null(), 0);
        // SAFETY: numbers only, for which zero is a value.
        let (mut info, mut member): (dcn_view_info_t, dcn_member_t) = unsafe { (zeroed(), zeroed()) };
        // As the library shall see it: never more than there is.
        let size = |full: usize| if what & 0x80 == 0 { full } else { length.min(full) };
        (info.struct_size, member.struct_size) = (size(size_of_val(&info)), size(size_of_val(&member)));
        // SAFETY: pointers lead to live values of the lengths that are given, or are NULL; structs say their true size or less.
        unsafe {
            match what % 12 {
                0 | 1 => dcn_view_info(dcn_view_t { id }, maybe(&mut info, what)),
                2 | 3 => dcn_view_member(
                    dcn_view_t { id },
                    u32::from(what >> 4),
                    u32::from(what >> 6),
                    maybe(&mut member, what),
                ),
                4 => dcn_view_release(dcn_view_t { id }),
                5 => {
                    let code = dcn_buf_data(dcn_buf_t { id }, &mut data, maybe(&mut count, what));
                    if code == OK {
                        read(data, count);
                    }
                    code
                }
                6 => dcn_buf_release(dcn_buf_t { id }),
                7 => dcn_log_set(None, null_mut(), u32::from(what >> 4)),
                8 => {
                    assert!(dcn_abi_version() > 0 && !dcn_status_str(i32::from(what) - 128).is_null());
                    OK
                }
                9 => walk_attributes(bytes),
                _ => {
                    let name = c"name".as_ptr();
                    dcn_attribute_get(bytes.as_ptr(), bytes.len(), name, 4, &mut data, &mut count)
                }
            }
        }
    }

    /// Closes what is left, so that the next input begins with nothing.
    fn end(self) {
        for engine in self.engines {
            assert_eq!(dcn_engine_close(engine), OK);
        }
        for id in self.handles {
            for code in [
                dcn_config_free(dcn_config_t { id }),
                dcn_view_release(dcn_view_t { id }),
                dcn_buf_release(dcn_buf_t { id }),
                dcn_engine_close(dcn_engine_t { id }),
            ] {
                assert!(code == OK || code == BAD_HANDLE, "releasing answered {code}");
            }
        }
    }
}

fn pointer(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(null(), |text| text.as_ptr())
}

/// NULL one time in 32.
fn maybe<T>(place: &mut T, choice: u8) -> *mut T {
    if choice % 32 == 31 { null_mut() } else { place }
}

fn error(sized: bool) -> dcn_error_t {
    // SAFETY: numbers only, for which zero is a value.
    let mut error: dcn_error_t = unsafe { zeroed() };
    error.struct_size = if sized { size_of::<dcn_error_t>() } else { 0 };
    error
}

/// Everything that an event points to can be read. Answers with the cookie, if there is one.
fn read_event(event: &dcn_event_t) -> Option<CString> {
    assert!((1..=19).contains(&event.kind), "an event of kind {}", event.kind);
    if !event.data.is_null() {
        read(event.data, event.data_bytes);
    }
    for text in [event.member, event.text].into_iter().filter(|text| !text.is_null()) {
        // SAFETY: the event was polled just now.
        let text = unsafe { CStr::from_ptr(text) };
        assert!(text.to_str().is_ok(), "a text that is not UTF-8: {text:?}");
    }
    // SAFETY: as above.
    (event.kind == DCN_EVENT_SESSION && !event.text.is_null()).then(|| unsafe { CStr::from_ptr(event.text) }.to_owned())
}

fn read(data: *const u8, bytes: usize) {
    // SAFETY: the library has just said that so many bytes are there.
    let bytes = unsafe { std::slice::from_raw_parts(data, bytes) };
    std::hint::black_box(bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)));
}

/// Walks through bytes as the attributes of a session; the walk ends.
fn walk_attributes(bytes: &[u8]) -> i32 {
    let mut position = 0;
    for _ in 0..=bytes.len() {
        // SAFETY: zero is a value of it.
        let mut attribute: dcn_attribute_t = unsafe { zeroed() };
        // SAFETY: the bytes are there, and so are the places.
        let code = unsafe { dcn_attribute_next(bytes.as_ptr(), bytes.len(), &mut position, &mut attribute) };
        if code != OK || attribute.name.is_null() {
            return code;
        }
        read(attribute.value, attribute.value_bytes);
    }
    panic!("the walk does not end");
}
