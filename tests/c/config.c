/* Configuration: every function, every refusal, and the texts that come with it. */
#include "test.h"

#include <sys/resource.h>

static void sets_and_reads(void) {
    dcn_config_t config;
    char value[32];
    size_t length = 0;
    OK(dcn_config_new(&config));
    OK(dcn_config_set(config, "group.size", "7", NULL));
    OK(dcn_config_get(config, "group.size", value, sizeof value, &length, NULL));
    CHECK(strcmp(value, "7") == 0 && length == 1);
    /* The length alone, and the text alone. */
    OK(dcn_config_set(config, "cluster.name", "twelve bytes", NULL));
    OK(dcn_config_get(config, "cluster.name", NULL, 0, &length, NULL));
    CHECK(length == 12);
    OK(dcn_config_get(config, "cluster.name", value, length + 1, NULL, NULL));
    CHECK(strcmp(value, "twelve bytes") == 0);
    /* One byte short: nothing is written. */
    strcpy(value, "before");
    length = 99;
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_config_get(config, "cluster.name", value, 12, &length, NULL));
    CHECK(strcmp(value, "before") == 0 && length == 99);
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_config_get(config, "cluster.name", NULL, 0, NULL, NULL));
    OK(dcn_config_free(config));
}

static void names_what_is_wrong(void) {
    dcn_config_t config;
    dcn_error_t error = {.struct_size = sizeof error};
    char value[8];
    OK(dcn_config_new(&config));
    EXPECT(DCN_ERR_CONFIG, dcn_config_set(config, "group.sise", "7", &error));
    CHECK(error.code == DCN_ERR_CONFIG && strstr(error.text, "group.size") != NULL);
    CHECK(strcmp(error.text, dcn_last_error()) == 0);
    EXPECT(DCN_ERR_CONFIG, dcn_config_set(config, "group.size", "many", &error));
    CHECK(strstr(error.text, "many") != NULL && strstr(error.text, "group.size") != NULL);
    EXPECT(DCN_ERR_CONFIG, dcn_config_get(config, "no.such.key", value, sizeof value, NULL, &error));
    EXPECT(DCN_ERR_SYSTEM, dcn_config_load(config, "/no/such/file.toml", &error));
    CHECK(strstr(error.text, "/no/such/file.toml") != NULL);
    EXPECT(DCN_ERR_SYSTEM, dcn_config_load(config, "/dev/zero", &error));
    CHECK(strstr(error.text, "1048576") != NULL);
    /* A text that is not UTF-8. */
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_config_set(config, "cluster.name", "\xff\xfe", &error));
    /* A struct whose size was not set is left alone; the status still tells. */
    error = (dcn_error_t){.struct_size = 0, .code = 77};
    EXPECT(DCN_ERR_CONFIG, dcn_config_set(config, "group.sise", "7", &error));
    CHECK(error.code == 77);
    /* A success leaves the struct alone. */
    error = (dcn_error_t){.struct_size = sizeof error, .code = 77};
    OK(dcn_config_set(config, "group.size", "9", &error));
    CHECK(error.code == 77);
    OK(dcn_config_free(config));
}

static void reads_files_and_the_environment(void) {
    dcn_config_t config;
    dcn_error_t error = {.struct_size = sizeof error};
    char value[32], path[] = "/tmp/decurion-test-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    const char good[] = "[cluster]\nname = \"from file\"\n[group]\nsize = 3\n";
    CHECK(write(fd, good, sizeof good - 1) == (ssize_t)(sizeof good - 1));
    OK(dcn_config_new(&config));
    OK(dcn_config_load(config, path, &error));
    CHECK(setenv("DECURION_GROUP_SIZE", "5", 1) == 0);
    OK(dcn_config_load_env(config, &error));
    OK(dcn_config_get(config, "cluster.name", value, sizeof value, NULL, NULL));
    CHECK(strcmp(value, "from file") == 0);
    OK(dcn_config_get(config, "group.size", value, sizeof value, NULL, NULL));
    CHECK(strcmp(value, "5") == 0);
    CHECK(setenv("DECURION_GROUP_SIZE", "-5", 1) == 0);
    EXPECT(DCN_ERR_CONFIG, dcn_config_load_env(config, &error));
    CHECK(strstr(error.text, "DECURION_GROUP_SIZE") != NULL);
    CHECK(unsetenv("DECURION_GROUP_SIZE") == 0);
    const char bad[] = "size = [\n";
    CHECK(write(fd, bad, sizeof bad - 1) == (ssize_t)(sizeof bad - 1));
    EXPECT(DCN_ERR_CONFIG, dcn_config_load(config, path, &error));
    CHECK(strstr(error.text, path) != NULL);
    CHECK(close(fd) == 0 && unlink(path) == 0);
    OK(dcn_config_free(config));
}

static void refuses_null_and_what_is_gone(void) {
    dcn_config_t config, none = {0};
    OK(dcn_config_new(&config));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_config_new(NULL));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_config_set(config, NULL, "1", NULL));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_config_set(config, "group.size", NULL, NULL));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_config_load(config, NULL, NULL));
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_config_get(config, NULL, NULL, 0, NULL, NULL));
    OK(dcn_config_free(config));
    dcn_config_t dead[] = {none, config, {UINT64_MAX}, {config.id + 1}};
    for (size_t i = 0; i < sizeof dead / sizeof *dead; i++) {
        char value[8];
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_config_set(dead[i], "group.size", "1", NULL));
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_config_get(dead[i], "group.size", value, sizeof value, NULL, NULL));
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_config_load(dead[i], "/dev/null", NULL));
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_config_load_env(dead[i], NULL));
        EXPECT(DCN_ERR_BAD_HANDLE, dcn_config_free(dead[i]));
    }
}

static void says_which_version_and_what_codes_mean(void) {
    CHECK(dcn_abi_version() >> 16 == DCN_ABI_VERSION >> 16 && dcn_abi_version() >= DCN_ABI_VERSION);
    for (int32_t code = -100; code <= 100; code++) CHECK(strlen(dcn_status_str(code)) > 3);
    CHECK(strcmp(dcn_status_str(DCN_ERR_CONFIG), dcn_status_str(-1000)) != 0);
}

static void *reads_its_own_error(void *unused) {
    (void)unused;
    CHECK(dcn_last_error()[0] == '\0');
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_config_free((dcn_config_t){0}));
    CHECK(dcn_last_error()[0] != '\0');
    return NULL;
}

static void each_thread_has_its_last_error(void) {
    pthread_t other;
    dcn_config_t config;
    OK(dcn_config_new(&config));
    EXPECT(DCN_ERR_CONFIG, dcn_config_set(config, "group.sise", "7", NULL));
    CHECK(pthread_create(&other, NULL, reads_its_own_error, NULL) == 0);
    CHECK(pthread_join(other, NULL) == 0);
    CHECK(strstr(dcn_last_error(), "group.sise") != NULL);
    OK(dcn_config_free(config));
}

static void refuses_to_open_what_does_not_fit(void) {
    dcn_engine_t engine = {42};
    dcn_error_t error = {.struct_size = sizeof error};
    dcn_config_t config = member_config("a", NULL);
    EXPECT(DCN_ERR_INVALID_ARGUMENT, dcn_engine_open(config, NULL, NULL, NULL, &error));
    EXPECT(DCN_ERR_BAD_HANDLE, dcn_engine_open((dcn_config_t){0}, NULL, NULL, &engine, &error));
    /* Not on this machine. */
    OK(dcn_config_set(config, "node.bind", "192.0.2.1:7100", NULL));
    OK(dcn_config_set(config, "security", "none", NULL));
    EXPECT(DCN_ERR_SYSTEM, dcn_engine_open(config, NULL, NULL, &engine, &error));
    CHECK(strstr(error.text, "192.0.2.1:7100") != NULL);
    /* A port that is taken. */
    dcn_engine_t first = open_member("first", NULL);
    OK(dcn_config_set(config, "node.bind", address_of(first), NULL));
    EXPECT(DCN_ERR_SYSTEM, dcn_engine_open(config, NULL, NULL, &engine, &error));
    CHECK(strstr(error.text, address_of(first)) != NULL);
    CHECK(engine.id == 42);
    OK(dcn_config_free(config));
    OK(dcn_engine_close(first));
}

/* Whatever fails, nothing stays open; and the same configuration opens when the reason is gone, also more than once. */
static void a_failed_open_leaves_nothing_and_a_configuration_opens_again(void) {
    dcn_error_t error = {.struct_size = sizeof error};
    dcn_engine_t first = open_member("first", NULL), engine, second;
    dcn_config_t config = member_config("again", NULL);
    char taken[DCN_ADDRESS_BYTES];
    strcpy(taken, address_of(first));
    OK(dcn_config_set(config, "node.bind", taken, NULL));
    descriptors_t before = descriptors();
    for (int i = 0; i < 200; i++) EXPECT(DCN_ERR_SYSTEM, dcn_engine_open(config, NULL, NULL, &engine, &error));
    CHECK(strstr(error.text, "is taken") != NULL && strstr(error.text, "node.bind") != NULL);
    CHECK(descriptors_since(&before) == 0);

    OK(dcn_engine_close(first));
    OK(dcn_engine_open(config, NULL, NULL, &engine, &error));
    CHECK(strcmp(address_of(engine), taken) == 0);
    EXPECT(DCN_ERR_SYSTEM, dcn_engine_open(config, NULL, NULL, &second, &error));
    OK(dcn_config_set(config, "node.bind", "127.0.0.1:0", NULL));
    OK(dcn_engine_open(config, NULL, NULL, &second, &error));
    OK(dcn_config_free(config));
    await_members(engine, 1);
    await_members(second, 1);
    OK(dcn_engine_close(second));
    OK(dcn_engine_close(engine));
    CHECK(descriptors_since(&before) == 0);
}

/* With ever more descriptors allowed, opening fails at each of its steps: it says so, and leaves nothing. */
static void without_descriptors_it_says_so(void) {
    dcn_error_t error = {.struct_size = sizeof error};
    dcn_config_t config = member_config("poor", NULL);
    dcn_engine_t engine = {0};
    struct rlimit all, few;
    CHECK(getrlimit(RLIMIT_NOFILE, &all) == 0);
    descriptors_t before = descriptors();
    int highest = dup(0), failures = 0;
    CHECK(highest >= 0 && close(highest) == 0);
    for (few = all, few.rlim_cur = (rlim_t)highest;; few.rlim_cur++) {
        CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
        int32_t code = dcn_engine_open(config, NULL, NULL, &engine, &error);
        CHECK(setrlimit(RLIMIT_NOFILE, &all) == 0);
        if (code == DCN_OK) break;
        CHECK(code == DCN_ERR_SYSTEM && strstr(error.text, "ulimit -n") != NULL);
        CHECK(descriptors_since(&before) == 0);
        CHECK(++failures < 64);
    }
    CHECK(failures >= 4);
    OK(dcn_engine_close(engine));
    OK(dcn_config_free(config));
    CHECK(descriptors_since(&before) == 0);
}

int main(void) {
    sets_and_reads();
    names_what_is_wrong();
    reads_files_and_the_environment();
    refuses_null_and_what_is_gone();
    says_which_version_and_what_codes_mean();
    each_thread_has_its_last_error();
    refuses_to_open_what_does_not_fit();
    a_failed_open_leaves_nothing_and_a_configuration_opens_again();
    without_descriptors_it_says_so();
    return 0;
}
