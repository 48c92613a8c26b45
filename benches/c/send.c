/* What a call to dcn_send costs a C host, 64 bytes each: beside an engine that is awake, as the first one after a rest, and by four
 * threads at once; and what a message costs where dcn_send_many takes a hundred at a time. Two members in one process; what one sends the other takes.  send [ROUNDS] */
#include <decurion.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* The queue takes a whole burst of the threads, with the 64 bytes that the engine counts for each message beside it. */
#define QUEUE_BYTES "268435456"
enum { BYTES = 64, THREADS = 4, BURST_OF_EACH = 250000, ROUNDS = 9, RESTS = 10, REST_US = 10000, PATIENCE_S = 30 };
/* So many calls are timed together, so many times in a row: a thread that loses its processor spoils few of them. */
enum { BLOCK = 100, BLOCKS = 40 };

static const uint8_t message[BYTES];
static dcn_slice_t together[BLOCK];
static atomic_ullong arrived;
static atomic_uint members;
static pthread_barrier_t start;

typedef void send_fn(dcn_engine_t engine, unsigned count);

typedef struct {
    dcn_engine_t engine;
    send_fn *send;
    uint64_t begun, ended;
} sender_t;

static void fail(const char *what) {
    fprintf(stderr, "send: %s: %s\n", what, dcn_last_error());
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void rest(unsigned us) {
    struct timespec time = {0, (long)us * 1000};
    nanosleep(&time, NULL);
}

static void receives(void *context, dcn_engine_t engine, const dcn_event_t *event) {
    (void)context, (void)engine;
    if (event->kind == DCN_EVENT_MESSAGE) atomic_fetch_add_explicit(&arrived, 1, memory_order_relaxed);
    if (event->kind == DCN_EVENT_VIEW) atomic_store(&members, event->detail);
}

static void ignores(void *context, dcn_engine_t engine, const dcn_event_t *event) {
    (void)context, (void)engine;
    (void)event;
}

static dcn_engine_t member(const char *name, const char *seed, dcn_event_fn handler) {
    dcn_config_t config;
    dcn_engine_t engine;
    if (dcn_config_new(&config) || dcn_config_set(config, "cluster.name", "bench-c", NULL) ||
        dcn_config_set(config, "node.name", name, NULL) || dcn_config_set(config, "node.bind", "127.0.0.1:0", NULL) ||
        dcn_config_set(config, "send.queue_bytes", QUEUE_BYTES, NULL) ||
        (seed && dcn_config_set(config, "cluster.seeds", seed, NULL)) ||
        dcn_engine_open(config, handler, NULL, &engine, NULL))
        fail(name);
    dcn_config_free(config);
    return engine;
}

/* Everything that was sent has arrived, so the engine has nothing to do. */
static void settle(uint64_t sent) {
    uint64_t until = now_ns() + PATIENCE_S * UINT64_C(1000000000);
    while (atomic_load(&arrived) < sent) {
        if (now_ns() > until) fail("what was sent has not arrived");
        rest(1000);
    }
}

static void send_some(dcn_engine_t engine, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        if (dcn_send(engine, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, message, BYTES, 0) != DCN_OK) fail("a message was not taken");
}

static void send_together(dcn_engine_t engine, unsigned count) {
    for (size_t accepted; count > 0; count -= BLOCK)
        if (dcn_send_many(engine, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, together, BLOCK, 0, &accepted) != DCN_OK) fail("messages were not taken");
}

static void *sends(void *argument) {
    sender_t *sender = argument;
    pthread_barrier_wait(&start);
    sender->begun = now_ns();
    sender->send(sender->engine, BURST_OF_EACH);
    sender->ended = now_ns();
    return NULL;
}

/* All of them together in a second, and what the slowest has of the mean. */
static void by_threads(dcn_engine_t engine, send_fn *send, double *rate, double *slowest) {
    pthread_t threads[THREADS];
    sender_t senders[THREADS];
    uint64_t begun = UINT64_MAX, ended = 0;
    double sum = 0, least = 1e18;
    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        senders[i].engine = engine;
        senders[i].send = send;
        if (pthread_create(&threads[i], NULL, sends, &senders[i]) != 0) fail("cannot start a thread");
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        double own = BURST_OF_EACH * 1e9 / (double)(senders[i].ended - senders[i].begun);
        begun = senders[i].begun < begun ? senders[i].begun : begun;
        ended = senders[i].ended > ended ? senders[i].ended : ended;
        least = own < least ? own : least;
        sum += own;
    }
    pthread_barrier_destroy(&start);
    *rate = THREADS * (double)BURST_OF_EACH * 1e9 / (double)(ended - begun);
    *slowest = least / (sum / THREADS);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* Of one message, many times in a row; the first call wakes the engine. */
static void in_blocks(dcn_engine_t engine, send_fn *send, double *awake) {
    for (int i = 0; i < BLOCKS; i++) {
        uint64_t begun = now_ns();
        send(engine, BLOCK);
        awake[i] = (double)(now_ns() - begun) / BLOCK;
    }
}

/* A place for so many figures. */
static double *figures(int count) {
    double *place = calloc((size_t)count, sizeof *place);
    if (!place) fail("no memory");
    return place;
}

static void tell(const char *what, double measured, const char *unit, double wanted, int at_least) {
    int met = at_least ? measured >= wanted : measured <= wanted;
    printf("%-48s %10.2f %-5s (%g or %s: %s)\n", what, measured, unit, wanted, at_least ? "more" : "less", met ? "met" : "missed");
}

int main(int count, char **words) {
    int rounds = count > 1 ? atoi(words[1]) : ROUNDS;
    char address[DCN_ADDRESS_BYTES];
    uint64_t sent = 0;
    if (rounds < 1 || rounds > 1000) return fprintf(stderr, "usage: send [ROUNDS]\n"), 2;
    double *awake = figures(rounds * BLOCKS), *idle = figures(rounds * RESTS), *rate = figures(rounds), *slowest = figures(rounds);
    double *of_many = figures(rounds * BLOCKS), *rate_of_many = figures(rounds), *ignored = figures(1);
    for (int i = 0; i < BLOCK; i++) together[i] = (dcn_slice_t){message, BYTES};
    dcn_engine_t receiver = member("receiver", NULL, receives);
    if (dcn_engine_local_address(receiver, address, sizeof address, NULL) != DCN_OK) fail("an address");
    dcn_engine_t engine = member("sender", address, ignores);
    for (uint64_t until = now_ns() + PATIENCE_S * UINT64_C(1000000000); atomic_load(&members) < 2; rest(1000))
        if (now_ns() > until) fail("no view of two");
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < RESTS; i++) {
            rest(REST_US);
            uint64_t begun = now_ns();
            send_some(engine, 1);
            idle[round * RESTS + i] = (double)(now_ns() - begun) / 1e3;
        }
        settle(sent += RESTS);
        in_blocks(engine, send_some, &awake[round * BLOCKS]);
        settle(sent += BLOCKS * BLOCK);
        in_blocks(engine, send_together, &of_many[round * BLOCKS]);
        settle(sent += BLOCKS * BLOCK);
        by_threads(engine, send_some, &rate[round], &slowest[round]);
        settle(sent += THREADS * (uint64_t)BURST_OF_EACH);
        by_threads(engine, send_together, &rate_of_many[round], ignored);
        settle(sent += THREADS * (uint64_t)BURST_OF_EACH);
    }
    printf("dcn_send from C, %d bytes, medians of %d rounds\n", BYTES, rounds);
    tell("a call, engine awake", median(awake, rounds * BLOCKS), "ns", 40, 0);
    tell("the first call after a rest of 10 ms", median(idle, rounds * RESTS), "us", 3, 0);
    tell("calls of four threads in a second", median(rate, rounds) / 1e6, "M", 25, 1);
    tell("the slowest of them, against the mean", median(slowest, rounds), "", 0.5, 1);
    printf("%-48s %10.2f ns\n", "one of a hundred by dcn_send_many", median(of_many, rounds * BLOCKS));
    printf("%-48s %10.2f M\n", "the same by four threads in a second", median(rate_of_many, rounds) / 1e6);
    double *all[] = {awake, idle, rate, slowest, of_many, rate_of_many, ignored};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    return dcn_engine_close(engine) != DCN_OK || dcn_engine_close(receiver) != DCN_OK;
}
