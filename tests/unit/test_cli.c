// The command line: every slip is named and ends with the status that the man page
// gives it, and nothing is half taken: a switch that says "false" is off.
#define _XOPEN_SOURCE 600
#include <fcntl.h>
#include <unistd.h>

#include "check.h"
#include "cli.h"

static bool all, verbose;
static int64_t limit, since;
static const char *name;
static struct config config;

// What was written to standard error since `hear`.
static char said[8192];
static int kept, ear;

static void hear(void) {
    char path[] = "/tmp/test_cli.XXXXXX";
    fflush(stdout);
    ear = mkstemp(path);
    unlink(path);
    kept = dup(STDERR_FILENO);
    dup2(ear, STDERR_FILENO);
}

static void heard(void) {
    ssize_t n = pread(ear, said, sizeof said - 1, 0);
    said[n > 0 ? n : 0] = '\0';
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(ear);
}

static int rest_count;

// Parses the words of `line`; -1 when they are taken.
static int parse(const char *line, bool settings) {
    static char text[4096], *argv[80];
    const struct cli_flag flags[] = { { "all", NULL, "all", CLI_SWITCH, &all },
                                      { "verbose", NULL, "more", CLI_SWITCH, &verbose },
                                      { "limit", "N", "how many", CLI_INT, &limit },
                                      { "since", "AGO", "how old", CLI_SECONDS, &since },
                                      { "name", "NAME", "which", CLI_TEXT, &name } };
    const struct cli_command command = { .name = "drop",
                                         .usage = "[ID…]",
                                         .summary = "Drops.",
                                         .flags = flags,
                                         .flags_count = 5,
                                         .settings = settings };
    int argc = 0;
    char **rest, *word, *save;
    snprintf(text, sizeof text, "%s", line);
    config = (struct config){ 0 };
    all = verbose = false;
    limit = since = 0;
    name = NULL;
    for (word = strtok_r(text, " ", &save); word && argc < 79; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    argv[argc] = NULL;
    hear();
    int status = cli_parse(&command, &config, argc, argv, &rest, &rest_count);
    heard();
    return status;
}

static void check_refused(const char *line, int status, const char *reason) {
    CHECK_INT(parse(line, true), status);
    if (!strstr(said, reason)) printf("# %s: %s", line, said);
    CHECK(strstr(said, reason) && said[0]);
    config_deinit(&config);
}

static void every_slip_is_named(void) {
    static const struct {
        const char *line;
        int status;
        const char *reason;
    } slips[] = {
        { "drop --al", 2, "did you mean --all" },
        { "drop --wrkers 3", 2, "did you mean --workers" },
        { "drop --zzzzzzzzzzzz", 2, "drop has no flag --zzzzzzzzzzzz (" },
        { "drop --all=maybe", 2, "--all takes true or false, not \"maybe\"" },
        { "drop --all=", 2, "--all takes true or false" },
        { "drop --limit", 2, "--limit takes a value" },
        { "drop --limit=", 2, "--limit takes a whole number" },
        { "drop --limit 3x", 2, "whole number, not \"3x\"" },
        { "drop --limit 99999999999999999999", 2, "whole number" },
        { "drop --since soon", 2, "a duration like 90s or 5m, not \"soon\"" },
        { "drop --since -5m", 2, "a duration" },
        { "drop --since 5mm", 2, "a duration" },
        { "drop --since 1e99", 2, "a duration" },
        { "drop --since nan", 2, "a duration" },
        { "drop --no-limit 3", 2, "no flag --no-limit" },
        { "drop --no-data x", 2, "no flag --no-data" },
        { "drop --no-http2=true", 2, "--no-http2 takes no value" },
        { "drop --http2 --no-http2 --http2=perhaps", 2, "http2 is true or false" },
        { "drop --config /nonexistent/tuma.conf.lua", 3, "/nonexistent/tuma.conf.lua" },
        { "drop --config /", 3, "/: cannot be read whole" },
        { "drop --listen nowhere", 3, "listen is host:port" },
        { "drop --listen :80", 3, "listen is host:port" },
        { "drop --listen h:", 3, "listen is host:port" },
        { "drop --listen h:80x", 3, "listen is host:port" },
        { "drop --listen h:-1", 3, "listen is host:port" },
        { "drop --listen=", 3, "may not be empty" },
        { "drop --data=", 3, "may not be empty" },
        { "drop --scripts=", 3, "may not be empty" },
        { "drop --log-level=", 3, "may not be empty" },
        { "drop --log-level loud", 3, "log_level is debug, info" },
        { "drop --allow 10.0.0.0/33", 3, "" },
        { "drop --deny 10.0.0.0/8,example", 3, "" },
    };
    for (size_t i = 0; i < sizeof slips / sizeof *slips; i++)
        check_refused(slips[i].line, slips[i].status, slips[i].reason);
}

static void check_setting(const struct setting *s, const char *value) {
    char line[200], reason[80];
    snprintf(line, sizeof line, "drop --%s=%s", s->name, value);
    snprintf(reason, sizeof reason, "%s is a ", s->name);
    if (s->kind == SETTING_BOOL) snprintf(reason, sizeof reason, "%s is true or false", s->name);
    check_refused(line, 2, reason);
}

static void every_setting_out_of_its_range_is_refused(void) {
    for (size_t i = 0; i < config_settings_count; i++) {
        const struct setting *s = &config_settings[i];
        static const char *const never[] = { "", "x", "1x", "nan", "inf", "1e999", "-1e300" };
        char below[40], above[40];
        snprintf(below, sizeof below, "%.0f", s->min - 1);
        snprintf(above, sizeof above, "%.0f", s->max + s->max / 1000 + 1);
        if (s->kind == SETTING_TEXT) continue;
        for (size_t k = 0; k < sizeof never / sizeof *never; k++) check_setting(s, never[k]);
        if (s->kind == SETTING_BOOL) continue;
        check_setting(s, below);
        check_setting(s, above);
        if (s->kind == SETTING_INT) check_setting(s, "1.5");
    }
}

static void every_setting_has_its_default_and_takes_it_back(void) {
    for (size_t i = 0; i < config_settings_count; i++) {
        const struct setting *s = &config_settings[i];
        char line[400], variable[64] = "TUMA_";
        snprintf(line, sizeof line, "drop --%s=%s", s->name, s->otherwise ? s->otherwise : "");
        CHECK_INT(parse(line, true), -1);
        config_deinit(&config);
        if (s->kind == SETTING_TEXT) continue;
        for (size_t k = 0; s->name[k] && k < 50; k++)
            variable[5 + k] = (char)(s->name[k] == '_' ? '_' : s->name[k] - 'a' + 'A');
        setenv(variable, "maybe", 1);
        check_refused("drop", 3, s->name);
        unsetenv(variable);
    }
}

static void switches_say_what_they_say(void) {
    CHECK_INT(parse("drop --all=false --verbose", false), -1);
    CHECK(!all && verbose);
    CHECK_INT(parse("drop --all --all=false --verbose=true", false), -1);
    CHECK(!all && verbose);
    CHECK_INT(parse("drop --no-http2 --allow-private", true), -1);
    CHECK(!config.http2 && config.allow_private);
    config_deinit(&config);
    CHECK_INT(parse("drop --http2=off --allow_private=no", true), -1);
    CHECK(!config.http2 && !config.allow_private);
    config_deinit(&config);
}

static void words_and_flags_may_stand_in_any_order(void) {
    CHECK_INT(parse("drop 7 --limit=3 8 --since 2h --name --x -- --all -h", false), -1);
    CHECK_INT(rest_count, 4);
    CHECK_INT(limit, 3);
    CHECK_INT(since, 2 * 3600 * 1000);
    CHECK(name && !strcmp(name, "--x") && !all);
    static const struct {
        const char *text;
        int64_t ms;
    } spans[] = { { "0", 0 },       { "90", 90000 },     { "90s", 90000 },
                  { "5m", 300000 }, { "1.5h", 5400000 }, { "2d", 172800000 } };
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
        char line[40];
        snprintf(line, sizeof line, "drop --since %s", spans[i].text);
        CHECK_INT(parse(line, false), -1);
        CHECK_INT(since, spans[i].ms);
    }
}

static void addresses_are_read_as_people_write_them(void) {
    CHECK_INT(parse("drop --listen [::1]:0 --allow ,10.0.0.0/8,,::1 --deny 192.0.2.7", true), -1);
    CHECK_TEXT(slice_str(config.host), "::1");
    CHECK_INT(config.guard.allow_count, 2);
    CHECK_INT(config.guard.deny_count, 1);
    config_deinit(&config);
    char line[4096] = "drop --deny ";
    for (int i = 0; i < 257; i++) strcat(line, "10.0.0.1,");
    check_refused(line, 3, "at most 256 CIDRs");
}

static void too_many_flags_are_refused(void) {
    char line[2000] = "drop";
    for (int i = 0; i < 65; i++) strcat(line, " --workers=1");
    check_refused(line, 2, "too many flags");
}

static void a_file_is_read_whole_or_a_reason_is_given(void) {
    struct fail fail = { 0 };
    size_t n = 0;
    char path[] = "/tmp/test_cli.XXXXXX", block[1000];
    memset(block, 'x', sizeof block);
    int fd = mkstemp(path);
    for (int i = 0; i < 200; i++) CHECK_INT(write(fd, block, sizeof block), (int)sizeof block);
    close(fd);
    char *text = cli_read_file(path, 200000, &n, &fail);
    CHECK(text && n == 200000 && text[0] == 'x' && text[n - 1] == 'x' && !text[n]);
    free(text);
    CHECK(!cli_read_file(path, 199999, &n, &fail) && fail.code == ERR_LIMIT);
    CHECK(strstr(fail.text, "too large") != NULL);
    unlink(path);
    CHECK(!cli_read_file(path, 10, &n, &fail) && fail.code == ERR_IO);
    CHECK(strstr(fail.text, "No such file") != NULL);
    CHECK(!cli_read_file("/", 10, &n, &fail) && fail.code == ERR_IO);
    CHECK(strstr(fail.text, "directory") != NULL);
    CHECK_TEXT(cli_stem("scripts/crm.lua"), "crm");
    CHECK_TEXT(cli_stem("crm"), "crm");
}

static void progress_is_for_terminals(void) {
    struct cli_progress p;
    hear();
    cli_progress_start(&p, "events", 100);
    cli_progress_show(&p, 50);
    cli_progress_end(&p);
    heard();
    CHECK_TEXT(slice_str(said), "");

    char shown[1000] = "";
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    CHECK(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    int screen = open(ptsname(terminal), O_RDWR | O_NOCTTY), before = dup(STDERR_FILENO);
    unsetenv("NO_COLOR");
    dup2(screen, STDERR_FILENO);
    cli_progress_start(&p, "events", 100);
    cli_progress_show(&p, 50);
    cli_progress_show(&p, 51); // at most ten times a second
    cli_progress_start(&p, "lines", 0);
    cli_progress_show(&p, 7);
    cli_progress_end(&p);
    dup2(before, STDERR_FILENO);
    close(before);
    fcntl(terminal, F_SETFL, O_NONBLOCK);
    ssize_t n = read(terminal, shown, sizeof shown - 1);
    CHECK(n > 0 && strstr(shown, "events 50/100") && strstr(shown, "lines 7"));
    close(screen);
    close(terminal);
}

static const struct check_case cases[] = {
    { "every slip is named", every_slip_is_named },
    { "every setting out of its range is refused", every_setting_out_of_its_range_is_refused },
    { "every setting takes its default, and the environment is read",
      every_setting_has_its_default_and_takes_it_back },
    { "switches say what they say", switches_say_what_they_say },
    { "words and flags may stand in any order", words_and_flags_may_stand_in_any_order },
    { "addresses are read as people write them", addresses_are_read_as_people_write_them },
    { "too many flags are refused", too_many_flags_are_refused },
    { "a file is read whole or a reason is given", a_file_is_read_whole_or_a_reason_is_given },
    { "progress is for terminals", progress_is_for_terminals },
};
CHECK_MAIN(cases)
