//! Events as JSON lines.

use decurion::Engine;
use decurion::api::{Ended, Event, MemberRef, Message, Messages, Stats, View, ViewChange};
use decurion::types::one_line;
use serde_json::{Value, json};

/// Longest payload that is shown as text.
const TEXT_BYTES: usize = 4 * 1024;

/// The line of an event, as type and fields; `None` for those that have none.
pub fn of(event: &Event, engine: &Engine) -> Option<(&'static str, Value)> {
    Some(match event {
        Event::View(change) => ("view", view(change)),
        Event::Ready { view } => {
            let (name, address) = (engine.name().as_str(), engine.local_address().to_string());
            ("ready", json!({ "view_id": view.to_string(), "name": name, "address": address }))
        }
        Event::Suspected { member, why } => ("suspect", with(member, json!({ "why": why }))),
        Event::Slow { member, lag_bytes } => ("slow", with(member, json!({ "lag_bytes": lag_bytes }))),
        Event::Fault { member, from, what } => {
            let from = from.map(|address| address.to_string());
            ("fault", json!({ "member": member.as_ref().map(|m| m.name.as_str()), "from": from, "what": what }))
        }
        Event::Transition { view } => ("transition", json!({ "view_id": view.to_string() })),
        Event::Primary { view, primary } => ("primary", json!({ "view_id": view.to_string(), "primary": primary })),
        Event::Stable { view, number } => ("stable", json!({ "view_id": view.to_string(), "number": number })),
        Event::Returned { to, token, payload, why } => {
            let to = to.as_ref().map(|m| m.name.as_str());
            ("returned", json!({ "to": to, "token": token.to_string(), "bytes": payload.len(), "why": why }))
        }
        Event::Expelled { view, why } => ("expelled", json!({ "view_id": view.to_string(), "why": why })),
        Event::RefusedJoiner { name, from, why } => {
            ("refused_joiner", json!({ "name": name, "from": from.to_string(), "why": why }))
        }
        Event::Note { level, text } => ("note", json!({ "level": level, "text": text })),
        Event::SessionConflict { id, kept, dropped } => (
            "session_conflict",
            json!({ "session": id.to_string(), "kept_version": kept.1, "dropped_version": dropped.1 }),
        ),
        Event::SessionExpired { id } => ("session_expired", json!({ "session": id.to_string() })),
        Event::RedundancyRestored { view, sessions } => {
            ("redundancy_restored", json!({ "view_id": view.to_string(), "sessions": sessions }))
        }
        Event::Messages(_) | Event::Session(_) | Event::Writable | Event::Closed { .. } => return None,
    })
}

/// One delivered message. With `text`, what is UTF-8 and short is shown.
pub fn message(run: &Messages, message: &Message, text: bool) -> Value {
    let mut fields = json!({
        "sender": run.sender.name.as_str(),
        "incarnation": run.sender.incarnation.to_string(),
        "view_id": run.view.to_string(),
        "direct": run.direct,
        "number": message.number,
        "token": message.token.to_string(),
        "bytes": message.payload.len(),
    });
    let shown = Some(&message.payload).filter(|p| text && p.len() <= TEXT_BYTES);
    if let Some(text) = shown.and_then(|payload| std::str::from_utf8(payload).ok()) {
        fields["text"] = json!(text);
    }
    fields
}

/// The counters of a member.
pub fn stats(stats: &Stats) -> Value {
    json!({
        "messages_sent": stats.messages_sent,
        "messages_delivered": stats.messages_delivered,
        "batches_relayed": stats.batches_relayed,
        "batches_refused": stats.batches_refused,
        "bytes_sent": stats.bytes_sent,
        "bytes_received": stats.bytes_received,
        "datagrams_received": stats.datagrams_received,
        "datagrams_refused": stats.datagrams_refused,
        "casts_sent": stats.casts_sent,
        "casts_received": stats.casts_received,
        "casts_refused": stats.casts_refused,
        "casts_foreign": stats.casts_foreign,
        "repairs_asked": stats.repairs_asked,
        "repair_bytes_sent": stats.repair_bytes_sent,
        "views_installed": stats.views_installed,
        "suspicions": stats.suspicions,
        "faults": stats.faults,
        "unstable_bytes": stats.unstable_bytes,
        "delivery_queue_bytes": stats.delivery_queue_bytes,
        "connections": stats.connections,
        "sessions_primary": stats.sessions_primary,
        "sessions_secondary": stats.sessions_secondary,
        "sessions_single": stats.sessions_single,
        "session_bytes": stats.session_bytes,
    })
}

/// Why a member ended, in words.
pub fn ended(ended: &Ended) -> String {
    let text = match ended {
        Ended::Left => "left in order".to_owned(),
        Ended::LeftUnheard => "left, and nobody could be told in time".to_owned(),
        Ended::Refused(why) => format!("refused by the cluster: {why}"),
        Ended::HostNotPolling => "left because the host took no events".to_owned(),
        Ended::JoinTimeout(why) => format!("gave up joining: {why}"),
        Ended::Failed(why) => format!("failed: {why}"),
    };
    one_line(&text).into_owned()
}

fn view(change: &ViewChange) -> Value {
    let view: &View = &change.view;
    let members: Vec<Value> = view
        .members
        .iter()
        .enumerate()
        .map(|(at, member)| {
            json!({
                "name": member.name.as_str(),
                "incarnation": member.incarnation.to_string(),
                "address": member.address.to_string(),
                "group": member.group.to_string(),
                "role": view.role_of(at),
                "state": if member.ready { "ready" } else { "joining" },
                "witness": member.witness,
            })
        })
        .collect();
    let names = |list: &[MemberRef]| list.iter().map(|m| m.name.to_string()).collect::<Vec<_>>();
    json!({
        "view_id": view.id.to_string(),
        "number": view.id.number,
        "fenced": view.fenced,
        "me": view.members[change.me].name.as_str(),
        "coordinator": view.members[view.coordinator()].name.as_str(),
        "members": members,
        "joined": names(&change.joined),
        "left": names(&change.left),
        "merged_from": change.merged_from.map(|id| id.to_string()),
    })
}

fn with(member: &MemberRef, mut fields: Value) -> Value {
    fields["member"] = json!(member.name.as_str());
    fields["incarnation"] = json!(member.incarnation.to_string());
    fields
}
