/* Many threads on one engine: order per thread, one poller at a time, and closing under everybody's feet. */
#include "test.h"

enum { SENDERS = 4, MESSAGES = 300 };

typedef struct {
    dcn_engine_t engine;
    uint32_t me;
    int32_t last;
} sender_t;

static void *sends_in_order(void *argument) {
    sender_t *sender = argument;
    for (uint32_t i = 0; i < MESSAGES; i++) {
        uint32_t message[2] = {sender->me, i};
        OK(dcn_send(sender->engine, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, (const uint8_t *)message, sizeof message, PATIENCE_MS));
    }
    return NULL;
}

static void *sends_until_refused(void *argument) {
    sender_t *sender = argument;
    do sender->last = send_text(sender->engine, DCN_TO_ALL, "again and again");
    while (sender->last == DCN_OK || sender->last == DCN_AGAIN);
    return NULL;
}

static void *polls_until_refused(void *argument) {
    sender_t *sender = argument;
    dcn_event_t event;
    size_t count;
    do sender->last = dcn_engine_poll(sender->engine, &event, sizeof event, 1, PATIENCE_MS, &count);
    while (sender->last == DCN_OK || sender->last == DCN_ERR_BUSY);
    return NULL;
}

static void each_threads_messages_arrive_in_its_order(dcn_engine_t a, dcn_engine_t b) {
    pthread_t threads[SENDERS];
    sender_t senders[SENDERS];
    uint32_t next[SENDERS] = {0}, seen = 0;
    for (uint32_t i = 0; i < SENDERS; i++) {
        senders[i] = (sender_t){.engine = b, .me = i};
        CHECK(pthread_create(&threads[i], NULL, sends_in_order, &senders[i]) == 0);
    }
    while (seen < SENDERS * MESSAGES) {
        dcn_event_t event;
        uint32_t message[2];
        await_kind(a, DCN_EVENT_MESSAGE, &event);
        CHECK(event.data_bytes == sizeof message);
        memcpy(message, event.data, sizeof message);
        CHECK(message[0] < SENDERS && message[1] == next[message[0]]++);
        seen++;
    }
    for (uint32_t i = 0; i < SENDERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

/* The second poller is told so; and who waits in a poll is let go by close. */
static void one_thread_polls_at_a_time(void) {
    dcn_config_t config = member_config("waits", "127.0.0.1:9");
    OK(dcn_config_set(config, "form.wait_ms", "60000", NULL));
    sender_t poller = {.engine = open_with(config, NULL, NULL)};
    pthread_t thread;
    dcn_event_t event;
    size_t count;
    int64_t deadline = now_ms() + PATIENCE_MS;
    CHECK(pthread_create(&thread, NULL, polls_until_refused, &poller) == 0);
    while (dcn_engine_poll(poller.engine, &event, sizeof event, 1, 0, &count) != DCN_ERR_BUSY) {
        CHECK(now_ms() < deadline);
    }
    OK(dcn_engine_close(poller.engine));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(poller.last == DCN_ERR_CLOSED || poller.last == DCN_ERR_BAD_HANDLE);
    CHECK(now_ms() < deadline);
}

static void closing_lets_everybody_go(dcn_engine_t a, dcn_engine_t b) {
    pthread_t threads[SENDERS];
    sender_t senders[SENDERS];
    dcn_event_t event;
    for (uint32_t i = 0; i < SENDERS; i++) {
        senders[i] = (sender_t){.engine = b, .me = i};
        CHECK(pthread_create(&threads[i], NULL, sends_until_refused, &senders[i]) == 0);
    }
    for (int i = 0; i < 100; i++) await_kind(a, DCN_EVENT_MESSAGE, &event);
    OK(dcn_engine_close(b));
    for (uint32_t i = 0; i < SENDERS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(senders[i].last == DCN_ERR_CLOSED || senders[i].last == DCN_ERR_BAD_HANDLE);
    }
    await_members(a, 1);
    OK(dcn_engine_close(a));
}

int main(void) {
    dcn_engine_t a = open_member("a", NULL);
    await_members(a, 1);
    dcn_engine_t b = open_member("b", address_of(a));
    await_members(b, 2);
    await_members(a, 2);
    each_threads_messages_arrive_in_its_order(a, b);
    closing_lets_everybody_go(a, b);
    one_thread_polls_at_a_time();
    return 0;
}
