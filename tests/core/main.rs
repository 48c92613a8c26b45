//! The core alone: members without sockets, clocks or threads, and what they tell each other and their hosts.

mod casts;
mod claiming;
mod credit;
mod deaf_peer;
mod deciding_views;
mod fellows;
mod giving;
mod greetings;
mod hand_over;
mod installing;
mod last_words;
mod late_answer;
mod late_promise;
mod leases;
mod long_messages;
mod lost_heartbeats;
mod order;
mod orphans;
mod parts;
mod placing;
mod retiring;
mod second_copies;
mod seeking;
mod session_counts;
mod session_frames;
mod session_search;
mod slow_receiver;
mod stage;
#[allow(dead_code, reason = "the fuzz targets use more of it")]
mod support;
mod taken_up;
mod taking_part;
mod verdicts;
mod voting;
mod windows;
