// A webhook's stored keys: values come back, expire, count, and are replaced.
// floor: sandbox
#include "check.h"
#include "sandbox_kv.h"

static void values_come_back_until_removed(void) {
    struct sandbox_kv *kv = sandbox_kv_new();
    CHECK(sandbox_kv_put(kv, S("a"), S("1"), 0));
    CHECK(sandbox_kv_put(kv, S("a"), S("\"two\""), 0));
    CHECK_TEXT(sandbox_kv_get(kv, S("a"), 5, NULL), "\"two\"");
    CHECK_INT(sandbox_kv_bytes(kv), 6 + SANDBOX_KV_ENTRY_COST);
    CHECK(sandbox_kv_put(kv, S("a"), S(""), 0));
    CHECK(!sandbox_kv_get(kv, S("a"), 5, NULL).p);
    CHECK_INT(sandbox_kv_bytes(kv), 0);
    sandbox_kv_free(kv);
}

static void expired_keys_are_not_seen_and_purged(void) {
    struct sandbox_kv *kv = sandbox_kv_new();
    char key[8];
    for (int i = 0; i < 500; i++) {
        int n = snprintf(key, sizeof key, "k%d", i);
        CHECK(sandbox_kv_put(kv, slice(key, (size_t)n), S("1"), i % 2 ? 1000 + i : 0));
    }
    int64_t expires = 0;
    CHECK(sandbox_kv_get(kv, S("k1"), 1000, &expires).p != NULL);
    CHECK_INT(expires, 1001);
    CHECK(!sandbox_kv_get(kv, S("k1"), 1001, NULL).p);
    size_t before = sandbox_kv_bytes(kv);
    sandbox_kv_purge(kv, 5000);
    CHECK(sandbox_kv_bytes(kv) < before && sandbox_kv_bytes(kv) > 0);
    for (int i = 0; i < 500; i++) {
        int n = snprintf(key, sizeof key, "k%d", i);
        CHECK((sandbox_kv_get(kv, slice(key, (size_t)n), 0, NULL).p != NULL) == (i % 2 == 0));
    }
    sandbox_kv_free(kv);
}

static void a_call_s_changes_apply_together(void) {
    struct sandbox_kv *kv = sandbox_kv_new();
    sandbox_kv_put(kv, S("gone"), S("1"), 0);
    struct script_kv second = { .key = S("new"), .value = S("2"), .expires_ms = 9 };
    struct script_kv first = { .key = S("gone"), .next = &second };
    CHECK(sandbox_kv_apply(kv, &first));
    CHECK(!sandbox_kv_get(kv, S("gone"), 0, NULL).p);
    CHECK_TEXT(sandbox_kv_get(kv, S("new"), 8, NULL), "2");
    sandbox_kv_free(kv);
}

static const struct check_case cases[] = {
    { "values come back until removed", values_come_back_until_removed },
    { "expired keys are not seen, and purged", expired_keys_are_not_seen_and_purged },
    { "a call's changes apply together", a_call_s_changes_apply_together },
};
CHECK_MAIN(cases)
