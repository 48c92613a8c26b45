/* Sessions: made on one member and used on another, alive when their owner is gone; what comes from a browser is not trusted. */
#include "test.h"

#define NAMED(text) (text), sizeof(text) - 1
#define VALUE(text) (const uint8_t *)(text), sizeof(text) - 1

static const dcn_attribute_t CART[] = {{NAMED("cart"), VALUE("3 apples")}, {NAMED("user"), VALUE("ada")}};

static dcn_session_t create(dcn_engine_t engine) {
    dcn_session_t session = {.struct_size = sizeof session};
    OK(dcn_session_create_wait(engine, 0, CART, sizeof *CART, 2, PATIENCE_MS, &session));
    CHECK(session.version == 1 && strlen(session.cookie) == 66);
    return session;
}

static dcn_session_change_t set(const dcn_attribute_t *attribute, uint64_t repeat) {
    return (dcn_session_change_t){.struct_size = sizeof(dcn_session_change_t),
                                  .repeat = repeat,
                                  .sets = attribute,
                                  .set_count = 1,
                                  .stride_bytes = sizeof *attribute};
}

/* The attribute has this value; a NULL text: it is not there. */
static void has(const uint8_t *data, size_t bytes, const char *name, const char *text) {
    const uint8_t *value = data;
    size_t length = 99;
    OK(dcn_attribute_get(data, bytes, name, strlen(name), &value, &length));
    if (text == NULL) {
        CHECK(value == NULL && length == 0);
    } else {
        CHECK(value != NULL && length == strlen(text) && memcmp(value, text, length) == 0);
    }
}

static void reads(dcn_engine_t engine, dcn_session_t *session, const char *name, const char *text) {
    dcn_buf_t attributes;
    const uint8_t *data;
    size_t bytes;
    OK(dcn_session_read_wait(engine, session->cookie, PATIENCE_MS, session, &attributes));
    OK(dcn_buf_data(attributes, &data, &bytes));
    has(data, bytes, name, text);
    OK(dcn_buf_release(attributes));
}

/* Whether a cookie means the member of this name by these 16 characters. */
static int is_holder(dcn_engine_t engine, const char *name, const char *part) {
    dcn_view_t view;
    dcn_view_info_t info = {.struct_size = sizeof info};
    int is = 0;
    OK(dcn_engine_view(engine, &view));
    OK(dcn_view_info(view, &info));
    for (uint32_t i = 0; i < info.member_count; i++) {
        dcn_member_t member = {.struct_size = sizeof member};
        OK(dcn_view_member(view, DCN_VIEW_MEMBERS, i, &member));
        CHECK(strlen(member.holder) == 16);
        is |= strcmp(member.name, name) == 0 && strncmp(member.holder, part, 16) == 0;
    }
    OK(dcn_view_release(view));
    return is;
}

static void a_session_is_found_everywhere_and_outlives_its_owner(void) {
    dcn_engine_t a = open_member("a", NULL), b = open_member("b", address_of(a)), c = open_member("c", address_of(a));
    await_members(a, 3);
    await_members(b, 3);
    await_members(c, 3);
    dcn_session_t session = create(a);
    char made_by[DCN_COOKIE_BYTES];
    strcpy(made_by, session.cookie);

    CHECK(is_holder(a, "a", session.cookie + 33) && !is_holder(a, "a", session.cookie + 50));
    CHECK(is_holder(a, "b", session.cookie + 50) != is_holder(a, "c", session.cookie + 50));
    /* A look moves nothing: the cookie stays as it was made. */
    dcn_buf_t attributes;
    OK(dcn_session_peek_wait(c, session.cookie, PATIENCE_MS, &session, &attributes));
    OK(dcn_buf_release(attributes));
    CHECK(strcmp(session.cookie, made_by) == 0);

    reads(b, &session, "user", "ada");
    CHECK(strncmp(session.cookie, made_by, 32) == 0 && strcmp(session.cookie, made_by) != 0);
    CHECK(is_holder(c, "b", session.cookie + 33));

    const dcn_attribute_t grace = {NAMED("user"), VALUE("grace")}, gone[] = {{NAMED("cart"), NULL, 0}, {NAMED("x"), NULL, 0}};
    dcn_session_change_t change = set(&grace, 7);
    change.removes = gone;
    change.remove_count = 2;
    OK(dcn_session_write_wait(b, session.cookie, &change, PATIENCE_MS, &session));
    CHECK(session.version == 2);
    OK(dcn_session_write_wait(a, made_by, &change, PATIENCE_MS, &session)); /* The same one, repeated elsewhere. */
    CHECK(session.version == 2);
    change.if_version = 1;
    change.repeat = 8;
    EXPECT(DCN_ERR_VERSION_CONFLICT, dcn_session_write_wait(a, session.cookie, &change, PATIENCE_MS, NULL));

    OK(dcn_engine_close(a));
    reads(c, &session, "user", "grace");
    reads(b, &session, "cart", NULL);
    dcn_stats_t stats = {.struct_size = sizeof stats};
    OK(dcn_engine_stats(b, &stats));
    CHECK(stats.sessions_primary == 1 && stats.session_bytes > 100);

    OK(dcn_session_touch_wait(c, session.cookie, PATIENCE_MS, NULL));
    OK(dcn_session_remove_wait(c, session.cookie, PATIENCE_MS, NULL));
    EXPECT(DCN_ERR_NO_SUCH_SESSION, dcn_session_read_wait(b, session.cookie, PATIENCE_MS, NULL, NULL));
    OK(dcn_engine_close(b));
    OK(dcn_engine_close(c));
}

/* The next answer; it has this token. */
static dcn_event_t answer(dcn_engine_t engine, uint64_t token, int32_t status) {
    dcn_event_t event;
    await_kind(engine, DCN_EVENT_SESSION, &event);
    CHECK(event.token == token);
    if ((int32_t)event.detail != status)
        fail(__FILE__, __LINE__, "token %d: %s", (int)token, dcn_status_str((int32_t)event.detail));
    return event;
}

static void requests_complete_by_events(void) {
    dcn_engine_t engine = open_member("alone", NULL);
    await_members(engine, 1);
    char cookie[DCN_COOKIE_BYTES];
    OK(dcn_session_create(engine, 1, 60, CART, sizeof *CART, 2));
    dcn_event_t event = answer(engine, 1, DCN_UNREPLICATED);
    CHECK(event.number == 1 && event.data == NULL && strlen(event.text) < sizeof cookie);
    strcpy(cookie, event.text);

    OK(dcn_session_read(engine, 2, cookie));
    event = answer(engine, 2, DCN_OK);
    has(event.data, event.data_bytes, "cart", "3 apples");
    dcn_attribute_t attribute;
    size_t position = 0, count = 0;
    for (;; count++) {
        OK(dcn_attribute_next(event.data, event.data_bytes, &position, &attribute));
        if (attribute.name == NULL) break;
        CHECK(attribute.name_bytes == CART[count].name_bytes && attribute.value_bytes == CART[count].value_bytes);
        CHECK(memcmp(attribute.name, CART[count].name, attribute.name_bytes) == 0);
    }
    CHECK(count == 2);
    dcn_buf_t kept;
    OK(dcn_buf_retain(engine, &event, &kept));
    OK(dcn_buf_release(kept));

    dcn_session_change_t change = set(CART, 0);
    change.whole = 1;
    OK(dcn_session_write(engine, 3, cookie, &change));
    CHECK(answer(engine, 3, DCN_UNREPLICATED).number == 2);
    OK(dcn_session_touch(engine, 4, cookie));
    answer(engine, 4, DCN_OK);
    OK(dcn_session_remove(engine, 5, cookie));
    answer(engine, 5, DCN_OK);
    OK(dcn_session_read(engine, 6, cookie));
    CHECK(answer(engine, 6, DCN_ERR_NO_SUCH_SESSION).text == NULL);
    OK(dcn_engine_close(engine));
}

static void forged_cookies_open_nothing(void) {
    dcn_engine_t engine = open_member("alone", NULL);
    await_members(engine, 1);
    dcn_session_t session = {.struct_size = sizeof session};
    EXPECT(DCN_UNREPLICATED, dcn_session_create_wait(engine, 0, CART, sizeof *CART, 2, PATIENCE_MS, &session));
    char huge[1 << 16];
    memset(huge, 'a', sizeof huge - 1);
    huge[sizeof huge - 1] = 0;
    const char *const malformed[] = {"", "!", "!!", "!!!", "abc!def!ghi", huge, "\xff\xfe", "%s%n",
                                     "0123456789abcdef0123456789ABCDEF!0123456789abcdef!0123456789abcdef",
                                     "0123456789abcdef0123456789abcde!00123456789abcdef!0123456789abcdef",
                                     "0123456789abcdef0123456789abcdef!0123456789abcdef!0123456789abcdef\n"};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        dcn_session_change_t change = set(CART, 0);
        EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_read(engine, 1, malformed[i]));
        CHECK(strstr(dcn_last_error(), "cookie") != NULL);
        EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_write(engine, 1, malformed[i], &change));
        EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_touch(engine, 1, malformed[i]));
        EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_remove(engine, 1, malformed[i]));
        EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_remove_wait(engine, malformed[i], PATIENCE_MS, NULL));
    }
    /* Well made, and of nobody here; with no holders named, it is known that there is none. */
    const char *foreign = "0123456789abcdef0123456789abcdef!0123456789abcdef!0123456789abcdef";
    EXPECT(DCN_ERR_HOLDERS_UNREACHABLE, dcn_session_read_wait(engine, foreign, PATIENCE_MS, &session, NULL));
    const char *guessed = "0123456789abcdef0123456789abcdef!0000000000000000!0000000000000000";
    EXPECT(DCN_ERR_NO_SUCH_SESSION, dcn_session_touch_wait(engine, guessed, PATIENCE_MS, &session));
    /* Another's holders beside a true name: only a hint. */
    memcpy(session.cookie + 32, foreign + 32, 34);
    reads(engine, &session, "user", "ada");
    OK(dcn_engine_close(engine));
}

static void what_makes_no_sense_is_refused(void) {
    dcn_engine_t engine = open_member("alone", NULL);
    await_members(engine, 1);
    dcn_session_t session = {.struct_size = sizeof session};
    EXPECT(DCN_UNREPLICATED, dcn_session_create_wait(engine, 0, NULL, 0, 0, PATIENCE_MS, &session));
    const char *cookie = session.cookie;

    static char name[256];
    memset(name, 'n', sizeof name);
    static uint8_t value[256 * 1024];
    const dcn_attribute_t wrong[] = {
        {name, 256, NULL, 0},       {name, 0, NULL, 0},  {"\xc3", 1, NULL, 0},         {NULL, 4, NULL, 0},
        {NAMED("a"), NULL, 1}, {name, SIZE_MAX, NULL, 0}, {NAMED("a"), value, SIZE_MAX},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_create(engine, 1, 0, &wrong[i], sizeof wrong[i], 1));
        dcn_session_change_t change = set(&wrong[i], 0);
        EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_write(engine, 1, cookie, &change));
    }
    const dcn_attribute_t large = {NAMED("a"), value, sizeof value};
    EXPECT(DCN_ERR_TOO_LARGE, dcn_session_create(engine, 1, 0, &large, sizeof large, 1));
    CHECK(strstr(dcn_last_error(), "262144") != NULL);
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_create(engine, 1, 0, NULL, sizeof *CART, 1));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_create(engine, 1, 0, CART, 3, 1));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_create(engine, 1, 0, CART, sizeof *CART, SIZE_MAX));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_read(engine, 1, NULL));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_write(engine, 1, cookie, NULL));
    dcn_session_change_t change = set(CART, 0);
    change.whole = 2;
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_write(engine, 1, cookie, &change));
    change.whole = change.struct_size = 0;
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_write(engine, 1, cookie, &change));
    EXPECT(DCN_ERR_TIMEOUT, dcn_session_read_wait(engine, cookie, 0, NULL, NULL));
    /* A wrong place for the answer is seen before anything is asked. */
    dcn_session_t unset = {.struct_size = 0};
    change = set(CART, 0);
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_write_wait(engine, cookie, &change, PATIENCE_MS, &unset));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_remove_wait(engine, cookie, PATIENCE_MS, &unset));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_session_read_wait(engine, cookie, PATIENCE_MS, &unset, NULL));
    OK(dcn_session_read_wait(engine, cookie, PATIENCE_MS, &session, NULL));
    CHECK(session.version == 1);

    const uint8_t *found;
    size_t length, position = 5;
    dcn_attribute_t attribute;
    const uint8_t garbage[] = {255, 255, 1, 2, 3};
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_attribute_get(garbage, sizeof garbage, NAMED("a"), &found, &length));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_attribute_get(NULL, 5, NAMED("a"), &found, &length));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_attribute_get(garbage, 0, NAMED("a"), NULL, &length));
    OK(dcn_attribute_get(NULL, 0, NAMED("a"), &found, &length));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_attribute_next(garbage, 4, &position, &attribute));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_attribute_next(garbage, 4, NULL, &attribute));
    OK(dcn_attribute_next(garbage, 5, &position, &attribute));
    CHECK(found == NULL && attribute.name == NULL && position == 5);
    OK(dcn_engine_close(engine));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_session_touch(engine, 1, cookie));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_session_create_wait(engine, 0, NULL, 0, 0, PATIENCE_MS, &session));
}

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int answers;
} host_t;

/* A handler must not wait; it asks, and gets the answer as any other event. */
static void on_event(void *context, dcn_engine_t engine, const dcn_event_t *event) {
    host_t *host = context;
    if (event->kind == DCN_EVENT_VIEW) {
        EXPECT(DCN_ERR_WOULD_DEADLOCK, dcn_session_create_wait(engine, 0, NULL, 0, 0, PATIENCE_MS, NULL));
        OK(dcn_session_create(engine, 11, 0, CART, sizeof *CART, 2));
    }
    if (event->kind != DCN_EVENT_SESSION) return;
    if (event->token == 11) {
        EXPECT(DCN_ERR_WOULD_DEADLOCK, dcn_session_read_wait(engine, event->text, PATIENCE_MS, NULL, NULL));
        OK(dcn_session_read(engine, 12, event->text));
    } else {
        has(event->data, event->data_bytes, "user", "ada");
    }
    CHECK(pthread_mutex_lock(&host->lock) == 0);
    host->answers++;
    CHECK(pthread_cond_broadcast(&host->changed) == 0);
    CHECK(pthread_mutex_unlock(&host->lock) == 0);
}

static void a_handler_asks_and_does_not_wait(void) {
    host_t host = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    dcn_engine_t engine = open_with(member_config("handler", NULL), on_event, &host);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    CHECK(pthread_mutex_lock(&host.lock) == 0);
    while (host.answers < 2) CHECK(pthread_cond_timedwait(&host.changed, &host.lock, &until) == 0);
    CHECK(pthread_mutex_unlock(&host.lock) == 0);
    OK(dcn_engine_close(engine));

    dcn_config_t config = member_config("loop", NULL);
    OK(dcn_engine_open_in_loop(config, &engine, NULL));
    OK(dcn_config_free(config));
    EXPECT(DCN_ERR_WOULD_DEADLOCK, dcn_session_create_wait(engine, 0, NULL, 0, 0, PATIENCE_MS, NULL));
    OK(dcn_engine_close(engine));
}

int main(void) {
    a_session_is_found_everywhere_and_outlives_its_owner();
    requests_complete_by_events();
    forged_cookies_open_nothing();
    what_makes_no_sense_is_refused();
    a_handler_asks_and_does_not_wait();
    return 0;
}
