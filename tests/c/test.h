/* What every test program shares: checks that name their line, members on loopback, and waiting with a bound. */
#ifndef DECURION_TEST_H
#define DECURION_TEST_H

#include <decurion.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* How long anything may take before the test fails. */
#define PATIENCE_MS 30000

static void fail(const char *file, int line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    fflush(stderr);
    _exit(1);
}

/* The condition holds. */
#define CHECK(condition) \
    do { \
        if (!(condition)) fail(__FILE__, __LINE__, "does not hold: %s", #condition); \
    } while (0)

/* The call answers with this status, and leaves errno alone. */
#define EXPECT(status, call) \
    do { \
        errno = EXDEV; \
        int32_t expect_code_ = (call); \
        if (expect_code_ != (status)) \
            fail(__FILE__, __LINE__, "%s\n  answered %d (%s)\n  expected %d (%s)\n  last error: %s", #call, \
                 (int)expect_code_, dcn_status_str(expect_code_), (int)(status), dcn_status_str(status), \
                 dcn_last_error()); \
        if (errno != EXDEV) fail(__FILE__, __LINE__, "%s changed errno to %d", #call, errno); \
    } while (0)

#define OK(call) EXPECT(DCN_OK, call)

static inline int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A configuration for a member on loopback, on a port that the system chooses. `seeds` may be NULL. */
static inline dcn_config_t member_config(const char *name, const char *seeds) {
    dcn_config_t config;
    OK(dcn_config_new(&config));
    OK(dcn_config_set(config, "cluster.name", "c-tests", NULL));
    OK(dcn_config_set(config, "node.name", name, NULL));
    OK(dcn_config_set(config, "node.bind", "127.0.0.1:0", NULL));
    if (seeds != NULL) OK(dcn_config_set(config, "cluster.seeds", seeds, NULL));
    return config;
}

static inline dcn_engine_t open_with(dcn_config_t config, dcn_event_fn handler, void *context) {
    dcn_engine_t engine;
    OK(dcn_engine_open(config, handler, context, &engine, NULL));
    OK(dcn_config_free(config));
    return engine;
}

static inline dcn_engine_t open_member(const char *name, const char *seeds) {
    return open_with(member_config(name, seeds), NULL, NULL);
}

/* The address at which others find an engine, in a static buffer. */
static inline const char *address_of(dcn_engine_t engine) {
    static char address[DCN_ADDRESS_BYTES];
    OK(dcn_engine_local_address(engine, address, sizeof address, NULL));
    return address;
}

/* Polls one event at a time until one of that kind comes; `event` is valid until the next poll. */
static inline void await_kind(dcn_engine_t engine, uint32_t kind, dcn_event_t *event) {
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (now_ms() < deadline) {
        size_t count = 0;
        int32_t code = dcn_engine_poll(engine, event, sizeof *event, 1, 100, &count);
        if (code == DCN_AGAIN) continue;
        if (code != DCN_OK) fail(__FILE__, __LINE__, "while waiting for kind %u: %s", kind, dcn_last_error());
        if (event->kind == kind) return;
        if (event->kind == DCN_EVENT_CLOSED) fail(__FILE__, __LINE__, "ended early: %s", event->text);
    }
    fail(__FILE__, __LINE__, "no event of kind %u came", kind);
}

/* How many members of the installed view are ready; 0 before the first view. */
static inline uint32_t ready_members(dcn_engine_t engine) {
    dcn_view_t view;
    dcn_view_info_t info = {.struct_size = sizeof info};
    uint32_t ready = 0;
    if (dcn_engine_view(engine, &view) != DCN_OK) return 0;
    OK(dcn_view_info(view, &info));
    for (uint32_t i = 0; i < info.member_count; i++) {
        dcn_member_t member = {.struct_size = sizeof member};
        OK(dcn_view_member(view, DCN_VIEW_MEMBERS, i, &member));
        ready += member.ready;
    }
    OK(dcn_view_release(view));
    return ready;
}

/* Polls until the view has so many members, all ready. */
static inline void await_members(dcn_engine_t engine, uint32_t members) {
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (now_ms() < deadline) {
        dcn_event_t events[16];
        size_t count = 0;
        int32_t code = dcn_engine_poll(engine, events, sizeof *events, 16, 50, &count);
        CHECK(code == DCN_OK || code == DCN_AGAIN);
        for (size_t i = 0; i < count; i++) {
            if (events[i].kind == DCN_EVENT_CLOSED) fail(__FILE__, __LINE__, "ended early: %s", events[i].text);
        }
        if (ready_members(engine) == members) return;
    }
    fail(__FILE__, __LINE__, "the view never had %u ready members", members);
}

/* Seat of the member of that name in the installed view. */
static inline uint32_t seat_of(dcn_engine_t engine, const char *name) {
    dcn_view_t view;
    dcn_view_info_t info = {.struct_size = sizeof info};
    OK(dcn_engine_view(engine, &view));
    OK(dcn_view_info(view, &info));
    uint32_t seat = 0;
    for (uint32_t i = 0; i < info.member_count; i++) {
        dcn_member_t member = {.struct_size = sizeof member};
        OK(dcn_view_member(view, DCN_VIEW_MEMBERS, i, &member));
        if (strcmp(member.name, name) == 0) seat = member.seat;
    }
    OK(dcn_view_release(view));
    CHECK(seat != 0);
    return seat;
}

static inline int readable(int fd, int timeout_ms) {
    struct pollfd one = {.fd = fd, .events = POLLIN, .revents = 0};
    return poll(&one, 1, timeout_ms) == 1 && (one.revents & POLLIN) != 0;
}

/* Which descriptors are open. */
typedef struct {
    unsigned char open[1024];
} descriptors_t;

static inline descriptors_t descriptors(void) {
    descriptors_t now;
    for (int fd = 0; fd < (int)sizeof now.open; fd++) now.open[fd] = fcntl(fd, F_GETFD) >= 0;
    return now;
}

/* How many have come since; each is close-on-exec. */
static inline int descriptors_since(const descriptors_t *before) {
    descriptors_t now = descriptors();
    int count = 0;
    for (int fd = 0; fd < (int)sizeof now.open; fd++) {
        if (!now.open[fd] || before->open[fd]) continue;
        if ((fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0) fail(__FILE__, __LINE__, "descriptor %d is not close-on-exec", fd);
        count++;
    }
    return count;
}

static inline int32_t send_text(dcn_engine_t engine, uint32_t to, const char *text) {
    return dcn_send(engine, to, DCN_LEVEL_FIFO, 0, (const uint8_t *)text, strlen(text), PATIENCE_MS);
}

static inline int is_text(const dcn_event_t *event, const char *text) {
    return event->data_bytes == strlen(text) && memcmp(event->data, text, event->data_bytes) == 0;
}

#endif
