// Requests: what may not be in one, packing, and secrets put in at the last moment.
#include "check.h"
#include "request.h"

static struct arena arena;

static struct request sample(struct header *headers, size_t count) {
    return (struct request){ .method = S("POST"),
                             .url = S("https://api.example/x?y=1"),
                             .headers = headers,
                             .headers_count = count,
                             .body = S("{\"a\":1}"),
                             .has_body = true };
}

static const char *refused(const struct request *r, struct slice like) {
    static struct fail fail;
    fail = (struct fail){ 0 };
    return request_check(r, like, &fail) == OK ? "" : fail.type;
}

static void good_requests_pass(void) {
    struct header headers[] = { { S("Content-Type"), S("application/json") },
                                { S("X-Tab"), S("a\tb \xC3\xA9") } };
    struct request r = sample(headers, 2);
    CHECK_TEXT(slice_str(refused(&r, S("https://api.example"))), "");
    r.url = S("https://api.example");
    CHECK_TEXT(slice_str(refused(&r, S("https://api.example"))), "");
}

static void methods_are_a_closed_list(void) {
    static const char *const bad[] = { "TRACE", "CONNECT", "get", "GET\r\nX: y", "" };
    struct request r = sample(NULL, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        r.method = slice_str(bad[i]);
        CHECK_TEXT(slice_str(refused(&r, S(""))), "bad_method");
    }
}

static void header_names_are_tokens_and_not_the_engines(void) {
    static const char *const reserved[] = { "Host",       "content-length",   "TRANSFER-ENCODING",
                                            "Connection", "Expect",           "te",
                                            "Upgrade",    "Trailer",          "Proxy-Authorization",
                                            "webhook-id", "Webhook-Signature" };
    static const char *const bad[] = { "", "X: a", "X A", "X\r\nY", "\xC3\xA9", "X(" };
    struct header h = { S(""), S("v") };
    struct request r = sample(&h, 1);
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        h.name = slice_str(reserved[i]);
        CHECK_TEXT(slice_str(refused(&r, S(""))), "reserved_header");
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        h.name = slice_str(bad[i]);
        CHECK_TEXT(slice_str(refused(&r, S(""))), "bad_header_name");
    }
    char longest[257];
    memset(longest, 'x', sizeof longest);
    CHECK(request_header_name_valid(slice(longest, 256)));
    CHECK(!request_header_name_valid(slice(longest, 257)));
}

static void headers_stand_once_and_hold_no_control_bytes(void) {
    struct header twice[] = { { S("Authorization"), S("a") }, { S("authorization"), S("b") } };
    struct request r = sample(twice, 2);
    CHECK_TEXT(slice_str(refused(&r, S(""))), "duplicate_header");
    static const struct slice bad[] = {
        { "a\r\nEvil: 1", 10 }, { "a\nb", 3 }, { "a\0b", 3 }, { "a\x7F", 2 }, { "\x01", 1 }
    };
    r.headers_count = 1;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        twice[0].value = bad[i];
        CHECK_TEXT(slice_str(refused(&r, S(""))), "bad_header_value");
    }
}

static void sizes_have_limits(void) {
    static char big[REQUEST_BODY_MAX + 1];
    static struct header many[REQUEST_HEADERS_MAX + 1];
    struct header h = { S("X"), slice(big, REQUEST_HEADER_BYTES_MAX) };
    memset(big, 'a', sizeof big);
    struct request r = sample(&h, 1);
    CHECK_TEXT(slice_str(refused(&r, S(""))), "headers_too_large");
    r = sample(many, REQUEST_HEADERS_MAX + 1);
    CHECK_TEXT(slice_str(refused(&r, S(""))), "too_many_headers");
    r = sample(NULL, 0);
    r.body = slice(big, sizeof big);
    CHECK_TEXT(slice_str(refused(&r, S(""))), "render_too_large");
    memcpy(big, "https://api.example/", 20);
    r.body = S("");
    r.url = slice(big, REQUEST_URL_MAX + 1);
    CHECK_TEXT(slice_str(refused(&r, S(""))), "url_too_long");
}

static void the_host_stays_the_templates(void) {
    struct request r = sample(NULL, 0);
    static const char *const moved[] = { "https://api.example.evil.com/x",
                                         "https://api.example@evil.com/", "http://api.example/x",
                                         "https://api.example:444/" };
    for (size_t i = 0; i < sizeof moved / sizeof *moved; i++) {
        r.url = slice_str(moved[i]);
        CHECK_TEXT(slice_str(refused(&r, S("https://api.example"))), "url_host_changed");
    }
}

static void packing_goes_both_ways_and_survives_truncation(void) {
    struct header headers[] = { { S("A"), S("1") }, { S("B"), S("") } };
    struct request r = sample(headers, 2), back;
    struct buf packed;
    buf_init(&packed, 4096);
    request_pack(&r, &packed);
    CHECK(request_unpack(buf_slice(&packed), &back, &arena));
    CHECK_SLICE(back.url, r.url);
    CHECK_SLICE(back.body, r.body);
    CHECK_INT(back.headers_count, 2);
    CHECK_TEXT(back.headers[0].value, "1");
    for (size_t n = 0; n < packed.n; n++) CHECK(!request_unpack(slice(packed.p, n), &back, &arena));
    buf_deinit(&packed);
}

static bool secret_of(void *user, struct slice name, struct slice *value) {
    (void)user;
    *value = slice_eq(name, S("N")) ? S("42") : S("a\"&\r\nb c");
    return !slice_eq(name, S("GONE"));
}

static void secrets_are_escaped_for_their_place(void) {
    struct header headers[] = { { S("Authorization"), S("Bearer \0ShTOKEN\0") },
                                { S("X-Attempt"), S("\0A\0") } };
    struct request r = sample(headers, 2), out;
    struct fail fail = { 0 };
    r.url = S("https://api.example/?k=\0SuTOKEN\0");
    r.body = S("{\"a\":\"\0SjTOKEN\0\",\"n\":\0SJN\0,\"t\":\0SJTOKEN\0}");
    CHECK_TEXT(slice_str(refused(&r, S("https://api.example"))), "");
    CHECK_INT(request_seal(&r, 3, secret_of, NULL, &arena, &out, &fail), OK);
    CHECK_TEXT(out.url, "https://api.example/?k=a%22%26%0D%0Ab%20c");
    CHECK_TEXT(out.headers[0].value, "Bearer a\"& b c");
    CHECK_TEXT(out.headers[1].value, "3");
    CHECK_TEXT(out.body, "{\"a\":\"a\\\"&\\r\\nb c\",\"n\":42,\"t\":\"a\\\"&\\r\\nb c\"}");
    CHECK_TEXT(request_mask(r.headers[0].value, &arena), "Bearer [SECRET:TOKEN]");
}

static void a_raw_bodys_nul_is_no_marker(void) {
    struct request r = sample(NULL, 0), out;
    struct fail fail = { 0 };
    r.body = S("a\0\0b\0SrN\0");
    CHECK_INT(request_seal(&r, 1, secret_of, NULL, &arena, &out, &fail), OK);
    CHECK_SLICE(out.body, S("a\0b42"));
}

static void an_unknown_secret_is_refused_by_name(void) {
    struct request r = sample(NULL, 0), out;
    struct fail fail = { 0 };
    r.body = S("\0SrGONE\0");
    CHECK_INT(request_seal(&r, 1, secret_of, NULL, &arena, &out, &fail), ERR_DENIED);
    CHECK_TEXT(slice_str(fail.type), "unknown_secret");
    CHECK(strstr(fail.text, "GONE"));
}

static bool token_of(void *user, struct slice name, struct slice *value) {
    (void)user;
    *value = S("Sr-T-1234");
    return slice_eq(name, S("T"));
}

static void a_secret_written_out_is_hidden_and_sealed_to_the_same_bytes(void) {
    static const char body[] = "\0Sr-T-1234\0 Sr-T-1234Sr-T-1234\0\0.";
    struct header headers[] = { { S("Authorization"), S("Bearer Sr-T-1234") },
                                { S("X-Other"), S("Sr-T-123") } };
    struct request r = sample(headers, 2), out;
    struct fail fail = { 0 };
    r.url = S("https://api.example/Sr-T-1234?k=Sr-T-1234");
    // A marker may be named like the value: what stands inside one stays.
    r.body = slice(body, sizeof body - 1);
    CHECK(request_hide(&r, S("T"), S("Sr-T-1234"), &arena));
    CHECK_TEXT(request_mask(r.headers[0].value, &arena), "Bearer [SECRET:T]");
    CHECK_TEXT(request_mask(r.url, &arena), "https://api.example/[SECRET:T]?k=[SECRET:T]");
    CHECK_TEXT(r.headers[1].value, "Sr-T-123");
    CHECK_INT(r.body.n, sizeof body - 1 - 2 * (9 - 5));
    r.body = slice_from(r.body, 11);
    CHECK_INT(request_seal(&r, 1, token_of, NULL, &arena, &out, &fail), OK);
    CHECK_TEXT(out.url, "https://api.example/Sr-T-1234?k=Sr-T-1234");
    CHECK_TEXT(out.headers[0].value, "Bearer Sr-T-1234");
    CHECK(slice_eq(out.body, slice(" Sr-T-1234Sr-T-1234\0.", 21)));
}

static const struct check_case cases[] = {
    { "good requests pass", good_requests_pass },
    { "methods are a closed list", methods_are_a_closed_list },
    { "header names are tokens and not the engine's", header_names_are_tokens_and_not_the_engines },
    { "headers stand once and hold no control bytes",
      headers_stand_once_and_hold_no_control_bytes },
    { "sizes have limits", sizes_have_limits },
    { "the host stays the template's", the_host_stays_the_templates },
    { "packing goes both ways and survives truncation",
      packing_goes_both_ways_and_survives_truncation },
    { "secrets are escaped for their place", secrets_are_escaped_for_their_place },
    { "a raw body's NUL is no marker", a_raw_bodys_nul_is_no_marker },
    { "an unknown secret is refused by name", an_unknown_secret_is_refused_by_name },
    { "request: a secret written out is hidden and sealed to the same bytes",
      a_secret_written_out_is_hidden_and_sealed_to_the_same_bytes },
};

int main(void) {
    arena_init(&arena, 1 << 20);
    int status = check_run(cases, sizeof cases / sizeof *cases);
    arena_deinit(&arena);
    return status;
}
