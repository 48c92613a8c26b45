/* A web server that keeps its visitors' sessions in the cluster: run three, kill any one, and no visit is lost.

     cc session_server.c $(pkg-config --cflags --libs decurion libmicrohttpd) -o session_server
     ./session_server 8081 s1 127.0.0.1:7101 s1@127.0.0.1:7101,s2@127.0.0.1:7102,s3@127.0.0.1:7103

   GET / counts a visit, POST / also sets the visitor's text. "Accept: text/plain" asks for key=value instead of a page. A client
   that repeats a visit after a broken connection numbers its visits (/?visit=7): each number counts once. /?new begins a new
   session, whatever the cookie says; /state tells of this member and counts nothing. */
#define _DEFAULT_SOURCE
#include <decurion.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 4000, PATIENCE_S = 8, LIFE_S = 1800, TEXT_BYTES = 500 };

typedef struct {
    dcn_session_t session; /* Its cookie is empty: a new visitor. */
    uint64_t visits;
    char text[TEXT_BYTES + 1];
} visitor_t;
typedef struct {
    struct MHD_PostProcessor *form; /* NULL: it brings no text. */
    char text[TEXT_BYTES + 1];
} request_t;
static dcn_engine_t engine;
static const char *my_name;

static void take(const uint8_t *data, size_t bytes, const char *name, char *text, size_t capacity) {
    const uint8_t *value = NULL;
    size_t length = 0;
    dcn_attribute_get(data, bytes, name, strlen(name), &value, &length);
    snprintf(text, capacity, "%.*s", (int)length, value ? (const char *)value : "");
}

static int32_t find_visitor(visitor_t *visitor) {
    dcn_session_t *session = &visitor->session;
    dcn_buf_t attributes = {0};
    const uint8_t *data = NULL;
    size_t bytes = 0;
    char visits[24];
    int32_t code = DCN_ERR_NO_SUCH_SESSION;
    if (session->cookie[0]) code = dcn_session_read_wait(engine, session->cookie, WAIT_MS, session, &attributes);
    /* None yet, it has expired, or the cookie is malformed. */
    if (code == DCN_ERR_NO_SUCH_SESSION || code == DCN_ERR_INVALID_ARGUMENT)
        code = dcn_session_create_wait(engine, LIFE_S, NULL, 0, 0, WAIT_MS, session);
    if (code == DCN_UNREPLICATED) code = DCN_OK; /* If there is no second copy, the write that follows says so. */
    if (code == DCN_OK && attributes.id) dcn_buf_data(attributes, &data, &bytes);
    take(data, bytes, "visits", visits, sizeof visits);
    take(data, bytes, "text", visitor->text, sizeof visitor->text);
    if (attributes.id) dcn_buf_release(attributes);
    visitor->visits = strtoull(visits, NULL, 10);
    return code;
}

/* Writes what follows from what was read: only if nobody else has written since, and once for each `repeat`. `again`: then the
   version that comes back may be that of somebody else, who wrote after an earlier try of ours. */
static int32_t write_visit(visitor_t *visitor, uint64_t repeat, int again, const char *text) {
    char visits[24];
    size_t digits = (size_t)snprintf(visits, sizeof visits, "%" PRIu64, visitor->visits + 1);
    uint64_t read = visitor->session.version;
    dcn_attribute_t sets[] = {{"visits", 6, (const uint8_t *)visits, digits},
                              {"text", 4, (const uint8_t *)text, text ? strlen(text) : 0}};
    dcn_session_change_t change = {.struct_size = sizeof change, .repeat = repeat, .if_version = read,
                                   .sets = sets, .set_count = text ? 2 : 1, .stride_bytes = sizeof *sets};
    int32_t code = dcn_session_write_wait(engine, visitor->session.cookie, &change, WAIT_MS, &visitor->session);
    if (code != DCN_OK && code != DCN_UNREPLICATED) return code;
    if (visitor->session.version == read) return code; /* It had counted before: what was read is right. */
    if (visitor->session.version > read + 1 || again) return DCN_ERR_VERSION_CONFLICT; /* It has counted: read again. */
    visitor->visits++;
    if (text) strcpy(visitor->text, text);
    return code;
}

/* Counts one visit, once, however often it takes. `number` is the client's, 0 = it has none. */
static int32_t visit(visitor_t *visitor, uint64_t number, const char *text) {
    time_t until = time(NULL) + PATIENCE_S;
    uint64_t repeat = number;
    uint32_t lot = 0;
    int32_t code;
    int open = 0; /* Whether a try may have been made: then it is repeated with the number that it had. */
    do {
        if ((code = find_visitor(visitor)) != DCN_OK) continue;
        /* The numbers of a session must grow: the version comes first. Two visits at once must differ: the rest is drawn. */
        if (number == 0 && !open && getrandom(&lot, sizeof lot, 0) == sizeof lot) repeat = visitor->session.version << 32 | lot;
        code = write_visit(visitor, repeat, open, text);
        open |= code == DCN_ERR_OUTCOME_UNKNOWN;
    } while ((code == DCN_ERR_OUTCOME_UNKNOWN || code == DCN_ERR_VERSION_CONFLICT) && time(NULL) < until);
    return code;
}

/* Of this member, and of a visitor if there is one. The text is left to the caller. */
static void write_lines(FILE *page, const visitor_t *visitor) {
    dcn_view_t view;
    dcn_view_info_t info = {.struct_size = sizeof info};
    dcn_stats_t stats = {.struct_size = sizeof stats};
    char holders[2][DCN_NAME_BYTES] = {"", ""}; /* id!primary!secondary */
    dcn_engine_stats(engine, &stats);
    if (dcn_engine_view(engine, &view) == DCN_OK) dcn_view_info(view, &info);
    fprintf(page, "served_by=%s\nview=%" PRIu64 "\nmembers=", my_name, info.number);
    for (uint32_t i = 0; i < info.member_count; i++) {
        dcn_member_t member = {.struct_size = sizeof member};
        dcn_view_member(view, DCN_VIEW_MEMBERS, i, &member);
        fprintf(page, "%s%s", i ? "," : "", member.name);
        for (int k = 0; visitor && k < 2; k++)
            if (!strncmp(visitor->session.cookie + 33 + 17 * k, member.holder, 16)) strcpy(holders[k], member.name);
    }
    if (info.member_count) dcn_view_release(view);
    fprintf(page, "\nsessions_primary=%" PRIu64 "\nsessions_secondary=%" PRIu64 "\nsessions_single=%" PRIu64 "\n",
            stats.sessions_primary, stats.sessions_secondary, stats.sessions_single);
    if (visitor)
        fprintf(page, "primary=%s\nsecondary=%s\nversion=%" PRIu64 "\nvisits=%" PRIu64 "\ntext=", holders[0], holders[1],
                visitor->session.version, visitor->visits);
}

static void write_page(FILE *page, const visitor_t *visitor) {
    fprintf(page, "<!DOCTYPE html><meta charset=utf-8><title>Visits</title><h1>Visit %" PRIu64 "</h1><pre>", visitor->visits);
    write_lines(page, visitor);
    for (const char *c = visitor->text; *c; c++) fprintf(page, strchr("&<>\"'", *c) ? "&#%d;" : "%c", *c);
    fprintf(page, "</pre><form method=post action=/><input name=text maxlength=100> <button>Set the text</button></form>"
                  "<p><a href=/>Visit again</a>\n");
}

static unsigned http_status(int32_t code) {
    if (code == DCN_OK) return MHD_HTTP_OK;
    if (code == DCN_ERR_TOKEN_EXPIRED) return MHD_HTTP_CONFLICT; /* The client's number is older than the last 8. */
    if (code == DCN_ERR_INVALID_ARGUMENT || code == DCN_ERR_TOO_LARGE) return MHD_HTTP_INTERNAL_SERVER_ERROR; /* Our fault. */
    return MHD_HTTP_SERVICE_UNAVAILABLE; /* Nothing is wrong with the request: it may be served soon, here or elsewhere. */
}

static enum MHD_Result answer(struct MHD_Connection *to, unsigned status, const char *type, char *body, size_t bytes,
                              const char *cookie) {
    char header[DCN_COOKIE_BYTES + 64];
    struct MHD_Response *response = MHD_create_response_from_buffer(bytes, body, MHD_RESPMEM_MUST_FREE);
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE) MHD_add_response_header(response, "Retry-After", "1");
    /* With every answer: it says where the session is now. Where there is TLS, add "; Secure". */
    snprintf(header, sizeof header, "sid=%s; Path=/; HttpOnly; SameSite=Lax", cookie);
    if (cookie[0]) MHD_add_response_header(response, "Set-Cookie", header);
    enum MHD_Result queued = MHD_queue_response(to, status, response);
    MHD_destroy_response(response);
    return queued;
}

static enum MHD_Result on_field(void *context, enum MHD_ValueKind kind, const char *key, const char *file, const char *type,
                                const char *encoding, const char *data, uint64_t offset, size_t bytes) {
    request_t *request = context;
    (void)kind, (void)file, (void)type, (void)encoding;
    if (!strcmp(key, "text") && offset + bytes <= TEXT_BYTES) memcpy(request->text + offset, data, bytes);
    return MHD_YES;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *from, const char *path, const char *method,
                                  const char *version, const char *data, size_t *bytes, void **place) {
    request_t *request = *place;
    (void)context, (void)version;
    if (!request) { /* The head is there; the body follows. */
        if (!(*place = request = calloc(1, sizeof *request))) return MHD_NO;
        if (!strcmp(method, "POST")) request->form = MHD_create_post_processor(from, 1024, on_field, request);
        return MHD_YES;
    }
    if (*bytes) {
        if (request->form) MHD_post_process(request->form, data, *bytes);
        *bytes = 0;
        return MHD_YES;
    }
    char *body = NULL;
    size_t length = 0;
    unsigned status = MHD_HTTP_OK;
    visitor_t visitor = {.session = {.struct_size = sizeof visitor.session}};
    const char *accept = MHD_lookup_connection_value(from, MHD_HEADER_KIND, "Accept"), *type = "text/plain; charset=utf-8";
    FILE *page = open_memstream(&body, &length);
    if (!page) return MHD_NO;
    if (!strcmp(path, "/state")) {
        write_lines(page, NULL);
    } else if (strcmp(path, "/") || (strcmp(method, "GET") && strcmp(method, "POST"))) {
        status = MHD_HTTP_NOT_FOUND, fprintf(page, "There is GET / and POST /, and /state.\n");
    } else {
        const char *cookie = MHD_lookup_connection_value(from, MHD_COOKIE_KIND, "sid");
        const char *number = MHD_lookup_connection_value(from, MHD_GET_ARGUMENT_KIND, "visit");
        if (cookie && MHD_lookup_connection_value_n(from, MHD_GET_ARGUMENT_KIND, "new", 3, NULL, NULL) != MHD_YES)
            /* One that is too long stays malformed when it is cut; the library sees that. */
            snprintf(visitor.session.cookie, sizeof visitor.session.cookie, "%s", cookie);
        int32_t code = visit(&visitor, number ? strtoull(number, NULL, 10) : 0, request->form ? request->text : NULL);
        status = http_status(code);
        if (code != DCN_OK) {
            fprintf(page, "Not served (%" PRId32 "): %s\n", code, dcn_last_error());
        } else if (accept && strstr(accept, "text/plain") == accept) {
            write_lines(page, &visitor);
            fprintf(page, "%s\n", visitor.text);
        } else {
            write_page(page, &visitor);
            type = "text/html; charset=utf-8";
        }
    }
    fclose(page);
    return answer(from, status, type, body, length, visitor.session.version ? visitor.session.cookie : "");
}

static void on_end(void *context, struct MHD_Connection *of, void **place, enum MHD_RequestTerminationCode how) {
    request_t *request = *place;
    (void)context, (void)of, (void)how;
    if (request && request->form) MHD_destroy_post_processor(request->form);
    free(request);
}

/* On the engine's thread: it must not wait. */
static void on_event(void *context, dcn_engine_t of, const dcn_event_t *event) {
    (void)context, (void)of;
    if (event->kind == DCN_EVENT_VIEW) printf("view %" PRIu64 " has %" PRIu32 " members\n", event->view, event->detail);
    /* Without its member the server is of no use. */
    if (event->kind == DCN_EVENT_CLOSED) printf("ended: %s\n", event->text), kill(getpid(), SIGTERM);
}

int main(int count, char **words) {
    dcn_config_t config;
    sigset_t ends;
    int which;
    if (count != 5) return fprintf(stderr, "usage: session_server HTTP_PORT NAME ADDRESS:PORT NAME@ADDRESS:PORT,...\n"), 2;
    my_name = words[2];
    setvbuf(stdout, NULL, _IOLBF, 0);
    /* Blocked before any thread begins, so that only sigwait takes them. */
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM), sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    if (dcn_config_new(&config) || dcn_config_set(config, "node.name", my_name, NULL) ||
        dcn_config_set(config, "node.bind", words[3], NULL) || dcn_config_set(config, "cluster.seeds", words[4], NULL) ||
        dcn_engine_open(config, on_event, NULL, &engine, NULL))
        return fprintf(stderr, "session_server: %s\n", dcn_last_error()), 1;
    dcn_config_free(config);
    /* A thread for each connection: a call that waits holds up nobody but its own client. */
    struct sockaddr_in at = {AF_INET, htons((uint16_t)atoi(words[1])), {htonl(INADDR_LOOPBACK)}, {0}};
    struct MHD_Daemon *web = MHD_start_daemon(
        MHD_USE_AUTO_INTERNAL_THREAD | MHD_USE_THREAD_PER_CONNECTION, 0, NULL, NULL, on_request, NULL, MHD_OPTION_SOCK_ADDR, &at,
        MHD_OPTION_NOTIFY_COMPLETED, on_end, NULL, MHD_OPTION_CONNECTION_LIMIT, 256, MHD_OPTION_CONNECTION_TIMEOUT, 30, 0);
    if (!web) return perror("session_server: HTTP port"), 1;
    printf("%s serves http://127.0.0.1:%s/\n", my_name, words[1]);
    sigwait(&ends, &which);
    MHD_stop_daemon(web); /* What is being served is answered first. */
    dcn_engine_leave(engine, WAIT_MS);
    return dcn_engine_close(engine) != DCN_OK;
}
