/* Hosts that do not keep up: no room to send and when there is again, a host that never polls, a handler that blocks. */
#include "test.h"

enum { MESSAGE = 8 * 1024, QUEUE = 64 * 1024 };

/* Small windows and queues, so that little is enough to fill them. */
static dcn_config_t narrow(const char *name, const char *seeds) {
    dcn_config_t config = member_config(name, seeds);
    OK(dcn_config_set(config, "window.bytes", "65536", NULL));
    OK(dcn_config_set(config, "window.reserved_bytes", "16384", NULL));
    OK(dcn_config_set(config, "window.slow_ms", "1000", NULL));
    OK(dcn_config_set(config, "send.queue_bytes", "65536", NULL));
    OK(dcn_config_set(config, "receive.queue_bytes", "65536", NULL));
    return config;
}

static int32_t offer(dcn_engine_t engine, uint32_t to, uint32_t timeout_ms) {
    static const uint8_t payload[MESSAGE];
    return dcn_send(engine, to, DCN_LEVEL_FIFO, 0, payload, sizeof payload, timeout_ms);
}

/* Takes everything that is there; answers how many messages it was, and the last status. */
static uint32_t take_all(dcn_engine_t engine, int32_t *last) {
    dcn_event_t events[16];
    size_t count;
    uint32_t messages = 0;
    while ((*last = dcn_engine_poll(engine, events, sizeof *events, 16, 0, &count)) == DCN_OK) {
        for (size_t i = 0; i < count; i++) messages += events[i].kind == DCN_EVENT_MESSAGE;
    }
    return messages;
}

/* Without room a send answers at once, or after its timeout; WRITABLE says when there is room again. */
static void a_full_window_is_an_answer_and_writable_ends_it(void) {
    dcn_engine_t a = open_with(narrow("a", NULL), NULL, NULL);
    await_members(a, 1);
    dcn_engine_t b = open_with(narrow("b", address_of(a)), NULL, NULL);
    await_members(b, 2);
    await_members(a, 2);
    int32_t code, last;
    int64_t deadline = now_ms() + PATIENCE_MS;
    uint32_t sent = 0, got = 0;
    while ((code = offer(a, DCN_TO_ALL, 0)) == DCN_OK) {
        sent++;
        CHECK(now_ms() < deadline);
    }
    CHECK(code == DCN_AGAIN && strcmp(dcn_last_error(), dcn_status_str(DCN_AGAIN)) == 0);
    /* All that can move has moved when a send that waits is answered so, too. */
    int64_t before = now_ms();
    while ((code = offer(a, DCN_TO_ALL, 100)) == DCN_OK) {
        sent++;
        before = now_ms();
        CHECK(before < deadline);
    }
    CHECK(code == DCN_AGAIN && now_ms() - before >= 100);
    dcn_event_t event;
    while (got < sent) {
        got += take_all(b, &last);
        CHECK(last == DCN_AGAIN && now_ms() < deadline);
    }
    await_kind(a, DCN_EVENT_WRITABLE, &event);
    OK(offer(a, DCN_TO_ALL, 0));
    await_kind(b, DCN_EVENT_MESSAGE, &event);
    CHECK(event.number == sent + 1);
    OK(dcn_engine_close(a));
    OK(dcn_engine_close(b));
}

typedef struct {
    dcn_engine_t engine;
    int32_t code;
} sender_t;

static void *waits_for_room(void *argument) {
    sender_t *sender = argument;
    do sender->code = offer(sender->engine, DCN_TO_ALL, DCN_NO_LIMIT_MS);
    while (sender->code == DCN_OK);
    return NULL;
}

/* Whoever waits for room without a limit is let go by close, and by the end of the member. */
static void who_waits_for_room_is_let_go(int leave) {
    dcn_engine_t a = open_with(narrow("a", NULL), NULL, NULL);
    await_members(a, 1);
    dcn_engine_t b = open_with(narrow("b", address_of(a)), NULL, NULL);
    await_members(b, 2);
    await_members(a, 2);
    sender_t sender = {.engine = a};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, waits_for_room, &sender) == 0);
    /* It has filled the window when nobody else can send any more. */
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (offer(a, DCN_TO_ALL, 50) != DCN_AGAIN) CHECK(now_ms() < deadline);
    OK(leave ? dcn_engine_leave(a, 0) : dcn_engine_close(a));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(sender.code == DCN_ERR_CLOSED || (!leave && sender.code == DCN_ERR_BAD_HANDLE));
    if (leave) OK(dcn_engine_close(a));
    OK(dcn_engine_close(b));
}

/* Its member leaves by itself and says why; the others go on; what it may still take is bounded. */
static void a_host_that_never_polls_is_left_behind(void) {
    dcn_engine_t a = open_with(narrow("a", NULL), NULL, NULL);
    await_members(a, 1);
    dcn_engine_t b = open_with(narrow("b", address_of(a)), NULL, NULL);
    await_members(b, 2);
    dcn_engine_t sleeper = open_with(narrow("sleeper", address_of(a)), NULL, NULL);
    await_members(sleeper, 3);
    await_members(b, 3);
    await_members(a, 3);
    int64_t deadline = now_ms() + PATIENCE_MS;
    uint32_t members = 3, got = 0, sent = 0;
    dcn_stats_t stats = {.struct_size = sizeof stats};
    while (members == 3) {
        dcn_event_t event;
        size_t count = 0;
        int32_t last;
        sent += offer(a, DCN_TO_ALL, 10) == DCN_OK;
        got += take_all(b, &last);
        CHECK(last == DCN_AGAIN && now_ms() < deadline);
        OK(dcn_engine_stats(sleeper, &stats));
        CHECK(stats.delivery_queue_bytes <= QUEUE + 1024 * 1024);
        while (dcn_engine_poll(a, &event, sizeof event, 1, 0, &count) == DCN_OK) {
            if (event.kind == DCN_EVENT_VIEW) members = event.detail;
        }
    }
    /* What the sleeper takes in, and what waits to be sent. Of the window between a quarter may stay free. */
    CHECK(sent * MESSAGE > QUEUE * 7 / 4);
    while (got < sent) {
        int32_t last;
        got += take_all(b, &last);
        CHECK(last == DCN_AGAIN && now_ms() < deadline);
    }
    /* What it took in before is still there, in order, and then the reason. */
    dcn_event_t event = {.kind = 0};
    size_t count;
    uint64_t number = 0;
    int32_t code;
    while ((code = dcn_engine_poll(sleeper, &event, sizeof event, 1, PATIENCE_MS, &count)) == DCN_OK) {
        if (event.kind == DCN_EVENT_MESSAGE) CHECK(event.number == ++number);
        if (event.kind == DCN_EVENT_CLOSED) CHECK(event.detail == DCN_ENDED_HOST_NOT_POLLING && event.text != NULL);
    }
    CHECK(code == DCN_ERR_CLOSED && event.kind == DCN_EVENT_CLOSED && number > 0 && number < sent);
    EXPECT(DCN_ERR_CLOSED, offer(sleeper, DCN_TO_ALL, PATIENCE_MS));
    CHECK(strstr(dcn_last_error(), "does not take its events") != NULL);
    OK(dcn_engine_close(sleeper));
    OK(dcn_engine_close(a));
    OK(dcn_engine_close(b));
}

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t members;
    int stuck, free, expelled;
} host_t;

static void on_event(void *context, dcn_engine_t engine, const dcn_event_t *event) {
    host_t *host = context;
    (void)engine;
    CHECK(pthread_mutex_lock(&host->lock) == 0);
    if (event->kind == DCN_EVENT_VIEW) host->members = event->detail;
    if (event->kind == DCN_EVENT_EXPELLED) {
        CHECK(event->text != NULL);
        host->expelled = 1;
    }
    if (event->kind == DCN_EVENT_MESSAGE) {
        host->stuck = 1;
        CHECK(pthread_cond_broadcast(&host->changed) == 0);
        while (!host->free) CHECK(pthread_cond_wait(&host->changed, &host->lock) == 0);
    }
    CHECK(pthread_cond_broadcast(&host->changed) == 0);
    CHECK(pthread_mutex_unlock(&host->lock) == 0);
}

static void await_host(host_t *host, const int *field) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    CHECK(pthread_mutex_lock(&host->lock) == 0);
    while (!*field) CHECK(pthread_cond_timedwait(&host->changed, &host->lock, &until) == 0);
    CHECK(pthread_mutex_unlock(&host->lock) == 0);
}

/* The others take its member for dead and go on; when the handler returns, it learns of it and comes back. */
static void a_handler_that_blocks_costs_its_own_member_only(void) {
    host_t host = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    dcn_engine_t a = open_member("a", NULL);
    await_members(a, 1);
    dcn_engine_t b = open_member("b", address_of(a));
    await_members(b, 2);
    dcn_engine_t stuck = open_with(member_config("stuck", address_of(a)), on_event, &host);
    await_members(a, 3);
    await_members(b, 3);
    OK(send_text(a, DCN_TO_ALL, "stay here"));
    await_host(&host, &host.stuck);
    await_members(a, 2);
    await_members(b, 2);
    dcn_event_t event;
    OK(send_text(a, DCN_TO_ALL, "without it"));
    do await_kind(b, DCN_EVENT_MESSAGE, &event);
    while (!is_text(&event, "without it"));

    CHECK(pthread_mutex_lock(&host.lock) == 0);
    host.free = 1;
    CHECK(pthread_cond_broadcast(&host.changed) == 0);
    CHECK(pthread_mutex_unlock(&host.lock) == 0);
    await_host(&host, &host.expelled);
    await_members(a, 3);
    OK(dcn_engine_close(stuck));
    OK(dcn_engine_close(b));
    OK(dcn_engine_close(a));
}

int main(void) {
    a_full_window_is_an_answer_and_writable_ends_it();
    who_waits_for_room_is_let_go(0);
    who_waits_for_room_is_let_go(1);
    a_host_that_never_polls_is_left_behind();
    a_handler_that_blocks_costs_its_own_member_only();
    return 0;
}
