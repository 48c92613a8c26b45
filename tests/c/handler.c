/* A host with a handler: what may be called from inside it, closing from inside it, and silence afterwards. */
#define _GNU_SOURCE
#include "test.h"

#include <signal.h>

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t members;
    int messages, closed;
    int after_closed;
    int answers;       /* Answer each message that is not an answer. */
    int close_at;      /* Close from inside at this many messages; 0 = never. */
    dcn_buf_t kept;    /* The last payload, kept from inside the handler. */
    dcn_engine_t self; /* As the handler was given it. */
} host_t;

#define HOST {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER}

static void on_event(void *context, dcn_engine_t engine, const dcn_event_t *event) {
    host_t *host = context;
    CHECK(pthread_mutex_lock(&host->lock) == 0);
    host->self = engine;
    host->after_closed += host->closed;
    if (event->kind == DCN_EVENT_VIEW) {
        dcn_view_t view;
        dcn_view_info_t info = {.struct_size = sizeof info};
        OK(dcn_event_view(engine, event, &view));
        OK(dcn_view_info(view, &info));
        OK(dcn_view_release(view));
        host->members = info.member_count;
    }
    if (event->kind == DCN_EVENT_MESSAGE) {
        host->messages++;
        if (host->kept.id != 0) OK(dcn_buf_release(host->kept));
        OK(dcn_buf_retain(engine, event, &host->kept));
        if (host->answers) {
            int32_t code = dcn_send(engine, event->seat, DCN_LEVEL_FIFO, event->token, event->data, event->data_bytes, 1000);
            CHECK(code == DCN_OK);
        }
        if (host->messages == host->close_at) {
            OK(dcn_engine_close(engine));
            EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_close(engine));
            EXPECT(DCN_ERR_BAD_HANDLE, send_text(engine, DCN_TO_ALL, "gone"));
        }
    }
    if (event->kind == DCN_EVENT_CLOSED) host->closed = 1;
    CHECK(pthread_cond_broadcast(&host->changed) == 0);
    CHECK(pthread_mutex_unlock(&host->lock) == 0);
}

/* Waits until a field of the host has reached a value. */
#define AWAIT(host, field, value) \
    do { \
        struct timespec until; \
        clock_gettime(CLOCK_REALTIME, &until); \
        until.tv_sec += PATIENCE_MS / 1000; \
        CHECK(pthread_mutex_lock(&(host)->lock) == 0); \
        while ((host)->field < (value)) { \
            if (pthread_cond_timedwait(&(host)->changed, &(host)->lock, &until) != 0) \
                fail(__FILE__, __LINE__, "%s stayed %d", #field, (int)(host)->field); \
        } \
        CHECK(pthread_mutex_unlock(&(host)->lock) == 0); \
    } while (0)

static void the_handler_may_call_the_library(void) {
    host_t first = HOST, second = HOST;
    first.answers = 1;
    dcn_engine_t a = open_with(member_config("a", NULL), on_event, &first);
    dcn_engine_t b = open_with(member_config("b", address_of(a)), on_event, &second);
    AWAIT(&first, members, 2);
    AWAIT(&second, members, 2);
    enum { MESSAGES = 200 };
    for (int i = 0; i < MESSAGES; i++) OK(send_text(b, DCN_TO_ALL, "question"));
    AWAIT(&first, messages, MESSAGES);
    AWAIT(&second, messages, MESSAGES);
    CHECK(first.self.id == a.id && second.self.id == b.id);

    dcn_event_t event;
    size_t count;
    int32_t fd;
    EXPECT(DCN_ERR_UNSUPPORTED, dcn_engine_poll(a, &event, sizeof event, 1, 0, &count));
    EXPECT(DCN_ERR_UNSUPPORTED, dcn_engine_fd(a, &fd));

    /* An orderly leave ends with CLOSED, and nothing comes after it or after close. */
    OK(dcn_engine_leave(a, PATIENCE_MS));
    AWAIT(&first, closed, 1);
    OK(dcn_engine_close(a));
    OK(dcn_engine_close(b));
    int seen = second.messages;
    CHECK(first.after_closed == 0 && second.after_closed == 0 && second.messages == seen);

    const uint8_t *data;
    size_t bytes;
    OK(dcn_buf_data(second.kept, &data, &bytes));
    CHECK(bytes == 8 && memcmp(data, "question", 8) == 0);
    OK(dcn_buf_release(second.kept));
    OK(dcn_buf_release(first.kept));
}

static void closing_from_inside_ends_with_closed(void) {
    host_t first = HOST, second = HOST;
    first.close_at = 3;
    dcn_engine_t a = open_with(member_config("a", NULL), on_event, &first);
    dcn_engine_t b = open_with(member_config("b", address_of(a)), on_event, &second);
    AWAIT(&second, members, 2);
    AWAIT(&first, members, 2);
    for (int i = 0; i < 50; i++) OK(send_text(b, DCN_TO_ALL, "one of many"));
    AWAIT(&first, closed, 1);
    CHECK(first.messages == 3 && first.after_closed == 0);
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_close(a));
    OK(dcn_engine_close(b));
    OK(dcn_buf_release(first.kept));
}

/* The log: lines come, they stop when it is taken away, and the callback may not take itself away. */
typedef struct {
    pthread_mutex_t lock;
    int lines, from_inside, named;
} log_t;

static void on_log(void *context, uint32_t level, const char *target, const char *message) {
    log_t *log = context;
    CHECK(pthread_mutex_lock(&log->lock) == 0);
    CHECK(level >= DCN_LOG_ERROR && level <= DCN_LOG_INFO && target != NULL && message != NULL);
    log->lines++;
    log->named += strstr(message, "logs") != NULL;
    log->from_inside = dcn_log_set(NULL, NULL, DCN_LOG_OFF);
    CHECK(pthread_mutex_unlock(&log->lock) == 0);
}

static void the_log_goes_where_the_host_says(void) {
    log_t log = {.lock = PTHREAD_MUTEX_INITIALIZER};
    host_t host = HOST;
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_log_set(on_log, &log, DCN_LOG_TRACE + 1));
    OK(dcn_log_set(on_log, &log, DCN_LOG_INFO));
    dcn_engine_t engine = open_with(member_config("logs", NULL), on_event, &host);
    AWAIT(&host, members, 1);
    OK(dcn_engine_close(engine));
    OK(dcn_log_set(NULL, NULL, DCN_LOG_OFF));
    CHECK(log.lines > 0 && log.named > 0 && log.from_inside == DCN_ERR_WOULD_DEADLOCK);
    int lines = log.lines;
    host_t other = HOST;
    engine = open_with(member_config("silent", NULL), on_event, &other);
    AWAIT(&other, members, 1);
    OK(dcn_engine_close(engine));
    CHECK(log.lines == lines);
}

/* Two engines that are bridged: each one's handler uses, and in the end closes, the other one. */
typedef struct bridge_t {
    host_t host;
    dcn_engine_t other;
    pthread_barrier_t *together;
    int tried;
} bridge_t;

static void on_bridge(void *context, dcn_engine_t engine, const dcn_event_t *event) {
    bridge_t *bridge = context;
    (void)engine;
    CHECK(pthread_mutex_lock(&bridge->host.lock) == 0);
    if (event->kind == DCN_EVENT_CLOSED) bridge->host.closed++;
    if (event->kind == DCN_EVENT_VIEW) bridge->host.members = event->detail;
    int act = event->kind == DCN_EVENT_MESSAGE && !bridge->tried;
    bridge->tried |= act;
    CHECK(pthread_cond_broadcast(&bridge->host.changed) == 0);
    CHECK(pthread_mutex_unlock(&bridge->host.lock) == 0);
    if (!act) return;
    /* Now both engines' threads are inside their handlers: whatever waited for the other one would wait for ever. */
    pthread_barrier_wait(bridge->together);
    dcn_stats_t stats = {.struct_size = sizeof stats};
    OK(dcn_engine_stats(bridge->other, &stats));
    int32_t code;
    do code = send_text(bridge->other, DCN_TO_ALL, "until it is full");
    while (code == DCN_OK);
    CHECK(code == DCN_AGAIN);
    OK(dcn_engine_leave(bridge->other, DCN_NO_LIMIT_MS));
    pthread_barrier_wait(bridge->together);
    OK(dcn_engine_close(bridge->other));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_close(bridge->other));
}

static void handlers_may_use_and_close_each_others_engines(void) {
    pthread_barrier_t together;
    CHECK(pthread_barrier_init(&together, NULL, 2) == 0);
    bridge_t left = {.host = HOST, .together = &together}, right = {.host = HOST, .together = &together};
    left.other = open_with(member_config("right", NULL), on_bridge, &right);
    right.other = open_with(member_config("left", NULL), on_bridge, &left);
    dcn_engine_t peers[] = {open_member("peer-of-right", address_of(left.other)),
                            open_member("peer-of-left", address_of(right.other))};
    AWAIT(&left.host, members, 2);
    AWAIT(&right.host, members, 2);
    for (int i = 0; i < 2; i++) {
        await_members(peers[i], 2);
        OK(send_text(peers[i], DCN_TO_ALL, "begin"));
    }
    AWAIT(&left.host, closed, 1);
    AWAIT(&right.host, closed, 1);
    for (int i = 0; i < 2; i++) OK(dcn_engine_close(peers[i]));
    CHECK(left.host.closed == 1 && right.host.closed == 1);
    CHECK(pthread_barrier_destroy(&together) == 0);
}

/* Named, with room on its stack, and deaf to the process's signals. */
static void on_thread(void *context, dcn_engine_t engine, const dcn_event_t *event) {
    static const int deaf_to[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1, SIGALRM, SIGPIPE};
    static const int hears[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGPROF};
    host_t *host = context;
    char name[16];
    pthread_attr_t attributes;
    size_t stack_bytes = 0;
    sigset_t blocked;
    (void)engine;
    CHECK(pthread_getname_np(pthread_self(), name, sizeof name) == 0 && strcmp(name, "decurion") == 0);
    CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0);
    CHECK(pthread_attr_getstacksize(&attributes, &stack_bytes) == 0 && stack_bytes >= 2u << 20);
    CHECK(pthread_attr_destroy(&attributes) == 0);
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0);
    for (size_t i = 0; i < sizeof deaf_to / sizeof *deaf_to; i++) CHECK(sigismember(&blocked, deaf_to[i]) == 1);
    for (size_t i = 0; i < sizeof hears / sizeof *hears; i++) CHECK(sigismember(&blocked, hears[i]) == 0);
    CHECK(pthread_mutex_lock(&host->lock) == 0);
    if (event->kind == DCN_EVENT_VIEW) host->members = event->detail;
    CHECK(pthread_cond_broadcast(&host->changed) == 0);
    CHECK(pthread_mutex_unlock(&host->lock) == 0);
}

static void the_engines_thread_is_as_promised(void) {
    host_t host = HOST;
    dcn_engine_t engine = open_with(member_config("a", NULL), on_thread, &host);
    AWAIT(&host, members, 1);
    OK(dcn_engine_close(engine));
}

/* A log callback on the engine's thread may call the library, and waits for nothing there, however it asks. */
typedef struct {
    pthread_mutex_t lock;
    dcn_engine_t engine;
    int calls;
} caller_t;

static void on_log_call(void *context, uint32_t level, const char *target, const char *message) {
    caller_t *caller = context;
    dcn_event_t event;
    size_t count;
    (void)level, (void)target;
    CHECK(pthread_mutex_lock(&caller->lock) == 0);
    if (caller->engine.id != 0 && caller->calls == 0 && strstr(message, "joined: [b]") != NULL) {
        int32_t code;
        do code = dcn_engine_poll(caller->engine, &event, sizeof event, 1, DCN_NO_LIMIT_MS, &count);
        while (code == DCN_OK);
        CHECK(code == DCN_AGAIN || code == DCN_ERR_BUSY);
        OK(dcn_engine_leave(caller->engine, DCN_NO_LIMIT_MS));
        caller->calls++;
    }
    CHECK(pthread_mutex_unlock(&caller->lock) == 0);
}

static void a_log_callback_may_call_the_library(void) {
    caller_t caller = {.lock = PTHREAD_MUTEX_INITIALIZER};
    dcn_engine_t a = open_member("a", NULL);
    await_members(a, 1);
    OK(dcn_log_set(on_log_call, &caller, DCN_LOG_INFO));
    CHECK(pthread_mutex_lock(&caller.lock) == 0);
    caller.engine = a;
    CHECK(pthread_mutex_unlock(&caller.lock) == 0);
    dcn_engine_t b = open_member("b", address_of(a));
    /* It leaves because the callback said so. */
    dcn_event_t event;
    size_t count;
    int32_t code;
    int64_t deadline = now_ms() + PATIENCE_MS;
    do code = dcn_engine_poll(a, &event, sizeof event, 1, PATIENCE_MS, &count);
    while ((code == DCN_OK || code == DCN_AGAIN) && now_ms() < deadline);
    CHECK(code == DCN_ERR_CLOSED);
    OK(dcn_engine_close(a));
    OK(dcn_engine_close(b));
    CHECK(caller.calls > 0);
    OK(dcn_log_set(NULL, NULL, DCN_LOG_OFF));
}

int main(void) {
    the_handler_may_call_the_library();
    closing_from_inside_ends_with_closed();
    the_log_goes_where_the_host_says();
    handlers_may_use_and_close_each_others_engines();
    the_engines_thread_is_as_promised();
    a_log_callback_may_call_the_library();
    return 0;
}
