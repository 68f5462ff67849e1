// Events shared between threads: references, and the reader's own tables.
// floor: event
#include <pthread.h>

#include "check.h"
#include "event.h"

enum { THREADS = 4, ROUNDS = 2000 };

#define TEXT S("{\"type\":\"a.b\",\"tags\":{\"call_id\":\"c\",\"from\":\"+1\",\"late\":\"x\"}}")

static void *share(void *user) {
    struct event *event = user;
    for (int i = 0; i < ROUNDS; i++) {
        struct event *mine = event_ref(event), *read = event_read(TEXT, 0, NULL);
        bool same = read && slice_eq(mine->json, read->json);
        event_unref(mine);
        event_unref(read);
        if (!same) return user;
    }
    event_unref(event);
    return NULL;
}

static void events_are_shared_by_reference(void) {
    pthread_t threads[THREADS];
    struct event *event = event_read(TEXT, 0, NULL);
    CHECK(event);
    if (!event) return;
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, share, event_ref(event)) == 0);
    event_unref(event);
    // One thread interns while the others read.
    static const char *const names[] = { "CALL_ID", "FROM", "CALLER_ID", "LATE" };
    for (int i = 0; i < 4; i++) tag_intern(slice_str(names[i]));
    for (int i = 0; i < THREADS; i++) {
        void *failed = event;
        pthread_join(threads[i], &failed);
        CHECK(!failed);
    }
}

static const struct check_case cases[] = {
    { "events are shared by reference", events_are_shared_by_reference },
};
CHECK_MAIN(cases)
