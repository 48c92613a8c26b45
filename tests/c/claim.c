/* Messages that are written where they leave from, and memory of the host's that is handed over: what arrives, what is refused, and that
   everything that was taken is given back once. */
#include "test.h"

enum { MESSAGE = 8 * 1024, THREADS = 4, ROUNDS = 200 };

/* Small windows and queues, so that little is enough to fill them. */
static dcn_config_t narrow(const char *name, const char *seeds) {
    dcn_config_t config = member_config(name, seeds);
    OK(dcn_config_set(config, "window.bytes", "65536", NULL));
    OK(dcn_config_set(config, "window.reserved_bytes", "16384", NULL));
    OK(dcn_config_set(config, "send.queue_bytes", "65536", NULL));
    return config;
}

/* Different at every place and for every seed. */
static uint8_t byte_at(size_t at, uint32_t seed) {
    return (uint8_t)(at * 2654435761u >> 13 ^ at ^ seed * 37u);
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
        fail(__FILE__, __LINE__, "token %" PRIu64 " and %zu bytes came", event.token, event.data_bytes);
    CHECK(is_written(event.data, bytes, seed));
}

/* Of every length that goes another way: packed, as a batch of its own, and in parts; to all and to one; at each level. */
static void what_was_written_arrives(dcn_engine_t a, dcn_engine_t b) {
    const size_t lengths[] = {0, 1, 64, 16 * 1024, 16 * 1024 + 1, 20000, 40000, 61000, 300000};
    const uint32_t receivers[] = {DCN_TO_ALL, seat_of(a, "b")};
    uint32_t seed = 0;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (size_t j = 0; j < 4; j++) {
            uint8_t *data;
            uint64_t token = j % 2 ? 7 : 0;
            dcn_claim_t claim = claim_from(a, receivers[j / 2], token, lengths[i], &data);
            write_bytes(data, lengths[i], ++seed);
            OK(dcn_commit(claim, lengths[i]));
            expect_message(b, token, lengths[i], seed);
            /* Less than was claimed. */
            size_t less = lengths[i] / (j + 2);
            claim = claim_from(a, receivers[j / 2], token, lengths[i], &data);
            write_bytes(data, less, ++seed);
            OK(dcn_commit(claim, less));
            expect_message(b, token, less, seed);
        }
    }
    const uint32_t levels[] = {DCN_LEVEL_AGREED, DCN_LEVEL_SAFE};
    for (size_t i = 0; i < 2; i++) {
        dcn_claim_t claim;
        dcn_event_t event;
        uint8_t *data;
        OK(dcn_claim(a, DCN_TO_ALL, levels[i], 0, 20000, PATIENCE_MS, &claim, &data));
        write_bytes(data, 20000, 5);
        OK(dcn_commit(claim, 20000));
        await_kind(b, DCN_EVENT_MESSAGE, &event);
        CHECK(event.detail == levels[i] && event.data_bytes == 20000 && is_written(event.data, 20000, 5));
        await_kind(a, DCN_EVENT_MESSAGE, &event);
        CHECK(event.detail == levels[i] && event.data_bytes == 20000 && is_written(event.data, 20000, 5));
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

/* Claims fill what may wait, also if nothing is ever committed; a claim that is given back makes room and says so. */
static void room_that_is_given_back_is_told(void) {
    dcn_engine_t a = open_with(narrow("a", NULL), NULL, NULL);
    await_members(a, 1);
    dcn_claim_t claims[64], more;
    uint8_t *data;
    dcn_event_t event;
    size_t count = 0;
    int32_t code;
    while ((code = dcn_claim(a, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, MESSAGE, 0, &claims[count], &data)) == DCN_OK) {
        CHECK(++count < sizeof claims / sizeof *claims);
    }
    CHECK(code == DCN_AGAIN && count == 65536 / (MESSAGE + 64));
    more = (dcn_claim_t){7};
    data = NULL;
    int64_t before = now_ms();
    EXPECT(DCN_AGAIN, dcn_claim(a, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, MESSAGE, 50, &more, &data));
    CHECK(now_ms() - before >= 50 && more.id == 7 && data == NULL);
    EXPECT(DCN_AGAIN, dcn_send(a, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, NULL, 0, 0) == DCN_AGAIN
                          ? dcn_claim(a, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, MESSAGE, 0, &more, &data)
                          : dcn_send(a, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, (const uint8_t *)claims, sizeof claims, 0));
    OK(dcn_abort(claims[--count]));
    await_kind(a, DCN_EVENT_WRITABLE, &event);
    claims[count++] = claim_from(a, DCN_TO_ALL, 0, MESSAGE, &data);
    /* A member that leaves waits for no claim. */
    OK(dcn_engine_leave(a, PATIENCE_MS));
    await_kind_or_end(a);
    EXPECT(DCN_ERR_CLOSED, dcn_commit(claims[--count], MESSAGE));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_commit(claims[count], MESSAGE));
    EXPECT(DCN_ERR_CLOSED, dcn_claim(a, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, 1, 0, &more, &data));
    while (count > 0) OK(dcn_abort(claims[--count]));
    OK(dcn_engine_close(a));
}
