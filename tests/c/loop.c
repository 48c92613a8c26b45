/* A host that runs the engine in its own loop: the descriptor tells of everything, no call waits, and nothing is lost. */
#include "test.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>

/* In this mode a call that waits waits for ever, since nobody else turns the engine; and so does a loop that waits for a
   descriptor that does not tell. */
static void on_alarm(int signal) {
    static const char words[] = "tests/c/loop.c: something waited for ever\n";
    (void)signal;
    if (write(STDERR_FILENO, words, sizeof words - 1) > 0) _exit(1);
    _exit(2);
}

/* A loop: the descriptor, an epoll instance that holds it, and one that holds that one. */
typedef struct {
    dcn_engine_t engine;
    int fd, epoll, outer;
    unsigned wakes;
    uint32_t members;
    dcn_event_t event; /* The last one that was taken. */
} loop_t;

static int watching(int fd) {
    struct epoll_event readable_now = {.events = EPOLLIN, .data = {.fd = fd}};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    CHECK(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &readable_now) == 0);
    return epoll;
}

static loop_t loop_with(dcn_config_t config) {
    loop_t loop = {.fd = -1};
    OK(dcn_engine_open_in_loop(config, &loop.engine, NULL));
    OK(dcn_config_free(config));
    OK(dcn_engine_fd(loop.engine, &loop.fd));
    loop.epoll = watching(loop.fd);
    loop.outer = watching(loop.epoll);
    return loop;
}

static loop_t open_loop(const char *name, const char *seeds) {
    return loop_with(member_config(name, seeds));
}

/* The engine was closed: the host's epoll instances hold nothing any more. */
static void forget(loop_t *loop) {
    CHECK(!readable(loop->outer, 0));
    CHECK(close(loop->outer) == 0 && close(loop->epoll) == 0);
}

static void close_loop(loop_t *loop) {
    OK(dcn_engine_close(loop->engine));
    forget(loop);
}

static int select_one(int fd, int timeout_ms) {
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    return select(fd + 1, &set, NULL, NULL, timeout_ms < 0 ? NULL : &limit);
}

/* Whether there is work, as the library says. The descriptor must say the same. */
static int has_work(loop_t *loop) {
    int32_t timeout_ms = -2;
    OK(dcn_engine_next_timeout_ms(loop->engine, &timeout_ms));
    CHECK(timeout_ms >= -1);
    if (timeout_ms == 0) CHECK(readable(loop->fd, 0) && readable(loop->outer, 0));
    return timeout_ms == 0;
}

/* Waits in one of the ways in which a host can. As long as the library says that there is work, it waits without a limit. */
static void wait_for_work(loop_t *loop) {
    struct epoll_event ready;
    struct pollfd one = {.fd = loop->fd, .events = POLLIN};
    int32_t timeout_ms = -2;
    int count = 0;
    has_work(loop);
    OK(dcn_engine_next_timeout_ms(loop->engine, &timeout_ms));
    int limit = timeout_ms == 0 ? -1 : timeout_ms;
    switch (loop->wakes++ % 4) {
        case 0: count = epoll_wait(loop->epoll, &ready, 1, limit); break;
        case 1: count = epoll_wait(loop->outer, &ready, 1, limit); break;
        case 2: count = poll(&one, 1, limit); break;
        default: count = select_one(loop->fd, limit); break;
    }
    CHECK(count == 1 || (count == 0 && timeout_ms > 0));
}

/* Takes one event if there is one, as if there were no limit to the time for it. */
static int take_one(loop_t *loop) {
    size_t count = 0;
    int32_t code = dcn_engine_poll(loop->engine, &loop->event, sizeof loop->event, 1, DCN_NO_LIMIT_MS, &count);
    if (code == DCN_AGAIN) return 0;
    if (code != DCN_OK) fail(__FILE__, __LINE__, "poll: %s", dcn_last_error());
    if (loop->event.kind == DCN_EVENT_VIEW) loop->members = loop->event.detail;
    return 1;
}

/* One wake-up, one turn, one event. */
static int go_round(loop_t *loop) {
    wait_for_work(loop);
    int32_t code = dcn_engine_turn(loop->engine);
    if (code != DCN_OK && code != DCN_ERR_CLOSED) fail(__FILE__, __LINE__, "turn: %s", dcn_last_error());
    return take_one(loop);
}

static void go_until(loop_t *loop, uint32_t kind) {
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (!go_round(loop) || loop->event.kind != kind) CHECK(now_ms() < deadline);
}

static void go_until_members(loop_t *loop, uint32_t members) {
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (loop->members != members) {
        go_round(loop);
        CHECK(now_ms() < deadline);
    }
}

/* Until both are in one view of two, ready. */
static void go_until_pair(loop_t *loop, dcn_engine_t peer) {
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (ready_members(loop->engine) != 2 || ready_members(peer) != 2) {
        go_round(loop);
        CHECK(now_ms() < deadline);
    }
}

/* Until nothing is left to do but to wait. */
static void go_until_quiet(loop_t *loop) {
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (has_work(loop) || readable(loop->fd, 0)) {
        OK(dcn_engine_turn(loop->engine));
        while (take_one(loop)) {}
        CHECK(now_ms() < deadline);
    }
}

enum { MESSAGES = 20000, ANSWERS = 3000, LONGEST = 700 };

typedef struct {
    dcn_engine_t engine;
    uint32_t answers;
} peer_t;

static void *sends_without_a_pause(void *argument) {
    peer_t *peer = argument;
    uint8_t message[LONGEST] = {0};
    for (uint32_t i = 0; i < MESSAGES; i++) {
        memcpy(message, &i, sizeof i);
        OK(dcn_send(peer->engine, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, message, sizeof i + i % (LONGEST - 4), DCN_NO_LIMIT_MS));
    }
    return NULL;
}

static void *takes_the_answers(void *argument) {
    peer_t *peer = argument;
    for (uint32_t expected = 0; expected < ANSWERS; expected++) {
        dcn_event_t event;
        uint32_t number;
        await_kind(peer->engine, DCN_EVENT_MESSAGE, &event);
        CHECK(event.data_bytes == sizeof number);
        memcpy(&number, event.data, sizeof number);
        CHECK(number == expected);
        __atomic_store_n(&peer->answers, expected + 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* Sends as long as it may; every call would wait if it could. */
static void answer(loop_t *loop, uint32_t *answers) {
    int32_t code = DCN_OK;
    while (*answers < ANSWERS && code == DCN_OK) {
        code = dcn_send(loop->engine, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, (uint8_t *)answers, sizeof *answers, DCN_NO_LIMIT_MS);
        *answers += code == DCN_OK;
    }
    CHECK(code == DCN_OK || code == DCN_AGAIN);
}

/* A turn per wake-up and an event per poll, while another member sends as much as it can. */
static void under_full_load_nothing_is_lost_and_no_call_waits(void) {
    peer_t peer = {.engine = open_member("peer", NULL)};
    await_members(peer.engine, 1);
    dcn_config_t config = member_config("loop", address_of(peer.engine));
    OK(dcn_config_set(config, "send.queue_bytes", "65536", NULL));
    loop_t loop = loop_with(config);
    pthread_t threads[2];
    go_until_pair(&loop, peer.engine);
    CHECK(pthread_create(&threads[0], NULL, sends_without_a_pause, &peer) == 0);
    CHECK(pthread_create(&threads[1], NULL, takes_the_answers, &peer) == 0);
    uint32_t seen = 0, answers = 0, number;
    while (seen < MESSAGES) {
        answer(&loop, &answers);
        if (!go_round(&loop) || loop.event.kind != DCN_EVENT_MESSAGE) continue;
        memcpy(&number, loop.event.data, sizeof number);
        CHECK(number == seen && loop.event.number == seen + 1);
        CHECK(loop.event.data_bytes == sizeof number + seen % (LONGEST - 4));
        seen++;
    }
    CHECK(pthread_join(threads[0], NULL) == 0);
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (answers < ANSWERS) {
        answer(&loop, &answers);
        go_round(&loop);
        CHECK(now_ms() < deadline);
    }
    go_until_quiet(&loop);
    while (__atomic_load_n(&peer.answers, __ATOMIC_RELAXED) < ANSWERS) {
        go_round(&loop);
        CHECK(now_ms() < deadline);
    }
    CHECK(pthread_join(threads[1], NULL) == 0);
    /* The counters are those of the last turn, and the last message may have been taken after it. */
    OK(dcn_engine_turn(loop.engine));
    dcn_stats_t stats = {.struct_size = sizeof stats};
    OK(dcn_engine_stats(loop.engine, &stats));
    CHECK(stats.messages_delivered == MESSAGES);
    CHECK(stats.messages_sent == ANSWERS);
    CHECK(stats.delivery_queue_bytes == 0);
    close_loop(&loop);
    OK(dcn_engine_close(peer.engine));
}

/* What waits for the host is told as long as it waits. */
static void events_that_wait_keep_the_descriptor_readable(void) {
    enum { WAITING = 300 };
    dcn_engine_t peer = open_member("peer", NULL);
    await_members(peer, 1);
    loop_t loop = open_loop("loop", address_of(peer));
    CHECK(has_work(&loop) && !take_one(&loop) && has_work(&loop)); /* The first turn is due at once. */
    int deepest = watching(loop.outer);
    CHECK(readable(deepest, 0) && close(deepest) == 0);
    go_until_pair(&loop, peer);
    for (int i = 0; i < WAITING; i++) OK(send_text(peer, DCN_TO_ALL, "one of many"));
    dcn_stats_t stats = {.struct_size = sizeof stats};
    do {
        wait_for_work(&loop);
        OK(dcn_engine_turn(loop.engine));
        OK(dcn_engine_stats(loop.engine, &stats));
    } while (stats.messages_delivered < WAITING);
    for (int taken = 0; taken < WAITING; taken += loop.event.kind == DCN_EVENT_MESSAGE) {
        CHECK(has_work(&loop));
        CHECK(take_one(&loop));
    }
    go_until_quiet(&loop);
    close_loop(&loop);
    OK(dcn_engine_close(peer));
}

/* A turn takes a bounded piece of what has come; the rest is told although nothing new comes and no event waits. */
static void what_a_turn_leaves_over_keeps_the_descriptor_readable(void) {
    enum { BYTES = 60000, ROUNDS = 50 };
    static const uint8_t message[BYTES];
    uint32_t sent = 0, seen = 0, left_over = 0;
    dcn_engine_t peer = open_member("peer", NULL);
    await_members(peer, 1);
    loop_t loop = open_loop("loop", address_of(peer));
    go_until_pair(&loop, peer);
    int64_t deadline = now_ms() + PATIENCE_MS;
    for (int round = 0; round < ROUNDS && left_over == 0; round++) {
        while (dcn_send(peer, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, message, BYTES, 0) == DCN_OK) sent++;
        while (seen < sent) {
            wait_for_work(&loop);
            OK(dcn_engine_turn(loop.engine));
            while (take_one(&loop)) seen += loop.event.kind == DCN_EVENT_MESSAGE;
            left_over += has_work(&loop);
            CHECK(now_ms() < deadline);
        }
    }
    CHECK(left_over > 0);
    close_loop(&loop);
    OK(dcn_engine_close(peer));
}

static void *sends_one(void *argument) {
    dcn_engine_t *engine = argument;
    OK(send_text(*engine, DCN_TO_ALL, "from another thread"));
    return NULL;
}

/* Whatever another thread asks for wakes the loop. */
static void calls_of_other_threads_wake_the_loop(void) {
    loop_t loop = open_loop("loop", NULL);
    dcn_engine_t peer = open_member("peer", address_of(loop.engine));
    pthread_t thread;
    dcn_event_t event;
    go_until_pair(&loop, peer);
    go_until_quiet(&loop);
    CHECK(pthread_create(&thread, NULL, sends_one, &loop.engine) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(has_work(&loop));
    go_until_quiet(&loop);
    await_kind(peer, DCN_EVENT_MESSAGE, &event);
    CHECK(is_text(&event, "from another thread"));

    OK(dcn_engine_ready(loop.engine));
    CHECK(has_work(&loop));
    go_until_quiet(&loop);
    /* Leaving waits for others, so here it only begins, however long it might. */
    OK(dcn_engine_leave(loop.engine, DCN_NO_LIMIT_MS));
    CHECK(has_work(&loop));
    go_until(&loop, DCN_EVENT_CLOSED);
    CHECK(loop.event.detail == DCN_ENDED_LEFT);
    close_loop(&loop);
    OK(dcn_engine_close(peer));
}

/* After the end every answer says so, and the descriptor stays readable, so that no loop sleeps over it. */
static void the_end_is_told_by_poll_and_stays_visible(void) {
    loop_t loop = open_loop("loop", NULL);
    size_t count = 7;
    int32_t timeout_ms;
    go_until_members(&loop, 1);
    OK(dcn_engine_leave(loop.engine, 0));
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (dcn_engine_turn(loop.engine) == DCN_OK) CHECK(now_ms() < deadline);
    EXPECT(DCN_ERR_CLOSED, dcn_engine_turn(loop.engine));
    CHECK(strstr(dcn_last_error(), "left the cluster") != NULL);
    EXPECT(DCN_ERR_CLOSED, send_text(loop.engine, DCN_TO_ALL, "too late"));
    do CHECK(take_one(&loop));
    while (loop.event.kind != DCN_EVENT_CLOSED);
    EXPECT(DCN_ERR_CLOSED, dcn_engine_poll(loop.engine, &loop.event, sizeof loop.event, 1, DCN_NO_LIMIT_MS, &count));
    CHECK(count == 7 && has_work(&loop));
    OK(dcn_engine_leave(loop.engine, DCN_NO_LIMIT_MS));
    close_loop(&loop);
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_turn(loop.engine));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_next_timeout_ms(loop.engine, &timeout_ms));
}

static void misuse_is_answered(void) {
    dcn_engine_t threaded = open_member("threaded", NULL), none = {0};
    dcn_error_t error = {.struct_size = sizeof error};
    int32_t timeout_ms = 77;
    EXPECT(DCN_ERR_UNSUPPORTED, dcn_engine_turn(threaded));
    CHECK(strstr(dcn_last_error(), "thread of its own") != NULL);
    EXPECT(DCN_ERR_UNSUPPORTED, dcn_engine_next_timeout_ms(threaded, &timeout_ms));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_turn(none));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_next_timeout_ms(none, &timeout_ms));
    loop_t loop = open_loop("loop", NULL);
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_engine_next_timeout_ms(loop.engine, NULL));
    CHECK(timeout_ms == 77);
    dcn_config_t config = member_config("second", NULL);
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_engine_open_in_loop(config, NULL, NULL));
    OK(dcn_config_set(config, "node.bind", address_of(loop.engine), NULL));
    dcn_engine_t second = {.id = 5};
    EXPECT(DCN_ERR_SYSTEM, dcn_engine_open_in_loop(config, &second, &error));
    CHECK(second.id == 5 && error.code == DCN_ERR_SYSTEM && strstr(error.text, "is taken") != NULL);
    OK(dcn_config_free(config));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_open_in_loop(config, &second, NULL));
    close_loop(&loop);
    OK(dcn_engine_close(threaded));
}

/* What a log callback answers that runs inside of a turn. */
typedef struct {
    dcn_engine_t engine;
    int close, called;
} inside_t;

static void on_log(void *context, uint32_t level, const char *target, const char *message) {
    inside_t *inside = context;
    dcn_event_t event;
    dcn_stats_t stats = {.struct_size = sizeof stats};
    size_t count;
    int32_t timeout_ms;
    (void)level, (void)target, (void)message;
    if (inside->engine.id == 0 || inside->called++ > 0) return;
    EXPECT(DCN_ERR_BUSY, dcn_engine_turn(inside->engine));
    EXPECT(DCN_ERR_BUSY, dcn_engine_next_timeout_ms(inside->engine, &timeout_ms));
    int32_t code = dcn_engine_poll(inside->engine, &event, sizeof event, 1, DCN_NO_LIMIT_MS, &count);
    CHECK(code == DCN_OK || code == DCN_AGAIN);
    OK(dcn_engine_stats(inside->engine, &stats));
    OK(dcn_engine_leave(inside->engine, DCN_NO_LIMIT_MS));
    if (!inside->close) return;
    OK(dcn_engine_close(inside->engine));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_close(inside->engine));
}

static void a_callback_inside_of_a_turn_waits_for_nothing(int close) {
    descriptors_t before = descriptors();
    inside_t inside = {.close = close};
    OK(dcn_log_set(on_log, &inside, DCN_LOG_INFO));
    loop_t loop = open_loop("loop", NULL);
    inside.engine = loop.engine;
    int64_t deadline = now_ms() + PATIENCE_MS;
    int32_t code;
    do code = dcn_engine_turn(loop.engine);
    while (code == DCN_OK && now_ms() < deadline);
    CHECK(inside.called > 0 && code == (close ? DCN_ERR_BAD_HANDLE : DCN_ERR_CLOSED));
    if (!close) OK(dcn_engine_close(loop.engine));
    forget(&loop);
    OK(dcn_log_set(NULL, NULL, DCN_LOG_OFF));
    CHECK(descriptors_since(&before) == 0);
}

typedef struct {
    dcn_engine_t engine;
    uint32_t turns, busy;
    int32_t last;
} turner_t;

static void *turns_until_refused(void *argument) {
    turner_t *turner = argument;
    int32_t timeout_ms;
    do {
        turner->last = dcn_engine_turn(turner->engine);
        turner->turns += turner->last == DCN_OK;
        turner->busy += turner->last == DCN_ERR_BUSY;
        int32_t code = dcn_engine_next_timeout_ms(turner->engine, &timeout_ms);
        CHECK(code == DCN_OK || code == DCN_ERR_BUSY || code == DCN_ERR_BAD_HANDLE || code == DCN_ERR_CLOSED);
    } while (turner->last == DCN_OK || turner->last == DCN_ERR_BUSY);
    CHECK(turner->last == DCN_ERR_BAD_HANDLE || turner->last == DCN_ERR_CLOSED);
    return NULL;
}

static void close_loop_engine(void *context, dcn_engine_t engine, const dcn_event_t *event) {
    dcn_engine_t *other = context;
    (void)engine;
    if (event->kind == DCN_EVENT_VIEW) OK(dcn_engine_close(*other));
}

/* Several threads turn, one at a time, and the engine is closed under their feet: from outside, or by a handler of another
   engine, which does not wait for them. */
static void closing_while_others_turn(int by_a_handler) {
    enum { TURNERS = 3 };
    descriptors_t before = descriptors();
    dcn_engine_t engine, closer = {0};
    pthread_t threads[TURNERS];
    turner_t turners[TURNERS] = {0};
    dcn_config_t config = member_config("turned", NULL);
    OK(dcn_engine_open_in_loop(config, &engine, NULL));
    OK(dcn_config_free(config));
    for (int i = 0; i < TURNERS; i++) {
        turners[i].engine = engine;
        CHECK(pthread_create(&threads[i], NULL, turns_until_refused, &turners[i]) == 0);
    }
    if (by_a_handler) closer = open_with(member_config("closer", NULL), close_loop_engine, &engine);
    else OK(dcn_engine_close(engine));
    for (int i = 0; i < TURNERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    if (by_a_handler) OK(dcn_engine_close(closer));
    CHECK(descriptors_since(&before) == 0);
}

/* Nobody turns any more: a handler's close takes effect all the same, and at once. */
static void a_handler_closes_an_engine_that_nobody_turns(void) {
    descriptors_t before = descriptors();
    loop_t loop = open_loop("loop", NULL);
    dcn_engine_t peer = open_member("peer", address_of(loop.engine));
    go_until_pair(&loop, peer);
    dcn_engine_t closer = open_with(member_config("closer", NULL), close_loop_engine, &loop.engine);
    await_members(peer, 1);
    OK(dcn_engine_close(closer));
    forget(&loop);
    OK(dcn_engine_close(peer));
    CHECK(descriptors_since(&before) == 0);
}

/* Two members in one loop; the second one looks its seed up by name, which happens elsewhere and wakes the loop. */
static void two_engines_share_a_loop(void) {
    char seeds[64];
    loop_t first = open_loop("first", NULL);
    snprintf(seeds, sizeof seeds, "localhost:%s", strrchr(address_of(first.engine), ':') + 1);
    loop_t second = open_loop("second", seeds);
    int both = epoll_create1(EPOLL_CLOEXEC), heard = 0, sent = 0;
    struct epoll_event ready[2];
    loop_t *loops[] = {&first, &second};
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = loops[i]}};
        CHECK(epoll_ctl(both, EPOLL_CTL_ADD, loops[i]->fd, &event) == 0);
    }
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (heard < 2) {
        int32_t timeout_ms[2];
        for (int i = 0; i < 2; i++) OK(dcn_engine_next_timeout_ms(loops[i]->engine, &timeout_ms[i]));
        /* As numbers without a sign, "as long as it takes" is the longest. */
        int32_t next = (uint32_t)timeout_ms[0] < (uint32_t)timeout_ms[1] ? timeout_ms[0] : timeout_ms[1];
        CHECK(epoll_wait(both, ready, 2, next == 0 ? -1 : next) >= 0);
        for (int i = 0; i < 2; i++) {
            OK(dcn_engine_turn(loops[i]->engine));
            while (take_one(loops[i])) heard += loops[i]->event.kind == DCN_EVENT_MESSAGE;
        }
        if (!sent && first.members == 2 && second.members == 2) {
            sent = 1;
            for (int i = 0; i < 2; i++) OK(send_text(loops[i]->engine, DCN_TO_ALL, "to the other one"));
        }
        CHECK(now_ms() < deadline);
    }
    CHECK(close(both) == 0);
    close_loop(&first);
    close_loop(&second);
}

/* The others take its member for dead and go on; when the loop goes on, the member learns of it and comes back. */
static void a_loop_that_stands_still_costs_its_own_member_only(void) {
    dcn_engine_t peer = open_member("peer", NULL);
    await_members(peer, 1);
    loop_t loop = open_loop("loop", address_of(peer));
    go_until_pair(&loop, peer);
    await_members(peer, 1);
    go_until(&loop, DCN_EVENT_EXPELLED);
    go_until_pair(&loop, peer);
    close_loop(&loop);
    OK(dcn_engine_close(peer));
}

int main(void) {
    CHECK(signal(SIGALRM, on_alarm) != SIG_ERR);
    alarm(150);
    under_full_load_nothing_is_lost_and_no_call_waits();
    events_that_wait_keep_the_descriptor_readable();
    what_a_turn_leaves_over_keeps_the_descriptor_readable();
    calls_of_other_threads_wake_the_loop();
    the_end_is_told_by_poll_and_stays_visible();
    misuse_is_answered();
    a_callback_inside_of_a_turn_waits_for_nothing(0);
    a_callback_inside_of_a_turn_waits_for_nothing(1);
    for (int i = 0; i < 20; i++) closing_while_others_turn(i % 2);
    a_handler_closes_an_engine_that_nobody_turns();
    two_engines_share_a_loop();
    a_loop_that_stands_still_costs_its_own_member_only();
    return 0;
}
