//! The C face: the nouns of the Rust face behind handles, status codes and panic guards.
//!
//! `include/decurion.h` is generated from this module (see `cbindgen.toml`); the comments here are its reference.
//! What holds for every function is said once, at the top of the header.
//!
//! - `handle` turns 64-bit ids into objects, [`guard`] keeps panics and `errno` on their side,
//! - [`config`], [`engine`], [`turn`], [`send`], [`claim`], [`session`], [`attribute`], [`view`], [`buffer`], [`stats`], [`logging`] hold the functions of one noun each,
//! - [`event`] is what a host sees, `shown` remembers what it may still look at.

#![allow(non_camel_case_types)]

pub mod attribute;
pub mod buffer;
pub mod claim;
pub mod config;
pub mod engine;
pub mod event;
pub mod guard;
mod handle;
mod input;
pub mod logging;
pub mod send;
pub mod session;
mod shown;
pub mod stats;
pub mod status;
pub mod turn;
mod unwind;
pub mod view;

/// A host was compiled with these sizes. A struct grows at its end only, and with it its number here; and none has padding,
/// so that all that the library copies out of one was written before.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<config::dcn_config_t>() == 8 && size_of::<engine::dcn_engine_t>() == 8);
    assert!(size_of::<view::dcn_view_t>() == 8 && size_of::<buffer::dcn_buf_t>() == 8);
    assert!(size_of::<claim::dcn_claim_t>() == 8);
    assert!(size_of::<send::dcn_slice_t>() == 16);
    assert!(size_of::<attribute::dcn_attribute_t>() == 4 * 8);
    assert!(session::DCN_COOKIE_BYTES > crate::api::Cookie::BYTES);
    assert!(attribute::DCN_ATTRIBUTE_NAME_BYTES == crate::types::limits::ATTRIBUTE_NAME_BYTES);
    assert!(size_of::<session::dcn_session_change_t>() == 8 * 8 + 2 * 4);
    assert!(size_of::<session::dcn_session_t>() == 2 * 8 + session::DCN_COOKIE_BYTES);
    assert!(size_of::<guard::dcn_error_t>() == 8 + 2 * 4 + guard::DCN_ERROR_TEXT_BYTES);
    assert!(size_of::<event::dcn_event_t>() == 9 * 8 + 4 * 4 + 8);
    assert!(size_of::<view::dcn_view_info_t>() == 4 * 8 + 8 * 4 + view::DCN_VIEW_ID_BYTES);
    assert!(size_of::<stats::dcn_stats_t>() == 34 * 8);
    let texts = view::DCN_NAME_BYTES
        + view::DCN_INCARNATION_BYTES
        + view::DCN_ADDRESS_BYTES
        + view::DCN_HOLDER_BYTES
        + view::DCN_TAGS_BYTES;
    assert!(size_of::<view::dcn_member_t>() == 2 * 8 + 6 * 4 + texts);
};
