// Settings: three sources in their order, mistakes with a suggestion, the
// operator's extension of the catalogue.
#include <unistd.h>

#include "check.h"
#include "config.h"

static struct fail fail;

static const char *write_file(const char *text) {
    static char path[64];
    snprintf(path, sizeof path, "/tmp/tuma-config-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) abort();
    close(fd);
    return path;
}

static enum err read_text(struct config *config, const char *text) {
    fail = (struct fail){ 0 };
    const char *path = write_file(text);
    enum err err = config_read(config, path, &fail);
    if (err == OK) err = config_finish(config, &fail);
    unlink(path);
    return err;
}

static void defaults_are_whole(void) {
    struct config c;
    CHECK_INT(config_read(&c, NULL, &fail), OK);
    CHECK_INT(config_finish(&c, &fail), OK);
    CHECK_TEXT(slice_str(c.host), "127.0.0.1");
    CHECK_INT(c.port, 8080);
    CHECK(!c.guard.allow_private && c.http2);
    CHECK(catalog_find_tag(c.catalog, S("CALL_ID")) &&
          catalog_find_event(c.catalog, S("call.on_60_secs_mark")));
    config_deinit(&c);
}

static void later_sources_win(void) {
    struct config c;
    setenv("TUMA_IN_FLIGHT", "33", 1);
    CHECK_INT(
        read_text(
            &c,
            "return { listen = '0.0.0.0:99', in_flight = 22, allow_private = true, script_cpu_ms = 12.5 }"),
        OK);
    unsetenv("TUMA_IN_FLIGHT");
    CHECK_INT(c.port, 99);
    CHECK_INT(c.in_flight, 33);
    CHECK(c.script_cpu_ms == 12.5);
    CHECK(c.guard.allow_private && c.guard.allow_http);
    CHECK_INT(config_set(&c, "in-flight", "44", &fail), OK);
    CHECK_INT(c.in_flight, 44);
    config_deinit(&c);
}

static void mistakes_name_the_file_and_suggest(void) {
    static const struct {
        const char *text, *said;
    } bad[] = {
        { "return { listn = 'x' }", "did you mean \"listen\"" },
        { "return { workers = 1000 }", "workers is a whole number from 0 to 64" },
        { "return { workers = 1.5 }", "workers is a whole number" },
        { "return { http2 = 'maybe' }", "http2 is true or false" },
        { "return { listen = 'nowhere' }", "listen is host:port" },
        { "return { listen = '127.0.0.1:70000' }", "listen is host:port" },
        { "return { log_level = 'loud' }", "log_level" },
        { "return { deny = '10.0.0.0/40' }", "" },
        { "return {", ":1:" },
        { "return { data = os.getenv('HOME') }", ":1:" },
        { "return 7", "" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct config c;
        CHECK(read_text(&c, bad[i].text) != OK);
        if (!strstr(fail.text, bad[i].said)) printf("# %s: %s\n", bad[i].text, fail.text);
        CHECK(strstr(fail.text, bad[i].said));
        config_deinit(&c);
    }
}

static void the_catalogue_can_be_extended(void) {
    struct config c;
    CHECK_INT(
        read_text(
            &c,
            "return { tags = { { name = 'LEAD_TYPE', description = 'kind of lead', on = { 'call.completed' } } },\n"
            "events = { { name = 'call.voicemail', description = 'left a message' } } }"),
        OK);
    const struct catalog_tag *tag = catalog_find_tag(c.catalog, S("LEAD_TYPE"));
    CHECK(tag && catalog_tag_on(c.catalog, tag, S("call.completed")) &&
          !catalog_tag_on(c.catalog, tag, S("call.incoming")));
    CHECK(catalog_find_event(c.catalog, S("call.voicemail")) &&
          catalog_find_event(c.catalog, S("call.completed")));
    config_deinit(&c);
}

static const struct check_case cases[] = {
    { "defaults are whole", defaults_are_whole },
    { "later sources win", later_sources_win },
    { "mistakes name the file and suggest", mistakes_name_the_file_and_suggest },
    { "the catalogue can be extended", the_catalogue_can_be_extended },
};
CHECK_MAIN(cases)
