/* A host that polls: views, messages to all and to one, what is kept beyond an event, and the end. */
#include "test.h"

/* Two members that know each other. */
typedef struct {
    dcn_engine_t a, b;
} pair_t;

static pair_t open_pair(void) {
    pair_t pair;
    pair.a = open_member("a", NULL);
    await_members(pair.a, 1);
    pair.b = open_member("b", address_of(pair.a));
    await_members(pair.b, 2);
    await_members(pair.a, 2);
    return pair;
}

static void close_pair(pair_t pair) {
    OK(dcn_engine_close(pair.a));
    OK(dcn_engine_close(pair.b));
}

static void a_view_event_says_who_came_and_who_went(void) {
    dcn_event_t event;
    dcn_view_t view;
    dcn_view_info_t info = {.struct_size = sizeof info};
    dcn_member_t member = {.struct_size = sizeof member};
    dcn_engine_t a = open_member("a", NULL), none = {0};
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_engine_view(a, NULL));

    await_kind(a, DCN_EVENT_VIEW, &event);
    CHECK(event.struct_size == sizeof event && event.detail == 1 && event.view > 0 && event.data == NULL);
    await_members(a, 1);
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_event_view(a, &event, &view));

    dcn_engine_t b = open_member("b", address_of(a));
    do await_kind(a, DCN_EVENT_VIEW, &event);
    while (event.detail != 2);
    OK(dcn_event_view(a, &event, &view));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_event_view(b, &event, &view));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_event_view(a, NULL, &view));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_event_view(a, &event, NULL));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_event_view(none, &event, &view));
    OK(dcn_view_info(view, &info));
    CHECK(info.number == event.view && info.tag == event.view_tag && strlen(info.id) > 32);
    CHECK(info.member_count == 2 && info.joined_count == 1 && info.left_count == 0 && info.group_count == 1);
    CHECK(info.me == 0 && info.fenced == 0 && info.coordinator == 0 && info.merged_from == 0);
    OK(dcn_view_member(view, DCN_VIEW_JOINED, 0, &member));
    CHECK(strcmp(member.name, "b") == 0 && member.role == DCN_ROLE_DEPUTY && member.admitted == info.number);
    OK(dcn_view_member(view, DCN_VIEW_MEMBERS, 0, &member));
    CHECK(strcmp(member.name, "a") == 0 && member.role == DCN_ROLE_LEADER && member.ready == 1);
    CHECK(strlen(member.incarnation) == 32 && strcmp(member.address, address_of(a)) == 0);
    uint32_t seat_of_b = seat_of(a, "b");
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_view_member(view, DCN_VIEW_MEMBERS, 2, &member));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_view_member(view, 3, 0, &member));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_view_member(view, DCN_VIEW_MEMBERS, 0, NULL));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_view_info(view, NULL));
    info.struct_size = 0;
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_view_info(view, &info));
    info.struct_size = sizeof info;

    /* The snapshot stays as it is when the other one leaves. */
    OK(dcn_engine_leave(b, PATIENCE_MS));
    dcn_event_t later;
    do await_kind(a, DCN_EVENT_VIEW, &later);
    while (later.detail != 1);
    OK(dcn_view_info(view, &info));
    CHECK(info.member_count == 2);
    OK(dcn_view_release(view));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_view_release(view));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_view_info(view, &info));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_view_member(view, DCN_VIEW_MEMBERS, 0, &member));
    OK(dcn_event_view(a, &later, &view));
    OK(dcn_view_info(view, &info));
    CHECK(info.left_count == 1);
    OK(dcn_view_member(view, DCN_VIEW_LEFT, 0, &member));
    CHECK(strcmp(member.name, "b") == 0 && member.seat == seat_of_b);

    /* b's events end with the reason; then there is nothing more. */
    await_kind(b, DCN_EVENT_CLOSED, &event);
    CHECK(event.detail == DCN_ENDED_LEFT && event.text != NULL);
    size_t count = 7;
    EXPECT(DCN_ERR_CLOSED, dcn_engine_poll(b, &event, sizeof event, 1, 0, &count));
    CHECK(count == 7);
    EXPECT(DCN_ERR_CLOSED, send_text(b, DCN_TO_ALL, "too late"));
    OK(dcn_engine_close(b));
    OK(dcn_engine_close(a));
    OK(dcn_view_info(view, &info));
    OK(dcn_view_release(view));
}

/* It votes, and neither sends nor holds sessions. */
static void a_witness_says_so(void) {
    dcn_config_t config = member_config("w", NULL);
    OK(dcn_config_set(config, "node.witness", "true", NULL));
    OK(dcn_config_set(config, "cluster.voters", "w", NULL));
    dcn_engine_t w = open_with(config, NULL, NULL);
    dcn_view_t view;
    dcn_member_t member = {.struct_size = sizeof member};
    await_members(w, 1);
    OK(dcn_engine_view(w, &view));
    OK(dcn_view_member(view, DCN_VIEW_MEMBERS, 0, &member));
    CHECK(member.witness == 1 && member.reserved == 0 && member.ready == 1);
    OK(dcn_view_release(view));
    EXPECT(DCN_ERR_UNSUPPORTED, send_text(w, DCN_TO_ALL, "no"));
    CHECK(strstr(dcn_last_error(), "node.witness") != NULL);
    OK(dcn_engine_close(w));
}

/* As if each had been sent by itself; how many were taken is said whatever the answer is. */
static void several_at_once(const pair_t *pair) {
    dcn_event_t event;
    size_t accepted = 99, bytes = 64u << 20;
    uint8_t *much = calloc(1, bytes), some[20000];
    memset(some, 7, sizeof some);
    const dcn_slice_t messages[] = {{(const uint8_t *)"one", 3}, {NULL, 0}, {some, sizeof some}, {(const uint8_t *)"four", 4}, {much, bytes}, {some, 1}};
    OK(dcn_send_many(pair->b, DCN_TO_ALL, DCN_LEVEL_FIFO, 6, messages, 4, PATIENCE_MS, &accepted));
    CHECK(accepted == 4);
    for (size_t i = 0; i < 4; i++) {
        await_kind(pair->a, DCN_EVENT_MESSAGE, &event);
        CHECK(event.data_bytes == messages[i].bytes && event.token == 6);
        CHECK(event.data_bytes == 0 || memcmp(event.data, messages[i].data, event.data_bytes) == 0);
    }
    EXPECT(DCN_ERR_TOO_LARGE, dcn_send_many(pair->b, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, messages + 3, 3, PATIENCE_MS, &accepted));
    CHECK(accepted == 1 && strstr(dcn_last_error(), "67108864") != NULL);
    await_kind(pair->a, DCN_EVENT_MESSAGE, &event);
    CHECK(is_text(&event, "four"));
    free(much);

    accepted = 99;
    OK(dcn_send_many(pair->b, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, NULL, 0, 0, &accepted));
    CHECK(accepted == 0);
    const dcn_slice_t wrong[] = {{some, 1}, {NULL, 3}};
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_send_many(pair->b, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, wrong, 2, 0, &accepted));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_send_many(pair->b, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, NULL, 1, 0, &accepted));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_send_many(pair->b, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, messages, DCN_MESSAGES_MAX + 1, 0, &accepted));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_send_many(pair->b, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, messages, 1, 0, NULL));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_send_many(pair->b, DCN_TO_ALL, 4, 0, messages, 1, 0, &accepted));
    CHECK(accepted == 0);
}

static void messages_reach_all_and_one(void) {
    pair_t pair = open_pair();
    dcn_event_t event;
    uint32_t a = seat_of(pair.b, "a"), b = seat_of(pair.b, "b");

    OK(dcn_send(pair.b, DCN_TO_ALL, DCN_LEVEL_FIFO, 71, (const uint8_t *)"hello", 5, PATIENCE_MS));
    await_kind(pair.a, DCN_EVENT_MESSAGE, &event);
    CHECK(is_text(&event, "hello") && event.token == 71 && event.detail == 0 && event.number == 1);
    CHECK(event.seat == b && strcmp(event.member, "b") == 0 && event.view > 0);

    OK(dcn_send(pair.b, a, DCN_LEVEL_FIFO, 0, (const uint8_t *)"you", 3, PATIENCE_MS));
    await_kind(pair.a, DCN_EVENT_MESSAGE, &event);
    CHECK(is_text(&event, "you") && event.token == 0 && event.detail == 1 && event.seat == b);

    const dcn_slice_t parts[] = {{(const uint8_t *)"one ", 4}, {NULL, 0}, {(const uint8_t *)"piece", 5}};
    OK(dcn_sendv(pair.b, DCN_TO_ALL, DCN_LEVEL_FIFO, 5, parts, 3, PATIENCE_MS));
    await_kind(pair.a, DCN_EVENT_MESSAGE, &event);
    CHECK(is_text(&event, "one piece") && event.token == 5 && event.number == 2);
    OK(dcn_sendv(pair.b, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, NULL, 0, PATIENCE_MS));
    await_kind(pair.a, DCN_EVENT_MESSAGE, &event);
    CHECK(event.data != NULL && event.data_bytes == 0);

    /* What has its place in one order comes to its sender as well, and says so. */
    const uint32_t levels[] = {DCN_LEVEL_AGREED, DCN_LEVEL_SAFE};
    for (size_t i = 0; i < 2; i++) {
        OK(dcn_send(pair.b, DCN_TO_ALL, levels[i], 9, (const uint8_t *)"placed", 6, PATIENCE_MS));
        const dcn_engine_t both[] = {pair.a, pair.b};
        for (size_t at = 0; at < 2; at++) {
            await_kind(both[at], DCN_EVENT_MESSAGE, &event);
            CHECK(is_text(&event, "placed") && event.token == 9 && event.detail == levels[i] && event.seat == b);
        }
    }

    /* In a datagram: to all and to one, numbered by itself, and no longer than one takes. */
    const uint32_t receivers[] = {DCN_TO_ALL, a};
    for (uint32_t i = 0; i < 2; i++) {
        OK(dcn_send(pair.b, receivers[i], DCN_LEVEL_UNRELIABLE, 8, (const uint8_t *)"maybe", 5, PATIENCE_MS));
        await_kind(pair.a, DCN_EVENT_MESSAGE, &event);
        CHECK(is_text(&event, "maybe") && event.token == 8 && event.number == i + 1 && event.seat == b);
        CHECK(event.detail == (DCN_MESSAGE_UNRELIABLE | i) && event.view > 0);
    }
    uint8_t datagram[1328] = {0};
    EXPECT(DCN_ERR_TOO_LARGE, dcn_send(pair.b, DCN_TO_ALL, DCN_LEVEL_UNRELIABLE, 0, datagram, 1328, 0));
    CHECK(strstr(dcn_last_error(), "1327") != NULL);
    OK(dcn_send(pair.b, DCN_TO_ALL, DCN_LEVEL_UNRELIABLE, 0, datagram, 1327, 0));
    await_kind(pair.a, DCN_EVENT_MESSAGE, &event);
    CHECK(event.data_bytes == 1327 && event.number == 3);

    several_at_once(&pair);

    EXPECT(DCN_ERR_NO_SUCH_MEMBER, send_text(pair.b, b, "to myself"));
    EXPECT(DCN_ERR_NO_SUCH_MEMBER, send_text(pair.b, 1u << 30, "to nobody"));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_send(pair.b, a, DCN_LEVEL_SAFE, 0, (const uint8_t *)"x", 1, 0));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_send(pair.b, a, DCN_LEVEL_AGREED, 0, (const uint8_t *)"x", 1, 0));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_send(pair.b, 0, 4, 0, (const uint8_t *)"x", 1, 0));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_send(pair.b, 0, DCN_LEVEL_FIFO, 0, NULL, 1, 0));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_sendv(pair.b, 0, DCN_LEVEL_FIFO, 0, NULL, 1, 0));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_sendv(pair.b, 0, DCN_LEVEL_FIFO, 0, parts, DCN_PARTS_MAX + 1, 0));
    const dcn_slice_t endless[] = {{(const uint8_t *)"x", SIZE_MAX / 2}, {(const uint8_t *)"x", SIZE_MAX / 2}, {(const uint8_t *)"x", 3}};
    EXPECT(DCN_ERR_TOO_LARGE, dcn_sendv(pair.b, 0, DCN_LEVEL_FIFO, 0, endless, 3, 0));
    const dcn_slice_t wrong = {NULL, 3};
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_sendv(pair.b, 0, DCN_LEVEL_FIFO, 0, &wrong, 1, 0));
    size_t bytes = 64u << 20;
    uint8_t *much = calloc(1, bytes);
    EXPECT(DCN_ERR_TOO_LARGE, dcn_send(pair.b, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, much, bytes, PATIENCE_MS));
    free(much);

    dcn_stats_t stats = {.struct_size = sizeof stats};
    OK(dcn_engine_stats(pair.b, &stats));
    CHECK(stats.messages_sent >= 3 && stats.views_installed >= 1 && stats.connections >= 1);
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_engine_stats(pair.b, NULL));
    close_pair(pair);
}

static void few_places_are_enough_and_the_descriptor_tells(void) {
    enum { MESSAGES = 500 };
    pair_t pair = open_pair();
    int32_t fd = -1;
    OK(dcn_engine_fd(pair.a, &fd));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_engine_fd(pair.a, NULL));
    CHECK(fd >= 0);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        OK(dcn_send(pair.b, DCN_TO_ALL, DCN_LEVEL_FIFO, i + 1, (const uint8_t *)&i, sizeof i, PATIENCE_MS));
    }
    uint32_t seen = 0;
    while (seen < MESSAGES) {
        /* Whatever is left, in the library or on the network, makes the descriptor readable. */
        CHECK(readable(fd, PATIENCE_MS));
        struct {
            dcn_event_t event;
            uint64_t newer_fields[3];
        } places[3];
        memset(places, 0xff, sizeof places);
        size_t count = 0;
        size_t capacity = 1 + seen % 3;
        int32_t code = dcn_engine_poll(pair.a, &places[0].event, sizeof *places, capacity, 0, &count);
        CHECK(code == DCN_OK || (code == DCN_AGAIN && count == 0));
        CHECK(count <= capacity);
        for (size_t i = 0; i < count; i++) {
            CHECK(places[i].event.struct_size == sizeof places[i].event && places[i].newer_fields[2] == 0);
            if (places[i].event.kind != DCN_EVENT_MESSAGE) continue;
            uint32_t value;
            CHECK(places[i].event.data_bytes == sizeof value);
            memcpy(&value, places[i].event.data, sizeof value);
            CHECK(value == seen && places[i].event.token == seen + 1 && places[i].event.number == seen + 1);
            seen++;
        }
    }
    /* Once there is nothing, it is not readable after a poll that says so. */
    dcn_event_t event;
    size_t count = 9;
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (dcn_engine_poll(pair.a, &event, sizeof event, 1, 0, &count) == DCN_OK) CHECK(now_ms() < deadline);
    CHECK(count == 0 && !readable(fd, 0));

    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_engine_poll(pair.a, NULL, sizeof event, 1, 0, &count));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_engine_poll(pair.a, &event, sizeof event, 1, 0, NULL));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_engine_poll(pair.a, &event, sizeof event, 0, 0, &count));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_engine_poll(pair.a, &event, 8, 1, 0, &count));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_engine_poll(pair.a, &event, sizeof event + 1, 1, 0, &count));
    close_pair(pair);
}

static void what_is_retained_outlives_poll_and_engine(void) {
    pair_t pair = open_pair();
    dcn_event_t event, old;
    dcn_buf_t small, again, large, none = {0};
    const uint8_t *data = NULL;
    size_t bytes = 0;
    enum { LARGE = 300 * 1024 };
    uint8_t *pattern = malloc(LARGE);
    for (size_t i = 0; i < LARGE; i++) pattern[i] = (uint8_t)(i * 31 + i / 251);

    OK(send_text(pair.b, DCN_TO_ALL, "keep me"));
    await_kind(pair.a, DCN_EVENT_MESSAGE, &event);
    OK(dcn_buf_retain(pair.a, &event, &small));
    OK(dcn_buf_retain(pair.a, &event, &again));
    CHECK(small.id != again.id);
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_buf_retain(pair.b, &event, &large));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_buf_retain(pair.a, NULL, &large));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_buf_retain(pair.a, &event, NULL));
    dcn_event_t forged = event;
    forged.data_bytes = SIZE_MAX / 2;
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_buf_retain(pair.a, &forged, &large));
    forged = event;
    forged.data = (const uint8_t *)&forged;
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_buf_retain(pair.a, &forged, &large));
    forged = event;
    forged.ticket += 1000;
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_buf_retain(pair.a, &forged, &large));
    old = event;

    OK(dcn_send(pair.b, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, pattern, LARGE, PATIENCE_MS));
    await_kind(pair.a, DCN_EVENT_MESSAGE, &event);
    CHECK(event.data_bytes == LARGE && memcmp(event.data, pattern, LARGE) == 0);
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_buf_retain(pair.a, &old, &large));
    OK(dcn_buf_retain(pair.a, &event, &large));
    dcn_stats_t stats = {.struct_size = sizeof stats};
    OK(dcn_engine_stats(pair.a, &stats));
    CHECK(stats.held_bytes >= 2 * strlen("keep me") + LARGE);

    OK(dcn_buf_release(again));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_buf_release(again));
    close_pair(pair);
    OK(dcn_buf_data(small, &data, &bytes));
    CHECK(bytes == 7 && memcmp(data, "keep me", 7) == 0);
    OK(dcn_buf_data(large, &data, &bytes));
    CHECK(bytes == LARGE && memcmp(data, pattern, LARGE) == 0);
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_buf_data(large, NULL, &bytes));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_buf_data(large, &data, NULL));
    OK(dcn_buf_release(small));
    OK(dcn_buf_release(large));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_buf_data(large, &data, &bytes));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_buf_release(none));
    free(pattern);
}

static void the_cap_on_held_bytes_is_an_answer(void) {
    dcn_config_t config = member_config("a", NULL);
    OK(dcn_config_set(config, "memory.held_bytes", "1048576", NULL));
    dcn_engine_t a = open_with(config, NULL, NULL);
    await_members(a, 1);
    dcn_engine_t b = open_member("b", address_of(a));
    await_members(b, 2);
    enum { BYTES = 200 * 1024, FIT = 5 };
    uint8_t *payload = calloc(1, BYTES);
    dcn_buf_t held[FIT], refused = {7};
    for (int i = 0; i <= FIT; i++) {
        dcn_event_t event;
        OK(dcn_send(b, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, payload, BYTES, PATIENCE_MS));
        await_kind(a, DCN_EVENT_MESSAGE, &event);
        if (i < FIT) OK(dcn_buf_retain(a, &event, &held[i]));
        else {
            EXPECT(DCN_ERR_HELD_LIMIT, dcn_buf_retain(a, &event, &refused));
            CHECK(refused.id == 7 && strstr(dcn_last_error(), "memory.held_bytes") != NULL);
            OK(dcn_buf_release(held[0]));
            OK(dcn_buf_retain(a, &event, &held[0]));
        }
    }
    for (int i = 0; i < FIT; i++) OK(dcn_buf_release(held[i]));
    free(payload);
    OK(dcn_engine_close(a));
    OK(dcn_engine_close(b));
}

static void a_host_that_decides_says_when_it_is_ready(void) {
    dcn_event_t event;
    dcn_engine_t a = open_member("a", NULL);
    await_members(a, 1);
    dcn_config_t config = member_config("b", address_of(a));
    OK(dcn_config_set(config, "join.ready", "host", NULL));
    dcn_engine_t b = open_with(config, NULL, NULL);
    await_kind(b, DCN_EVENT_VIEW, &event);
    OK(dcn_engine_ready(b));
    await_kind(b, DCN_EVENT_READY, &event);
    CHECK(event.view > 0);
    await_members(a, 2);
    OK(dcn_engine_close(b));
    OK(dcn_engine_close(a));
}

static void closed_handles_are_refused_everywhere(void) {
    dcn_engine_t engine = open_member("a", NULL);
    OK(dcn_engine_close(engine));
    dcn_config_t config;
    OK(dcn_config_new(&config));
    const dcn_engine_t dead[] = {engine, {0}, {UINT64_MAX}, {config.id}};
    for (size_t i = 0; i < sizeof dead / sizeof *dead; i++) {
        dcn_event_t event = {.ticket = 1};
        dcn_view_t view;
        dcn_buf_t buffer;
        dcn_stats_t stats = {.struct_size = sizeof stats};
        char address[DCN_ADDRESS_BYTES];
        size_t count;
        int32_t fd;
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_close(dead[i]));
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_leave(dead[i], 0));
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_ready(dead[i]));
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_fd(dead[i], &fd));
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_poll(dead[i], &event, sizeof event, 1, 0, &count));
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_view(dead[i], &view));
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_event_view(dead[i], &event, &view));
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_stats(dead[i], &stats));
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_local_address(dead[i], address, sizeof address, NULL));
        EXPECT(DCN_ERR_BAD_HANDLE, send_text(dead[i], DCN_TO_ALL, "x"));
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_sendv(dead[i], DCN_TO_ALL, DCN_LEVEL_FIFO, 0, NULL, 0, 0));
        count = 99;
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_send_many(dead[i], DCN_TO_ALL, DCN_LEVEL_FIFO, 0, NULL, 0, 0, &count));
        CHECK(count == 0);
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_buf_retain(dead[i], &event, &buffer));
    }
    /* Handles of other kinds. */
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_buf_release((dcn_buf_t){config.id}));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_view_release((dcn_view_t){config.id}));
    OK(dcn_config_free(config));
}

static void before_the_first_view_there_is_none(void) {
    dcn_config_t config = member_config("alone", "127.0.0.1:9");
    OK(dcn_config_set(config, "form.wait_ms", "60000", NULL));
    dcn_engine_t engine = open_with(config, NULL, NULL);
    dcn_view_t view = {5};
    char address[DCN_ADDRESS_BYTES];
    size_t length = 0;
    EXPECT(DCN_NOT_READY, dcn_engine_view(engine, &view));
    CHECK(view.id == 5);
    EXPECT(DCN_NOT_READY, send_text(engine, DCN_TO_ALL, "to whom?"));
    EXPECT(DCN_NOT_READY, send_text(engine, 3, "to whom?"));
    OK(dcn_engine_local_address(engine, NULL, 0, &length));
    OK(dcn_engine_local_address(engine, address, length + 1, NULL));
    CHECK(strlen(address) == length && strncmp(address, "127.0.0.1:", 10) == 0);
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_engine_local_address(engine, address, length, NULL));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_engine_local_address(engine, NULL, 0, NULL));
    OK(dcn_engine_close(engine));
}

/* A host of a later version has longer structs, one of an earlier version shorter ones: both get what they can have. */
static void structs_may_be_longer_or_shorter(void) {
    dcn_engine_t engine = open_member("a", NULL);
    await_members(engine, 1);
    dcn_view_t view;
    OK(dcn_engine_view(engine, &view));
    union {
        dcn_stats_t stats;
        dcn_view_info_t info;
        dcn_member_t member;
        dcn_error_t error;
        size_t struct_size;
        unsigned char bytes[1024];
    } any;
    for (size_t bytes = 0; bytes <= sizeof any; bytes += 8) {
        const size_t known[] = {sizeof any.stats, sizeof any.info, sizeof any.member, sizeof any.error};
        for (int kind = 0; kind < 4; kind++) {
            memset(&any, 0xff, sizeof any);
            any.struct_size = bytes;
            int32_t code = kind == 0   ? dcn_engine_stats(engine, &any.stats)
                           : kind == 1 ? dcn_view_info(view, &any.info)
                           : kind == 2 ? dcn_view_member(view, DCN_VIEW_MEMBERS, 0, &any.member)
                                       : dcn_config_set((dcn_config_t){0}, "group.size", "3", &any.error);
            int too_short = bytes < 2 * sizeof(size_t);
            CHECK(code == (kind == 3 ? DCN_ERR_BAD_HANDLE : too_short ? DCN_ERR_INVALID_ARGUMENT : DCN_OK));
            CHECK(any.struct_size == bytes);
            for (size_t at = sizeof(size_t); at < sizeof any; at++) {
                if (at >= bytes || too_short) CHECK(any.bytes[at] == 0xff);
                else if (at >= known[kind]) CHECK(any.bytes[at] == 0);
            }
        }
    }
    OK(dcn_view_release(view));
    OK(dcn_engine_close(engine));
}

/* A member that never got into a view: the last event says why, and calls answer that it is over, not that it is early. */
static void who_never_joined_is_closed_and_not_early(void) {
    dcn_engine_t a = open_member("a", NULL);
    await_members(a, 1);
    const char *seeds[] = {"127.0.0.1:9", address_of(a)};
    const uint32_t reasons[] = {DCN_ENDED_JOIN_TIMEOUT, DCN_ENDED_REFUSED};
    for (int i = 0; i < 2; i++) {
        dcn_config_t config = member_config("b", seeds[i]);
        OK(dcn_config_set(config, "form.wait_ms", "60000", NULL));
        OK(dcn_config_set(config, i == 0 ? "join.timeout_ms" : "group.size", i == 0 ? "100" : "5", NULL));
        dcn_engine_t b = open_with(config, NULL, NULL);
        dcn_event_t event;
        dcn_view_t view;
        await_kind(b, DCN_EVENT_CLOSED, &event);
        CHECK(event.detail == reasons[i] && strlen(event.text) > 10);
        if (i == 1) CHECK(strstr(event.text, "group.size") != NULL);
        EXPECT(DCN_ERR_CLOSED, dcn_engine_view(b, &view));
        EXPECT(DCN_ERR_CLOSED, send_text(b, 3, "to whom?"));
        EXPECT(DCN_ERR_CLOSED, send_text(b, DCN_TO_ALL, "to whom?"));
        EXPECT(DCN_ERR_CLOSED, dcn_engine_ready(b));
        OK(dcn_engine_leave(b, PATIENCE_MS));
        OK(dcn_engine_close(b));
    }
    dcn_event_t event;
    await_kind(a, DCN_EVENT_REFUSED_JOINER, &event);
    CHECK(strcmp(event.member, "b") == 0 && event.seat == 0 && strstr(event.text, "group.size") != NULL);
    OK(dcn_engine_close(a));
}

int main(int count, char **words) {
    if (count > 1 && strcmp(words[1], "retained") == 0) {
        what_is_retained_outlives_poll_and_engine();
        return 0;
    }
    a_view_event_says_who_came_and_who_went();
    a_witness_says_so();
    messages_reach_all_and_one();
    few_places_are_enough_and_the_descriptor_tells();
    what_is_retained_outlives_poll_and_engine();
    the_cap_on_held_bytes_is_an_answer();
    a_host_that_decides_says_when_it_is_ready();
    closed_handles_are_refused_everywhere();
    before_the_first_view_there_is_none();
    structs_may_be_longer_or_shorter();
    who_never_joined_is_closed_and_not_early();
    return 0;
}
