// The inbox: order, several senders at once, and messages that never arrive.
#include "check.h"
#include "inbox.h"

enum { SENDERS = 4, EACH = 20000 };

struct letter {
    struct message message;
    int sender, number;
};

struct fixture {
    uv_loop_t loop;
    struct inbox inbox;
    int last[SENDERS]; // highest number seen of each sender
    int received, batches, out_of_order, stop_at;
    bool send_more; // the receiver sends to itself once
};

static int discarded;

static struct message *letter_new(int sender, int number) {
    struct letter *letter = calloc(1, sizeof *letter);
    list_init(&letter->message.link);
    letter->message.kind = 7;
    letter->sender = sender;
    letter->number = number;
    return &letter->message;
}

static void discard(struct message *message) {
    __atomic_add_fetch(&discarded, 1, __ATOMIC_RELAXED);
    free(list_item(&message->link, struct letter, message.link));
}

static void receive(void *user, struct list *messages) {
    struct fixture *f = user;
    f->batches++;
    struct list *link;
    while ((link = list_pop(messages))) {
        struct letter *letter = list_item(link, struct letter, message.link);
        if (letter->number != f->last[letter->sender] + 1) f->out_of_order++;
        f->last[letter->sender] = letter->number;
        f->received++;
        free(letter);
    }
    if (f->send_more) {
        f->send_more = false;
        inbox_send(&f->inbox, letter_new(0, f->last[0] + 1));
    }
    if (f->received >= f->stop_at) inbox_close(&f->inbox);
}

static void set_up(struct fixture *f, int stop_at) {
    *f = (struct fixture){ .stop_at = stop_at };
    discarded = 0;
    CHECK_INT(uv_loop_init(&f->loop), 0);
    CHECK_INT(inbox_init(&f->inbox, &f->loop, receive, discard, f), 0);
}

static void tear_down(struct fixture *f) {
    uv_run(&f->loop, UV_RUN_DEFAULT);
    CHECK_INT(uv_loop_close(&f->loop), 0);
}

static void a_batch_arrives_whole_and_in_order(void) {
    struct fixture f;
    set_up(&f, 3);
    struct list batch;
    list_init(&batch);
    inbox_send(&f.inbox, letter_new(0, 1));
    for (int i = 2; i <= 3; i++) list_push(&batch, &letter_new(0, i)->link);
    inbox_send_list(&f.inbox, &batch);
    CHECK(list_empty(&batch));
    inbox_send_list(&f.inbox, &batch); // nothing in it: nothing happens
    CHECK_INT(f.inbox.count, 3);
    tear_down(&f);
    CHECK_INT(f.received, 3);
    CHECK_INT(f.batches, 1);
    CHECK_INT(f.out_of_order, 0);
}

static void what_the_receiver_sends_itself_comes_later(void) {
    struct fixture f;
    set_up(&f, 2);
    f.send_more = true;
    inbox_send(&f.inbox, letter_new(0, 1));
    tear_down(&f);
    CHECK_INT(f.received, 2);
    CHECK_INT(f.batches, 2);
}

struct sender {
    pthread_t thread;
    struct inbox *inbox;
    int id;
};

static void *send_all(void *user) {
    struct sender *s = user;
    for (int i = 1; i <= EACH; i++) inbox_send(s->inbox, letter_new(s->id, i));
    return NULL;
}

static void many_senders_lose_nothing(void) {
    struct fixture f;
    struct sender senders[SENDERS];
    set_up(&f, SENDERS * EACH);
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){ .inbox = &f.inbox, .id = i };
        CHECK_INT(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
    }
    uv_run(&f.loop, UV_RUN_DEFAULT);
    for (int i = 0; i < SENDERS; i++) pthread_join(senders[i].thread, NULL);
    tear_down(&f);
    CHECK_INT(f.received, SENDERS * EACH);
    CHECK_INT(f.out_of_order, 0);
    CHECK_INT(discarded, 0);
}

static void closing_under_fire_discards_the_rest(void) {
    struct fixture f;
    struct sender senders[SENDERS];
    set_up(&f, EACH / 2);
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){ .inbox = &f.inbox, .id = i };
        CHECK_INT(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
    }
    uv_run(&f.loop, UV_RUN_DEFAULT);
    for (int i = 0; i < SENDERS; i++) pthread_join(senders[i].thread, NULL);
    inbox_close(&f.inbox); // twice is harmless
    tear_down(&f);
    CHECK_INT(f.received + __atomic_load_n(&discarded, __ATOMIC_RELAXED), SENDERS * EACH);
}

static void a_closed_inbox_discards(void) {
    struct fixture f;
    set_up(&f, 1);
    inbox_send(&f.inbox, letter_new(0, 1));
    inbox_close(&f.inbox);
    CHECK_INT(discarded, 1);
    inbox_send(&f.inbox, letter_new(0, 2));
    CHECK_INT(discarded, 2);
    tear_down(&f);
    CHECK_INT(f.received, 0);
}

static const struct check_case cases[] = {
    { "a batch arrives whole and in order", a_batch_arrives_whole_and_in_order },
    { "what the receiver sends itself comes later", what_the_receiver_sends_itself_comes_later },
    { "many senders lose nothing", many_senders_lose_nothing },
    { "closing under fire discards the rest", closing_under_fire_discards_the_rest },
    { "a closed inbox discards", a_closed_inbox_discards },
};
CHECK_MAIN(cases)
