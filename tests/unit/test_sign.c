// Signatures against known vectors (Standard Webhooks, GitHub's documentation,
// RFC 8032, RFC 4231; cross-checked with Python and the openssl tool).
#include "sign.h"

#include "check.h"

#define ID S("msg_p5jXN8AQM9LWM0D4loKWxJek")
#define BODY S("{\"test\": 2432232314}")
#define SECRET S("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
#define SEED S("whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs=")
#define SEED_AND_PUBLIC                                                                            \
    S("whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs9QBfD6EOJWpK3CqdNG368nJgszy7ElozAzVXxKvRmD" \
      "A==")
#define V1 "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
#define V1A                                                                                        \
    "v1a,7anDmyOh9LNskt5GJUTacHmbvyUkT0/S1jnxFAp+h2hcVXnQLWhtWA2+wP6vO0AUwEYP23IIZVuneGRhNj7hDQ=="

static struct buf out;

static struct slice sign(enum sign_scheme scheme, const struct slice *secrets, size_t count,
                         struct slice id, int64_t at, struct slice body) {
    struct sign_key keys[2];
    struct fail fail = { 0 };
    for (size_t i = 0; i < count; i++)
        CHECK_INT(sign_key_parse(secrets[i], scheme, &keys[i], &fail), OK);
    buf_deinit(&out);
    buf_init(&out, 1024);
    CHECK_INT(sign_value(scheme, keys, count, id, at, body, &out, &fail), OK);
    return buf_slice(&out);
}

static void signs_the_published_vector(void) {
    CHECK_TEXT(sign(SIGN_STANDARD, &SECRET, 1, ID, 1614265330, BODY), V1);
    struct slice other = S("whsec_plJ3nmyCDGBKInavdOK15jsl");
    CHECK_TEXT(sign(SIGN_STANDARD, &other, 1, S("msg_loFOjxBNrRLzqYUf"), 1731705121,
                    S("{\"event_type\":\"ping\",\"data\":{\"success\":true}}")),
               "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=");
}

static void signs_ed25519_from_seed_and_from_whole_key(void) {
    CHECK_TEXT(sign(SIGN_STANDARD, &SEED, 1, ID, 1614265330, BODY), V1A);
    CHECK_TEXT(sign(SIGN_STANDARD, &SEED_AND_PUBLIC, 1, ID, 1614265330, BODY), V1A);
}

static void rotation_signs_with_both_keys_newest_first(void) {
    const struct slice both[] = { SEED, SECRET };
    CHECK_TEXT(sign(SIGN_STANDARD, both, 2, ID, 1614265330, BODY), V1A " " V1);
}

static void signs_the_older_schemes(void) {
    struct slice github = S("It's a Secret to Everybody");
    CHECK_TEXT(sign(SIGN_GITHUB, &github, 1, ID, 1, S("Hello, World!")),
               "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
    const struct slice newest_first[] = { github, S("old") };
    CHECK_TEXT(sign(SIGN_HEX, newest_first, 2, ID, 1, S("Hello, World!")),
               "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
    const struct slice stripe[] = { S("stripe key"), S("older key") };
    CHECK_TEXT(sign(SIGN_STRIPE, stripe, 2, ID, 1492774577, S("{\"a\":1}")),
               "t=1492774577,v1=b62bb4593b4acfe689733475e4913c219a174a02aa930619e0542bbb4b373fa7,"
               "v1=a7bfbfb4e7651f714099cf10ab8e5f11e25eea3df591cf34d7c6c5a6b9df01cf");
}

static void a_long_text_key_stands_for_its_digest(void) {
    char key[100];
    memset(key, 'k', sizeof key);
    struct slice text = slice(key, sizeof key);
    const char *want = "8c1858bff6cf9cb73708b4b54f43bca6e1b8b4c3380760dc009001b265b64c6f";
    CHECK_SLICE(sign(SIGN_HEX, &text, 1, ID, 1, S("x")), slice_str(want));
    uint8_t mac[32];
    char hex[64];
    hash_hmac_sha256(text, S("x"), mac);
    hex_encode(mac, 32, hex);
    CHECK_SLICE(slice(hex, 64), slice_str(want));
}

static void an_empty_body_is_signed(void) {
    uint8_t mac[32];
    char hex[64];
    hash_hmac_sha256(S(""), S(""), mac);
    hex_encode(mac, 32, hex);
    CHECK_TEXT(slice(hex, 64), "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void refuses_wrong_keys_without_quoting_them(void) {
    const struct slice wrong[] = {
        S(""),
        S("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),        // no prefix
        S("whsec_"),                                  // nothing
        S("whsec_c2hvcnQ="),                          // 5 bytes
        S("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS"),   // cut
        S("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw "), // blank
        S("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
          "AA"),                                    // 66 bytes
        S("whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), // 24 bytes
        S("whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs9QBfD6EOJWpK3CqdNG368nJgszy7ElozAzVXxKvRm"
          "DQ=="), // another public key
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct sign_key key;
        struct fail fail = { 0 };
        CHECK_INT(sign_key_parse(wrong[i], SIGN_STANDARD, &key, &fail), ERR_INPUT);
        CHECK_TEXT(slice_str(fail.type), "bad_signing_key");
        CHECK(!strstr(fail.text, "MfKQ"));
    }
    struct sign_key key;
    CHECK_INT(sign_key_parse(S(""), SIGN_HEX, &key, NULL), ERR_INPUT);
}

static void a_full_buffer_gets_no_half_signature(void) {
    struct sign_key key;
    struct fail fail = { 0 };
    CHECK_INT(sign_key_parse(SECRET, SIGN_STANDARD, &key, &fail), OK);
    for (size_t max = 3; max < sizeof V1 + 2; max++) {
        struct buf small;
        buf_init(&small, max);
        buf_add(&small, S("abc"));
        CHECK_INT(sign_value(SIGN_STANDARD, &key, 1, ID, 1614265330, BODY, &small, &fail),
                  ERR_NOMEM);
        CHECK_TEXT(buf_slice(&small), "abc");
        buf_deinit(&small);
    }
}

static void digests_fit_their_vectors(void) {
    uint8_t bytes[32];
    char hex[64];
    hash_sha256(S("abc"), bytes);
    hex_encode(bytes, 32, hex);
    CHECK_TEXT(slice(hex, 64), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hash_sha1(S("abc"), bytes);
    hex_encode(bytes, 20, hex);
    CHECK_TEXT(slice(hex, 40), "a9993e364706816aba3e25717850c26c9cd0d89d");
    hash_md5(S("abc"), bytes);
    hex_encode(bytes, 16, hex);
    CHECK_TEXT(slice(hex, 32), "900150983cd24fb0d6963f7d28e17f72");
    hash_md5(slice(NULL, 0), bytes);
    hex_encode(bytes, 16, hex);
    CHECK_TEXT(slice(hex, 32), "d41d8cd98f00b204e9800998ecf8427e");
}

static void base64_fits_rfc4648(void) {
    static const char *pairs[][2] = { { "", "" },
                                      { "f", "Zg==" },
                                      { "fo", "Zm8=" },
                                      { "foo", "Zm9v" },
                                      { "foob", "Zm9vYg==" },
                                      { "fooba", "Zm9vYmE=" },
                                      { "foobar", "Zm9vYmFy" } };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct slice plain = slice_str(pairs[i][0]), coded = slice_str(pairs[i][1]);
        char text[16];
        uint8_t bytes[16];
        size_t n = base64_encode((const uint8_t *)plain.p, plain.n, text);
        CHECK_SLICE(slice(text, n), coded);
        long m = base64_decode(coded, bytes);
        CHECK_INT(m, plain.n);
        if (m >= 0) CHECK_SLICE(slice((const char *)bytes, (size_t)m), plain);
    }
}

static void base64_survives_every_length(void) {
    uint8_t bytes[70], back[72];
    char text[96];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 37 + 200);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        size_t coded = base64_encode(bytes, n, text);
        CHECK_INT(coded, 4 * ((n + 2) / 3));
        CHECK_INT(base64_decode(slice(text, coded), back), n);
        CHECK(memcmp(bytes, back, n) == 0);
    }
}

static void base64_refuses_what_is_not_strict(void) {
    static const char *wrong[] = { "Z",    "Zg",     "Zg=",  "Zg===", "Z===", "====",     "Zh==",
                                   "Zm9=", "Zm9v\n", "Zm-v", "Zm_v",  "Z g=", "Zg==Zg==", "=m9v" };
    uint8_t bytes[16];
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK_INT(base64_decode(slice_str(wrong[i]), bytes), -1);
}

static const struct check_case cases[] = {
    { "signs the published Standard Webhooks vectors", signs_the_published_vector },
    { "signs ed25519 from a seed and from a whole key",
      signs_ed25519_from_seed_and_from_whole_key },
    { "a rotation signs with both keys, newest first", rotation_signs_with_both_keys_newest_first },
    { "signs the hex, GitHub and Stripe schemes", signs_the_older_schemes },
    { "a long text key stands for its digest", a_long_text_key_stands_for_its_digest },
    { "an empty body under an empty key has a MAC", an_empty_body_is_signed },
    { "refuses wrong keys without quoting them", refuses_wrong_keys_without_quoting_them },
    { "a full buffer gets no half signature", a_full_buffer_gets_no_half_signature },
    { "digests fit their vectors", digests_fit_their_vectors },
    { "base64 fits the vectors of RFC 4648", base64_fits_rfc4648 },
    { "base64 survives every length", base64_survives_every_length },
    { "base64 refuses what is not strict", base64_refuses_what_is_not_strict },
};

CHECK_MAIN(cases)
