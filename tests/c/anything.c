/* Any sequence of calls, from any thread, with any handle: every call answers with a status, and nothing breaks.

   Several threads share a table of handles (alive, closed, mixed up and invented) and events that may be long gone. Each thread
   draws its calls from its own seed; handles are replaced and closed while others use them. */
#include "test.h"

enum { THREADS = 4, CALLS = 6000, SLOTS = 24, ENGINES_MAX = 6 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t handles[SLOTS];
static dcn_event_t events[SLOTS];
static int engines;

/* Claims that are open, and buffers that were wrapped and are not given back. */
static int claims, lent;

static void take_back(void *context, uint8_t *data, size_t bytes) {
    CHECK(context == &lent && bytes == 20000);
    free(data);
    __atomic_sub_fetch(&lent, 1, __ATOMIC_SEQ_CST);
}

typedef struct {
    uint64_t random;
    uint64_t statuses[32]; /* How often each status came: DCN_ERR_FULL is at 0. */
} caller_t;

static uint64_t draw(caller_t *caller, uint64_t below) {
    caller->random ^= caller->random << 13;
    caller->random ^= caller->random >> 7;
    caller->random ^= caller->random << 17;
    return caller->random % below;
}

static uint64_t any_handle(caller_t *caller) {
    CHECK(pthread_mutex_lock(&lock) == 0);
    uint64_t id = handles[draw(caller, SLOTS)];
    CHECK(pthread_mutex_unlock(&lock) == 0);
    switch (draw(caller, 16)) {
        case 0: return 0;
        case 1: return id ^ (1ull << draw(caller, 64));
        case 2: return caller->random;
        default: return id;
    }
}

/* Releases or closes whatever an id names, whichever kind that is. */
static int32_t end(uint64_t id) {
    int32_t code = dcn_config_free((dcn_config_t){id});
    if (code == DCN_ERR_BAD_HANDLE) code = dcn_view_release((dcn_view_t){id});
    if (code == DCN_ERR_BAD_HANDLE) code = dcn_buf_release((dcn_buf_t){id});
    if (code == DCN_ERR_BAD_HANDLE) {
        code = dcn_abort((dcn_claim_t){id});
        if (code == DCN_OK) __atomic_sub_fetch(&claims, 1, __ATOMIC_SEQ_CST);
    }
    return code;
}

static int32_t close_engine(uint64_t id) {
    int32_t code = dcn_engine_close((dcn_engine_t){id});
    if (code == DCN_OK) __atomic_sub_fetch(&engines, 1, __ATOMIC_SEQ_CST);
    return code;
}

/* Puts a handle where others find it, and ends the one that was there, whoever is using it. */
static void keep(caller_t *caller, uint64_t id) {
    CHECK(pthread_mutex_lock(&lock) == 0);
    uint64_t *place = &handles[draw(caller, SLOTS)], before = *place;
    *place = id;
    CHECK(pthread_mutex_unlock(&lock) == 0);
    if (before != id && close_engine(before) == DCN_ERR_BAD_HANDLE) end(before);
}

static dcn_event_t any_event(caller_t *caller) {
    CHECK(pthread_mutex_lock(&lock) == 0);
    dcn_event_t event = events[draw(caller, SLOTS)];
    CHECK(pthread_mutex_unlock(&lock) == 0);
    if (draw(caller, 8) == 0) event.ticket += draw(caller, 3) - 1;
    if (draw(caller, 8) == 0) event.data_bytes = (size_t)caller->random;
    return event;
}

static void keep_event(caller_t *caller, const dcn_event_t *event) {
    CHECK(pthread_mutex_lock(&lock) == 0);
    events[draw(caller, SLOTS)] = *event;
    CHECK(pthread_mutex_unlock(&lock) == 0);
}

static void on_event(void *context, dcn_engine_t engine, const dcn_event_t *event) {
    dcn_buf_t buffer;
    dcn_view_t view;
    (void)context;
    if (dcn_buf_retain(engine, event, &buffer) == DCN_OK) OK(dcn_buf_release(buffer));
    if (dcn_event_view(engine, event, &view) == DCN_OK) OK(dcn_view_release(view));
    dcn_send(engine, event->seat, DCN_LEVEL_FIFO, event->ticket, event->data, event->data_bytes % 64, 1000);
    if (event->number % 101 == 100) close_engine(engine.id);
}

static int32_t open_another(caller_t *caller, uint64_t way) {
    static char seeds[256] = "";
    char address[DCN_ADDRESS_BYTES], name[16];
    dcn_config_t config;
    dcn_engine_t engine;
    if (__atomic_add_fetch(&engines, 1, __ATOMIC_SEQ_CST) > ENGINES_MAX) {
        __atomic_sub_fetch(&engines, 1, __ATOMIC_SEQ_CST);
        return DCN_OK;
    }
    CHECK(pthread_mutex_lock(&lock) == 0);
    static int count;
    snprintf(name, sizeof name, "m%d", ++count);
    config = member_config(name, seeds[0] ? seeds : NULL);
    CHECK(pthread_mutex_unlock(&lock) == 0);
    int32_t code = way == 0   ? dcn_engine_open_in_loop(config, &engine, NULL)
                   : way == 1 ? dcn_engine_open(config, on_event, NULL, &engine, NULL)
                              : dcn_engine_open(config, NULL, NULL, &engine, NULL);
    keep(caller, config.id);
    if (code != DCN_OK) {
        __atomic_sub_fetch(&engines, 1, __ATOMIC_SEQ_CST);
        return code;
    }
    if (dcn_engine_local_address(engine, address, sizeof address, NULL) == DCN_OK) {
        CHECK(pthread_mutex_lock(&lock) == 0);
        strcpy(seeds, address);
        CHECK(pthread_mutex_unlock(&lock) == 0);
    }
    keep(caller, engine.id);
    return code;
}

/* One of a few cookies, some of them malformed; sessions of these names are never there. */
static const char *any_cookie(caller_t *caller) {
    static const char *const cookies[] = {NULL, "", "x!y!z",
                                          "00000000000000000000000000000001!0000000000000000!0000000000000000",
                                          "00000000000000000000000000000002!0000000000000009!0000000000000008"};
    return cookies[draw(caller, 5)];
}

static int32_t call_about_a_session(caller_t *caller, dcn_engine_t engine) {
    dcn_attribute_t attribute = {"name", (size_t)draw(caller, 5), (const uint8_t *)"value", (size_t)draw(caller, 6)};
    dcn_session_change_t change = {.struct_size = sizeof change, .repeat = draw(caller, 9), .if_version = draw(caller, 3),
                                   .sets = &attribute, .set_count = (size_t)draw(caller, 2), .stride_bytes = sizeof attribute,
                                   .whole = (uint32_t)draw(caller, 3)};
    dcn_session_t session = {.struct_size = draw(caller, 8) ? sizeof session : (size_t)draw(caller, sizeof session)};
    const char *cookie = any_cookie(caller);
    uint32_t timeout_ms = (uint32_t)draw(caller, 3);
    size_t count = (size_t)draw(caller, 2);
    switch (draw(caller, 12)) {
        case 0: return dcn_session_create(engine, 1, 1, &attribute, sizeof attribute, count);
        case 1: return dcn_session_read(engine, 2, cookie);
        case 2: return dcn_session_write(engine, 3, cookie, draw(caller, 8) ? &change : NULL);
        case 3: return dcn_session_touch(engine, 4, cookie);
        case 4: return dcn_session_remove(engine, 5, cookie);
        case 5: return dcn_session_create_wait(engine, 1, &attribute, sizeof attribute, count, timeout_ms, &session);
        case 6: return dcn_session_read_wait(engine, cookie, timeout_ms, &session, NULL);
        case 7: return dcn_session_write_wait(engine, cookie, &change, timeout_ms, &session);
        case 8: return dcn_session_touch_wait(engine, cookie, timeout_ms, &session);
        case 9: return dcn_session_peek(engine, 6, cookie);
        case 10: return dcn_session_peek_wait(engine, cookie, timeout_ms, &session, NULL);
        default: return dcn_session_remove_wait(engine, cookie, timeout_ms, NULL);
    }
}

/* Claims, and memory that is handed over. */
static int32_t call_that_hands_over(caller_t *caller, uint64_t id) {
    dcn_claim_t claim;
    dcn_buf_t buffer;
    uint8_t *data;
    int32_t code;
    switch (draw(caller, 5)) {
        case 0:
            code = dcn_claim((dcn_engine_t){id}, (uint32_t)draw(caller, 4), (uint32_t)draw(caller, 6), draw(caller, 2),
                             (size_t)draw(caller, 70000), (uint32_t)draw(caller, 3), &claim, &data);
            if (code != DCN_OK) return code;
            __atomic_add_fetch(&claims, 1, __ATOMIC_SEQ_CST);
            keep(caller, claim.id);
            return code;
        case 1:
            /* Nobody knows how much of it was written. */
            code = dcn_commit((dcn_claim_t){id}, draw(caller, 4) ? 0 : (size_t)70001);
            if (code != DCN_ERR_BAD_HANDLE && code != DCN_ERR_INVALID_ARGUMENT) __atomic_sub_fetch(&claims, 1, __ATOMIC_SEQ_CST);
            return code;
        case 2:
            __atomic_add_fetch(&lent, 1, __ATOMIC_SEQ_CST);
            OK(dcn_buf_wrap(calloc(20000, 1), 20000, take_back, &lent, &buffer));
            keep(caller, buffer.id);
            return DCN_OK;
        default:
            return dcn_send_buf((dcn_engine_t){id}, (uint32_t)draw(caller, 4), (uint32_t)draw(caller, 6), 1,
                                (dcn_buf_t){any_handle(caller)}, (uint32_t)draw(caller, 3));
    }
}

static int32_t call_with_engine(caller_t *caller, dcn_engine_t engine) {
    dcn_event_t event = any_event(caller), polled[5];
    dcn_view_t view;
    dcn_buf_t buffer;
    dcn_stats_t stats = {.struct_size = draw(caller, 2) ? sizeof stats : (size_t)draw(caller, sizeof stats)};
    char text[DCN_ADDRESS_BYTES];
    size_t count = 0;
    int32_t fd, code;
    switch (draw(caller, 14)) {
        case 0: return dcn_engine_view(engine, draw(caller, 8) ? &view : NULL) == DCN_OK ? dcn_view_release(view) : DCN_OK;
        case 1:
            code = dcn_event_view(engine, &event, &view);
            if (code == DCN_OK) keep(caller, view.id);
            return code;
        case 2:
            code = dcn_buf_retain(engine, &event, &buffer);
            if (code == DCN_OK) keep(caller, buffer.id);
            return code;
        case 3: return dcn_engine_stats(engine, &stats);
        case 4: return dcn_engine_local_address(engine, text, (size_t)draw(caller, sizeof text), &count);
        case 5: return dcn_engine_fd(engine, &fd);
        case 6: return dcn_engine_ready(engine);
        case 7:
            if (draw(caller, 2)) {
                const dcn_slice_t messages[] = {{(const uint8_t *)text, (size_t)draw(caller, sizeof text)}, {NULL, 0}};
                return dcn_send_many(engine, (uint32_t)draw(caller, 4), (uint32_t)draw(caller, 6), 1, messages, (size_t)draw(caller, 3), 0,
                                     draw(caller, 8) ? &count : NULL);
            }
            return dcn_sendv(engine, (uint32_t)draw(caller, 4), (uint32_t)draw(caller, 6), 1, NULL, (size_t)draw(caller, 2), 0);
        case 8:
            return dcn_send(engine, (uint32_t)draw(caller, 8), DCN_LEVEL_FIFO, draw(caller, 9), (const uint8_t *)text,
                            (size_t)draw(caller, sizeof text), (uint32_t)draw(caller, 3));
        case 9: return dcn_engine_next_timeout_ms(engine, draw(caller, 8) ? &fd : NULL);
        case 10:
        case 11:
        case 12: return dcn_engine_turn(engine);
        default:
            code = dcn_engine_poll(engine, polled, sizeof *polled, (size_t)draw(caller, 6), (uint32_t)draw(caller, 3), &count);
            for (size_t i = 0; i < count && code == DCN_OK; i++) keep_event(caller, &polled[i]);
            return code;
    }
}

static int32_t call(caller_t *caller) {
    uint64_t id = any_handle(caller);
    dcn_config_t config;
    dcn_view_info_t info = {.struct_size = sizeof info};
    dcn_member_t member = {.struct_size = sizeof member};
    const uint8_t *data;
    char text[16];
    size_t length;
    switch (draw(caller, 44)) {
        case 0: return open_another(caller, draw(caller, 3));
        case 1:
            return close_engine(id);
        case 2: return dcn_engine_leave((dcn_engine_t){id}, (uint32_t)draw(caller, 5));
        case 3: return end(id);
        case 4:
            OK(dcn_config_new(&config));
            keep(caller, config.id);
            return DCN_OK;
        case 5: return dcn_config_set((dcn_config_t){id}, "group.size", draw(caller, 2) ? "3" : "x", NULL);
        case 6: return dcn_config_get((dcn_config_t){id}, "cluster.name", text, (size_t)draw(caller, sizeof text), &length, NULL);
        case 7: return dcn_config_load_env((dcn_config_t){id}, NULL);
        case 8: return dcn_view_info((dcn_view_t){id}, &info);
        case 9: return dcn_view_member((dcn_view_t){id}, (uint32_t)draw(caller, 4), (uint32_t)draw(caller, 4), &member);
        case 10: return dcn_buf_data((dcn_buf_t){id}, &data, &length);
        case 11: return dcn_log_set(NULL, NULL, (uint32_t)draw(caller, 7));
        case 12:
        case 13:
        case 14: return call_about_a_session(caller, (dcn_engine_t){id});
        case 15:
        case 16:
        case 17:
        case 18: return call_that_hands_over(caller, id);
        default: return call_with_engine(caller, (dcn_engine_t){id});
    }
}

static void *calls_anything(void *argument) {
    caller_t *caller = argument;
    for (int i = 0; i < CALLS; i++) {
        errno = EXDEV;
        int32_t code = call(caller);
        if (code < DCN_ERR_FULL || code > DCN_UNREPLICATED || code == DCN_ERR_PANICKED)
            fail(__FILE__, __LINE__, "a call answered %d: %s", (int)code, dcn_last_error());
        caller->statuses[code - DCN_ERR_FULL]++;
    }
    return NULL;
}

/* anything [SEED] */
int main(int count, char **words) {
    uint64_t seed = count > 1 ? strtoull(words[1], NULL, 10) : 1;
    pthread_t threads[THREADS];
    caller_t callers[THREADS];
    uint64_t total[32] = {0};
    for (int i = 0; i < THREADS; i++) {
        callers[i] = (caller_t){.random = 0x9e3779b97f4a7c15ull * (seed * THREADS + (uint64_t)i)};
        CHECK(pthread_create(&threads[i], NULL, calls_anything, &callers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        for (int s = 0; s < 32; s++) total[s] += callers[i].statuses[s];
    }
    /* It has reached both what works and what does not. */
    const int32_t reached[] = {DCN_OK, DCN_ERR_BAD_HANDLE, DCN_ERR_INVALID_ARGUMENT, DCN_ERR_UNSUPPORTED};
    for (size_t i = 0; i < sizeof reached / sizeof *reached; i++) {
        if (total[reached[i] - DCN_ERR_FULL] == 0) fail(__FILE__, __LINE__, "%s never came", dcn_status_str(reached[i]));
    }
    for (int i = 0; i < SLOTS; i++) {
        if (close_engine(handles[i]) == DCN_ERR_BAD_HANDLE) end(handles[i]);
    }
    CHECK(engines == 0 && claims == 0);
    /* An engine that was closed in its own handler ends a moment later. */
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (__atomic_load_n(&lent, __ATOMIC_SEQ_CST) > 0) CHECK(now_ms() < deadline);
    CHECK(lent == 0);
    return 0;
}
