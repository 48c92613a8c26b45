/* Members find each other and say hello:  hello 127.0.0.1:7100 &  hello 127.0.0.1:7101 127.0.0.1:7100 */
#include <decurion.h>
#include <stdio.h>
#include <string.h>

int main(int count, char **words) {
    const char *hello = "hello, all";
    dcn_config_t config;
    dcn_engine_t engine;
    dcn_event_t events[64];
    size_t n = 0;
    if (count < 2) return fprintf(stderr, "usage: hello ADDRESS:PORT [ADDRESS:PORT of another member]\n"), 2;
    if (dcn_config_new(&config) || dcn_config_set(config, "node.bind", words[1], NULL) ||
        dcn_config_set(config, "cluster.seeds", words[count > 2 ? 2 : 1], NULL) ||
        dcn_engine_open(config, NULL, NULL, &engine, NULL))
        return fprintf(stderr, "hello: %s\n", dcn_last_error()), 1;
    dcn_config_free(config);
    while (dcn_engine_poll(engine, events, sizeof *events, 64, DCN_NO_LIMIT_MS, &n) >= 0) {
        for (size_t i = 0; i < n; i++) {
            const dcn_event_t *event = &events[i];
            if (event->kind == DCN_EVENT_VIEW) {
                printf("view %u has %u members\n", (unsigned)event->view, event->detail);
                dcn_send(engine, DCN_TO_ALL, DCN_LEVEL_FIFO, 0, (const uint8_t *)hello, strlen(hello), 0);
            }
            if (event->kind == DCN_EVENT_MESSAGE)
                printf("%s says: %.*s\n", event->member, (int)event->data_bytes, (const char *)event->data);
            if (event->kind == DCN_EVENT_CLOSED) printf("ended: %s\n", event->text);
        }
        fflush(stdout);
    }
    return dcn_engine_close(engine) != DCN_OK;
}
