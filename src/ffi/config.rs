//! `dcn_config_t`: settings of one member before it is opened.

use std::ffi::c_char;

use parking_lot::{Mutex, MutexGuard};

use super::guard::{call, dcn_error_t};
use super::handle::{Kind, Table, Use};
use super::input;
use crate::api::Config;
use crate::types::{Code, Error, Result};

/// Settings of one member before it is opened: a builder. All zero = no configuration.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct dcn_config_t {
    /// Opaque.
    pub id: u64,
}

static CONFIGS: Table<Mutex<Config>> = Table::new(Kind::Config);

/// Makes a configuration in which every key has its default.
///
/// Parameters: `config`, not NULL: where the handle goes.
/// Ownership: the caller frees it with `dcn_config_free`.
/// Threads: any. Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT` for NULL; `DCN_ERR_HELD_LIMIT` when four million are alive.
///
/// # Safety
/// `config` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_config_new(config: *mut dcn_config_t) -> i32 {
    let body = || {
        let out = input::place(config, "config")?;
        let id = CONFIGS.insert(Mutex::new(Config::new()))?;
        // SAFETY: checked above, writable by the caller's promise.
        unsafe { out.write(dcn_config_t { id }) };
        Ok(Code::Ok)
    };
    // SAFETY: a null error is allowed.
    unsafe { call(std::ptr::null_mut(), body) }
}

/// Sets one key. It wins over the environment and over files, whatever the order of the calls.
///
/// Parameters: `key` as in the configuration's documentation ("group.size"); `value`, its text ("10"; lists have commas
/// between their entries); both NUL-terminated UTF-8. `error`, NULL or a struct with its size set.
/// Ownership: everything is copied.
/// Threads: one at a time per configuration, else `DCN_ERR_BUSY`. Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_CONFIG` for an unknown key (the text names the nearest one) or a value that is not
/// allowed (it names the range); `DCN_ERR_UNSUPPORTED` for what this version cannot do; `DCN_ERR_INVALID_ARGUMENT`;
/// `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`. Nothing was changed after an error.
///
/// # Safety
/// `key` and `value` are null or NUL-terminated; `error` is null or a struct with its size set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_config_set(
    config: dcn_config_t, key: *const c_char, value: *const c_char, error: *mut dcn_error_t,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promise.
        let (key, value) = unsafe { (input::text(key, "key")?, input::text(value, "value")?) };
        with(config, |config| config.set(key, value))
    };
    // SAFETY: the caller's promise.
    unsafe { call(error, body) }
}

/// Reads a TOML file. Its values win over the defaults only.
///
/// Parameters: `path`, the NUL-terminated name of the file; `error`, NULL or a struct with its size set.
/// Ownership: everything is copied.
/// Threads: one at a time per configuration, else `DCN_ERR_BUSY`. Blocking: bounded (it reads a file).
/// Returns: `DCN_OK`; `DCN_ERR_CONFIG` when something in it is wrong (the text lists everything, with line and column);
/// `DCN_ERR_SYSTEM` when it cannot be read; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`.
/// Nothing was changed after an error.
///
/// # Safety
/// `path` is null or NUL-terminated; `error` is null or a struct with its size set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_config_load(config: dcn_config_t, path: *const c_char, error: *mut dcn_error_t) -> i32 {
    let body = || {
        // SAFETY: the caller's promise.
        let path = unsafe { input::path(path)? };
        with(config, |config| config.load(path))
    };
    // SAFETY: the caller's promise.
    unsafe { call(error, body) }
}

/// Reads the environment: `DECURION_GROUP_SIZE` sets "group.size". Its values win over files and defaults.
///
/// Parameters: `error`, NULL or a struct with its size set.
/// Threads: one at a time per configuration, else `DCN_ERR_BUSY`; no other thread may change the environment
/// meanwhile (as for getenv). Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_CONFIG` for a variable that begins with DECURION_ and belongs to no key, or has a wrong
/// value; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`. Nothing was changed after an error.
///
/// # Safety
/// `error` is null or a struct with its size set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_config_load_env(config: dcn_config_t, error: *mut dcn_error_t) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { call(error, || with(config, Config::load_env)) }
}

/// Reads the value in force of one key; an empty text means that it follows from other settings.
///
/// Parameters: `key`, NUL-terminated. `value`, where the NUL-terminated text goes, with room for `capacity_bytes`, its
/// NUL included; NULL to ask for the length only. `length_bytes`, where the length goes, without the NUL; NULL
/// if it is not wanted (then `value` is not NULL). `error`, NULL or a struct with its size set.
/// Threads: one at a time per configuration, else `DCN_ERR_BUSY`. Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_CONFIG` for an unknown key; `DCN_ERR_INVALID_ARGUMENT`, also when the text does not fit
/// (nothing is written then); `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`.
///
/// # Safety
/// `key` is null or NUL-terminated; `value` is null or has room for `capacity_bytes`; the others are null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_config_get(
    config: dcn_config_t, key: *const c_char, value: *mut c_char, capacity_bytes: usize, length_bytes: *mut usize,
    error: *mut dcn_error_t,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promise.
        let key = unsafe { input::text(key, "key")? };
        let using = CONFIGS.get(config.id)?;
        let text = lock(&using)?.get(key)?;
        // SAFETY: the caller's promise.
        unsafe { input::write_text(&text, value, capacity_bytes, length_bytes)? };
        Ok(Code::Ok)
    };
    // SAFETY: the caller's promise.
    unsafe { call(error, body) }
}

/// Frees a configuration. Engines that were opened with it keep what they read.
///
/// Threads: any; a call that another thread is in with it ends as it would have. Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`.
#[unsafe(no_mangle)]
pub extern "C" fn dcn_config_free(config: dcn_config_t) -> i32 {
    // SAFETY: a null error is allowed.
    unsafe { call(std::ptr::null_mut(), || CONFIGS.remove(config.id).map(|_| Code::Ok)) }
}

/// A copy of what a handle holds, to open an engine with.
pub(super) fn copy(config: dcn_config_t) -> Result<Config> {
    let using = CONFIGS.get(config.id)?;
    Ok(lock(&using)?.clone())
}

fn with(config: dcn_config_t, change: impl FnOnce(&mut Config) -> Result<()>) -> Result<Code> {
    let using = CONFIGS.get(config.id)?;
    change(&mut *lock(&using)?)?;
    Ok(Code::Ok)
}

fn lock<'a>(using: &'a Use<'_, Mutex<Config>>) -> Result<MutexGuard<'a, Config>> {
    using.try_lock().ok_or_else(|| Error::new(Code::Busy, "another thread is using this configuration"))
}
