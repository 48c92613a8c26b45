/* Messages that are written where they leave from, and memory of the host's that is handed over: what arrives, what is refused, and that
   all that was taken is given back once. */
#include "test.h"

enum { MESSAGE = 8 * 1024, QUEUE = 64 * 1024, THREADS = 4, ROUNDS = 200 };

/* Small windows and queues, so that little is enough to fill them. */
static dcn_engine_t open_narrow(const char *name, const char *seeds) {
    dcn_config_t config = member_config(name, seeds);
    OK(dcn_config_set(config, "window.bytes", "65536", NULL));
    OK(dcn_config_set(config, "window.reserved_bytes", "16384", NULL));
    OK(dcn_config_set(config, "send.queue_bytes", "65536", NULL));
    return open_with(config, NULL, NULL);
}

/* Different at nearly every place, and for every seed. */
static uint8_t byte_at(size_t at, uint32_t seed) {
    return (uint8_t)((uint32_t)at * 2654435761u >> 13 ^ (uint32_t)at ^ seed * 37u);
}

static void write_bytes(uint8_t *data, size_t bytes, uint32_t seed) {
    for (size_t i = 0; i < bytes; i++) data[i] = byte_at(i, seed);
}

static int is_written(const uint8_t *data, size_t bytes, uint32_t seed) {
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] != byte_at(i, seed)) return 0;
    }
    return 1;
}

static dcn_claim_t claim_from(dcn_engine_t engine, uint32_t to, uint64_t token, size_t bytes, uint8_t **data) {
    dcn_claim_t claim = {0};
    *data = NULL;
    OK(dcn_claim(engine, to, DCN_LEVEL_FIFO, token, bytes, PATIENCE_MS, &claim, data));
    CHECK(claim.id != 0 && *data != NULL && (uintptr_t)*data % DCN_CLAIM_ALIGN_BYTES == 0);
    return claim;
}

static void expect_message(dcn_engine_t at, uint64_t token, size_t bytes, uint32_t seed) {
    dcn_event_t event;
    await_kind(at, DCN_EVENT_MESSAGE, &event);
    if (event.token != token || event.data_bytes != bytes)
        fail(__FILE__, __LINE__, "%zu bytes with token %" PRIu64 " came", event.data_bytes, event.token);
    CHECK(is_written(event.data, bytes, seed));
}

/* Of every length that goes another way (packed, a batch of its own, in parts), to all and to one, whole and shortened. */
static void what_was_written_arrives(dcn_engine_t a, dcn_engine_t b) {
    const size_t lengths[] = {0, 1, 64, 16 * 1024, 16 * 1024 + 1, 20000, 40000, 61000, 300000};
    const uint32_t receivers[] = {DCN_TO_ALL, seat_of(a, "b")};
    uint32_t seed = 0;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (uint32_t j = 0; j < 4; j++) {
            const size_t written[] = {lengths[i], lengths[i] / (j + 2)};
            for (size_t k = 0; k < 2; k++) {
                uint8_t *data;
                dcn_claim_t claim = claim_from(a, receivers[j / 2], j % 2 * 7, lengths[i], &data);
                write_bytes(data, written[k], ++seed);
                OK(dcn_commit(claim, written[k]));
                expect_message(b, j % 2 * 7, written[k], seed);
            }
        }
    }
}

/* At the levels at which the sender gets it as well. */
static void what_was_written_has_its_place_in_the_order_of_all(dcn_engine_t a, dcn_engine_t b) {
    const uint32_t levels[] = {DCN_LEVEL_AGREED, DCN_LEVEL_SAFE};
    const dcn_engine_t members[] = {a, b};
    for (size_t i = 0; i < 2; i++) {
        dcn_claim_t claim;
        dcn_event_t event;
        uint8_t *data;
        OK(dcn_claim(a, DCN_TO_ALL, levels[i], 3, 20000, PATIENCE_MS, &claim, &data));
        write_bytes(data, 20000, 5);
        OK(dcn_commit(claim, 20000));
        for (size_t j = 0; j < 2; j++) {
            await_kind(members[j], DCN_EVENT_MESSAGE, &event);
            CHECK(event.detail == levels[i] && event.token == 3);
            CHECK(event.data_bytes == 20000 && is_written(event.data, 20000, 5));
        }
    }
}

/* Committed in another order than claimed, with a send between. */
static void a_message_has_the_place_of_its_commit(dcn_engine_t a, dcn_engine_t b) {
    const char *words[] = {"sent", "second", "first"};
    uint8_t *first, *second;
    dcn_event_t event;
    dcn_claim_t one = claim_from(a, DCN_TO_ALL, 0, 5, &first), two = claim_from(a, DCN_TO_ALL, 0, 6, &second);
    memcpy(first, "first", 5);
    memcpy(second, "second", 6);
    OK(send_text(a, DCN_TO_ALL, "sent"));
    OK(dcn_commit(two, 6));
    OK(dcn_commit(one, 5));
    for (size_t i = 0; i < 3; i++) {
        await_kind(b, DCN_EVENT_MESSAGE, &event);
        CHECK(is_text(&event, words[i]));
    }
}

/* Claims fill what may wait although nothing is ever committed; one that is given back makes room and says so. */
static void room_that_is_given_back_is_told(void) {
    dcn_engine_t a = open_narrow("a", NULL);
    await_members(a, 1);
    dcn_claim_t claims[64], more = {7};
    uint8_t *data, *none = NULL;
    dcn_event_t event;
    size_t count = 0;
    int32_t code;
    while ((code = dcn_claim(a, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, MESSAGE, 0, &claims[count], &data)) == DCN_OK) {
        CHECK(++count < sizeof claims / sizeof *claims);
    }
    CHECK(code == DCN_AGAIN && count == QUEUE / (MESSAGE + 64));
    EXPECT(DCN_AGAIN, dcn_send(a, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, data, MESSAGE, 0));
    int64_t before = now_ms();
    EXPECT(DCN_AGAIN, dcn_claim(a, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, MESSAGE, 50, &more, &none));
    CHECK(now_ms() - before >= 50 && more.id == 7 && none == NULL);
    OK(dcn_abort(claims[--count]));
    await_kind(a, DCN_EVENT_WRITABLE, &event);
    claims[count++] = claim_from(a, DCN_TO_ALL, 0, MESSAGE, &data);

    /* A member that leaves waits for no claim, and what has become of it is the answer. */
    OK(dcn_engine_leave(a, PATIENCE_MS));
    EXPECT(DCN_ERR_CLOSED, dcn_claim(a, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, 1, 0, &more, &none));
    EXPECT(DCN_ERR_CLOSED, dcn_commit(claims[--count], MESSAGE));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_commit(claims[count], MESSAGE));
    while (count > 0) OK(dcn_abort(claims[--count]));
    OK(dcn_engine_close(a));
}

/* Turns an engine in a loop until nothing but its own deadlines is left, and takes its events; says whether room was told. */
static int is_told_in_loop(dcn_engine_t engine) {
    int told = 0;
    int32_t timeout_ms = 0;
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (timeout_ms == 0) {
        dcn_event_t event;
        size_t count;
        OK(dcn_engine_turn(engine));
        while (dcn_engine_poll(engine, &event, sizeof event, 1, 0, &count) == DCN_OK) told |= event.kind == DCN_EVENT_WRITABLE;
        OK(dcn_engine_next_timeout_ms(engine, &timeout_ms));
        CHECK(now_ms() < deadline);
    }
    return told;
}

/* A commit, and an abort that somebody waits for, leave something to do: an engine that sleeps is woken. */
static void who_ends_a_claim_wakes_the_engine(void) {
    dcn_config_t config = member_config("loop", NULL);
    dcn_engine_t loop;
    int64_t deadline = now_ms() + PATIENCE_MS;
    OK(dcn_config_set(config, "send.queue_bytes", "65536", NULL));
    OK(dcn_engine_open_in_loop(config, &loop, NULL));
    OK(dcn_config_free(config));
    while (ready_members(loop) != 1) {
        is_told_in_loop(loop);
        CHECK(now_ms() < deadline);
    }
    for (int round = 0; round < 20; round++) {
        dcn_claim_t claim, none;
        uint8_t *data;
        int32_t timeout_ms = -1;
        claim = claim_from(loop, DCN_TO_ALL, 0, QUEUE - 64, &data);
        EXPECT(DCN_AGAIN, dcn_claim(loop, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, 8, 0, &none, &data));
        CHECK(!is_told_in_loop(loop));
        OK(dcn_abort(claim));
        OK(dcn_engine_next_timeout_ms(loop, &timeout_ms));
        CHECK(timeout_ms == 0 && is_told_in_loop(loop));
        claim = claim_from(loop, DCN_TO_ALL, 0, 8, &data);
        write_bytes(data, 8, 1);
        CHECK(!is_told_in_loop(loop));
        OK(dcn_commit(claim, 8));
        OK(dcn_engine_next_timeout_ms(loop, &timeout_ms));
        CHECK(timeout_ms == 0 && !is_told_in_loop(loop));
    }
    OK(dcn_engine_close(loop));
}

typedef struct {
    dcn_engine_t engine;
    uint32_t me;
    dcn_claim_t claim;
    int32_t code;
} writer_t;

static void *claims_and_commits(void *argument) {
    writer_t *writer = argument;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint8_t *data;
        size_t bytes = 8 + (i * 7919u + writer->me * 104729u) % (i % 8 == 0 ? 50000 : 500);
        dcn_claim_t claim = claim_from(writer->engine, DCN_TO_ALL, 0, bytes, &data);
        if (i % 5 == 4) {
            OK(dcn_abort(claim));
            claim = claim_from(writer->engine, DCN_TO_ALL, 0, bytes, &data);
        }
        uint32_t head[2] = {writer->me, i};
        memcpy(data, head, sizeof head);
        write_bytes(data + 8, bytes - 8, writer->me + i);
        OK(dcn_commit(claim, bytes));
    }
    return NULL;
}

static void each_threads_commits_arrive_in_its_order(dcn_engine_t a, dcn_engine_t b) {
    pthread_t threads[THREADS];
    writer_t writers[THREADS];
    uint32_t next[THREADS] = {0};
    for (uint32_t i = 0; i < THREADS; i++) {
        writers[i] = (writer_t){.engine = a, .me = i};
        CHECK(pthread_create(&threads[i], NULL, claims_and_commits, &writers[i]) == 0);
    }
    for (uint32_t seen = 0; seen < THREADS * ROUNDS; seen++) {
        dcn_event_t event;
        uint32_t head[2];
        await_kind(b, DCN_EVENT_MESSAGE, &event);
        CHECK(event.data_bytes >= sizeof head);
        memcpy(head, event.data, sizeof head);
        CHECK(head[0] < THREADS && head[1] == next[head[0]]++);
        CHECK(is_written(event.data + 8, event.data_bytes - 8, head[0] + head[1]));
    }
    for (uint32_t i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

static void *commits_one(void *argument) {
    writer_t *writer = argument;
    writer->code = dcn_commit(writer->claim, 8);
    return NULL;
}

/* Of several threads that end one claim, one does. */
static void a_claim_is_ended_once(dcn_engine_t a, dcn_engine_t b) {
    for (uint32_t round = 0; round < 50; round++) {
        pthread_t threads[THREADS];
        writer_t writers[THREADS];
        uint8_t *data;
        int ended = 0;
        dcn_claim_t claim = claim_from(a, DCN_TO_ALL, 0, 8, &data);
        write_bytes(data, 8, round);
        for (uint32_t i = 0; i < THREADS; i++) {
            writers[i] = (writer_t){.engine = a, .claim = claim};
            CHECK(pthread_create(&threads[i], NULL, commits_one, &writers[i]) == 0);
        }
        for (uint32_t i = 0; i < THREADS; i++) {
            CHECK(pthread_join(threads[i], NULL) == 0);
            CHECK(writers[i].code == DCN_OK || writers[i].code == DCN_ERR_BAD_HANDLE);
            ended += writers[i].code == DCN_OK;
        }
        CHECK(ended == 1);
        expect_message(b, 0, 8, round);
    }
}

static void misuse_is_answered(dcn_engine_t a, dcn_engine_t b) {
    dcn_claim_t claim = {7}, other;
    uint8_t *data = NULL, *more;
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_claim(a, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, 8, 0, NULL, &data));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_claim(a, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, 8, 0, &claim, NULL));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_claim(a, DCN_TO_ALL, 77, 0, 8, 0, &claim, &data));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_claim(a, seat_of(a, "b"), DCN_LEVEL_SAFE, 0, 8, 0, &claim, &data));
    EXPECT(DCN_ERR_UNSUPPORTED, dcn_claim(a, DCN_TO_ALL, DCN_LEVEL_UNRELIABLE, 0, 8, 0, &claim, &data));
    EXPECT(DCN_ERR_NO_SUCH_MEMBER, dcn_claim(a, 12345, DCN_LEVEL_FIFO, 0, 8, 0, &claim, &data));
    EXPECT(DCN_ERR_TOO_LARGE, dcn_claim(a, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, SIZE_MAX, 0, &claim, &data));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_claim((dcn_engine_t){0}, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, 8, 0, &claim, &data));
    CHECK(claim.id == 7 && data == NULL);

    /* More than was claimed is refused, and the claim goes on. */
    claim = claim_from(a, DCN_TO_ALL, 0, 8, &data);
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_commit(claim, 9));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_commit(claim, SIZE_MAX));
    write_bytes(data, 8, 1);
    /* Handles that are forged or of another kind. */
    const uint64_t wrong[] = {0, 1, ~0ull, claim.id ^ 1, claim.id ^ 1ull << 22, claim.id ^ 1ull << 63, a.id};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_commit((dcn_claim_t){wrong[i]}, 0));
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_abort((dcn_claim_t){wrong[i]}));
    }
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_buf_release((dcn_buf_t){claim.id}));
    OK(dcn_commit(claim, 8));
    expect_message(b, 0, 8, 1);
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_commit(claim, 8));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_abort(claim));
    other = claim_from(a, DCN_TO_ALL, 0, 8, &more);
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_commit(claim, 8));
    OK(dcn_abort(other));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_abort(other));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_commit(other, 0));
}

/* Before the first view, without the receiver, and without the engine: the memory stays the host's until it ends the claim. */
static void a_claim_outlives_its_receiver_and_its_engine(void) {
    dcn_config_t config = member_config("early", "127.0.0.1:9");
    OK(dcn_config_set(config, "form.wait_ms", "60000", NULL));
    dcn_engine_t early = open_with(config, NULL, NULL);
    dcn_claim_t claim, others[3];
    uint8_t *data;
    EXPECT(DCN_NOT_READY, dcn_claim(early, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, 8, 0, &claim, &data));
    OK(dcn_engine_close(early));

    dcn_engine_t a = open_member("a", NULL);
    await_members(a, 1);
    dcn_engine_t b = open_member("b", address_of(a));
    await_members(b, 2);
    await_members(a, 2);
    claim = claim_from(a, seat_of(a, "b"), 0, 50000, &data);
    OK(dcn_engine_leave(b, PATIENCE_MS));
    OK(dcn_engine_close(b));
    await_members(a, 1);
    write_bytes(data, 50000, 1);
    EXPECT(DCN_ERR_NO_SUCH_MEMBER, dcn_commit(claim, 50000));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_commit(claim, 50000));

    descriptors_t before = descriptors();
    const size_t lengths[] = {10, 50000, 300000};
    for (int i = 0; i < 3; i++) others[i] = claim_from(a, DCN_TO_ALL, 0, lengths[i], &data);
    OK(dcn_engine_close(a));
    CHECK(descriptors_since(&before) == 0);
    write_bytes(data, lengths[2], 1);
    EXPECT(DCN_ERR_CLOSED, dcn_commit(others[2], lengths[2]));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_abort(others[2]));
    OK(dcn_abort(others[1]));
    EXPECT(DCN_ERR_CLOSED, dcn_commit(others[0], 0));
}

int main(void) {
    dcn_engine_t a = open_member("a", NULL);
    await_members(a, 1);
    dcn_engine_t b = open_member("b", address_of(a));
    await_members(b, 2);
    await_members(a, 2);
    what_was_written_arrives(a, b);
    what_was_written_has_its_place_in_the_order_of_all(a, b);
    a_message_has_the_place_of_its_commit(a, b);
    each_threads_commits_arrive_in_its_order(a, b);
    a_claim_is_ended_once(a, b);
    misuse_is_answered(a, b);
    OK(dcn_engine_close(a));
    OK(dcn_engine_close(b));
    room_that_is_given_back_is_told();
    who_ends_a_claim_wakes_the_engine();
    a_claim_outlives_its_receiver_and_its_engine();
    return 0;
}
