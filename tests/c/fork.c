/* A forked child: the parent's handles are refused, its descriptors are closed, what it makes itself works; and the
   parent does not notice. */
#include "test.h"

#include <sys/wait.h>

typedef struct {
    dcn_config_t config;
    dcn_engine_t engine, in_loop;
    dcn_view_t view;
    dcn_buf_t buffer, wrapped;
    dcn_claim_t claim;
    dcn_event_t event;
    int32_t fd, loop_fd;
    int freed;
} parent_t;

static void count_freed(void *context, uint8_t *data, size_t bytes) {
    CHECK(data != NULL && bytes == 100);
    *(int *)context += 1;
}

static void refuses_what_is_the_parents(parent_t *parent) {
    dcn_view_t view;
    dcn_view_info_t info = {.struct_size = sizeof info};
    dcn_member_t member = {.struct_size = sizeof member};
    dcn_stats_t stats = {.struct_size = sizeof stats};
    dcn_event_t event;
    dcn_engine_t engine;
    dcn_buf_t buffer;
    dcn_claim_t claim;
    uint8_t *memory;
    const uint8_t *data;
    char text[DCN_ADDRESS_BYTES];
    size_t count;
    int32_t fd;
    EXPECT(DCN_ERR_FORKED, dcn_config_set(parent->config, "group.size", "3", NULL));
    EXPECT(DCN_ERR_FORKED, dcn_config_get(parent->config, "group.size", text, sizeof text, NULL, NULL));
    EXPECT(DCN_ERR_FORKED, dcn_config_load(parent->config, "/dev/null", NULL));
    EXPECT(DCN_ERR_FORKED, dcn_config_load_env(parent->config, NULL));
    EXPECT(DCN_ERR_FORKED, dcn_config_free(parent->config));
    EXPECT(DCN_ERR_FORKED, dcn_engine_open(parent->config, NULL, NULL, &engine, NULL));
    EXPECT(DCN_ERR_FORKED, send_text(parent->engine, DCN_TO_ALL, "from the child"));
    EXPECT(DCN_ERR_FORKED, dcn_sendv(parent->engine, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, NULL, 0, 0));
    EXPECT(DCN_ERR_FORKED, dcn_send_many(parent->engine, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, NULL, 0, 0, &count));
    EXPECT(DCN_ERR_FORKED, dcn_engine_poll(parent->engine, &event, sizeof event, 1, 1000, &count));
    EXPECT(DCN_ERR_FORKED, dcn_engine_fd(parent->engine, &fd));
    EXPECT(DCN_ERR_FORKED, dcn_engine_open_in_loop(parent->config, &engine, NULL));
    EXPECT(DCN_ERR_FORKED, dcn_engine_turn(parent->in_loop));
    EXPECT(DCN_ERR_FORKED, dcn_engine_next_timeout_ms(parent->in_loop, &fd));
    EXPECT(DCN_ERR_FORKED, dcn_engine_poll(parent->in_loop, &event, sizeof event, 1, 1000, &count));
    EXPECT(DCN_ERR_FORKED, send_text(parent->in_loop, DCN_TO_ALL, "from the child"));
    EXPECT(DCN_ERR_FORKED, dcn_engine_close(parent->in_loop));
    EXPECT(DCN_ERR_FORKED, dcn_engine_view(parent->engine, &view));
    EXPECT(DCN_ERR_FORKED, dcn_event_view(parent->engine, &parent->event, &view));
    EXPECT(DCN_ERR_FORKED, dcn_session_create(parent->engine, 1, 0, NULL, 0, 0));
    EXPECT(DCN_ERR_FORKED, dcn_session_create_wait(parent->engine, 0, NULL, 0, 0, 1000, NULL));
    EXPECT(DCN_ERR_FORKED, dcn_session_read(parent->engine, 1, ""));
    EXPECT(DCN_ERR_FORKED, dcn_engine_stats(parent->engine, &stats));
    EXPECT(DCN_ERR_FORKED, dcn_engine_local_address(parent->engine, text, sizeof text, NULL));
    EXPECT(DCN_ERR_FORKED, dcn_engine_ready(parent->engine));
    EXPECT(DCN_ERR_FORKED, dcn_engine_leave(parent->engine, 1000));
    EXPECT(DCN_ERR_FORKED, dcn_engine_close(parent->engine));
    EXPECT(DCN_ERR_FORKED, dcn_view_info(parent->view, &info));
    EXPECT(DCN_ERR_FORKED, dcn_view_member(parent->view, DCN_VIEW_MEMBERS, 0, &member));
    EXPECT(DCN_ERR_FORKED, dcn_view_release(parent->view));
    EXPECT(DCN_ERR_FORKED, dcn_buf_retain(parent->engine, &parent->event, &buffer));
    EXPECT(DCN_ERR_FORKED, dcn_buf_data(parent->buffer, &data, &count));
    EXPECT(DCN_ERR_FORKED, dcn_buf_release(parent->buffer));
    EXPECT(DCN_ERR_FORKED, dcn_claim(parent->engine, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, 8, 0, &claim, &memory));
    EXPECT(DCN_ERR_FORKED, dcn_commit(parent->claim, 8));
    EXPECT(DCN_ERR_FORKED, dcn_abort(parent->claim));
    EXPECT(DCN_ERR_FORKED, dcn_send_buf(parent->engine, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, parent->wrapped, 0));
    EXPECT(DCN_ERR_FORKED, dcn_buf_release(parent->wrapped));
    CHECK(parent->freed == 0);
    CHECK(strstr(dcn_last_error(), "forked") != NULL);
    /* The number that the host may still watch is never readable here. */
    CHECK(!readable(parent->fd, 0) && !readable(parent->loop_fd, 0));
}

/* How many sockets a process has open. */
static int sockets(void) {
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        char path[64], target[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        count += length > 7 && memcmp(target, "socket:", 7) == 0;
    }
    return count;
}

static dcn_engine_t open_in_loop(const char *name) {
    dcn_engine_t engine;
    dcn_config_t config = member_config(name, NULL);
    OK(dcn_engine_open_in_loop(config, &engine, NULL));
    OK(dcn_config_free(config));
    return engine;
}

/* Runs an engine in a loop until it has formed a view. */
static void turn_until_alone(dcn_engine_t engine) {
    int64_t deadline = now_ms() + PATIENCE_MS;
    int32_t fd, timeout_ms;
    OK(dcn_engine_fd(engine, &fd));
    while (ready_members(engine) != 1) {
        OK(dcn_engine_next_timeout_ms(engine, &timeout_ms));
        readable(fd, timeout_ms);
        OK(dcn_engine_turn(engine));
        CHECK(now_ms() < deadline);
    }
}

static int child(parent_t *parent, int sockets_before) {
    refuses_what_is_the_parents(parent);
    CHECK(sockets() == sockets_before);
    dcn_engine_t own = open_member("child", NULL);
    await_members(own, 1);
    /* What the child hands over comes back to it. */
    static uint8_t bytes[100];
    dcn_buf_t wrapped;
    OK(dcn_buf_wrap(bytes, sizeof bytes, count_freed, &parent->freed, &wrapped));
    OK(dcn_buf_release(wrapped));
    CHECK(parent->freed == 1);
    OK(dcn_engine_leave(own, PATIENCE_MS));
    OK(dcn_engine_close(own));
    own = open_in_loop("child-in-loop");
    turn_until_alone(own);
    OK(dcn_engine_close(own));
    return 0;
}

/* What a child that was forked inside a callback makes itself waits as anywhere: when this leave returns, it is over. */
static int child_of_a_callback(void) {
    dcn_engine_t own = open_member("child", NULL);
    await_members(own, 1);
    OK(dcn_engine_leave(own, PATIENCE_MS));
    dcn_event_t event;
    size_t count;
    int32_t code;
    do code = dcn_engine_poll(own, &event, sizeof event, 1, 0, &count);
    while (code == DCN_OK);
    EXPECT(DCN_ERR_CLOSED, code);
    OK(dcn_engine_close(own));
    return 0;
}

/* Forks when a view comes, and writes who the child is. */
static void fork_in_handler(void *context, dcn_engine_t engine, const dcn_event_t *event) {
    (void)engine;
    if (event->kind != DCN_EVENT_VIEW) return;
    pid_t pid = fork();
    if (pid == 0) _exit(child_of_a_callback());
    CHECK(write(*(int *)context, &pid, sizeof pid) == sizeof pid);
}

static void succeeds(pid_t pid) {
    int status = -1;
    CHECK(pid >= 0);
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void forking_inside_a_callback(void) {
    int ends[2];
    pid_t pid = -1;
    CHECK(pipe(ends) == 0);
    dcn_engine_t engine = open_with(member_config("forks", NULL), fork_in_handler, &ends[1]);
    CHECK(readable(ends[0], PATIENCE_MS) && read(ends[0], &pid, sizeof pid) == sizeof pid);
    succeeds(pid);
    OK(dcn_engine_close(engine));
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
}

int main(void) {
    int before = sockets();
    descriptors_t others = descriptors();
    parent_t parent = {.config = member_config("unused", NULL)};
    dcn_engine_t peer = open_member("peer", NULL);
    await_members(peer, 1);
    parent.engine = open_member("parent", address_of(peer));
    await_members(parent.engine, 2);
    OK(dcn_engine_fd(parent.engine, &parent.fd));
    parent.in_loop = open_in_loop("parent-in-loop");
    turn_until_alone(parent.in_loop);
    OK(dcn_engine_fd(parent.in_loop, &parent.loop_fd));
    OK(dcn_engine_ready(parent.in_loop));
    CHECK(readable(parent.loop_fd, 0));
    OK(dcn_engine_view(parent.engine, &parent.view));
    OK(send_text(peer, DCN_TO_ALL, "before"));
    await_kind(parent.engine, DCN_EVENT_MESSAGE, &parent.event);
    OK(dcn_buf_retain(parent.engine, &parent.event, &parent.buffer));
    static uint8_t bytes[100];
    uint8_t *memory;
    OK(dcn_buf_wrap(bytes, sizeof bytes, count_freed, &parent.freed, &parent.wrapped));
    OK(dcn_claim(parent.engine, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, 5, 0, &parent.claim, &memory));
    OK(send_text(peer, DCN_TO_ALL, "waits while the child runs"));
    CHECK(readable(parent.fd, PATIENCE_MS));

    /* Two sockets of each port, two ends of their connection, and each engine's poll, bell, spare and event counter; the one
       in a loop has no connection, and an epoll instance more. */
    CHECK(descriptors_since(&others) >= 2 * (2 + 1 + 3) + 2 + 5);

    pid_t pid = fork();
    if (pid == 0) _exit(child(&parent, before));
    succeeds(pid);

    dcn_event_t event;
    do await_kind(parent.engine, DCN_EVENT_MESSAGE, &event);
    while (!is_text(&event, "waits while the child runs"));
    memcpy(memory, "after", 5);
    OK(dcn_commit(parent.claim, 5));
    await_kind(peer, DCN_EVENT_MESSAGE, &event);
    CHECK(is_text(&event, "after"));
    /* The one in a loop goes on where it was. */
    CHECK(readable(parent.loop_fd, 0));
    OK(dcn_engine_turn(parent.in_loop));
    OK(dcn_engine_close(parent.in_loop));
    OK(dcn_buf_release(parent.buffer));
    CHECK(parent.freed == 0);
    OK(dcn_buf_release(parent.wrapped));
    CHECK(parent.freed == 1);
    OK(dcn_view_release(parent.view));
    OK(dcn_config_free(parent.config));
    OK(dcn_engine_close(parent.engine));
    OK(dcn_engine_close(peer));
    forking_inside_a_callback();
    CHECK(descriptors_since(&others) == 0);
    return 0;
}
