//! The vocabulary: identifiers, time, views, limits, and errors with stable codes.
//!
//! This layer depends on nothing else in the crate.

mod error;
mod ids;
pub mod limits;
mod session;
mod tags;
mod text;
mod time;
mod view;

pub use error::{Code, Error, Result};
pub use ids::{Ballot, ConnId, Incarnation, Name, Seat, ViewId};
pub(crate) use ids::{mix, pair_tag};
pub use session::{Epoch, MemberTag, SessionId};
pub use tags::Tags;
pub use text::one_line;
pub use time::{Micros, Time, millis};
pub use view::{Group, Index, MemberInfo, View};
