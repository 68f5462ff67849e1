// Tokens: their shape, their scopes, and the limit on guessing.
#include "token.h"

#include "check.h"
#include "sign.h"

static void a_new_token_parses_and_hashes(void) {
    struct token token;
    token_make(&token);
    struct slice text = slice_str(token.text), id;
    CHECK_INT(text.n, TOKEN_TEXT);
    CHECK(token_parse(text, &id));
    CHECK_SLICE(id, slice_str(token.id));
    uint8_t hash[32];
    hash_sha256(text, hash);
    CHECK(token_equal(hash, token.hash));
    hash[31] ^= 1;
    CHECK(!token_equal(hash, token.hash));
}

static void tokens_differ_and_use_the_whole_alphabet(void) {
    static struct token tokens[300];
    bool seen[256] = { false };
    for (size_t i = 0; i < 300; i++) {
        token_make(&tokens[i]);
        for (const char *c = tokens[i].text + 4 + TOKEN_ID; *c; c++) seen[(unsigned char)*c] = true;
        for (size_t k = 0; k < i; k++) {
            CHECK(strcmp(tokens[i].id, tokens[k].id) != 0);
            CHECK(strcmp(tokens[i].text + 16, tokens[k].text + 16) != 0);
        }
    }
    int kinds = 0;
    for (int c = 0; c < 256; c++) kinds += seen[c];
    CHECK_INT(kinds, 62);
}

static void refuses_what_is_no_token(void) {
    struct token token;
    token_make(&token);
    struct slice id;
    char text[TOKEN_TEXT + 2];
    CHECK(!token_parse(S(""), &id));
    CHECK(!token_parse(S("wh_"), &id));
    CHECK(!token_parse(slice(token.text, TOKEN_TEXT - 1), &id));
    memcpy(text, token.text, TOKEN_TEXT);
    text[TOKEN_TEXT] = 'x';
    CHECK(!token_parse(slice(text, TOKEN_TEXT + 1), &id));
    static const size_t places[] = { 0, 2, 3, 3 + TOKEN_ID, 4 + TOKEN_ID, TOKEN_TEXT - 1 };
    static const char wrong[] = "\0 '\n-.\xFF";
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        for (size_t w = 0; w < sizeof wrong - 1; w++) {
            memcpy(text, token.text, TOKEN_TEXT);
            text[places[i]] = wrong[w];
            CHECK(!token_parse(slice(text, TOKEN_TEXT), &id));
        }
    }
    memcpy(text, token.text, TOKEN_TEXT);
    text[3] = 'A'; // ids are lower case
    CHECK(!token_parse(slice(text, TOKEN_TEXT), &id));
}

static void scopes_read_and_write(void) {
    unsigned scopes = 0;
    char text[32];
    CHECK(token_scopes_parse(S("ingest"), &scopes));
    CHECK_INT(scopes, TOKEN_INGEST);
    CHECK(token_scopes_parse(S("admin, read ,ingest"), &scopes));
    CHECK_TEXT(token_scopes_text(scopes, text), "ingest,read,admin");
    CHECK(token_scopes_parse(S("read,read"), &scopes));
    CHECK_TEXT(token_scopes_text(scopes, text), "read");
    static const char *wrong[] = { "",        " ",      ",",    "ingest,",
                                   ",ingest", "Ingest", "root", "ingest read" };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK(!token_scopes_parse(slice_str(wrong[i]), &scopes));
}

static void admin_may_all_others_only_theirs(void) {
    CHECK(token_allows(TOKEN_ADMIN, TOKEN_INGEST) && token_allows(TOKEN_ADMIN, TOKEN_READ));
    CHECK(token_allows(TOKEN_INGEST, TOKEN_INGEST));
    CHECK(!token_allows(TOKEN_INGEST, TOKEN_READ) && !token_allows(TOKEN_INGEST, TOKEN_ADMIN));
    CHECK(!token_allows(TOKEN_READ, TOKEN_INGEST) &&
          !token_allows(TOKEN_READ | TOKEN_INGEST, TOKEN_ADMIN));
    CHECK(!token_allows(0, TOKEN_READ));
}

static void ten_failures_a_minute_then_wait(void) {
    static struct token_limit limit;
    for (int i = 0; i < 10; i++) CHECK_INT(token_limit_failed(&limit, S("10.0.0.1"), 1000 + i), 0);
    CHECK_INT(token_limit_failed(&limit, S("10.0.0.1"), 21000), 40000);
    CHECK_INT(token_limit_failed(&limit, S("10.0.0.2"), 21000), 0);
    CHECK_INT(token_limit_failed(&limit, S("10.0.0.1"), 60999), 1);
    CHECK_INT(token_limit_failed(&limit, S("10.0.0.1"), 61000), 0);
    for (int i = 0; i < 9; i++) CHECK_INT(token_limit_failed(&limit, S("10.0.0.1"), 61000), 0);
    CHECK(token_limit_failed(&limit, S("10.0.0.1"), 61000) > 0);
}

static void many_addresses_cost_no_memory(void) {
    static struct token_limit limit;
    char address[32];
    for (int i = 0; i < 100000; i++) {
        int n = snprintf(address, sizeof address, "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
        CHECK_INT(token_limit_failed(&limit, slice(address, (size_t)n), 1 + i), 0);
    }
    for (int i = 0; i < 10; i++) token_limit_failed(&limit, S("10.9.9.9"), 200000);
    CHECK(token_limit_failed(&limit, S("10.9.9.9"), 200000) > 0);
}

static const struct check_case cases[] = {
    { "a new token parses and hashes", a_new_token_parses_and_hashes },
    { "tokens differ and use the whole alphabet", tokens_differ_and_use_the_whole_alphabet },
    { "refuses what is no token", refuses_what_is_no_token },
    { "scopes are read and written", scopes_read_and_write },
    { "admin may all, others only theirs", admin_may_all_others_only_theirs },
    { "ten failures a minute, then wait (A2)", ten_failures_a_minute_then_wait },
    { "many addresses cost no memory", many_addresses_cost_no_memory },
};

CHECK_MAIN(cases)
