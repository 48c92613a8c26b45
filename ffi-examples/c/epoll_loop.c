/* A member in its host's own epoll loop, without a thread of the library. What comes on standard input (a terminal or a
   pipe) goes to all other members, and theirs to standard output. When the input ends, the member leaves.

     epoll_loop 127.0.0.1:7100                      in one terminal, and in another one
     epoll_loop 127.0.0.1:7101 127.0.0.1:7100 */
#include <decurion.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

typedef struct {
    int epoll;
    dcn_engine_t engine;
} host_t;

static int watch(const host_t *host, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    return epoll_ctl(host->epoll, EPOLL_CTL_ADD, fd, &event);
}

static int open_member(host_t *host, const char *address, const char *seeds) {
    dcn_config_t config;
    int32_t fd;
    if (dcn_config_new(&config)) return 0;
    int opened = !dcn_config_set(config, "node.bind", address, NULL) &&
                 !dcn_config_set(config, "cluster.seeds", seeds, NULL) &&
                 !dcn_engine_open_in_loop(config, &host->engine, NULL);
    dcn_config_free(config);
    return opened && !dcn_engine_fd(host->engine, &fd) && !watch(host, fd);
}

/* Reads into the message itself. While there is no room for one nothing is read: whoever writes to us waits, and the loop does not. */
static void on_input(host_t *host) {
    enum { MOST_BYTES = 4096 };
    dcn_claim_t claim;
    uint8_t *data;
    if (dcn_claim(host->engine, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, MOST_BYTES, 0, &claim, &data) != DCN_OK) {
        epoll_ctl(host->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL); /* An event says when to try again. */
        return;
    }
    ssize_t bytes = read(STDIN_FILENO, data, MOST_BYTES);
    if (bytes > 0) {
        dcn_commit(claim, (size_t)bytes);
        return;
    }
    dcn_abort(claim);
    epoll_ctl(host->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    dcn_engine_leave(host->engine, 0); /* Only begins it: DCN_EVENT_CLOSED follows. */
}

static void on_event(host_t *host, const dcn_event_t *event) {
    switch (event->kind) {
        case DCN_EVENT_MESSAGE:
            fwrite(event->data, 1, event->data_bytes, stdout);
            break;
        case DCN_EVENT_VIEW:
            printf("view %llu has %u members\n", (unsigned long long)event->view, (unsigned)event->detail);
            watch(host, STDIN_FILENO); /* It may have been too early; once more does no harm. */
            break;
        case DCN_EVENT_WRITABLE:
        case DCN_EVENT_PRIMARY: watch(host, STDIN_FILENO); break;
        case DCN_EVENT_CLOSED: printf("ended: %s\n", event->text); break;
        default: break;
    }
}

/* Does what the library has to do, and takes what has happened. An error says that no more will come. */
static int32_t serve(host_t *host) {
    dcn_event_t events[64];
    size_t count;
    int32_t code;
    dcn_engine_turn(host->engine);
    while ((code = dcn_engine_poll(host->engine, events, sizeof *events, 64, 0, &count)) == DCN_OK) {
        for (size_t i = 0; i < count; i++) on_event(host, &events[i]);
    }
    fflush(stdout);
    return code;
}

int main(int count, char **words) {
    host_t host = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
    if (count < 2) return fprintf(stderr, "usage: epoll_loop ADDRESS:PORT [ADDRESS:PORT of another member]\n"), 2;
    if (watch(&host, STDIN_FILENO)) return perror("epoll_loop: standard input (give it a terminal or a pipe)"), 1;
    if (!open_member(&host, words[1], words[count > 2 ? 2 : 1]))
        return fprintf(stderr, "epoll_loop: %s\n", dcn_last_error()), 1;
    do {
        /* 0 while the library has work left; the descriptor is readable then, too. */
        int32_t timeout_ms = 0;
        dcn_engine_next_timeout_ms(host.engine, &timeout_ms);
        struct epoll_event ready[8];
        int readable = epoll_wait(host.epoll, ready, 8, timeout_ms);
        for (int i = 0; i < readable; i++) {
            if (ready[i].data.fd == STDIN_FILENO) on_input(&host);
        }
        /* Whatever woke the loop: a turn too many is harmless, and it may be that only time has passed. */
    } while (serve(&host) >= 0);
    close(host.epoll);
    return dcn_engine_close(host.engine) != DCN_OK;
}
