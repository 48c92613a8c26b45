/* Memory of the host's that is handed over (dcn_buf_wrap, dcn_send_buf): it arrives as it is, and is given back exactly once, whatever
   becomes of it. */
#include "test.h"

enum { LONG = 20000 };

/* Memory that was lent, and how often it came back. */
typedef struct {
    uint8_t *data;
    size_t bytes;
    int freed;
    dcn_buf_t buffer, other; /* `other` is released when this one comes back. */
} lent_t;

static void take_back(void *context, uint8_t *data, size_t bytes) {
    lent_t *lent = context;
    CHECK(data == lent->data && bytes == lent->bytes);
    if (lent->other.id != 0) OK(dcn_buf_release(lent->other));
    /* Whoever reads it from now on is caught by the sanitizer. */
    free(data);
    __atomic_add_fetch(&lent->freed, 1, __ATOMIC_SEQ_CST);
}

static int freed(lent_t *lent) {
    return __atomic_load_n(&lent->freed, __ATOMIC_SEQ_CST);
}

static void lend(lent_t *lent, size_t bytes, uint8_t seed) {
    *lent = (lent_t){.data = malloc(bytes), .bytes = bytes};
    CHECK(lent->data != NULL);
    for (size_t i = 0; i < bytes; i++) lent->data[i] = (uint8_t)(i * 31 + i / 251 + seed);
    OK(dcn_buf_wrap(lent->data, bytes, take_back, lent, &lent->buffer));
    const uint8_t *data;
    size_t length;
    OK(dcn_buf_data(lent->buffer, &data, &length));
    CHECK(length == bytes && (data == lent->data || bytes == 0));
}

static int is_lent(const dcn_event_t *event, size_t bytes, uint8_t seed) {
    if (event->data_bytes != bytes) return 0;
    for (size_t i = 0; i < bytes; i++) {
        if (event->data[i] != (uint8_t)(i * 31 + i / 251 + seed)) return 0;
    }
    return 1;
}

static int32_t send_buf(dcn_engine_t engine, uint32_t to, dcn_buf_t buffer, uint32_t timeout_ms) {
    return dcn_send_buf(engine, to, DCN_LEVEL_FIFO, 5, buffer, timeout_ms);
}

/* The engine lets go on its own thread, at some time; meanwhile everybody polls. */
static void await_freed(lent_t *lent, dcn_engine_t a, dcn_engine_t b) {
    const dcn_engine_t members[] = {a, b};
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (freed(lent) == 0) {
        for (size_t i = 0; i < 2; i++) {
            dcn_event_t event;
            size_t count;
            int32_t code = dcn_engine_poll(members[i], &event, sizeof event, 1, 5, &count);
            CHECK(code == DCN_OK || code == DCN_AGAIN);
        }
        CHECK(now_ms() < deadline);
    }
    CHECK(freed(lent) == 1);
}

/* Small windows and queues, so that little is enough to fill them. */
static dcn_engine_t open_narrow(const char *name, const char *seeds) {
    dcn_config_t config = member_config(name, seeds);
    OK(dcn_config_set(config, "window.bytes", "65536", NULL));
    OK(dcn_config_set(config, "window.reserved_bytes", "16384", NULL));
    OK(dcn_config_set(config, "receive.queue_bytes", "65536", NULL));
    return open_with(config, NULL, NULL);
}

static void what_is_never_sent_comes_back_with_its_handle(void) {
    lent_t lent;
    for (size_t bytes = 0; bytes <= LONG; bytes += LONG / 2) {
        lend(&lent, bytes, 1);
        CHECK(freed(&lent) == 0);
        OK(dcn_buf_release(lent.buffer));
        CHECK(freed(&lent) == 1);
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_buf_release(lent.buffer));
        CHECK(freed(&lent) == 1);
    }
    /* One that lets go of another one. */
    lent_t inner, outer;
    lend(&inner, LONG, 1);
    lend(&outer, LONG, 2);
    outer.other = inner.buffer;
    OK(dcn_buf_release(outer.buffer));
    CHECK(freed(&outer) == 1 && freed(&inner) == 1);
}

static void misuse_is_answered(void) {
    lent_t lent = {.bytes = 0};
    static const uint8_t for_ever[LONG] = {1};
    dcn_buf_t buffer = {7};
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_buf_wrap(NULL, 1, take_back, &lent, &buffer));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_buf_wrap(for_ever, SIZE_MAX, take_back, &lent, &buffer));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_buf_wrap(for_ever, LONG, take_back, &lent, NULL));
    CHECK(buffer.id == 7 && freed(&lent) == 0);
    /* Nothing at all, which comes back like anything else. */
    OK(dcn_buf_wrap(NULL, 0, take_back, &lent, &buffer));
    OK(dcn_buf_release(buffer));
    CHECK(freed(&lent) == 1);
    OK(dcn_buf_wrap(for_ever, LONG, NULL, NULL, &buffer));
    OK(dcn_buf_release(buffer));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_buf_release(buffer));
}

static void what_is_sent_arrives_and_comes_back(dcn_engine_t a, dcn_engine_t b) {
    const size_t lengths[] = {0, 100, LONG, 61000, 300000};
    const uint32_t receivers[] = {DCN_TO_ALL, seat_of(a, "b")};
    uint8_t seed = 0;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (size_t j = 0; j < 2; j++) {
            lent_t lent;
            dcn_event_t event;
            lend(&lent, lengths[i], ++seed);
            /* Twice, and the handle may go at once. */
            OK(send_buf(a, receivers[j], lent.buffer, PATIENCE_MS));
            OK(send_buf(a, receivers[j], lent.buffer, PATIENCE_MS));
            OK(dcn_buf_release(lent.buffer));
            EXPECT(DCN_ERR_BAD_HANDLE, send_buf(a, receivers[j], lent.buffer, 0));
            for (int k = 0; k < 2; k++) {
                await_kind(b, DCN_EVENT_MESSAGE, &event);
                CHECK(event.token == 5 && is_lent(&event, lengths[i], seed));
            }
            await_freed(&lent, a, b);
        }
    }
    lent_t lent;
    dcn_event_t event;
    lend(&lent, 300, ++seed);
    OK(dcn_send_buf(a, DCN_TO_ALL, DCN_LEVEL_UNRELIABLE, 5, lent.buffer, 0));
    await_kind(b, DCN_EVENT_MESSAGE, &event);
    CHECK(is_lent(&event, 300, seed));
    OK(dcn_buf_release(lent.buffer));
    await_freed(&lent, a, b);
}

/* What came from one member goes on to another, from where it lies. */
static void what_was_retained_is_sent_on(dcn_engine_t a, dcn_engine_t b) {
    const size_t lengths[] = {100, LONG, 61000};
    for (size_t i = 0; i < 3; i++) {
        lent_t lent;
        dcn_event_t event;
        dcn_buf_t kept;
        lend(&lent, lengths[i], 9);
        OK(send_buf(a, DCN_TO_ALL, lent.buffer, PATIENCE_MS));
        OK(dcn_buf_release(lent.buffer));
        await_kind(b, DCN_EVENT_MESSAGE, &event);
        OK(dcn_buf_retain(b, &event, &kept));
        OK(send_buf(b, DCN_TO_ALL, kept, PATIENCE_MS));
        OK(dcn_buf_release(kept));
        await_kind(a, DCN_EVENT_MESSAGE, &event);
        CHECK(event.token == 5 && is_lent(&event, lengths[i], 9));
        await_freed(&lent, a, b);
    }
}

/* A send that is refused has taken nothing: the handle is the last one. */
static void what_is_refused_comes_back_with_its_handle(void) {
    dcn_config_t config = member_config("early", "127.0.0.1:9");
    OK(dcn_config_set(config, "form.wait_ms", "60000", NULL));
    dcn_engine_t early = open_with(config, NULL, NULL);
    lent_t lent;
    lend(&lent, LONG, 1);
    EXPECT(DCN_NOT_READY, send_buf(early, DCN_TO_ALL, lent.buffer, 0));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_send_buf(early, DCN_TO_ALL, 77, 0, lent.buffer, 0));
    EXPECT(DCN_ERR_BAD_HANDLE, send_buf(early, DCN_TO_ALL, (dcn_buf_t){lent.buffer.id ^ 1}, 0));
    EXPECT(DCN_ERR_BAD_HANDLE, send_buf(early, DCN_TO_ALL, (dcn_buf_t){early.id}, 0));
    OK(dcn_engine_close(early));
    EXPECT(DCN_ERR_BAD_HANDLE, send_buf(early, DCN_TO_ALL, lent.buffer, 0));
    CHECK(freed(&lent) == 0);
    OK(dcn_buf_release(lent.buffer));
    CHECK(freed(&lent) == 1);
}

enum { COUNT = 12 };

/* Two members of which nobody polls the second, so that little of what is sent can go on its way. */
static void open_pair(dcn_engine_t *a, dcn_engine_t *b) {
    *a = open_narrow("a", NULL);
    await_members(*a, 1);
    *b = open_narrow("b", address_of(*a));
    await_members(*b, 2);
    await_members(*a, 2);
}

static void send_and_release(dcn_engine_t engine, uint32_t to, lent_t *lent) {
    for (size_t i = 0; i < COUNT; i++) {
        lend(&lent[i], LONG, (uint8_t)i);
        OK(send_buf(engine, to, lent[i].buffer, PATIENCE_MS));
        OK(dcn_buf_release(lent[i].buffer));
    }
}

static void came_back_once(lent_t *lent) {
    for (size_t i = 0; i < COUNT; i++) {
        if (freed(&lent[i]) != 1) fail(__FILE__, __LINE__, "buffer %zu came back %d times", i, freed(&lent[i]));
    }
}

/* Accepted, and closed before it could be sent: all comes back before the close returns, but what the host has a handle to. */
static void what_waits_comes_back_when_the_engine_is_closed(void) {
    static lent_t lent[COUNT], held;
    dcn_engine_t a, b;
    dcn_claim_t claim;
    uint8_t *data;
    open_pair(&a, &b);
    /* An open claim keeps nothing of the engine. */
    OK(dcn_claim(a, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, LONG, 0, &claim, &data));
    send_and_release(a, DCN_TO_ALL, lent);
    lend(&held, LONG, 2);
    OK(send_buf(a, DCN_TO_ALL, held.buffer, PATIENCE_MS));
    CHECK(freed(&lent[COUNT - 1]) == 0);
    OK(dcn_engine_close(a));
    came_back_once(lent);
    CHECK(freed(&held) == 0);
    OK(dcn_buf_release(held.buffer));
    CHECK(freed(&held) == 1);
    OK(dcn_abort(claim));
    OK(dcn_engine_close(b));
}

/* Accepted, and its receiver goes: messages are returned by events, and the memory comes back. */
static void what_is_returned_comes_back(void) {
    static lent_t lent[COUNT];
    dcn_engine_t a, b;
    dcn_event_t event;
    open_pair(&a, &b);
    send_and_release(a, seat_of(a, "b"), lent);
    OK(dcn_engine_close(b));
    await_kind(a, DCN_EVENT_RETURNED, &event);
    CHECK(event.token == 5 && event.data_bytes == LONG && is_lent(&event, LONG, event.data[0]));
    OK(dcn_engine_leave(a, PATIENCE_MS));
    OK(dcn_engine_close(a));
    came_back_once(lent);
}

typedef struct {
    lent_t lent;
    dcn_engine_t engine;
    int answered;
} caller_t;

/* Calls the library from where its own thread gives memory back: no lock is held there, and no call waits. */
static void take_back_and_call(void *context, uint8_t *data, size_t bytes) {
    caller_t *caller = context;
    dcn_stats_t stats = {.struct_size = sizeof stats};
    int64_t before = now_ms();
    OK(dcn_engine_stats(caller->engine, &stats));
    OK(dcn_send(caller->engine, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, data, bytes, PATIENCE_MS));
    CHECK(now_ms() - before < PATIENCE_MS);
    __atomic_store_n(&caller->answered, 1, __ATOMIC_SEQ_CST);
    take_back(&caller->lent, data, bytes);
}

static void lend_to_call(caller_t *caller, dcn_engine_t engine) {
    caller->engine = engine;
    caller->lent = (lent_t){.data = calloc(LONG, 1), .bytes = LONG};
    OK(dcn_buf_wrap(caller->lent.data, LONG, take_back_and_call, caller, &caller->lent.buffer));
    OK(send_buf(engine, DCN_TO_ALL, caller->lent.buffer, PATIENCE_MS));
    OK(dcn_buf_release(caller->lent.buffer));
}

static void who_takes_back_may_call_the_library(dcn_engine_t a, dcn_engine_t b) {
    static caller_t caller;
    dcn_event_t event;
    lend_to_call(&caller, a);
    for (int i = 0; i < 2; i++) {
        await_kind(b, DCN_EVENT_MESSAGE, &event);
        CHECK(event.data_bytes == LONG && event.token == (i == 0 ? 5 : 0));
    }
    await_freed(&caller.lent, a, b);
    CHECK(__atomic_load_n(&caller.answered, __ATOMIC_SEQ_CST) == 1);
}

/* In the host's own loop the last one to let go is a turn: memory comes back before the call that turns returns, and not under its locks. */
static void a_turn_gives_back_before_it_returns(void) {
    static caller_t caller;
    dcn_engine_t loop;
    dcn_config_t config = member_config("loop", NULL);
    int64_t deadline = now_ms() + PATIENCE_MS;
    OK(dcn_engine_open_in_loop(config, &loop, NULL));
    OK(dcn_config_free(config));
    while (ready_members(loop) != 1) {
        OK(dcn_engine_turn(loop));
        CHECK(now_ms() < deadline);
    }
    lend_to_call(&caller, loop);
    CHECK(freed(&caller.lent) == 0);
    while (freed(&caller.lent) == 0) {
        OK(dcn_engine_turn(loop));
        CHECK(now_ms() < deadline);
    }
    CHECK(caller.answered == 1 && freed(&caller.lent) == 1);
    OK(dcn_engine_close(loop));
}

int main(void) {
    /* Whoever is called under a lock that it takes itself waits for ever. */
    alarm(4 * PATIENCE_MS / 1000);
    what_is_never_sent_comes_back_with_its_handle();
    misuse_is_answered();
    dcn_engine_t a = open_member("a", NULL);
    await_members(a, 1);
    dcn_engine_t b = open_member("b", address_of(a));
    await_members(b, 2);
    await_members(a, 2);
    what_is_sent_arrives_and_comes_back(a, b);
    what_was_retained_is_sent_on(a, b);
    who_takes_back_may_call_the_library(a, b);
    OK(dcn_engine_close(a));
    OK(dcn_engine_close(b));
    what_is_refused_comes_back_with_its_handle();
    what_waits_comes_back_when_the_engine_is_closed();
    what_is_returned_comes_back();
    a_turn_gives_back_before_it_returns();
    return 0;
}
