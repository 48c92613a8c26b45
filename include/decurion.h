// Decurion: a cluster engine that a server embeds. The C interface.
//
// Generated from the library's source by cbindgen: do not edit. C99 and C++17; nothing else is needed to compile it.
//
// WHAT HOLDS FOR EVERY FUNCTION
//
// Status: `int32_t`; 0 = DCN_OK, positive = an expected outcome (DCN_AGAIN, ...), negative = an error (DCN_ERR_...).
//   Numbers are only ever added. `dcn_status_str` has words for each; the `dcn_error_t` parameter, where there is
//   one, and `dcn_last_error` have the cause. What is written to the caller's memory is written on DCN_OK only,
//   unless a function says otherwise; a call that fails takes nothing.
// Handles: small structs, passed by value. All zero = none. A handle that is closed, of another kind, or from
//   somewhere else is answered with DCN_ERR_BAD_HANDLE, for as long as the process lives; it is never a crash.
// Pointers: NULL where a value is needed is answered with DCN_ERR_INVALID_ARGUMENT. Texts are NUL-terminated UTF-8.
// Structs that the caller hands in begin with `struct_size`: set it to the size of the struct, so that older and newer
//   libraries know how far it reaches. What a library does not know of them it zeroes.
// Threads: any function from any thread at any time, unless it says "one at a time"; then a second caller gets
//   DCN_ERR_BUSY. From inside a handler everything may be called.
// Blocking: each function says "never blocks", "bounded" (by work, not by others), or "blocks up to timeout". On a
//   thread of the library (inside a handler or a log callback there, of whichever engine) a timeout counts as 0, and
//   what can only wait is DCN_ERR_WOULD_DEADLOCK. The same holds on every thread for an engine that has no thread of its
//   own (dcn_engine_open_in_loop), and for whatever is called in a callback inside of its turn.
//   Timeouts are in milliseconds: 0 = do not wait, DCN_NO_LIMIT_MS = as long as it takes.
// Signals: the library installs no handler; its threads take none of the process's. Sockets raise no SIGPIPE.
// Fork: handles belong to the process that made them; in a forked child they are answered with DCN_ERR_FORKED, and the
//   engine's descriptors are closed there. What a child makes itself works. A child that is forked inside a callback
//   must not return from it.
// errno is left as it was. Nothing is printed: see `dcn_log_set`.


#ifndef DECURION_H
#define DECURION_H

#include <stddef.h>
#include <stdint.h>


// Version of this interface: `major << 16 | minor`. The major grows when something a host uses changes or goes; the
// minor when something is added. Compare with what `dcn_abi_version` answers: same major, and the library's minor
// not below the header's.
#define DCN_ABI_VERSION 1

// Done.
#define DCN_OK 0

// Not now: the queue or window is full, or there is nothing to take. Try again later. Nothing was taken.
#define DCN_AGAIN 1

// This member has not joined a view yet. Nothing was taken.
#define DCN_NOT_READY 2

// This member is not in the primary view: a minority takes no messages. Nothing was taken.
#define DCN_NOT_PRIMARY 3

// The change is made, and this member holds the only copy: no other member can take one now.
#define DCN_UNREPLICATED 4

// An argument is NULL or outside its range. Nothing was changed.
#define DCN_ERR_INVALID_ARGUMENT -1

// A configuration key or value is wrong; the text names it and what is allowed. Nothing was changed.
#define DCN_ERR_CONFIG -2

// The handle is empty, closed, of another kind, or from somewhere else. Nothing was changed.
#define DCN_ERR_BAD_HANDLE -3

// The engine is closed, or its member has left or ended. Nothing was taken.
#define DCN_ERR_CLOSED -4

// Another thread is inside a call that one thread makes at a time. Nothing was changed.
#define DCN_ERR_BUSY -5

// The call would wait for the very thread that makes it. Nothing was changed.
#define DCN_ERR_WOULD_DEADLOCK -6

// The process was forked from the one that made the handle. Nothing was changed.
#define DCN_ERR_FORKED -7

// The message is longer than `message.max_bytes`, or the session than `session.max_bytes`. Nothing was taken.
#define DCN_ERR_TOO_LARGE -8

// No other member of that seat in the current view. Nothing was taken.
#define DCN_ERR_NO_SUCH_MEMBER -9

// This version cannot do it; the text says what. Nothing was changed.
#define DCN_ERR_UNSUPPORTED -10

// The operating system refused; the text has its words and what to do. Nothing is left open.
#define DCN_ERR_SYSTEM -11

// The cluster refused this member; the text has the reason and who gave it.
#define DCN_ERR_REFUSED -12

// A bug inside the library was caught. The engine has failed: every later call says so, but `dcn_engine_close`, and
// `dcn_engine_poll` while there are events left.
#define DCN_ERR_PANICKED -13

// What the host holds has reached `memory.held_bytes`: copy the bytes instead, or release some first.
#define DCN_ERR_HELD_LIMIT -14

// The deadline passed first. The state is as if the call had not been made.
#define DCN_ERR_TIMEOUT -15

// No such session: it was removed, has expired, or never was. Nothing was changed.
#define DCN_ERR_NO_SUCH_SESSION -16

// Whoever may hold the session is not in the view now. Nothing was changed.
#define DCN_ERR_HOLDERS_UNREACHABLE -17

// The change was cut off: it is made once, or not at all. Repeat it with the same `repeat`.
#define DCN_ERR_OUTCOME_UNKNOWN -18

// The `repeat` of a change is older than those that the session remembers. Nothing was changed.
#define DCN_ERR_TOKEN_EXPIRED -19

// The session is at another version than the caller said. Nothing was changed.
#define DCN_ERR_VERSION_CONFLICT -20

// `session.memory_bytes` is used up. Nothing was changed.
#define DCN_ERR_FULL -21

// Bytes of the text in a `dcn_error_t`, its NUL included.
#define DCN_ERROR_TEXT_BYTES 496

// No log at all.
#define DCN_LOG_OFF 0

// Something failed that needs the operator.
#define DCN_LOG_ERROR 1

// Something that may need the operator.
#define DCN_LOG_WARN 2

// What an operator wants to read afterwards: views, joins, leaves.
#define DCN_LOG_INFO 3

// What a developer wants to read.
#define DCN_LOG_DEBUG 4

// Everything.
#define DCN_LOG_TRACE 5

// A message. `member` sent it, `data` is its payload, `number` its place in the sender's stream, `token` what the
// sender gave, `view` the view it belongs to; `detail` is 1 if it was sent to this member alone; if to all, 0, or the level that
// gives it its place in one order (`DCN_LEVEL_AGREED`, `DCN_LEVEL_SAFE`: also what this member sent itself). What was sent as `DCN_LEVEL_UNRELIABLE` has
// `DCN_MESSAGE_UNRELIABLE` in `detail` besides, and a `number` of its sender's messages of that level alone, of which some may be missing.
#define DCN_EVENT_MESSAGE 1

// In the `detail` of a message: it was sent as `DCN_LEVEL_UNRELIABLE`.
#define DCN_MESSAGE_UNRELIABLE 256

// The view `view` is ending: messages until the next `DCN_EVENT_VIEW` reach those who go on together.
#define DCN_EVENT_TRANSITION 2

// The view `view` was installed; `detail` is its number of members. `dcn_event_view` gives the members, and who came and went.
#define DCN_EVENT_VIEW 3

// From the view `view` on this member is ready: it counts for stability and windows.
#define DCN_EVENT_READY 4

// `member` is under suspicion, for the reason in `text`; the check has begun.
#define DCN_EVENT_SUSPECTED 5

// `member` alone holds up senders, by `number` bytes; it is removed if it still does after `window.slow_ms`.
#define DCN_EVENT_SLOW 6

// All members of the view `view` hold our messages to everybody up to `number` (only with `events.stable`).
#define DCN_EVENT_STABLE 7

// An accepted message could not be sent in any view, for the reason in `text`: `data` is its payload, `token` its token,
// `member` and `seat` whom it was for (NULL and 0: everybody, or a member that is not known any more).
#define DCN_EVENT_RETURNED 8

// A send that was answered with `DCN_AGAIN` may be tried once more.
#define DCN_EVENT_WRITABLE 9

// `detail` is 1 if this member acts in the primary view from now on, 0 if no longer. `view` is the view.
#define DCN_EVENT_PRIMARY 10

// Others removed this member, for the reason in `text`; it joins again by itself as a new incarnation.
#define DCN_EVENT_EXPELLED 11

// Somebody (`member`, or NULL for a stranger) sent what it must not; the connection was closed. `text` says what and
// from which address.
#define DCN_EVENT_FAULT 12

// `member` (a name; it has no seat) wanted to join and was refused; `text` says why and from which address.
#define DCN_EVENT_REFUSED_JOINER 13

// Something the operator should read, in `text`. `detail` is `DCN_LOG_ERROR`, `DCN_LOG_WARN` or `DCN_LOG_INFO`.
#define DCN_EVENT_NOTE 14

// The member has ended. `detail` is the reason (`DCN_ENDED_*`), `text` says more. Nothing follows.
#define DCN_EVENT_CLOSED 15

// A request about a session was answered: `token` is its token, `detail` the status (`(int32_t)detail` is `DCN_OK`, ...; the
// `dcn_session_*` functions list theirs), `number` the session's version, `text` what its cookie should say from now on (NULL
// if there is no session, or none that is known here), `data` the attributes, if it was a read (`dcn_attribute_get`).
#define DCN_EVENT_SESSION 16

// A session that this member owned has not been used for its time, and is gone. `text` is the first part of its
// cookie. While 65,536 of these wait to be polled, further ones are left out, and a `DCN_EVENT_NOTE` says how many.
#define DCN_EVENT_SESSION_EXPIRED 17

// This member, which had been removed, held a newer version of a session than the one that the others went on with. That one, at
// version `number`, is kept; the other one, at version `token`, is dropped. `text` is the session's name.
#define DCN_EVENT_SESSION_CONFLICT 19

// After a loss, all sessions that this member owns have two copies again; `number` of them were made anew. `view` is the view.
#define DCN_EVENT_REDUNDANCY_RESTORED 18

// The host asked for it, and the cluster knows.
#define DCN_ENDED_LEFT 1

// The host asked for it, and nobody could be told in time.
#define DCN_ENDED_LEFT_UNHEARD 2

// The cluster refused this member; the text has the reason and who gave it.
#define DCN_ENDED_REFUSED 3

// The host did not take events for `window.slow_ms`.
#define DCN_ENDED_HOST_NOT_POLLING 4

// `join.timeout_ms` passed without a view.
#define DCN_ENDED_JOIN_TIMEOUT 5

// The library met a bug of its own, or the system failed it; the text says what. Calls answer `DCN_ERR_PANICKED`.
#define DCN_ENDED_FAILED 6

// A timeout that does not pass in practice (49 days).
#define DCN_NO_LIMIT_MS UINT32_MAX

// `to` of a send: every other member of the view.
#define DCN_TO_ALL 0

// In one datagram: may be lost and come out of order, never doubled or corrupted. What is longer than 1,327 bytes (by
// multicast 73 less than the longest datagram that every member takes, where that is shorter) is refused: `DCN_ERR_TOO_LARGE`.
#define DCN_LEVEL_UNRELIABLE 0

// In the order sent, once, without a gap.
#define DCN_LEVEL_FIFO 1

// All members that go on together deliver in one order, among everything that is agreed or safe; the sender gets it too, in that
// place. Only to `DCN_TO_ALL`.
#define DCN_LEVEL_AGREED 2

// In the same order, and delivered only once every ready member of the view holds it and knows its place; after a transition event,
// once all who go on together do. Only to `DCN_TO_ALL`.
#define DCN_LEVEL_SAFE 3

// Most parts of one `dcn_sendv`.
#define DCN_PARTS_MAX 1024

// Most messages of one `dcn_send_many`.
#define DCN_MESSAGES_MAX 1024

// Where the memory of a claim begins is a multiple of so many bytes.
#define DCN_CLAIM_ALIGN_BYTES 8

// `list` of `dcn_view_member`: the members, in the order of their admission.
#define DCN_VIEW_MEMBERS 0

// `list` of `dcn_view_member`: those who were not in the view before. Known for the view of an event only.
#define DCN_VIEW_JOINED 1

// `list` of `dcn_view_member`: those of the view before who are gone: name, incarnation, holder and seat only.
#define DCN_VIEW_LEFT 2

// A member without a task in its group. Also of one that has left.
#define DCN_ROLE_MEMBER 0

// Next in line to lead its group.
#define DCN_ROLE_DEPUTY 1

// Leads its group: relays for it.
#define DCN_ROLE_LEADER 2

// Bytes of a view's id as text, its NUL included.
#define DCN_VIEW_ID_BYTES 80

// Bytes of a member's name, its NUL included, rounded up.
#define DCN_NAME_BYTES 72

// Bytes of an incarnation as text (32 hexadecimal digits), its NUL included, rounded up.
#define DCN_INCARNATION_BYTES 40

// Bytes of an address as text, its NUL included, rounded up.
#define DCN_ADDRESS_BYTES 64

// Bytes of a member as cookies name it (16 hexadecimal digits), its NUL included, rounded up.
#define DCN_HOLDER_BYTES 24

// Bytes of a member's tags, its NUL included, rounded up.
#define DCN_TAGS_BYTES 72

// Most attributes in one call.
#define DCN_ATTRIBUTES_MAX 65536

// Longest name of an attribute in bytes, without a NUL.
#define DCN_ATTRIBUTE_NAME_BYTES 255

// Bytes that suffice for the text of any cookie, its NUL included.
#define DCN_COOKIE_BYTES 72

// Takes one line of the log: `level` (`DCN_LOG_*`), `target` (the part of the library) and `message`, both
// NUL-terminated UTF-8 and valid until it returns. It is called from any thread, also from several at once, and must
// not block, throw or longjmp. It may call the library; what is logged meanwhile by its own thread is dropped.
typedef void (*dcn_log_fn)(void *context, uint32_t level, const char *target, const char *message);

// Settings of one member before it is opened: a builder. All zero = no configuration.
typedef struct dcn_config_t {
    // Opaque.
    uint64_t id;
} dcn_config_t;

// Why a call failed. Set `struct_size` to `sizeof(dcn_error_t)` before the first use; the rest is written by calls
// that fail, and left alone by those that do not.
typedef struct dcn_error_t {
    // In: `sizeof(dcn_error_t)`, set by the caller.
    size_t struct_size;
    // Out: the status that the call returned.
    int32_t code;
    // Out: zero.
    uint32_t reserved;
    // Out: what went wrong, where, and what to do, with its cause; NUL-terminated UTF-8, cut if it is too long.
    char text[DCN_ERROR_TEXT_BYTES];
} dcn_error_t;

// A member of a cluster. All zero = no engine.
typedef struct dcn_engine_t {
    // Opaque.
    uint64_t id;
} dcn_engine_t;

// Something that happened. All kinds share one struct; a field that a kind does not name is zero or NULL.
//
// Every pointer in it belongs to the library. It is valid until the next `dcn_engine_poll` on that engine, in a handler
// until the handler returns, and in both cases no longer than until `dcn_engine_close`. Nothing needs to be freed.
typedef struct dcn_event_t {
    // Bytes of this struct that the library has written.
    size_t struct_size;
    // What happened: `DCN_EVENT_*`. Skip a kind that is not known: newer libraries may have more.
    uint32_t kind;
    // A small number; the kind says what it means.
    uint32_t detail;
    // Number of the view that it belongs to; 0 = none.
    uint64_t view;
    // Stands for the whole id of that view: two views are one exactly if number and tag are equal.
    uint64_t view_tag;
    // A number or a length in bytes; the kind says which.
    uint64_t number;
    // The token that was given to the send or the request; 0 = none.
    uint64_t token;
    // Payload; not NULL for a message, even if it is empty.
    const uint8_t *data;
    // Bytes of the payload.
    size_t data_bytes;
    // Name of the member that it is about, NUL-terminated UTF-8; NULL = none.
    const char *member;
    // Words for a person, NUL-terminated UTF-8; NULL = none.
    const char *text;
    // Seat of the member that it is about; 0 = none. Seats are never given twice.
    uint32_t seat;
    // Zero.
    uint32_t reserved;
    // Opaque: what `dcn_buf_retain` and `dcn_event_view` find the event by.
    uint64_t ticket;
} dcn_event_t;

// Takes one event on the engine's own thread. `event` is valid until it returns. It must not block (the engine stands still
// meanwhile, and others would take it for dead), throw or longjmp. It may call the library; timeouts count as 0 there.
typedef void (*dcn_event_fn)(void *context, struct dcn_engine_t engine, const struct dcn_event_t *event);

// A range of the caller's memory. This struct never changes.
typedef struct dcn_slice_t {
    // Where it begins; may be NULL if `bytes` is 0.
    const uint8_t *data;
    // How long it is.
    size_t bytes;
} dcn_slice_t;

// Bytes that the host keeps, or hands over, counted; also when their engine is gone. All zero = no buffer.
typedef struct dcn_buf_t {
    // Opaque.
    uint64_t id;
} dcn_buf_t;

// Room for one message, and memory to write it into. All zero = no claim.
typedef struct dcn_claim_t {
    // Opaque.
    uint64_t id;
} dcn_claim_t;

// Takes memory back that was wrapped: `context`, `data` and `bytes` are as `dcn_buf_wrap` got them. It must not block, throw or longjmp. It
// may call the library: on an engine's own thread timeouts count as 0, as in a handler.
typedef void (*dcn_free_fn)(void *context, uint8_t *data, size_t bytes);

// An immutable snapshot of the membership. All zero = no view.
typedef struct dcn_view_t {
    // Opaque.
    uint64_t id;
} dcn_view_t;

// What a view says of itself. Set `struct_size` to `sizeof(dcn_view_info_t)` before the call.
typedef struct dcn_view_info_t {
    // In: `sizeof(dcn_view_info_t)`, set by the caller.
    size_t struct_size;
    // Its place in the line of views; grows.
    uint64_t number;
    // Stands for the whole id: two views are one exactly if number and tag are equal.
    uint64_t tag;
    // If this member came over from the losing part of a merge: the number of the view it was in before; else 0.
    uint64_t merged_from;
    // How many members it has.
    uint32_t member_count;
    // How many are in `DCN_VIEW_JOINED`.
    uint32_t joined_count;
    // How many are in `DCN_VIEW_LEFT`.
    uint32_t left_count;
    // How many groups it has.
    uint32_t group_count;
    // Position of this member in `DCN_VIEW_MEMBERS`.
    uint32_t me;
    // 1 if at most one such view can be primary at any moment; 0 if too little was configured for that promise.
    uint32_t fenced;
    // 1 if this member acted in the primary view when the snapshot was taken (or the event made).
    uint32_t primary;
    // Position in `DCN_VIEW_MEMBERS` of the member that coordinates.
    uint32_t coordinator;
    // The whole id as NUL-terminated text: number, ballot, coordinator.
    char id[DCN_VIEW_ID_BYTES];
} dcn_view_info_t;

// What a view says of one member. Set `struct_size` to `sizeof(dcn_member_t)` before the call.
typedef struct dcn_member_t {
    // In: `sizeof(dcn_member_t)`, set by the caller.
    size_t struct_size;
    // Number of the view that admitted it.
    uint64_t admitted;
    // Its seat: what messages to it alone are addressed by. Never 0, never given twice.
    uint32_t seat;
    // Label of its group.
    uint32_t group;
    // `DCN_ROLE_*`.
    uint32_t role;
    // 1 if it counts for stability and windows, 0 if it is still joining.
    uint32_t ready;
    // Its configured name, NUL-terminated UTF-8.
    char name[DCN_NAME_BYTES];
    // This life of it, NUL-terminated: a member that was started again has another one.
    char incarnation[DCN_INCARNATION_BYTES];
    // Where it is reached (`10.0.0.7:7100`, `[fd00::7]:7100`), NUL-terminated.
    char address[DCN_ADDRESS_BYTES];
    // How the cookie of a session names it as a holder (`id!primary!secondary`), NUL-terminated.
    char holder[DCN_HOLDER_BYTES];
    // What its operator says of it (`node.tags`): `name=value` pairs in the order of their names, with commas between them,
    // NUL-terminated. Empty of one that has left.
    char tags[DCN_TAGS_BYTES];
    // 1 if it is a witness (`node.witness`): it votes, and carries no messages. 0 of one that has left.
    uint32_t witness;
    // Zero.
    uint32_t reserved;
} dcn_member_t;

// A named value of a session, in the caller's memory.
typedef struct dcn_attribute_t {
    // UTF-8, 1 to `DCN_ATTRIBUTE_NAME_BYTES` bytes; a NUL at its end is not needed.
    const char *name;
    // Bytes of the name.
    size_t name_bytes;
    // Any bytes; may be NULL if `value_bytes` is 0.
    const uint8_t *value;
    // Bytes of the value.
    size_t value_bytes;
} dcn_attribute_t;

// A change of a session. Set all of it to zero, then `struct_size`, then what is wanted.
typedef struct dcn_session_change_t {
    // In: `sizeof(dcn_session_change_t)`, set by the caller.
    size_t struct_size;
    // Makes the change once, however often it is asked for with this number, on whichever members. The numbers of one session
    // grow; the last 8 are remembered. 0 = it may be made twice when it is repeated.
    uint64_t repeat;
    // Only if the session is at this version; 0 = at any.
    uint64_t if_version;
    // Attributes to set, `set_count` of them; NULL if that is 0.
    const struct dcn_attribute_t *sets;
    // How many are set.
    size_t set_count;
    // Attributes to remove, `remove_count` of them; NULL if that is 0. Only their names matter.
    const struct dcn_attribute_t *removes;
    // How many are removed. To remove one that is not there is fine.
    size_t remove_count;
    // `sizeof(dcn_attribute_t)`.
    size_t stride_bytes;
    // 1: all attributes that are not set here go; 0: they stay.
    uint32_t whole;
    // Zero.
    uint32_t reserved;
} dcn_session_change_t;

// A session as it was when a request about it was answered. Set `struct_size` to `sizeof(dcn_session_t)` before the call.
typedef struct dcn_session_t {
    // In: `sizeof(dcn_session_t)`, set by the caller.
    size_t struct_size;
    // Grows with every change.
    uint64_t version;
    // What the user's cookie should say from now on (`id!primary!secondary`), NUL-terminated ASCII. After a remove it names a
    // session that is not there.
    char cookie[DCN_COOKIE_BYTES];
} dcn_session_t;

// Counters of one engine since it was opened. Set `struct_size` to `sizeof(dcn_stats_t)` before the call.
typedef struct dcn_stats_t {
    // In: `sizeof(dcn_stats_t)`, set by the caller.
    size_t struct_size;
    // Messages of this member that were put into batches.
    uint64_t messages_sent;
    // Messages that were delivered to the host.
    uint64_t messages_delivered;
    // Batches of this member.
    uint64_t batches_sent;
    // Batches of others that were accepted.
    uint64_t batches_received;
    // Batches of others that were passed on.
    uint64_t batches_relayed;
    // Batches that came a second time and were dropped.
    uint64_t batches_repeated;
    // Batches that did not follow the one before, or belong to another view, and were dropped.
    uint64_t batches_refused;
    // Bytes written to connections.
    uint64_t bytes_sent;
    // Bytes read from connections.
    uint64_t bytes_received;
    // Datagrams sent.
    uint64_t datagrams_sent;
    // Datagrams accepted.
    uint64_t datagrams_received;
    // Datagrams that were malformed or foreign.
    uint64_t datagrams_refused;
    // Views installed.
    uint64_t views_installed;
    // Suspicions raised by this member.
    uint64_t suspicions;
    // Wrong content inside a good header.
    uint64_t faults;
    // Now: bytes of this member that not all have yet.
    uint64_t unstable_bytes;
    // Now: bytes of events that the host has not taken yet.
    uint64_t delivery_queue_bytes;
    // Now: bytes that this member may send before it must wait.
    uint64_t credit_bytes;
    // Now: connections.
    uint64_t connections;
    // Now: receive chunks that something pins.
    uint64_t chunks_pinned;
    // Now: bytes that the host holds by `dcn_buf_t`, as they count against `memory.held_bytes`.
    uint64_t held_bytes;
    // Now: sessions that this member owns.
    uint64_t sessions_primary;
    // Now: sessions whose second copy it holds.
    uint64_t sessions_secondary;
    // Now: of the owned ones, those without a second copy.
    uint64_t sessions_single;
    // Now: memory that all of them take.
    uint64_t session_bytes;
    // Now, in asynchronous mode: bytes of changes that were answered for and that no second member has yet.
    uint64_t session_lag_bytes;
    // Now: the age of the oldest of them, in microseconds.
    uint64_t session_lag_us;
    // Datagrams sent to the multicast group, the batches of this member among them.
    uint64_t casts_sent;
    // Datagrams that came to the multicast group.
    uint64_t casts_received;
    // Of these, damaged ones and such that no member of this version sends.
    uint64_t casts_refused;
    // Of these, those of other clusters.
    uint64_t casts_foreign;
    // Batches that this member had lost and asked others for.
    uint64_t repairs_asked;
    // Bytes that this member sent to others because they had lost them.
    uint64_t repair_bytes_sent;
} dcn_stats_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Tells the version of the interface that the loaded library offers, in the form of `DCN_ABI_VERSION`.
//
// Threads: any. Blocking: never blocks.
// Returns: the version; it cannot fail.
uint32_t dcn_abi_version(void);

// Says in a few English words what a status code means.
//
// Parameters: `code`, any number.
// Ownership: the text is static and NUL-terminated; it is never NULL and must not be freed.
// Threads: any. Blocking: never blocks.
// Returns: the text; "unknown status code" for a number that this version does not know. It cannot fail.
const char *dcn_status_str(int32_t code);

// The text of the last call of this thread that did not answer `DCN_OK`, with its cause.
//
// A convenience for C programs. Where calls may move between threads (virtual threads), use the `dcn_error_t`
// parameter instead.
//
// Ownership: the library's; valid until the next call of this thread that does not answer `DCN_OK`, or the thread's end.
// Threads: any; each has its own text. Blocking: never blocks.
// Returns: NUL-terminated UTF-8, empty if there was no such call; never NULL. It cannot fail.
const char *dcn_last_error(void);

// Sets where the log of all engines of this process goes; without a call it goes nowhere.
//
// Parameters: `callback`, NULL for no log; `context`, handed to it as it is; `max_level`, `DCN_LOG_OFF` to `DCN_LOG_TRACE`:
// lines above it are not made.
// Ownership: `context` stays the caller's and must live until the callback is replaced: when this returns `DCN_OK`, the one
// set before is not running and will not be called again.
// Threads: any. Blocking: bounded (waits up to 5 s for a callback that is running).
// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT` for a level that does not exist; `DCN_ERR_WOULD_DEADLOCK` from inside a
// log callback; `DCN_ERR_BUSY` when a running callback does not return (the old one stays set);
// `DCN_ERR_UNSUPPORTED` in a Rust program that has set a logger of its own.
int32_t dcn_log_set(dcn_log_fn callback,
                    void *context,
                    uint32_t max_level);

// Makes a configuration in which every key has its default.
//
// Parameters: `config`, not NULL: where the handle goes.
// Ownership: the caller frees it with `dcn_config_free`.
// Threads: any. Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT` for NULL; `DCN_ERR_HELD_LIMIT` when four million are alive.
int32_t dcn_config_new(struct dcn_config_t *config);

// Sets one key. It wins over the environment and over files, whatever the order of the calls.
//
// Parameters: `key` as in the configuration's documentation ("group.size"); `value`, its text ("10"; lists have commas
// between their entries); both NUL-terminated UTF-8. `error`, NULL or a struct with its size set.
// Ownership: everything is copied.
// Threads: one at a time per configuration, else `DCN_ERR_BUSY`. Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_CONFIG` for an unknown key (the text names the nearest one) or a value that is not
// allowed (it names the range); `DCN_ERR_UNSUPPORTED` for what this version cannot do; `DCN_ERR_INVALID_ARGUMENT`;
// `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`. Nothing was changed after an error.
int32_t dcn_config_set(struct dcn_config_t config,
                       const char *key,
                       const char *value,
                       struct dcn_error_t *error);

// Reads a TOML file. Its values win over the defaults only.
//
// Parameters: `path`, the NUL-terminated name of the file; `error`, NULL or a struct with its size set.
// Ownership: everything is copied.
// Threads: one at a time per configuration, else `DCN_ERR_BUSY`. Blocking: bounded (it reads a file).
// Returns: `DCN_OK`; `DCN_ERR_CONFIG` when something in it is wrong (the text lists everything, with line and column);
// `DCN_ERR_SYSTEM` when it cannot be read; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`.
// Nothing was changed after an error.
int32_t dcn_config_load(struct dcn_config_t config,
                        const char *path,
                        struct dcn_error_t *error);

// Reads the environment: `DECURION_GROUP_SIZE` sets "group.size". Its values win over files and defaults.
//
// Parameters: `error`, NULL or a struct with its size set.
// Threads: one at a time per configuration, else `DCN_ERR_BUSY`; no other thread may change the environment
// meanwhile (as for getenv). Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_CONFIG` for a variable that begins with DECURION_ and belongs to no key, or has a wrong
// value; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`. Nothing was changed after an error.
int32_t dcn_config_load_env(struct dcn_config_t config, struct dcn_error_t *error);

// Reads the value in force of one key; an empty text means that it follows from other settings.
//
// Parameters: `key`, NUL-terminated. `value`, where the NUL-terminated text goes, with room for `capacity_bytes`, its
// NUL included; NULL to ask for the length only. `length_bytes`, where the length goes, without the NUL; NULL
// if it is not wanted (then `value` is not NULL). `error`, NULL or a struct with its size set.
// Threads: one at a time per configuration, else `DCN_ERR_BUSY`. Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_CONFIG` for an unknown key; `DCN_ERR_INVALID_ARGUMENT`, also when the text does not fit
// (nothing is written then); `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`.
int32_t dcn_config_get(struct dcn_config_t config,
                       const char *key,
                       char *value,
                       size_t capacity_bytes,
                       size_t *length_bytes,
                       struct dcn_error_t *error);

// Frees a configuration. Engines that were opened with it keep what they read.
//
// Threads: any; a call that another thread is in with it ends as it would have. Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`.
int32_t dcn_config_free(struct dcn_config_t config);

// Opens a member: it listens, looks for its cluster, and joins it or forms it. All this goes on after the call returns;
// events tell how it went.
//
// Parameters: `config`, read during the call only. `handler`: if not NULL, it is called on the engine's thread with
// every event; the first may come before this call returns, but `engine` is written by then. If NULL, the host polls
// (`dcn_engine_fd`, `dcn_engine_poll`). Either way the engine has a thread of its own; see `dcn_engine_open_in_loop`
// for one that has none.
// `context`, handed to the handler as it is. `engine`, not NULL: where the handle goes. `error`, NULL or a struct
// with its size set.
// Ownership: the caller closes it with `dcn_engine_close`. `context` stays the caller's and must live until then.
// Threads: any. Blocking: bounded (it opens sockets and starts threads).
// Returns: `DCN_OK`; `DCN_ERR_CONFIG` when settings do not fit together; `DCN_ERR_SYSTEM` when the port is taken or the
// address is not local; `DCN_ERR_UNSUPPORTED`; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_BUSY` when
// another thread is using the configuration; `DCN_ERR_FORKED`. Nothing is left open after an error.
int32_t dcn_engine_open(struct dcn_config_t config,
                        dcn_event_fn handler,
                        void *context,
                        struct dcn_engine_t *engine,
                        struct dcn_error_t *error);

// Closes an engine at once, without telling the cluster (call `dcn_engine_leave` first for that), and ends the handle.
//
// When it returns, no callback of this engine is running or will run, and its descriptors are closed. Calls of other
// threads on it end with `DCN_ERR_CLOSED`. Inside a handler or a log callback, of this engine or another one, it does not
// wait: it takes effect on the engine's thread after the running callback, and one last event `DCN_EVENT_CLOSED` tells the
// handler of the closed engine. Buffers and views that the host holds stay valid.
// Without a thread (`dcn_engine_open_in_loop`) it waits for a turn that is under way on another thread; in a log callback
// inside of a turn it takes effect at the end of that turn, and no event tells it.
// Threads: any. Blocking: bounded (waits for the engine's thread or turn, and so for a callback that is running).
// Returns: `DCN_OK`; `DCN_ERR_BAD_HANDLE`, also for a second close; `DCN_ERR_FORKED`.
int32_t dcn_engine_close(struct dcn_engine_t engine);

// Leaves the cluster in order: the others install a view without this member, and `DCN_EVENT_CLOSED` ends the events.
// The handle stays until `dcn_engine_close`.
//
// Parameters: `timeout_ms`, how long to wait for the end; 0 = begin to leave and do not wait. Inside a handler, and without
// a thread, it counts as 0.
// Threads: any. Blocking: blocks up to timeout.
// Returns: `DCN_OK`: the member has left (or had already), or has begun to with a timeout of 0; `DCN_ERR_TIMEOUT`: it is
// still leaving; `DCN_ERR_CLOSED`: another thread has closed it meanwhile; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`;
// `DCN_ERR_PANICKED`.
int32_t dcn_engine_leave(struct dcn_engine_t engine,
                         uint32_t timeout_ms);

// Says that the host holds the state it needs: with `join.ready` = "host" the member becomes ready. Harmless otherwise.
//
// Threads: any. Blocking: never blocks.
// Returns: `DCN_OK` (the event `DCN_EVENT_READY` follows); `DCN_ERR_CLOSED`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`.
int32_t dcn_engine_ready(struct dcn_engine_t engine);

// Tells the descriptor that is readable while events wait, for the host's own poll, epoll or select. Level-triggered:
// it stays readable until `dcn_engine_poll` has taken everything.
//
// Without a thread (`dcn_engine_open_in_loop`) it is readable also while there is something to turn for, until
// `dcn_engine_turn` has done it. It is an epoll instance then, and nests in others up to three levels deep.
// Once the engine has ended it stays readable.
//
// Parameters: `fd`, not NULL: where the descriptor goes.
// Ownership: the library's: do not read, write or close it. It is closed by `dcn_engine_close`: take it out of the host's
// loop before.
// Threads: any. Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_UNSUPPORTED` for an engine with a handler; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`;
// `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`. Nothing is written after an error.
int32_t dcn_engine_fd(struct dcn_engine_t engine,
                      int32_t *fd);

// Takes events, in order. What the call before gave (payloads, names, texts) is invalid from its begin on; `dcn_buf_retain`
// keeps a payload longer.
//
// Parameters: `events`, an array of `capacity` (1 or more) structs, `stride_bytes` = `sizeof *events` each; they need not be
// initialised, and what a library does not know of them is zeroed. `timeout_ms`, how long to wait for the first event; 0 = not
// at all. Inside a handler or log callback, and without a thread, it counts as 0. `count`, not NULL: how many were written.
// Threads: one at a time per engine, else `DCN_ERR_BUSY`. Blocking: blocks up to timeout, only while there is nothing.
// Returns: `DCN_OK`: at least one event; `DCN_AGAIN`: none in time (`count` is 0); `DCN_ERR_CLOSED`, or `DCN_ERR_PANICKED` for an
// engine that has failed: none will come any more;
// `DCN_ERR_UNSUPPORTED` for an engine with a handler; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`.
// Nothing was taken after an error.
int32_t dcn_engine_poll(struct dcn_engine_t engine,
                        struct dcn_event_t *events,
                        size_t stride_bytes,
                        size_t capacity,
                        uint32_t timeout_ms,
                        size_t *count);

// Tells where the member listens, with the port that was taken if none was configured ("127.0.0.1:40123").
//
// Parameters: `address`, where the NUL-terminated text goes, with room for `capacity_bytes` (`DCN_ADDRESS_BYTES` always
// suffices); NULL to ask for the length only. `length_bytes`, where the length goes, without the NUL; NULL if it is not
// wanted (then `address` is not NULL).
// Threads: any. Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT`, also when it does not fit (nothing is written then);
// `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`.
int32_t dcn_engine_local_address(struct dcn_engine_t engine,
                                 char *address,
                                 size_t capacity_bytes,
                                 size_t *length_bytes);

// Opens a member that has no thread and runs in the host's own loop. Otherwise as `dcn_engine_open` without a handler.
//
// Whenever the descriptor of `dcn_engine_fd` is readable, or the time of `dcn_engine_next_timeout_ms` has passed, the host
// calls `dcn_engine_turn`, and then `dcn_engine_poll` until it answers `DCN_AGAIN` (or less: what it leaves keeps the
// descriptor readable). Between two turns the engine does nothing. A loop that is held up for `detector.silence_ms` costs the
// member its place: the others remove it, and it joins again by itself when the loop goes on. A loop that is often late makes
// late what this member passes on to others.
//
// No call on such an engine waits, on whichever thread: every timeout counts as 0. Messages may be sent from any thread; each
// wakes the loop by the descriptor. Only names are looked up on a helper thread, which is started with the first seed that is
// not an address.
//
// Parameters: `config`, read during the call only. `engine`, not NULL: where the handle goes. `error`, NULL or a struct
// with its size set.
// Ownership: the caller closes it with `dcn_engine_close`.
// Threads: any. Blocking: bounded (it opens sockets).
// Returns: as `dcn_engine_open`. Nothing is left open after an error.
int32_t dcn_engine_open_in_loop(struct dcn_config_t config,
                                struct dcn_engine_t *engine,
                                struct dcn_error_t *error);

// Does what there is to do: takes in what has come, lets time pass, writes, and queues events for `dcn_engine_poll`; of all
// that a bounded piece. What is left over keeps the descriptor readable. A call too many is harmless.
//
// Log callbacks run inside of it, on this thread. It needs less than 128 KiB of stack.
// Threads: one at a time per engine, not always the same one. Blocking: never blocks.
// Returns: `DCN_OK`, also for the turn in which the engine ends; `DCN_ERR_BUSY` while another turn is under way, also for a
// log callback inside of it; `DCN_ERR_CLOSED` when the engine had ended before: `dcn_engine_poll` has its last events;
// `DCN_ERR_PANICKED` when it has failed, in this turn or before; `DCN_ERR_UNSUPPORTED` for an engine with a thread of its own;
// `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`. Nothing is changed by a call that answers an error, but by the turn with
// which an engine ends that has failed.
int32_t dcn_engine_turn(struct dcn_engine_t engine);

// Tells how long the host may wait for the descriptor of `dcn_engine_fd` before it must call `dcn_engine_turn`, in the form that
// `epoll_wait` and `poll` take. Ask right before waiting: every turn, and every call that takes or sends something, changes it.
//
// Parameters: `timeout_ms`, not NULL: where it goes. 0 while there is something to do: a turn, because of work or because its
// time has come, events to take, or the end to be noticed (the descriptor is readable then, too); -1 = as long as it takes;
// else rounded up, so that the time has come when it is over.
// Threads: any, but not while a turn is under way. Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_BUSY` while a turn is under way; `DCN_ERR_UNSUPPORTED` for an engine with a thread of its own;
// `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`. Nothing is written after an error.
int32_t dcn_engine_next_timeout_ms(struct dcn_engine_t engine,
                                   int32_t *timeout_ms);

// Sends one message to all other members, or to one.
//
// Parameters: `to`, `DCN_TO_ALL` or the seat of another member of the current view; `level`, `DCN_LEVEL_*`; `token`, any
// number, comes with the message (0 = none); `data`, `bytes` of payload, 0 to `message.max_bytes`; `timeout_ms`, how long
// to wait for room, 0 = not at all. Inside a handler, and without a thread, it counts as 0.
// Ownership: the payload is copied before the call returns.
// Threads: any. What one thread sends to the same receiver is delivered in that order.
// Blocking: blocks up to timeout.
// Returns: `DCN_OK`: accepted in order; `DCN_AGAIN`: no room in time (the event `DCN_EVENT_WRITABLE` says when to try again);
// `DCN_NOT_READY`: no view yet; `DCN_NOT_PRIMARY`: a minority; `DCN_ERR_NO_SUCH_MEMBER`; `DCN_ERR_TOO_LARGE`;
// `DCN_ERR_UNSUPPORTED` where this member or the receiver is a witness; `DCN_ERR_CLOSED`; `DCN_ERR_INVALID_ARGUMENT`, also for a level that only
// goes to everybody; `DCN_ERR_BAD_HANDLE`;
// `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`. Nothing was taken unless it is `DCN_OK`.
int32_t dcn_send(struct dcn_engine_t engine,
                 uint32_t to,
                 uint32_t level,
                 uint64_t token,
                 const uint8_t *data,
                 size_t bytes,
                 uint32_t timeout_ms);

// Sends one message that lies in several places, as if they were joined.
//
// Parameters: `parts`, an array of `count` ranges (0 to `DCN_PARTS_MAX`; NULL if 0); all others as for `dcn_send`.
// Ownership: the payload is copied before the call returns.
// Threads: any. Blocking: blocks up to timeout.
// Returns: as `dcn_send`.
int32_t dcn_sendv(struct dcn_engine_t engine,
                  uint32_t to,
                  uint32_t level,
                  uint64_t token,
                  const struct dcn_slice_t *parts,
                  size_t count,
                  uint32_t timeout_ms);

// Sends several messages in the order given, each as `dcn_send` does. What a call checks, locks and wakes it does once for all of them, so
// that a short message costs a quarter of what it costs with a call of its own.
//
// Parameters: `messages`, an array of `count` ranges, one for each message (0 to `DCN_MESSAGES_MAX`; NULL if 0); `token` comes with
// each of them; `timeout_ms` is for all of them; `accepted`, set to how many were accepted, from the first on; all others as for `dcn_send`.
// Ownership: the payloads are copied before the call returns.
// Threads: any. What one thread sends to the same receiver is delivered in that order. Blocking: blocks up to timeout.
// Returns: `DCN_OK`: all were accepted; else what `dcn_send` returns for the first one that was not, or `DCN_ERR_INVALID_ARGUMENT` about the array
// or for `accepted` = NULL, and then nothing was taken. The first `*accepted` were accepted whatever is returned, and are not to be sent
// again; a message that cannot be sent (`DCN_ERR_TOO_LARGE`) keeps back those behind it.
int32_t dcn_send_many(struct dcn_engine_t engine,
                      uint32_t to,
                      uint32_t level,
                      uint64_t token,
                      const struct dcn_slice_t *messages,
                      size_t count,
                      uint32_t timeout_ms,
                      size_t *accepted);

// Sends the bytes of a buffer, wrapped (`dcn_buf_wrap`) or retained (`dcn_buf_retain`).
//
// What is longer than 16 KiB is not copied at the call; the engine copies it once, into batches (`dcn_send` copies it twice). Shorter ones are copied at
// the call, which is cheaper.
//
// Parameters: `buffer`, of whatever engine; all others as for `dcn_send`.
// Ownership: the handle stays the caller's, to be released as without this call, at once or later, and may be sent again. The bytes are
// kept, and must not change, until the engine needs them no more; what is kept so does not count against `memory.held_bytes`.
// Threads: any. What one thread sends to the same receiver is delivered in that order.
// Blocking: blocks up to timeout.
// Returns: as `dcn_send`; `DCN_ERR_BAD_HANDLE` also for the buffer. Nothing was taken unless it is `DCN_OK`.
int32_t dcn_send_buf(struct dcn_engine_t engine,
                     uint32_t to,
                     uint32_t level,
                     uint64_t token,
                     struct dcn_buf_t buffer,
                     uint32_t timeout_ms);

// Reserves room for a message and gives memory to write it into. `dcn_commit` sends it, `dcn_abort` does not.
//
// What a claim saves: a message longer than 16 KiB and no longer than a batch (60 KiB with what comes before it; by multicast less, where
// packets are short) is not copied any more on its way out. A shorter one is copied into a batch when it is committed, a longer one by the
// engine when it is cut into batches: once each, as `dcn_send` copies a short one; a long one `dcn_send` copies twice.
// For a short message two calls and memory of its own cost more than the one copy of `dcn_send`, which then is the better choice unless the bytes
// would have to be put together for it first.
//
// A claim has no place in the order of messages before it is committed, and nothing waits for it: no other message, no view, no leave. Until
// it is ended it counts against `send.queue_bytes` like a message of this length that waits to the same receiver: when that is full, sends and
// claims are answered with `DCN_AGAIN`, however long the host keeps its claims.
//
// Parameters: `to`, `level`, `token`, `timeout_ms`, as for `dcn_send`, but no `DCN_LEVEL_UNRELIABLE`; `bytes`, how long the message is
// at most, 0 to `message.max_bytes`; `claim` and `data`, not NULL: where the handle and the address of the memory go.
// Ownership: `*data` has room for `bytes` bytes, aligned to `DCN_CLAIM_ALIGN_BYTES`. It is the caller's alone, to write and read, until it
// ends the claim, also when the engine is closed meanwhile; what is in it at first is not defined. The caller ends every claim with
// `dcn_commit` or `dcn_abort`, also after the engine was closed.
// Threads: any; the claim may be ended on another thread. Blocking: blocks up to timeout.
// Returns: as `dcn_send`; `DCN_ERR_UNSUPPORTED` also for `DCN_LEVEL_UNRELIABLE`; `DCN_ERR_HELD_LIMIT` when there are some millions
// of claims. Nothing is reserved or written unless it is `DCN_OK`.
int32_t dcn_claim(struct dcn_engine_t engine,
                  uint32_t to,
                  uint32_t level,
                  uint64_t token,
                  size_t bytes,
                  uint32_t timeout_ms,
                  struct dcn_claim_t *claim,
                  uint8_t **data);

// Sends what was written into a claim, and ends it. The message's place among others is that of this call.
//
// Parameters: `bytes`, how long the message is: the first so many bytes of the claimed memory, all of them written; 0 to what was
// claimed. If it is less, the rest of the room is given back.
// Ownership: the memory is the library's from the begin of this call on: nobody writes there or reads there any more. Only after
// `DCN_ERR_INVALID_ARGUMENT` it is the caller's as before.
// Threads: any. What one thread sends and commits to the same receiver is delivered in that order. Blocking: never blocks.
// Returns: `DCN_OK`: accepted in order; for lack of room it is never refused. What has changed since the claim is answered as by `dcn_send`:
// `DCN_NOT_READY`; `DCN_NOT_PRIMARY`; `DCN_ERR_NO_SUCH_MEMBER`; `DCN_ERR_UNSUPPORTED`; `DCN_ERR_CLOSED`, also where the engine was
// closed; `DCN_ERR_PANICKED`: the claim is ended then all the same, and the message is gone. `DCN_ERR_INVALID_ARGUMENT` for more bytes than were claimed:
// the claim goes on. `DCN_ERR_BAD_HANDLE`, also for a claim that was ended; `DCN_ERR_FORKED`.
int32_t dcn_commit(struct dcn_claim_t claim,
                   size_t bytes);

// Ends a claim without sending anything: its room is given back, which `DCN_EVENT_WRITABLE` tells to whoever was refused for lack of it.
//
// Ownership: the memory is the library's from the begin of this call on.
// Threads: any, also after the engine was closed. Blocking: never blocks.
// Returns: `DCN_OK`, also when the engine is closed; `DCN_ERR_BAD_HANDLE`, also for a claim that was committed or aborted;
// `DCN_ERR_FORKED`.
int32_t dcn_abort(struct dcn_claim_t claim);

// Keeps the payload of an event beyond the next poll, without a copy where that is cheaper than one.
//
// Parameters: `event`, as the last poll of this engine (or the running handler) gave it, not changed; `buffer`, not NULL:
// where the handle goes. An event may be retained more than once; each handle counts.
// Ownership: the caller gives it back with `dcn_buf_release`.
// Threads: any, until the next poll begins (or the handler returns). Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_HELD_LIMIT` when `memory.held_bytes` is reached (a small payload counts its length; one that
// keeps a whole receive chunk alive counts that, 64 KiB): copy the bytes instead; `DCN_ERR_BAD_HANDLE` for an event
// of an earlier poll or another engine; `DCN_ERR_INVALID_ARGUMENT` for an event without payload;
// `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`. Nothing is kept after an error.
int32_t dcn_buf_retain(struct dcn_engine_t engine,
                       const struct dcn_event_t *event,
                       struct dcn_buf_t *buffer);

// Makes a buffer of the caller's memory, to be sent with `dcn_send_buf` without a copy at the call.
//
// Parameters: `data`, `bytes`, where the memory lies and how long it is; NULL only if `bytes` is 0. `free_fn`, called when nobody needs
// it any more; NULL: nothing is called, for memory that stays as long as the process. `context`, handed to it as it is. `buffer`, not NULL:
// where the handle goes.
// Ownership: the memory is lent until `free_fn` is called: it stays readable and does not change. That is exactly once, whether the
// buffer was sent, refused, or never sent, and whatever has become of the engine: when the handle was released (`dcn_buf_release`) and no
// message that was made of it needs it. It counts against no bound until it is sent, and then against that of its stream.
// Threads: any. `free_fn` is called on the thread that let go last: one of the caller's that is inside a call of the library
// (`dcn_buf_release` of a buffer that nothing needs any more, `dcn_engine_poll`, `dcn_engine_turn`, `dcn_engine_close`, ...), at the end of
// that call; or the thread of an engine that it was sent by, between two turns. No lock of the library is held then. After
// `dcn_engine_close` has returned it is not called on that engine's thread any more. In a forked child it is never called.
// Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_HELD_LIMIT` when there are some millions of buffers;
// `DCN_ERR_PANICKED`. After an error the memory is the caller's, and `free_fn` is not called.
int32_t dcn_buf_wrap(const uint8_t *data,
                     size_t bytes,
                     dcn_free_fn free_fn,
                     void *context,
                     struct dcn_buf_t *buffer);

// Tells where the bytes of a buffer are.
//
// Parameters: `data` and `bytes`, not NULL: where the address and the length go.
// Ownership: the library's, or what was wrapped; valid until `dcn_buf_release` of this handle, also after the engine was closed.
// Threads: any. Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`. Nothing is written after an error.
int32_t dcn_buf_data(struct dcn_buf_t buffer,
                     const uint8_t **data,
                     size_t *bytes);

// Gives a buffer back. Messages that were made of it go on.
//
// Threads: any, also after the engine was closed. Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_BAD_HANDLE`, also for a second release; `DCN_ERR_FORKED`.
int32_t dcn_buf_release(struct dcn_buf_t buffer);

// Takes a snapshot of the view that is installed now. It may be newer than the last view event that was polled.
//
// Parameters: `view`, not NULL: where the handle goes.
// Ownership: the caller gives it back with `dcn_view_release`.
// Threads: any. Blocking: never blocks.
// Returns: `DCN_OK`, also the last view of a member that has ended; `DCN_NOT_READY` before the first view;
// `DCN_ERR_CLOSED` when the member ended without one; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`;
// `DCN_ERR_PANICKED`. Nothing is written unless it is `DCN_OK`.
int32_t dcn_engine_view(struct dcn_engine_t engine,
                        struct dcn_view_t *view);

// Takes the view that an event of the kind `DCN_EVENT_VIEW` tells of, with who joined and who left.
//
// Parameters: `event`, as the last poll of this engine (or the running handler) gave it; `view`, not NULL: where the
// handle goes.
// Ownership: the caller gives it back with `dcn_view_release`.
// Threads: any, until the next poll begins (or the handler returns). Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT` for another kind of event; `DCN_ERR_BAD_HANDLE` for an event of an earlier
// poll or another engine; `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`. Nothing is written after an error.
int32_t dcn_event_view(struct dcn_engine_t engine,
                       const struct dcn_event_t *event,
                       struct dcn_view_t *view);

// Tells what a view says of itself.
//
// Parameters: `info`, not NULL, its `struct_size` set.
// Threads: any. Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`. Nothing is written after an error.
int32_t dcn_view_info(struct dcn_view_t view,
                      struct dcn_view_info_t *info);

// Tells what a view says of one member.
//
// Parameters: `list`, one of `DCN_VIEW_MEMBERS`, `DCN_VIEW_JOINED`, `DCN_VIEW_LEFT`; `index`, from 0 to below that list's count in
// `dcn_view_info_t`; `member`, not NULL, its `struct_size` set.
// Ownership: everything is copied into `member`.
// Threads: any. Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT`, also for an index behind the end; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`.
// Nothing is written after an error.
int32_t dcn_view_member(struct dcn_view_t view,
                        uint32_t list,
                        uint32_t index,
                        struct dcn_member_t *member);

// Gives a view back.
//
// Threads: any, also after the engine was closed. Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_BAD_HANDLE`, also for a second release; `DCN_ERR_FORKED`.
int32_t dcn_view_release(struct dcn_view_t view);

// Finds an attribute in the attributes of a session: the `data` of a `DCN_EVENT_SESSION`, or what `dcn_buf_data` tells of the
// buffer of `dcn_session_read_wait`.
//
// Parameters: `data`, `data_bytes`, the attributes; `name`, `name_bytes`, whose value is wanted; `value` and `value_bytes`, not
// NULL: where the value's address and length go; the address is NULL if there is no such attribute, and only then.
// Ownership: the value lies in `data` and is valid as long as that.
// Threads: any. Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT`, also for bytes that are no attributes of a session as far as was looked. Nothing
// is written after an error.
int32_t dcn_attribute_get(const uint8_t *data,
                          size_t data_bytes,
                          const char *name,
                          size_t name_bytes,
                          const uint8_t **value,
                          size_t *value_bytes);

// Walks through the attributes of a session, in the order of their names.
//
// Parameters: `data`, `data_bytes`, as for `dcn_attribute_get`; `position`, not NULL: 0 before the first call, then left alone;
// `attribute`, not NULL: where the next one goes; its `name` is NULL behind the last one, and only then.
// Ownership: name and value lie in `data` and are valid as long as that; the name has no NUL at its end.
// Threads: any. Blocking: never blocks.
// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT`, also for bytes that are no attributes of a session at this position. Nothing is
// written after an error.
int32_t dcn_attribute_next(const uint8_t *data,
                           size_t data_bytes,
                           size_t *position,
                           struct dcn_attribute_t *attribute);

// Asks for a new session. Its name is drawn by the library and cannot be guessed.
//
// Parameters: `token`, any number, comes back with the event; `ttl_s`, seconds after its last use at which it expires
// (`DCN_EVENT_SESSION_EXPIRED`), 0 = never; `attributes`, an array of `count` (0 to `DCN_ATTRIBUTES_MAX`) structs of
// `stride_bytes` = `sizeof *attributes` each, NULL if there are none; of two with one name the later one counts. All together
// they have at most `session.max_bytes`, with their names and 6 bytes for each.
// Ownership: everything is copied before the call returns.
// Threads: any. Blocking: never blocks.
// Returns: `DCN_OK`: one event `DCN_EVENT_SESSION` with this token follows, unless the engine is closed or fails before;
// `DCN_AGAIN`: too much is under way, or answers wait to be taken (try after the next `DCN_EVENT_SESSION` or
// `DCN_EVENT_WRITABLE`); `DCN_NOT_READY`: no view yet; `DCN_NOT_PRIMARY`: a minority; `DCN_ERR_TOO_LARGE`;
// `DCN_ERR_INVALID_ARGUMENT`, also for a name that is empty, too long, or not UTF-8; `DCN_ERR_CLOSED`; `DCN_ERR_BAD_HANDLE`;
// `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`. Nothing was taken unless it is `DCN_OK`.
// The event's status (`detail`): `DCN_OK`: two members hold it; `DCN_UNREPLICATED`: this member alone holds it, as no other one
// can; `DCN_NOT_PRIMARY`, `DCN_ERR_TIMEOUT`, `DCN_ERR_FULL`, `DCN_ERR_CLOSED`: there is none; `DCN_ERR_OUTCOME_UNKNOWN`: it may be
// there or not, and nobody knows its name but, if there is one, the event's cookie.
int32_t dcn_session_create(struct dcn_engine_t engine,
                           uint64_t token,
                           uint32_t ttl_s,
                           const struct dcn_attribute_t *attributes,
                           size_t stride_bytes,
                           size_t count);

// Asks for the attributes of a session. Whichever member is asked finds it, and owns it from then on. A read is a use.
//
// Parameters: `token`, any number, comes back with the event; `cookie`, as the user sent it: it is checked here, and its
// holders are only where to look first.
// Threads: any. Blocking: never blocks.
// Returns: as `dcn_session_create`; `DCN_ERR_INVALID_ARGUMENT` for a cookie that is malformed (the text says how).
// The event's status: `DCN_OK`: `data` are the attributes (see `dcn_attribute_get`), valid as any payload; `DCN_AGAIN`: the
// answers that wait to be taken leave no room for this one, read again; `DCN_ERR_NO_SUCH_SESSION`;
// `DCN_ERR_HOLDERS_UNREACHABLE`: who may hold it is not in the view now; `DCN_NOT_PRIMARY`; `DCN_ERR_TIMEOUT`;
// `DCN_ERR_CLOSED`. Nothing is changed by any of them.
int32_t dcn_session_read(struct dcn_engine_t engine,
                         uint64_t token,
                         const char *cookie);

// Asks for a look at a session: its attributes, and in the cookie who holds it. Its owner stays the same, and it is no use.
// A balancer that cannot see a visitor's cookie asks so who serves it.
//
// Parameters: as for `dcn_session_read`.
// Threads: any. Blocking: never blocks.
// Returns: as `dcn_session_read`, and so is the event's status.
int32_t dcn_session_peek(struct dcn_engine_t engine,
                         uint64_t token,
                         const char *cookie);

// Asks for a change of a session.
//
// Parameters: `token`, any number, comes back with the event; `cookie`, as for `dcn_session_read`; `change`, not NULL, with its
// `struct_size` set, read during the call only.
// Ownership: everything is copied before the call returns.
// Threads: any. Blocking: never blocks.
// Returns: as `dcn_session_create`.
// The event's status: `DCN_OK`: two members hold the change, `number` is the new version; `DCN_UNREPLICATED`: it is made, and
// this member alone holds it; `DCN_ERR_VERSION_CONFLICT`, `DCN_ERR_TOKEN_EXPIRED` (`repeat` is older than those that are
// remembered), `DCN_ERR_TOO_LARGE`, `DCN_ERR_FULL`, `DCN_ERR_NO_SUCH_SESSION`, `DCN_ERR_HOLDERS_UNREACHABLE`, `DCN_NOT_PRIMARY`,
// `DCN_ERR_TIMEOUT`, `DCN_ERR_CLOSED`: nothing was changed; `DCN_ERR_OUTCOME_UNKNOWN`: it is made or not: ask again with the
// same `repeat`.
int32_t dcn_session_write(struct dcn_engine_t engine,
                          uint64_t token,
                          const char *cookie,
                          const struct dcn_session_change_t *change);

// Asks that a session be used without a change, so that it does not expire.
//
// Parameters: `token`, any number, comes back with the event; `cookie`, as for `dcn_session_read`.
// Threads: any. Blocking: never blocks.
// Returns: as `dcn_session_read`, and so is the event's status, without `data`.
int32_t dcn_session_touch(struct dcn_engine_t engine, uint64_t token, const char *cookie);

// Asks for the end of a session.
//
// Parameters: `token`, any number, comes back with the event; `cookie`, as for `dcn_session_read`.
// Threads: any. Blocking: never blocks.
// Returns: as `dcn_session_read`.
// The event's status: as `dcn_session_read`, without `data`; `DCN_ERR_OUTCOME_UNKNOWN`: it has ended or not: ask again, or read.
int32_t dcn_session_remove(struct dcn_engine_t engine,
                           uint64_t token,
                           const char *cookie);

// As `dcn_session_create`, and waits for the answer, of which no event tells.
//
// Parameters: as for `dcn_session_create`; `timeout_ms`, how long to wait, more than 0; `session`, NULL or a struct with its size
// set: where version and cookie go when the answer is `DCN_OK` or `DCN_UNREPLICATED`.
// Threads: any that may wait: on a thread of the library (a handler), and without a thread, it is `DCN_ERR_WOULD_DEADLOCK`.
// Blocking: blocks up to timeout.
// Returns: what `dcn_session_create` returns, or the status of its event. `DCN_ERR_OUTCOME_UNKNOWN` also when the time is over, or
// the engine is closed, before the answer; `DCN_ERR_TIMEOUT` for a timeout of 0.
int32_t dcn_session_create_wait(struct dcn_engine_t engine,
                                uint32_t ttl_s,
                                const struct dcn_attribute_t *attributes,
                                size_t stride_bytes,
                                size_t count,
                                uint32_t timeout_ms,
                                struct dcn_session_t *session);

// As `dcn_session_read`, and waits for the answer, of which no event tells.
//
// Parameters: as for `dcn_session_read` and `dcn_session_create_wait`; `attributes`, NULL or where a buffer goes that holds the
// attributes (see `dcn_attribute_get`).
// Ownership: the caller gives the buffer back with `dcn_buf_release`.
// Threads: any that may wait (`dcn_session_create_wait`), else `DCN_ERR_WOULD_DEADLOCK`. Blocking: blocks up to timeout.
// Returns: what `dcn_session_read` returns, or the status of its event; `DCN_ERR_TIMEOUT` also when the time is over before the
// answer; `DCN_ERR_HELD_LIMIT`: there is no room for the buffer. Nothing is written unless it is `DCN_OK`.
int32_t dcn_session_read_wait(struct dcn_engine_t engine,
                              const char *cookie,
                              uint32_t timeout_ms,
                              struct dcn_session_t *session,
                              struct dcn_buf_t *attributes);

// As `dcn_session_peek`, and waits for the answer, of which no event tells.
//
// Parameters: as for `dcn_session_read_wait`.
// Ownership: the caller gives the buffer back with `dcn_buf_release`.
// Threads: any that may wait (`dcn_session_create_wait`), else `DCN_ERR_WOULD_DEADLOCK`. Blocking: blocks up to timeout.
// Returns: as `dcn_session_read_wait`.
int32_t dcn_session_peek_wait(struct dcn_engine_t engine,
                              const char *cookie,
                              uint32_t timeout_ms,
                              struct dcn_session_t *session,
                              struct dcn_buf_t *attributes);

// As `dcn_session_write`, and waits for the answer, of which no event tells.
//
// Parameters: as for `dcn_session_write` and `dcn_session_create_wait`.
// Threads: any that may wait (`dcn_session_create_wait`), else `DCN_ERR_WOULD_DEADLOCK`. Blocking: blocks up to timeout.
// Returns: what `dcn_session_write` returns, or the status of its event. `DCN_ERR_OUTCOME_UNKNOWN` also when the time is over, or
// the engine is closed, before the answer; `DCN_ERR_TIMEOUT` for a timeout of 0.
int32_t dcn_session_write_wait(struct dcn_engine_t engine,
                               const char *cookie,
                               const struct dcn_session_change_t *change,
                               uint32_t timeout_ms,
                               struct dcn_session_t *session);

// As `dcn_session_touch`, and waits for the answer, of which no event tells.
//
// Parameters: as for `dcn_session_touch` and `dcn_session_create_wait`.
// Threads: any that may wait (`dcn_session_create_wait`), else `DCN_ERR_WOULD_DEADLOCK`. Blocking: blocks up to timeout.
// Returns: as `dcn_session_read_wait`.
int32_t dcn_session_touch_wait(struct dcn_engine_t engine,
                               const char *cookie,
                               uint32_t timeout_ms,
                               struct dcn_session_t *session);

// As `dcn_session_remove`, and waits for the answer, of which no event tells.
//
// Parameters: as for `dcn_session_remove` and `dcn_session_create_wait`.
// Threads: any that may wait (`dcn_session_create_wait`), else `DCN_ERR_WOULD_DEADLOCK`. Blocking: blocks up to timeout.
// Returns: what `dcn_session_remove` returns, or the status of its event. `DCN_ERR_OUTCOME_UNKNOWN` also when the time is over, or
// the engine is closed, before the answer; `DCN_ERR_TIMEOUT` for a timeout of 0.
int32_t dcn_session_remove_wait(struct dcn_engine_t engine,
                                const char *cookie,
                                uint32_t timeout_ms,
                                struct dcn_session_t *session);

// Reads the counters of an engine.
//
// Parameters: `stats`, not NULL, its `struct_size` set.
// Threads: any. Blocking: bounded (asks the engine's thread; after 250 ms, or in a handler, its last answer is
// taken: all zero if nobody had asked before. Without a thread nothing is asked: they are as of now).
// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`.
// Nothing is written after an error.
int32_t dcn_engine_stats(struct dcn_engine_t engine, struct dcn_stats_t *stats);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DECURION_H */
