// The resolver against a DNS server of our own on loopback, whose answer
// follows from the first label of the name (row U24).
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "resolver.h"

// --- The server ---

enum { A = 1, CNAME = 5, AAAA = 28, HEADER = 12 };

static struct {
    int udp, tcp, stop[2];
    char address[32];
    pthread_t thread;
    atomic_int questions;
} server;

struct packet {
    unsigned char bytes[8192];
    size_t n;
};

static void put16(struct packet *p, unsigned v) {
    p->bytes[p->n++] = (unsigned char)(v >> 8);
    p->bytes[p->n++] = (unsigned char)v;
}

// An answer record for the question's name (a pointer to offset 12).
static void put_record(struct packet *p, unsigned type, unsigned ttl, const void *data, size_t n) {
    put16(p, 0xC000 | HEADER);
    put16(p, type);
    put16(p, 1);
    put16(p, 0);
    put16(p, ttl);
    put16(p, (unsigned)n);
    memcpy(p->bytes + p->n, data, n);
    p->n += n;
}

static void put_addresses(struct packet *p, unsigned type, unsigned ttl, size_t count) {
    unsigned char v4[4] = { 127, 9, 0, 0 }, v6[16] = { 0x20, 0x01, 0x0D, 0xB8 };
    for (size_t i = 1; i <= count; i++) {
        v4[3] = v6[15] = (unsigned char)i;
        put_record(p, type, ttl, type == A ? v4 : v6, type == A ? 4 : 16);
    }
}

static bool label_is(const unsigned char *question, const char *label) {
    return question[HEADER] == strlen(label) &&
           memcmp(question + HEADER + 1, label, strlen(label)) == 0;
}

// Makes the answer; false: stays silent.
static bool answer(const unsigned char *q, size_t n, bool tcp, struct packet *p) {
    size_t end = HEADER;
    while (end < n && q[end]) end += q[end] + 1u;
    unsigned type = (unsigned)(q[end + 1] << 8 | q[end + 2]);
    unsigned rcode = 0;
    bool truncated = false;
    p->n = end + 5;
    memcpy(p->bytes, q, p->n);
    size_t start = p->n, count = 0;

    if (label_is(q, "silent") || (label_is(q, "halfsilent") && type == AAAA)) return false;
    if (label_is(q, "nx"))
        rcode = 3;
    else if (label_is(q, "servfail"))
        rcode = 2;
    else if (label_is(q, "both") || (label_is(q, "v4") && type == A) ||
             (label_is(q, "halfsilent") && type == A))
        put_addresses(p, type, 300, count = 2);
    else if (label_is(q, "ttl0") && type == A)
        put_addresses(p, type, 0, count = 1);
    else if (label_is(q, "many"))
        put_addresses(p, type, 60, count = type == A ? 200 : 100);
    else if (label_is(q, "loop")) // its own alias
        for (count = 0; count < 20; count++) put_record(p, CNAME, 60, "\xC0\x0C", 2);
    else if (label_is(q, "big") && tcp)
        put_addresses(p, type, 60, count = 200);
    else if (label_is(q, "big"))
        truncated = true;
    else if (label_is(q, "garbage"))
        memset(p->bytes + HEADER, 0xFF, start - HEADER);
    p->bytes[2] = (unsigned char)(0x81 | (truncated ? 2 : 0));
    p->bytes[3] = (unsigned char)(0x80 | rcode);
    p->bytes[6] = (unsigned char)(count >> 8);
    p->bytes[7] = (unsigned char)count;
    memset(p->bytes + 8, 0, 4);
    return true;
}

static void answer_udp(void) {
    unsigned char question[512];
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    struct packet p;
    ssize_t n =
        recvfrom(server.udp, question, sizeof question, 0, (struct sockaddr *)&peer, &length);
    if (n <= HEADER) return;
    atomic_fetch_add(&server.questions, 1);
    if (answer(question, (size_t)n, false, &p))
        sendto(server.udp, p.bytes, p.n, 0, (struct sockaddr *)&peer, length);
}

static void answer_tcp(void) {
    unsigned char question[514], head[2];
    struct packet p;
    int fd = accept(server.tcp, NULL, NULL);
    ssize_t n;
    while ((n = recv(fd, question, 2, MSG_WAITALL)) == 2 &&
           (n = recv(fd, question, (size_t)(question[0] << 8 | question[1]), MSG_WAITALL)) >
               HEADER) {
        answer(question, (size_t)n, true, &p);
        head[0] = (unsigned char)(p.n >> 8), head[1] = (unsigned char)p.n;
        if (send(fd, head, 2, MSG_NOSIGNAL) < 0 || send(fd, p.bytes, p.n, MSG_NOSIGNAL) < 0) break;
    }
    close(fd);
}

static void *serve(void *user) {
    (void)user;
    for (;;) {
        struct pollfd fds[] = { { .fd = server.udp, .events = POLLIN },
                                { .fd = server.tcp, .events = POLLIN },
                                { .fd = server.stop[0], .events = POLLIN } };
        poll(fds, 3, -1);
        if (fds[2].revents) return NULL;
        if (fds[0].revents) answer_udp();
        if (fds[1].revents) answer_tcp();
    }
}

static void server_start(void) {
    struct sockaddr_in any = { .sin_family = AF_INET };
    socklen_t length = sizeof any;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server.udp = socket(AF_INET, SOCK_DGRAM, 0);
    server.tcp = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(server.tcp, (struct sockaddr *)&any, sizeof any) || listen(server.tcp, 8) ||
        getsockname(server.tcp, (struct sockaddr *)&any, &length) ||
        bind(server.udp, (struct sockaddr *)&any, sizeof any) || pipe(server.stop))
        abort();
    snprintf(server.address, sizeof server.address, "127.0.0.1:%u", ntohs(any.sin_port));
    pthread_create(&server.thread, NULL, serve, NULL);
}

static void server_stop(void) {
    if (write(server.stop[1], "x", 1) != 1) abort();
    pthread_join(server.thread, NULL);
}

// --- The client ---

enum { ASKS = 128 };

struct ask {
    struct lookup lookup;
    struct resolved resolved;
    int calls;
};

static struct {
    uv_loop_t loop;
    struct resolver *resolver;
    struct ask asks[ASKS];
    size_t asked;
    int open;
    bool closed;
} client;

static void on_closed(void *user) {
    (void)user;
    client.closed = true;
}

static void on_done(struct lookup *lookup, const struct resolved *resolved) {
    struct ask *ask = (struct ask *)(void *)lookup;
    ask->resolved = *resolved;
    ask->calls++;
    if (--client.open == 0) resolver_close(client.resolver, on_closed, NULL);
}

static void set_up(int64_t timeout_ms) {
    memset(&client, 0, sizeof client);
    CHECK_INT(uv_loop_init(&client.loop), 0);
    struct resolver_opts opts = { .servers = server.address, .timeout_ms = timeout_ms };
    client.resolver = resolver_new(&client.loop, &opts, NULL);
    CHECK(client.resolver);
}

static struct ask *ask(const char *host) {
    struct ask *a = &client.asks[client.asked++];
    a->lookup.done = on_done;
    client.open++;
    resolver_lookup(client.resolver, slice_str(host), &a->lookup);
    return a;
}

static void run(void) {
    uv_run(&client.loop, UV_RUN_DEFAULT);
    CHECK(client.closed);
    CHECK_INT(uv_loop_close(&client.loop), 0);
    for (size_t i = 0; i < client.asked; i++) CHECK_INT(client.asks[i].calls, 1);
}

static size_t family_count(const struct resolved *resolved, int family) {
    size_t count = 0;
    for (size_t i = 0; i < resolved->count; i++)
        count += resolved->addresses[i].ss_family == family;
    return count;
}

#define CHECK_TYPE(ask, type) CHECK_SLICE(slice_str((ask)->resolved.error_type), slice_str(type))

// --- Cases ---

static void both_families_are_found(void) {
    set_up(0);
    struct ask *both = ask("both.test"), *v4 = ask("V4.test");
    CHECK_INT(both->calls, 0); // never inside the call
    run();
    CHECK_INT(both->resolved.err, OK);
    CHECK_TYPE(both, "");
    CHECK_INT(family_count(&both->resolved, AF_INET), 2);
    CHECK_INT(family_count(&both->resolved, AF_INET6), 2);
    CHECK_INT(v4->resolved.count, 2);
    struct sockaddr_in first;
    memcpy(&first, &v4->resolved.addresses[0], sizeof first);
    CHECK_INT(ntohl(first.sin_addr.s_addr), 0x7F090001);
}

static void failures_have_names(void) {
    set_up(2000);
    struct ask *nx = ask("nx.test"), *empty = ask("empty.test"), *loop = ask("loop.test"),
               *servfail = ask("servfail.test"), *garbage = ask("garbage.test");
    run();
    CHECK_TYPE(nx, "dns_notfound");
    CHECK_INT(nx->resolved.err, ERR_NOTFOUND);
    CHECK_TYPE(empty, "dns_no_address");
    CHECK_TYPE(loop, "dns_no_address");
    CHECK_TYPE(servfail, "dns_failed");
    CHECK(garbage->resolved.err != OK);
    CHECK(nx->resolved.error[0] && servfail->resolved.error[0]);
}

static void hundreds_of_records_are_cut(void) {
    set_up(0);
    struct ask *many = ask("many.test"), *big = ask("big.test");
    run();
    CHECK_INT(family_count(&many->resolved, AF_INET), RESOLVER_ADDRESSES_MAX / 2);
    CHECK_INT(family_count(&many->resolved, AF_INET6), RESOLVER_ADDRESSES_MAX / 2);
    CHECK_INT(big->resolved.count, RESOLVER_ADDRESSES_MAX); // came over TCP
}

static void silence_ends_at_the_deadline(void) {
    set_up(300);
    struct ask *silent = ask("silent.test");
    run();
    CHECK_INT(silent->resolved.err, ERR_TIMEOUT);
    CHECK_TYPE(silent, "dns_timeout");
}

static void one_silent_family_does_not_hold_back_the_other(void) {
    set_up(60000);
    struct ask *half = ask("halfsilent.test");
    run();
    CHECK_INT(half->resolved.err, OK);
    CHECK_INT(half->resolved.count, 2);
}

static void silent_names_do_not_starve_others(void) {
    char host[32];
    struct ask *silent[50];
    set_up(3500);
    for (int i = 0; i < 50; i++) {
        snprintf(host, sizeof host, "silent.n%d.test", i);
        silent[i] = ask(host);
    }
    struct ask *healthy = ask("both.test");
    run();
    CHECK_INT(healthy->resolved.err, OK);
    for (int i = 0; i < 50; i++) CHECK_TYPE(silent[i], "dns_timeout");
}

static void waiting_for_one_name_asks_once(void) {
    int before = atomic_load(&server.questions);
    set_up(0);
    for (int i = 0; i < 20; i++) ask(i % 2 ? "both.test" : "BOTH.test");
    run();
    for (size_t i = 0; i < 20; i++) CHECK_INT(client.asks[i].resolved.count, 4);
    CHECK_INT(atomic_load(&server.questions) - before, 2); // A and AAAA
}

static void on_first_ask_again(struct lookup *lookup, const struct resolved *resolved) {
    struct ask *again = ask("ttl0.test");
    CHECK_INT(again->calls, 1); // at once
    CHECK_INT(again->resolved.count, resolved->count);
    on_done(lookup, resolved);
}

static void the_cache_answers_at_once(void) {
    set_up(0);
    struct ask *first = &client.asks[client.asked++];
    first->lookup.done = on_first_ask_again;
    client.open = 2; // the one that is asked inside comes back first
    resolver_lookup(client.resolver, S("ttl0.test"), &first->lookup);
    client.open = 1;
    run();
}

static void a_forgotten_lookup_stays_quiet(void) {
    set_up(0);
    struct ask *gone = ask("both.test"), *stays = ask("both.test");
    resolver_forget(&gone->lookup);
    resolver_forget(&gone->lookup);
    client.open--;
    gone->calls = 1;
    run();
    CHECK_INT(gone->resolved.count, 0);
    CHECK_INT(stays->resolved.count, 4);
}

static void closing_answers_what_is_open(void) {
    set_up(0);
    struct ask *silent = ask("silent.test"), *queued = ask("both.test");
    client.open = 1000;
    uv_run(&client.loop, UV_RUN_NOWAIT);
    resolver_close(client.resolver, on_closed, NULL);
    CHECK_INT(silent->calls, 1);
    CHECK_TYPE(silent, "dns_failed");
    CHECK_INT(queued->calls, 1);
    struct ask *late = ask("both.test");
    CHECK_TYPE(late, "dns_failed");
    run();
}

static void the_hosts_file_counts(void) {
    set_up(0);
    struct ask *local = ask("localhost");
    run();
    CHECK(local->resolved.err == OK && local->resolved.count > 0);
}

static void impossible_names_fail_at_once(void) {
    static char long_name[300];
    memset(long_name, 'a', sizeof long_name - 1);
    set_up(0);
    client.open = 1;
    CHECK_TYPE(ask(long_name), "dns_failed");
    CHECK_TYPE(ask(""), "dns_failed");
    struct ask *label = ask("a..b");
    client.open--;
    run();
    CHECK(label->resolved.err != OK);
}

static void thousands_of_names_fit(void) {
    set_up(0);
    char host[48];
    client.open = 1;
    for (int round = 0; round < 30; round++) {
        client.asked = 0;
        memset(client.asks, 0, sizeof client.asks);
        for (int i = 0; i < 100; i++) {
            snprintf(host, sizeof host, "v4.n%d-%d.test", round, i);
            ask(host);
        }
        while (client.open > 1) uv_run(&client.loop, UV_RUN_ONCE);
        for (int i = 0; i < 100; i++) CHECK_INT(client.asks[i].resolved.count, 2);
    }
    client.open = 0;
    resolver_close(client.resolver, on_closed, NULL);
    run();
}

static void bad_servers_fail_the_lookup(void) {
    set_up(0);
    char kept[32];
    struct resolver *good = client.resolver;
    memcpy(kept, "not a server", 13);
    client.resolver = resolver_new(&client.loop, &(struct resolver_opts){ .servers = kept }, NULL);
    struct ask *bad = ask("both.test");
    resolver_close(good, on_closed, NULL);
    run();
    CHECK_TYPE(bad, "dns_failed");
}

static const struct check_case cases[] = {
    { "both families are found", both_families_are_found },
    { "failures have names", failures_have_names },
    { "hundreds of records are cut", hundreds_of_records_are_cut },
    { "silence ends at the deadline", silence_ends_at_the_deadline },
    { "one silent family does not hold back the other",
      one_silent_family_does_not_hold_back_the_other },
    { "silent names do not starve others", silent_names_do_not_starve_others },
    { "waiting for one name asks once", waiting_for_one_name_asks_once },
    { "the cache answers at once", the_cache_answers_at_once },
    { "a forgotten lookup stays quiet", a_forgotten_lookup_stays_quiet },
    { "closing answers what is open", closing_answers_what_is_open },
    { "the hosts file counts", the_hosts_file_counts },
    { "impossible names fail at once", impossible_names_fail_at_once },
    { "thousands of names fit", thousands_of_names_fit },
    { "bad servers fail the look-up", bad_servers_fail_the_lookup },
};

int main(void) {
    server_start();
    int status = check_run(cases, sizeof cases / sizeof *cases);
    server_stop();
    return status;
}
