//! What comes from and goes to the caller's memory: texts, byte ranges, and structs that may be older or newer than ours.

use std::ffi::{CStr, CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use crate::types::{Code, Error, Result};

/// Largest `struct_size` or stride that is believed: more is memory that nobody has set.
const STRUCT_BYTES_MAX: usize = 1 << 16;
/// Smallest `struct_size` that is believed: itself and one more word.
const STRUCT_BYTES_MIN: usize = 2 * size_of::<usize>();

pub(super) fn invalid(text: impl Into<String>) -> Error {
    Error::new(Code::InvalidArgument, text)
}

/// A caller's text. `what` names the parameter in the error.
///
/// # Safety
/// `text` is null or points to a NUL-terminated string that lives for `'a`.
pub(super) unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str> {
    if text.is_null() {
        return Err(invalid(format!("{what} is NULL: a NUL-terminated text was expected")));
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(text) };
    bytes.to_str().map_err(|e| invalid(format!("{what} is not UTF-8: byte {} is wrong", e.valid_up_to())))
}

/// A caller's path, in whatever encoding the file system has.
///
/// # Safety
/// As for [`text`].
pub(super) unsafe fn path<'a>(path: *const c_char) -> Result<&'a Path> {
    if path.is_null() {
        return Err(invalid("path is NULL: the name of a file was expected"));
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
    Ok(Path::new(OsStr::from_bytes(bytes)))
}

/// A caller's bytes; NULL is allowed when there are none.
///
/// # Safety
/// `data` is null or points to `bytes` readable bytes that live for `'a` and are not written meanwhile.
pub(super) unsafe fn bytes<'a>(data: *const u8, bytes: usize, what: &str) -> Result<&'a [u8]> {
    match (data.is_null(), bytes) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(invalid(format!("{what} is NULL, but {bytes} bytes are said to be there"))),
        (false, _) if bytes > isize::MAX as usize => Err(invalid(format!("{what}: {bytes} bytes cannot be"))),
        // SAFETY: the caller's promise.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(data, bytes) }),
    }
}

/// A place for an answer.
pub(super) fn place<T>(out: *mut T, what: &str) -> Result<*mut T> {
    if out.is_null() || !out.is_aligned() {
        return Err(invalid(format!("{what} is NULL or not aligned: a place for the answer was expected")));
    }
    Ok(out)
}

/// The size that a caller's struct says it has, if it can be true.
///
/// # Safety
/// `place` is null or points to a struct that begins with `struct_size: usize`.
pub(super) unsafe fn size_of_struct<T>(place: *const T, what: &str) -> Result<usize> {
    let place = self::place(place.cast_mut(), what)?;
    // SAFETY: the caller's promise; the pointer is aligned.
    let size = unsafe { place.cast::<usize>().read() };
    if !(STRUCT_BYTES_MIN..=STRUCT_BYTES_MAX).contains(&size) {
        return Err(invalid(format!(
            "struct_size is {size}: set it to the size of the struct ({} bytes) before the call",
            size_of::<T>()
        )));
    }
    Ok(size)
}

/// Reads a caller's struct: what an older caller does not have is zero; what a newer one has and we do not know must be.
///
/// # Safety
/// `T` is `repr(C)`, begins with `struct_size: usize`, and may be all zero; `from` is null or points to as many readable bytes as
/// its own `struct_size` says.
pub(super) unsafe fn take<T: Copy>(from: *const T, what: &str) -> Result<T> {
    // SAFETY: the caller's promise.
    let size = unsafe { size_of_struct(from, what)? };
    let known = size.min(size_of::<T>());
    // SAFETY: `size` bytes are the caller's, of which `known` fit; zeros are legal for the rest.
    let (value, unknown) = unsafe {
        let mut value = std::mem::MaybeUninit::<T>::zeroed();
        ptr::copy_nonoverlapping(from.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), known);
        (value.assume_init(), std::slice::from_raw_parts(from.cast::<u8>().add(known), size - known))
    };
    match unknown.iter().all(|byte| *byte == 0) {
        true => Ok(value),
        false => {
            Err(invalid(format!("{what} asks for something that this version does not know: its end must be zero")))
        }
    }
}

/// Fills a caller's struct as far as it reaches: less for an older caller, zeros behind our end for a newer one.
/// `struct_size` stays as the caller set it.
///
/// # Safety
/// `T` is `repr(C)`, without padding, and begins with `struct_size: usize`; `out` is null or points to as many writable
/// bytes as its own `struct_size` says.
pub(super) unsafe fn fill<T: Copy>(out: *mut T, value: T) -> Result<()> {
    // SAFETY: the caller's promise.
    let size = unsafe { size_of_struct(out, "the struct")? };
    let out = out.cast::<u8>();
    let (head, end) = (size_of::<usize>(), size.min(size_of::<T>()));
    let value = ptr::from_ref(&value).cast::<u8>();
    // SAFETY: `size` bytes are the caller's, `end` of them are ours too.
    unsafe {
        ptr::copy_nonoverlapping(value.add(head), out.add(head), end - head);
        ptr::write_bytes(out.add(end), 0, size - end);
    }
    Ok(())
}

/// Writes a text into the caller's buffer, or only its length when there is none.
///
/// # Safety
/// `out` is null or points to `capacity` writable bytes; `length` is null or points to a `size_t`.
pub(super) unsafe fn write_text(text: &str, out: *mut c_char, capacity: usize, length: *mut usize) -> Result<()> {
    if !out.is_null() {
        if capacity <= text.len() {
            return Err(invalid(format!("the buffer has {capacity} bytes, the text needs {}", text.len() + 1)));
        }
        // SAFETY: there is room for the text and its NUL.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), out.cast(), text.len());
            out.add(text.len()).write(0);
        }
    } else if length.is_null() {
        return Err(invalid("neither a buffer nor a place for the length was given"));
    }
    if !length.is_null() {
        // SAFETY: the caller's promise.
        unsafe { place(length, "length")?.write(text.len()) };
    }
    Ok(())
}

/// Copies as much of a text as fits, cut between characters, and terminates it.
pub(super) fn copy_text(text: &str, out: &mut [c_char]) {
    let mut end = text.len().min(out.len() - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    for (to, from) in out.iter_mut().zip(&text.as_bytes()[..end]) {
        *to = *from as c_char;
    }
    out[end..].fill(0);
}

/// A text for C. Ours hold no NUL; what a peer sent may, and is cut there.
pub(super) fn c_string(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).unwrap_or_default()
}

/// A caller's timeout; the largest number means no limit.
pub(super) fn timeout(timeout_ms: u32) -> Duration {
    Duration::from_millis(u64::from(timeout_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Small {
        struct_size: usize,
        value: u64,
    }

    #[test]
    fn a_newer_caller_gets_zeros_behind_our_end() {
        let mut theirs = [7u64; 4];
        theirs[0] = 32;
        // SAFETY: the array is as long as its first word says.
        unsafe { fill(theirs.as_mut_ptr().cast(), Small { struct_size: 0, value: 5 }).unwrap() };
        assert_eq!(theirs, [32, 5, 0, 0]);
    }

    #[test]
    fn an_older_caller_gets_what_it_has_room_for() {
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct Grown {
            struct_size: usize,
            values: [u64; 3],
        }
        let mut theirs = [7u64; 4];
        theirs[0] = 16;
        // SAFETY: the array is longer than its first word says.
        unsafe { fill(theirs.as_mut_ptr().cast(), Grown { struct_size: 0, values: [1, 2, 3] }).unwrap() };
        assert_eq!(theirs, [16, 1, 7, 7]);
    }

    #[test]
    fn a_struct_is_read_as_far_as_both_know_it() {
        // SAFETY: the arrays are as long as their first words say.
        let taken = |theirs: &[usize]| unsafe { take(theirs.as_ptr().cast::<[usize; 3]>(), "it") };
        assert_eq!(taken(&[16, 5]).unwrap(), [16, 5, 0], "an older caller");
        assert_eq!(taken(&[24, 5, 6]).unwrap(), [24, 5, 6]);
        assert_eq!(taken(&[32, 5, 6, 0]).unwrap(), [32, 5, 6], "a newer caller that wants nothing new");
        assert_eq!(taken(&[32, 5, 6, 1]).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(taken(&[8, 5, 6]).unwrap_err().code(), Code::InvalidArgument);
    }

    #[test]
    fn a_struct_without_its_size_is_refused() {
        for size in [0, size_of::<usize>(), STRUCT_BYTES_MAX + 1] {
            let mut theirs = Small { struct_size: size, value: 3 };
            // SAFETY: only the size is read when it is wrong.
            let refused = unsafe { fill(&mut theirs, Small { struct_size: 0, value: 5 }) };
            assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
            assert_eq!(theirs.value, 3);
        }
    }

    #[test]
    fn a_text_is_written_whole_or_not_at_all() {
        let mut buffer = [9 as c_char; 4];
        let mut length = 0;
        // SAFETY: the buffer is as long as said.
        unsafe {
            assert!(write_text("four", buffer.as_mut_ptr(), 4, &mut length).is_err());
            assert_eq!((buffer, length), ([9; 4], 0));
            write_text("two", buffer.as_mut_ptr(), 4, &mut length).unwrap();
            assert_eq!((buffer[3], length), (0, 3));
            write_text("longer than that", ptr::null_mut(), 0, &mut length).unwrap();
            assert_eq!(length, 16);
            assert!(write_text("nowhere", ptr::null_mut(), 0, ptr::null_mut()).is_err());
        }
    }
}
