// The guard, row by row of the hostile URLs (U1-U20) and addresses just
// outside each closed range.
#include <arpa/inet.h>
#include <netinet/in.h>

#include "check.h"
#include "guard.h"

static const struct guard strict; // https, public addresses only
static const struct guard with_http = { .allow_http = true };
static const struct guard demo = { .allow_http = true, .allow_private = true };

static bool dial_port(const struct guard *guard, const char *text, uint16_t port) {
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return guard_address(guard, (struct sockaddr *)&v4);
    CHECK_INT(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return guard_address(guard, (struct sockaddr *)&v6);
}

static bool dial(const struct guard *guard, const char *text) {
    return dial_port(guard, text, 443);
}

// The error type of saving `url`, "" when it may be saved.
static const char *save(const struct guard *guard, const char *url) {
    static char type[40];
    struct url_parts parts;
    struct fail fail = { 0 };
    enum err err = guard_url(guard, slice_str(url), &parts, &fail);
    CHECK((err == OK) == (fail.type[0] == '\0'));
    return strcpy(type, fail.type);
}

#define CHECK_SAVE(guard, url, type) CHECK_SLICE(slice_str(save((guard), (url))), slice_str(type))

// U1
static void loopback_in_every_spelling_is_refused(void) {
    static const char *const odd[] = {
        "127.1",      "2130706433",       "0x7f000001",
        "0x7f.1",     "017700000001",     "0177.0.0.1",
        "127.0.0.1.", "0x7F.0x0.0x0.0x1", "127.0.0.1.0",
        "0x",         "a.0x7f",           "1.2.3.4.5",
        "1.2.3",      "1.2.3.256",        "00000000177.0.0.1",
    };
    char url[64];
    CHECK_SAVE(&with_http, "http://127.0.0.1/", "url_blocked_address");
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        snprintf(url, sizeof url, "http://%s/", odd[i]);
        CHECK_SAVE(&demo, url, "url_host");
    }
    CHECK(!dial(&strict, "127.0.0.1"));
    CHECK(!dial(&strict, "127.255.255.254"));
}

// U2, U3, U4, U5
static void addresses_inside_addresses_are_refused(void) {
    static const char *const all[] = { "0.0.0.0", "::", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1",
                                       "0:0:0:0:0:ffff:7f00:1", "::127.0.0.1", "::ffff:0:127.0.0.1",
                                       "64:ff9b::7f00:1", "64:ff9b:1::1",
                                       "2002:7f00:1::", "2001:0:4136:e378::", "fe80::1",
                                       "::5:7f00:1",
                                       // As classes, whatever they carry.
                                       "::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::808:808",
                                       "64:ff9b:1:808:8:800::", "2002:808:808::1",
                                       "2001:0:808:808:0:0:f7f7:f7f7", "::ffff:0:8.8.8.8" };
    char url[96];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        CHECK(!dial(&strict, all[i]));
        snprintf(url, sizeof url, strchr(all[i], ':') ? "https://[%s]/" : "https://%s/", all[i]);
        CHECK_SAVE(&strict, url, "url_blocked_address");
    }
    CHECK_SAVE(&demo, "http://[fe80::1%25eth0]/", "url_host");
    CHECK_SAVE(&demo, "http://[fe80::1%eth0]/", "url_host");
}

// U6
static void metadata_services_stay_closed_whatever_is_opened(void) {
    static const char *const all[] = {
        "169.254.169.254",          "fd00:ec2::254",
        "100.100.100.200",          "168.63.129.16",
        "::ffff:169.254.169.254",   "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",        "::169.254.169.254",
        "2001:0:1:2:3:4:5601:5601", "64:ff9b:1:a9fe:a9:fe00::",
    };
    static const struct guard_cidr everything[] = { { { 0 }, 0 } };
    struct guard open = { .allow_private = true, .allow = everything, .allow_count = 1 };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        CHECK(!dial(&strict, all[i]));
        CHECK(!dial(&demo, all[i]));
        CHECK(!dial(&open, all[i]));
    }
    CHECK(dial(&open, "169.254.169.253"));
    CHECK_SAVE(&demo, "http://169.254.169.254/", "url_blocked_address");
    CHECK_SAVE(&demo, "http://0xA9FEA9FE/", "url_host");
    CHECK_SAVE(&demo, "http://0251.0376.0251.0376/", "url_host");
    CHECK_SAVE(&demo, "http://2852039166/", "url_host");
}

// U7: the first and the last address of each closed range.
static void special_ranges_are_closed_to_their_edges(void) {
    static const char *const all[] = {
        "0.0.0.1",        "0.255.255.255", "10.0.0.0",        "10.255.255.255",   "172.16.0.0",
        "172.31.255.255", "192.168.0.0",   "192.168.255.255", "100.64.0.0",       "100.127.255.255",
        "127.0.0.0",      "169.254.0.0",   "169.254.255.255", "192.0.0.0",        "192.0.0.255",
        "192.0.2.1",      "192.88.99.1",   "198.18.0.0",      "198.19.255.255",   "198.51.100.7",
        "203.0.113.7",    "224.0.0.0",     "239.255.255.255", "240.0.0.0",        "255.255.255.255",
        "fc00::",         "fdff:ffff::1",  "fec0::1",         "feff::1",          "fe80::",
        "febf:ffff::",    "ff00::",        "ff02::1",         "ffff::1",          "100::",
        "100::ffff",      "100:0:0:1::1",  "2001:db8::",      "2001:db8:ffff::1", "3fff::1",
        "3fff:fff::1",    "5f00::1",       "5f00:ffff::1",    "2001:1::1",        "2001:1ff::1",
        "2001:20::1",
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (dial(&strict, all[i])) printf("# %s may be dialled\n", all[i]);
        CHECK(!dial(&strict, all[i]));
    }
}

// U8
static void neighbours_of_closed_ranges_are_open(void) {
    static const char *const all[] = {
        "100.63.255.254",  "100.128.0.1",     "172.15.255.255",  "172.32.0.1",     "11.0.0.1",
        "126.255.255.255", "128.0.0.1",       "64:ff9c::1",      "1.0.0.0",        "9.255.255.255",
        "169.253.255.255", "169.255.0.0",     "191.255.255.255", "192.0.1.0",      "192.0.3.0",
        "192.88.98.255",   "192.167.255.255", "192.169.0.0",     "198.17.255.255", "198.20.0.0",
        "203.0.112.255",   "223.255.255.255", "168.63.129.15",   "2001:200::1",    "2001:db7::1",
        "2001:db9::1",     "2003::1",         "2606:4700::1111", "3ffe::1",        "3fff:1000::1",
        "5eff::1",         "5f01::1",         "fbff::1",         "101::1",         "100:0:0:2::1",
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (!dial(&strict, all[i])) printf("# %s may not be dialled\n", all[i]);
        CHECK(dial(&strict, all[i]));
    }
    CHECK_SAVE(&strict, "https://8.8.8.8/", "");
    CHECK_SAVE(&strict, "https://[2606:4700::1111]:8443/x", "");
}

// U9, U10, U11, U12
static void names_that_hide_this_machine_are_refused(void) {
    CHECK_SAVE(&with_http, "http://localhost/", "url_blocked_address");
    CHECK_SAVE(&with_http, "http://LOCALHOST/", "url_blocked_address");
    CHECK_SAVE(&with_http, "http://a.localhost:8080/", "url_blocked_address");
    CHECK_SAVE(&demo, "http://localhost/", "");
    CHECK_SAVE(&demo, "http://notlocalhost/", "");
    CHECK_SAVE(&demo, "http://loc%61lhost/", "url_host");
    CHECK_SAVE(&demo, "http://127%2e0%2e0%2e1/", "url_host");
    CHECK_SAVE(&demo, "http://127.0.0.1./", "url_host");
    CHECK_SAVE(&demo, "http://localhost./", "url_host");
    CHECK_SAVE(&demo, "http://①②⑦.⓪.⓪.①/", "url_host");
    CHECK_SAVE(&demo, "http://127。0。0。1/", "url_host");
    CHECK_SAVE(&demo, "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", "url_host");
    CHECK_SAVE(&demo, "http://１２７.0.0.1/", "url_host");
    CHECK_SAVE(&demo, "http://127.0.0.1%00.example.com/", "url_host");
}

// U13, U14
static void parsers_that_disagree_get_no_chance(void) {
    CHECK_SAVE(&demo, "https://good.com@127.0.0.1/", "url_userinfo");
    CHECK_SAVE(&demo, "https://127.0.0.1@good.com/", "url_userinfo");
    CHECK_SAVE(&demo, "https://u:p@good.com/", "url_userinfo");
    CHECK_SAVE(&demo, "https://@good.com/", "url_userinfo");
    CHECK_SAVE(&demo, "https://good.com\\@127.0.0.1/", "bad_url");
    CHECK_SAVE(&demo, "https://127.0.0.1\\@good.com/", "bad_url");
    CHECK_SAVE(&demo, "https://good.com/a\\b", "bad_url");
    CHECK_SAVE(&demo, "https://good.com/@x?y=@z#@", "");
}

// U15, U16, U17
static void only_http_and_https_with_two_slashes(void) {
    static const char *const all[] = {
        "http:/127.0.0.1/",
        "http:127.0.0.1",
        "127.0.0.1/",
        "//127.0.0.1/",
        "ftp.127.0.0.1/",
        "file:///etc/passwd",
        "gopher://x/",
        "dict://x/",
        "ftp://x/",
        "smb://x/",
        "ldap://x/",
        "ws://x/",
        "javascript:alert(1)",
        "data:,x",
        "",
        "https",
        "https:",
        ":",
        "://x",
        "httpss://x/",
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) CHECK_SAVE(&demo, all[i], "url_scheme");
    CHECK_SAVE(&demo, "http:///127.0.0.1/", "url_host");
    CHECK_SAVE(&demo, "http:////127.0.0.1/", "url_host");
    CHECK_SAVE(&demo, "http://", "url_host");
    CHECK_SAVE(&demo, "HTTPS://Example.COM", "");
    CHECK_SAVE(&strict, "http://example.com/", "url_scheme");
}

// U18
static void ports_are_web_ports(void) {
    static const char *const closed[] = { "0",     "22", "25", "6379",   "11211", "65536", "-1",
                                          "99999", "x",  "8x", "000443", "+443",  "1023",  "3306" };
    static const char *const open[] = { "80", "443", "8080", "8443", "1024", "65535", "080", "" };
    char url[64];
    for (size_t i = 0; i < sizeof closed / sizeof *closed; i++) {
        snprintf(url, sizeof url, "http://example.com:%s/", closed[i]);
        CHECK_SAVE(&demo, url, "url_port");
    }
    for (size_t i = 0; i < sizeof open / sizeof *open; i++) {
        snprintf(url, sizeof url, "http://example.com:%s/", open[i]);
        CHECK_SAVE(&demo, url, "");
    }
    static const uint16_t own[] = { 8025 };
    struct guard guard = { .deny_ports = own, .deny_ports_count = 1 };
    CHECK_SAVE(&guard, "https://example.com:8025/", "url_port");
    CHECK(!dial_port(&guard, "8.8.8.8", 8025));
    CHECK(!dial_port(&guard, "8.8.8.8", 22));
    CHECK(dial_port(&guard, "8.8.8.8", 8026));
    CHECK(dial_port(&guard, "8.8.8.8", 0)); // a resolver's answer has no port yet
}

// U19, U20
static void broken_urls_are_refused(void) {
    static const char *const bytes[] = { "https://a.com/\r\n", "https://a.com/ x",
                                         "https://a.com/\t",   "https://a.com/\x7f",
                                         " https://a.com/",    "https://a.com /" };
    static const char *const hosts[] = { "a..b",     ".x.com", "x.com..",     "x.com.",   "xn--",
                                         "-a.com",   "a-.com", "a.com-",      "a_b!.com", "a:b:c",
                                         "[::1",     "[]",     "[127.0.0.1]", "[::1]x",   "[v1.a]",
                                         "a[b].com", "::1" };
    char url[8300];
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        CHECK_SAVE(&demo, bytes[i], "bad_url");
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        snprintf(url, sizeof url, "https://%s/", hosts[i]);
        const char *type = save(&demo, url);
        CHECK(strcmp(type, "url_host") == 0 || strcmp(type, "url_port") == 0);
    }
    struct url_parts parts;
    CHECK(guard_url_split(slice("https://a\0b/", 12), &parts, NULL) == ERR_INPUT);

    memset(url, 'a', sizeof url);
    memcpy(url, "https://a.com/", 14);
    CHECK(guard_url_split(slice(url, 8192), &parts, NULL) == OK);
    CHECK(guard_url_split(slice(url, 8193), &parts, NULL) == ERR_LIMIT);
    memcpy(url + 8 + 63, ".com/", 5);
    memset(url + 8, 'a', 63);
    CHECK(guard_url_split(slice(url, 100), &parts, NULL) == OK);
    memcpy(url + 8 + 64, ".com/", 5);
    memset(url + 8, 'a', 64);
    CHECK(guard_url_split(slice(url, 100), &parts, NULL) == ERR_INPUT);
    for (size_t i = 0; i < 300; i++) url[8 + i] = i % 2 ? '.' : 'a';
    url[8 + 253] = '/';
    CHECK(guard_url_split(slice(url, 400), &parts, NULL) == OK);
    url[8 + 253] = '.';
    url[8 + 255] = '/';
    CHECK(guard_url_split(slice(url, 400), &parts, NULL) == ERR_INPUT);
}

static void parts_are_slices_of_the_url(void) {
    struct url_parts parts;
    CHECK(guard_url_split(S("HTTPS://Ex-1.com:0443/a?b#c"), &parts, NULL) == OK);
    CHECK_TEXT(parts.scheme, "HTTPS");
    CHECK_TEXT(parts.host, "Ex-1.com");
    CHECK_TEXT(parts.port_text, "0443");
    CHECK_TEXT(parts.path_and_rest, "/a?b#c");
    CHECK_INT(parts.port, 443);
    CHECK(!parts.is_ip);
    CHECK(guard_url_split(S("http://[2001:DB8::1]?q"), &parts, NULL) == OK);
    CHECK_TEXT(parts.host, "2001:DB8::1");
    CHECK_TEXT(parts.path_and_rest, "?q");
    CHECK_INT(parts.port, 80);
    CHECK(parts.is_ip);
    CHECK(guard_url_split(S("http://1.2.3.4:81"), &parts, NULL) == OK);
    CHECK(parts.is_ip);
    CHECK_INT(parts.port, 81);
    CHECK(parts.path_and_rest.p && parts.path_and_rest.n == 0);
}

static void errors_say_where(void) {
    struct url_parts parts;
    struct fail fail = { 0 };
    guard_url_split(S("https://a.com/x y"), &parts, &fail);
    CHECK_INT(fail.at, 15);
    guard_url_split(S("https://a..com/"), &parts, &fail);
    CHECK_INT(fail.at, 10);
    guard_url_split(S("https://a.com:0/"), &parts, &fail);
    CHECK_INT(fail.at, 13);
}

static struct guard_cidr cidr(const char *text) {
    struct guard_cidr out = { 0 };
    struct fail fail;
    CHECK_INT(guard_cidr_parse(slice_str(text), &out, &fail), OK);
    return out;
}

static void operator_lists_open_and_close(void) {
    struct guard_cidr allow[] = { cidr("10.1.0.0/16"), cidr("fd00:1::/32"), cidr("64:ff9b::/96") };
    struct guard_cidr deny[] = { cidr("10.1.2.0/24"), cidr("8.8.8.8"), cidr("2606:4700::/32") };
    struct guard guard = { .allow = allow, .allow_count = 3, .deny = deny, .deny_count = 3 };
    CHECK(dial(&guard, "10.1.1.1"));
    CHECK(!dial(&guard, "10.2.1.1"));
    CHECK(!dial(&guard, "10.1.2.9"));
    CHECK(dial(&guard, "fd00:1::5"));
    CHECK(!dial(&guard, "fd00:2::5"));
    CHECK(!dial(&guard, "8.8.8.8"));
    CHECK(dial(&guard, "8.8.4.4"));
    CHECK(!dial(&guard, "2606:4700::1"));
    // An opened form still answers for what it carries.
    CHECK(dial(&guard, "64:ff9b::1.1.1.1"));
    CHECK(!dial(&guard, "64:ff9b::127.0.0.1"));
    CHECK(!dial(&guard, "64:ff9b::8.8.8.8"));
}

static void private_mode_opens_private_ranges_only(void) {
    static const char *const open[] = { "127.0.0.1",  "::1",        "10.0.0.1", "192.168.1.1",
                                        "172.16.0.1", "100.64.0.1", "fd00::1",  "8.8.8.8" };
    static const char *const closed[] = { "0.0.0.0",          "::",        "169.254.1.1",
                                          "fe80::1",          "224.0.0.1", "255.255.255.255",
                                          "::ffff:127.0.0.1", "64:ff9b::1" };
    for (size_t i = 0; i < sizeof open / sizeof *open; i++) CHECK(dial(&demo, open[i]));
    for (size_t i = 0; i < sizeof closed / sizeof *closed; i++) CHECK(!dial(&demo, closed[i]));
}

static void other_families_are_refused(void) {
    struct sockaddr_storage other = { .ss_family = AF_UNIX };
    CHECK(!guard_address(&demo, (struct sockaddr *)&other));
    other.ss_family = AF_UNSPEC;
    CHECK(!guard_address(&demo, (struct sockaddr *)&other));
}

static void bad_ranges_are_refused(void) {
    static const char *const all[] = {
        "",
        "/",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/08",
        "10.0.0.0/8x",
        "10.0.0.1/8",
        "10.0.0/8",
        "010.0.0.0/8",
        "::/129",
        "::1/64",
        "fe80::%1/10",
        "x/8",
        "10.0.0.0/1000",
        "10.0.0.0/8/8",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb/8",
    };
    struct guard_cidr out;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct fail fail = { 0 };
        CHECK_INT(guard_cidr_parse(slice_str(all[i]), &out, &fail), ERR_INPUT);
        CHECK_SLICE(slice_str(fail.type), S("bad_cidr"));
    }
    CHECK_INT(guard_cidr_parse(slice("10.0.0.0\0/8", 11), &out, NULL), ERR_INPUT);
    CHECK_INT(cidr("0.0.0.0/0").bits, 96);
    CHECK_INT(cidr("::/0").bits, 0);
    CHECK_INT(cidr("::1").bits, 128);
    CHECK_INT(cidr("1.2.3.4").bits, 128);
}

// U26
static void this_engines_own_port_is_closed_and_its_others_are_not(void) {
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(9000) };
    struct guard_cidr own[2] = { cidr("11.0.0.1") };
    CHECK_INT(inet_pton(AF_INET, "127.0.0.1", &at.sin_addr), 1);
    CHECK(guard_cidr_of((struct sockaddr *)&at, &own[1]));
    CHECK_INT(own[1].bits, 128);
    struct guard guard = { .allow_private = true, .own = own, .own_count = 2, .own_port = 8080 };
    CHECK(!dial_port(&guard, "11.0.0.1", 8080));
    CHECK(!dial_port(&guard, "127.0.0.1", 8080));
    CHECK(dial_port(&guard, "127.0.0.1", 8443));
    CHECK(dial_port(&guard, "11.0.0.2", 8080));
}

static const struct check_case cases[] = {
    { "loopback in every spelling is refused", loopback_in_every_spelling_is_refused },
    { "addresses inside addresses are refused", addresses_inside_addresses_are_refused },
    { "metadata services stay closed", metadata_services_stay_closed_whatever_is_opened },
    { "special ranges are closed to their edges", special_ranges_are_closed_to_their_edges },
    { "neighbours of closed ranges are open", neighbours_of_closed_ranges_are_open },
    { "names that hide this machine are refused", names_that_hide_this_machine_are_refused },
    { "parsers that disagree get no chance", parsers_that_disagree_get_no_chance },
    { "only http and https with two slashes", only_http_and_https_with_two_slashes },
    { "ports are web ports", ports_are_web_ports },
    { "broken URLs are refused", broken_urls_are_refused },
    { "parts are slices of the URL", parts_are_slices_of_the_url },
    { "errors say where", errors_say_where },
    { "operator lists open and close", operator_lists_open_and_close },
    { "private mode opens private ranges only", private_mode_opens_private_ranges_only },
    { "other families are refused", other_families_are_refused },
    { "bad ranges are refused", bad_ranges_are_refused },
    { "this engine's own port is closed and its others are not",
      this_engines_own_port_is_closed_and_its_others_are_not },
};
CHECK_MAIN(cases)
