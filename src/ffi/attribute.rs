//! `dcn_attribute_t`: the named values of a session, in the caller's memory and in ours.

use std::ffi::c_char;
use std::ptr;

use super::guard::call;
use super::input;
use crate::api::{Attributes, attributes};
use crate::types::{Code, Result};

/// Most attributes in one call.
pub const DCN_ATTRIBUTES_MAX: usize = 65536;
/// Longest name of an attribute in bytes, without a NUL.
pub const DCN_ATTRIBUTE_NAME_BYTES: usize = 255;

/// A named value of a session, in the caller's memory.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dcn_attribute_t {
    /// UTF-8, 1 to `DCN_ATTRIBUTE_NAME_BYTES` bytes; a NUL at its end is not needed.
    pub name: *const c_char,
    /// Bytes of the name.
    pub name_bytes: usize,
    /// Any bytes; may be NULL if `value_bytes` is 0.
    pub value: *const u8,
    /// Bytes of the value.
    pub value_bytes: usize,
}

/// Finds an attribute in the attributes of a session: the `data` of a `DCN_EVENT_SESSION`, or what `dcn_buf_data` tells of the
/// buffer of `dcn_session_read_wait`.
///
/// Parameters: `data`, `data_bytes`, the attributes; `name`, `name_bytes`, whose value is wanted; `value` and `value_bytes`, not
/// NULL: where the value's address and length go; the address is NULL if there is no such attribute, and only then.
/// Ownership: the value lies in `data` and is valid as long as that.
/// Threads: any. Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT`, also for bytes that are no attributes of a session as far as was looked. Nothing
/// is written after an error.
///
/// # Safety
/// `data` and `name` are null or point to so many readable bytes; `value` and `value_bytes` are null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_attribute_get(
    data: *const u8, data_bytes: usize, name: *const c_char, name_bytes: usize, value: *mut *const u8,
    value_bytes: *mut usize,
) -> i32 {
    let body = || {
        let (value, value_bytes) = (input::place(value, "value")?, input::place(value_bytes, "value_bytes")?);
        // SAFETY: the caller's promises.
        let (data, name) = unsafe { (input::bytes(data, data_bytes, "data")?, read_name(name, name_bytes, "name")?) };
        let mut position = 0;
        let mut found = None;
        while let Some((at, content)) = pair_at(data, &mut position)? {
            if at == name {
                found = Some(content);
                break;
            }
        }
        // SAFETY: checked above, writable by the caller's promise.
        unsafe {
            value.write(found.map_or(ptr::null(), <[u8]>::as_ptr));
            value_bytes.write(found.map_or(0, <[u8]>::len));
        }
        Ok(Code::Ok)
    };
    // SAFETY: a null error is allowed.
    unsafe { call(ptr::null_mut(), body) }
}

/// Walks through the attributes of a session, in the order of their names.
///
/// Parameters: `data`, `data_bytes`, as for `dcn_attribute_get`; `position`, not NULL: 0 before the first call, then left alone;
/// `attribute`, not NULL: where the next one goes; its `name` is NULL behind the last one, and only then.
/// Ownership: name and value lie in `data` and are valid as long as that; the name has no NUL at its end.
/// Threads: any. Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT`, also for bytes that are no attributes of a session at this position. Nothing is
/// written after an error.
///
/// # Safety
/// `data` is null or points to so many readable bytes; `position` and `attribute` are null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_attribute_next(
    data: *const u8, data_bytes: usize, position: *mut usize, attribute: *mut dcn_attribute_t,
) -> i32 {
    let body = || {
        let (position, out) = (input::place(position, "position")?, input::place(attribute, "attribute")?);
        // SAFETY: the caller's promises.
        let (data, mut at) = unsafe { (input::bytes(data, data_bytes, "data")?, position.read()) };
        let next = match pair_at(data, &mut at)? {
            Some((name, value)) => dcn_attribute_t {
                name: name.as_ptr().cast(),
                name_bytes: name.len(),
                value: value.as_ptr(),
                value_bytes: value.len(),
            },
            None => dcn_attribute_t { name: ptr::null(), name_bytes: 0, value: ptr::null(), value_bytes: 0 },
        };
        // SAFETY: checked above, writable by the caller's promise.
        unsafe {
            position.write(at);
            out.write(next);
        }
        Ok(Code::Ok)
    };
    // SAFETY: a null error is allowed.
    unsafe { call(ptr::null_mut(), body) }
}

/// The attribute at a position, which moves behind it; `None` at the end.
fn pair_at<'a>(data: &'a [u8], position: &mut usize) -> Result<Option<(&'a str, &'a [u8])>> {
    let Some(rest) = data.get(*position..) else {
        return Err(input::invalid("position is behind the end: begin with 0, and leave it alone"));
    };
    if rest.is_empty() {
        return Ok(None);
    }
    let pair = Attributes::trusted(rest).next();
    let (name, value) = pair.ok_or_else(|| input::invalid("data holds no attributes of a session at this position"))?;
    *position = value.as_ptr() as usize + value.len() - data.as_ptr() as usize;
    Ok(Some((name, value)))
}

/// # Safety
/// `first` is null or points to `count` elements of `stride_bytes`, each with readable names and values.
pub(super) unsafe fn read(
    first: *const dcn_attribute_t, stride_bytes: usize, count: usize, what: &str,
) -> Result<Attributes> {
    let mut pairs = Vec::new();
    for at in 0..count_of(first, stride_bytes, count, what)? {
        // SAFETY: the caller's promises.
        pairs.push(unsafe {
            let attribute = element(first, stride_bytes, at);
            let name = read_name(attribute.name, attribute.name_bytes, "the name of an attribute")?;
            (name, input::bytes(attribute.value, attribute.value_bytes, "the value of an attribute")?)
        });
    }
    attributes(pairs)
}

/// # Safety
/// `first` is null or points to `count` elements of `stride_bytes`, each with a readable name.
pub(super) unsafe fn read_names(
    first: *const dcn_attribute_t, stride_bytes: usize, count: usize,
) -> Result<Attributes> {
    let mut names = Vec::new();
    for at in 0..count_of(first, stride_bytes, count, "removes")? {
        // SAFETY: the caller's promises.
        names.push(unsafe {
            let attribute = element(first, stride_bytes, at);
            (read_name(attribute.name, attribute.name_bytes, "the name of an attribute")?, &[][..])
        });
    }
    attributes(names)
}

/// How many attributes there are, once the array has been found to be one.
fn count_of(first: *const dcn_attribute_t, stride_bytes: usize, count: usize, what: &str) -> Result<usize> {
    if count == 0 {
        return Ok(0);
    }
    if count > DCN_ATTRIBUTES_MAX {
        return Err(input::invalid(format!("{what}: {count} attributes are too many, at most {DCN_ATTRIBUTES_MAX}")));
    }
    let fits = (size_of::<dcn_attribute_t>()..=1 << 16).contains(&stride_bytes);
    if !fits || !stride_bytes.is_multiple_of(align_of::<dcn_attribute_t>()) {
        return Err(input::invalid(format!("stride_bytes is {stride_bytes}: pass the size of one attribute")));
    }
    input::place(first.cast_mut(), what)?;
    Ok(count)
}

/// # Safety
/// `first` is aligned and points to more than `at` elements of `stride_bytes`, a legal stride.
unsafe fn element(first: *const dcn_attribute_t, stride_bytes: usize, at: usize) -> dcn_attribute_t {
    // SAFETY: the caller's promise.
    unsafe { first.byte_add(at * stride_bytes).read() }
}

/// # Safety
/// `name` is null or points to so many readable bytes that live for `'a`.
unsafe fn read_name<'a>(name: *const c_char, name_bytes: usize, what: &str) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { input::bytes(name.cast(), name_bytes, what)? };
    std::str::from_utf8(bytes)
        .map_err(|e| input::invalid(format!("{what} is not UTF-8: byte {} is wrong", e.valid_up_to())))
}
