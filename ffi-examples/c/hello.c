/* Members find each other and talk: what is typed into one is printed by all others.
 *   hello ann 7100              the first member
 *   hello bob 7101 7100         the second one, which finds the first one at its port
 */
#include <decurion.h>
#include <stdio.h>
#include <string.h>

static void on_event(void *context, dcn_engine_t engine, const dcn_event_t *event) {
    (void)context, (void)engine;
    if (event->kind == DCN_EVENT_VIEW) printf("* view %u has %u members\n", (unsigned)event->view, event->detail);
    if (event->kind == DCN_EVENT_MESSAGE)
        printf("%s: %.*s", event->member, (int)event->data_bytes, (const char *)event->data);
    if (event->kind == DCN_EVENT_CLOSED) printf("* ended: %s\n", event->text);
    fflush(stdout);
}

int main(int count, char **words) {
    char bind[64], seed[64], line[1024];
    dcn_config_t config;
    dcn_engine_t engine;
    if (count < 3) return fprintf(stderr, "usage: hello NAME PORT [SEED_PORT]\n"), 2;
    snprintf(bind, sizeof bind, "127.0.0.1:%s", words[2]);
    snprintf(seed, sizeof seed, "127.0.0.1:%s", count > 3 ? words[3] : words[2]);
    if (dcn_config_new(&config) || dcn_config_set(config, "node.name", words[1], NULL) ||
        dcn_config_set(config, "node.bind", bind, NULL) || dcn_config_set(config, "cluster.seeds", seed, NULL) ||
        dcn_engine_open(config, on_event, NULL, &engine, NULL))
        return fprintf(stderr, "hello: %s\n", dcn_last_error()), 1;
    while (fgets(line, sizeof line, stdin))
        if (dcn_send(engine, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, (const uint8_t *)line, strlen(line), 5000))
            fprintf(stderr, "hello: not sent: %s\n", dcn_last_error());
    dcn_engine_leave(engine, 5000);
    return dcn_engine_close(engine) || dcn_config_free(config);
}
